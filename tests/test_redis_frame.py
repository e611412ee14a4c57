"""What entries look like on the server: golden bytes, odd bytes, and names."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillfresh.entry import Entry, Verdict, Windows, judge, refresh_due
from stillfresh.errors import InvalidOption
from stillfresh.providers.base import Address
from stillfresh.providers.counters import is_counter
from stillfresh.providers.redis.client import Refusal
from stillfresh.providers.redis.frame import (
    ANY_RUN,
    Markers,
    UnreadableEntry,
    fresh_value,
    life_ms,
    mark_of,
    read_entry,
    read_front,
    seal,
)
from stillfresh.providers.redis.names import (
    FENCES,
    LONGEST,
    Names,
    checked_prefix,
    encode,
    key_in,
    short,
)

GOLDEN = Path(__file__).parent / "golden" / "redis_entry_v1.hex"
RUN, MARK = b"0123abcd", b"abcdefghijklmnopqrstuvwx"
VERSIONS = {
    "products": (b"0123abcd:AAAAAAAAAAAAAAAA", b"0123abcd:BBBBBBBBBBBBBBBB"),
    "produit:é": (b"0123abcd:CCCCCCCCCCCCCCCC", b"0123abcd:DDDDDDDDDDDDDDDD"),
}
NAMES = Names("p")
texts = st.text(st.characters(exclude_categories=()), max_size=300)


def sealed(value: bytes = b"\x00payload\xff", key: str | None = "a long key") -> bytes:
    windows = Windows(300.0, 60.5, inf, 240.0)
    entry = Entry(value, 0.0, windows, frozenset(VERSIONS))
    return seal(entry, RUN, MARK, VERSIONS, key)


def test_the_bytes_of_version_1_stay_as_they_were():
    """What a released version has written is read for ever, and written the same."""
    golden = bytes.fromhex(GOLDEN.read_text("ascii"))
    assert sealed() == golden
    frame = read_front(golden)
    assert frame.windows == (300.0, 60.5, inf, 240.0)
    assert (frame.run, frame.mark, frame.key, frame.expired) == (RUN, MARK, "a long key", False)
    assert frame.tags == VERSIONS
    assert golden[frame.start :] == b"\x00payload\xff"
    assert golden.startswith(b"SF\x01F")


def test_the_age_is_the_life_that_is_gone():
    """No moment is written: 40 of 400 seconds left makes an entry 360 seconds old."""
    entry = Entry(b"x", 0.0, Windows(300.0, 100.0))
    read = read_entry(seal(entry, RUN, MARK, {}, None), 40_000, now=1_000.0)
    assert read.born == pytest.approx(640.0)
    assert judge(read, 1_000.0) is Verdict.STALE
    assert judge(read, 1_041.0) is Verdict.GONE


def test_a_life_that_is_not_known_makes_an_entry_old():
    """Stored between the two questions, it looks older than it is, never younger."""
    data = seal(Entry(b"x", 0.0, Windows(300.0)), RUN, MARK, {}, None)
    for left in (-2, -1, 0):
        assert judge(read_entry(data, left, now=9.0), 9.0) is Verdict.GONE
    for_ever = seal(Entry(b"x", 0.0, Windows(inf)), RUN, MARK, {}, None)
    for left in (-2, -1, 5):
        assert judge(read_entry(for_ever, left, now=9.0), 9.0) is Verdict.FRESH


def test_lives_in_milliseconds():
    """A life is never rounded to nothing, and never longer than the server can count."""
    assert life_ms(Windows(0.0001)) == 1
    assert life_ms(Windows(1.5, 2.0, 3.0)) == 4_500
    assert life_ms(Windows(inf)) is None
    assert life_ms(Windows(1.0, inf)) == life_ms(Windows(1e12)) == 100 * 365 * 86_400_000


def test_an_expired_entry_differs_in_one_byte():
    """Expiring by hand is one byte, at a place that never moves."""
    entry = Entry(b"x", 0.0, Windows(1.0, 1.0))
    fresh = seal(entry, RUN, MARK, {}, None)
    entry.expire()
    expired = seal(entry, RUN, MARK, {}, None)
    assert [n for n in range(len(fresh)) if fresh[n] != expired[n]] == [3]
    assert expired[3:4] == b"E"
    assert read_front(expired).expired


@pytest.mark.parametrize("text", [b"0", b"-1", b"9223372036854775807", b"-9223372036854775808"])
def test_a_counter_is_its_digits(text):
    """Digits alone are an entry, fresh for as long as they live."""
    assert is_counter(text)
    entry = read_entry(text, 5_000, now=7.0)
    assert (entry.value, entry.windows.fresh, entry.tags) == (text, 5.0, frozenset())
    assert read_entry(text, -1, now=7.0).windows.fresh == inf


@pytest.mark.parametrize("text", [b"", b"-", b"1.0", b"+1", b" 1", b"1e3", b"1" * 21])
def test_what_is_no_counter(text):
    """Anything but a sign and digits of 64 bits is none."""
    assert not is_counter(text)
    with pytest.raises(UnreadableEntry):
        read_entry(text, 1, 0.0)


@given(st.integers(0, len(sealed()) - 1))
def test_a_cut_frame_is_unreadable_or_whole(length):
    """A frame that ends before its value begins is none."""
    start = read_front(sealed()).start
    if length < start:
        with pytest.raises(UnreadableEntry):
            read_front(sealed()[:length])
    else:
        assert read_front(sealed()[:length]).tags == VERSIONS


@given(st.binary(max_size=400), st.integers(-2, 1 << 62))
def test_any_bytes_are_an_entry_or_unreadable(data, left):
    """Whatever stands there, nothing else than `UnreadableEntry` is raised."""
    for head in (b"", b"SF\x01", b"SF\x01F", sealed()[:60]):
        try:
            entry = read_entry(head + data, left, 0.0)
        except UnreadableEntry:
            continue
        assert isinstance(entry.value, bytes)


@given(st.integers(0, len(sealed()) - 1), st.integers(0, 255))
def test_a_damaged_byte_never_crashes(at, byte):
    """One wrong byte anywhere is read as something, or not at all."""
    data = bytearray(sealed())
    data[at] = byte
    try:
        entry = read_entry(bytes(data), 1_000, 0.0)
        judge(entry, 0.0)
    except UnreadableEntry:
        pass


@given(texts, st.binary(max_size=50))
def test_any_tag_and_value_come_back(tag, value):
    """Tags are texts of any kind, lone surrogates included."""
    versions = {tag: VERSIONS["products"]}
    entry = Entry(value, 0.0, Windows(1.0), frozenset(versions))
    data = seal(entry, RUN, MARK, versions, tag or None)
    frame = read_front(data)
    assert (frame.tags, frame.key, data[frame.start :]) == (versions, tag or None, value)


def test_marks_tell_bytes_apart():
    """A frame's mark is written in it; other bytes have a digest."""
    assert mark_of(sealed()) == MARK
    assert mark_of(b"41") != mark_of(b"42")


