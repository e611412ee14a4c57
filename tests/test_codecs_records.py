"""Values with fields: they come back whole, or are refused, and no code of theirs runs."""

from abc import ABC, abstractmethod
from collections import namedtuple
from dataclasses import KW_ONLY, InitVar, dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    NotRequired,
    Optional,
    Required,
    Self,
    TypedDict,
    TypeVar,
)

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillfresh.codecs import UNKNOWN, codec_for
from stillfresh.codecs.identical import identical
from stillfresh.errors import NotSerializable

T = TypeVar("T")
U = TypeVar("U")


@dataclass
class Animal:
    name: str
    age: int = 0
    kind: ClassVar[str] = "animal"


@dataclass
class Dog(Animal):
    good: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    amount: Decimal
    currency: str = "EUR"


@dataclass
class Order:
    items: list[Price]
    placed: datetime
    seed: InitVar[int] = 0
    _: KW_ONLY
    total: Decimal = field(init=False)
    note: str | None = None
    __secret: int = 5

    runs: ClassVar[int] = 0

    def __post_init__(self, seed: int) -> None:
        type(self).runs += 1
        self.total = sum((item.amount for item in self.items), Decimal(seed))

    @cached_property
    def size(self) -> int:
        return len(self.items)


@dataclass
class Tree:
    value: int
    children: list["Tree"] = field(default_factory=list)
    parent: "Optional[Tree]" = None  # noqa: UP045 - the old spelling
    twin: Self | None = None


@dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = field(default_factory=list)


@dataclass
class Pair(Box[int], Generic[U]):
    other: U | None = None


@dataclass
class Loose:
    anything: Any


@dataclass
class Review:
    stars: int
    seen: int = field(init=False, default=0)
    by: str = field(init=False, default="nobody")

    @classmethod
    def seen_once(cls, *, by: str = "nobody") -> Self:
        it = cls(5)
        it.seen = 1
        it.by = by
        return it


@dataclass(frozen=True)
class Cold(Generic[T]):
    it: T
    at: float = field(init=False, default=-0.0)


@dataclass(slots=True)
class Narrow:
    it: int
    at: int = field(init=False, default=1)


class Slotted:
    __slots__ = ("extra",)


@dataclass
class WithSlot(Slotted):
    x: int


@dataclass
class Failure(Exception):
    code: int


@dataclass
class Shape(ABC):
    side: int

    @abstractmethod
    def area(self) -> int: ...


class Point(NamedTuple):
    x: int
    y: float = 0.0


class GenericPoint(NamedTuple, Generic[T]):
    at: T


Bare = namedtuple("Bare", "a b")  # noqa: PYI024 - the untyped one is the point


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Rated(Movie, total=False):
    stars: int
    by: Required[Annotated[str, "critic"]]


class GenericDict(TypedDict, Generic[T]):
    it: T


