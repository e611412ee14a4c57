"""Keys: one text, one value, whatever the values."""

import dataclasses
import pickle
from collections import OrderedDict
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillfresh.keys.canonical import KEY_SAFE_TYPES, encode, encode_all

BERLIN = ZoneInfo("Europe/Berlin")
PARIS = ZoneInfo("Europe/Paris")


class Color(Enum):
    RED = 1
    ROSE = RED


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    ONE = "one"

    @property
    def name(self) -> str:  # a class may; the text does not ask it
        return "?"


class Perm(Flag):
    R = 1
    W = 2


class Bits(IntFlag):
    A = 1


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Number(int):
    pass


class Table(dict):
    pass


@dataclasses.dataclass
class Data:
    id: int
    note: str = dataclasses.field(default="", compare=False, repr=False)


@attrs.define
class Attrs:
    id: int
    _private: str = ""


class Struct(msgspec.Struct):
    id: int
    tags: list[str] = []


class Open(pydantic.BaseModel, extra="allow"):
    id: int


class Keyed:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __cache_key__(self) -> object:
        return self.answer


# `st.characters()` has lone surrogates among them.

texts = st.text(st.characters(), max_size=20) | st.text("\"\\,:(){}[]<>=ab.\n'1")
plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary()
    | st.uuids()
    | st.decimals().filter(lambda number: not number.is_snan())  # has no hash
    | st.dates()
    | st.times(timezones=st.sampled_from([UTC, BERLIN, PARIS]) | st.none())
    | st.datetimes(timezones=st.sampled_from([UTC, BERLIN, PARIS]) | st.none())
    | st.timedeltas()
    | st.sampled_from([*Color, *Level, *Word, Perm(0), Perm.R, Perm.R | Perm.W, Bits(1), Bits(8)])
    | st.builds(Text, texts)
    | st.builds(Number, st.integers())
    | st.builds(PurePosixPath, texts.map(lambda text: text.replace("\0", "")))
)


@st.composite
def hashables(draw, depth=1):
    if depth == 0 or draw(st.booleans()):
        return draw(plain)
    inner = hashables(depth - 1)
    return draw(st.lists(inner, max_size=2).map(tuple) | st.frozensets(inner, max_size=3))


@st.composite
def values(draw, depth=2):
    if depth == 0 or draw(st.booleans()):
        return draw(hashables())
    inner = values(depth - 1)
    entries = st.dictionaries(hashables(), inner, max_size=3)
    return draw(
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(hashables(), max_size=3)
        | entries
        | entries.map(OrderedDict)
        | entries.map(Table)
        | st.builds(Data, inner, inner)
        | st.builds(Attrs, inner)
        | st.builds(Struct, inner)
        | st.builds(Keyed, inner)
        | st.dictionaries(texts, inner, max_size=2).map(
            lambda extra: Open.model_construct(**{"id": 1, **extra})
        )
    )


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same argument: of one type, and alike all the way down."""
    if type(a) is not type(b):
        return False
    match a:
        case Enum():
            return a is b
        case float() | Decimal():
            return repr(a) == repr(b)
        case datetime() | time():
            return repr(a) == repr(b)
        case tuple() | list():
            return len(a) == len(b) and all(map(same, a, b))
        case set() | frozenset():
            return alike(list(a), list(b))
        case OrderedDict():
            return same(list(a.items()), list(b.items()))
        case dict():
            return alike(list(a.items()), list(b.items()))
        case Data():
            return same((a.id, a.note), (b.id, b.note))
        case Attrs() | Struct():
            return same(a.id, b.id)
        case Keyed():
            return same(a.answer, b.answer)
        case Open():
            return same(a.id, b.id) and same(a.__pydantic_extra__, b.__pydantic_extra__)
        case str():
            return str.__eq__(a, b)
    return bool(a == b)


def alike(some: list[object], others: list[object]) -> bool:
    """Whether two lists hold the same values in any order."""
    left = list(others)
    for one in some:
        found = next((i for i, other in enumerate(left) if same(one, other)), None)
        if found is None:
            return False
        del left[found]
    return not left


@given(values(), values())
def test_different_values_have_different_texts(a, b):
    """Two values have one text exactly when they are the same argument."""
    assert (encode(a) == encode(b)) is same(a, b)


@given(st.lists(values(), max_size=3), st.lists(values(), max_size=3))
def test_different_calls_have_different_texts(a, b):
    """Values that are joined by commas are still told apart."""
    assert (encode_all(a) == encode_all(b)) is same(a, b)


close = st.sampled_from(
    [
        None,
        True,
        1,
        1.0,
        "1",
        "",
        "a",
        ",",
        '"',
        b"1",
        b"",
        Number(1),
        Text("1"),
        Decimal(1),
        0,
        -0.0,
        0.0,
    ]
)
small = st.recursive(
    close,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.sets(close, max_size=2)
        | st.frozensets(close, max_size=2)
        | st.dictionaries(close, inner, max_size=2)
        | st.builds(Data, inner, inner)
        | st.builds(Keyed, inner)
    ),
    max_leaves=3,
)


@given(small, small)
def test_values_that_look_alike_have_different_texts(a, b):
    """Where collisions are likely, because few characters are in play, there are none."""
    assert (encode(a) == encode(b)) is same(a, b)


@given(values())
def test_a_text_is_one_line_of_utf8(value):
    """Whatever the value, every store and every log line can hold its text."""
    text = encode(value)
    assert len(text.encode().splitlines()) <= 1
    assert len(text.splitlines()) <= 1


@given(st.dictionaries(texts, st.integers()), st.randoms())
def test_the_order_of_a_dict_does_not_matter(value, random):
    """Two equal dicts have one text, however they were filled; so have two equal sets."""
    items = list(value.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(value)
    assert encode({key for key, _ in items}) == encode(set(value))


@pytest.mark.parametrize("kind", sorted(KEY_SAFE_TYPES, key=lambda kind: kind.__name__))
def test_key_safe_types(kind):
    """Of such a type, values are equal exactly when their texts are, and hash alike."""
    samples = {
        str: ["", "a", "é", "e\u0301", "a longer one"],
        int: [0, 1, -1, 10**700],
        bool: [True, False],
        type(None): [None],
        bytes: [b"", b"a", b"a longer one"],
        UUID: [UUID(int=1), UUID(int=2)],
        date: [date(2026, 1, 2), date(2026, 1, 3)],
    }[kind]
    twins = [pickle.loads(pickle.dumps(sample)) for sample in samples]
    assert kind in {bool, type(None)} or samples[-1] is not twins[-1]
    for a in samples:
        for b in [*samples, *twins]:
            assert (a == b) is (encode(a) == encode(b))
            assert a != b or hash(a) == hash(b)
    assert len({*samples, *twins}) == len(samples)
