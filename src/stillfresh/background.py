"""What one app still computes: refreshes behind an answer, and work whose callers have gone."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

from .drivers import IN_THREAD, ON_LOOP, drive
from .singleflight import current_flight

if TYPE_CHECKING:
    from .clock import Clock
    from .singleflight import Flight

MOST_THREADS: Final = 32
GRACE_SECONDS: Final = 2.0


class Background:
    """The running flights of one app, with the tasks that fly them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Flight, asyncio.Task[None] | None] = {}

    def add(self, flight: Flight, task: asyncio.Task[None] | None) -> None:
        """Keep *flight*, and its task if it has one, until `discard`."""
        with self._lock:
            self._running[flight] = task
        if flight.outcome is not None:  # an eager task is through before it is known here
            self.discard(flight)

    def discard(self, flight: Flight) -> None:
        """Let go of *flight*: it has ended."""
        with self._lock:
            self._running.pop(flight, None)

    def has_room(self) -> bool:
        """Tell whether one more refresh may start; hung threads must not pile up."""
        with self._lock:
            return sum(task is None for task in self._running.values()) < MOST_THREADS

    def _unfinished(self) -> list[Flight]:
        me = current_flight.get()
        with self._lock:
            return [one for one in self._running if not one.over and one is not me]

    async def settled(self, clock: Clock) -> None:
        """Return when nothing is being computed any more."""
        while flights := self._unfinished():
            for flight in flights:
                await ON_LOOP.follow(flight, clock)
        for _ in range(3):  # tasks that were cancelled get their turn to end
            await asyncio.sleep(0)

    def settle(self, clock: Clock) -> None:
        """Block until nothing is being computed any more."""
        while flights := self._unfinished():
            for flight in flights:
                drive(IN_THREAD.follow(flight, clock))

    async def stop(self, clock: Clock) -> None:
        """Give what runs a grace, then cancel it."""
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await self.settled(clock)
        except TimeoutError:
            self.cancel()
            for _ in range(3):
                await asyncio.sleep(0)

    def stop_blocking(self) -> None:
        """Give what runs in threads a grace; then their results are dropped."""
        done = threading.Event()
        for flight in self._unfinished():
            while not flight.over and flight.subscribe(done.set):
                if not done.wait(GRACE_SECONDS):
                    break
                done.clear()
        self.cancel()

    def cancel(self) -> None:
        """Cancel everything that can be cancelled."""
        for flight in self._unfinished():
            if flight.abort is not None:
                flight.abort()
