"""Field lines: found, joined, left out, replaced; order and repetitions stay."""

import pytest

from stillfresh.http.rules.message import (
    first,
    has,
    has_body,
    joined,
    lowered,
    only,
    replaced,
    values,
    without,
)

LINES = ((b"vary", b"a"), (b"etag", b'"1"'), (b"vary", b""), (b"vary", b"b, c"))


def test_lines_of_one_field_keep_their_order():
    """RFC 9110 5.2: repeated lines are one list, in the order in which they came."""
    assert values(LINES, b"vary") == [b"a", b"", b"b, c"]
    assert joined(LINES, b"vary") == b"a, , b, c"
    assert first(LINES, b"vary") == b"a"
    assert values(LINES, b"date") == []
    assert joined(LINES, b"date") is None
    assert first(LINES, b"date") is None
    assert has(LINES, b"etag")
    assert not has(LINES, b"date")


def test_fields_are_chosen_and_left_out_by_name():
    """What is left keeps its order."""
    assert without(LINES, {b"vary"}) == ((b"etag", b'"1"'),)
    assert only(LINES, {b"vary"}) == (LINES[0], LINES[2], LINES[3])


def test_a_replaced_field_is_one_line_where_the_first_one_was():
    """A field that was absent goes to the end."""
    assert replaced(LINES, b"vary", b"x") == ((b"vary", b"x"), (b"etag", b'"1"'))
    assert replaced(LINES, b"age", b"0") == (*LINES, (b"age", b"0"))


def test_names_become_lower_case():
    """RFC 9110 5.1: names are case-insensitive. Values stay."""
    assert lowered([(b"ETag", b'"A"')]) == ((b"etag", b'"A"'),)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), False),
        (((b"content-length", b"0"),), False),
        (((b"content-length", b"1"),), True),
        (((b"content-length", b"nonsense"),), True),
        (((b"transfer-encoding", b"chunked"),), True),
    ],
)
def test_the_head_says_whether_there_is_a_body(headers, expected):
    """RFC 9112 6.3: Content-Length or Transfer-Encoding announce one."""
    assert has_body(headers) is expected
