"""
Nodes for values with named fields: dataclasses, attrs classes, Structs, tuples, typed dicts.

A record is its fields, and nothing else: an instance that holds an attribute
beyond them is refused, since it would come back without. Lifting runs no
`__init__` and no `__post_init__`; the fields are put back as they were. Only
a msgspec Struct cannot be made so. One with a `__post_init__` is therefore
rebuilt and compared before it is accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from .containers import lift_each, lower_each
from .identical import difference, held_by, identical
from .node import (
    BadShape,
    Book,
    Misfit,
    Node,
    Walk,
    exact,
    full_name,
    key_step,
    mismatch,
    name_of,
    shaped_list,
)
from .plain import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Collection

UNSET_ADVICE: Final = "Give each field a value."
EXTRA_ADVICE: Final = "Make it a field, or keep it off the object."


class FieldsNode(Node):
    """What all records share: a class, and a node for each of its fields."""

    __slots__ = ("_kind", "_known", "cls", "names", "nodes")

    nodes: tuple[Node, ...]

    def __init__(self, kind: str, cls: type[Any], names: tuple[str, ...]) -> None:
        self._kind = kind
        self.cls = cls
        self._known = frozenset(names)
        self.names = names

    def takes(self, value: object) -> bool:
        return type(value) is self.cls

    def describe(self, book: Book) -> str:
        before = book.seen(self)
        if before:
            return before
        fields = zip(self.names, self.nodes, strict=True)
        spelled = ",".join(f"{name}:{node.describe(book)}" for name, node in fields)
        return f"{self._kind} {full_name(self.cls)}({spelled})"


class ObjectNode(FieldsNode):
    """
    An instance of a dataclass or an attrs class.

    *unheld* are fields that an instance may leave to its class: a dataclass writes no default of
    a field that is not in `__init__`. They travel with their values and with their places, and
    stay with the class as long as it says the same.
    """

    __slots__ = ("_unheld",)

    def __init__(
        self, kind: str, cls: type[Any], names: tuple[str, ...], unheld: Collection[str] = ()
    ) -> None:
        super().__init__(kind, cls, names)
        self._unheld = frozenset(unheld)

    def lower(self, value: object, walk: Walk) -> object:
        if type(value) is not self.cls:
            raise mismatch(self.cls, value)
        held = held_by(value)
        absent: list[object] = []
        if held.keys() != self._known:
            absent = [place for place, name in enumerate(self.names) if name not in held]
            held |= {name: getattr(value, name) for name in self._unheld - held.keys()}
            if held.keys() != self._known:
                raise _wrong_fields(self.cls, held, self.names)
        items = map(held.__getitem__, self.names)
        plain = lower_each(self.nodes, items, walk, value, self.names)
        return [*plain, absent] if absent else plain

    def lift(self, plain: object) -> object:
        absent: list[object] = []
        if self._unheld and len(shaped_list(plain)) == len(self.names) + 1:
            *plain, places = shaped_list(plain)
            absent = shaped_list(places)
        value: object = object.__new__(self.cls)
        for place, item in enumerate(lift_each(self.nodes, plain)):
            name = self.names[place]
            if absent and place in absent and identical(getattr(self.cls, name, absent), item):
                continue
            # Past frozen classes and their own __setattr__.
            object.__setattr__(value, name, item)
        return value


class StructNode(ObjectNode):
    """An instance of a msgspec Struct."""

    __slots__ = ()

    def lower(self, value: object, walk: Walk) -> object:
        plain = super().lower(value, walk)
        if hasattr(self.cls, "__post_init__"):
            verify(self, value, plain)
        return plain

    def lift(self, plain: object) -> object:
        fields = zip(self.names, lift_each(self.nodes, plain), strict=True)
        return cast("object", self.cls(**dict(fields)))


class NamedTupleNode(FieldsNode):
    """An instance of a NamedTuple."""

    __slots__ = ()

    def lower(self, value: object, walk: Walk) -> object:
        if type(value) is not self.cls:
            raise mismatch(self.cls, value)
        cls = self.cls
        held = held_by(value)
        items = cast("tuple[object, ...]", value)
        if held:
            raise _wrong_fields(cls, held, ())
        if len(items) != len(self.names):
            raise Misfit(
                f"{name_of(cls)} has {len(self.names)} fields, not {len(items)}. {UNSET_ADVICE}"
            )
        return lower_each(self.nodes, items, walk, value, self.names)

    def lift(self, plain: object) -> object:
        # Past a __new__ of its own.
        new: Any = tuple
        return cast("object", new.__new__(self.cls, lift_each(self.nodes, plain)))


class TypedDictNode(FieldsNode):
    """A dict with known keys: the numbers of its keys and their values by turns, in order."""

    __slots__ = ("_places", "_required")

    def __init__(self, cls: type[Any], names: tuple[str, ...], required: frozenset[str]) -> None:
        super().__init__("typeddict", cls, names)
        self._required = required
        self._places = {name: place for place, name in enumerate(names)}

    def takes(self, value: object) -> bool:
        return type(value) is dict and self._fits(cast("dict[object, object]", value))

    def _fits(self, value: dict[object, object]) -> bool:
        return value.keys() <= self._places.keys() and value.keys() >= self._required

    def lower(self, value: object, walk: Walk) -> object:
        kind: object = type(value)
        if kind is not dict:
            raise mismatch(dict, value)
        items = cast("dict[object, object]", value)
        if not self._fits(items):
            raise self._wrong_keys(items)
        walk.enter()
        flat: list[object] = []
        for key, item in list(items.items()):
            if type(key) is not str:
                raise mismatch(str, key)
            place = self._places[key]
            try:
                flat += (place, self.nodes[place].lower(item, walk))
            except Misfit as misfit:
                misfit.inside(key_step(key), value)
                raise
        walk.depth -= 1
        return flat

    def lift(self, plain: object) -> object:
        flat = shaped_list(plain)
        value: dict[object, object] = {}
        for number, item in zip(flat[::2], flat[1::2], strict=True):
            place = exact(int, number)
            if not 0 <= place < len(self.names):
                raise BadShape("a key that does not exist")
            value[self.names[place]] = self.nodes[place].lift(item)
        if 2 * len(value) != len(flat) or not self._fits(value):
            raise BadShape("a key is missing, or there twice")
        return value

    def describe(self, book: Book) -> str:
        required = ",".join(sorted(self._required))
        return f"{super().describe(book)} required({required})"

    def _wrong_keys(self, value: dict[object, object]) -> Misfit:
        missing = sorted(self._required - value.keys())
        if missing:
            return Misfit(
                f"{name_of(self.cls)} needs the key {missing[0]!r}, which is missing. "
                "Add it, or annotate the key as NotRequired."
            )
        extra = next(key for key in value if key not in self._places)
        return Misfit(
            f"{name_of(self.cls)} has no key {key_step(extra)}. "
            "Add it to the class, or leave it out of the dict."
        )


def verify(node: Node, value: object, plain: object) -> None:
    """
    Make sure that *plain* lifts to what it was lowered from.

    Raises:
        Misfit: It does not; its path says where they differ.
    """
    name = name_of(type(value))
    try:
        back = node.lift(unpack(pack(plain)))
    except Exception as error:
        misfit = Misfit(
            f"{name} cannot be rebuilt from its fields ({type(error).__name__}). "
            "Return one that its own class accepts, or give a serializer."
        )
        raise misfit from error
    path = difference(value, back)
    if path is not None:
        misfit = Misfit(
            f"this would not come back the same: {name} changes, hides, drops or renames it. "
            "Return a plain dataclass with it, or give a serializer."
        )
        misfit.inside(path, value)
        raise misfit


def _wrong_fields(cls: type, held: dict[str, object], names: tuple[str, ...]) -> Misfit:
    extra = sorted(held.keys() - set(names))
    if extra:
        return Misfit(
            f"{name_of(cls)} holds {extra[0]!r}, which is none of its fields. {EXTRA_ADVICE}"
        )
    missing = sorted(set(names) - held.keys())
    return Misfit(f"{name_of(cls)} has no value for its field {missing[0]!r}. {UNSET_ADVICE}")
