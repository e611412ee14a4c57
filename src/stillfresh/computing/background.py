"""What one app still computes: refreshes behind an answer, and work whose callers have gone."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

from ..errors import StillfreshError
from ..singleflight import flight_here, reached_from
from .drivers import IN_THREAD, ON_LOOP, drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..clock import Clock
    from ..singleflight import Flight

MOST_THREADS: Final = 32
GRACE_SECONDS: Final = 2.0
"""Real ones: a test whose time stands still must come to its end, too."""


class Background:
    """The running flights of one app, with the tasks that fly them."""

    add: Callable[[Flight], None]
    """Keep a flight until `discard`."""
    discard: Callable[[Flight], None]
    """Let go of a flight: it has ended."""

    def __init__(self) -> None:
        self.forget_all()

    def forget_all(self) -> None:
        """Begin anew, as in the child of a fork, where nothing of this runs."""
        # Without a lock: each step is one of the set, and who looks through it has a copy.
        self._running: set[Flight] = set()
        self.add, self.discard = self._running.add, self._running.discard

    def has(self, flight: Flight) -> bool:
        """Tell whether *flight* runs beside its callers."""
        return flight in self._running

    def has_room(self) -> bool:
        """Tell whether one more refresh may start; hung threads must not pile up."""
        return sum(flight.loop is None for flight in self._running.copy()) < MOST_THREADS

    def is_stuck(self) -> bool:
        """Tell whether too many threads hang past their deadline: nobody can end them."""
        running = self._running.copy()
        return sum(flight.loop is None and flight.over for flight in running) >= MOST_THREADS

    def _unfinished(self) -> list[Flight]:
        me = flight_here()
        unfinished = [one for one in self._running.copy() if not one.over]
        # Not the one in which this is asked, nor who waits for it: it would never end.
        return [one for one in unfinished if all(other is not me for other in reached_from(one))]

    async def settled(self, clock: Clock) -> None:
        """Return when nothing is being computed any more."""
        while flights := self._unfinished():
            for flight in flights:
                await ON_LOOP.follow(flight, clock)
        for _ in range(3):  # tasks that were cancelled get their turn to end
            await asyncio.sleep(0)

    def settle(self, clock: Clock) -> None:
        """
        Block until nothing is being computed any more.

        Raises:
            StillfreshError: Something is computed on a loop that does not run while this blocks.
        """
        while flights := self._unfinished():
            for flight in flights:
                if not IN_THREAD.may_wait_for(flight):
                    msg = (
                        f"{flight.title} is being computed on an event loop that does not run "
                        "while this thread blocks. Write `await app.settled()`."
                    )
                    raise StillfreshError(msg)
                drive(IN_THREAD.follow(flight, clock))

    async def stop(self, clock: Clock) -> None:
        """Give what runs a grace, then cancel it, and see it end."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE_SECONDS):
                    await self.settled(clock)
        finally:
            self.cancel()
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        tasks = [one.task for one in self._running.copy() if one.task and one.task is not me]
        if tasks := [task for task in tasks if task.get_loop() is loop]:
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)

    def stop_blocking(self) -> None:
        """Give what runs a grace, then cancel it; the results of threads are dropped."""
        end = time.monotonic() + GRACE_SECONDS
        done = threading.Event()
        for flight in self._unfinished():
            while not flight.over and IN_THREAD.may_wait_for(flight):
                if not flight.subscribe(done.set):
                    break
                if not done.wait(max(0.0, end - time.monotonic())):
                    break
                done.clear()
        self.cancel()

    def cancel(self) -> None:
        """Cancel everything that can be cancelled."""
        for flight in self._unfinished():
            flight.cancel()
