"""The verdict on an entry, as a table; and what happens to it."""

import gc
import weakref
from math import inf

import pytest

from stillfresh.entry import MISSING, Entry, Verdict, Windows, judge, refresh_due
from stillfresh.options import Policy

FRESH, STALE, FALLBACK, GONE = Verdict.FRESH, Verdict.STALE, Verdict.FALLBACK, Verdict.GONE
PLAIN = Windows(10)
WITH_STALE = Windows(10, 5)
WITH_KEEP = Windows(10, 0, 20)
BOTH = Windows(10, 5, 20)
STALE_LONGER = Windows(10, 30, 20)
FOREVER = Windows(inf)


@pytest.mark.parametrize(
    ("windows", "age", "verdict", "after_expire"),
    [
        (PLAIN, 0, FRESH, GONE),
        (PLAIN, 9.9, FRESH, GONE),
        (PLAIN, 10, GONE, GONE),
        (PLAIN, -1, FRESH, GONE),
        (WITH_STALE, 9.9, FRESH, STALE),
        (WITH_STALE, 10, STALE, STALE),
        (WITH_STALE, 14.9, STALE, STALE),
        (WITH_STALE, 15, GONE, GONE),
        (WITH_KEEP, 9.9, FRESH, FALLBACK),
        (WITH_KEEP, 10, FALLBACK, FALLBACK),
        (WITH_KEEP, 29.9, FALLBACK, FALLBACK),
        (WITH_KEEP, 30, GONE, GONE),
        (BOTH, 9.9, FRESH, STALE),
        (BOTH, 14.9, STALE, STALE),
        (BOTH, 15, FALLBACK, FALLBACK),
        (BOTH, 30, GONE, GONE),
        (STALE_LONGER, 35, STALE, STALE),
        (STALE_LONGER, 40, GONE, GONE),
        (FOREVER, 1e12, FRESH, GONE),
        (Windows(inf, 5), 1e12, FRESH, STALE),
        (Windows(10, inf), 1e12, STALE, STALE),
        (Windows(0), 0, GONE, GONE),
        (Windows(0, 5), 0, STALE, STALE),
    ],
)
def test_verdict(windows, age, verdict, after_expire):
    """Both windows count from the end of `fresh`; by hand expired is never fresh again."""
    entry = Entry("value", 1000.0, windows)
    assert judge(entry, 1000.0 + age) is verdict
    entry.expire()
    assert judge(entry, 1000.0 + age) is after_expire


def test_nothing_is_gone():
    """No entry is an entry that is gone."""
    assert judge(None, 0.0) is GONE


def test_the_longer_window_ends_the_entry():
    """`life` is the age at which nobody can be served, and `dies_at` its moment."""
    assert [w.life for w in (PLAIN, WITH_STALE, WITH_KEEP, BOTH, STALE_LONGER)] == [
        10,
        15,
        30,
        30,
        40,
    ]
    assert Entry(None, 5.0, BOTH).dies_at() == 35.0
    assert Entry(None, 5.0, FOREVER).dies_at() == inf


def test_the_short_cut_ends_where_a_refresh_is_due():
    """It serves until the entry is stale, or old enough to be refreshed ahead."""
    assert Entry(None, 100.0, PLAIN).quick_until == 110.0
    entry = Entry(None, 100.0, Windows(10, 0, 0, 8))
    assert entry.quick_until == 108.0
    assert not refresh_due(entry, 107.9)
    assert refresh_due(entry, 108.0)
    assert not refresh_due(Entry(None, 100.0, PLAIN), 1e12)


def test_expire_keeps_the_value():
    """An expired entry is out of the short cut, and still holds what it may be served for."""
    entry = Entry("value", 0.0, BOTH)
    entry.expire()
    assert entry.quick_until == -inf
    assert entry.value == "value"


def test_kill_lets_go_of_the_value():
    """A killed entry is dead for every reader, and keeps nothing alive; twice is as once."""

    class Value:
        pass

    value = Value()
    alive = weakref.ref(value)
    entry = Entry(value, 0.0, FOREVER)
    del value
    entry.kill()
    entry.kill()
    gc.collect()
    assert alive() is None
    assert entry.quick_until == -inf
    assert judge(entry, 0.0) is GONE
    with pytest.raises(AttributeError):
        _ = entry.value


def test_missing_is_no_value():
    """MISSING is false and says its name; None is a value like any other."""
    assert not MISSING
    assert repr(MISSING) == "MISSING"
    assert MISSING is not None


def test_entries_share_their_windows():
    """Entries of one policy weigh no more for their windows, unless each has its own by jitter."""
    policy = Policy(fresh=60.0, stale=30.0, ahead=0.5)
    assert policy.windows() is policy.windows(60.0)
    assert policy.windows() == Windows(60.0, 30.0, 0.0, 30.0)
    assert policy.windows(10.0) == Windows(10.0, 30.0, 0.0, 5.0)
    fresh, stale, keep, ahead = Policy(fresh=60.0, stale=30.0, ahead=0.5, jitter=0.5).windows()
    assert 30.0 < fresh <= 60.0
    assert (stale, keep, ahead) == pytest.approx((fresh / 2, 0.0, fresh / 2))
