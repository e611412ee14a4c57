"""Nodes for values without parts: numbers, texts, enums, paths, literals."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum, Flag
from pathlib import (
    Path,
    PosixPath,
    PurePath,
    PurePosixPath,
    PureWindowsPath,
    WindowsPath,
)
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID, SafeUUID

from msgspec import UNSET, UnsetType

from .node import (
    BadShape,
    Book,
    Misfit,
    Node,
    Walk,
    exact,
    full_name,
    mismatch,
    name_of,
    shaped_list,
)
from .plain import plain_int, plain_text
from .times import TIMES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable


class Scalar(Node):
    """A value of exactly one class, by a function down and a function up."""

    __slots__ = ("_down", "_only", "_up", "bare", "cls")

    def __init__(
        self,
        cls: type,
        # Any: each function takes what the other one of its pair makes.
        down: Callable[[Any], object],
        up: Callable[[Any], object],
    ) -> None:
        self.cls = cls
        self._only = frozenset({cls})
        self._down = down
        self._up = up
        self.bare = up is _same

    def takes(self, value: object) -> bool:
        return type(value) is self.cls

    def lower(self, value: object, walk: Walk) -> object:  # noqa: ARG002 - a leaf has no way down
        if type(value) is not self.cls:
            raise mismatch(self.cls, value)
        return self._down(value)

    def lift(self, plain: object) -> object:
        value = self._up(plain)
        if type(value) is not self.cls:
            raise BadShape(f"expected {name_of(self.cls)}")
        return value

    def lift_all(self, plain: list[object]) -> list[object]:
        return plain if self.bare and self.all_bare(plain) else super().lift_all(plain)

    def all_bare(self, plain: Collection[object]) -> bool:
        return self._only.issuperset(map(type, plain))

    def describe(self, book: Book) -> str:  # noqa: ARG002 - a leaf is spelled by its name
        return self.cls.__name__


class Number(Node):
    """
    A float or a complex, or the narrower numbers that Python lets pass for one.

    `return 0` under `-> float` is everyday code. The 0 comes back as an int.
    """

    __slots__ = ("kinds",)

    def __init__(self, *kinds: type) -> None:
        self.kinds = kinds

    def takes(self, value: object) -> bool:
        return type(value) in self.kinds

    def lower(self, value: object, walk: Walk) -> object:  # noqa: ARG002 - a leaf has no way down
        if type(value) not in self.kinds:
            raise mismatch(self.kinds[0], value)
        if isinstance(value, complex):
            return [value.real, value.imag]
        return plain_int(value) if isinstance(value, int) else value

    def lift(self, plain: object) -> object:
        kind: object = type(plain)
        if kind is list and self.kinds[0] is complex:
            real, imag = shaped_list(plain, 2)
            plain = complex(exact(float, real), exact(float, imag))
        if type(plain) not in self.kinds:
            raise BadShape(f"expected {name_of(self.kinds[0])}")
        return plain

    def describe(self, book: Book) -> str:  # noqa: ARG002 - a leaf is spelled by its name
        return self.kinds[0].__name__


class PathNode(Node):
    """A path of one of several classes; which one is stored."""

    __slots__ = ("_cls", "_kinds")

    def __init__(self, cls: type[PurePath], *kinds: type[PurePath]) -> None:
        self._cls = cls
        self._kinds = kinds or (cls,)

    def takes(self, value: object) -> bool:
        return type(value) in self._kinds

    def lower(self, value: object, walk: Walk) -> object:  # noqa: ARG002 - a leaf has no way down
        if type(value) not in self._kinds:
            raise mismatch(self._cls, value)
        return [type(value).__name__, plain_text(str(value))]

    def lift(self, plain: object) -> object:
        name, text = shaped_list(plain, 2)
        for cls in self._kinds:
            if cls.__name__ == name:
                return cls(exact(str, text))
        raise BadShape(f"{name!r} is not a class of paths")

    def describe(self, book: Book) -> str:  # noqa: ARG002 - a leaf is spelled by its name
        return self._cls.__name__


class EnumNode(Node):
    """
    A member of an enum, by name; a combination of flags by the names of its parts.

    *valued*: somebody else writes it, and may write the value.
    """

    __slots__ = ("_cls", "_valued")

    def __init__(self, cls: type[Enum], *, valued: bool = False) -> None:
        self._cls = cls
        self._valued = valued

    def takes(self, value: object) -> bool:
        return type(value) is self._cls

    def lower(self, value: object, walk: Walk) -> object:  # noqa: ARG002 - a leaf has no way down
        if not isinstance(value, Enum) or type(value) is not self._cls:
            raise mismatch(self._cls, value)
        names = [part.name for part in value] if isinstance(value, Flag) else value.name
        try:
            back = self.lift(names)
        except (KeyError, BadShape):
            back = None
        if back is not value and (back != value or not isinstance(value, Flag)):
            raise Misfit(
                f"{name_of(self._cls)} without a name of its own does not come back. "
                "Return one of its members."
            )
        return names

    def lift(self, plain: object) -> object:
        members = self._cls.__members__
        if issubclass(self._cls, Flag):
            value = self._cls(0)
            for name in shaped_list(plain):
                value |= cast("Flag", members[exact(str, name)])
            return value
        return members[exact(str, plain)]

    def describe(self, book: Book) -> str:
        members = self._cls.__members__
        names = ",".join(_valued(members.values()) if self._valued else members)
        return book.seen(self) or f"enum {full_name(self._cls)}({names})"


class LiteralNode(Node):
    """One of a few values, by its place in their sorted list. *valued*: see `EnumNode`."""

    __slots__ = ("_choices", "_valued")

    def __init__(self, choices: tuple[object, ...], *, valued: bool = False) -> None:
        self._valued = valued
        # Sorted, since typing treats Literal[1, 2] and Literal[2, 1] as one.
        self._choices = sorted(choices, key=_spell)

    def takes(self, value: object) -> bool:
        return self._place(value) >= 0

    def lower(self, value: object, walk: Walk) -> object:  # noqa: ARG002 - a leaf has no way down
        place = self._place(value)
        if place < 0:
            choices = ", ".join(map(repr, self._choices))
            raise Misfit(
                f"expected one of {choices}, found something else ({name_of(type(value))}). "
                "Return one of them, or add it to the Literal."
            )
        return place

    def lift(self, plain: object) -> object:
        place = exact(int, plain)
        if not 0 <= place < len(self._choices):
            raise BadShape("a literal that does not exist")
        return self._choices[place]

    def describe(self, book: Book) -> str:  # noqa: ARG002 - its values have no types inside
        choices = [_spell(choice) for choice in self._choices]
        if self._valued:
            choices += _valued(each for each in self._choices if isinstance(each, Enum))
        return f"literal({','.join(choices)})"

    def _place(self, value: object) -> int:
        for place, choice in enumerate(self._choices):
            if type(choice) is type(value) and choice == value:
                return place
        return -1


def _spell(value: object) -> str:
    """A literal as text; an enum member by name, since its repr is the user's."""
    if isinstance(value, Enum):
        return f"{full_name(type(value))}.{value.name}"
    return f"{type(value).__name__} {value!r}"


