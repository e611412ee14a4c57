"""
The short cut of a shared provider: what it answers, and that it answers nothing wrongly.

A wrapper remembers where its calls go. A hit there is one read and ends before the path.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stillfresh import App, Cache, CacheProvider, ProviderUnavailable, RedisCacheProvider, cache
from stillfresh.clock import Clock
from stillfresh.providers.guard import Guard
from stillfresh.providers.redis.hits import Hits
from stillfresh.providers.redis.link import Link
from stillfresh.readthrough import Reader


class Service:
    def __init__(self) -> None:
        self.computed = 0

    @cache(ttl="1 minute", tags=["all", "one:{x}"])
    async def get(self, x: int) -> list[int]:
        self.computed += 1
        return [x, self.computed]

    @cache(ttl="1 minute")
    def quick(self, x: int) -> list[int]:
        self.computed += 1
        return [x, self.computed]

    @cache(ttl="1 minute", refresh_ahead=0.000_001)
    async def eager(self, x: int) -> list[int]:
        self.computed += 1
        return [x, self.computed]

    @cache(ttl="1 minute", stale="1 minute")
    async def kept(self, x: int) -> list[int]:
        self.computed += 1
        return [x, self.computed]


class Held:
    """A service whose function waits for a test."""

    def __init__(self) -> None:
        self.computed = 0

    def hold(self, wait: Any) -> None:
        self.wait = wait

    @cache(ttl="1 minute")
    async def get(self, x: int) -> int:
        await self.wait()
        self.computed += 1
        return self.computed


@pytest.fixture
def app(url: str, prefix: str) -> App:
    return App(Service, Held).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the calls that took the path."""
    taken: list[str] = []
    read = Reader.read

    async def watched(self: Reader, call: Any, *rest: Any) -> Any:
        taken.append(call.key)
        return await read(self, call, *rest)

    monkeypatch.setattr(Reader, "read", watched)
    return taken


async def test_a_hit_ends_before_the_path(app, path):
    """One read, sent after the caller came; nothing decides to compute. Async and sync."""
    async with app:
        service = app.get(Service)
        first, second = await service.get(1), service.quick(1)
        assert await service.get(1) == first  # and the tags that it has are known
        path.clear()
        for _ in range(3):
            assert await service.get(x=1) == first
            assert service.quick(1) == second
        assert path == []
        assert await service.get(1) is not await service.get(1)  # each its own object


async def test_a_miss_looks_once(app, monkeypatch):
    """What the short cut has looked at is not looked at again: a look and an acquire in all."""
    looks = 0
    fetch = Link.fetch

    def counted(*asked, **how):
        nonlocal looks
        looks += 1
        return fetch(*asked, **how)

    monkeypatch.setattr(Link, "fetch", counted)
    async with app:
        service = app.get(Service)
        for x in range(5):
            await service.get(x)
        assert looks == 5


async def test_each_call_is_counted_once(app, path):
    """Hits, misses and coalesced calls add up to the calls, and each is one event."""
    async with app:
        service = app.get(Service)
        for _ in range(3):
            await asyncio.gather(*(service.get(x % 3) for x in range(12)))
        stats = service.get.stats
        assert (stats.misses, stats.hits + stats.coalesced) == (3, 33)
        assert stats.hits >= 24
        heard: list[str] = []
        end = app.on("hit", lambda event: heard.append(event.key))
        await service.get(1)
        await asyncio.gather(service.get(1), service.get(2))
        assert sorted(heard) == ["1", "1", "2"]
        end()
        await service.get(1)
        assert len(heard) == 3
        assert stats.hits + stats.coalesced == 37


async def test_an_invalidation_wins(app, two):
    """Here, by a tag, by hand, and in another process: the next call computes."""
    async with app:
        service = app.get(Service)
        provider = app.get(CacheProvider)
        _, other = two
        other.names = provider.names
        seen = [await service.get(1)]
        for change in (
            lambda: service.get.invalidate(1),
            lambda: app.invalidate_tags("all"),
            lambda: service.get.invalidate_matching("*"),
            lambda: service.get.clear(),
            lambda: other.invalidate_tags(None, ["one:1"]),
            lambda: other.clear(service.get.cache.name),
        ):
            assert await service.get(1) == seen[-1]
            await change()
            seen.append(await service.get(1))
        assert len({second for _, second in seen}) == 7


async def test_what_is_not_simply_fresh_takes_the_path(app, path):
    """A refresh that is due, and an entry that was expired by hand, are decided there."""
    async with app:
        service = app.get(Service)
        await service.eager(1)
        await service.kept(1)
        path.clear()
        for _ in range(1_000):  # the server counts in milliseconds
            await service.eager(1)
            if path:
                break
        assert path == ["1"]
        await app.settled()
        path.clear()
        assert await service.kept(1)
        assert path == []
        await service.kept.expire(1)
        await service.kept(1)
        assert path == ["1"]
        assert service.kept.stats.stale == 1


