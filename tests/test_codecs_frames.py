"""Frames: read by the type that wrote them, and by nothing else."""

import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple, TypedDict, Union
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillfresh.codecs import UNKNOWN, Codec, UnreadableFrame, codec_for
from stillfresh.codecs.frame import HEAD, MAX_INFLATED, seal
from stillfresh.codecs.identical import identical
from stillfresh.errors import InvalidOption, NotSerializable


class Color(Enum):
    RED = 1


class Movie(TypedDict, total=False):
    title: str
    stars: list[int]


class Point(NamedTuple):
    x: int
    y: float


class Strict(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise LookupError(self.x)


@dataclass
class Everything:
    when: datetime | None
    prices: dict[str, Decimal]
    colors: set[Color]
    movie: Movie
    points: tuple[Point, ...]
    mode: Literal["a", "b"]
    rest: Any
    inner: "Everything | None" = None


VALUE = Everything(
    when=datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Amsterdam")),
    prices={"a": Decimal("1.00")},
    colors={Color.RED},
    movie={"stars": [1, 2], "title": "t"},
    points=(Point(1, 2.0),),
    mode="b",
    rest={"a": [None, 2**70]},
    inner=Everything(None, {}, set(), {}, (), "a", ""),
)
CODECS = [codec_for(Everything), codec_for(Everything, compress=True)]


def read(codec: Codec, data: bytes) -> object:
    """What a cache would make of *data*: a value, or None for a miss."""
    try:
        return codec.decode(data)
    except UnreadableFrame:
        return None


def made(name: str, fields: list[tuple[str, object]]) -> type:
    """A dataclass as another version of the program would define it."""
    cls = make_dataclass(name, fields)
    cls.__module__ = "shop"
    return cls


def test_the_bytes_of_a_frame_are_written_down() -> None:
    """The layout of version 1 stays readable: version, fingerprint, crc32, msgpack."""
    golden = bytes.fromhex("10a3c2aa72db54827ac7b8046081a16101")
    codec = codec_for(UNKNOWN)
    assert codec.encode({"a": 1}).hex() == golden.hex()
    assert codec.decode(golden) == {"a": 1}


def test_a_fingerprint_is_written_down() -> None:
    """A fingerprint is the same in every process, on every machine, in every release."""
    cls = made("Order", [("id", int), ("lines", list[tuple[str, Decimal]]), ("when", datetime)])
    assert codec_for(cls).fingerprint.hex() == "f5d480988a375a38"


def test_a_fingerprint_does_not_depend_on_the_process() -> None:
    """Another hash seed, and another order of equal unions, give the same fingerprint."""
    code = (
        "from typing import List, Union, Literal, Optional\n"
        "import sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from stillfresh.codecs import codec_for\n"
        "List[Union[str, int, None]], Literal[2, 1]\n"
        "print(codec_for(List[Union[int, str, None]]).fingerprint.hex())\n"
        "print(codec_for(Literal[1, 2]).fingerprint.hex())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout.split()[0]
        for seed in ("1", "2")
    }
    here = codec_for(list[Union[int, str, None]]).fingerprint  # noqa: UP007 - the old spelling
    assert outputs == {here.hex().encode()}


def versions() -> list[tuple[str, object]]:
    class Other(Enum):
        RED = 1
        GREEN = 2

    class First(TypedDict):
        x: int

    class Second(TypedDict, total=False):
        x: int

    First.__qualname__ = Second.__qualname__ = "Version"
    Other.__qualname__ = Color.__qualname__
    return [
        ("a field", made("A", [("x", int)])),
        ("of another type", made("A", [("x", float)])),
        ("with another name", made("A", [("y", int)])),
        ("in another class", made("B", [("x", int)])),
        ("and one more", made("A", [("x", int), ("y", int)])),
        ("optional", made("A", [("x", int | None)])),
        ("nested", made("A", [("x", made("B", [("x", int)]))])),
        ("nested and changed", made("A", [("x", made("B", [("x", str)]))])),
        ("an enum", Color),
        ("with one more member", Other),
        ("a literal", Literal["a"]),
        ("of an int", Literal[1]),
        ("of a bool", Literal[True]),
        ("a typed dict", First),
        ("without its required key", Second),
        ("a list", list[int]),
        ("a set", set[int]),
        ("a tuple", tuple[int, ...]),
        ("of one", tuple[int]),
        ("unknown", UNKNOWN),
    ]


def test_a_changed_type_has_another_fingerprint() -> None:
    """Fields, their names and types, members, keys and containers all count."""
    prints = {name: codec_for(annotation).fingerprint for name, annotation in versions()}
    assert len(set(prints.values())) == len(prints)


def test_an_older_type_reads_as_a_miss() -> None:
    """What another version of a class wrote is unreadable, though its shape would do."""
    old, new = made("A", [("x", int)]), made("A", [("y", int)])
    frame = codec_for(old).encode(old(1))
    with pytest.raises(UnreadableFrame, match="another type"):
        codec_for(new).decode(frame)


@pytest.mark.parametrize("codec", CODECS, ids=["plain", "compressed"])
def test_every_cut_frame_is_a_miss(codec: Codec) -> None:
    """A frame cut anywhere, or with anything behind it, is unreadable."""
    frame = codec.encode(VALUE)
    for length in range(len(frame)):
        with pytest.raises(UnreadableFrame):
            codec.decode(frame[:length])
    with pytest.raises(UnreadableFrame):
        codec.decode(frame + b"\x00")


@pytest.mark.parametrize("codec", CODECS, ids=["plain", "compressed"])
def test_every_flipped_bit_is_a_miss(codec: Codec) -> None:
    """No single flipped bit goes unnoticed."""
    frame = codec.encode(VALUE)
    for place in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(UnreadableFrame):
            codec.decode(bytes(damaged))


@given(st.binary(max_size=200))
def test_random_bytes_are_a_miss(data: bytes) -> None:
    """Bytes that nobody wrote are unreadable."""
    assert read(CODECS[0], data) is None


@given(st.binary(max_size=200), st.booleans())
def test_a_forged_payload_never_crashes(payload: bytes, compress: bool) -> None:
    """With the right fingerprint and checksum, garbage is a value or a miss, nothing else."""
    for codec in (*CODECS, codec_for(UNKNOWN), codec_for(Strict)):
        read(codec, seal(codec.fingerprint, payload, compress=compress))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.text(max_size=3) | st.binary(max_size=16),
    lambda inner: st.lists(inner, max_size=6),
)


