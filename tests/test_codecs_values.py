"""Values without fields: what comes back is what was stored, and what would not is refused."""

import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum, auto
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from socket import socket
from typing import Annotated, Any, Final, Literal, NewType, Optional, TypedDict, TypeVar, Union
from uuid import UUID, uuid1
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillfresh.codecs import UNKNOWN, codec_for
from stillfresh.codecs.identical import identical
from stillfresh.errors import NotSerializable


class Color(Enum):
    RED = "r"
    GREEN = "g"


class Size(IntEnum):
    SMALL = 1
    ALSO_SMALL = 1
    LARGE = 2


class Word(StrEnum):
    YES = "yes"


class Right(Flag):
    READ = auto()
    WRITE = auto()


class Bit(IntFlag):
    ONE = 1
    TWO = 2


class Text(str):
    __slots__ = ()


class Items(list[int]):
    pass


class Plain:
    pass


class Odd(TypedDict):
    inside: list["Odd | Even | int"]


class Even(TypedDict):
    inside: list["Odd | Even | str"]


T = TypeVar("T")
UserId = NewType("UserId", int)
AMSTERDAM = ZoneInfo("Europe/Amsterdam")
NAN = float("nan")


def back(annotation: object, value: object) -> object:
    """Store and read, as two processes would, with a codec each."""
    frame = codec_for(annotation).encode(value)
    return codec_for(annotation).decode(frame)


ROUND_TRIPS: list[tuple[object, object]] = [
    (None, None),
    (type(None), None),
    (bool, True),
    (int, -1),
    (int, 2**63),
    (int, 2**64 - 1),
    (int, 2**64),
    (int, -(2**63) - 1),
    (int, -(10**3000)),
    (float, 1.5),
    (float, NAN),
    (float, float("-inf")),
    (float, -0.0),
    (float, 3),
    (float, 2**70),
    (complex, complex(-0.0, NAN)),
    (complex, 1.5),
    (complex, 2),
    (str, ""),
    (str, "grüß 🎈 \x00"),
    (str, "lone \ud83d surrogate"),
    (bytes, b"\x00\xff"),
    (bytearray, bytearray(b"abc")),
    (Decimal, Decimal("1.00")),
    (Decimal, Decimal("-0E+3")),
    (Decimal, Decimal("sNaN12")),
    (Decimal, Decimal("-Infinity")),
    (UUID, UUID(int=7)),
    (UUID, uuid1()),
    (date, date(1, 1, 1)),
    (time, time(23, 59, 59, 999999, fold=1)),
    (time, time(12, tzinfo=UTC)),
    (timedelta, timedelta.max),
    (timedelta, timedelta.min),
    (timedelta, timedelta(microseconds=-1)),
    (datetime, datetime(2024, 5, 1, 12, 30)),
    (datetime, datetime.max),
    (datetime, datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))),
    (datetime, datetime(2024, 5, 1, tzinfo=UTC)),
    (datetime, datetime(2024, 10, 27, 2, 30, tzinfo=AMSTERDAM)),
    (datetime, datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=AMSTERDAM)),
    (datetime, datetime(2024, 5, 1, tzinfo=timezone(timedelta(seconds=3601, microseconds=5)))),
    (datetime, datetime(2024, 5, 1, tzinfo=timezone(timedelta(0), "UTC"))),
    (datetime, datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=1), "CET"))),
    (Path, Path("/tmp/../x")),
    (PurePath, PurePosixPath("//a/b")),
    (PurePath, PureWindowsPath(r"c:\x\y")),
    (PureWindowsPath, PureWindowsPath("c:x")),
    (Path, Path("\udcff")),
    (Color, Color.GREEN),
    (Size, Size.ALSO_SMALL),
    (Word, Word.YES),
    (Right, Right.READ),
    (Right, Right.READ | Right.WRITE),
    (Right, Right(0)),
    (Bit, Bit.ONE | Bit.TWO),
    (Literal["a", 1, True, b"x"], True),
    (Literal["a", 1, True, b"x"], 1),
    (Literal["a"] | None, None),
    (Literal[Color.RED, "r"], Color.RED),
    (list[int], [1, 2**80]),
    (list, [1, "a", [None]]),
    (set[str], {"a", "b"}),
    (set[float], {NAN, 0.0}),
    (frozenset[Decimal], frozenset({Decimal("1.0")})),
    (set[frozenset[int]], {frozenset({1}), frozenset()}),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], ()),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[()], ()),
    (tuple, (1, "a")),
    (deque[int], deque([1, 2], maxlen=5)),
    (deque[int], deque([1])),
    (dict[str, int], {"b": 1, "a": 2}),
    (dict[tuple[int, str], date], {(1, "a"): date(2024, 1, 1)}),
    (dict[Color, set[int]], {Color.RED: {1}}),
    (dict[bool, int], {True: 1}),
    (dict, {"a": [1], 2: None, None: 1.5, b"b": True, 2**70: "big"}),
    (dict[int, int], {10**5000: 1}),
    (OrderedDict[str, int], OrderedDict(b=1, a=2)),
    (Counter[str], Counter("abba")),
    (defaultdict[str, list[int]], defaultdict(list, a=[1])),
    (defaultdict[str, int], defaultdict(None, a=1)),
    (Sequence[int], [1]),
    (Sequence[int], (1,)),
    (Iterable[int], {1}),
    (Collection[int], frozenset({1})),
    (AbstractSet[int], frozenset({1})),
    (Mapping[str, int], {"a": 1}),
    (Optional[int], None),  # noqa: UP045 - the old spelling is a different object
    (Optional[int], 0),  # noqa: UP045  # the old spelling is a different object
    (Union[int, str], "1"),  # noqa: UP007 - the old spelling is a different object
    (bool | int, 1),
    (bool | int, True),
    (int | float, 1),
    (float | int, 1.0),
    (int | str | list[int] | tuple[int, ...], (1,)),
    (int | str | list[int] | tuple[int, ...], [1]),
    (list[int] | list[str], ["a"]),
    (list[int] | list[str], []),
    (dict[str, int] | list[tuple[str, int]], [("a", 1)]),
    (Literal["a"] | bytes | None, "a"),
    (datetime | date, date(2024, 1, 1)),
    (datetime | date, datetime(2024, 1, 1)),
    (Color | str, "r"),
    (Color | str, Color.RED),
    (int | Any, "anything"),
    (UserId, UserId(5)),
    (Annotated[list[Annotated[int, "positive"]], object()], [1]),
    (Final[int], 1),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS)
