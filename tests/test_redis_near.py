"""The near tier on a server: what is served without asking, and when that ends."""

from __future__ import annotations

import asyncio
import time

import pytest

from stillfresh import (
    MISSING,
    App,
    Cache,
    CacheProvider,
    MemoryTier,
    ProviderUnavailable,
    RedisCacheProvider,
    cache,
)
from stillfresh.nearby import NearReader
from stillfresh.providers.redis.listening import Listener


class Service:
    """Each computation has another value, so an old one is recognised."""

    store = Cache[list](name="store", memory=True)
    counter = Cache[int](name="counter", memory=True)

    def __init__(self) -> None:
        self.calls = 0

    def computed(self) -> list[int]:
        self.calls += 1
        return [self.calls]

    @cache(name="f", ttl="1 minute", tags=["t"], memory=True)
    async def f(self, number: int = 1) -> list[int]:
        return self.computed()

    @cache(name="late", ttl="1 minute", tags=lambda value, number: ["late"], memory=True)
    async def late(self, number: int = 1) -> list[int]:
        return self.computed()

    @cache(name="g", ttl="1 minute", tags=["t"], memory=True)
    def g(self, number: int = 1) -> list[int]:
        return self.computed()

    @cache(name="copied", memory=True, copy=True)
    async def copied(self) -> list[int]:
        return self.computed()

    @cache(name="few", memory=MemoryTier(max_entries=10))
    async def few(self, number: int) -> list[int]:
        return self.computed()

    @cache(name="plain")
    async def plain(self, number: int = 1) -> list[int]:
        return self.computed()

    @cache(name="never", memory=False)
    async def never(self, number: int = 1) -> list[int]:
        return self.computed()


def made(url: str, prefix: str, *, clock=None, **options) -> App:
    app = App(Service, clock=clock)
    return app.provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix, **options))


@pytest.fixture
async def app(url, prefix):
    async with made(url, prefix) as app:
        yield app


@pytest.fixture
async def other(url, prefix):
    """Another process, as far as the provider can tell."""
    async with made(url, prefix) as other:
        yield other


def near_of(app: App):
    return app.get(CacheProvider).tier.near


async def warm(function, *args) -> list[int]:
    """Call until the answer comes from near, and return it."""
    await function(*args)
    while await tier(function, *args) != "RedisCacheProvider, near":
        await function(*args)
    return await function(*args)


async def tier(function, *args) -> str:
    return (await function.explain(*args)).tier


async def until(holds) -> None:
    """Wait until *holds*; a push takes its time."""
    while not await holds():  # noqa: ASYNC110  # nothing tells when a push has come
        await asyncio.sleep(0.001)


# What is served


async def test_a_near_hit_hands_out_the_stored_object(app, raw, prefix):
    """The second read is kept, decoded, and the third asks nobody."""
    service = app.get(Service)
    first = await service.f()
    second = await service.f()
    assert second == first
    assert second is not first
    raw.set(f"{prefix}:elsewhere", 1)
    assert await service.f() is second
    assert await service.f.peek() is second
    assert str(await service.f.explain()).splitlines()[0].startswith("hit: f 1")
    assert await tier(service.f) == "RedisCacheProvider, near"
    assert service.calls == 1


async def test_a_warm_near_hit_takes_the_short_cut(app, monkeypatch):
    """As on memory: nothing is asked, neither the provider nor the table of what is near."""
    service = app.get(Service)
    found = await warm(service.f)
    await service.f()
    monkeypatch.setattr(NearReader, "look", None)
    for _ in range(10):
        assert await service.f() is found
    near_of(app).changed_all()
    with pytest.raises(TypeError):  # the long way
        await service.f()


async def test_own_stores_are_not_kept_until_they_are_read(app):
    """The push about an own store may follow its reply, and must not be overtaken."""
    service = app.get(Service)
    await service.f()
    assert service.f.stats.entries == len(near_of(app)) == 0
    await service.store.set("k", [1])
    assert len(near_of(app)) == 0


async def test_numbers_add_up(app):
    """A near hit is a hit, by the short cut and by the long way; entries are those near."""
    service = app.get(Service)
    for _ in range(10):
        await service.f()
    stats = service.f.stats
    assert (stats.hits, stats.misses, stats.entries) == (9, 1, 1)
    heard = []
    app.on("hit", heard.append)
    for _ in range(10):
        await service.f()
    assert len(heard) == 10
    assert stats.hits == 19
    assert service.calls == 1


async def test_a_copy_is_handed_out_where_one_was_asked_for(app):
    """Whoever changes it changes nobody else's."""
    service = app.get(Service)
    found = await warm(service.copied)
    found.append("changed")
    assert await service.copied() == [1]
    assert await tier(service.copied) == "RedisCacheProvider, near"


