"""Keys: what has no stable text is refused."""

import dataclasses
import gc
import math
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import datetime, timedelta, tzinfo

import attrs
import msgspec
import pydantic
import pytest

from stillfresh.errors import UnstableArgument
from stillfresh.keys.canonical import encode, encode_all

HERE = __name__  # module of the classes below, as it stands in messages


class Slotted(str):
    __slots__ = ("extra",)


@dataclasses.dataclass
class Data:
    id: int
    note: str = dataclasses.field(default="", compare=False, repr=False)


@dataclasses.dataclass
class Late:
    id: int = dataclasses.field(init=False)


@dataclasses.dataclass
class Mixed(dict):
    id: int


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


class Fixed(tzinfo):
    def utcoffset(self, _):
        return timedelta(hours=2)

    def tzname(self, _):
        return "two"

    def dst(self, _):
        return None


class Changing(Fixed):
    def utcoffset(self, dt):
        return None if dt is None else timedelta(hours=dt.month)


class Kind(type):
    pass


class Plain:
    pass


class Unslotted(str):  # noqa: SLOT000 - as users write it
    pass


def with_attribute(value, name="extra"):
    setattr(value, name, 1)
    return value


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (object(), "argument: a value of type object has no stable place in a key."),
        (Plain(), f"argument: a value of type {HERE}:Plain has no stable place in a key."),
        (Plain, "argument: a value of type type has no stable place in a key."),
        (Kind("K", (), {}), f"a value of type {HERE}:Kind"),
        (len, "a value of type builtin_function_or_method"),
        (lambda: 1, "a value of type function"),
        (iter([]), "a value of type list_iterator"),
        (math, "a value of type module"),
        (..., "a value of type ellipsis"),
        (bytearray(b"x"), "a value of type bytearray"),
        (memoryview(b"x"), "a value of type memoryview"),
        (deque([1]), "a value of type collections:deque"),
        (range(3), "a value of type range"),
        (1j, "a value of type complex"),
        (with_attribute(Unslotted("x")), f"{HERE}:Unslotted holds more than the str in it."),
        (with_attribute(Slotted("x")), f"{HERE}:Slotted holds more than the str in it."),
        (with_attribute(Counter("x")), "collections:Counter holds more than the Counter in it."),
        (
            with_attribute(OrderedDict()),
            "collections:OrderedDict holds more than the OrderedDict in it.",
        ),
        (
            defaultdict(lambda: 0),
            "collections:defaultdict has a default_factory that is no builtin",
        ),
        (defaultdict(Plain), "has a default_factory that is no builtin class."),
        (defaultdict(deque), "has a default_factory that is no builtin class."),
        (Mixed(1), f"{HERE}:Mixed holds more than the dict in it."),
        (Late(), f"{HERE}:Late has no value in its field 'id'."),
        (
            datetime(2026, 1, 2, tzinfo=Changing()),
            f"argument.tzinfo: a value of type {HERE}:Changing",
        ),
        (with_attribute(Fixed()), f"a value of type {HERE}:Fixed"),
        (tzinfo(), "a value of type datetime:tzinfo"),
        ([1, object()], "argument[1]: a value of type object"),
        ({"k": (1, object())}, 'argument["k"][1]: a value of type object'),
        ({object(): 1}, "argument.<key>: a value of type object"),
        ({1, object()}, "argument.<member>: a value of type object"),
        (Data(1, [object()]), "argument.note[0]: a value of type object"),
        (Struct([{"a": Attrs(object())}]), 'argument.id[0]["a"].id: a value of type object'),
        (Open(id=1, extra=object()), "argument.extra: a value of type object"),
        (Keyed((1, object())), "argument.__cache_key__()[1]: a value of type object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(value, complaint):
    """What has no stable text is refused, with its type, its place and the way out."""
    with pytest.raises(UnstableArgument) as caught:
        encode(value)
    assert complaint in str(caught.value)
    assert str(caught.value).endswith("Give it __cache_key__(), pass a plain value, or use key=.")
    assert " at 0x" not in str(caught.value)


def test_the_error_keeps_the_value_and_the_name_of_the_argument():
    """The error holds what was refused; the caller says what the argument is called."""
    culprit = object()
    with pytest.raises(UnstableArgument, match=r"^filters\[2\]: ") as caught:
        encode([1, 2, culprit], "filters")
    assert caught.value.value is culprit
    with pytest.raises(UnstableArgument, match=r"^filters: "):
        encode_all([1, culprit], ["user", "filters"])
    with pytest.raises(UnstableArgument, match=r"^arguments\[1\]: "):
        encode_all([1, culprit])


def circle():
    value: list[object] = []
    value.append({"again": (value,)})
    return value


def deep(levels):
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


class Selfish:
    def __cache_key__(self) -> object:
        return self


@pytest.mark.parametrize(
    "value",
    [circle(), deep(100_000), Selfish(), Data(1, circle())],
    ids=["circle", "deep", "own key", "field"],
)
def test_circles_and_depth_are_refused(value):
    """A value in itself, or one without end, is an error of its own and no RecursionError."""
    with pytest.raises(
        UnstableArgument, match="deeper than 64 levels, or contains itself"
    ) as caught:
        encode(value)
    assert len(str(caught.value)) < 400


def test_usual_depth_is_fine():
    """Values as deep as anybody writes them have a text."""
    assert encode(deep(64)) == "[" * 64 + "1" + "]" * 64


def test_a_long_key_does_not_fill_the_message():
    """The way to a culprit is short even where the dict's keys are not."""
    with pytest.raises(UnstableArgument) as caught:
        encode({"x" * 100_000: object()})
    assert len(str(caught.value)) < 300


def test_large_values_finish():
    """A million characters, bytes or members take time in proportion."""
    assert len(encode('"' * 1_000_000)) == 2_000_002
    assert len(encode("\u2028" * 1_000_000)) == 6_000_002
    assert len(encode(b"\0" * 1_000_000)) == 4_000_003
    assert len(encode(list(range(200_000)))) > 200_000


def test_classes_are_not_kept_alive():
    """Having made a key of an object does not keep its class in memory."""
    kind = dataclasses.make_dataclass("Gone", ["id"])
    encode(kind(1))
    reference = weakref.ref(kind)
    del kind
    gc.collect()
    assert reference() is None
