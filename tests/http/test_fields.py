"""Values of fields: read strictly, in one pass, and never with an exception."""

import time
from math import inf

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stillfresh.http.rules import fields
from stillfresh.http.rules.fields import FOREVER

NOW = 1_800_000_000.0  # 15 January 2027
HOSTILE = [
    b'"' * 30_000,
    b'"\\' * 15_000,
    b'"\\"' * 10_000,
    b'a="' * 10_000,
    b"a=b," * 10_000,
    b" , " * 10_000,
    b"max-age=" + b"9" * 30_000,
    b"max-age=" + b"0" * 30_000,
    b'x="' + b"\\a" * 15_000,
    b"=" * 30_000,
    b"\xff" * 30_000,
]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", []),
        (b" , ,\t, ", []),
        (b"a", [b"a"]),
        (b" a ,b\t, c d ", [b"a", b"b", b"c d"]),
        (b'"a,b", c', [b'"a,b"', b"c"]),
        (b'"a\\",b", c', [b'"a\\",b"', b"c"]),
        (b'x="a,b";q="c,d", e', [b'x="a,b";q="c,d"', b"e"]),
        (b'"a",b', [b'"a"', b"b"]),
        (b'"open, b', [b'"open', b"b"]),
        (b'a, "b", c="d, e', [b"a", b'"b"', b'c="d', b"e"]),
    ],
)
def test_lists_are_split_at_commas_outside_of_quotes(value, expected):
    """RFC 9110 5.6.1: empty members count for nothing; a quote never closed hides nothing."""
    assert fields.members(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"0", 0),
        (b"60", 60),
        (b"0060", 60),
        (b"2147483647", 2147483647),
        (b"2147483648", FOREVER),
        (b"99999999999", FOREVER),
        (b"9" * 10_000, FOREVER),
        (b"0" * 10_000, 0),
        (b"", None),
        (b" 1", None),
        (b"1 ", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.0", None),
        (b"1e3", None),
        (b"0x10", None),
        (b"1_0", None),
        (b'"60"', None),
        (b"'60'", None),
        ("٣".encode(), None),
        (b"60a", None),
        (None, None),
    ],
)
def test_delta_seconds_are_ascii_digits(text, expected):
    """RFC 9111 1.2.2: digits and nothing else, and no more than 2**31 of them are told apart."""
    assert fields.delta_seconds(text) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"max-age=60"], 60),
        ([b"MAX-age=60"], 60),
        ([b"a, max-age=60, b=c"], 60),
        ([b"max-age=1800, max-age=1"], 1),
        ([b"max-age=1", b"max-age=1800"], 1),
        ([b"max-age=10, max-age=x"], 0),
        ([b"max-age"], 0),
        ([b"max-age="], 0),
        ([b'max-age="60"'], 0),
        ([b"max-age='60'"], 0),
        ([b"max-age =60"], 0),
        ([b"max-age= 60"], 0),
        ([b"max-age=-60"], 0),
        ([b"max-age=60.0"], 0),
        ([b"max-age=a60"], 0),
        ([b"max-age=60;x"], 0),
        ([b'x="max-age=60"'], None),
        ([b'x="max-age=60", max-age=1'], 1),
        ([b"max-age60"], None),
        ([b"xmax-age=60"], None),
        ([b'x="open, max-age=60'], 0),
        ([b"no-cache"], None),
        ([], None),
    ],
)
def test_the_time_of_a_directive_is_the_smallest_and_zero_if_wrong(lines, expected):
    """RFC 9111 4.2.1: what is invalid or said twice counts as the shorter, or as stale."""
    assert fields.cache_control(lines).seconds(b"max-age") == expected


@pytest.mark.parametrize(
    "line",
    [
        b"no-store",
        b"NO-Store",
        b"max-age=5, no-store",
        b"no-store=yes",
        b"no-store =yes",
        b'no-store="x"',
        b'x="open, no-store',
        b'x="a", no-store',
        b" \t, no-store ,",
    ],
)
def test_what_forbids_is_found_however_it_is_written(line):
    """RFC 9111 5.2: names in any case, arguments or not; no broken quote hides a directive."""
    assert fields.cache_control([b"max-age=9", line]).has(b"no-store")


@pytest.mark.parametrize("line", [b'x="no-store"', b"x=no-store", b"no-stores", b'"no-store"'])
def test_what_only_looks_like_a_directive_is_none(line):
    """RFC 9111 5.2: a word inside an argument is no directive."""
    assert not fields.cache_control([line]).has(b"no-store")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"7200"], 7200),
        ([b"7200, 0"], 7200),
        ([b"0, 7200"], 0),
        ([b"7200", b"0"], 7200),
        ([b"0", b"7200"], 0),
        ([b" 30 "], 30),
        ([b"2147483649"], FOREVER),
        ([b"abc"], 0),
        ([b"-7200"], 0),
        ([b"7200.0"], 0),
        ([b"7200;a=b"], 0),
        ([b""], 0),
        ([], 0),
    ],
)
def test_age_is_the_first_member_of_the_first_line(lines, expected):
    """RFC 9111 5.1: what follows is dropped, and what is no number is ignored."""
    assert fields.age(tuple((b"age", line) for line in lines)) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ()),
        ([b""], ()),
        ([b"Accept"], (b"accept",)),
        ([b"b, A", b" a ,,c"], (b"a", b"b", b"c")),
        ([b"*"], None),
        ([b"*, *"], None),
        ([b"", b"*"], None),
        ([b", *"], None),
        ([b"a, *"], None),
        ([b"*, a"], None),
        ([b"a b"], None),
        ([b'"a"'], None),
        ([b"a;q=1"], None),
        ([b"\xff"], None),
    ],
)
def test_vary_names_fields_or_everything(lines, expected):
    """RFC 9110 12.5.5: `*` in any place is `*`, and so is what is no name."""
    assert fields.vary(tuple((b"vary", line) for line in lines)) == expected