# Names


def test_names_are_readable():
    """In redis-cli a key reads as what it is."""
    address = Address("shop.products.ProductService.product", '"u1",2')
    assert NAMES.value(address) == 'p:v:{shop.products.ProductService.product|"u1",2}'
    assert NAMES.lease(address) == 'p:l:{shop.products.ProductService.product|"u1",2}'
    assert NAMES.marker(None, "product:7") == "p:t:{product:7}"
    assert NAMES.marker("shop", "product:7") == "p:t:{shop|product:7}"
    assert NAMES.value(Address("shop", "naïve *")) == "p:v:{shop|na%C3%AFve%20%2A}"


@given(texts, texts)
def test_nothing_leaves_its_name(namespace, key):
    """A name has one pair of braces, one bar, no glob, no space, and only ASCII."""
    name = NAMES.value(Address(namespace, key))
    assert name.startswith("p:v:{")
    assert name.endswith("}")
    inner = name[5:-1]
    assert inner.count("|") == 1
    assert not set(inner) & set("{}*?[]\\ \r\n\t\0")
    assert name.isascii()
    assert name.isprintable()
    assert len(name) < 2 * LONGEST + 100
    if len(encode(key)) <= LONGEST:
        assert key_in(name.encode()) == key


@given(texts, texts, texts, texts)
def test_two_addresses_have_two_names(a, b, c, d):
    """No namespace and key look like another namespace and key."""
    one, two = Address(a, b), Address(c, d)
    assert (one == two) == (NAMES.value(one) == NAMES.value(two))
    assert NAMES.marker(a, b) != NAMES.marker(None, c)


