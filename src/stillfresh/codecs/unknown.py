"""
The node where the annotation says nothing.

Only what plain data can say by itself fits: None, bool, int, float, str, bytes,
a datetime in exactly `timezone.utc`, and lists and dicts of those. A tuple would
come back as a list and a set not at all, so they are refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import NoneType
from typing import TYPE_CHECKING, Final, cast

from .node import Book, Misfit, Node, Walk, key_step, name_of
from .plain import Ext, plain_int, plain_pairs, plain_text, plain_utc

if TYPE_CHECKING:
    from collections.abc import Collection

SAME: Final = frozenset({NoneType, bool, float, bytes})
KINDS: Final = SAME | {int, str, list, dict, datetime}


class UnknownNode(Node):
    """Any value that comes back identical without being annotated."""

    __slots__ = ()

    bare: bool = True

    def takes(self, value: object) -> bool:
        return type(value) in KINDS

    def lower(self, value: object, walk: Walk) -> object:
        kind = type(value)
        if kind is str:
            return plain_text(cast("str", value))
        if kind is int:
            return plain_int(cast("int", value))
        if kind in SAME:
            return value
        if kind is list:
            return self._lower_list(cast("list[object]", value), walk)
        if kind is dict:
            return self._lower_dict(cast("dict[object, object]", value), walk)
        if kind is datetime:
            moment = cast("datetime", value)
            if moment.tzinfo is UTC and not moment.fold:
                return plain_utc(moment)
        raise Misfit(_refusal(value))

    def _lower_list(self, value: list[object], walk: Walk) -> object:
        walk.enter()
        out: list[object] = []
        try:
            for item in value:
                out.append(self.lower(item, walk))  # noqa: PERF401 - a misfit needs its place
        except Misfit as misfit:
            misfit.inside(f"[{len(out)}]", value)
            raise
        walk.depth -= 1
        return out

    def _lower_dict(self, value: dict[object, object], walk: Walk) -> object:
        walk.enter()
        flat: list[object] = []
        odd = False
        for key, item in list(value.items()):
            try:
                plain = self.lower(key, walk)
                odd = odd or type(plain) is Ext
                flat += (plain, self.lower(item, walk))
            except Misfit as misfit:
                misfit.inside(key_step(key), value)
                raise
        walk.depth -= 1
        if odd:
            return plain_pairs(flat)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def lift(self, plain: object) -> object:
        # Whatever plain data says is what it means.
        return plain

    def lift_all(self, plain: list[object]) -> list[object]:
        return plain

    def all_bare(self, plain: Collection[object]) -> bool:
        del plain
        return True

    def describe(self, book: Book) -> str:  # noqa: ARG002 - there is nothing to say
        return "unknown"


def _refusal(value: object) -> str:
    kind = type(value)
    if kind is datetime:
        found = "a datetime that is not in datetime.timezone.utc"
    elif kind in (tuple, set, frozenset):
        found = f"a {kind.__name__}"
    else:
        found = f"an object of {name_of(kind)}"
    return (
        f"{found} does not come back where the annotation says nothing about it. Annotate it "
        "(returns=... where the function cannot), or return None, bool, int, float, str, bytes, "
        "or a list or dict of those."
    )
