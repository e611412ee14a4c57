"""Keys: two requests share one only if they ask for the same."""

import time
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillfresh.http.rules import key
from stillfresh.http.rules.structured import SearchVariance


def primary(url=b"/a", host="h", scheme="http", **more):
    path, _, query = url.partition(b"?")
    return key.primary(scheme, host, key.normal_escapes(path), key.normal_query(query), **more)


COLLISIONS = [
    b"/x/a?b=1", b"/x/ab=1", b"/x/a", b"/x/a/", b"/x//a", b"/x/a;b", b"/x/a;b=1", b"/x/a%3Bb",
    b"/x/a%2Fb", b"/x/a/b", b"/x/a%3Fb=1", b"/x/a%3fb", b"/x/a%26b", b"/x/a&b", b"/x/a%3Db", b"/x/a=b",
    b"/x/a%00", b"/x/a%252Fb", b"/x/a%25", b"/x/a%", b"/x/a+b", b"/x/a%20b", b"/x/a%2Bb",
    b"/x/./a", b"/x/../x/a", b"/x/a?", b"/X/a", b"/x/A", b"/x/\xfc", b"/x/\xc3\xbc",
    b"/x/a?b", b"/x/a?b=", b"/x/a?b=1&b=2", b"/x/a?b=2&b=1", b"/x/a?b=12", b"/x/a?b=1%26b%3D2",
    b"/x/a?b=1;b=2", b"/x/a?b=1&&b=2", b"/x/a?B=1", b"/x/a?b=%00", b"/x/a?b=+", b"/x/a?b=%20",
    b"/x/a?b[]=1", b"/x/a?b=1&c=2", b"/x/a?c=1&b=2", b"/x/a?bc=1&=2", b"/x/a?=b", b"/x/a?b==1",
    b"/x/a?\xff=1", b"/x/a?a?b=1", b"/x/a/b=1", b"/x/a?b=1#", b"/x/a?b=1%23",
]  # fmt: skip


def test_what_is_not_the_same_never_collides():
    """http-rules.md A11: path and query cannot run into each other, nor an escape into what it escapes."""
    same = {frozenset({b"/x/a", b"/x/a?"})}  # an empty query is none
    found = [
        (one, other)
        for one, other in combinations(COLLISIONS, 2)
        if primary(one) == primary(other) and frozenset({one, other}) not in same
    ]
    assert found == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # RFC 3986 6.2.2.1, 6.2.2.2
        (b"/%7euser", b"/~user"),
        (b"/%41", b"/A"),
        (b"/a%2fb", b"/a%2Fb"),
        (b"/%c3%bc", b"/%C3%BC"),
        (b"/%2e%2e/a", b"/../a"),
        (b"/a?b=%2f", b"/a?b=%2F"),
        (b"/a?%62=1", b"/a?b=1"),
        # http-rules.md A12: sorted by name, repeated values in their order
        (b"/a?b=1&a=2", b"/a?a=2&b=1"),
        (b"/a?b=1&a=2&b=0", b"/a?b=1&b=0&a=2"),
    ],
)
def test_what_is_the_same_has_one_key(one, other):
    """Only what every server reads as the same."""
    assert primary(one) == primary(other)


@pytest.mark.parametrize(
    "other",
    [
        dict(scheme="https"),
        dict(host="g"),
        dict(host="h:8080"),
        dict(host="h."),
        dict(action="a"),
        dict(extra=(b"",)),
        dict(extra=(b"a",)),
        dict(extra=(b"a", b"")),
        dict(url=b"/a?a"),
    ],
)
def test_every_part_of_a_key_counts(other):
    """http-rules.md A11: scheme, host, action and further parts."""
    keys = {primary(), primary(**other), primary(extra=(b"", b"a"))}
    assert len(keys) == 3


def test_parts_do_not_run_together():
    """Lengths are written: another split of the same bytes is another key."""
    splits = [
        (b"ab", b"c"),
        (b"a", b"bc"),
        (b"abc",),
        (b"abc", b""),
        (b"", b"abc"),
        (b"1:a", b"bc"),
    ]
    assert len({key.digest(split) for split in splits}) == len(splits)


@pytest.mark.parametrize(
    ("scheme", "host", "expected"),
    [
        ("http", "Example.COM", "example.com"),
        ("http", "h:80", "h"),
        ("https", "h:443", "h"),
        ("http", "h:443", "h:443"),
        ("https", "h:80", "h:80"),
        ("http", "h:8080", "h:8080"),
        ("http", "[::1]:80", "[::1]"),
        ("http", "[::80]", "[::80]"),
        ("ws", "h:80", "h:80"),
        ("http", "", ""),
    ],
)
def test_hosts_are_lower_case_without_a_default_port(scheme, host, expected):
    """RFC 9110 4.2.3."""
    assert key.normal_host(scheme, host) == expected


