"""Keys: the canonical text of arguments."""

import dataclasses
import math
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest

from stillfresh.keys.canonical import encode, encode_all

BERLIN = ZoneInfo("Europe/Berlin")
PARIS = ZoneInfo("Europe/Paris")
HERE = __name__  # module of the classes below, as it stands in their texts
T = TypeVar("T")


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


class Rows(list):
    def __iter__(self):
        return iter(())


class Table(dict):
    pass


class Recent(OrderedDict):
    pass


class Point(NamedTuple):
    x: int
    y: int


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


class Model(pydantic.BaseModel):
    id: int
    _cache: int = pydantic.PrivateAttr(default=0)


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Open(pydantic.BaseModel, extra="allow"):
    id: int


class Keyed:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __cache_key__(self) -> object:
        return self.answer


@dataclasses.dataclass
class KeyedData:
    id: int
    loaded: object = None

    def __cache_key__(self) -> int:
        return self.id


class Fixed(tzinfo):
    def utcoffset(self, _):
        return timedelta(hours=2)

    def tzname(self, _):
        return "two"

    def dst(self, _):
        return None


TEXTS = [
    # The simple ones, and those that look like them.
    (None, "null"),
    (True, "true"),
    (False, "false"),
    (1, "1"),
    (-12, "-12"),
    ("1", '"1"'),
    (1.0, "1.0"),
    (0.0, "0.0"),
    (-0.0, "-0.0"),
    (1e22, "1e+22"),
    (math.nan, "nan"),
    (-math.inf, "-inf"),
    ("", '""'),
    ("a,b:*", '"a,b:*"'),
    ('say "hi" \\ bye', '"say \\"hi\\" \\\\ bye"'),
    ("\n\r\t\0", '"\\n\\r\\t\\u0000"'),
    ("\x7f\x85\u2028\u2029", '"\\u007f\\u0085\\u2028\\u2029"'),
    ("\x7f", '"\\u007f"'),
    ("\\u2028", '"\\\\u2028"'),
    ("é漢😀", '"é漢😀"'),
    ("\ud800", '"\\ud800"'),
    (b"", 'b""'),
    (b'a"\\\n\xff', 'b"a\\x22\\x5c\\x0a\\xff"'),
    (UUID(int=5), "UUID(00000000-0000-0000-0000-000000000005)"),
    (Decimal("1.0"), "Decimal(1.0)"),
    (Decimal("1.00"), "Decimal(1.00)"),
    (Decimal("1E+30"), "Decimal(1E+30)"),
    (Decimal("-sNaN5"), "Decimal(-sNaN5)"),
    (PurePosixPath("/a b/c"), 'PurePosixPath("/a b/c")'),
    (PureWindowsPath("c:/a"), 'PureWindowsPath("c:\\\\a")'),
    # Time.
    (date(2026, 1, 2), "date(2026-01-02)"),
    (time(1, 2), "time(01:02:00)"),
    (time(1, 2, fold=1), "time(01:02:00,fold=1)"),
    (time(1, 2, tzinfo=BERLIN), 'time(01:02:00,ZoneInfo("Europe/Berlin"))'),
    (datetime(2026, 1, 2), "datetime(2026-01-02T00:00:00)"),
    (datetime(2026, 1, 2, 3, 4, 5, 6), "datetime(2026-01-02T03:04:05.000006)"),
    (datetime(2026, 1, 2, tzinfo=UTC), "datetime(2026-01-02T00:00:00+00:00)"),
    (
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        'datetime(2026-10-25T02:30:00+01:00,ZoneInfo("Europe/Berlin"),fold=1)',
    ),
    (
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1), "CET")),
        'datetime(2026-01-02T00:00:00+01:00,timezone(UTC+01:00,"CET"))',
    ),
    (
        datetime(2026, 1, 2, tzinfo=Fixed()),
        'datetime(2026-01-02T00:00:00+02:00,timezone(UTC+02:00,"two"))',
    ),
    (timedelta(days=1, microseconds=3), "timedelta(86400.000003)"),
    (timedelta(microseconds=-1), "timedelta(-0.000001)"),
    (UTC, "timezone(UTC)"),
    (timezone(timedelta(hours=-3)), "timezone(UTC-03:00)"),
    (BERLIN, 'ZoneInfo("Europe/Berlin")'),
    # Containers.
    ((), "()"),
    ((1,), "(1,)"),
    ((1, "a"), '(1,"a")'),
    ([], "[]"),
    ([1, [2]], "[1,[2]]"),
    (set(), "set()"),
    ({"b", "a", 1}, '{"a","b",1}'),
    (frozenset(), "frozenset{}"),
    (frozenset({2, 1}), "frozenset{1,2}"),
    ({}, "{}"),
    ({"b": 1, "a": {}}, '{"a":{},"b":1}'),
    (OrderedDict(b=1, a=2), 'OrderedDict{"b":1,"a":2}'),
    (Counter("aab"), 'Counter{"a":2,"b":1}'),
    (defaultdict(int, a=1), 'defaultdict(int){"a":1}'),
    (defaultdict(None, a=1), 'defaultdict{"a":1}'),
    (defaultdict(defaultdict), "defaultdict(defaultdict){}"),
    # Classes.
    (Color.ROSE, f"{HERE}:Color.RED"),
    (Level.LOW, f"{HERE}:Level.LOW"),
    (Word.ONE, f"{HERE}:Word.ONE"),
    (Perm.W, f"{HERE}:Perm.W"),
    (Perm.R | Perm.W, f"{HERE}:Perm(3)"),
    (Perm(0), f"{HERE}:Perm(0)"),
    (Bits(9), f"{HERE}:Bits(9)"),
    (Enum("E", {"a.b": 1}, module="m", qualname="E")["a.b"], 'm:E."a.b"'),
    (Text("x"), f'{HERE}:Text("x")'),
    (Number(3), f"{HERE}:Number(3)"),
    (Point(1, 2), f"{HERE}:Point((1,2))"),
    (Rows([1]), f"{HERE}:Rows([1])"),
    (Table(b=1, a=2), f'{HERE}:Table({{"a":2,"b":1}})'),
    (Recent(b=1, a=2), f'{HERE}:Recent(OrderedDict{{"b":1,"a":2}})'),
    (Data(1, "n"), f'{HERE}:Data(id=1,note="n")'),
    (Attrs(1), f'{HERE}:Attrs(id=1,_private="")'),
    (Struct(1, ["a"]), f'{HERE}:Struct(id=1,tags=["a"])'),
    (Model(id=1), f"{HERE}:Model(id=1)"),
    (Open.model_validate({"id": 1, "z": 2, "b c": 3}), f'{HERE}:Open(id=1,"b c"=3,z=2)'),
    (Page[int](items=[1]), f'{HERE}:"Page[int]"(items=[1])'),
    (Keyed("u1"), f'{HERE}:Keyed<"u1">'),
    (Keyed(("u1", Color.RED)), f'{HERE}:Keyed<("u1",{HERE}:Color.RED)>'),
    (KeyedData(7, loaded=object()), f"{HERE}:KeyedData<7>"),
]


