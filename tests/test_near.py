"""The near tier by itself: what it may keep and serve, in virtual time and without a server."""

from __future__ import annotations

import gc
import random
import sys
import threading
from functools import partial
from math import inf

import pytest
from forking import in_child, many_threads, needs_fork

from stillfresh.entry import Entry, Windows
from stillfresh.options import MemoryTier
from stillfresh.providers.base import Address
from stillfresh.providers.ears import LIVE_SECONDS
from stillfresh.providers.near import MOST_NOTED, Near
from stillfresh.testing import VirtualClock

LINE = "the only connection"


class Bench:
    """A near tier whose only ear is LIVE."""

    def __init__(self, **tier) -> None:
        self.clock = VirtualClock()
        self.near = Near(self.clock)
        self.ear = self.near.ear()
        self.nook = self.near.nook(MemoryTier(**tier))
        self.listen()

    def listen(self, line=LINE) -> None:
        self.ear.opened(line)
        self.beat(line)

    def beat(self, line=LINE) -> None:
        """A heartbeat that is answered at once."""
        self.ear.heard(line, self.clock.now())

    def state(self):
        return self.ear.state(self.clock.now())

    def begin(self):
        return self.near.begin(self.ear)

    def keep(self, read, key="k", *tags, value="old", fresh=60.0, nook=None, **windows):
        entry = Entry(b"", read.at, Windows(fresh, **windows), frozenset(tags))
        names = [f"v:{key}", *(f"t:{tag}" for tag in tags)]
        address = Address("space", key)
        return self.near.keep(read, nook or self.nook, address, entry, value=value, names=names)

    def fill(self, key="k", *tags, **options):
        return self.keep(self.begin(), key, *tags, **options)

    def value(self, key="k", nook=None):
        """What a call would be served, and None where it would have to ask."""
        entry = self.near.find(nook or self.nook, f"v:{key}")
        return None if entry is None else entry.value


@pytest.fixture
def bench():
    return Bench()


# What is kept, and how long


def test_what_was_read_is_served(bench):
    """A read that nothing came in between of is kept, and the object itself is handed out."""
    value = object()
    assert bench.value() is None
    kept = bench.fill(value=value)
    assert kept.value is value
    assert bench.value() is value
    assert bench.near.count("space") == 1
    assert bench.near.count("space", "k") == 1
    assert bench.near.count("space", "other") == 0


def test_it_is_served_as_long_as_it_is_fresh(bench):
    """The life counts from before the read was sent; stale windows are the far tier's affair."""
    read = bench.begin()
    bench.clock.advance("2 seconds")
    bench.beat()
    bench.keep(read, fresh=10.0, stale=60.0, keep=60.0)
    for _ in range(7):
        bench.clock.advance("1 second")
        bench.beat()
        assert bench.value() == "old"
    bench.clock.advance("1 second")
    bench.beat()
    assert bench.value() is None


@pytest.mark.parametrize(
    ("tier", "windows", "seconds"),
    [
        ({"ttl": "5 seconds"}, {"fresh": 60.0}, 5),
        ({"ttl": "60 seconds"}, {"fresh": 5.0}, 5),
        ({}, {"fresh": 60.0, "ahead": 5.0}, 5),
        ({"ttl": "5 seconds"}, {"fresh": inf}, 5),
    ],
)
def test_the_shortest_of_its_lives_counts(tier, windows, seconds):
    """The near ttl, what is left of the ttl, and the moment from which a refresh is due."""
    bench = Bench(**tier)
    bench.fill(**windows)
    bench.clock.advance(seconds - 0.01)
    bench.beat()
    assert bench.value() == "old"
    bench.clock.advance(0.02)
    bench.beat()
    assert bench.value() is None


def test_what_is_not_fresh_is_not_kept(bench):
    """Neither what was expired by hand, nor what became too old on the way."""
    read = bench.begin()
    entry = Entry(b"", read.at, Windows(60.0, stale=60.0))
    entry.expired = True
    where = Address("space", "k")
    assert bench.near.keep(read, bench.nook, where, entry, value=1, names=["v:k"]) is None
    read = bench.begin()
    bench.clock.advance("1 second")
    assert bench.keep(read, fresh=0.5, stale=60.0) is None


