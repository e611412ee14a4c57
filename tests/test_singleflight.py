"""Flights: who joins, who leads, when a result is too old for whom, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
import weakref
from math import inf

import pytest

from stillfresh import RecursiveComputation
from stillfresh.computing.drivers import IN_THREAD, ON_LOOP, drive
from stillfresh.entry import MISSING
from stillfresh.singleflight import (
    ALWAYS,
    NEVER,
    Flight,
    Flights,
    Outcome,
    tick,
    waiting_for,
)
from stillfresh.singleflight import inside as here
from stillfresh.testing import VirtualClock


def flight(key: str = "k", **options: object) -> Flight:
    return Flight(key, **{"loop": None, **options})


def test_ticks_grow_in_all_threads() -> None:
    """No two moments are equal, and one thread's are in order, whatever the others do."""
    seen: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: seen.append([tick() for _ in range(1000)]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert all(ticks == sorted(ticks) for ticks in seen)
    assert len({one for ticks in seen for one in ticks}) == 8000
    assert NEVER < seen[0][0] < tick() < ALWAYS


def test_the_first_one_leads_and_the_others_join() -> None:
    """One flight per key; it is made only for the one who leads."""
    flights = Flights()
    first, leads = flights.join("k", flight)
    assert leads
    assert flights.join("k", lambda: pytest.fail("not needed")) == (first, False)
    other, leads = flights.join("j", lambda: flight("j"))
    assert leads
    assert other is not first
    assert len(flights) == 2


def test_who_leaves_is_not_joined() -> None:
    """After `leave` the next one leads; a flight that left long ago takes nobody else out."""
    flights = Flights()
    first, _ = flights.join("k", flight)
    flights.leave(first)
    assert flights.get("k") is None
    second, leads = flights.join("k", flight)
    assert leads
    flights.leave(first)
    assert flights.get("k") is second


def test_drop_takes_out_what_it_concerns() -> None:
    """Only those that are picked leave; their computations run on."""
    flights = Flights()
    one, _ = flights.join("1", lambda: flight("1"))
    two, _ = flights.join("2", lambda: flight("2"))
    one.begin(inf)
    two.begin(inf)
    flights.drop(lambda each: each.key == "1")
    assert flights.get("1") is None
    assert flights.get("2") is two
    assert one.outcome is None


def test_a_flight_that_is_over_is_not_joined() -> None:
    """One with an outcome counts as absent, even when nobody took it out."""
    flights = Flights()
    first, _ = flights.join("k", flight)
    first.finish(Outcome(value=1))
    assert flights.get("k") is None
    assert flights.join("k", flight)[1]


def test_a_flight_of_a_closed_loop_is_over() -> None:
    """It will never have an outcome, so nobody waits for one."""
    loop = asyncio.new_event_loop()
    one = flight(loop=loop)
    assert not one.over
    loop.close()
    assert one.over
    assert one.outcome is None


def test_only_the_first_outcome_counts() -> None:
    """Who finishes late is told so, and changes nothing."""
    one = flight()
    assert one.finish(Outcome(value=1))
    assert not one.finish(Outcome(value=2))
    assert one.outcome is not None
    assert one.outcome.value == 1


def test_an_outcome_without_value_and_error_was_cancelled() -> None:
    """None is a value, and so is MISSING: a function may return it."""
    assert Outcome().cancelled
    assert not Outcome(value=None).cancelled
    assert not Outcome(value=MISSING).cancelled
    assert not Outcome(error=ValueError()).cancelled
    assert Outcome(value=1).asof == NEVER


def test_subscribers_are_called_once() -> None:
    """Each is told once; who unsubscribed is not; who comes too late is told so."""
    one, told = flight(), []
    stays, leaves = (lambda: told.append("stays")), (lambda: told.append("leaves"))
    assert one.subscribe(stays)
    assert one.subscribe(leaves)
    one.unsubscribe(leaves)
    one.finish(Outcome(value=1))
    one.finish(Outcome(value=2))
    assert told == ["stays"]
    assert not one.subscribe(stays)


def test_a_deadline_wakes_who_waits() -> None:
    """Who waits already learns the deadline when the function is called; without one nobody is."""
    one, told = flight(), []
    one.subscribe(lambda: told.append(one.deadline))
    before = tick()
    assert one.begin(float("inf")) == one.began > before
    assert told == []
    one.begin(7.0)
    assert told == [7.0]


class inside:
    """Run a block as the function of *flight* would run."""

    def __init__(self, one: Flight) -> None:
        self.one = one

    def __enter__(self) -> None:
        self.token = here.set(weakref.ref(self.one))

    def __exit__(self, *_: object) -> None:
        here.reset(self.token)


def test_a_circle_is_seen_before_anybody_waits() -> None:
    """A waits for B, B for C; C may not wait for a, and is not noted as waiting after it tried."""
    a, b, c = flight("a"), flight("b"), flight("c")
    with inside(a):
        first = waiting_for(b)
    with inside(b):
        second = waiting_for(c)
    with inside(c):
        third = waiting_for(a)
        alone = waiting_for(c)
    with first, second:
        with (
            pytest.raises(RecursiveComputation, match=r"\(a\) waits for itself, through \(c\)"),
            third,
        ):
            pytest.fail("it waits")
        with pytest.raises(RecursiveComputation), alone:
            pytest.fail("it waits")
    with third:  # nobody waits any more
        assert c.waits_for == (a,)
    assert a.waits_for == b.waits_for == c.waits_for == ()


def test_who_computes_nothing_waits_for_whom_it_likes() -> None:
    """A caller outside of every computation closes no circle."""
    a = flight("a")
    with waiting_for(a):
        assert a.waits_for == ()


def test_a_computation_that_is_over_closes_no_circle() -> None:
    """Neither as the one who waits nor on the way."""
    a, b = flight("a"), flight("b")
    with inside(a):
        forth = waiting_for(b)
    with inside(b):
        back = waiting_for(a)
    a.finish(Outcome(value=1))
    with forth, back:
        assert a.waits_for == ()


def test_who_watches_a_deadline_may_come_too_late() -> None:
    """The computation ends between two looks of another thread at its `time_out`."""
    looks = []

    class Ending(Flight):
        @property
        def time_out(self):
            looks.append(1)
            return None if len(looks) > 1 else lambda: self.finish(Outcome(value="late"))

        @time_out.setter
        def time_out(self, _):
            pass

    ending, clock = Ending("k", loop=None), VirtualClock()
    ending.begin(clock.now() + 1)
    clock.advance("2 seconds")
    drive(IN_THREAD.follow(ending, clock))
    assert ending.outcome.value == "late"


def test_one_who_waits_twice_for_the_same_is_noted_twice() -> None:
    """Through gather, say: the end of one wait leaves the other one standing."""
    a, b = flight("a"), flight("b")
    with inside(a):
        one, two = waiting_for(b), waiting_for(b)
    with inside(b):
        back = waiting_for(a)
    with one:
        with two:
            pass
        with pytest.raises(RecursiveComputation), back:
            pytest.fail("it waits")


def test_a_waiter_whose_loop_is_closed_stops_nobody() -> None:
    """Its callback fails alone: the end of the flight reaches whoever came after it."""
    one = flight("k")
    loop = asyncio.new_event_loop()
    waiter = loop.create_task(ON_LOOP.follow(one, VirtualClock()))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    told: list[str] = []
    one.subscribe(lambda: told.append("over"))
    assert one.finish(Outcome(value=1))
    assert told == ["over"]
    waiter._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio says so, too