def _valued(members: Iterable[Enum]) -> list[str]:
    """The members of an enum with their values."""
    return [f"{each.name}={_plainly(each.value)}" for each in members]


def _plainly(value: object) -> str:
    """A value as text; of one that JSON does not know only its class, since its repr may differ."""
    if isinstance(value, tuple):
        return f"({','.join(map(_plainly, cast('tuple[object, ...]', value)))})"
    if isinstance(value, Enum):
        return _spell(value)
    return _spell(value) if type(value) in _IN_JSON else full_name(type(value))


def _same(plain: object) -> object:
    return plain


def _nothing(_: object) -> None:
    return None


def _unset(plain: object) -> object:
    return UNSET if plain is None else plain


def _decimal(plain: object) -> Decimal:
    text = exact(str, plain)
    value = Decimal(text)
    # Where a context does not trap InvalidOperation, garbage reads as NaN.
    if str(value) != text:
        raise BadShape("not a decimal as it was written")
    return value


def _uuid_down(value: UUID) -> object:
    if value.is_safe is SafeUUID.unknown:
        return value.bytes
    return [value.bytes, value.is_safe.value]


def _uuid_up(plain: object) -> UUID:
    if type(plain) is bytes:
        return UUID(bytes=plain)
    raw, safe = shaped_list(plain, 2)
    return UUID(bytes=exact(bytes, raw), is_safe=SafeUUID(safe))


def _bytearray(plain: object) -> bytearray:
    return bytearray(exact(bytes, plain))


_IN_JSON: Final = frozenset({str, int, float, bool, bytes, NoneType})

LEAVES: Final[dict[type, Node]] = {
    NoneType: Scalar(NoneType, _same, _same),
    UnsetType: Scalar(UnsetType, _nothing, _unset),
    bool: Scalar(bool, _same, _same),
    int: Scalar(int, plain_int, _same),
    float: Number(float, int),
    complex: Number(complex, float, int),
    str: Scalar(str, plain_text, _same),
    bytes: Scalar(bytes, _same, _same),
    bytearray: Scalar(bytearray, bytes, _bytearray),
    Decimal: Scalar(Decimal, str, _decimal),
    UUID: Scalar(UUID, _uuid_down, _uuid_up),
    PurePath: PathNode(PurePath, PurePosixPath, PureWindowsPath, PosixPath, WindowsPath),
    Path: PathNode(Path, PosixPath, WindowsPath),
    **{cls: PathNode(cls) for cls in (PurePosixPath, PureWindowsPath, PosixPath, WindowsPath)},
    **{cls: Scalar(cls, down, up) for cls, down, up in TIMES},
}
"""The classes without parts."""