@given(plain)
def test_a_forged_shape_never_crashes(shape: object) -> None:
    """Well-formed msgpack of the wrong shape is a value or a miss, nothing else."""
    payload = msgspec.msgpack.encode(shape)
    kinds: list[object] = [Everything, Color, Point, Movie, datetime, Decimal, Strict, set[int]]
    kinds += [dict[str, list[int] | None], Literal["a"], complex, tuple[int, str], UNKNOWN]
    for kind in kinds:
        codec = codec_for(kind)
        value = read(codec, seal(codec.fingerprint, payload, compress=False))
        if value is not None:
            assert identical(codec.decode(codec.encode(value)), value)


@given(st.lists(st.integers(0, 10**6)), st.randoms())
def test_damage_gives_the_same_value_or_a_miss(value: list[int], random: Any) -> None:
    """However many bytes are damaged, nothing but the stored value is ever read."""
    codec = codec_for(list[int], compress=True)
    frame = bytearray(codec.encode(value))
    for _ in range(random.randint(0, 4)):
        frame[random.randrange(len(frame))] = random.randrange(256)
    assert read(codec, bytes(frame)) in (value, None)


def test_what_the_types_raise_is_a_miss() -> None:
    """An exception of the user's class while it is rebuilt is no value."""
    codec = codec_for(Strict)
    payload = msgspec.msgpack.encode([-1])
    with pytest.raises(UnreadableFrame, match="LookupError"):
        codec.decode(seal(codec.fingerprint, payload, compress=False))


def test_compression_is_used_where_it_helps() -> None:
    """`compress=True` makes a large frame small and leaves a small one alone."""
    codec, bare = codec_for(str, compress=True), codec_for(str)
    assert len(codec.encode("a" * 10_000)) < 100
    assert codec.encode("a") == bare.encode("a")
    assert codec.decode(codec.encode("a" * 10_000)) == "a" * 10_000
    # The switch may be turned while old entries live.
    assert bare.decode(codec.encode("a" * 10_000)) == "a" * 10_000


def forged(length: int, data: bytes) -> tuple[Codec, bytes]:
    codec = codec_for(bytes)
    front = b"\x11" + codec.fingerprint
    payload = length.to_bytes(4, "big") + data
    return codec, front + zlib.crc32(payload, zlib.crc32(front)).to_bytes(4, "big") + payload


BOMB = zlib.compress(bytes(50_000_000))


