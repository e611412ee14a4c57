"""What somebody waits for who waits for another process: a push that rings, or a pause to end."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class Bell:
    """For a coroutine; it belongs to the loop that runs when it is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake who waits, and whoever comes to wait. From any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._rung.set)

    async def rings_within(self, seconds: float) -> bool:
        """Wait for so long; True as soon as it has rung."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        return self._rung.is_set()


class ThreadBell:
    """For a thread, which it blocks."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        """Wake who waits, and whoever comes to wait. From any thread."""
        self._rung.set()

    async def rings_within(self, seconds: float) -> bool:
        """Wait for so long; True as soon as it has rung."""
        return self._rung.wait(seconds)
