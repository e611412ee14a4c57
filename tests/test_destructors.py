"""
Destructors that call back while one of our locks is held.

A collection of garbage runs them wherever something is allocated. Here it runs where a flight is
looked at, which is under the lock.
"""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from stillfresh import App, CacheProvider, RedisCacheProvider, cache
from stillfresh.entries.region import MOST_RESTING, Rest
from stillfresh.singleflight import Flight, inside, waiting_for
from stillfresh.testing import isolated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 10.0


@pytest.fixture(autouse=True)
def only_when_told() -> Iterator[None]:
    """No collection of garbage except those that a test makes."""
    gc.disable()
    yield
    gc.enable()


def leave_garbage(call: Callable[[], object]) -> None:
    """Leave something behind that calls back when it is collected."""

    class Garbage:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            call()

    Garbage()


class Collecting(Flight):
    """Garbage is collected whenever somebody looks at it."""

    @property
    def over(self) -> bool:
        gc.collect()
        return super().over


def in_time(work: Callable[[], object]) -> None:
    """Do *work* in a thread that must come to its end."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_while_a_circle_is_looked_for() -> None:
    """The destructor calls a cached function that waits for another one."""
    answers: list[int] = []

    @cache
    def inner() -> int:
        return 1

    @cache
    def outer() -> int:
        return inner()

    def work() -> None:
        leave_garbage(lambda: answers.append(outer()))
        waiter = Flight("waiter", loop=None)
        inside.set(weakref.ref(waiter))
        with waiting_for(Collecting("waited for", loop=None)):
            pass

    with isolated():
        in_time(work)
    assert answers == [1]


def test_while_background_work_is_looked_through() -> None:
    """The destructor starts more of it."""
    answers: list[int] = []

    @cache(timeout="1 minute")
    def in_worker() -> int:
        return 1

    with isolated() as app:

        def work() -> None:
            flight = Collecting("k", loop=None)
            app.background.add(flight)
            leave_garbage(lambda: answers.append(in_worker()))
            assert flight in app.background._unfinished()
            app.background.discard(flight)

        in_time(work)
    assert answers == [1]


def test_while_a_failure_is_noted() -> None:
    """The destructor notes another one; not more are remembered than may be."""
    rest = Rest()

    class Moment(float):
        def __gt__(self, other: float) -> bool:
            if self == 1:
                gc.collect()
            return float.__gt__(self, other)

    for number in range(MOST_RESTING):
        rest.failed(str(number), 1.0, 1.0)
    rest.until["0"] = (Moment(1.0), 1.0)
    leave_garbage(lambda: rest.failed("inner", 1.5, 1.0))
    in_time(lambda: rest.failed("outer", 1.5, 1.0))
    assert rest.rests("outer", 2.0)
    assert len(rest.until) <= MOST_RESTING


def test_while_a_lease_of_a_server_is_kept(url: str, prefix: str) -> None:
    """The destructor makes a call of its own, which wants a lease of the same server."""

    class Service:
        @cache
        def f(self, x: int) -> int:
            return x

    app = App(Service).provide(CacheProvider, RedisCacheProvider(url, prefix=prefix))
    answers: list[int] = []
    with app:
        service = app.get(Service)
        service.f(1)
        wires = app.guards[0].provider._wires

        class Watched:
            """The lock of the leases; garbage is collected when it is held for the first time."""

            lock = wires.renewals._lock
            left = True

            def __enter__(self) -> None:
                self.lock.acquire()
                if self.left:
                    self.left = False
                    gc.collect()

            def __exit__(self, *_: object) -> None:
                self.lock.release()

        wires.renewals._lock = Watched()
        leave_garbage(lambda: answers.append(service.f(2)))
        in_time(lambda: answers.append(service.f(3)))
        assert answers == [2, 3]
