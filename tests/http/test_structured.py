"""Structured fields: targeted Cache-Control, lists of strings, No-Vary-Search."""

import time

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillfresh.http.rules import structured
from stillfresh.http.rules.structured import SearchVariance

OWN, CDN = b"stillfresh-cache-control", b"cdn-cache-control"


def targeted(*lines, names=(OWN, CDN)):
    return structured.targeted(tuple(lines), names)


def test_the_first_field_of_the_list_that_is_there_counts():
    """RFC 9213 2.2: the order is that of the target list, not that of the response."""
    both = ((CDN, b"max-age=1"), (OWN, b"max-age=2"))
    assert targeted(*both).seconds(b"max-age") == 2
    assert targeted(*both, names=(CDN, OWN)).seconds(b"max-age") == 1
    assert targeted((CDN, b"max-age=1")).seconds(b"max-age") == 1
    assert targeted((CDN, b"max-age=1"), names=(OWN,)) is None
    assert targeted() is None
    assert targeted((OWN, b"max-age=0"), (CDN, b"max-age=1")).seconds(b"max-age") == 0


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"  ",
        b"max-age=10, &&&&&",
        b"max-age=10,",
        b'max-age="10"',
        b"max-age=1.5",
        b"max-age=-1",
        b"max-age=?1",
        b"max-age",
        b"max-age=a10",
        b"max-age=(10)",
        b"s-maxage=x",
        b"Max-Age=10",
        b"max-age=10000000000000000",
        b"x=1, max-age='10'",
    ],
)
def test_an_invalid_field_is_ignored_as_a_whole(value):
    """RFC 9213 2.1: what is no Dictionary, or has a known directive of a wrong type."""
    assert targeted((OWN, value)) is None
    assert targeted((OWN, value), (CDN, b"max-age=7")).seconds(b"max-age") == 7


def test_directives_of_a_targeted_field():
    """RFC 9213 2.1: Booleans are there or not; parameters and unknown members are no matter."""
    found = targeted((OWN, b"max-age=10;x=1, private=?0, no-cache, foo=bar"), (OWN, b"no-store"))
    assert found.seconds(b"max-age") == 10
    assert found.has(b"no-cache")
    assert found.has(b"no-store")
    assert not found.has(b"private")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ()),
        ([b'"a"'], ("a",)),
        ([b'"a", "B b"', b'"c";x=1'], ("a", "B b", "c")),
        ([b'"a\\"b"'], ('a"b',)),
        ([b'"a", b'], ()),
        ([b"a"], ()),
        ([b"1"], ()),
        ([b'("a")'], ()),
        ([b'"a"', b"&&"], ()),
        ([b'"a",'], ()),
        ([b", ".join(b'"' + b"g" * 32 + b'"' for _ in range(32))], ("g" * 32,) * 32),
    ],
)
def test_cache_groups_are_a_list_of_strings(lines, expected):
    """RFC 9875 2: 32 groups of 32 characters fit; parameters are ignored; case counts."""
    headers = tuple((b"cache-groups", line) for line in lines)
    assert structured.strings(headers, b"cache-groups") == expected


def test_fields_longer_than_64_kib_are_ignored():
    """However many lines they come in."""
    line = ", ".join(['"a"'] * 6_000).encode()
    assert len(structured.strings(((b"x", line),), b"x")) == 6_000
    assert structured.strings(((b"x", line),) * 3, b"x") == ()


@given(st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1)))
def test_strings_that_are_written_read_as_themselves(texts):
    """Quotes and backslashes included."""
    written = structured.write_strings(texts)
    assert structured.strings(((b"x", written),), b"x") == tuple(texts)


def test_what_no_string_can_hold_is_left_out():
    """RFC 9651 3.3.3: printable ASCII."""
    assert structured.write_strings(["a", "ü", "b\n", "c"]) == b'"a", "c"'


A, B = b"a", b"b"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, SearchVariance()),
        (b"key-order", SearchVariance(ordered=False)),
        (b"key-order=?0", SearchVariance()),
        (b"params", SearchVariance(only=frozenset())),
        (b"params=?0", SearchVariance()),
        (b'params=("a")', SearchVariance(ignore=frozenset({A}))),
        (b'params=("a" "b"), key-order', SearchVariance(frozenset({A, B}), None, ordered=False)),
        (b'params, except=("a")', SearchVariance(only=frozenset({A}))),
        (b"params=()", SearchVariance(ignore=frozenset())),
        (b'params=("%61+b")', SearchVariance(ignore=frozenset({b"a b"}))),
        (b'params=("a"), foo=1', SearchVariance(ignore=frozenset({A}))),
        # wrong: all counts
        (b'except=("a")', SearchVariance()),
        (b'params=("a"), except=("b")', SearchVariance()),
        (b'params=?0, except=("b")', SearchVariance()),
        (b'params="a"', SearchVariance()),
        (b"params=(a)", SearchVariance()),
        (b"params=(1)", SearchVariance()),
        (b"key-order=1", SearchVariance()),
        (b'params, except="a"', SearchVariance()),
        (b"&&", SearchVariance()),
        (b"", SearchVariance()),
    ],
)
def test_no_vary_search_says_what_of_a_query_counts(value, expected):
    """No-Vary-Search (draft) section 3: what is wrong in any part gives the default."""
    headers = () if value is None else ((b"no-vary-search", value),)
    assert structured.no_vary_search(headers) == expected


@given(st.binary(max_size=100))
def test_no_value_raises(value):
    """Bytes of any kind have a reading."""
    headers = ((OWN, value), (b"no-vary-search", value), (b"g", value))
    structured.targeted(headers, (OWN,))
    structured.no_vary_search(headers)
    structured.strings(headers, b"g")


@pytest.mark.parametrize(
    "value",
    [
        b'"a",' * 20_000,
        b"(" * 60_000,
        b'"' * 60_000,
        b'"\\"' * 20_000,
        b"a=1," * 15_000,
        b"a;a" * 20_000,
        b"9" * 60_000,
        b"a" * 10_000_000,
    ],
    ids=lambda value: repr(value[:6]),
)
def test_long_hostile_values_are_read_in_time(value):
    """The parser is linear, and what is longer than 64 KiB is not read."""
    headers = ((OWN, value), (b"no-vary-search", value), (b"g", value))
    started = time.thread_time()
    structured.targeted(headers, (OWN,))
    structured.no_vary_search(headers)
    structured.strings(headers, b"g")
    assert time.thread_time() - started < 2


def test_what_is_written_is_a_structured_field():
    """The library that reads them agrees."""
    assert http_sf.parse(structured.write_strings(["a b"]), tltype="list") == [("a b", {})]
