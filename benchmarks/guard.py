"""
A guard against getting slower, for CI: how many instructions Python executes, not how long.

Counts of bytecode do not depend on what else a machine does. A limit is about a quarter above what
the code needs today, on any Python from 3.11 on: small changes pass, a second look-up in front of
every hit does not. Ratios and times are the business of `scripts/bench`.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from typing import TYPE_CHECKING, Any, Self

from stillfresh import App, CacheProvider, MemoryCacheProvider, cache
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

FOREVER = Windows(float("inf"))
TIMES = 200

LIMITS = {
    "warm hit, one argument": 50,
    "warm hit, method": 50,
    "warm hit, tagged": 58,
    "warm hit, three parameters": 72,
    "warm hit, sync": 46,
    "miss": 3_300,
    "memory: look": 110,
    "memory: write and evict": 820,
    "memory: clear, per key": 330,
}


class Counted:
    """While it is entered, every instruction that Python executes in this thread is counted."""

    def __init__(self) -> None:
        self.instructions = 0

    def __enter__(self) -> Self:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        del argument
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            self.instructions += 1
        return self._trace


async def count(call: Callable[[int], Awaitable[object] | object], times: int = TIMES) -> float:
    """Return the instructions of one *call*, on average, without those of the loop around it."""

    async def loop(called: Callable[[int], Any], *, wait: bool) -> int:
        with Counted() as counted:
            if wait:
                for number in range(times):
                    await called(number)
            else:
                for number in range(times):
                    called(number)
        return counted.instructions

    async def nothing(number: int) -> None:
        pass

    wait = asyncio.iscoroutinefunction(call)
    empty = await loop(nothing if wait else lambda _: None, wait=wait)
    return (await loop(call, wait=wait) - empty) / times


class Users:
    """A service with methods that are cached."""

    @cache(ttl=None)
    async def method(self, user_id: str) -> str:
        return user_id

    @cache(ttl=None, tags=["users"])
    async def tagged(self, user_id: str) -> str:
        return user_id


async def measure() -> dict[str, float]:
    """Count everything that has a limit."""

    @cache(ttl=None)
    async def one(user_id: str) -> str:
        return user_id

    @cache(ttl=None)
    async def three(user_id: str, lang: str = "en", page: int = 1) -> str:
        return f"{user_id}{lang}{page}"

    @cache(ttl=None)
    def plain(user_id: str) -> str:
        return user_id

    found: dict[str, float] = {}
    app = App(Users).provide(CacheProvider, MemoryCacheProvider(max_entries=100_000))
    async with app:
        users = app.get(Users)

        async def hit(_: int) -> None:
            await one("user")

        async def hit_method(_: int) -> None:
            await users.method("user")

        async def hit_tagged(_: int) -> None:
            await users.tagged("user")

        async def hit_three(_: int) -> None:
            await three("user", page=7)

        def hit_sync(_: int) -> None:
            plain("user")

        async def miss(number: int) -> None:
            await one(f"new {number}")

        calls: dict[str, Any] = {
            "warm hit, one argument": hit,
            "warm hit, method": hit_method,
            "warm hit, tagged": hit_tagged,
            "warm hit, three parameters": hit_three,
            "warm hit, sync": hit_sync,
        }
        for name, call in calls.items():
            for _ in range(3):  # warm
                warmed = call(0)
                if warmed is not None:
                    await warmed
            found[name] = await count(call)
        await one("first")
        found["miss"] = await count(miss)
    memory = MemoryCacheProvider(max_entries=1_000)

    async def look(_: int) -> None:
        await memory.look(Address("ns", "key"))

    async def put(number: int) -> None:
        await memory.put([(Address("ns", f"{number}"), Entry(number, 0.0, FOREVER))])

    for number in range(5_000):
        await put(-number)
    found["memory: write and evict"] = await count(put)
    await memory.put([(Address("ns", "key"), Entry(0, 0.0, FOREVER))])
    found["memory: look"] = await count(look)
    filled = memory.count("ns")

    async def clear(_: int) -> None:
        await memory.clear("ns")

    found["memory: clear, per key"] = await count(clear, 1) / filled
    return found


def main() -> int:
    """Count, compare, and fail when a limit is passed."""
    found = asyncio.run(measure())
    print(f"Python {platform.python_version()}, instructions")
    over = [name for name, limit in LIMITS.items() if found[name] > limit]
    for name, limit in LIMITS.items():
        mark = "  OVER" if name in over else ""
        print(f"  {name:28} {found[name]:8,.0f}  at most {limit:,}{mark}")
    print(f"{len(LIMITS) - len(over)} within their limits, {len(over)} over")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