@pytest.mark.parametrize("length", [0, 10, 1_000_000, MAX_INFLATED + 1, 2**32 - 1])
def test_a_bomb_is_a_miss_and_takes_no_memory(length: int) -> None:
    """Whatever a compressed frame claims, no more than that is unfolded, and it is a miss."""
    codec, frame = forged(length, BOMB)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableFrame):
            codec.decode(frame)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_claim_of_many_items_takes_no_memory() -> None:
    """A payload that announces four thousand million items is a miss, not an allocation."""
    codec = codec_for(UNKNOWN)
    for head in (b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xdd\x00\x01\x00\x00" * 200 + b"\xdd"):
        tracemalloc.start()
        try:
            frame = seal(codec.fingerprint, head + b"\xff\xff\xff\xff", compress=False)
            with pytest.raises(UnreadableFrame):
                codec.decode(frame)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


def test_a_deep_payload_is_a_miss() -> None:
    """A payload nested beyond any stack is unreadable, not a crash."""
    codec = codec_for(UNKNOWN)
    frame = seal(codec.fingerprint, b"\x91" * 100_000 + b"\xc0", compress=False)
    with pytest.raises(UnreadableFrame):
        codec.decode(frame)


class Reverse:
    """A serializer of texts that can fail in every way."""

    def encode(self, value: Any) -> Any:
        return 5 if value == "five" else value.encode()[::-1]

    def decode(self, data: bytes) -> str:
        return data[::-1].decode()


def test_a_serializer_of_the_user_is_used() -> None:
    """`serializer=` turns values to bytes, whatever the annotation says."""
    codec = codec_for(Callable[[], int], serializer=Reverse())
    assert codec.encode("abc")[HEAD:] == b"cba"
    assert codec.decode(codec.encode("abc")) == "abc"
    codec.try_value("abc")


def test_what_a_serializer_raises_is_translated() -> None:
    """A serializer that refuses a value is NotSerializable, one that cannot read is a miss."""
    codec = codec_for(str, serializer=Reverse())
    with pytest.raises(NotSerializable, match="AttributeError") as caught:
        codec.encode(7)
    assert isinstance(caught.value.__cause__, AttributeError)
    with pytest.raises(NotSerializable, match="gave a int, not bytes"):
        codec.encode("five")
    with pytest.raises(UnreadableFrame, match="UnicodeDecodeError"):
        codec.decode(seal(codec.fingerprint, b"\xff", compress=False))


def test_another_serializer_or_type_reads_as_a_miss() -> None:
    """What one serializer wrote for one type, no other reads."""

    class Other(Reverse):
        pass

    codecs = [
        codec_for(str),
        codec_for(str, serializer=Reverse()),
        codec_for(int, serializer=Reverse()),
        codec_for(str, serializer=Other()),
    ]
    assert len({codec.fingerprint for codec in codecs}) == len(codecs)


@pytest.mark.parametrize("serializer", [object(), "pickle", zlib])
def test_what_is_no_serializer_is_an_invalid_option(serializer: object) -> None:
    """An object without encode and decode is refused when the codec is made."""
    with pytest.raises(InvalidOption, match=r"encode\(value\) -> bytes and decode"):
        codec_for(str, serializer=serializer)


SAME_TYPES: list[tuple[object, object]] = [
    (Literal[1, 2], Literal[2, 1]),
    (list[int] | str, str | list[int]),
    (list[Union[None, int]] | list[float], list[float] | list[int | None]),  # noqa: RUF036, UP007 - the old spelling
]


@pytest.mark.parametrize(("one", "two"), SAME_TYPES)
def test_equal_annotations_have_one_fingerprint(one: object, two: object) -> None:
    """Spelling and order do not count, since typing may hand out either for the other."""
    assert codec_for(one).fingerprint == codec_for(two).fingerprint


FORGED: list[tuple[object, object]] = [
    (set[int], [1, 1]),
    (dict[int, int], [1, 1, 1, 2]),
    (dict[int, int], [1, 1, 2]),
    (dict[int, int], [1, "one"]),
    (dict[int, int], ["one", 1]),
    (dict[str, object], [[], 1]),
    (Movie, [0, "t", 0, "u"]),
    (Movie, [9, "t"]),
    (Point, [1]),
    (Literal["a"], 1),
    (int | str, [2, 1]),
    (int, 1.0),
    (complex, [1, 2]),
    (Decimal, "1.0 "),
]


@pytest.mark.parametrize(("annotation", "shape"), FORGED)
def test_a_shape_that_nobody_lowers_to_is_a_miss(annotation: object, shape: object) -> None:
    """Doubled items and keys, wrong numbers and other types are unreadable."""
    codec = codec_for(annotation)
    payload = msgspec.msgpack.encode(shape)
    with pytest.raises(UnreadableFrame):
        codec.decode(seal(codec.fingerprint, payload, compress=False))
