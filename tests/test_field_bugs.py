"""
The bugs of the field: what broke other caches, as tests of this one.

Each is named after the issue in which it was told. None of them was a mistake of one line: they are
orders of events that nobody had written down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from gated import Boom, Source, turns

from stillfresh import (
    MISSING,
    App,
    Cache,
    CacheProvider,
    RecursiveComputation,
    RedisCacheProvider,
    cache,
    computation,
)
from stillfresh.clock import Clock
from stillfresh.errors import ComputeTimeout
from stillfresh.providers.base import Address, Lease
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


Change = Callable[[App, Any], Awaitable[object]]
CHANGES: dict[str, Change] = {
    "key": lambda _, f: f.invalidate(1),
    "tag": lambda app, _: app.invalidate_tags("t"),
    "pattern": lambda _, f: f.invalidate_matching("k:*"),
    "clear": lambda _, f: f.clear(),
}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@every_change
async def test_fusioncache_535_and_625(app, source, change: Change) -> None:
    """
    What is removed while its factory runs does not come back.

    1. a call      misses; the factory reads the old value
    2. a writer    changes the source, and removes the entry; remove returns
    3. the factory ends; its value must not be stored
    4. a call      must get the new value
    """

    @cache(key="k:{n}", tags=["t"])
    async def f(n: int) -> str:
        return await source.read()

    source.close()
    first = asyncio.create_task(f(1))
    await turns()
    source.value = "new"
    await change(app, f)
    source.release()
    assert await first == "old"  # it came before
    assert await f(1) == "new"


@every_change
async def test_fusioncache_628(app, clock, source, change: Change) -> None:
    """
    A refresh behind an answer is as old as its beginning, not as its end.

    1. a call      finds a stale entry; a refresh begins behind it, and reads the old value
    2. a writer    changes the source, and invalidates; that returns
    3. the refresh ends; its value must not be stored
    """

    @cache(key="k:{n}", tags=["t"], ttl=10, stale=100)
    async def f(n: int) -> str:
        return await source.read()

    await f(1)
    clock.advance(11)
    source.close()
    assert await f(1) == "old"
    await turns()
    assert source.calls == 2
    source.value = "new"
    await change(app, f)
    source.release()
    await app.settled()
    assert await f(1) == "new"


async def test_fusioncache_613(url: str, prefix: str, source) -> None:
    """
    A reader between the two tiers does not carry the old value back into the near one.

    1. a writer    invalidates: the near entry goes; the far command is on its way
    2. a reader    finds the old value far away, and would keep it near
    3. the far command is carried out; invalidate returns
    4. a call      must get the new value, and not from the near tier
    """

    class Held(RedisCacheProvider):
        gate: asyncio.Event | None = None

        async def drop(self, addresses):
            if self.gate is not None:
                await self.gate.wait()
            await super().drop(addresses)

    provider = Held(url, prefix=prefix)

    @cache(name="near", key="k:{n}", memory=True)
    async def f(n: int) -> str:
        return await source.read()

    async with App().provide(CacheProvider, provider):
        await f(1)
        await f(1)
        provider.gate = asyncio.Event()
        source.value = "new"
        change = asyncio.create_task(f.invalidate(1))
        await turns()
        assert await f(1) == "old"  # it has not returned: both are right
        provider.gate.set()
        await change
        assert await f(1) == "new"


async def test_fusioncache_627(url: str, prefix: str) -> None:
    """
    That a tag's version is renewed invalidates nothing.

    1. two entries hold the version of a tag
    2. a third one is computed: the version is read, and its life prolonged
    3. the two must still be hits
    """
    calls: list[int] = []

    @cache(name="tagged", key="{n}", tags=["t"], ttl="1 day")
    async def f(n: int) -> int:
        calls.append(n)
        return n

    async with App().provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)):
        for n in (1, 2, 3, 1, 2):
            assert await f(n) == n
    assert calls == [1, 2, 3]


@every_change
async def test_fusioncache_648_and_638(app, clock, source, change: Change) -> None:
    """
    What was invalidated by hand is no fallback, however long it would have been one.

    1. an entry    is past its ttl, inside stale_if_error
    2. a writer    invalidates
    3. a call      fails: it must raise, and not revive the value
    """

    @cache(key="k:{n}", tags=["t"], ttl=10, stale_if_error=100)
    async def f(n: int) -> str:
        return await source.read()

    await f(1)
    clock.advance(11)
    await change(app, f)
    source.value = Boom()
    with pytest.raises(Boom):
        await f(1)


@pytest.mark.parametrize("end", ["skip", "raise", "when"])
async def test_fusioncache_644(url: str, prefix: str, raw, end: str) -> None:
    """
    A computation that stores nothing gives its lease back.

    1. a call      takes the lease; the function opts out of the store
    2. another one must not wait for the lease to run out
    """

    @cache(name="skipping", key="{n}", when=lambda value: end != "when")
    async def f(n: int) -> int:
        if end == "skip":
            computation().skip()
        if end == "raise":
            raise Boom
        return n

    async with App().provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)):
        for _ in range(2):
            if end == "raise":
                with pytest.raises(Boom):
                    await f(1)
            else:
                assert await f(1) == 1
        held = [raw.get(name) for name in raw.keys(f"{prefix}:l:*")]
        assert all(lease.startswith(b"e") for lease in held)  # a mark that it has ended


async def test_fusioncache_419_573_and_hybridcache_7771(url: str, prefix: str, source) -> None:
    """
    A tag that is dropped in one process is dropped in one that has never read the entry.

    1. process A   stores an entry with a tag
    2. process B   drops the tag; it knows nothing of the entry
    3. process C   reads the entry for the first time: the version is compared with that in the
                   entry, not with the time at which C began to read
    """

    @cache(name="shared", key="{n}", tags=["t"])
    async def f(n: int) -> str:
        return await source.read()

    a, b, c = (
        App().provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)) for _ in range(3)
    )
    async with a:
        await f(1)
        source.value = "new"
    async with b:
        await b.invalidate_tags("t")
    async with c:
        assert await f.peek(1) is MISSING
        assert await f(1) == "new"


async def test_fusioncache_553(url: str, prefix: str, source) -> None:
    """
    What one process expires is a fallback for another one.

    1. process A   stores, and expires
    2. process B   calls; the function fails: the old value is there
    """

    @cache(name="expired", key="{n}", ttl=60, stale_if_error=60)
    async def f(n: int) -> str:
        return await source.read()

    async with App().provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)):
        await f(1)
        await f.expire(1)
    source.value = Boom()
    async with App().provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)):
        assert await f(1) == "old"
        assert f.stats.fallbacks == 1


async def test_fusioncache_600(app) -> None:
    """A star alone drops everything, on a store as on a function."""
    store = Cache[int](name="starred")
    await store.set("a", 1)
    await store.set("b", 2)
    await store.invalidate("*")
    assert await store.keys() == []


async def test_dialogporten_4252(app, clock, source) -> None:
    """
    A function that never returns holds its key for its timeout, not for ever.

    1. a call      computes, and hangs; others wait
    2. the timeout passes: all of them get an error, the task is cancelled
    3. a call      computes
    """

    @cache(timeout=5)
    async def f() -> str:
        return await source.read()

    source.close()
    hanging = [asyncio.create_task(f()) for _ in range(3)]
    await turns()
    clock.advance(6)
    ends = await asyncio.gather(*hanging, return_exceptions=True)
    assert [type(one) for one in ends] == [ComputeTimeout] * 3
    source.open = True
    assert await f() == "old"


async def test_aspnetcore_56719(app) -> None:
    """A key is no tag, and a tag is no key, also where they have the same name."""
    store = Cache[int](name="named")
    await store.set("x", 1, tags=["y"])
    await store.set("y", 2, tags=["x"])
    await store.delete("x")
    assert await store.get("y") == 2
    await store.invalidate_tags("y")
    assert await store.get("y") == 2


async def test_bentocache_has_and_clear(app) -> None:
    """`contains` sees a dropped tag; a namespace is cleared whole, and none that begins like it."""
    users, longer = Cache[int](name="users"), Cache[int](name="usersAbc", ttl="60 days")
    await users.set("k", 1, tags=["t"])
    await longer.set("k", 2)
    await app.invalidate_tags("t")
    assert not await users.contains("k")
    await users.set("k", 1)
    await users.clear()
    assert await longer.get("k") == 2


async def test_caffeine_193_and_251(app, source) -> None:
    """
    An explicit refresh that was invalidated meanwhile is not stored.

    1. refresh     begins, and reads the old value
    2. a writer    changes the source, and invalidates
    3. refresh     ends; the next call must compute
    """

    @cache(key="k")
    async def f() -> str:
        return await source.read()

    source.close()
    refresh = asyncio.create_task(f.refresh())
    await turns()
    source.value = "new"
    await f.invalidate()
    source.release()
    await refresh
    assert await f() == "new"


async def test_caffeine_1970(app, clock, source) -> None:
    """A refresh that nothing has invalidated is stored, however often the entry is read meanwhile."""

    @cache(ttl=10, stale=100)
    async def f() -> str:
        return await source.read()

    await f()
    clock.advance(11)
    source.close()
    source.value = "new"
    for _ in range(5):
        assert await f() == "old"
        await turns()
    source.release()
    await app.settled()
    assert await f() == "new"
    assert source.calls == 2


async def test_caffeine_1478(app, clock, source) -> None:
    """
    A refresh that failed is not the last one.

    1. a refresh   begins behind an answer, and fails
    2. a call      after the rest begins another one
    """

    @cache(ttl=10, stale=1_000)
    async def f() -> str:
        return await source.read()

    await f()
    source.value = Boom()
    for _ in range(3):
        clock.advance(20)
        assert await f() == "old"
        await app.settled()
    source.value = "new"
    clock.advance(20)
    assert await f() == "old"
    await app.settled()
    assert await f() == "new"
    assert source.calls == 5


async def test_laravel_43850(url: str, prefix: str, raw) -> None:
    """What is kept of a tag goes by itself: a version lives as long as entries need it."""

    @cache(name="dying", key="{n}", tags=["tag:{n}"], ttl=1)
    async def f(n: int) -> int:
        return n

    async with App().provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)):
        for n in range(10):
            await f(n)
    lives = [raw.pttl(name) for name in raw.keys(f"{prefix}:t:*")]
    assert len(lives) == 20
    assert all(0 < life <= 3_700_000 for life in lives)


async def test_laravel_60920_61289_and_61303(app, source) -> None:
    """Nobody computes beside another one on a cold cache either, where `stale` is set."""

    @cache(ttl=10, stale=10)
    async def f() -> str:
        return await source.read()

    source.close()
    calls = [asyncio.create_task(f()) for _ in range(20)]
    await turns()
    source.release()
    assert set(await asyncio.gather(*calls)) == {"old"}
    assert source.calls == 1


async def test_rails_54229(app, clock) -> None:
    """A lifetime that one computation gives its entry is not the next one's."""
    short = True

    @cache(ttl=100)
    async def f(n: int) -> int:
        if short:
            computation().ttl = 1
        return n

    await f(1)
    short = False
    await f(2)
    clock.advance(50)
    assert await f.peek(1) is MISSING
    assert await f.peek(2) == 2


