"""Walks over many entries of a memory: an event loop goes on, and nothing survives in a gap."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest

from stillfresh import App, CacheProvider, MemoryCacheProvider, cache
from stillfresh.computing.drivers import drive
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address, Lease
from stillfresh.providers.walks import SLICE

MANY = 5 * SLICE
FOREVER = Windows(inf)


def at(key: object) -> Address:
    return Address("space", str(key))


async def put(provider: MemoryCacheProvider, *keys: object) -> None:
    await provider.put([(at(key), Entry(key, 0.0, FOREVER)) for key in keys])


@pytest.fixture
async def provider() -> MemoryCacheProvider:
    """Memory with many keys, half of which are odd."""
    provider = MemoryCacheProvider(max_entries=10 * MANY)
    await put(provider, *(f"{'odd' if n % 2 else 'even'}:{n}" for n in range(MANY)))
    return provider


WALKS = {
    "clear": lambda p: p.clear("space"),
    "matching": lambda p: p.invalidate_matching("space", "*:*"),
    "keys": lambda p: p.keys("space"),
}


@pytest.mark.parametrize("walk", WALKS)
async def test_other_tasks_run_during_a_walk(provider: Any, walk: str) -> None:
    """Between two slices everybody who is ready gets a turn."""
    turns = 0
    task = asyncio.create_task(WALKS[walk](provider))
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= MANY // SLICE


@pytest.mark.parametrize("walk", WALKS)
async def test_the_blocking_face_does_not_suspend(provider: Any, walk: str) -> None:
    """A sync caller gets it done in one go, though a loop runs on his thread."""
    drive(WALKS[walk](provider.blocking))
    assert provider.count("space") == (MANY if walk == "keys" else 0)


@pytest.mark.parametrize("walk", WALKS)
def test_without_a_loop_it_does_not_suspend(walk: str) -> None:
    """Neither does it where no event loop runs at all."""
    provider = MemoryCacheProvider()
    drive(put(provider, *range(3 * SLICE)))
    drive(WALKS[walk](provider))


async def test_what_does_not_match_stays(provider: Any) -> None:
    """A pattern takes its own, over any number of slices."""
    await provider.invalidate_matching("space", "odd:*")
    assert provider.count("space") == provider.count("space", "even:") == MANY // 2


async def test_what_is_written_meanwhile_does_not_survive(provider: Any) -> None:
    """Keys that come behind the walk, before it, again and anew: none is left when it returns."""
    task = asyncio.create_task(provider.invalidate_matching("space", "*:*"))
    written = 0
    while not task.done():
        await put(provider, "odd:1", f"even:{MANY - 2}", f"new:{written}", f"other {written}")
        written += 1
        if not task.done():
            await asyncio.sleep(0)
    last = {f"new:{written - 1}", "odd:1", f"even:{MANY - 2}"}
    left = {key for key in await provider.keys("space") if ":" in key}
    assert written >= MANY // SLICE
    assert left <= last  # what the last turn wrote after the walk had returned
    assert provider.count("space", "other") == written
    assert provider._table.watchers == {}


async def test_who_writes_more_than_can_be_dropped_does_not_keep_it_for_ever(provider: Any) -> None:
    """After some rounds the rest is dropped in one go."""
    task = asyncio.create_task(provider.clear("space"))
    turns = 0
    while not task.done():
        await put(provider, *range(2 * SLICE))
        turns += 1
        await asyncio.sleep(0)
        assert turns < 1000
    assert provider.count("space") == 0


async def test_a_lease_that_was_taken_meanwhile_ends(provider: Any) -> None:
    """What was called before the walk returned is not stored after it."""
    task = asyncio.create_task(provider.clear("space"))
    await asyncio.sleep(0)
    assert not task.done()
    early = await provider.acquire(at("early"))
    late = await provider.acquire(at("late"))
    assert isinstance(early, Lease)
    assert isinstance(late, Lease)
    assert await provider.store(early, Entry(1, 0.0, FOREVER))
    await task
    assert await provider.look(at("early")) is None
    assert not await provider.store(late, Entry(1, 0.0, FOREVER))


async def test_two_walks_at_once_are_both_thorough(provider: Any) -> None:
    """Each hears what is written, whoever ends first."""
    walks = [provider.invalidate_matching("space", pattern) for pattern in ("odd:*", "*")]
    tasks = [asyncio.create_task(walk) for walk in walks]
    await asyncio.sleep(0)
    await put(provider, "odd:1", "even:0")
    await asyncio.gather(*tasks)
    assert provider.count("space") == 0
    assert provider._table.watchers == {}


async def test_cancelling_the_caller_does_not_leave_half_an_invalidation(provider: Any) -> None:
    """The walk ends; then its caller is cancelled, once, as it was asked to be."""
    after = []

    async def clear() -> None:
        await provider.clear("space")
        after.append(provider.count("space"))
        await asyncio.sleep(60)

    task = asyncio.create_task(clear())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert after == [0]


async def test_a_timeout_around_a_walk_is_a_timeout(provider: Any) -> None:
    """The scope that cancels recognises its own cancellation."""
    done = asyncio.Event()

    async def clear() -> None:
        async with asyncio.timeout(None) as scope:
            asyncio.get_running_loop().call_soon(scope.reschedule, 0.0)
            await provider.clear("space")
            done.set()
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await clear()
    assert done.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancelled_clear_is_no_fault_of_the_provider() -> None:
    """Through an app: all is gone, and the breaker stays closed."""
    provider = MemoryCacheProvider(max_entries=MANY)
    async with App().provide(CacheProvider, provider) as app:
        down: list[object] = []
        app.on("provider_down", down.append)

        @cache
        async def double(x: int) -> int:
            return 2 * x

        for x in range(2 * SLICE):
            await double.store(x, x)
        task = asyncio.create_task(double.clear())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await double(1) == 2
        assert (double.stats.entries, down) == (1, [])
