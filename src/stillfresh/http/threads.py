"""Work that would hold up the event loop."""

from __future__ import annotations

import asyncio
import sys
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Run *call* where frameworks run sync endpoints: in the thread pool of anyio."""
    if "anyio" in sys.modules:
        from anyio import to_thread

        return await to_thread.run_sync(copy_context().run, call)
    return await asyncio.get_running_loop().run_in_executor(None, copy_context().run, call)