def test_two_functions_that_share_a_name_have_a_value_each(bench):
    """One decodes what is there into another type than the other one; a change drops both."""
    other = bench.near.nook(MemoryTier())
    bench.fill(value=1)
    bench.fill(value="one", nook=other)
    assert bench.value() == 1
    assert bench.value(nook=other) == "one"
    bench.near.changed(["v:k"])
    assert bench.value() is bench.value(nook=other) is None
    assert len(bench.near) == 0


# Nothing that was under way


@pytest.mark.parametrize(
    "change",
    [
        lambda near: near.changed(["v:k"]),
        lambda near: near.changed(["t:a"]),
        lambda near: near.changed_keys("space", lambda _: False),
        lambda near: near.changed_all(),
    ],
    ids=["key", "tag", "pattern", "flush"],
)
def test_a_read_that_was_under_way_is_not_kept(bench, change):
    """Its reply may be older than the change, whichever of them arrived first."""
    read, later = bench.begin(), None
    change(bench.near)
    later = bench.begin()
    assert bench.keep(read, "k", "a", "b") is None
    assert bench.value() is None
    assert bench.keep(later, "k", "a", "b", value="new") is not None
    assert bench.value() == "new"


def test_other_changes_do_not_concern_it(bench):
    """A push about something else costs no fill."""
    read = bench.begin()
    bench.near.changed(["v:other", "t:other"])
    bench.near.changed_keys("other space")
    assert bench.keep(read, "k", "a") is not None


def test_of_very_many_changes_none_is_overlooked(bench):
    """More than can be told apart count as a change of everything that is under way."""
    read = bench.begin()
    bench.near.changed(["v:k"])
    bench.near.changed(f"v:{number}" for number in range(MOST_NOTED + 1))
    assert bench.keep(read) is None
    assert bench.fill() is not None


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda near: near.changed(["v:a"]), {"b", "c"}),
        (lambda near: near.changed(["t:x"]), {"c"}),
        (lambda near: near.changed(["t:y"]), {"a", "c"}),
        (lambda near: near.changed_keys("space", lambda key: key == "c"), {"a", "b"}),
        (lambda near: near.changed_keys("space"), set()),
        (lambda near: near.changed_keys("elsewhere"), {"a", "b", "c"}),
        (lambda near: near.changed_all(), set()),
    ],
)
def test_a_change_drops_what_depends_on_it(bench, change, left):
    """And nothing else; what a short cut still holds is dead as well."""
    kept = {
        "a": bench.fill("a", "x"),
        "b": bench.fill("b", "x", "y"),
        "c": bench.fill("c"),
    }
    change(bench.near)
    assert {key for key in kept if bench.value(key)} == left
    assert {key for key, one in kept.items() if one.quick_until > bench.clock.now()} == left
    assert len(bench.near) == bench.ear.entries == len(left)


# Who listens


def test_nothing_is_served_three_seconds_after_the_last_heartbeat(bench):
    """It counts from the moment at which the answered heartbeat was sent."""
    kept = bench.fill()
    sent_at = bench.clock.now()
    bench.clock.advance("2 seconds")
    bench.ear.heard(LINE, sent_at)  # its answer took two seconds
    assert bench.value() == "old"
    bench.clock.advance(LIVE_SECONDS - 2)
    assert bench.state() == "SUSPECT"
    assert bench.value() is None
    assert kept.quick_until <= bench.clock.now()
    assert bench.near.live_ear() is None


def test_nothing_is_kept_while_nobody_may_listen(bench):
    """SUSPECT keeps nothing; the same connection may answer again, and then it goes on."""
    bench.fill("a")
    bench.clock.advance(LIVE_SECONDS)
    assert bench.fill("b") is None
    assert bench.value("a") is None
    bench.beat()
    assert bench.state() == "LIVE"
    assert bench.value("a") == "old"
    assert bench.fill("b") is not None