class Struct(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    first_name: str
    tags: set[str] = msgspec.field(default_factory=set)


class Cat(msgspec.Struct, tag=True, frozen=True):
    x: int


class Cow(msgspec.Struct, tag=True, frozen=True):
    x: int


class Odd(msgspec.Struct, kw_only=True, omit_defaults=True, array_like=True, dict=True):
    a: int = 1
    b: "Odd | None" = None


class Patch(msgspec.Struct):
    name: str | msgspec.UnsetType | None = msgspec.UNSET


class Picky(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        self.x = abs(self.x)


def back(annotation: object, value: object) -> object:
    """Store and read, as two processes would, with a codec each."""
    frame = codec_for(annotation).encode(value)
    return codec_for(annotation).decode(frame)


ORDER = Order([Price(amount=Decimal("1.50"))], datetime(2024, 1, 1), seed=2, note="n")
TREE = Tree(1, [Tree(2), Tree(3, [Tree(4)])], twin=Tree(5))

ROUND_TRIPS: list[tuple[object, object]] = [
    (Animal, Animal("a", 2)),
    (Dog, Dog("d", 3)),
    (Animal | Dog, Dog("d")),
    (Animal | Dog, Animal("a")),
    (list[Animal | Dog | None], [Animal("a"), None, Dog("d")]),
    (Price, Price(amount=Decimal("1.00"))),
    (Order, ORDER),
    (Tree, TREE),
    (Box[int], Box(1, [2])),
    (Box[int], Box[int](1, [2])),
    (Box[Box[str | None]], Box(Box("a", [None]))),
    (Box, Box({"a": 1})),
    (Pair[str], Pair(1, [2], "a")),
    (Loose, Loose({"a": [1]})),
    (Review, Review(1)),
    (Review, Review.seen_once()),
    (list[Review], [Review(1), Review.seen_once(by="me"), Review(2)]),
    (Review | Animal, Review(2)),
    (Cold[int], Cold(1)),
    (Cold[Cold[Review]], Cold(Cold(Review(1)))),
    (Narrow, Narrow(1)),
    (WithSlot, WithSlot(1)),
    (dict[Price, Point], {Price(amount=Decimal(1)): Point(1, 2.5)}),
    (Point, Point(1)),
    (tuple[Point, tuple[int, float]], (Point(1), (1, 0.0))),
    (Point | tuple[int, float], (1, 0.0)),
    (GenericPoint[Decimal], GenericPoint(Decimal(1))),
    (Bare, Bare(1, "x")),
    (Movie, {"year": 1, "title": "t"}),
    (Movie, {"title": "t"}),
    (Rated, {"by": "b", "title": "t", "stars": 5, "year": 1999}),
    (Movie | Rated, {"title": "t", "by": "me"}),
    (GenericDict[Decimal], {"it": Decimal(1)}),
    (Struct, Struct("a", {"x"})),
    (Cat | Cow, Cow(1)),
    (list[Cat | Cow], [Cat(1), Cow(1)]),
    (Odd, Odd(a=2, b=Odd())),
    (Picky, Picky(-3)),
    (Patch, Patch()),
    (Patch, Patch(None)),
    (Patch, Patch("a")),
]


@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS)
def test_a_record_comes_back_as_it_was(annotation: object, value: object) -> None:
    """Records of every kind come back with their class and all their fields."""
    result = back(annotation, value)
    assert type(result) is type(value)
    assert identical(value, result)
    assert result == value
    codec_for(annotation).try_value(value)


def test_lifting_runs_no_code_of_the_class() -> None:
    """Fields are put back as they were; neither __init__ nor __post_init__ runs again."""
    before = Order.runs
    assert back(Order, ORDER) == ORDER
    assert Order.runs == before


def test_a_default_that_the_class_holds_comes_back_as_it_was() -> None:
    """A field that is left to its class stays so; one of another default keeps what it was."""
    frame = codec_for(Review).encode(Review(1))
    result = codec_for(Review).decode(frame)
    assert vars(result) == {"stars": 1}
    assert vars(back(Review, Review.seen_once())) == {"stars": 5, "seen": 1, "by": "nobody"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Review, "by", "me")
        assert vars(codec_for(Review).decode(frame)) == {"stars": 1, "by": "nobody"}


def test_the_order_of_a_typed_dict_is_kept() -> None:
    """A TypedDict comes back in the order in which it was built."""
    result = back(Movie, {"year": 1, "title": "t"})
    assert isinstance(result, dict)
    assert list(result) == ["year", "title"]


def with_extra() -> Animal:
    animal = Animal("a")
    animal.extra = 1  # type: ignore[attr-defined] # that is the point
    return animal


def without_name() -> Animal:
    animal = Animal("a")
    del animal.name
    return animal


def with_hidden_slot() -> WithSlot:
    value = WithSlot(1)
    value.extra = 2
    return value


def with_cached_property() -> Order:
    order = Order([], datetime(2024, 1, 1))
    assert order.size == 0
    return order


def struct_with_extra() -> Odd:
    odd = Odd()
    odd.__dict__["more"] = 1
    return odd


def changed_picky() -> Picky:
    picky = Picky(1)
    picky.x = -1
    return picky


def circle() -> Tree:
    tree = Tree(1)
    tree.children = [Tree(2, parent=tree)]
    return tree


REFUSED: list[tuple[object, object, str]] = [
    (Animal, Dog("d"), "return: expected Animal, found Dog. A subclass would come back as"),
    (Animal, {"name": "a"}, "return: expected Animal, found dict"),
    (Animal, Animal("a", True), r"return.age: expected int, found bool"),
    (list[Animal], [Animal("a"), Animal(b"b")], r"return\[1\].name: expected str, found bytes"),  # type: ignore[arg-type] # that is the point
    (Order, Order([Price(amount=1)], datetime(2024, 1, 1)), r"return.items\[0\].amount: expected"),  # type: ignore[arg-type] # that is the point
    (Animal, with_extra(), "return: Animal holds 'extra', which is none of its fields"),
    (Animal, without_name(), "return: Animal has no value for its field 'name'"),
    (WithSlot, with_hidden_slot(), "return: WithSlot holds 'extra'"),
    (Order, with_cached_property(), "return: Order holds 'size'"),
    (Odd, struct_with_extra(), "return: Odd holds 'more'"),
    (Picky, changed_picky(), "return.x: this would not come back the same"),
    (Loose, Loose((1,)), "return.anything: a tuple does not come back"),
    (Box[int], Box("a"), "return.item: expected int"),
    (Pair[str], Pair("a", [], "x"), "return.item: expected int"),  # type: ignore[arg-type] # that is the point
    (Point, (1, 0.0), "return: expected Point, found tuple"),
    (tuple[int, float], Point(1), "return: expected tuple, found Point"),
    (Point, Point("a"), "return.x: expected int"),  # type: ignore[arg-type] # that is the point
    (Movie, {}, "return: Movie needs the key 'title', which is missing"),
    (Movie, {"title": "t", "cut": 1}, r"return: Movie has no key \['cut'\]"),
    (Movie, {"title": 5}, r"return\['title'\]: expected str"),
    (Cat, Cow(1), "return: expected Cat, found Cow"),
    (Cat | Cow, Struct("a"), "found Struct, which fits no branch"),
    (UNKNOWN, Animal("a"), "return: an object of Animal"),
    (UNKNOWN, Point(1), "return: an object of Point"),
    (Tree, circle(), r"return\.children\[0\]\.parent: the value contains itself"),
]


@pytest.mark.parametrize(("annotation", "value", "message"), REFUSED)
def test_a_record_that_would_change_is_refused(
    annotation: object, value: object, message: str
) -> None:
    """A record that holds more, less or something else than its fields is refused."""
    with pytest.raises(NotSerializable, match=message):
        codec_for(annotation).encode(value)


@pytest.mark.parametrize("annotation", [Failure, Shape, type("Empty", (), {"x": 1})])
def test_a_class_with_a_life_outside_its_fields_is_refused_at_once(annotation: object) -> None:
    """Exceptions, abstract classes and plain classes can never be rebuilt from fields."""
    with pytest.raises(NotSerializable, match="can never be stored"):
        codec_for(annotation)


def test_a_field_that_can_never_be_stored_is_named() -> None:
    """The error for a class names the field that stands in the way."""

    @dataclass
    class Job:
        run: type[int]

    with pytest.raises(NotSerializable) as caught:
        codec_for(list[Job])
    assert caught.value.path == "return[].run"


def test_a_field_that_cannot_be_resolved_is_named() -> None:
    """A forward reference to nowhere is an error with the place of the field."""

    @dataclass
    class Lost:
        it: "Nowhere"  # type: ignore[name-defined] # noqa: F821 - that is the point

    with pytest.raises(NotSerializable, match="Nowhere") as caught:
        codec_for(Lost)
    assert caught.value.path == "return.it"


def test_a_local_class_may_refer_to_itself() -> None:
    """A class in a function finds itself, although its module does not know it."""

    @dataclass
    class Chain:
        following: "Chain | None" = None

    value = Chain(Chain())
    assert identical(back(Chain, value), value)


def test_attrs_classes_come_back() -> None:
    """Attrs classes are stored by their attributes, private and frozen ones included."""
    attrs = pytest.importorskip("attrs")

    @attrs.define
    class Wheel:
        size: int
        _hidden: tuple[int, ...] = (1,)

    @attrs.frozen
    class Car:
        wheels: list[Wheel]
        name: str = attrs.field(converter=str.upper)

    @attrs.define(slots=False)
    class Old:
        x = attrs.field(type=int)

    for annotation, value in ((Car, Car([Wheel(1), Wheel(2, (3,))], "a")), (Old, Old(5))):
        assert identical(back(annotation, value), value)
    with pytest.raises(NotSerializable, match=r"return\.wheels\[0\]\.size: expected int"):
        codec_for(Car).encode(Car([Wheel("1")], "a"))
    with pytest.raises(NotSerializable, match=r"return\.x: expected int"):
        codec_for(Old).encode(Old("a"))


trees = st.recursive(
    st.builds(Tree, st.integers()),
    lambda inner: st.builds(Tree, st.integers(), st.lists(inner), st.none() | inner),
    max_leaves=20,
)


@given(st.lists(trees))
def test_any_tree_comes_back(value: list[Tree]) -> None:
    """Recursive records of any shape come back identical."""
    assert identical(back(list[Tree], value), value)