@pytest.mark.parametrize(("value", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_texts(value, text):
    """Each kind of value has this text, in every process and in every version to come."""
    assert encode(value) == text
    assert encode([value]) == f"[{text}]"


def test_no_two_texts_are_equal():
    """All the values of the table above are told apart."""
    assert len({text for _, text in TEXTS}) == len(TEXTS)


def test_all_arguments_are_joined_by_commas():
    """The default key is `"u1",2`, and nothing at all for a call without arguments."""
    assert encode_all(["u1", 2]) == '"u1",2'
    assert encode_all(iter(["a:b"])) != encode_all(["a", "b"])
    assert encode_all([]) == ""


def test_the_order_of_an_ordered_dict_matters():
    """What was moved to the end comes last, also in the text."""
    value = OrderedDict(a=1, b=2)
    value.move_to_end("a")
    assert encode(value) == 'OrderedDict{"b":2,"a":1}'


# --- Two that differ in one thing only.


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (datetime(2026, 7, 1, tzinfo=BERLIN), datetime(2026, 7, 1, tzinfo=PARIS)),
        (
            datetime(2026, 7, 1, tzinfo=BERLIN),
            datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=2))),
        ),
        (datetime(2026, 7, 1), datetime(2026, 7, 1, tzinfo=UTC)),
        (datetime(2026, 7, 1), datetime(2026, 7, 1, fold=1)),
        (datetime(2026, 7, 1), date(2026, 7, 1)),
        (Path("a"), PureWindowsPath("a")),
        (Path("a"), "a"),
        ({1, 2}, frozenset({1, 2})),
        ({}, set()),
        ([1], (1,)),
        (Point(1, 2), (1, 2)),
        ({"a": 1}, OrderedDict(a=1)),
        ({"a": 1}, defaultdict(int, a=1)),
        (defaultdict(int), defaultdict(list)),
        (defaultdict(int), defaultdict(None)),
        (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
        (Level.LOW, 1),
        (Word.ONE, "one"),
        (Data(1, "a"), Data(1, "b")),
        (Keyed("a"), "a"),
        (Keyed(1), Keyed("1")),
        (Text("1"), Number(1)),
        (Page[int](items=[]), Page[str](items=[])),
        ("é", "e\u0301"),
        ("\ud83d\ude00", "😀"),
        (timezone(timedelta(hours=1)), timezone(timedelta(hours=1), "CET")),
    ],
    ids=repr,
)
def test_close_ones_differ(a, b):
    """Type, order, zone and representation are part of the value."""
    assert encode(a) != encode(b)


