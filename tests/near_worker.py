"""
A process that reads from near, for `test_redis_near_processes.py`:
python near_worker.py NAME ROUNDS URL PREFIX.
"""

# ruff: noqa: T201  # it talks by printing

from __future__ import annotations

import asyncio
import sys

import redis.asyncio

from stillfresh import App, CacheProvider, RedisCacheProvider, cache


class Service:
    """Reads a number that somebody else writes."""

    def __init__(self) -> None:
        self.raw = redis.asyncio.Redis.from_url(URL)

    @cache(name="nearby", tags=["nearby"], ttl="1 minute", memory=True)
    async def nearby(self) -> int:
        return int(await self.raw.get(f"{PREFIX}.source") or 0)


async def read(service: Service, number: int) -> None:
    """Read on and on until the last round was seen; what is seen never goes back."""
    last = 0
    while last < ROUNDS:
        found = await service.nearby()
        if found < last:
            print(f"answered {found} after {last}")
        if found > last:
            last = found
            await service.raw.set(f"{PREFIX}.seen.{NAME}.{number}", last)
        await asyncio.sleep(0)


async def main() -> None:
    """Several readers, and what they found near."""
    app = App(Service).provide(CacheProvider, lambda: RedisCacheProvider(URL, prefix=PREFIX))
    async with app:
        service = app.get(Service)
        await asyncio.gather(*(read(service, number) for number in range(2)))
        print("hits", service.nearby.stats.hits, "misses", service.nearby.stats.misses)
        await service.raw.aclose()


if __name__ == "__main__":
    NAME, rounds, URL, PREFIX = sys.argv[1:]
    ROUNDS = int(rounds)
    asyncio.run(main())