async def test_a_store_has_a_near_tier_as_well(app):
    """`get` and `get_many` hand out the object; what is missing is asked for."""
    store = app.get(Service).store
    await store.set_many({"a": [1], "b": [2]})
    await store.get_many(["a"])
    found = await store.get_many(["a", "b", "c"])
    assert found == {"a": [1], "b": [2]}
    again = await store.get_many(["b", "a"])
    assert again["a"] is found["a"]
    assert again["b"] is found["b"]
    assert list(again) == ["b", "a"]


async def test_never_more_than_max_entries_are_kept(app):
    """The others are still on the server."""
    few = app.get(Service).few
    for _ in range(2):
        for number in range(40):
            await few(number)
    assert 5 <= few.stats.entries <= 10
    assert few.stats.misses == 40


async def test_the_provider_says_it_for_all_and_a_function_for_itself(own, prefix):
    """`memory=` of the provider is for whatever says nothing of its own."""
    async with made(own.url, prefix, memory="10 seconds") as app:
        service = app.get(Service)
        assert await warm(service.plain) is await service.plain()
        for _ in range(3):
            await service.never()
        assert await tier(service.never) == "RedisCacheProvider"


async def test_without_memory_nobody_listens(own, prefix):
    """What is not asked for costs the server nothing."""
    async with made(own.url, prefix) as app:
        for _ in range(3):
            await app.get(Service).plain()
        assert len(near_of(app)) == 0
        with own.client() as raw:
            assert raw.info("clients")["tracking_clients"] == 0
        await warm(app.get(Service).f)
        with own.client() as raw:
            assert raw.info("clients")["tracking_clients"] == 1


# What ends it

CHANGES = {
    "invalidate": lambda app, s: s.f.invalidate(),
    "tag": lambda app, s: app.invalidate_tags("t"),
    "tag of the cache": lambda app, s: s.f.cache.invalidate_tags("t"),
    "delete": lambda app, s: s.f.cache.delete("1"),
    "pattern": lambda app, s: s.f.invalidate_matching("1*"),
    "clear": lambda app, s: s.f.clear(),
    "expire": lambda app, s: s.f.expire(),
    "store": lambda app, s: s.f.store([99]),
    "set": lambda app, s: s.f.cache.set("1", [99]),
    "refresh": lambda app, s: s.f.refresh(),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_here_counts_at_once(app, change):
    """No push is waited for: the next call has what was written, or computes."""
    service = app.get(Service)
    old = await warm(service.f)
    await CHANGES[change](app, service)
    assert await service.f() != old


async def test_what_was_read_before_a_change_arrived_does_not_outlive_it(app, monkeypatch):
    """
    Also without the push, which may come later than the answer to the change.

    1. invalidate()   is asked for; its command is not sent yet
    2. f()            reads the old value, and keeps it
    3. invalidate()   arrives, and returns: what was kept meanwhile is gone
    """
    monkeypatch.setattr(Listener, "pushed", lambda *_: None)
    service, provider = app.get(Service), app.get(CacheProvider)
    old = await warm(service.f)
    ask = provider.ask

    async def ask_later(*commands):
        monkeypatch.setattr(provider, "ask", ask)
        assert await warm(service.f) == old
        return await ask(*commands)

    monkeypatch.setattr(provider, "ask", ask_later)
    await service.f.invalidate()
    assert provider.ask == ask
    assert await service.f() != old


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_elsewhere_is_pushed(app, other, change):
    """Another process follows within the time that a push takes."""
    service = app.get(Service)
    old = await warm(service.f)
    other.get(Service).calls = 50

    async def new() -> bool:
        return await service.f() != old

    await CHANGES[change](other, other.get(Service))
    await until(new)
    assert await service.f() != old


async def test_a_change_of_something_else_ends_nothing(app, other):
    """Other keys, other tags, other caches."""
    service = app.get(Service)
    old = await warm(service.f)
    await warm(service.f, 2)
    for one in (app, other):
        await one.get(Service).f.invalidate(2)
        await one.invalidate_tags("another")
        await one.get(Service).f.invalidate_matching("2*")
        await one.get(Service).late.clear()
    await asyncio.sleep(0.02)
    assert await service.f() is old


async def test_tags_that_only_the_result_shows_are_pushed_too(app, other):
    """They are in the entry that was read."""
    service = app.get(Service)
    old = await warm(service.late)
    await other.invalidate_tags("late")

    async def new() -> bool:
        return await service.late() != old

    await until(new)
    old = await warm(service.late)
    await app.invalidate_tags("late")
    assert await service.late() != old


async def test_a_counter_is_counted_near_and_far(app, other):
    """What was counted here is read at once, what was counted elsewhere soon."""
    counter, far = app.get(Service).counter, other.get(Service).counter
    for number in range(1, 5):
        assert await counter.incr("k") == number
        assert await counter.get("k") == await counter.get("k") == number
    await far.incr("k")

    async def counted() -> bool:
        return await counter.get("k") == 5

    await until(counted)


async def test_an_expired_entry_is_served_as_stale_and_refreshed(url, prefix):
    """`expire` elsewhere: the near entry goes, and the far one is judged as ever."""

    class Stale:
        calls = 0

        @cache(name="s", ttl="1 minute", stale="1 minute", memory=True)
        async def s(self) -> list[int]:
            self.calls += 1
            return [self.calls]

    apps = [
        App(Stale).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))
        for _ in range(2)
    ]
    async with apps[0] as app, apps[1] as other:
        service = app.get(Stale)
        old = await warm(service.s)
        await other.get(Stale).s.expire()

        async def stale() -> bool:
            assert await service.s() == old
            return service.s.stats.stale == 1

        await until(stale)
        await app.settled()
        assert await service.s() == [2]