async def test_symfony_41130_and_jetcache_234(app) -> None:
    """
    Cached functions that need each other do not wait for ever.

    1. f           calls g
    2. g           calls f: it would wait for its own caller
    """

    @cache
    async def f(n: int) -> int:
        return await g(n)

    @cache
    async def g(n: int) -> int:
        return await f(n)

    @cache
    async def inner(n: int) -> int:
        return n

    @cache
    async def outer(n: int) -> int:
        return sum(await asyncio.gather(inner(n), inner(n), inner(n + 1)))

    with pytest.raises(RecursiveComputation):
        await f(1)
    assert await outer(1) == 4


async def test_symfony_59191(url: str, prefix: str) -> None:
    """
    The lease of a process that was killed ends by itself.

    1. process A   takes the lease, and is killed: nobody gives it back, nobody renews it
    2. process B   waits for as long as the lease lives, and computes
    """

    @cache(name="orphan", key="k")
    async def f() -> str:
        return "computed"

    dead = RedisCacheProvider(url, prefix=prefix, lease="300 ms", max_hold="1 ms")
    await dead.start(Clock())
    assert isinstance(await dead.acquire(Address("orphan", "k")), Lease)
    async with App().provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)):
        async with asyncio.timeout(10):
            assert await f() == "computed"
    await dead.stop()