# Dates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # RFC 9110 5.6.7: three forms
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        (b"Sun Nov  6 08:49:37 1994", 784111777),
        (b"Sun Nov 16 08:49:37 1994", 784975777),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (b"Sun, 21 Nov 2286 04:46:39 GMT", 10000039599),
        # names in any case, space around it
        (b"SUN, 06 NOV 1994 08:49:37 gmt", 784111777),
        (b" sun, 06 nov 1994 08:49:37 GMT\t", 784111777),
        # a wrong day of the week, a leap second
        (b"Mon, 06 Nov 1994 08:49:37 GMT", 784111777),
        (b"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800),
        # two digits: at most 50 years ahead of now (2027)
        (b"Sunday, 06-Nov-77 08:49:37 GMT", 3403414177),
        (b"Sunday, 06-Nov-78 08:49:37 GMT", 279190177),
        # the zone
        (b"Sun, 06 Nov 1994 08:49:37 UTC", None),
        (b"Sun, 06 Nov 1994 08:49:37 AEST", None),
        (b"Sun, 06 Nov 1994 08:49:37 +0000", None),
        (b"Sun, 06 Nov 1994 08:49:37", None),
        (b"Sun Nov  6 08:49:37 1994 GMT", None),
        # nearly
        (b"Sun, 06 Nov 94 08:49:37 GMT", None),
        (b"Sun 06 Nov 1994 08:49:37 GMT", None),
        (b"Sun,06 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 06  Nov  1994 08:49:37 GMT", None),
        (b"Sun, 06-Nov-1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 08.49.37 GMT", None),
        (b"Sun, 06 Nov 1994 8:49:37 GMT", None),
        (b"Sun, 6 Nov 1994 08:49:37 GMT", None),
        (b"Sun Nov 6 08:49:37 1994", None),
        (b"Sun Nov 06 08:49:37 1994", 784111777),
        (b"Sunday, 06 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 06-Nov-94 08:49:37 GMT", None),
        (b"Foo, 06 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 06 Foo 1994 08:49:37 GMT", None),
        # no such day or time
        (b"Sun, 31 Feb 1994 08:49:37 GMT", None),
        (b"Sun, 00 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 0000 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 24:00:00 GMT", None),
        (b"Sun, 06 Nov 1994 08:60:00 GMT", None),
        (b"Sun, 06 Nov 1994 08:49:61 GMT", None),
        # no date
        (b"1994-11-06T08:49:37Z", None),
        (b"784111777", None),
        (b"0", None),
        (b"-1", None),
        (b"", None),
        (b"Sun, 06 Nov 1994 08:49:37 GMT\n", None),
        ("Sun, 06 Nov 199٤ 08:49:37 GMT".encode(), None),
        (b"x" * 100_000, None),
        (None, None),
    ],
)
def test_dates_have_exactly_three_forms(text, expected):
    """RFC 9110 5.6.7."""
    assert fields.http_date(text, NOW) == expected


@given(st.integers(0, 253_402_300_799))
@example(0)
@example(951_782_400)  # 29 February 2000
def test_a_date_that_is_written_reads_as_itself(moment):
    """Every second from 1970 to 9999 comes back from IMF-fixdate."""
    assert fields.http_date(fields.format_date(moment), NOW) == moment


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0, 0), (1.9, 1), (-3, 0), (inf, FOREVER), (1e12, FOREVER), (FOREVER, FOREVER)],
)
def test_seconds_are_sent_whole_and_bounded(length, expected):
    """RFC 9111 1.2.2: rounded down, so that nobody is told more than is left."""
    assert fields.whole_seconds(length) == expected


# Whatever comes


@given(st.binary(max_size=200))
def test_no_value_raises(value):
    """Bytes of any kind have a reading."""
    headers = ((b"age", value), (b"vary", value), (b"date", value))
    fields.members(value)
    fields.delta_seconds(value)
    control = fields.cache_control([value, value])
    control.seconds(b"max-age")
    fields.age(headers)
    fields.vary(headers)
    fields.http_date(value, NOW)
    fields.form_decoded(value)


@given(st.lists(st.sampled_from([b'"', b",", b"\\", b"a", b" ", b"=", b"no-store"]), max_size=40))
def test_members_read_again_are_the_same(pieces):
    """Reading what was read changes nothing: the split is stable where quotes are closed."""
    found = fields.members(b"".join(pieces))
    if not fields.cache_control([b"".join(pieces)]).broken:
        assert fields.members(b", ".join(found)) == found


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value[:6]))
def test_long_hostile_values_are_read_in_time(value):
    """30,000 bytes made to confuse a parser take no longer than so many plain ones."""
    headers = ((b"age", value), (b"vary", value), (b"date", value))
    started = time.thread_time()
    fields.members(value)
    fields.cache_control([value]).seconds(b"max-age")
    fields.age(headers)
    fields.vary(headers)
    fields.http_date(value, NOW)
    assert time.thread_time() - started < 0.5  # a parser that is quadratic takes minutes
