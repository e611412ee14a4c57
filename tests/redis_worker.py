"""
One process of a fleet, for `test_redis_processes.py`: python redis_worker.py ROLE URL PREFIX.

What the processes tell each other and the test goes over plain keys under `PREFIX.`.
"""

# ruff: noqa: ASYNC110, ASYNC251, T201  # it blocks on purpose, and talks by printing

from __future__ import annotations

import asyncio
import random
import sys
import time

import redis
import redis.asyncio

from stillfresh import App, CacheProvider, RedisCacheProvider, cache

LEASE = 1.0


class Service:
    """Counts its computations on the server, and takes its time."""

    def __init__(self) -> None:
        self.raw = redis.Redis.from_url(URL)
        self.waiting = redis.asyncio.Redis.from_url(URL)

    @cache(name="slow")
    async def slow(self) -> int:
        await asyncio.sleep(0.2)
        return self.raw.incr(f"{PREFIX}.computed")

    @cache(name="waits")
    async def waits(self) -> int:
        self.raw.set(f"{PREFIX}.began", 1)
        await asyncio.sleep(2.2 * LEASE)
        return self.raw.incr(f"{PREFIX}.computed")

    @cache(name="blocks")
    async def blocks(self) -> int:
        self.raw.set(f"{PREFIX}.began", 1)
        time.sleep(2.2 * LEASE)
        return self.raw.incr(f"{PREFIX}.computed")

    @cache(name="plain")
    def plain(self) -> int:
        self.raw.set(f"{PREFIX}.began", 1)
        time.sleep(2.2 * LEASE)
        return self.raw.incr(f"{PREFIX}.computed")

    @cache(name="hangs")
    async def hangs(self) -> int:
        if not self.raw.set(f"{PREFIX}.began", 1, nx=True):
            return 2
        await asyncio.sleep(60)
        return 1

    @cache(name="ping")
    async def ping(self) -> str:
        return f"ping of {ROLE}" + await self.other("ping", "pong")

    @cache(name="pong")
    async def pong(self) -> str:
        return f"pong of {ROLE}" + await self.other("pong", "ping")

    async def other(self, mine: str, other: str) -> str:
        """Both are being computed, each in its process; each needs the other one."""
        if mine != ROLE:
            return ""
        self.raw.set(f"{PREFIX}.{mine}", 1)
        while not await self.waiting.exists(f"{PREFIX}.{other}"):
            await asyncio.sleep(0.005)
        return " with " + await getattr(self, other)()

    @cache(name="source", tags=["source"], ttl="1 minute")
    async def source(self, late: bool) -> int:
        found = int(await self.waiting.get(f"{PREFIX}.source") or 0)
        await asyncio.sleep(random.uniform(0, 0.004))
        return found

    @cache(name="late", tags=lambda value, late: ["late-source"], ttl="1 minute")
    async def late(self, late: bool) -> int:
        found = int(await self.waiting.get(f"{PREFIX}.source") or 0)
        await asyncio.sleep(random.uniform(0, 0.004))
        return found


def make_app() -> App:
    """Return the app that all processes run."""
    return App(Service).provide(
        CacheProvider, lambda: RedisCacheProvider(URL, prefix=PREFIX, lease=LEASE)
    )


async def crowd(service: Service) -> None:
    """250 callers of one cold key, at the same moment in all processes."""
    service.raw.incr(f"{PREFIX}.ready")
    while int(service.raw.get(f"{PREFIX}.ready") or 0) < 4:
        await asyncio.sleep(0.005)
    print(set(await asyncio.gather(*(service.slow() for _ in range(250)))))


async def read(service: Service) -> None:
    """Read on and on: what was written before a call began is the least that it may answer."""

    async def reader() -> None:
        calls = 0
        while not await service.waiting.exists(f"{PREFIX}.over"):
            function = random.choice([service.source, service.late])
            least = int(await service.waiting.get(f"{PREFIX}.least") or 0)
            found = await function(True)
            calls += 1
            if found < least:
                print(f"{function.__name__} answered {found} after {least} was written")
        print("calls", calls)

    await asyncio.gather(*(reader() for _ in range(8)))


async def main(role: str) -> None:
    """Play a role."""
    async with make_app() as app:
        service = app.get(Service)
        if role == "crowd":
            await crowd(service)
        elif role == "read":
            await read(service)
        elif role == "plain":
            print(service.plain())
        else:
            print(await getattr(service, role)())
        service.raw.close()
        await service.waiting.aclose()


if __name__ == "__main__":
    ROLE, URL, PREFIX = sys.argv[1:]
    asyncio.run(main(ROLE))
