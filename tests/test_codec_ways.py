"""The two ways of a codec: nodes, and functions made for one type. They write the same bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillfresh.codecs.compiler import Compiler
from stillfresh.codecs.identical import identical
from stillfresh.codecs.lifting import lifter
from stillfresh.codecs.lowering import lowerer
from stillfresh.codecs.native import reader
from stillfresh.codecs.node import Walk
from stillfresh.codecs.plain import pack, unpack

T = TypeVar("T")


@dataclass
class Product:
    id: int
    name: str
    price: float
    tags: list[str] = field(default_factory=list)
    extra: dict[str, object] = field(default_factory=dict)
    flags: tuple[bool, ...] = ()
    parent: Product | None = None


@dataclass(frozen=True)
class Frozen:
    key: bytes
    sizes: set[int]


@dataclass(slots=True)
class Slotted:
    one: int | str
    two: Decimal | None


@dataclass
class Box(Generic[T]):
    it: T


class Row(msgspec.Struct, kw_only=True):
    id: int
    lines: list[tuple[str, int]]
    note: str | None = None


class Checked(msgspec.Struct):
    id: int

    def __post_init__(self) -> None:
        if self.id < 0:
            raise ValueError(self.id)


class Pair(NamedTuple):
    left: int
    right: list[float | str]


@dataclass
class Watching:
    """It watches its attributes, and has one that is none of its fields."""

    id: int

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Text(str):
    __slots__ = ()


ANNOTATIONS = [
    int,
    float,
    object,
    list[int],
    list[object],
    dict[str, object],
    dict[str, list[int | str | float]],
    dict[str, list[int]],
    dict[int, float],
    dict[str, tuple[int, list[bytes | None]]],
    dict[int, Product],
    dict[UUID, int],
    tuple[int, str],
    tuple[()],
    frozenset[str],
    dict[str, int] | None,
    list[int] | list[str],
    list[int] | dict[str, int] | None,
    list[int | None],
    list[bool | int | float],
    list[Literal[1, "a"] | bytes],
    Product,
    list[Product],
    Frozen,
    Slotted,
    Box[int],
    Row,
    list[Row],
    Checked,
    Pair,
    Product | Row | Pair | None,
    Watching,
]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, 2**64, -(2**63) - 1, 0.0, -0.0, "a", "\ud800", Text("x"), 1j])
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.decimals(allow_nan=False, places=2)
    | st.uuids()
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    few = {"max_size": 3}
    keys = st.text(max_size=2) | st.integers() | st.booleans() | st.uuids()
    lists = st.lists(inner, **few)
    return (
        lists
        | st.lists(st.integers(), **few)
        | st.lists(st.text(max_size=2), **few)
        | lists.map(tuple)
        | st.sets(st.integers() | st.text(max_size=2), **few)
        | st.frozensets(st.text(max_size=2), **few)
        | st.dictionaries(keys, inner, **few)
        | st.dictionaries(st.text(max_size=2), st.integers(), **few)
        | st.builds(Product, inner, inner, inner)
        | st.builds(
            Product,
            st.integers(),
            st.text(max_size=3),
            st.floats(allow_nan=False) | st.integers(),
            st.lists(st.text(max_size=2), max_size=2),
            st.dictionaries(st.text(max_size=2), inner, max_size=2),
            st.lists(st.booleans(), max_size=2).map(tuple),
            st.none() | st.builds(Product, st.integers(), st.text(max_size=3), st.floats(0, 1)),
        )
        | st.builds(Frozen, st.binary(max_size=2), st.sets(st.integers(), max_size=2))
        | st.builds(Slotted, inner, st.none() | st.decimals(allow_nan=False, places=1))
        | st.builds(Box, inner)
        | st.builds(Box[int], st.integers())
        | st.builds(Row, id=inner, lines=lists)
        | st.builds(
            Row,
            id=st.integers(),
            lines=st.lists(st.tuples(st.text(max_size=2), st.integers()), max_size=2),
            note=st.none() | st.text(max_size=2),
        )
        | st.builds(Checked, st.integers(0, 9))
        | st.builds(Pair, st.integers(), lists)
    )


VALUES = st.recursive(SCALARS, containers, max_leaves=6)


def outcome(work: Any) -> tuple[bool, Any]:
    try:
        return True, work()
    except Exception as error:
        return False, error


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 5)
    | st.floats(0, 1)
    | st.text(max_size=2)
    | st.binary(max_size=16),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=str)
@given(value=VALUES)
def test_both_ways_write_the_same_bytes_and_read_the_same_values(annotation, value):
    """The made one may refuse more, never less, and never writes anything else."""
    node = Compiler().node(annotation, "return")
    wrote, data = outcome(lambda: pack(node.lower(value, Walk())))
    wrote_too, same = outcome(lambda: pack(lowerer(node)(value)))
    if wrote_too:
        assert wrote
        assert same == data
    if wrote:
        assert identical(lifter(node)(unpack(data)), node.lift(unpack(data)))
        read = reader(node)
        if read is not None:
            by_itself, value = outcome(lambda: read(data))
            assert not by_itself or identical(value, node.lift(unpack(data)))


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=str)
@given(plain=PLAIN)
def test_both_ways_read_what_nobody_wrote_alike(annotation, plain):
    """Whatever one reads, the other one reads as well; what both refuse is a miss."""
    node = Compiler().node(annotation, "return")
    read, value = outcome(lambda: node.lift(plain))
    if read:
        assert identical(lifter(node)(plain), value)
        made = reader(node)
        if made is not None:
            by_itself, back = outcome(lambda: made(pack(plain)))
            assert not by_itself or identical(back, value)


SIMPLE: list[tuple[object, object]] = [
    (dict[str, object], {"a": 1, "b": [1.5, None, {"c": b"x"}]}),
    (dict[str, list[int | str | float]], {"a": [1, "x", 2.5], "b": []}),
    (list[Product], [Product(1, "a", 2.0, ["x"], {"y": 1}, (True,)), Product(2, "b", 3)]),
    (Frozen, Frozen(b"x", {1, 2})),
    (Slotted, Slotted("x", None)),
    (Row, Row(id=1, lines=[("a", 1)])),
    (Pair, Pair(1, [1.5, "x"])),
    (tuple[int, str], (1, "x")),
    (Row | None, Row(id=1, lines=[])),
    (list[int | None], [1, None]),
    (Product | Row, Row(id=2, lines=[])),
]


@pytest.mark.parametrize(("annotation", "value"), SIMPLE, ids=str)
def test_what_is_as_it_should_be_takes_the_made_way(annotation, value):
    """Values of exactly their types need no second try."""
    node = Compiler().node(annotation, "return")
    data = pack(lowerer(node)(value))
    assert data == pack(node.lower(value, Walk()))
    assert identical(lifter(node)(unpack(data)), value)


@pytest.mark.parametrize("depth", [149, 150, 151])
@pytest.mark.parametrize("annotation", [object, list[object], Product, dict[str, list[object]]])
def test_both_ways_are_equally_deep(annotation, depth):
    """How deep a value may be does not depend on the way."""
    inside: object = 1
    outer = 0 if annotation is object else 1 if annotation == list[object] else 2
    for _ in range(depth - outer):
        inside = [inside]
    if annotation is Product:
        inside = Product(1, "", 1.0, extra={"x": inside})
    elif annotation == list[object]:
        inside = [inside]
    elif annotation is not object:
        inside = {"x": [inside]}
    node = Compiler().node(annotation, "return")
    wrote, _ = outcome(lambda: node.lower(inside, Walk()))
    wrote_too, _ = outcome(lambda: lowerer(node)(inside))
    assert wrote == wrote_too == (depth <= 150)


def test_an_attribute_beyond_the_fields_is_for_the_general_way():
    """It would not come back, so the made way must not leave it out in silence."""
    value = Frozen(b"x", {1})
    value.__dict__["more"] = 1
    wrote, _ = outcome(lambda: lowerer(Compiler().node(Frozen, "return"))(value))
    assert not wrote


@pytest.mark.parametrize("count", [0, 1, 7, 8, 15, 16, 40, 33_000])
@pytest.mark.parametrize(
    "annotation", [dict[str, object], dict[str, int], dict[str, tuple[int, ...]]]
)
def test_a_dict_of_any_length_is_read_as_a_map(annotation, count):
    """The front of an array of pairs has a map to go with it, for each length that it spells."""
    value = {f"key {n}": (n,) if "tuple" in str(annotation) else n for n in range(count)}
    node = Compiler().node(annotation, "return")
    data = pack(node.lower(value, Walk()))
    read = reader(node)
    assert read is not None
    short, back = outcome(lambda: read(data))
    assert short == (count < 32_768)
    assert not short or identical(back, value)
    flat = unpack(data)
    for forged in (flat[:-1], [*flat, 1], flat[:2] * 2, [1, *flat[1:]], {"a": 1}, "a", None):
        if forged != flat:
            assert not outcome(lambda forged=forged: read(pack(forged)))[0]


@pytest.mark.parametrize(
    "annotation",
    [int, object, list[str], tuple[int, str], frozenset[int], list[tuple[bool, float]]],
)
def test_what_msgspec_reads_by_itself(annotation):
    """Types are checked on the way: of another one nothing is read."""
    node = Compiler().node(annotation, "return")
    read = reader(node)
    assert read is not None
    assert annotation is object or not outcome(lambda: read(pack({"x": 1})))[0]