async def test_the_near_ttl_and_the_ttl_end_it(url, prefix):
    """Whichever comes first; then the server is asked, and what it says counts."""

    class Short:
        calls = 0

        @cache(name="near", ttl="1 minute", memory="200 ms")
        async def near(self) -> list[int]:
            return [1]

        @cache(name="far", ttl="200 ms", stale="1 minute", memory="1 minute")
        async def far(self) -> list[int]:
            self.calls += 1
            return [self.calls]

    app = App(Short).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))
    async with app:
        service = app.get(Short)
        begin = time.monotonic()
        found = await warm(service.near)
        while await service.near() is found:  # noqa: ASYNC110  # it is what is measured
            await asyncio.sleep(0.005)
        assert time.monotonic() - begin >= 0.2
        assert service.near.stats.misses == 1
        old = await warm(service.far)
        while service.far.stats.stale == 0:
            assert await service.far() == old
            await asyncio.sleep(0.005)
        await app.settled()
        assert await service.far() > old


# Threads and loops


async def test_sync_functions_share_what_a_loop_hears(app, other):
    """A thread has no connection that listens; that of a loop in the same process will do."""
    service = app.get(Service)
    await service.plain()
    service.g()
    while service.g.explain().tier != "RedisCacheProvider, near":
        service.g()
        await asyncio.sleep(0.001)  # the loop asks the server to push
    old = service.g()
    assert await asyncio.to_thread(service.g) is old
    await asyncio.to_thread(service.g.invalidate)
    assert service.g() != old
    while service.g.explain().tier != "RedisCacheProvider, near":
        service.g()
        await asyncio.sleep(0.001)
    old = service.g()
    await other.invalidate_tags("t")

    async def new() -> bool:
        return service.g() != old

    await until(new)


def test_without_a_loop_there_is_no_near_tier(url, prefix):
    """Nobody would hear the pushes: every hit of a sync program asks the server."""
    with made(url, prefix) as app:
        service = app.get(Service)
        for _ in range(3):
            assert service.g() == [1]
        assert service.g.explain().tier == "RedisCacheProvider"
        assert len(near_of(app)) == 0


async def test_a_change_in_another_loop_or_thread_counts_at_once(app):
    """What one loop has kept is dropped by whoever changes it in this process."""
    service = app.get(Service)
    for change in (
        lambda: asyncio.run(run(service.f.invalidate)),
        lambda: asyncio.run(run(lambda: app.invalidate_tags("t"))),
        service.f.cache.sync.clear,
    ):
        old = await warm(service.f)
        await asyncio.to_thread(change)
        assert await service.f() != old


async def test_what_a_loop_has_kept_ends_with_it(app):
    """A second loop hears for itself; nothing of it is served when it is closed."""
    service = app.get(Service)
    await service.f()
    found = await asyncio.to_thread(lambda: asyncio.run(run(lambda: warm(service.f))))
    assert found == [1]
    assert len(near_of(app)) == 0
    assert await service.f() is not found


async def run(function):
    return await function()


async def test_what_could_not_be_invalidated_is_not_served(proxy, prefix):
    """Also near: the change holds in this process at once, and until it was carried out."""
    async with made(proxy.url, prefix) as app:
        service = app.get(Service)
        old = await warm(service.f)
        proxy.cut = True
        proxy.close_connections()
        with pytest.raises(ProviderUnavailable):
            await service.f.invalidate()
        assert await service.f() != old
        proxy.cut = False

        async def answers() -> bool:
            assert await service.f() != old
            return await tier(service.f) == "RedisCacheProvider, near"

        await until(answers)  # what is owed is paid, a second later


async def test_peek_finds_nothing_near_where_nothing_is(app):
    """Near or far, peek never computes."""
    assert await app.get(Service).f.peek() is MISSING
