"""What is changed while a call is still on its way to its computation. Found by the simulation."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from stillfresh import (
    App,
    CacheProvider,
    MemoryCacheProvider,
    ProviderUnavailable,
    RedisCacheProvider,
    cache,
)
from stillfresh.clock import Clock
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address, Lease


class Slow(MemoryCacheProvider):
    """A provider whose answers are held back."""

    def __init__(self) -> None:
        super().__init__()
        self.looks, self.grants = asyncio.Event(), asyncio.Event()
        self.looks.set()
        self.asked = 0

    async def look(self, address):
        found = await super().look(address)
        await self.looks.wait()
        return found

    async def acquire(self, address, **options):
        answer = await super().acquire(address, **options)
        self.asked += 1
        await self.grants.wait()
        return answer


async def turns() -> None:
    """Let everything happen that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_change_before_the_function_is_called_starts_no_second_computation() -> None:
    """
    One computes, also when something is invalidated while its lease is asked for.

    1. caller A    asks for the lease; the provider grants it, the grant is on its way
    2. writer      invalidates: the lease ends
    3. caller B    comes, and joins: nothing was computed yet that could be old
    4. caller A    gets the grant, sees that something was changed, and asks for another one
    5. the function is called once, and its value is stored
    """
    provider, calls = Slow(), 0

    @cache(name="once", key="{n}")
    async def f(n: int) -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return calls

    async with App().provide(CacheProvider, provider):
        first = asyncio.create_task(f(1))
        await turns()
        await f.invalidate(1)
        second = asyncio.create_task(f(1))
        await turns()
        provider.grants.set()
        assert [await first, await second, await f(1)] == [1, 1, 1]
        assert (calls, provider.asked) == (1, 2)


async def test_a_caller_who_is_cancelled_while_it_looks_is_counted() -> None:
    """Statistics add up: hits, misses and all others together are the calls that were made."""
    provider = Slow()
    provider.grants.set()

    @cache(name="counted", key="{n}")
    async def f(n: int) -> int:
        return n

    async with App().provide(CacheProvider, provider):
        assert await f(1) == 1
        provider.looks.clear()
        call = asyncio.create_task(f(2))
        await turns()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (f.stats.hits, f.stats.misses, f.stats.coalesced) == (0, 2, 0)


async def test_a_cancelled_invalidation_is_made_up_for_at_once() -> None:
    """
    Who goes away while it invalidates says nothing of the provider: it rests for nobody.

    1. a request   invalidates, and is cancelled: nobody knows whether it happened
    2. a call      comes: the invalidation is carried out first, and then it is an ordinary miss
    """
    gate: asyncio.Event | None = asyncio.Event()

    class Held(MemoryCacheProvider):
        async def delete(self, addresses):
            if gate is not None:
                await gate.wait()
            return await super().delete(addresses)

    @cache(name="doubted", key="{n}")
    async def f(n: int) -> int:
        return n

    async with App().provide(CacheProvider, Held()):
        await f(1)
        change = asyncio.create_task(f.invalidate(1))
        await turns()
        change.cancel()
        with pytest.raises(asyncio.CancelledError):
            await change
        gate = None
        assert [await f(1), await f(1)] == [1, 1]
        assert (f.stats.misses, f.stats.hits, f.stats.bypasses) == (2, 1, 0)


async def test_two_processes_refresh_once(url: str, prefix: str) -> None:
    """
    A refresh behind an answer takes the lease from nobody.

    1. process A   finds a stale entry, answers with it, and computes behind
    2. process B   finds the same, and answers with it; it must not compute as well
    """
    begun, gate = [], asyncio.Event()

    class Service:
        name = ""

        @cache(name="twice", key="k", ttl=60, stale=60)
        async def f(self) -> str:
            begun.append(self.name)
            if len(begun) > 1:
                await gate.wait()
            return self.name

    a, b = (
        App(Service).provide(CacheProvider, RedisCacheProvider(url, prefix=prefix))
        for _ in range(2)
    )
    async with a, b:
        for app, name in ((a, "A"), (b, "B")):
            app.get(Service).name = name
        assert await a.get(Service).f() == "A"
        await a.get(Service).f.expire()
        assert await a.get(Service).f() == "A"
        async with asyncio.timeout(10):
            while len(begun) < 2:  # noqa: ASYNC110  # its refresh runs
                await asyncio.sleep(0.001)
        assert await b.get(Service).f() == "A"
        await asyncio.sleep(0.3)
        assert begun == ["A", "A"]
        gate.set()
        await a.settled()
        await b.settled()
        assert begun == ["A", "A"]  # and B takes what A has stored


async def test_a_lease_that_a_server_brings_back_stores_nothing(own, prefix: str) -> None:
    """
    A lease counts only on the run of the server that has granted it.

    1. a holder    gets the lease; the server saves
    2. a writer    deletes: the lease ends
    3. the server  dies, and comes back with what it had saved, the lease among it
    4. the holder  stores; it must be refused
    """
    address = Address("space", "key")
    provider = RedisCacheProvider(own.url, prefix=prefix)
    await provider.start(Clock())
    lease = await provider.acquire(address)
    assert isinstance(lease, Lease)
    with own.client() as raw:
        raw.save()
    await provider.delete([address])
    own.kill()
    own.start()
    entry = Entry(b"old", Clock().now(), Windows(60.0), frozenset(), 3)
    with suppress(ProviderUnavailable):  # the old connection
        await provider.look(address)
    assert not await provider.store(lease, entry)  # on a new one: nothing was lost on its way
    assert await provider.look(address) is None
    await provider.stop()