@given(st.binary(max_size=60))
def test_normal_forms_are_final(text):
    """Normalising twice changes nothing, and nothing raises."""
    once = key.normal_escapes(text)
    assert key.normal_escapes(once) == once
    query = key.normal_query(text)
    assert key.normal_query(query) == query
    assert key.plain_value(key.plain_value(text)) == key.plain_value(text)
    assert key.languages(key.languages(text)) == key.languages(text)
    key.accepted_codings(text)
    key.unordered_languages(text)
    key.searched(text, SearchVariance())


@given(st.lists(st.sampled_from([b"a=1", b"a=2", b"b", b"c=%41"]), max_size=6))
def test_sorting_keeps_all_parameters(pieces):
    """Nothing is lost or made up."""
    query = b"&".join(pieces)
    expected = sorted(piece.replace(b"%41", b"A") for piece in pieces)
    assert sorted(filter(None, key.normal_query(query).split(b"&"))) == expected


@pytest.mark.parametrize(
    ("query", "patterns", "expected"),
    [
        (b"utm_source=x&a=1&utm_medium=y", ["utm_*"], b"a=1"),
        (b"a=1&fbclid=2", ["fbclid"], b"a=1"),
        (b"fbclid2=1", ["fbclid"], b"fbclid2=1"),
        (b"%75tm_source=x", ["utm_*"], b""),
        (b"UTM_x=1", ["utm_*"], b"UTM_x=1"),
        (b"a[b]=1&a=2", ["a[b]"], b"a=2"),
        (b"aXb=1", ["a?b"], b"aXb=1"),
        (b"a=utm_x", ["utm_*"], b"a=utm_x"),
        (b"", ["*"], b""),
    ],
)
def test_ignored_parameters(query, patterns, expected):
    """http-rules.md A12: `*` alone is special, and only names are looked at."""
    assert key.normal_query(query, ignored=key.name_matcher(patterns)) == expected


def test_the_order_counts_where_the_user_says_so():
    """http-rules.md A12: sort_query=False."""
    assert key.normal_query(b"b=1&a=%7e", ordered=True) == b"b=1&a=~"


@pytest.mark.parametrize(
    ("variance", "one", "other", "same"),
    [
        # No-Vary-Search (draft), section 6: comparing
        (SearchVariance(), b"a=1", b"a=1", True),
        (SearchVariance(), b"a=1&b=2", b"b=2&a=1", False),
        (SearchVariance(), b"a=%31", b"a=1", True),
        (SearchVariance(), b"a=+", b"a=%20", True),
        (SearchVariance(), b"a", b"a=", True),
        (SearchVariance(), b"&a=1&", b"a=1", True),
        (SearchVariance(ordered=False), b"a=1&b=2", b"b=2&a=1", True),
        (SearchVariance(ordered=False), b"a=1&a=2", b"a=2&a=1", False),
        (SearchVariance(frozenset({b"u"})), b"a=1&u=5", b"u=6&a=1", True),
        (SearchVariance(frozenset({b"u"})), b"a=1&%75=5", b"a=1", True),
        (SearchVariance(frozenset({b"u"})), b"a=1", b"a=2", False),
        (SearchVariance(only=frozenset({b"a"})), b"a=1&z=1", b"y=2&a=1", True),
        (SearchVariance(only=frozenset({b"a"})), b"a=1", b"a=2", False),
        (SearchVariance(only=frozenset()), b"a=1", b"", True),
        (SearchVariance(), b"a=1%26b%3D2", b"a=1&b=2", False),
    ],
)
def test_no_vary_search_compares_queries(variance, one, other, same):
    """No-Vary-Search: equal results are one URL, and nothing else is."""
    assert (key.searched(one, variance) == key.searched(other, variance)) is same


def test_a_target_is_a_url_without_its_query():
    """RFC 9111 4.4: what an unsafe request invalidates."""
    assert key.target("http", "H:80", b"/%7ea") == key.target("http", "h", b"/~a")
    others = {
        key.target("http", "h", b"/a"),
        key.target("https", "h", b"/a"),
        key.target("http", "g", b"/a"),
        key.target("http", "h", b"/b"),
    }
    assert len(others) == 4


# Variants


def variant(names, *lines, normalizers=key.COMMON_NORMALIZERS):
    return key.variant(names, lines, normalizers)