def test_a_late_answer_does_not_take_back_what_was_heard(bench):
    """Answers that come out of order count by the moment at which they were asked for."""
    first = bench.clock.now()
    bench.clock.advance("2 seconds")
    bench.beat()
    bench.ear.heard(LINE, first)
    assert bench.ear.until == bench.clock.now() + LIVE_SECONDS


def test_a_lost_connection_drops_what_it_would_have_to_tell(bench):
    """Of another ear everything stays; a read that was under way is not kept afterwards."""
    other = bench.near.ear()
    other.opened("elsewhere")
    other.heard("elsewhere", bench.clock.now())
    kept = bench.fill("a")
    bench.keep(bench.near.begin(other), "b")
    read = bench.begin()
    bench.ear.lost(LINE)
    assert bench.state() == "OFF"
    assert kept.quick_until == -inf
    assert bench.value("b") == "old"
    bench.listen()
    assert bench.keep(read) is None
    assert bench.value("a") is None
    assert bench.near.live_ear() in {bench.ear, other}


def test_a_read_from_before_the_server_listened_is_not_kept():
    """A change between such a read and the beginning would not be pushed."""
    bench = Bench()
    bench.ear.lost(LINE)
    assert bench.state() == "OFF"
    read = bench.begin()
    bench.ear.opened(LINE)
    assert bench.state() == "CONNECTING"
    during = bench.begin()  # sent after the question, so the server listens before it reads
    bench.beat()
    assert bench.keep(read) is None
    assert bench.keep(during) is not None


def test_what_is_heard_of_a_lost_connection_means_nothing(bench):
    """An answer that was on the way when its connection was lost makes nothing LIVE."""
    bench.ear.lost(LINE)
    bench.beat()
    assert bench.state() == "OFF"
    assert bench.fill() is None


def test_of_several_connections_the_most_silent_one_counts(bench):
    """One for each primary: an entry and its tags may be on several of them."""
    bench.fill()
    bench.ear.opened("second")
    assert bench.value() is None
    assert bench.state() == "CONNECTING"
    bench.beat("second")
    assert bench.fill() is not None
    bench.clock.advance(LIVE_SECONDS - 1)
    bench.beat()
    bench.clock.advance("1 second")
    assert bench.state() == "SUSPECT"
    assert bench.value() is None
    bench.beat("second")
    assert bench.value() == "old"
    bench.ear.lost("second")
    assert bench.value() is None


def test_without_one_of_its_lines_an_ear_serves_nothing(bench):
    """Whatever the others hear: until it is opened and heard again, or not counted on any more."""
    bench.listen("second")
    kept = bench.fill()
    bench.ear.lost("second")
    bench.beat()
    assert bench.state() == "CONNECTING"
    assert kept.quick_until == -inf
    assert bench.fill() is None
    assert bench.near.live_ear() is None
    bench.listen("second")
    assert bench.fill() is not None
    bench.ear.expect("third")
    bench.beat()
    assert bench.fill() is None
    bench.ear.forget("third")
    bench.beat()
    assert bench.fill() is not None


# Bounds


def test_there_are_never_more_than_max_entries():
    """Who has the same tier shares its bound; what is asked for again and again stays."""
    bench = Bench(max_entries=50)
    wanted = []
    for number in range(1_000):
        bench.fill(f"{number}")
        bench.fill("often") if bench.value("often") is None else wanted.append(number)
        assert len(bench.near) <= 50
    assert len(wanted) > 900
    assert bench.ear.entries == len(bench.near)


def test_what_is_over_leaves_as_others_come(bench):
    """Expired entries do not stay for ever, and neither does what stands for tags."""
    for number in range(100):
        bench.fill(f"{number}", f"tag {number}", fresh=1.0)
    bench.clock.advance("2 seconds")
    for number in range(100):
        bench.fill(f"new {number}")
    assert len(bench.near) == 100
    assert not bench.near._members
    bench.near.changed_all()
    bench.near.sweep(1_000)
    assert not bench.near._round
    assert not bench.near._values


# Others