async def test_golang_31420(app, source) -> None:
    """
    The end of an old flight does not end the new one.

    1. call A      computes
    2. a writer    invalidates: the flight leaves the registry
    3. call B      computes: another flight of the same key
    4. call A      ends; it must not take the flight of B out
    5. call C      joins B
    """

    @cache(key="k")
    async def f() -> str:
        return await source.read()

    source.close()
    a = asyncio.create_task(f())
    await turns()
    await f.invalidate()
    b = asyncio.create_task(f())
    await turns()
    assert source.calls == 2  # it does not wait for what it could not have
    source.gates[0].set()
    await a
    c = asyncio.create_task(f())
    await turns()
    source.release()
    await asyncio.gather(b, c)
    assert source.calls == 2


async def test_tailscale_18919_and_singleflight_4(app, source) -> None:
    """
    Who comes after a cancelled caller gets a value, and a caller who leaves starts no duplicate.

    1. calls A, B  wait for one computation
    2. A and B     are cancelled
    3. call C      comes: it must neither be cancelled nor wait for ever
    """

    @cache(key="k")
    async def f() -> str:
        return await source.read()

    source.close()
    gone = [asyncio.create_task(f()) for _ in range(2)]
    await turns()
    gone[0].cancel()
    await turns()
    assert source.calls == 1
    gone[1].cancel()
    await turns()
    c = asyncio.create_task(f())
    await turns()
    source.release()
    assert await c == "old"
    assert source.calls == 1


