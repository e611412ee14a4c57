"""Does a cost grow? Each at one size and at ten times that."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from case_drops import filled
from case_memory import BATCH, fill, fresh
from frame import Case, Row, compete, loop_over

from stillfresh import App, CacheProvider, MemoryCacheProvider, cache

if TYPE_CHECKING:
    from run import Scale

LIMIT = 2_000_000


def growth_entries(scale: Scale) -> list[Case]:
    """A warm hit, among 1e3 to 1e6 entries."""
    case = Case("growth-hit", "Warm hit on one key, by entries that there are", "ns")

    async def run() -> None:
        sizes = [1_000, 10_000, 100_000, *([] if scale.quick else [1_000_000])]
        for size in sizes:
            app = App().provide(CacheProvider, MemoryCacheProvider(max_entries=LIMIT))
            async with app:

                @cache(ttl=None)
                async def f(number: int) -> int:
                    return number

                for start in range(0, size, 1_000):
                    await f.cache.set_many({str(n): n for n in range(start, start + 1_000)})
                await f(7)
                play = loop_over("f(7)", wait=True, loops=scale.loops, f=f)
                part = await compete(Case("", "", ""), {f"{size:,} entries": play}, scale.rounds)
                case.rows += part.rows

    asyncio.run(run())
    few, many = (min(row.values) for row in (case.rows[0], case.rows[-1]))
    case.goal("times as long with the most entries as with 1,000", 1.5, many / few)
    return [case]


def growth_writes(scale: Scale) -> list[Case]:
    """Set and evict, with 1e4 to 1e6 entries."""
    case = Case("growth-write", "Set and evict, by entries that there are", "ns")

    async def run() -> None:
        for most in (10_000, 100_000, *([] if scale.quick else [1_000_000])):
            provider, batches = MemoryCacheProvider(max_entries=most), fresh(0)
            for _ in range(2 * most // BATCH):
                await fill(provider, next(batches))
            values = [await fill(provider, next(batches)) for _ in range(9)]
            case.rows.append(Row(f"{most:,} entries", values))

    asyncio.run(run())
    few, many = (min(row.values) for row in (case.rows[0], case.rows[-1]))
    case.goal("times as long with the most entries as with the least", 3.0, many / few)
    return [case]


def growth_tags(scale: Scale) -> list[Case]:
    """A warm hit and a miss, with 1 and with 10 tags."""
    hits = Case("growth-tags-hit", "Warm hit, by tags of the entry", "ns", measure="1 tag")
    misses = Case("growth-tags-miss", "Miss, by tags of the entry", "ns", measure="1 tag")

    async def run() -> None:
        functions: dict[str, Any] = {}
        for number in (1, 10):

            @cache(ttl=None, tags=[f"tag-{n}" for n in range(number)])
            async def f(key: str) -> str:
                return key

            functions[f"{number} tag{'s' * (number > 1)}"] = f
        for case, call, setup in (
            (hits, "f('key')", "pass"),
            (misses, "f(keys[number])", "keys = [f'{turn}-{n}' for n in range(250)]"),
        ):
            loops = 250 if case is misses else scale.loops
            plays = {
                name: loop_over(call, wait=True, loops=loops, setup=setup, f=f)
                for name, f in functions.items()
            }
            await compete(case, plays, scale.rounds)

    asyncio.run(run())
    hits.goal("times as long with ten tags", 1.3, hits.rows[1].ratio)
    misses.goal("times as long with ten tags", 10.0, misses.rows[1].ratio)
    return [hits, misses]


def growth_waiters(scale: Scale) -> list[Case]:
    """Callers of one cold key: what each of them costs."""
    case = Case("growth-waiters", "Waiting for one computation, per caller", "us of CPU")

    async def run() -> None:
        for callers in (100, 1_000, 10_000):
            values = []
            for _ in range(3 if scale.quick else 9):
                opened = asyncio.Event()

                @cache
                async def f() -> int:
                    await opened.wait()  # noqa: B023  # it ends within this turn
                    return 1

                begin = time.process_time()
                tasks = [asyncio.create_task(waits(f)) for _ in range(callers)]
                await asyncio.sleep(0)
                opened.set()
                await asyncio.gather(*tasks)
                values.append((time.process_time() - begin) / callers * 1e6)
            case.rows.append(Row(f"{callers:,} callers", values))

    asyncio.run(run())
    few, many = (min(row.values) for row in (case.rows[0], case.rows[-1]))
    case.goal("times as long for each of 10,000 as of 100", 3.0, many / few)
    return [case]


async def waits(function: Any) -> object:
    return await function()


def growth_walks(scale: Scale) -> list[Case]:
    """Clearing: what each key costs."""
    case = Case("growth-clear", "Clear, per key", "ns")

    async def run() -> None:
        for count in (10_000, 100_000, *([] if scale.quick else [1_000_000])):
            values = []
            for _ in range(3):
                provider = await filled(count)
                begin = time.thread_time()
                await provider.clear("ns")
                values.append((time.thread_time() - begin) / count * 1e9)
            case.rows.append(Row(f"{count:,} keys", values))

    asyncio.run(run())
    few, many = (min(row.values) for row in (case.rows[0], case.rows[-1]))
    case.goal("times as long for each with the most keys as with the least", 3.0, many / few)
    return [case]


CASES = {
    "growth-hit": growth_entries,
    "growth-write": growth_writes,
    "growth-tags": growth_tags,
    "growth-waiters": growth_waiters,
    "growth-clear": growth_walks,
}
