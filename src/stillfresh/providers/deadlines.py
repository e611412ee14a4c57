"""An end to the wait for a provider that does not answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ProviderUnavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..clock import Clock

T = TypeVar("T")


async def in_time(operation: Coroutine[Any, Any, T], seconds: float, clock: Clock, name: str) -> T:
    """
    Return what *operation* of the provider *name* answers.

    Raises:
        ProviderUnavailable: It did not within so many *seconds*; it was cancelled.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(operation)
    late = False

    def expire() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = clock.call_later(loop, seconds, expire)
    try:
        return await task
    except asyncio.CancelledError:
        me = asyncio.current_task()
        if not late or (me is not None and me.cancelling()):
            task.cancel()
            raise
    finally:
        timer.cancel()
    msg = f"{name} did not answer within {seconds} s"
    raise ProviderUnavailable(msg)