async def test_moka_195_and_otter_152(app, source) -> None:
    """Who comes just as a computation ends starts no second one."""

    @cache(key="k")
    async def f() -> str:
        return await source.read()

    source.close()
    first = asyncio.create_task(f())
    await turns()
    source.release()
    others = []
    while not first.done():
        others.append(asyncio.create_task(f()))
        await asyncio.sleep(0)
    assert set(await asyncio.gather(*others)) == {"old"}
    assert source.calls == 1


async def test_nitro_1992_2164_and_2611(app, clock, source) -> None:
    """
    Stale has an end, also when no refresh ever succeeds.

    1. an entry    is past its ttl; each refresh fails
    2. its stale window ends: the next call must get the error
    """

    @cache(ttl=10, stale=30)
    async def f() -> str:
        return await source.read()

    await f()
    source.value = Boom()
    clock.advance(20)
    assert await f() == "old"
    await app.settled()
    clock.advance(30)
    with pytest.raises(Boom):
        await f()


async def test_redis_11767_and_13082(url: str, prefix: str, raw, source) -> None:
    """
    A connection that is lost takes with it what it would have had to hear about.

    1. process A   keeps an entry near; its connection pushes what changes
    2. the server  cuts the connection of A
    3. process B   invalidates: nobody tells A
    4. process A   sees that its connection is another one: it must ask
    """

    @cache(name="lost", key="k", memory=True)
    async def f() -> str:
        return await source.read()

    async with App().provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)):
        other = RedisCacheProvider(url, prefix=prefix)
        for _ in range(3):
            assert await f() == "old"
        source.value = "new"
        raw.client_kill_filter(_type="normal", skipme=True)
        await other.start(Clock())
        await other.delete([Address("lost", "k")])
        await other.stop()
        async with asyncio.timeout(10):
            while await f() != "new":  # noqa: ASYNC110  # at worst 3 s
                await asyncio.sleep(0.01)