async def test_an_override_is_asked_at_once(app, url, prefix):
    """Nothing of the old provider is served during app.override(), and afterwards it is."""
    async with app:
        service = app.get(Service)
        first = await service.get(1)
        assert await service.get(1) == first
        with app.override(CacheProvider, RedisCacheProvider(url, prefix=prefix + ":other")):
            second = await service.get(1)
            assert second != first
            assert await service.get(1) == second
        assert await service.get(1) == first


async def test_a_call_that_began_before_a_change_is_remembered_by_nobody(app, url, prefix):
    """
    A way that was found before a change is not the way after it.

    1. a call     finds its way, and computes
    2. override   every way is forgotten
    3. the call   ends; had it noted its way now, the next call would ask the old provider
    """
    async with app:
        held = app.get(Held)
        begun, go = asyncio.Event(), asyncio.Event()

        @held.hold
        async def wait() -> None:
            begun.set()
            await go.wait()

        first = asyncio.create_task(held.get(1))
        await begun.wait()
        with app.override(CacheProvider, RedisCacheProvider(url, prefix=prefix + ":other")):
            go.set()
            assert await first == 1
            assert await held.get(1) == 2


async def test_after_a_stop_calls_pass_through_and_after_a_start_they_hit(app, path):
    """A stopped app stores nothing and serves nothing; what is on the server is found again."""
    async with app:
        service = app.get(Service)
        first = await service.get(1)
        assert await service.get(1) == first
    assert await service.get(1) != first
    assert await service.get(1) != await service.get(1)
    async with app:
        assert await service.get(1) == first
        path.clear()
        assert await service.get(1) == first
        assert path == []


async def test_a_function_follows_the_apps_that_run(url, prefix):
    """With a second app, an unbound function goes where its caller's code belongs."""

    @cache(name=f"{prefix}:f")
    async def f(x: int) -> str:
        return "computed"

    class Caller:
        @cache(ttl="1 minute")
        async def call(self, x: int) -> str:
            await f(x)
            await f(x)
            return "called"

    def make(name: str) -> App:
        return App(Caller).provide(
            CacheProvider, lambda: RedisCacheProvider(url, prefix=f"{prefix}:{name}")
        )

    first, second = make("a"), make("b")
    async with first:
        await f(1)
        await f(1)  # its way is known: the first app's
        async with second:
            await first.get(Caller).call(1)
            await second.get(Caller).call(1)
            with pytest.raises(Exception, match="2 apps run"):
                await f(1)
            for app in (first, second):
                keys = await app.get(CacheProvider).keys(f"{prefix}:f")
                assert keys == ["1"]


async def test_an_open_breaker_is_not_passed(app, monkeypatch):
    """While the provider counts as down, and while a change is owed, nothing is read from it."""
    looks = 0
    fetch = Link.fetch

    def counted(*asked, **how):
        nonlocal looks
        looks += 1
        return fetch(*asked, **how)

    monkeypatch.setattr(Link, "fetch", counted)
    async with app:
        service = app.get(Service)
        first = await service.get(1)
        assert await service.get(1) == first
        [guard] = app.guards
        looks = 0
        guard.failed(ProviderUnavailable("down"), ("delete", ()))
        assert await service.get(1) != first
        assert await asyncio.to_thread(service.quick, 1)
        assert looks == 0
        assert service.get.stats.bypasses == 1


async def test_a_fault_of_the_read_costs_a_miss_and_opens_the_breaker(app, monkeypatch):
    """What the provider raises in the short cut is the guard's affair, as on the path."""

    async def broken(self, key):
        raise ZeroDivisionError

    async with app:
        service = app.get(Service)
        first = await service.get(1)
        assert await service.get(1) == first
        down: list[str] = []
        app.on("provider_down", lambda event: down.append(event.detail))
        monkeypatch.setattr(Hits, "glance", broken)
        assert await service.get(1) != first
        assert len(down) == 1
        assert all(guard.down for guard in app.guards)


async def test_two_functions_of_one_name_are_never_served_each_others_values():
    """Who takes a name over has the way of the one before forgotten."""
    store = Cache[int](name="numbers")

    def make(answer: int) -> Any:
        @store
        async def number(x: int) -> int:
            return answer

        return number

    one, two = make(1), make(2)
    assert [await one(1), await one(1)] == [1, 1]
    assert [await two(1), await two(1)] == [2, 2]
    assert [await one(1), await one(1)] == [1, 1]


async def test_a_guard_of_a_provider_with_a_deadline_keeps_it():
    """A provider that may hang is still given up after its deadline."""

    class Hangs(CacheProvider):
        deadline = 0.01

        @property
        def blocking(self):
            return self

        async def look(self, address):
            await asyncio.Event().wait()

    guard = Guard(Hangs(), Clock(), App().listeners)
    with pytest.raises(ProviderUnavailable, match=r"within 0\.01 s"):
        await guard.waiting.glance(None)
