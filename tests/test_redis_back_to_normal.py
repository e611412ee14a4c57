"""Each fault of the list, one by one: calls go on, and all is back to normal by itself."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from soak.stage import Pair, Single, asked

from stillfresh import App, CacheProvider, RedisCacheProvider, cache

FAULT_SECONDS = 0.6
SECONDS = 10.0
"""After which it must be as before; a breaker tries again after one, a connection takes another."""
FAULTS = [
    *("latency", "slow bytes", "reset", "refused", "half open"),
    *("kill -9", "SIGSTOP", "CLIENT KILL", "CLIENT PAUSE"),
    *("maxmemory", "FLUSHALL", "SCRIPT FLUSH", "failover"),
]


class Service:
    """What is called all the while."""

    version = 0

    @cache(name="plain", key="{n}", tags=["t"])
    async def plain(self, n: int) -> int:
        return self.version

    @cache(name="near", key="{n}", memory=True)
    async def near(self, n: int) -> int:
        return self.version

    @cache(name="sync", key="{n}")
    def sync(self, n: int) -> int:
        return self.version


class Process:
    """One app, its callers, and how their calls were answered."""

    def __init__(self, url: str, prefix: str) -> None:
        provider = RedisCacheProvider(
            url, prefix=prefix, timeout="300 ms", connect_timeout="300 ms", after_restart="discard"
        )
        self.app = App(Service).provide(CacheProvider, provider)
        self.statuses: Counter[str] = Counter()
        for kind in ("hit", "miss", "stale", "coalesced", "fallback", "bypass"):
            self.app.on(kind, lambda event: self.statuses.update([event.kind]))

    async def round(self) -> None:
        """Call each function; whatever is the matter with the server, nothing is raised."""
        service = self.app.get(Service)
        for n in range(3):
            got = [await service.plain(n), await asyncio.to_thread(service.sync, n)]
            near = await service.near(n)
            assert got == [service.version] * 2
            assert near <= service.version
        await asyncio.sleep(0.01)

    async def is_normal(self) -> bool:
        """Tell whether it hits, and goes past the cache no more."""
        self.statuses.clear()
        for _ in range(3):
            await self.round()
        return not self.statuses["bypass"] and self.statuses["hit"] >= 2 * 3 * 2


async def fault(name: str, stage: Single) -> None:
    """Let something break, and mend it."""
    server, proxies = stage.server, stage.proxies
    match name:
        case "latency":
            for proxy in proxies:
                proxy.latency = 0.5
        case "slow bytes":
            for proxy in proxies:
                proxy.slow = True
        case "reset":
            for proxy in proxies:
                proxy.cut()
        case "refused":
            for proxy in proxies:
                proxy.refusing = True
                proxy.cut()
        case "half open":
            for proxy in proxies:
                proxy.half_open = True
        case "kill -9":
            await asyncio.to_thread(server.kill)
        case "SIGSTOP":
            server.signal(signal.SIGSTOP)
        case "CLIENT KILL":
            asked(server, "CLIENT", "KILL", "TYPE", "normal")
        case "CLIENT PAUSE":
            asked(server, "CLIENT", "PAUSE", int(FAULT_SECONDS * 1000), "ALL")
        case "maxmemory":
            asked(server, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            asked(server, "CONFIG", "SET", "maxmemory", 1_000_000)
        case "failover":
            assert isinstance(stage, Pair)
            await asyncio.to_thread(stage.kill_primary, spared=False)
        case _:
            asked(server, *name.split())
    await asyncio.sleep(FAULT_SECONDS)
    for proxy in proxies:
        proxy.mend()
    match name:
        case "kill -9":
            await asyncio.to_thread(server.start)
        case "SIGSTOP":
            server.signal(signal.SIGCONT)
        case "maxmemory":
            asked(server, "CONFIG", "SET", "maxmemory", 0)


@pytest.mark.parametrize("name", FAULTS)
async def test_back_to_normal(name: str, tmp_path: Path, prefix: str, caplog: Any) -> None:
    """
    Two processes call all the while, with tasks and with threads: nothing is raised, nothing old is
    served, and soon after the fault both hit again and go past the cache no more.
    """
    caplog.set_level("CRITICAL", "stillfresh")
    Service.version = 0
    stage = (Pair if name == "failover" else Single)(tmp_path, random.Random(0), {})
    await stage.start()
    if isinstance(stage, Pair):
        await asyncio.to_thread(stage.watch)
    processes = [Process(stage.url, prefix) for _ in range(2)]
    try:
        async with processes[0].app, processes[1].app:
            assert await processes[0].is_normal() or await processes[0].is_normal()
            broken = asyncio.create_task(fault(name, stage))
            while not broken.done():
                await asyncio.gather(*(one.round() for one in processes))
            await broken
            until = time.monotonic() + SECONDS
            for one in processes:
                while not await one.is_normal():
                    assert time.monotonic() < until, one.statuses
            Service.version += 1
            service = processes[0].app.get(Service)
            for n in range(3):
                await service.plain.invalidate(n)
                await asyncio.to_thread(service.sync.invalidate, n)
            for one in processes:
                await one.round()
    finally:
        await stage.stop()
        await asyncio.to_thread(stage.close)