def test_long_keys_keep_a_readable_head():
    """Beyond 512 bytes a name ends with a hash; nothing a user writes looks like that."""
    one = short("k" * 10_000 + "1")
    two = short("k" * 10_000 + "2")
    assert one != two
    assert one.startswith("k" * 64 + "~")
    assert len(one) == 64 + 1 + 64
    assert short(one) != one  # the tilde of a text is encoded
    assert key_in(f"p:v:{{n|{one}}}".encode()) is None
    assert "%" not in short("é" * 300).partition("~")[0][-2:]


def test_every_fence_can_be_hit():
    """Tags are spread over all fences, the same in every process."""
    assert {NAMES.fence(f"tag{n}") for n in range(1_000)} == set(NAMES.fences())
    assert len(NAMES.fences()) == FENCES
    assert NAMES.fence("products") == "p:f:{a}"


@pytest.mark.parametrize("prefix", ["", "a b", "a{b}", "a*", "a?", "é", "a\n", None, 7, "a|b"])
def test_a_prefix_is_plain(prefix):
    """A prefix that could mean something in a name is refused, and the error says what fits."""
    with pytest.raises(InvalidOption, match="letters, digits"):
        checked_prefix(prefix)
    assert checked_prefix("shop:prod-1.x_y") == "shop:prod-1.x_y"


def token(number: int) -> bytes:
    return b"0123abcd:%016d" % number


TAGS = st.lists(st.sampled_from(["t", "u", "50%", "%b%b", "\u00e9"]), unique=True, max_size=3)
SPANS = st.sampled_from([0.0, 0.5, 10.0, inf])


@settings(max_examples=500)
@given(
    tags=TAGS,
    asked=st.none() | TAGS | st.just("the same"),
    fresh=st.sampled_from([0.5, 10.0, inf]),
    stale=SPANS,
    ahead=SPANS,
    left=st.sampled_from([-2, -1, 0, 1, 400, 9_700, 10_000, 15_000, 19_990, 30_000]),
    passed=st.sampled_from([0.0, 0.4, 9.9]),
    expired=st.booleans(),
    run=st.sampled_from([RUN, ANY_RUN]),
    changed=st.none() | st.integers(0, 5),
)
def test_a_value_that_is_simply_fresh_is_what_the_long_way_calls_fresh(  # noqa: PLR0917  # one argument per part of the case
    tags: list[str],
    asked: Any,
    fresh: float,
    stale: float,
    ahead: float,
    left: int,
    passed: float,
    *,
    expired: bool,
    run: bytes,
    changed: int | None,
):
    """
    The short reading of a frame gives its value exactly where the long one finds a fresh entry.

    Fresh, not expired by hand, no refresh due at the moment of the reply, and all of its tags
    asked for, with the versions that it was written with.
    """
    tags = sorted(tags)
    asked = tags if asked == "the same" else None if asked is None else sorted(asked)
    versions = {tag: (token(2 * n), token(2 * n + 1)) for n, tag in enumerate(tags)}
    made = Entry(b"value", 0.0, Windows(fresh, stale, 0.0, ahead), frozenset(tags), 5)
    made.expired = expired
    data = seal(made, run, MARK, versions, None)
    found, markers = data, None
    if asked:
        markers = Markers(tuple(asked), [f"marker:{n}" for n in range(2 * len(asked))])
        now_there = [token(n) for n in range(2 * len(asked))]
        if changed is not None and changed < len(now_there):
            now_there[changed] = None if changed % 2 else token(99)
        found = [data, *now_there]

    entry = read_entry(data, left, 100.0)
    now = 100.0 + passed
    simply = judge(entry, now) is Verdict.FRESH and not refresh_due(entry, now)
    if tags or asked:
        same = asked == tags and now_there == [one for tag in tags for one in versions[tag]]
        simply = simply and same and run != ANY_RUN
    assert fresh_value(left, found, passed, markers) == (b"value" if simply else None)


@pytest.mark.parametrize(
    ("left", "found"),
    [
        (1_000, None),
        (1_000, b""),
        (1_000, b"12"),
        (1_000, b"SF"),
        (1_000, [None, None, None]),
        (None, sealed()),
        (b"1000", sealed()),
        (Refusal("ERR"), sealed()),
        (1_000, Refusal("WRONGTYPE")),
    ],
)
def test_nothing_else_is_simply_fresh(left, found):
    """Counters, garbage, refusals and missing entries are for the long way."""
    markers = Markers(("t",), ["a", "b"])
    assert fresh_value(left, found, 0.0, None) is None
    assert fresh_value(left, [found, None, None], 0.0, markers) is None
    assert fresh_value(left, found, 0.0, markers) is None
