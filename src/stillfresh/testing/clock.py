"""A clock that stands still until a test moves it."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

from ..clock import LIVENESS_SECONDS, Clock
from ..durations import seconds
from ..forks import free_in_child

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Callable

    from ..durations import Duration


class VirtualClock(Clock):
    """
    Time for tests: `App(..., clock=clock)`, then `clock.advance("2 seconds")`.

    Freshness, deadlines and back-off follow it; on Redis freshness and leases are the server's
    time, and do not. What is due is handed to its event loop; `await app.settled()` lets it
    happen. Any thread may advance it.
    """

    def __init__(self, start: float = 1_000.0) -> None:
        self._lock = free_in_child()
        self._time = start
        self._order = itertools.count()
        self._due: list[tuple[float, int, _VirtualTimer]] = []
        self.now = self._now

    def __repr__(self) -> str:
        return f"VirtualClock({self._time:g})"

    def _now(self) -> float:
        return self._time

    def advance(self, duration: Duration) -> None:
        """
        Move time forward, and start what is due on the way, in its order.

        Raises:
            InvalidDuration: What is given is no duration.
        """
        with self._lock:
            end = self._time + seconds(duration, "advance")
            while self._due and self._due[0][0] <= end:
                at, _, timer = heapq.heappop(self._due)
                self._time = max(self._time, at)
                timer.fire()
            self._time = end

    def call_later(
        self, loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[[], object]
    ) -> _VirtualTimer:
        """Hand *callback* to *loop* when time has moved that far."""

        def hand_over() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback)

        return self._schedule(seconds, hand_over)

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Block until *event*, until time has moved that far, or a moment of real time."""
        if seconds <= 0:
            return
        timer = self._schedule(seconds, event.set)
        try:
            event.wait(LIVENESS_SECONDS)
        finally:
            timer.cancel()

    def _schedule(self, delay: float, action: Callable[[], object]) -> _VirtualTimer:
        with self._lock:
            timer = _VirtualTimer(action)
            heapq.heappush(self._due, (self._time + delay, next(self._order), timer))
            return timer


class _VirtualTimer:
    """A callback that waits for virtual time."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action: Callable[[], object] | None = action

    def fire(self) -> None:
        action, self._action = self._action, None
        if action is not None:
            action()

    def cancel(self) -> None:
        """Call it off."""
        self._action = None
