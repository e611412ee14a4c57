"""Stored responses as bytes: what is read back is what was written, or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillfresh.codecs.unreadable import UnreadableFrame
from stillfresh.http.engine.stored import FRAMES, Stored

STORED = Stored(200, ((b"a", b"b"), (b"a", b"")), b"\0body", age=1.5, lifetime=60.0, vary=(b"x",))


def same(one, other):
    return all(getattr(one, name) == getattr(other, name) for name in Stored.__struct_fields__)


def test_a_response_comes_back():
    """Status, fields in their order, body, and what a hit has to know."""
    assert same(FRAMES.decode(FRAMES.encode(STORED)), STORED)


@pytest.mark.parametrize(
    "line",
    [
        (b"a", b"b\r\nx: y"),
        (b"a", b"b\n"),
        (b"a", b"b\0"),
        (b"a b", b""),
        (b"a:", b""),
        (b"a\r\n", b""),
        (b"", b""),
    ],
)
@pytest.mark.parametrize("place", ["headers", "added"])
def test_nothing_that_is_read_back_ends_its_line(line, place):
    """http-rules.md J, RFC 9110 5.5: what somebody wrote into the store splits no response."""
    frame = FRAMES.encode(Stored(**{
        "status": 200, "headers": (), "body": b"", place: (line,),
    }))  # fmt: skip
    with pytest.raises(UnreadableFrame):
        FRAMES.decode(frame)


@pytest.mark.parametrize("status", [100, 199, 600, 0, -1])
def test_only_whole_responses_are_read_back(status):
    """http-rules.md A3."""
    with pytest.raises(UnreadableFrame):
        FRAMES.decode(FRAMES.encode(Stored(status, (), b"")))


@given(st.binary(max_size=80))
def test_foreign_bytes_are_no_response(data):
    """http-rules.md G5: a miss, never an exception of another kind."""
    with pytest.raises(UnreadableFrame):
        FRAMES.decode(data)


@given(st.integers(0, 60), st.integers(0, 255))
def test_a_changed_byte_is_noticed_or_harmless(place, value):
    """Whatever is read of a damaged frame can be sent."""
    data = bytearray(FRAMES.encode(STORED))
    data[place % len(data)] = value
    try:
        found = FRAMES.decode(bytes(data))
    except UnreadableFrame:
        return
    assert 200 <= found.status <= 599