def test_no_field_no_variant():
    """A response without Vary is found under the primary key itself."""
    assert variant(()) == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([(b"foo", b"1, 2")], [(b"foo", b"1"), (b"foo", b"2")]),
        ([(b"foo", b"1,2")], [(b"foo", b" 1, 2 ")]),
        ([(b"foo", b"1")], [(b"foo", b"1"), (b"other", b"3")]),
        ([], [(b"other", b"3")]),
    ],
)
def test_lines_and_spaces_do_not_make_variants(one, other):
    """RFC 9111 4.1: combined lines, and space where the syntax gives it no meaning."""
    assert variant([b"foo"], *one) == variant([b"foo"], *other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([(b"foo", b"1")], [(b"foo", b"2")]),
        ([(b"foo", b"1")], []),
        ([(b"foo", b"")], []),
        ([(b"foo", b"1, 2")], [(b"foo", b"2, 1")]),
        ([(b"foo", b"a")], [(b"foo", b"A")]),
        ([(b"foo", b"a b")], [(b"foo", b"ab")]),
        ([(b"foo", b'"1, 2"')], [(b"foo", b'"1,2"')]),
        ([(b"foo", b"x"), (b"bar", b"y")], [(b"foo", b"y"), (b"bar", b"x")]),
    ],
)
def test_values_make_variants(one, other):
    """RFC 9111 4.1: absent, empty, order and case are told apart in a field that is not known."""
    names = [b"bar", b"foo"]
    assert variant(names, *one) != variant(names, *other)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"gzip, deflate, br, zstd", b"br,deflate,gzip,zstd"),
        (b"br;q=0.1, GZIP ; Q=1.0", b"br,gzip"),
        (b"x-gzip", b"gzip"),
        (b"gzip;q=0", b""),
        (b"gzip;q=0.000, br", b"br"),
        (b"gzip;q=0.001", b"gzip"),
        (b"gzip;q=nonsense", b""),
        (b"*", b"br,deflate,gzip,zstd"),
        (b"*;q=0", b"no-identity"),
        (b"*, gzip;q=0", b"br,deflate,zstd"),
        (b"identity;q=0, gzip", b"gzip,no-identity"),
        (b"identity", b""),
        (b"", b""),
        (b"exotic, gzip", b"gzip"),
    ],
)
def test_accept_encoding_is_reduced_to_what_is_taken(value, expected):
    """RFC 9110 12.5.3: clients that take the same codings are one variant."""
    assert key.accepted_codings(value) == expected


@pytest.mark.parametrize(
    ("accepted", "coding", "expected"),
    [
        (b"gzip", None, True),
        (b"gzip", b"gzip", True),
        (b"gzip", b"x-gzip", True),
        (b"gzip, br", b"GZip, br", True),
        (b"gzip;q=0", b"gzip", False),
        (None, b"gzip", False),
        (b"br", b"gzip", False),
        (None, b"identity", True),
        (b"exotic", b"exotic", False),
    ],
)
def test_a_coding_that_was_not_asked_for_fills_no_variant(accepted, coding, expected):
    """http-rules.md I: an application that compresses `gzip;q=0` must not poison those who cannot."""
    headers = () if accepted is None else ((b"accept-encoding", accepted),)
    assert key.coding_fits(headers, coding) is expected


@pytest.mark.parametrize(
    ("one", "other", "safe", "loose"),
    [
        (b"en, de", b"eN, De", True, True),
        (b"en, de", b" en ,   de", True, True),
        (b"en, de", b"de, en", False, True),
        (b"en;q=0.5, de", b"de;q=1.0, en; q=0.5", False, True),
        (b"en, de", b"en, de;q=0.5", False, False),
        (b"en", b"de", False, False),
    ],
)
def test_accept_language(one, other, safe, loose):
    """RFC 9110 12.5.4: case and space never count, the order of equals not in profile `rfc`."""
    field = b"accept-language"
    assert (variant([field], (field, one)) == variant([field], (field, other))) is safe
    same = variant([field], (field, one), normalizers=key.LOOSE_NORMALIZERS) == variant(
        [field], (field, other), normalizers=key.LOOSE_NORMALIZERS
    )
    assert same is loose


@pytest.mark.parametrize(
    "value",
    [
        b"%" * 30_000,
        b"%41" * 20_000,
        b"&" * 30_000,
        b"a;q=" * 10_000,
        b"a=1&" * 10_000,
        b'"' * 30_000,
    ],
    ids=lambda value: repr(value[:4]),
)
def test_long_hostile_values_are_read_in_time(value):
    """No URL and no field costs more than its length."""
    ignored = key.name_matcher(["*a*b*c*d*e", "utm_*"])
    started = time.thread_time()
    key.normal_query(key.normal_escapes(value), ignored=ignored)
    key.searched(value, SearchVariance(ordered=False))
    key.accepted_codings(value)
    key.unordered_languages(value)
    assert time.thread_time() - started < 1
