"""What a process owes it pays by itself, also where nobody calls anything there any more."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from stillfresh import App, CacheProvider, MemoryCacheProvider, ProviderUnavailable, cache
from stillfresh.testing import ChaosProvider, VirtualClock

if TYPE_CHECKING:
    from stillfresh.providers.base import CacheProvider as Provider

PATIENCE = 10.0


class Shared(MemoryCacheProvider):
    """Stands for a server: what is in it others see as well."""

    shared = True


class Service:
    @cache(name="idle", ttl=None)
    async def f(self) -> int:
        return 1

    @cache(name="idle-sync", ttl=None)
    def g(self) -> int:
        return 1


def made() -> tuple[App, ChaosProvider, Provider, VirtualClock]:
    inner, clock = Shared(), VirtualClock()
    chaos = ChaosProvider(inner)
    return App(Service, clock=clock).provide(CacheProvider, chaos), chaos, inner, clock


async def test_on_a_loop_a_timer_pays() -> None:
    """
    An idle process makes up for what did not arrive.

    1. an invalidation does not reach the provider, and raises
    2. the provider is there again; nothing is called any more
    3. a second later the entry is gone for everybody
    """
    app, chaos, inner, clock = made()
    async with app:
        service = app.get(Service)
        await service.f()
        chaos.fail = 1
        with pytest.raises(ProviderUnavailable):
            await service.f.invalidate()
        for _ in range(3):  # it is tried again and again
            clock.advance("1 second")
            await asyncio.sleep(0.001)
            assert await inner.keys("idle") == [""]
        chaos.fail = 0
        async with asyncio.timeout(PATIENCE):
            while app.guards[0].down:  # what pays is another task, and may be at it still
                clock.advance("1 second")
                await asyncio.sleep(0)
        assert await inner.keys("idle") == []
        assert len(asyncio.all_tasks()) == 1


def test_without_a_loop_a_thread_pays() -> None:
    """It ends when nothing is owed."""
    app, chaos, inner, clock = made()
    with app:
        service = app.get(Service)
        service.g()
        chaos.fail = 1
        with pytest.raises(ProviderUnavailable):
            service.g.invalidate()
        chaos.fail = 0
        until = time.monotonic() + PATIENCE
        while payers() and time.monotonic() < until:
            clock.advance("1 second")
            time.sleep(0.001)
        assert asyncio.run(inner.keys("idle-sync")) == []
        assert not payers()


async def test_nobody_pays_for_an_app_that_has_stopped() -> None:
    """It has tried once more as it stopped, and said what it owes."""
    app, chaos, inner, clock = made()
    async with app:
        await app.get(Service).f()
        chaos.fail = 1
        with pytest.raises(ProviderUnavailable):
            await app.get(Service).f.invalidate()
        await inner.start(clock)  # another process has it as well
    chaos.fail = 0
    clock.advance("5 seconds")
    await asyncio.sleep(0.001)
    assert await inner.keys("idle") == [""]
    assert len(asyncio.all_tasks()) == 1


def payers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "stillfresh-debts"]
