"""
Time as the cache sees it: one object that everything asks, so that tests can replace it.

Seconds are floats of a monotonic clock. No time of day is ever used.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Callable

LIVENESS_SECONDS = 0.25
"""Real seconds after which a blocked waiter looks whether whom it waits for still lives."""


class Timer(Protocol):
    """A callback that is due later, and can be called off."""

    def cancel(self) -> None:
        """Call it off; nothing happens when it already ran."""


class Clock:
    """The real clock. `stillfresh.testing.VirtualClock` is the other one."""

    now: Callable[[], float] = staticmethod(time.monotonic)
    """Seconds; a plain function, because the hot path calls it once per hit."""

    def call_later(
        self, loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[[], object]
    ) -> Timer:
        """Run *callback* on *loop* in that many seconds. Called on the thread of the loop."""
        return loop.call_later(seconds, callback)

    def wait(self, event: threading.Event, seconds: float) -> None:
        """
        Block until *event* is set, or *seconds* are over, or a moment has passed.

        It returns early, at least every `LIVENESS_SECONDS` of real time: callers loop, and
        look at each turn whether there is still somebody to wait for.
        """
        event.wait(min(seconds, LIVENESS_SECONDS))
