"""A thousand callers at once on a key that is not there; and what happens when one leaves."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING, Any

from case_hits import TTL, async_peers
from frame import OURS, Case, Row

from stillfresh import cache

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from run import Scale

CALLERS = 1_000
SECONDS = 0.1


def functions() -> dict[str, Any]:
    """Return our decorator and everybody else's, those against a stampede included."""
    found: dict[str, Any] = {OURS: cache(ttl=TTL), **async_peers()}
    try:
        import aiocache

        found["aiocache (stampede)"] = aiocache.cached_stampede(ttl=TTL, lease=2)
    except ImportError:
        pass
    return found


async def crowd(call: Callable[[], Awaitable[object]], callers: int) -> tuple[float, float]:
    """Call from many tasks at once; return milliseconds by the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call() for _ in range(callers)), return_exceptions=True)
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def stampede(scale: Scale) -> list[Case]:
    """1000 callers of a function that takes 100 ms."""
    case = Case("stampede", f"{CALLERS} callers, one cold key, a function of 100 ms", "ms of CPU")
    runs: dict[str, list[int]] = {}

    async def run() -> None:
        for name, decorate in functions().items():
            row, counted = Row(name), runs.setdefault(name, [])
            calls = 0

            async def slow(number: int) -> int:
                nonlocal calls
                calls += 1
                await asyncio.sleep(SECONDS)
                return number

            cached = decorate(slow)
            for number in range(3 if scale.quick else 7):
                calls = 0
                wall, cpu = await crowd(functools.partial(cached, number), CALLERS)
                counted.append(calls)
                if number:
                    row.values.append(cpu)
                    row.note = f"answered after {wall:.0f} ms"
            if max(counted) > 1:
                row.wrong = f"computed {max(counted)} times"
            case.rows.append(row)

    asyncio.run(run())
    case.goal("computations", 1, max(runs[OURS]))
    return [case]


def one_leaves(scale: Scale) -> list[Case]:
    """The first of 100 callers is cancelled: how many of the others are answered."""
    del scale
    case = Case(
        "one-leaves", "100 callers, the first is cancelled", "of 99 answered", more_is_better=True
    )

    async def run() -> None:
        for name, decorate in functions().items():
            calls = 0

            async def slow(number: int) -> int:
                nonlocal calls
                calls += 1
                await asyncio.sleep(SECONDS)
                return number

            cached = decorate(slow)

            async def call(cached: Any = cached) -> object:
                return await cached(7)

            tasks = [asyncio.create_task(call()) for _ in range(100)]
            await asyncio.sleep(SECONDS / 2)
            tasks[0].cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            answered = sum(answer == 7 for answer in done[1:])
            row = Row(name, [float(answered)])
            if answered < 99:
                row.wrong = f"{99 - answered} of the other 99 were cancelled as well"
            elif calls > 1:
                row.wrong = f"computed {calls} times"
            case.rows.append(row)

    asyncio.run(run())
    ours = case.row(OURS)
    case.goal("others answered", 99, ours and ours.median, least=True)
    return [case]


CASES = {"stampede": stampede, "one-leaves": one_leaves}
