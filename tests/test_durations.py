"""Durations: what users may write for a length of time."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillfresh.durations import describe, seconds
from stillfresh.errors import InvalidDuration


class Text(str):
    """Says something else than it holds."""

    __slots__ = ()

    def __str__(self) -> str:
        return "1s"

    __repr__ = __str__


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (600, 600.0),
        (0.25, 0.25),
        (timedelta(minutes=10), 600.0),
        (timedelta(milliseconds=5), 0.005),
        ((10, "minutes"), 600.0),
        ([10, "minutes"], 600.0),
        ((1.5, "h"), 5400.0),
        ((3, "ms"), 0.003),
        ("10 minutes", 600.0),
        ("10m", 600.0),
        ("10 Minutes", 600.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("1 hour 30 minutes", 5400.0),
        ("  1h\t30m\n", 5400.0),
        ("600s", 600.0),
        ("1 day", 86400.0),
        ("2w", 1209600.0),
        ("1.5h", 5400.0),
        ("0.5s", 0.5),
        ("500ms", 0.5),
        ("1s 1ms", 1.001),
        ("1w2d3h4m5s6ms", 604800 + 2 * 86400 + 3 * 3600 + 245.006),
        ("90m", 5400.0),
        (Text("10m"), 600.0),
    ],
)
def test_what_is_understood(value, expected):
    """Numbers are seconds; texts, pairs and timedeltas say the same in words."""
    result = seconds(value)
    assert result == expected
    assert type(result) is float


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        *[(word, 0.001) for word in ("ms", "millisecond", "milliseconds")],
        *[(word, 1.0) for word in ("s", "sec", "secs", "second", "seconds")],
        *[(word, 60.0) for word in ("m", "min", "mins", "minute", "minutes")],
        *[(word, 3600.0) for word in ("h", "hr", "hrs", "hour", "hours")],
        *[(word, 86400.0) for word in ("d", "day", "days")],
        *[(word, 604800.0) for word in ("w", "week", "weeks")],
    ],
)
def test_units(unit, expected):
    """A unit has a letter and an English word, singular and plural."""
    assert seconds(f"1{unit}") == seconds(f"1 {unit}") == seconds((1, unit)) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10m5", "ttl='10m5': stopped at '5'. Write '10m 5s', a timedelta, or seconds."),
        ("", "ttl='': is empty. Write '10m 5s', a timedelta, or seconds."),
        ("  ", "ttl='  ': is empty."),
        ("h", "ttl='h': stopped at 'h'."),
        ("600", "ttl='600': a number without a unit. Write 600 or '600s'."),
        (" 1.5 ", "ttl=' 1.5 ': a number without a unit. Write 1.5 or '1.5s'."),
        ("-5m", "ttl='-5m': stopped at '-5m'."),
        ("+5m", "stopped at '+5m'"),
        ("1e3s", "'e' is not a unit. Write one of ms, s, m, h, d, w, or its English word."),
        ("10 fortnights", "'fortnights' is not a unit"),
        ("10M", "'M' is not a unit"),
        ("5m1h", "stopped at '1h': units go from long to short, each once"),
        ("1m1m", "stopped at '1m': units go from long to short, each once"),
        ("1m 1 minute", "stopped at '1 minute'"),
        ("1h, 30m", "stopped at ', 30m'"),
        (".5h", "stopped at '.5h'"),
        ("1.h", "stopped at '1.h'"),
        ("1..5h", "stopped at '1..5h'"),
        ("1_000s", "stopped at '1_000s'"),
        ("١٠m", "stopped at '١٠m'"),
        ("10\N{NO-BREAK SPACE}m", "stopped at"),
        ("10m\x00", "stopped at '\\x00'"),
        ("0s", "ttl='0s': must be a number more than zero."),
        ("0.0m", "must be a number more than zero"),
        ("99999999999w", "must be finite, and at most 999999999 days"),
        ("9" * 99 + "w", "must be finite, and at most 999999999 days"),
        (0, "ttl=0: must be a number more than zero."),
        (-1, "ttl=-1: must be"),
        (-0.0, "ttl=-0.0: must be"),
        (math.nan, "ttl=nan: must be a number more than zero"),
        (math.inf, "ttl=inf: must be finite"),
        (-math.inf, "ttl=-inf: must be"),
        (10**400, "ttl=<int of 1329 bits>: must be finite"),
        pytest.param(-(10**5000), "bits>: must be a number more than zero", id="-10**5000"),
        (True, "ttl=True: bool is not a duration."),
        (False, "ttl=False: bool is not a duration."),
        (None, "ttl=None: a duration is needed here."),
        (b"10m", "ttl=<bytes>: bytes is not a duration."),
        (10j, "complex is not a duration"),
        ({"minutes": 10}, "ttl=<dict>: dict is not a duration."),
        (timedelta(0), "must be a number more than zero"),
        (timedelta(seconds=-1), "must be a number more than zero"),
        ((), 'ttl=(): has length 0, not 2. Write a number and a unit: (10, "minutes").'),
        ((10,), "ttl=(10,): has length 1, not 2."),
        ((10, "minutes", 5, "s"), "ttl=(10, 'minutes', 5, ...): has length 4, not 2."),
        (("10", "minutes"), "'10' is not a number"),
        (("minutes", 10), "'minutes' is not a number"),
        ((True, "minutes"), "True is not a number"),
        ((10, "moons"), "ttl=(10, 'moons'): 'moons' is not a unit."),
        ((10, 5), "5 is not a unit"),
        ((10, ["s"]), "ttl=(10, <list>): ['s'] is not a unit"),
        ((0, "minutes"), "must be a number more than zero"),
        ((-10, "minutes"), "must be a number more than zero"),
        ((math.nan, "s"), "must be finite"),
        ((math.inf, "s"), "must be finite"),
        ((1e308, "weeks"), "must be finite"),
        ((10**400, "weeks"), "must be finite"),
        ([10], "ttl=[10]: has length 1"),
    ],
)
def test_what_is_refused(value, message):
    """Whatever is not plainly a positive, finite time is refused, with value and next step."""
    with pytest.raises(InvalidDuration) as caught:
        seconds(value)
    assert message in str(caught.value)
    assert str(caught.value).startswith("ttl=")
    assert caught.value.value is value


def test_the_error_names_the_option():
    """The message begins with the word under which the user gave the value."""
    with pytest.raises(InvalidDuration, match=r"^stale='soon': stopped at 'soon'\. Write"):
        seconds("soon", "stale")


def test_a_list_in_itself_is_refused():
    """A list that contains itself does not send the message into a circle."""
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(InvalidDuration, match="has length 1"):
        seconds(circle)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1" * 1_000_000, id="digits"),
        pytest.param("1" * 1_000_000 + "h", id="digits and a unit"),
        pytest.param(" " * 1_000_000, id="spaces"),
        pytest.param("1m " * 300_000, id="parts"),
        pytest.param("m" * 1_000_000, id="letters"),
    ],
)
def test_hostile_text_is_refused_with_a_short_message(text):
    """A megabyte of text takes no time to speak of and is not repeated in the message."""
    with pytest.raises(InvalidDuration) as caught:
        seconds(text)
    assert len(str(caught.value)) < 250


@given(
    st.integers(1, 99_999),
    st.sampled_from(["ms", "s", "m", "h", "d", "w"]),
    st.sampled_from(["", " "]),
)
def test_text_and_pair_agree(number, unit, space):
    """A text with one part means what the pair means."""
    assert seconds(f"{number}{space}{unit}") == seconds((number, unit))


@given(st.text("0159.hms wd-", max_size=12))
def test_any_text_is_a_positive_time_or_refused(text):
    """No text leads to another error, or to a time that is no time."""
    try:
        result = seconds(text)
    except InvalidDuration:
        return
    assert 0 < result < math.inf


@given(st.integers(1, 10**12))
def test_described_times_read_back(milliseconds):
    """Every time that is whole in milliseconds survives `describe` and back."""
    assert seconds(describe(milliseconds / 1000)) == milliseconds / 1000


@given(st.floats(min_value=-1e15, max_value=1e15))
def test_describe_is_short(value):
    """Any number of seconds has a text, and a short one."""
    assert 0 < len(describe(value)) < 40


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5400, "1h 30m"),
        (600.0, "10m"),
        (0.25, "250ms"),
        (1.5, "1.5s"),
        (61.001, "1m 1.001s"),
        (86400, "1d"),
        (1_000_000, "11d 13h 46m 40s"),
        (0, "0s"),
        (-5, "-5s"),
        (0.9999999, "1s"),
        (59.9999999, "1m"),
        (0.0004, "0.4ms"),
        (1e-9, "0s"),
        (math.inf, "never"),
        (math.nan, "unknown"),
    ],
)
def test_describe(value, text):
    """People read days, hours, minutes and seconds, and leave out what is zero."""
    assert describe(value) == text