def test_a_nested_class_is_not_a_class_of_a_submodule():
    """Class `b.C` of module `a` and class `C` of module `a.b` are two classes."""
    nested, top = dataclasses.make_dataclass("C", []), dataclasses.make_dataclass("C", [])
    nested.__module__, nested.__qualname__, top.__module__ = "a", "b.C", "a.b"
    assert encode(nested()) == "a:b.C()"
    assert encode(top()) == "a.b:C()"


def test_a_class_with_an_odd_name_forges_nothing():
    """A name made at run time is quoted, so it cannot continue the text as it likes."""
    odd = type("N(1),Number", (int,), {"__module__": HERE})
    assert encode(odd(2)) == f'{HERE}:"N(1),Number"(2)'


def test_a_local_class_has_its_qualified_name():
    """A class defined in a function is named by its place in the source."""

    class Local(int):
        pass

    assert encode(Local(1)) == f"{HERE}:test_a_local_class_has_its_qualified_name.<locals>.Local(1)"


def test_utc_is_utc():
    """The instant that pydantic reads from "Z" is the one with `timezone.utc`."""
    read = pydantic.TypeAdapter(datetime).validate_python
    assert encode(read("2026-01-02T00:00:00Z")) == encode(datetime(2026, 1, 2, tzinfo=UTC))
    assert encode(read("2026-01-02T00:00:00+02:00")) == encode(
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    )


def test_private_attributes_of_a_model_do_not_count():
    """A pydantic model is its fields; what it keeps to itself is left out."""
    one, other = Model(id=1), Model(id=1)
    other._cache = 5
    assert encode(one) == encode(other)


def test_the_decimal_context_does_not_matter():
    """The text of a Decimal does not depend on settings of the thread."""
    with localcontext() as context:
        context.capitals = 0
        assert encode(Decimal("1E+30")) == "Decimal(1E+30)"


def test_a_huge_int_has_a_text():
    """Ints with more digits than Python agrees to print are keys like others."""
    assert encode(10**5000) == hex(10**5000)
    assert encode(-(10**5000)) == hex(-(10**5000))
    assert encode(Number(10**5000)) == f"{HERE}:Number({10**5000:#x})"


def test_other_processes_find_the_same_text():
    """Neither the order of a set nor the hash of a string reaches the text."""
    code = "from stillfresh.keys.canonical import encode; print(encode([{'a','b','c',1}, {'y': frozenset('xyz')}]))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in "123"
    }
    assert outputs == {'[{"a","b","c",1},{"y":frozenset{"x","y","z"}}]\n'}
