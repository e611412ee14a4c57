"""
Two ways to walk the one path: on an event loop, and in a plain thread.

The path is a coroutine. On a loop it is awaited. In a thread it is stepped once, with
operations that block instead of suspending, so it runs to its end in that step.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from contextvars import copy_context
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..clock import LIVENESS_SECONDS
from ..errors import StillfreshError
from ..singleflight import reached_from, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..clock import Clock, Timer
    from ..providers.guard import Guard
    from ..providers.guarded import Operations
    from ..providers.memory import MemoryCacheProvider
    from ..singleflight import Flight

T = TypeVar("T")


def drive(path: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine that never suspends.

    Raises:
        StillfreshError: A provider's `blocking` face must never suspend, and did.
    """
    try:
        path.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    path.close()
    msg = "a blocking operation of the provider suspended; see CacheProvider.blocking"
    raise StillfreshError(msg)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class OnLoop:
    """Walks the path as a coroutine."""

    suspends: Final = True

    def ops(self, guard: Guard) -> Operations:
        """Return the operations that this driver can use."""
        return guard.waiting

    def reads(self, guard: Guard) -> Operations | MemoryCacheProvider:
        """Return how this driver reads and computes, by the shortest way."""
        return guard.reads

    def loop(self) -> asyncio.AbstractEventLoop:
        """
        Return the loop to which flights belong that start here.

        Raises:
            StillfreshError: Something else than asyncio runs this coroutine.
        """
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            msg = (
                "an async cached function needs a running asyncio event loop, and there is "
                "none: trio and other loops are not supported"
            )
            raise StillfreshError(msg) from None

    def stands_on_loop(self) -> bool:
        """Waiting here never stops a loop."""
        return False

    def may_wait_for(self, flight: Flight) -> bool:
        """Waiting suspends, so it never stands in the way of the flight."""
        del flight
        return True

    def launch(
        self,
        flight: Flight,
        lead: Coroutine[Any, Any, None],
        ended: Callable[[object], None],
        *,
        worker: bool,
    ) -> None:
        """Start the computation as a task of its own, in a copy of the caller's context."""
        del worker
        loop = flight.loop or self.loop()
        task = flight.task = loop.create_task(lead)
        # A task that is cancelled before its first step never gets to its own `finally`.
        flight.unbegun = ended
        task.add_done_callback(ended)

    async def follow(self, flight: Flight, clock: Clock, until: float = inf) -> None:
        """Wait until there is an outcome, or there will be none, or *until* has come."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None]
        if until == inf and flight.loop is loop:  # as most: it watches its deadline itself
            while flight.outcome is None:
                woken = loop.create_future()
                if not flight.subscribe(woken):
                    return
                try:
                    await woken
                except BaseException:
                    flight.unsubscribe(woken)
                    raise
            return
        thread = threading.get_ident()
        foreign = flight.loop is not loop
        while not flight.over:
            woken = loop.create_future()

            def wake(woken: asyncio.Future[None] = woken) -> None:
                try:
                    if threading.get_ident() == thread:
                        resolve(woken)
                    else:
                        loop.call_soon_threadsafe(resolve, woken)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return

            if not flight.subscribe(wake):
                return
            timers: list[Timer] = []
            now = clock.now()
            # A flight on this loop watches its deadline itself; others are watched from here.
            limit = min(until, flight.deadline) if foreign else until
            if limit < inf:
                timers.append(clock.call_later(loop, max(0.0, limit - now), wake))
            if foreign:
                timers.append(loop.call_later(LIVENESS_SECONDS, wake))
            try:
                await woken
            finally:
                flight.unsubscribe(wake)
                for timer in timers:
                    timer.cancel()
            if _past(flight, clock, until):
                return


class InThread:
    """Walks the path in one step, blocking the thread where it has to wait."""

    suspends: Final = False

    def ops(self, guard: Guard) -> Operations:
        """Return the operations that this driver can use."""
        return guard.blocking

    def reads(self, guard: Guard) -> Operations | MemoryCacheProvider:
        """Return how this driver reads and computes, by the shortest way."""
        return guard.blocking_reads

    def loop(self) -> None:
        """Flights that start here belong to no loop."""

    def stands_on_loop(self) -> bool:
        """Waiting here would stop the loop of this thread."""
        return running_loop() is not None

    def may_wait_for(self, flight: Flight) -> bool:
        """
        Tell whether the loops that *flight* needs run, and go on running meanwhile.

        Whoever stands on a loop's thread would stop that loop, and wait for ever; one that
        stands still may be this thread's to run.
        """
        here = running_loop()
        loops = [one.loop for one in reached_from(flight) if one.loop is not None]
        return all(loop is not here and loop.is_running() for loop in loops)

    def launch(
        self,
        flight: Flight,
        lead: Coroutine[Any, Any, None],
        ended: Callable[[object], None],
        *,
        worker: bool,
    ) -> None:
        """Compute here and now, or in a worker thread; in a copy of the context."""
        del flight, ended  # the thread gets to its `finally`
        context = copy_context()
        if not worker:
            context.run(drive, lead)
            return
        thread = threading.Thread(
            target=context.run, args=(_fly, lead), name="stillfresh-worker", daemon=True
        )
        thread.start()

    async def follow(self, flight: Flight, clock: Clock, until: float = inf) -> None:
        """
        Block until there is an outcome, or there will be none, or *until* has come.

        It also returns when the flight has come to wait for the loop of this thread.
        """
        if running_loop() is not None:
            flight.blocks_loop = True
        while not flight.over and self.may_wait_for(flight):
            event = threading.Event()
            if not flight.subscribe(event.set):
                return
            try:
                clock.wait(event, max(0.0, min(until, flight.deadline) - clock.now()))
            finally:
                flight.unsubscribe(event.set)
            if _past(flight, clock, until):
                return


def _fly(lead: Coroutine[Any, Any, None]) -> None:
    with suppress(asyncio.CancelledError):  # of the function: whoever waits is told
        drive(lead)


def _past(flight: Flight, clock: Clock, until: float) -> bool:
    now, time_out = clock.now(), flight.time_out  # read once: its own thread may take it away
    if now >= flight.deadline and flight.outcome is None and time_out is not None:
        time_out()
    return now >= until


ON_LOOP: Final = OnLoop()
IN_THREAD: Final = InThread()
Driver = OnLoop | InThread
