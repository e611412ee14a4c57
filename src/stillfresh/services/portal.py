"""A private event loop in a thread of its own, for async work of a sync program."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

_left_behind: Final[list[object]] = []


class Portal:
    """The loop is made when the first coroutine comes, and ends with `close`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run *coroutine* on the private loop, and block until it is done."""
        self._leave_behind()
        if self._loop is None:
            loop = self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._serve, args=(loop,), name="stillfresh-loop", daemon=True
            )
            self._thread.start()
        future = asyncio.run_coroutine_threadsafe(_answered(coroutine), self._loop)
        try:
            answer, error = future.result()
        except BaseException:
            future.cancel()
            raise
        if error is not None:
            raise error
        return cast("T", answer)

    def close(self) -> None:
        """End the loop and its thread; what still runs on it is cancelled."""
        self._leave_behind()
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _leave_behind(self) -> None:
        # The child of a fork has the loop without its thread. What the loop waits on is the
        # parent's as well, so it is not used, and not closed either.
        if self._thread is not None and not self._thread.is_alive():
            _left_behind.append(self._loop)
            self._loop = self._thread = None

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _answered(coroutine: Coroutine[Any, Any, T]) -> tuple[T | None, BaseException | None]:
    """
    Return what *coroutine* answers, and what it raises.

    A loop that meets SystemExit or KeyboardInterrupt in a task ends by it, and tells nobody.
    """
    try:
        return await coroutine, None
    except (SystemExit, KeyboardInterrupt) as error:
        return None, error