def test_a_value_comes_back_as_it_was(annotation: object, value: object) -> None:
    """Whatever fits its annotation comes back the same in type and in value."""
    result = back(annotation, value)
    assert type(result) is type(value)
    assert identical(value, result)
    codec_for(annotation).try_value(value)


REFUSED: list[tuple[object, object, str]] = [
    (int, True, "return: expected int, found bool"),
    (bool, 1, "return: expected bool, found int"),
    (int, 1.0, "return: expected int, found float"),
    (float, True, "return: expected float, found bool"),
    (str, Text("a"), "return: expected str, found Text. A subclass would come back as its base"),
    (str, b"a", "return: expected str"),
    (str, Word.YES, "return: expected str"),
    (int, Size.SMALL, "return: expected int"),
    (bytes, bytearray(b""), "return: expected bytes"),
    (list[int], Items([1]), "return: expected list, found Items"),
    (list[int], (1,), "return: expected list, found tuple"),
    (list[int], [1, "a"], r"return\[1\]: expected int, found str"),
    (tuple[int, int], (1,), "return: expected a tuple of 2, found a tuple of 1"),
    (tuple[int, int], (1, None), r"return\[1\]: expected int"),
    (set[int], {1, "a"}, r"return\{...\}: expected int"),
    (dict[str, int], {"a": 1, "b": "2"}, r"return\['b'\]: expected int"),
    (dict[str, int], {1: 1}, r"return\[1\]: expected str"),
    (dict[int, str], {10**5000: 1}, r"return\[int\]: expected str"),
    (dict[str, int], defaultdict(int), "return: expected dict, found defaultdict"),
    (dict[str, int], OrderedDict(), "return: expected dict, found OrderedDict"),
    (defaultdict[str, int], defaultdict(lambda: 1), "default_factory"),
    (date, datetime(2024, 1, 1), "return: expected date, found datetime"),
    (Literal["a"], "b", "return: expected one of 'a'"),
    (Literal[1], True, "return: expected one of 1"),
    (Bit, Bit(8), "return: Bit without a name"),
    (int | None, "a", "return: expected int | None, found str"),
    (list[int] | None, ["a"], r"return\[0\]: expected int, found str"),
    (Sequence[str], "abc", "return: expected Sequence"),
    (Path, PurePosixPath("a"), "return: expected Path"),
    (UNKNOWN, (1,), "return: a tuple does not come back"),
    (UNKNOWN, {1}, "return: a set does not come back"),
    (UNKNOWN, {"a": [{"b": (1,)}]}, r"return\['a'\]\[0\]\['b'\]: a tuple"),
    (UNKNOWN, {(1, 2): 3}, r"return\[\(1, 2\)\]: a tuple"),
    (UNKNOWN, datetime(2024, 1, 1), "return: a datetime that is not in"),
    (UNKNOWN, datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")), "return: a datetime that is not in"),
    (UNKNOWN, date(2024, 1, 1), "return: an object of date"),
    (UNKNOWN, Text("a"), "return: an object of Text"),
    (UNKNOWN, Items(), "return: an object of Items"),
    (UNKNOWN, OrderedDict(), "return: an object of OrderedDict"),
    (UNKNOWN, Color.RED, "return: an object of Color"),
    (UNKNOWN, Plain(), "return: an object of Plain"),
    (dict[str, Any], {"a": Decimal(1)}, r"return\['a'\]: an object of Decimal"),
    (list, [(1,)], r"return\[0\]: a tuple"),
]


@pytest.mark.parametrize(("annotation", "value", "message"), REFUSED)
def test_a_value_that_would_change_is_refused(
    annotation: object, value: object, message: str
) -> None:
    """A value of any other type than the annotated one is refused, with its place."""
    codec = codec_for(annotation)
    with pytest.raises(NotSerializable, match=message) as caught:
        codec.encode(value)
    assert str(caught.value).startswith(caught.value.path + ": ")
    with pytest.raises(NotSerializable):
        codec.try_value(value)


UNKNOWNS = [
    None,
    True,
    -5,
    2**64,
    -(2**200),
    1.5,
    "text",
    "\udc80",
    b"bytes",
    [],
    {},
    [[{}]],
    {"a": 1, 2: "b", None: [], 1.5: b"", b"k": True},
    {2**70: 1, "\udc80": {"x": 2**90}},
    {datetime(2024, 1, 1, tzinfo=UTC): 1},
    datetime(1, 1, 1, tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
]


@pytest.mark.parametrize("annotation", [UNKNOWN, Any, object, T, dict[str, Any], list[T]], ids=repr)
@pytest.mark.parametrize("value", UNKNOWNS, ids=repr)
def test_what_says_itself_needs_no_annotation(annotation: object, value: object) -> None:
    """Where the annotation says nothing, plain data comes back identical."""
    if annotation == dict[str, Any]:
        value = {"it": value}
    elif annotation == list[T]:
        value = [value]
    assert identical(back(annotation, value), value)


NEVER = [
    Callable[[], int],
    socket,
    Generator[int, None, None],
    type(threading.Lock()),
    Plain,
    list[Plain],
    dict[str, Plain],
    tuple[int, Plain],
    int | Plain,
    type[int],
    type,
    Enum,
    Exception,
    memoryview,
    range,
    tuple[int, *tuple[str, ...]],
    list["Nowhere"],  # type: ignore[name-defined] # noqa: F821 - that is the point
]


@pytest.mark.parametrize("annotation", NEVER, ids=repr)
def test_a_type_that_can_never_be_stored_is_refused_at_once(annotation: object) -> None:
    """A type without a way back is an error before any value exists."""
    with pytest.raises(NotSerializable) as caught:
        codec_for(annotation)
    assert len(str(caught.value)) > 40


def test_the_path_of_a_refused_type_says_where_it_stands() -> None:
    """The error for a type names the place in the annotation."""
    with pytest.raises(NotSerializable, match=r"^return\[\]\[1\]: Plain can never be stored") as e:
        codec_for(dict[str, tuple[int, Plain]])
    assert e.value.path == "return[][1]"


def test_a_strange_time_zone_is_refused() -> None:
    """A time zone that cannot be named cannot come back."""

    class Zone(ZoneInfo):
        pass

    with pytest.raises(NotSerializable, match=r"time zone of .*Zone cannot be rebuilt"):
        codec_for(datetime).encode(datetime(2024, 1, 1, tzinfo=Zone("UTC")))


def test_a_circle_is_named_not_followed() -> None:
    """A value that contains itself is refused, with the place where it closes."""
    inner: list[object] = []
    value = {"a": inner}
    inner.append(value)
    with pytest.raises(NotSerializable, match="contains itself") as caught:
        codec_for(Any).encode(value)
    assert caught.value.path == "return['a'][0]"


@pytest.mark.parametrize("annotation", [UNKNOWN, list[Any], list[list[Any]]], ids=repr)
def test_a_value_nested_too_deeply_is_refused(annotation: object) -> None:
    """Ten thousand levels are an error that says so, not a crash."""
    value: list[object] = []
    for _ in range(10_000):
        value = [value]
    with pytest.raises(NotSerializable, match="nested") as caught:
        codec_for(annotation).encode(value)
    assert len(str(caught.value)) < 400


def test_a_union_of_unions_is_tried_in_linear_time() -> None:
    """A branch that failed for a value is not tried again, or this would take for ever."""
    value: object = b"neither int nor str"
    for _ in range(60):
        value = {"inside": [value]}
    with pytest.raises(NotSerializable, match="fits no branch"):
        codec_for(Odd | Even).encode(value)


def test_the_same_object_twice_is_no_circle() -> None:
    """What is shared, and no circle, is stored twice."""
    shared = [1]
    assert back(list[list[int]], [shared] * 300) == [[1]] * 300


texts = st.text(st.characters(exclude_categories=()))
keys = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary()
plain = st.recursive(
    keys, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=30
)
zones = st.sampled_from([None, UTC, AMSTERDAM, timezone(timedelta(minutes=-90))])
typed: list[tuple[object, st.SearchStrategy[Any]]] = [
    (
        dict[tuple[int, str], list[datetime | date | None]],
        st.dictionaries(
            st.tuples(st.integers(), texts),
            st.lists(st.datetimes(timezones=zones) | st.dates() | st.none()),
        ),
    ),
    (
        list[int | str | float | list[int] | tuple[int, ...] | frozenset[Decimal]],
        st.lists(
            st.integers()
            | texts
            | st.floats()
            | st.lists(st.integers())
            | st.lists(st.integers()).map(tuple)
            | st.frozensets(st.decimals(allow_nan=False))
        ),
    ),
    (
        set[tuple[UUID, time, timedelta]],
        st.sets(st.tuples(st.uuids(), st.times(timezones=zones), st.timedeltas())),
    ),
    (Sequence[complex | bytes | Color], st.lists(st.complex_numbers() | st.binary())),
]


@given(plain)
def test_any_plain_data_comes_back(value: object) -> None:
    """Plain data of any shape comes back identical without an annotation."""
    assert identical(back(UNKNOWN, value), value)


@given(st.data())
def test_any_typed_value_comes_back(data: st.DataObject) -> None:
    """Values of nested annotated types come back identical."""
    annotation, strategy = data.draw(st.sampled_from(typed))
    value = data.draw(strategy)
    assert identical(back(annotation, value), value)
