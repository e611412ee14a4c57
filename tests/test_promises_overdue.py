"""`timeout=` where somebody else computes: who waits for a holder that died does not wait for ever."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from gated import turns

from stillfresh import App, CacheProvider, MemoryCacheProvider, RedisCacheProvider, cache
from stillfresh.clock import Clock
from stillfresh.computing.patience import STORE_SECONDS, Patience
from stillfresh.providers.base import Address, Busy, Lease
from stillfresh.singleflight import Flight
from stillfresh.testing import VirtualClock

PATIENCE = 20.0


class Service:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def computed(self) -> int:
        self.calls += 1
        return self.calls

    @cache(name="f", key="k", ttl="1 minute", timeout="1 hour")
    async def f(self) -> int:
        return self.computed()

    @cache(name="g", key="k", ttl="1 minute", timeout="1 hour")
    def g(self) -> int:
        return self.computed()

    @cache(name="old", key="k", ttl="10 ms", stale_if_error="1 hour", timeout="1 hour")
    async def old(self) -> int:
        return self.computed()


def made(url: str, prefix: str, clock: VirtualClock) -> App:
    app = App(Service, clock=clock)
    return app.provide(CacheProvider, lambda: patient(url, prefix))


def patient(url: str, prefix: str, **options: Any) -> RedisCacheProvider:
    # On a machine that is busy a second passes without a reply.
    return RedisCacheProvider(url, prefix=prefix, connect_timeout=20.0, timeout=20.0, **options)


async def held(provider: CacheProvider, namespace: str) -> Lease:
    """Hold a lease, and never let go of it, as a process that was killed or suspended."""
    lease = await provider.acquire(Address(namespace, "k"), take=True)
    assert isinstance(lease, Lease)
    return lease


@pytest.fixture
def waiting(monkeypatch):
    """Set when somebody waits for a lease."""
    begun, wait = threading.Event(), RedisCacheProvider.wait

    async def noted(self, *arguments):
        begun.set()
        return await wait(self, *arguments)

    monkeypatch.setattr(RedisCacheProvider, "wait", noted)
    return begun


async def overdue(call: Any, clock: VirtualClock, waiting: threading.Event) -> Any:
    """Return what *call* answers when the holder for whom it waits has had its time."""
    waiting.clear()
    answer = asyncio.ensure_future(call)
    await asyncio.to_thread(waiting.wait)
    assert not answer.done()
    clock.advance(3_600 + STORE_SECONDS)
    return await asyncio.wait_for(answer, PATIENCE)


@pytest.fixture
async def holder(url, prefix):
    """The provider of another process, whose leases outlive any test."""
    provider = patient(url, prefix, lease="1 hour")
    await provider.start(Clock())
    yield provider
    await provider.stop()


async def test_a_holder_that_died_is_waited_for_as_long_as_its_timeout(
    url, prefix, holder, waiting
):
    """Then who waits computes, and stores nothing: the lease is not its own."""
    clock = VirtualClock()
    async with made(url, prefix, clock) as app:
        service = app.get(Service)
        await held(holder, "f")
        assert await overdue(service.f(), clock, waiting) == 1
        assert (await service.f.explain()).status == "miss"
        await held(holder, "g")
        assert await overdue(asyncio.to_thread(service.g), clock, waiting) == 2
        assert service.f.stats.misses == service.g.stats.misses == 1


async def test_where_there_is_an_old_value_it_is_served(url, prefix, holder, waiting):
    """And for the time of the back-off at once."""
    clock = VirtualClock()
    async with made(url, prefix, clock) as app:
        service = app.get(Service)
        assert await service.old() == 1
        while (await service.old.explain()).status == "hit":  # noqa: ASYNC110  # the server's time
            await asyncio.sleep(0.001)
        await held(holder, "old")
        assert await overdue(service.old(), clock, waiting) == 1
        assert await service.old() == 1
        assert service.calls == 1
        assert service.old.stats.fallbacks == 2


async def test_a_holder_within_its_timeout_is_waited_for() -> None:
    """It is doubled neither before its timeout has passed, nor while it may be storing."""
    clock, memory, gate = VirtualClock(), MemoryCacheProvider(), asyncio.Event()
    calls: list[int] = []

    class Slow:
        @cache(name="slow", key="k", timeout="10 seconds")
        async def f(self) -> int:
            calls.append(1)
            await gate.wait()
            return len(calls)

    one, other = (App(Slow, clock=clock).provide(CacheProvider, memory) for _ in range(2))
    async with one, other:
        computing = asyncio.create_task(one.get(Slow).f())
        await turns()
        waiting = asyncio.create_task(other.get(Slow).f())
        await turns()
        clock.advance("9.9 seconds")
        await turns()
        assert len(calls) == 1
        gate.set()
        assert await asyncio.wait_for(asyncio.gather(computing, waiting), PATIENCE) == [1, 1]
        assert len(calls) == 1


def patience(clock: VirtualClock, **options: Any) -> Patience:
    return Patience(Flight("k", None), MemoryCacheProvider(), clock, **options)


def test_the_holder_of_another_lease_has_its_own_time() -> None:
    """One that began later, after an invalidation, may compute for as long as the first one."""
    clock = VirtualClock()
    waiter = patience(clock, timeout=2.0)
    waiter.meet(b"first")
    clock.advance(2.0 + STORE_SECONDS - 0.1)
    waiter.meet(b"first")
    assert not waiter.is_over()
    assert waiter.seconds() <= 0.11
    waiter.meet(b"second")
    clock.advance(2.0 + STORE_SECONDS - 0.1)
    waiter.meet(b"second")
    assert not waiter.is_overdue()
    clock.advance(0.2)
    waiter.meet(b"second")
    assert waiter.is_overdue()
    assert waiter.is_over()


def test_where_nobody_knows_whose_lease_it_is_all_of_them_are_one() -> None:
    """A provider that says no more than that somebody computes."""
    clock = VirtualClock()
    waiter = patience(clock, timeout=2.0)
    for _ in range(3):
        waiter.meet(Busy().mark)
        assert not waiter.is_over()
        clock.advance(1.0)
    assert waiter.is_over()


def test_without_a_timeout_nobody_is_overdue() -> None:
    """It may compute for as long as its lease is renewed."""
    clock = VirtualClock()
    waiter = patience(clock)
    waiter.meet(b"first")
    clock.advance("1 day")
    assert not waiter.is_overdue()
    assert not waiter.is_over()
