"""How those who wait in other processes go on when a computation ends without a value."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from stillfresh import (
    App,
    CacheProvider,
    MemoryCacheProvider,
    RecursiveComputation,
    RedisCacheProvider,
    cache,
    computation,
)
from stillfresh.clock import Clock
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address, Busy, Lease

K = Address("space", "key")
OTHERS = 4


class Source:
    """Where the functions of all apps look; the test lets it answer."""

    def __init__(self) -> None:
        self.inside = self.calls = self.waiters = 0
        self.first, self.rest = asyncio.Event(), asyncio.Event()
        self.all_inside = asyncio.Event()
        self.cancels = False

    async def read(self) -> int:
        self.calls += 1
        number = self.calls
        self.inside += 1
        if self.inside == OTHERS:
            self.all_inside.set()
        try:
            await (self.first if number == 1 else self.rest).wait()
        finally:
            self.inside -= 1
        if number == 1 and self.cancels:
            raise asyncio.CancelledError
        return number


SOURCE: Source


class Watched(RedisCacheProvider):
    """One that says who has come to wait."""

    async def wait(self, address: Address, seconds: float) -> bool:
        SOURCE.waiters += 1
        return await super().wait(address, seconds)


class Service:
    @cache(name="raises", tags=["t"])
    async def raises(self) -> int:
        raise LookupError(await SOURCE.read())

    @cache(name="skips", tags=["t"])
    async def skips(self) -> int:
        found = await SOURCE.read()
        computation().skip()
        return found

    @cache(name="unstored", when=lambda value: False)
    async def unstored(self) -> int:
        return await SOURCE.read()

    @cache(name="twice")
    async def twice(self) -> int:
        found = await SOURCE.read()
        if found == 1:
            raise LookupError(1)
        return found

    @cache(name="good", tags=["t"])
    async def good(self) -> int:
        return await SOURCE.read()


@pytest.fixture(autouse=True)
def _source():
    global SOURCE  # noqa: PLW0603  # one for a test
    SOURCE = Source()


@pytest.fixture
async def fleet(url, prefix):
    """Five apps, which share nothing but the server: one computes, the others wait for it."""
    async with AsyncExitStack() as stack:
        apps = [
            App(Service).provide(CacheProvider, lambda: Watched(url, prefix=prefix))
            for _ in range(1 + OTHERS)
        ]
        yield [(await stack.enter_async_context(app)).get(Service) for app in apps]
        SOURCE.first.set()
        SOURCE.rest.set()


async def waiting(fleet, name: str) -> list[asyncio.Task[int]]:
    """Let the first one compute and all others wait; return what all of them will answer."""
    tasks = [asyncio.create_task(getattr(fleet[0], name)())]
    while SOURCE.calls == 0:  # noqa: ASYNC110  # the server is not ours to wake us
        await asyncio.sleep(0.001)
    tasks += [asyncio.create_task(getattr(service, name)()) for service in fleet[1:]]
    while SOURCE.waiters < OTHERS:  # noqa: ASYNC110  # there is no event between processes
        await asyncio.sleep(0.001)
    assert SOURCE.calls == 1
    return tasks


@pytest.mark.parametrize("name", ["raises", "skips", "unstored"])
async def test_nobody_queues_behind_the_next_one(fleet, name):
    """The holder ends without a value: all who waited compute, at once, and not one by one."""
    tasks = await waiting(fleet, name)
    SOURCE.first.set()
    await asyncio.wait_for(SOURCE.all_inside.wait(), 10)
    SOURCE.rest.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    numbers = [error.args[0] if isinstance(error, LookupError) else error for error in answers]
    assert sorted(numbers) == [1, 2, 3, 4, 5]


async def test_whoever_comes_later_queues_again(fleet):
    """The mark is for those who waited: a new caller waits behind who computes now."""
    tasks = await waiting(fleet, "raises")
    SOURCE.first.set()
    await asyncio.wait_for(SOURCE.all_inside.wait(), 10)
    waiters = SOURCE.waiters
    late = asyncio.create_task(fleet[0].raises())
    while SOURCE.waiters == waiters:  # noqa: ASYNC110  # there is no event between processes
        await asyncio.sleep(0.001)
    assert SOURCE.calls == 1 + OTHERS
    SOURCE.rest.set()
    await asyncio.gather(*tasks, late, return_exceptions=True)


async def test_one_of_them_stores(fleet):
    """Of those who compute at once the one that has got the lease stores what it found."""
    tasks = await waiting(fleet, "twice")
    SOURCE.first.set()
    await asyncio.wait_for(SOURCE.all_inside.wait(), 10)
    SOURCE.rest.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    kept = await fleet[0].twice()
    assert kept in answers
    assert kept == await fleet[1].twice()
    assert SOURCE.calls == 1 + OTHERS


@pytest.mark.parametrize("end", ["invalidate", "tag", "cancel"])
async def test_without_the_mark_one_computes_for_all(fleet, end):
    """A holder that was cancelled, or whose lease was dropped: the next one computes for all."""
    tasks = await waiting(fleet, "good")
    if end == "cancel":
        SOURCE.cancels = True
        SOURCE.first.set()
    elif end == "invalidate":
        await fleet[0].good.invalidate()
    else:
        await fleet[0].good.cache.invalidate_tags("t")
    while SOURCE.calls == 1:  # noqa: ASYNC110  # as above
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.5)
    SOURCE.rest.set()
    assert set(await asyncio.gather(*tasks[1:])) == {2}
    SOURCE.first.set()
    assert await tasks[0] == (2 if end == "cancel" else 1)
    assert SOURCE.calls == 2


# One lease


async def test_a_lease_says_which_one_has_ended_before_it(url, prefix):
    """The mark goes on from lease to lease, so a waiter that looks late finds it, too."""
    provider = RedisCacheProvider(url, prefix=prefix)
    await provider.start(Clock())
    first = await provider.acquire(K)
    assert isinstance(await provider.acquire(K), Busy)
    assert await provider.settle(first, frozenset())
    for _ in range(3):  # two more begin and end before the waiter looks
        lease = await provider.acquire(K)
        assert isinstance(lease, Lease)
        assert await provider.wait(K, 5) is True
        await provider.settle(lease, frozenset())
    second = await provider.acquire(K)
    assert isinstance(await provider.acquire(K), Busy)  # waits from here on
    assert await provider.wait(K, 0.01) is False
    await provider.release(second)
    assert await provider.wait(K, 5) is False  # it left no mark
    third = await provider.acquire(K)
    assert isinstance(await provider.acquire(K), Busy)
    kept = Entry(b"x", Clock().now(), Windows(60.0), frozenset(), 1)
    assert await provider.store(third, kept)
    assert await provider.wait(K, 5) is False
    await provider.stop()


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_a_circle_through_the_lease_of_another_app_is_an_error(url, prefix, kind):
    """Two apps of one process, one key: the second one would wait for the first for ever."""
    memory = MemoryCacheProvider()
    apps: list[App] = []

    class Circle:
        def __init__(self) -> None:
            self.calls = 0

        @cache(name="circle", key="k")
        async def circle(self) -> int:
            self.calls += 1
            return await apps[1].get(Circle).circle()

    def provider() -> CacheProvider:
        return memory if kind == "memory" else RedisCacheProvider(url, prefix=prefix)

    async with AsyncExitStack() as stack:
        for _ in range(2):
            app = App(Circle).provide(CacheProvider, provider)
            await stack.enter_async_context(app)
            app.get(Circle)
            apps.append(app)
        with pytest.raises(RecursiveComputation):
            await apps[0].get(Circle).circle()
        assert [app.get(Circle).calls for app in apps] == [
            1,
            0,
        ]  # the second one did not even begin


async def test_what_stops_gives_its_leases_back(url, prefix):
    """Nobody waits for the lease of an app that has stopped, whatever still runs there."""
    one, two = (RedisCacheProvider(url, prefix=prefix) for _ in range(2))
    for provider in (one, two):
        await provider.start(Clock())
    assert isinstance(await one.acquire(K), Lease)
    assert isinstance(await two.acquire(K), Busy)
    await one.stop()
    lease = await two.acquire(K)
    assert isinstance(lease, Lease)
    await two.blocking.stop()
    await one.start(Clock())
    assert isinstance(await one.acquire(K), Lease)
    await one.stop()