def test_a_waiter_is_woken_by_a_change_of_its_name(bench):
    """And by the news that nothing is known any more; not by other names, or afterwards."""
    rung = []
    bench.near.watch("v:k", lambda: rung.append("k"))
    ring = lambda: rung.append("again")  # noqa: E731  # one line, used below
    bench.near.watch("v:k", ring)
    bench.near.changed(["v:other"])
    assert rung == []
    bench.near.changed(["v:k"])
    assert sorted(rung) == ["again", "k"]
    bench.near.unwatch("v:k", ring)
    bench.near.changed_all()
    assert sorted(rung) == ["again", "k", "k"]


def test_an_invalidation_in_a_destructor_counts(bench):
    """Garbage may be collected anywhere: also while an entry is being put in its place."""

    class Value:
        def __del__(self) -> None:
            bench.near.changed(["v:k"])

    bench.fill(value=Value())
    read = bench.begin()
    gc.collect()
    bench.keep(read, value="new")  # the old value ends after its lock: here
    assert bench.value() is None


def test_no_destructor_runs_under_the_lock(bench):
    """It may wait for another thread, which may be waiting for the lock."""
    blocked = []

    class Value:
        def __del__(self) -> None:
            thread = threading.Thread(target=bench.near.changed, args=(["v:x"],))
            thread.start()
            thread.join(5)
            blocked.append(thread.is_alive())

    for drop in (
        lambda: bench.near.changed(["v:k"]),
        lambda: bench.near.changed_keys("space"),
        bench.near.changed_all,
        lambda: bench.ear.lost(LINE),
    ):
        bench.fill(value=Value())
        drop()
    assert blocked == [False] * 4


def test_another_clock_drops_everything(bench):
    """Moments of two clocks cannot be compared."""
    bench.fill()
    clock = VirtualClock()
    bench.near.live_by(clock)
    assert bench.value() is None
    assert bench.state() == "CONNECTING"
    bench.clock = clock
    bench.beat()
    assert bench.fill() is not None


@needs_fork
@many_threads
def test_the_child_of_a_fork_serves_nothing_of_its_parent(bench):
    """Nobody in the child hears anything; also a short cut that holds an entry sees that."""
    kept = bench.fill()
    read = bench.begin()
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with bench.near._lock:
            held.set()
            assert let_go.wait(10)

    def check():
        bench.near.after_fork()
        bench.beat()
        return bench.value() is None and kept.quick_until == -inf and bench.keep(read) is None

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    try:
        in_child(check)
    finally:
        let_go.set()
        thread.join(10)
    assert bench.value() == "old"


def test_in_many_threads_nothing_older_than_a_change_is_found():
    """
    Readers read and keep, a writer changes what they read, in front of it and behind it.

    Whoever looks after a change has returned finds nothing from before it.
    """
    near = Near()
    ear, nook = near.ear(), near.nook(MemoryTier(max_entries=6))
    ear.opened(LINE)
    ear.heard(LINE, near.now())
    server = dict.fromkeys("abcdefgh", 0)
    returned = dict(server)
    old, found = [], 0
    over = threading.Event()

    def read() -> None:
        nonlocal found
        while not over.is_set():
            key = random.choice("abcdefgh")
            least = returned[key]
            entry = near.find(nook, key)
            value = getattr(entry, "value", None)  # gone, if it was dropped since
            if value is not None:
                found += 1
                if value < least:
                    old.append((key, value, least))
                continue
            read = near.begin(ear)
            value, fresh = server[key], Entry(b"", read.at, Windows(60.0))
            address = Address("space", key)
            near.keep(read, nook, address, fresh, value=value, names=[key, f"tag of {key}"])

    def write(key: str, change) -> None:
        change()
        server[key] += 1
        change()
        returned[key] = server[key]

    readers = [threading.Thread(target=read) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for reader in readers:
            reader.start()
        for number in range(4_000):
            key = random.choice("abcdefgh")
            write(
                key,
                [
                    partial(near.changed, [key]),
                    partial(near.changed, [f"tag of {key}"]),
                    partial(near.changed_keys, "space", key.__eq__),
                    near.changed_all,
                ][number % 4],
            )
            ear.heard(LINE, near.now())
    finally:
        over.set()
        for reader in readers:
            reader.join()
        sys.setswitchinterval(interval)
    assert old == []
    assert found > 0
    assert ear.entries == len(near) <= 6
