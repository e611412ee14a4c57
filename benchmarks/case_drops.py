"""Dropping many at once: by pattern, by tag, everything; and how long nothing else runs."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any

from frame import Case, Row

from stillfresh import MemoryCacheProvider
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from run import Scale

FOREVER = Windows(float("inf"))


async def filled(count: int, tags: tuple[str, ...] = ()) -> MemoryCacheProvider:
    """Return a memory with *count* entries, under keys like `user:17:orders`."""
    provider = MemoryCacheProvider(max_entries=count)
    names = frozenset(tags)
    for start in range(0, count, 1_000):
        await provider.put(
            [
                (
                    Address("ns", f"user:{number}:{'orders' if number % 2 else 'name'}"),
                    Entry(number, 0.0, FOREVER, names),
                )
                for number in range(start, min(count, start + 1_000))
            ]
        )
    gc.collect()
    gc.freeze()
    return provider


async def watched(operation: Awaitable[object]) -> tuple[float, float]:
    """
    Return milliseconds that *operation* took, and the longest pause of the loop meanwhile.

    Both of the processor: what other programs on the machine take is no pause of ours.
    """
    longest, over = 0.0, False

    async def watch() -> None:
        nonlocal longest
        before = time.thread_time()
        while not over:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, before = max(longest, now - before), now

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)
    begin = time.thread_time()
    await operation
    passed = time.thread_time() - begin
    over = True
    await watcher
    return passed * 1e3, longest * 1e3


def walks(scale: Scale) -> list[Case]:
    """Clear, and drop by pattern, over a million keys."""
    count = scale.less(1_000_000)
    taken = Case("walk", f"Over {count:,} keys in memory", "ms of CPU")
    pause = Case("walk-pause", f"Longest pause of the loop, over {count:,} keys", "ms of CPU")
    operations: dict[str, Any] = {
        "clear": lambda p: p.clear("ns"),
        "pattern, half of them match": lambda p: p.invalidate_matching("ns", "user:*:orders"),
        "pattern, none matches": lambda p: p.invalidate_matching("ns", "group:*"),
        "list the keys": lambda p: p.keys("ns"),
    }

    async def run() -> None:
        for name, operation in operations.items():
            passed, longest = [], []
            for _ in range(1 if scale.quick else 2):
                milliseconds, stop = await watched(operation(await filled(count)))
                passed.append(milliseconds)
                longest.append(stop)
            taken.rows.append(Row(name, passed))
            pause.rows.append(Row(name, longest))
            pause.goal(f"{name}: longest pause", 50.0, max(longest))

    asyncio.run(run())
    return [taken, pause]


def tags(scale: Scale) -> list[Case]:
    """Drop a tag: with 1, 1e3 and 1e5 members."""
    case = Case("tag", "Drop a tag in memory", "us")

    async def run() -> None:
        for members in (1, 1_000, 100_000):
            values = []
            for _ in range(3 if scale.quick else 9):
                provider = await filled(members, ("products",))
                begin = time.perf_counter()
                await provider.invalidate_tags(None, ["products"])
                values.append((time.perf_counter() - begin) * 1e6)
                gc.unfreeze()
            case.rows.append(Row(f"{members:,} members", values))

    asyncio.run(run())
    few, _, many = (min(row.values) for row in case.rows)
    case.goal("times as long with 100,000 members as with one", 3.0, many / few)
    return [case]


CASES = {"walk": walks, "tag": tags}
