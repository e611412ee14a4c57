"""Conditions: 304 toward the client, validation inward, parts of a body."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillfresh.http.rules import conditional
from stillfresh.http.rules.conditional import UNSATISFIABLE, names_tag
from stillfresh.http.rules.fields import format_date

NOW = 1_800_000_000.0
EARLY, LATE = format_date(NOW - 5000), format_date(NOW - 2000)


def fields(**values):
    return tuple((name.replace("_", "-").encode(), value) for name, value in values.items())


@pytest.mark.parametrize(
    ("condition", "tag", "expected"),
    [
        # RFC 9110 8.8.3.2: weak comparison
        (b'"a"', b'"a"', True),
        (b'W/"a"', b'"a"', True),
        (b'"a"', b'W/"a"', True),
        (b'W/"a"', b'W/"a"', True),
        (b'"a"', b'"b"', False),
        (b'"a"', b'"A"', False),
        (b'"a"', None, False),
        # RFC 9110 13.1.2: lists
        (b'"a", "1", "2"', b'"a"', True),
        (b'"1", "a", "2"', b'"a"', True),
        (b'"1","2",W/"a"', b'"a"', True),
        (b'  "1" ,\t"a" ', b'"a"', True),
        (b', ,"a",', b'"a"', True),
        (b'"1", "2"', b'"a"', False),
        (b"", b'"a"', False),
        (b",", b'"a"', False),
        # a star is any representation, alone
        (b"*", b'"a"', True),
        (b" * ", b'"a"', True),
        (b"*", None, True),
        (b'"x", *', b'"a"', False),
        (b'"*"', b'"a"', False),
        # RFC 9110 8.8.3: any character but quote, space and controls
        (b'"a,b"', b'"a,b"', True),
        (b'"x", "a,b", "y"', b'"a,b"', True),
        (b'"a,b"', b'"a"', False),
        (b'"a\\"', b'"a\\"', True),
        (b'""', b'""', True),
        ('"abcdefü"'.encode(), '"abcdefü"'.encode(), True),
        (b'"\xfc"', b'"\xfc"', True),
        # malformed members match nothing, and hide no other
        (b"a", b'"a"', False),
        (b"a", b"a", False),
        (b'"a"', b"a", False),
        (b'w/"a"', b'"a"', False),
        (b'W"a"', b'"a"', False),
        (b'W\\"a"', b'"a"', False),
        (b'W/ "a"', b'"a"', False),
        (b'x"a"', b'"a"', False),
        (b'"a"x', b'"a"', False),
        (b'"a" "a"', b'"a"', False),
        (b"'a'", b'"a"', False),
        (b'"a b"', b'"a b"', False),
        (b'x, "a"', b'"a"', True),
        (b'"open, "a"', b'"a"', True),
        (b'"a", "open', b'"a"', True),
    ],
)
def test_if_none_match(condition, tag, expected):
    """RFC 9110 13.1.2."""
    assert names_tag(condition, tag) is expected


@pytest.mark.parametrize(
    "condition",
    [
        b", ".join(b'"%d"' % n for n in range(10_000)),
        b'"' * 100_000,
        b'W/"' * 50_000,
        b'"a' * 50_000,
        b'"a",' * 50_000,
        b'x"a",' * 30_000,
        b" " * 100_000 + b'"a"',
        b"," * 100_000,
    ],
    ids=lambda value: repr(value[:8]),
)
def test_ten_thousand_tags_are_compared_in_time(condition):
    """RFC 9110 13.1.2: a list that is long, or made to confuse, costs its length once."""
    started = time.thread_time()  # of the processor: others may have it meanwhile
    names_tag(condition, b'"zz"')
    names_tag(condition + b',"zz"x', b'"zz"')
    names_tag(condition + b',"zz"', b'"zz"')
    assert time.thread_time() - started < 0.5


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_no_condition_raises(condition, tag):
    """Bytes of any kind have a reading."""
    names_tag(condition, tag)
    conditional.byte_range(condition, 10)
    headers = fields(if_none_match=condition, if_modified_since=condition, if_range=condition)
    conditional.not_modified(headers, tag, tag, tag, NOW)
    conditional.range_applies(headers, fields(etag=tag, last_modified=tag, date=tag), NOW)


tags = st.from_regex(rb'(?:W/)?"[\x21\x23-\x7e]{0,8}"', fullmatch=True)


@given(st.lists(tags), tags, st.lists(tags))
def test_a_tag_is_found_wherever_it_stands_in_a_list(before, tag, after):
    """RFC 9110 13.1.2: lists of any valid tags, commas inside included."""
    assert names_tag(b", ".join([*before, tag, *after]), tag)


@pytest.mark.parametrize(
    ("request_", "stored", "expected"),
    [
        (dict(if_none_match=b'"a"'), (b'"a"', None, None), True),
        (dict(if_none_match=b'"b"'), (b'"a"', None, None), False),
        # RFC 9110 13.2.2: If-None-Match decides alone
        (dict(if_none_match=b'"a"', if_modified_since=format_date(NOW - 10_000)), (b'"a"', EARLY, None), True),
        (dict(if_none_match=b'"b"', if_modified_since=LATE), (b'"a"', EARLY, None), False),
        (dict(if_none_match=b"garbage", if_modified_since=LATE), (b'"a"', EARLY, None), False),
        # RFC 9110 13.1.3
        (dict(if_modified_since=LATE), (None, EARLY, None), True),
        (dict(if_modified_since=EARLY), (None, EARLY, None), True),
        (dict(if_modified_since=EARLY), (None, LATE, None), False),
        (dict(if_modified_since=b"nonsense"), (None, EARLY, None), False),
        (dict(if_modified_since=LATE), (None, b"nonsense", None), False),
        # RFC 9111 4.3.2: without Last-Modified its Date counts
        (dict(if_modified_since=LATE), (None, None, EARLY), True),
        (dict(if_modified_since=EARLY), (None, None, LATE), False),
        (dict(if_modified_since=LATE), (None, None, None), False),
        ({}, (b'"a"', EARLY, EARLY), False),
    ],
)  # fmt: skip
def test_not_modified(request_, stored, expected):
    """RFC 9110 13.2.2: which condition is asked, and what it says."""
    assert conditional.not_modified(fields(**request_), *stored, NOW) is expected


def test_conditions_on_several_lines_are_one_list():
    """RFC 9110 5.3, 13.1.3: tags are a list, a date is not."""
    two = ((b"if-none-match", b'"x"'), (b"if-none-match", b'"a"'))
    assert conditional.not_modified(two, b'"a"', None, None, NOW)
    dates = ((b"if-modified-since", LATE), (b"if-modified-since", LATE))
    assert not conditional.not_modified(dates, None, EARLY, None, NOW)


def test_fields_of_a_304():
    """RFC 9110 15.4.5: what guides caches and browsers, and nothing that describes a body."""
    kept = fields(
        etag=b'"a"', date=EARLY, cache_control=b"max-age=5", expires=LATE, vary=b"a",
        content_location=b"/a", content_security_policy=b"x", last_modified=EARLY,
        access_control_allow_origin=b"*", x_frame_options=b"deny", age=b"1", custom=b"1",
        strict_transport_security=b"x", cache_groups=b'"a"', no_vary_search=b"params",
    )  # fmt: skip
    dropped = fields(
        content_type=b"a/b", content_length=b"0", content_encoding=b"gzip", content_range=b"x",
        content_language=b"de", content_disposition=b"inline", set_cookie=b"a=b",
        transfer_encoding=b"chunked", accept_ranges=b"bytes", set_cookie2=b"a=b", trailer=b"x",
    )  # fmt: skip
    assert conditional.fields_of_304((*dropped, *kept)) == kept


# Entity tags


def test_an_entity_tag_is_a_digest_of_body_and_representation():
    """RFC 9110 8.8.1: another body, type, coding or language has another one; other fields none."""
    made = conditional.entity_tag(fields(content_type=b"a/b"), b"body")
    assert made == b'W/"1be604d183dec53f752988ff5d2000ed"'  # in every process
    assert conditional.is_entity_tag(made)
    assert made == conditional.entity_tag(fields(date=EARLY, content_type=b"a/b"), b"body")
    different = {
        made,
        conditional.entity_tag(fields(content_type=b"a/c"), b"body"),
        conditional.entity_tag(fields(content_type=b"a/b"), b"body2"),
        conditional.entity_tag(fields(content_type=b"a/b", content_encoding=b"br"), b"body"),
        conditional.entity_tag(fields(content_type=b"a/b", content_language=b"br"), b"body"),
        conditional.entity_tag((), b"body"),
        conditional.entity_tag(fields(content_type=b""), b"body"),
        conditional.entity_tag((), b"body3:a/b--"),
    }
    assert len(different) == 8
    strong = conditional.entity_tag(fields(content_type=b"a/b"), b"body", strong=True)
    assert b"W/" + strong == made


# Validation


def test_a_fill_sends_no_condition_of_the_client():
    """http-rules.md C6: the handler renders a whole 200. All other fields go along (RFC 9111 4.3.1)."""
    sent = fields(
        accept=b"x", if_none_match=b'"c"', if_modified_since=LATE, if_match=b"*", range=b"bytes=1-",
        if_range=b'"c"', if_unmodified_since=LATE, cookie=b"a=b",
    )  # fmt: skip
    assert conditional.inward(sent) == fields(accept=b"x", cookie=b"a=b")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (dict(etag=b'"a"'), dict(if_none_match=b'"a"')),
        (dict(etag=b'W/"a"'), dict(if_none_match=b'W/"a"')),
        (dict(last_modified=EARLY), dict(if_modified_since=EARLY)),
        (dict(etag=b'"a"', last_modified=EARLY), dict(if_none_match=b'"a"', if_modified_since=EARLY)),
        (dict(etag=b""), {}),
        ({}, {}),
    ],
)  # fmt: skip
def test_validators_are_sent_as_they_were_received(stored, expected):
    """RFC 9111 4.3.1."""
    headers = fields(**stored)
    assert conditional.validators(headers) == fields(**expected)
    assert conditional.has_validator(headers) is bool(expected)


@pytest.mark.parametrize(
    ("stored", "fresh", "expected"),
    [
        (dict(etag=b'"a"'), dict(etag=b'"a"'), True),
        (dict(etag=b'"a"'), dict(etag=b'W/"a"'), True),
        (dict(etag=b'"a"'), dict(etag=b'"b"'), False),
        (dict(etag=b'"a"'), {}, True),
        (dict(last_modified=EARLY), dict(etag=b'"a"'), False),
        (dict(last_modified=EARLY), dict(last_modified=EARLY), True),
        (dict(last_modified=EARLY), dict(last_modified=LATE), False),
        (dict(last_modified=EARLY), {}, True),
        (dict(etag=b'"a"', last_modified=EARLY), dict(etag=b'"a"', last_modified=LATE), True),
    ],
)
def test_a_304_speaks_of_the_response_that_it_names(stored, fresh, expected):
    """RFC 9111 4.3.4: another tag or date is another response, and updates nothing."""
    assert conditional.confirms(fields(**stored), fields(**fresh)) is expected


def test_a_304_updates_what_does_not_describe_the_bytes():
    """RFC 9111 3.2: fields of the 304 replace those stored, lines together; the rest stays."""
    stored = (
        (b"content-type", b"a/b"), (b"content-length", b"4"), (b"content-encoding", b"br"),
        (b"link", b"1"), (b"link", b"2"), (b"date", EARLY), (b"age", b"9"), (b"kept", b"1"),
    )  # fmt: skip
    fresh = (
        (b"content-type", b"x/y"), (b"content-length", b"0"), (b"content-range", b"x"),
        (b"content-encoding", b"gzip"), (b"link", b"3"), (b"date", LATE), (b"age", b"5"),
        (b"connection", b"close"), (b"new", b"1"), (b"transfer-encoding", b"chunked"),
        (b"content-md5", b"x"), (b"trailer", b"x"), (b"te", b"x"), (b"keep-alive", b"x"), (b"upgrade", b"x"),
    )  # fmt: skip
    updated = conditional.freshened(stored, fresh)
    assert sorted(updated) == sorted((
        (b"content-type", b"a/b"), (b"content-length", b"4"), (b"content-encoding", b"br"),
        (b"link", b"3"), (b"date", LATE), (b"kept", b"1"), (b"new", b"1"),
    ))  # fmt: skip


# Parts of a body


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 9110 14.1.2
        (b"bytes=0-1", (0, 2)),
        (b"bytes=0-0", (0, 1)),
        (b"bytes=1-", (1, 11)),
        (b"bytes=-1", (10, 11)),
        (b"bytes=-11", (0, 11)),
        (b"bytes=-500", (0, 11)),
        (b"bytes=0-500", (0, 11)),
        (b"bytes=10-10", (10, 11)),
        (b"BYTES=0-1", (0, 2)),
        (b"bytes= 0-1 ", (0, 2)),
        (b"bytes=00-01", (0, 2)),
        (b"bytes=11-", UNSATISFIABLE),
        (b"bytes=11-20", UNSATISFIABLE),
        (b"bytes=-0", UNSATISFIABLE),
        # no valid single range: the whole is sent
        (b"bytes=2-1", None),
        (b"bytes=0-1,3-4", None),
        (b"bytes=", None),
        (b"bytes=-", None),
        (b"bytes=a-b", None),
        (b"bytes=1", None),
        (b"bytes=+1-2", None),
        (b"bytes 0-1", None),
        (b"items=0-1", None),
        (b"", None),
        (b"bytes=0-" + b"9" * 18, (0, 11)),
        (b"bytes=0-" + b"9" * 19, None),
        (b"bytes=0-" + b"9" * 10_000, None),
        (b"bytes=" + b"9" * 10_000 + b"-", None),
    ],
)
def test_one_range_of_bytes(value, expected):
    """RFC 9110 14.2: a range that is not understood is ignored."""
    assert conditional.byte_range(value, 11) == expected


def test_no_range_of_an_empty_body():
    """RFC 9110 14.1.2: nothing is there to be sent."""
    assert conditional.byte_range(b"bytes=0-", 0) is UNSATISFIABLE
    assert conditional.byte_range(b"bytes=-5", 0) is UNSATISFIABLE


def test_content_range_says_what_is_sent():
    """RFC 9110 14.4, 15.5.17."""
    assert conditional.content_range((0, 2), 11) == b"bytes 0-1/11"
    assert conditional.content_range(UNSATISFIABLE, 11) == b"bytes */11"


@pytest.mark.parametrize(
    ("condition", "stored", "expected"),
    [
        (b'"a"', dict(etag=b'"a"'), True),
        (b'"a"', dict(etag=b'"b"'), False),
        (b'"a"', dict(etag=b'W/"a"'), False),
        (b'W/"a"', dict(etag=b'W/"a"'), False),
        (b'W/"a"', dict(etag=b'"a"'), False),
        (b'"a"', {}, False),
        (b"a", dict(etag=b"a"), False),
        (EARLY, dict(last_modified=EARLY, date=LATE), True),
        (LATE, dict(last_modified=EARLY, date=LATE), False),
        (EARLY, dict(last_modified=EARLY, date=EARLY), False),
        (EARLY, dict(last_modified=EARLY, date=format_date(NOW - 5000 + 60)), True),
        (EARLY, dict(last_modified=EARLY, date=format_date(NOW - 5000 + 59)), False),
        (EARLY, dict(last_modified=EARLY), False),
        (EARLY, dict(date=LATE), False),
        (b"nonsense", dict(last_modified=EARLY, date=LATE), False),
    ],
)
def test_if_range_compares_strongly(condition, stored, expected):
    """RFC 9110 13.1.5: a strong tag, or a date of change that is a minute older than Date."""
    assert conditional.range_applies(fields(if_range=condition), fields(**stored), NOW) is expected


def test_without_if_range_the_range_goes():
    """RFC 9110 14.2; two conditions are none that can be met."""
    assert conditional.range_applies((), fields(etag=b'"a"'), NOW)
    two = ((b"if-range", b'"a"'), (b"if-range", b'"a"'))
    assert not conditional.range_applies(two, fields(etag=b'"a"'), NOW)
