"""
More bugs of the field: those of tiers, of servers, and of many callers at once.

As in `test_field_bugs.py`, each is named after the issue in which it was told.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from gated import Boom, Source, turns

from stillfresh import MISSING, App, Cache, CacheProvider, RedisCacheProvider, cache
from stillfresh.entries import region
from stillfresh.errors import ComputeTimeout
from stillfresh.testing import VirtualClock


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def app(clock: VirtualClock):
    async with App(clock=clock) as running:
        yield running


def far(url: str, prefix: str) -> App:
    """Make an app over a server: one process of a fleet."""
    return App().provide(CacheProvider, RedisCacheProvider(url, prefix=prefix))


# Tiers


async def test_aspnetcore_55308(url: str, prefix: str) -> None:
    """
    What one process removes, the near tier of another one does not go on to serve.

    1. process B   keeps the entry near
    2. process A   changes the source, and removes the entry
    3. process B   is told, and asks; nobody has to wait for its near tier to expire
    """
    version = ["old"]

    class Service:
        @cache(name="near", key="k", memory="1 hour", ttl="1 hour")
        async def f(self) -> str:
            return version[0]

    apps = [
        App(Service).provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)) for _ in "ab"
    ]
    async with apps[0], apps[1]:
        a, b = (one.get(Service) for one in apps)
        for _ in range(5):
            assert await b.f() == "old"
        version[0] = "new"
        await a.f.invalidate()
        async with asyncio.timeout(10):
            while await b.f() != "new":  # noqa: ASYNC110  # the push is on its way
                await asyncio.sleep(0.01)


# Servers


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage", "empty"])
async def test_bentocache_74_and_93(url: str, prefix: str, raw, source, damage: str) -> None:
    """An entry that is damaged is a miss: it is computed and written anew, and nothing is raised."""

    @cache(name="damaged", key="k")
    async def f() -> str:
        return await source.read()

    async with far(url, prefix):
        await f()
        [name] = raw.keys(f"{prefix}:v:*")
        whole: Any = raw.get(name)
        flipped = whole[:-3] + bytes([whole[-3] ^ 0xFF]) + whole[-2:]
        damaged = {"cut": whole[:-4], "flipped": flipped, "garbage": b"\xff" * 90, "empty": b""}
        raw.set(name, damaged[damage], px=60_000)
        source.value = "new"
        assert await f() == "new"
        assert await f() == "new"
        assert source.calls == 2


@pytest.mark.parametrize("shared", [False, True], ids=["memory", "redis"])
async def test_bentocache_61(url: str, prefix: str, shared: bool) -> None:
    """Lives of more than 25 days are no problem: milliseconds of them need more than 31 bits."""

    @cache(name="long", key="k", ttl="400 days", stale_if_error="400 days")
    async def f() -> int:
        return 1

    async with far(url, prefix) if shared else App():
        await f()
        told = await f.explain()
        assert told.status == "hit"
        assert await f.peek() == 1


async def test_bentocache_crossslot(quiet_cluster, prefix: str) -> None:
    """Keys of different slots are read, written and dropped together: a cluster refuses nothing."""
    numbers = Cache[int](name="numbers")
    async with App().provide(CacheProvider, RedisCacheProvider(quiet_cluster.url, prefix=prefix)):
        await numbers.set_many({f"n{n}": n for n in range(50)})
        assert len(await numbers.get_many(*(f"n{n}" for n in range(50)))) == 50
        assert await numbers.delete(*(f"n{n}" for n in range(25))) == 25
        await numbers.invalidate("n4*")
        assert len(await numbers.keys()) == 15


async def test_laravel_61328(two, source) -> None:
    """
    No value is left that dropping its tag does not reach.

    1. process A   computes, and is about to write value and tag
    2. process B   drops the tag
    3. process A   writes: there is no index that could lack the value, its version of the tag is old
    4. a call      finds nothing; what it stores goes with the next drop of the tag
    """

    class Service:
        @cache(name="tagged", key="k", tags=["t"])
        async def f(self) -> str:
            return await source.read()

    a, b = two
    writes, goes_on = asyncio.Event(), asyncio.Event()

    async def gate() -> None:
        if source.calls:  # the function has been called: what is sent now is the store
            writes.set()
            await goes_on.wait()

    apps = [App(Service).provide(CacheProvider, one) for one in (a, b)]
    async with apps[0], apps[1]:
        first, second = (one.get(Service) for one in apps)
        a.gate = gate
        call = asyncio.create_task(first.f())
        await writes.wait()
        source.value = "new"
        await apps[1].invalidate_tags("t")
        goes_on.set()
        assert await call == "old"  # it came before
        assert await second.f.peek() is MISSING
        assert await second.f() == "new"
        await apps[0].invalidate_tags("t")
        assert await second.f.peek() is MISSING


async def test_moka_574(url: str, prefix: str, app) -> None:
    """No update is lost where many count at once, on memory as on a server."""
    near = Cache[int](name="counts", provider="memory")
    await asyncio.gather(*(near.incr("n") for _ in range(100)))
    assert await near.get("n") == 100
    one, other = (RedisCacheProvider(url, prefix=prefix) for _ in range(2))
    async with App().provide(CacheProvider, one) as a, App().provide(CacheProvider, other) as b:

        class Service:
            counts = Cache[int](name="counts")

        services = [a.get(Service), b.get(Service)]
        await asyncio.gather(*(services[n % 2].counts.incr("n") for n in range(100)))
        assert await services[0].counts.get("n") == 100


# Many callers


async def test_bentocache_103(app, clock, source) -> None:
    """Whoever may have the stale value waits for nothing, however long a refresh may take."""

    @cache(ttl=10, stale=100, timeout="1 hour")
    async def f() -> str:
        return await source.read()

    await f()
    clock.advance(20)
    source.close()
    assert await f() == "old"  # a refresh runs behind it from here on, and hangs
    await turns()
    assert source.calls == 2
    for _ in range(3):
        waits = asyncio.create_task(f())
        await turns()
        assert waits.done()
        assert waits.result() == "old"
    source.release()


async def test_symfony_62328(app, source) -> None:
    """A warm-up of many keys at once skips none: keys share no slots."""

    @cache(key="{n}")
    async def f(n: int) -> int:
        await source.read()
        return n

    source.close()
    calls = [asyncio.create_task(f(n)) for n in range(200)]
    await turns()
    assert source.calls == 200
    source.release()
    assert await asyncio.gather(*calls) == list(range(200))
    assert [await f.peek(n) for n in range(200)] == list(range(200))


async def test_shopware_12823(app, clock) -> None:
    """
    Where a function needs a lock of the application, no wait of ours has no end.

    1. request 1   holds the session's lock, and calls f
    2. request 2   had called f before; its computation needs the lock of request 1
    3. the timeout of f ends the circle: the key is free, and request 1 gives its lock back
    """
    session = asyncio.Lock()

    @cache(key="k", timeout=5)
    async def f() -> str:
        async with session:
            return "value"

    async def first() -> None:
        async with session:
            begun.set()
            await go.wait()
            await f()

    begun, go = asyncio.Event(), asyncio.Event()
    one = asyncio.create_task(first())
    await begun.wait()
    two = asyncio.create_task(f())
    await turns()
    go.set()
    await turns()
    clock.advance(6)
    for call in (one, two):
        with pytest.raises(ComputeTimeout):
            await call
    assert await f() == "value"


@pytest.mark.parametrize("end", ["value", "error", "cancelled"])
async def test_moka_329(app, source, end: str) -> None:
    """Nothing of a call is kept when it is over, however it ended."""

    @cache(name="leaks", key="{n}", when=lambda _: False)
    async def f(n: int) -> Any:
        return await source.read()

    source.value = Boom() if end == "error" else "value"
    source.close()
    calls = [asyncio.create_task(f(n)) for n in range(20)]
    await turns()
    if end == "cancelled":
        for call in calls:
            call.cancel()
    source.release()
    await asyncio.gather(*calls, return_exceptions=True)
    await app.settled()
    assert not any(len(one.flights) for one in region._all if one.app is app)
    assert f.stats.entries == 0
    assert not app.background._running


async def test_moka_240(app, source) -> None:
    """
    Who stops to wait does not take the computation along.

    1. caller 1    begins the computation
    2. caller 2    waits for it
    3. caller 1    goes away: nobody looks after the computation but itself
    4. caller 2    gets the value
    """

    @cache(key="k")
    async def f() -> str:
        return await source.read()

    source.close()
    one = asyncio.create_task(f())
    await turns()
    two = asyncio.create_task(f())
    await turns()
    one.cancel()
    await turns()
    source.release()
    assert await two == "old"
    assert source.calls == 1


async def test_otter_137_and_139(app, source) -> None:
    """
    Dropping everything while many read breaks no call, and whoever comes later gets what is new.

    1. callers     read, and wait for one computation
    2. clear       returns; the source has changed
    3. callers     who come now begin another one, and all of them get the same
    4. those of step 1 get what they had asked for
    """

    @cache(key="k")
    async def f() -> str:
        return await source.read()

    source.close()
    before = [asyncio.create_task(f()) for _ in range(10)]
    await turns()
    source.value = "new"
    await f.clear()
    after = [asyncio.create_task(f()) for _ in range(10)]
    await turns()
    source.release()
    assert set(await asyncio.gather(*after)) == {"new"}
    assert set(await asyncio.gather(*before)) <= {"old", "new"}
    assert source.calls == 2


async def test_nitro_271(app, clock, source) -> None:
    """Who comes at the same time past the ttl gets the new value, not what has expired."""

    @cache(key="k", ttl=10)
    async def f() -> str:
        return await source.read()

    await f()
    clock.advance(10.001)
    source.value = "new"
    source.close()
    calls = [asyncio.create_task(f()) for _ in range(10)]
    await turns()
    source.release()
    assert set(await asyncio.gather(*calls)) == {"new"}
    assert source.calls == 2
