"""
Several apps in one process: what one changes, the near tiers of the others do not serve.

Nobody hears a push here, so that it is this process which sees to it.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack

import pytest
from forking import in_child, many_threads, needs_fork

import stillfresh
from stillfresh import (
    App,
    Cache,
    CacheProvider,
    InvalidOption,
    MemoryCacheProvider,
    RedisCacheProvider,
    cache,
)
from stillfresh.providers.redis.listening import Listener
from stillfresh.testing import ChaosProvider

NEAR = "RedisCacheProvider, near"


class Service:
    """Each computation has another value, so an old one is recognised."""

    box = Cache[int](name="box", ttl="1 minute", memory=True)
    value = 0

    @cache(name="f", key="k", ttl="1 minute", tags=["t"], memory=True)
    async def f(self) -> int:
        return Service.value

    @cache(name="g", key="k", ttl="1 minute", tags=["t"], memory=True)
    def g(self) -> int:
        return Service.value


def made(url: str, prefix: str) -> App:
    return App(Service).provide(CacheProvider, lambda: provider(url, prefix))


def provider(url: str, prefix: str) -> RedisCacheProvider:
    # On a machine that is busy a second passes without a reply.
    return RedisCacheProvider(url, prefix=prefix, connect_timeout=20.0, timeout=20.0)


@pytest.fixture(autouse=True)
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listener, "pushed", lambda *_: None)


@pytest.fixture
async def one(url, prefix):
    async with made(url, prefix) as app:
        yield app


@pytest.fixture
async def other(url, prefix):
    async with made(url, prefix) as app:
        yield app


async def warm(service: Service) -> None:
    """Have the value of the function and of the store near."""
    await service.box.set("k", Service.value)
    while (await service.f(), (await service.f.explain()).tier)[1] != NEAR:
        continue
    while await asyncio.to_thread(lambda: (service.g(), service.g.explain().tier)[1]) != NEAR:
        continue
    while not service.box.stats.entries:
        await service.box.get("k")


CHANGES = {
    "invalidate": lambda app, s: s.g.invalidate(),
    "store": lambda app, s: s.g.store(Service.value),
    "clear": lambda app, s: s.g.clear(),
    "pattern": lambda app, s: s.g.invalidate_matching("*"),
    "expire": lambda app, s: s.g.expire(),
    "refresh": lambda app, s: s.g.refresh(),
    "delete": lambda app, s: s.g.cache.sync.delete("k"),
    "tag": lambda app, s: app.sync.invalidate_tags("t"),
    "tag of the cache": lambda app, s: s.g.cache.sync.invalidate_tags("t"),
    "tag of all apps": lambda app, s: stillfresh.sync.invalidate_tags("t"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_one_app_changes_no_other_one_serves(one, other, change):
    """The change returns, and the next call in the same thread has what is new."""
    await warm(other.get(Service))
    Service.value += 1
    CHANGES[change](one, one.get(Service))
    assert other.get(Service).g() == Service.value
    await warm(other.get(Service))
    Service.value += 1
    await asyncio.to_thread(CHANGES[change], one, one.get(Service))
    assert other.get(Service).g() == Service.value


AWAITED = {
    "invalidate": lambda app, s: s.f.invalidate(),
    "store": lambda app, s: s.f.store(Service.value),
    "clear": lambda app, s: s.f.clear(),
    "pattern": lambda app, s: s.f.invalidate_matching("*"),
    "expire": lambda app, s: s.f.expire(),
    "refresh": lambda app, s: s.f.refresh(),
    "delete": lambda app, s: s.f.cache.delete("k"),
    "tag": lambda app, s: app.invalidate_tags("t"),
}


@pytest.mark.parametrize("change", AWAITED)
async def test_nor_after_a_change_that_was_awaited(one, other, change):
    """On a loop as in a thread."""
    await warm(other.get(Service))
    Service.value += 1
    await AWAITED[change](one, one.get(Service))
    assert await other.get(Service).f() == Service.value


async def test_a_store_that_one_app_writes_is_read_by_all(one, other):
    """Set, counted, deleted, cleared."""
    mine, theirs = one.get(Service).box, other.get(Service).box
    await warm(other.get(Service))
    mine.sync.set("k", 1_000)
    assert theirs.sync.get("k") == 1_000
    await warm(other.get(Service))
    assert mine.sync.incr("k") == Service.value + 1 == theirs.sync.get("k")
    for drop in (lambda: mine.sync.delete("k"), mine.sync.clear):
        await warm(other.get(Service))
        drop()
        assert theirs.sync.get("k") is None


async def test_what_one_app_computes_all_have(one, other, raw):
    """What was computed replaces what another app has near, be it fresh there."""
    mine, theirs = one.get(Service), other.get(Service)
    await warm(theirs)
    Service.value += 1
    raw.delete(*raw.keys(f"{one.get(CacheProvider).prefix}:v:*"))  # the server had no room
    assert mine.g() == Service.value == theirs.g()


async def test_a_provider_without_a_near_tier_tells_those_that_have_one(url, prefix, other):
    """An app may ask the same server through another provider."""
    chaos = ChaosProvider(provider(url, prefix))
    async with App(Service).provide(CacheProvider, chaos) as one:
        await warm(other.get(Service))
        Service.value += 1
        one.get(Service).g.invalidate()
        assert other.get(Service).g() == Service.value


async def test_an_app_that_starts_while_another_one_changes_something_does_not_serve_it(
    url, prefix, monkeypatch
):
    """
    A provider of somebody's own has no near tier; who starts meanwhile has one.

    1. one     invalidates; the command is not sent yet
    2. other   starts, reads the old value, and keeps it
    3. one     the command arrives, and the call returns
    """
    chaos = ChaosProvider(provider(url, prefix))
    async with App(Service).provide(CacheProvider, chaos) as one, AsyncExitStack() as stack:
        await one.get(Service).f()
        drop = chaos.drop

        async def drop_later(addresses):
            other = await stack.enter_async_context(made(url, prefix))
            await warm(other.get(Service))
            others.append(other)
            return await drop(addresses)

        others: list[App] = []
        monkeypatch.setattr(chaos, "drop", drop_later)
        Service.value += 1
        await one.get(Service).f.invalidate()
        assert await others[0].get(Service).f() == Service.value


async def test_a_provider_that_cannot_say_what_it_is_stops_nobody_else():
    """What it says is asked for once, when its app starts, and that alone fails."""

    class Unsure(MemoryCacheProvider):
        @property
        def identity(self):
            return ["a", "list"]

    async with App(Service) as good:
        with pytest.raises(InvalidOption, match="identity is \\['a', 'list'\\]: expected"):
            async with App().provide(CacheProvider, Unsure):
                pass
        async with App():
            pass
    assert not good.running


async def test_what_an_app_reads_while_another_one_changes_it_is_not_kept(one, other, monkeypatch):
    """
    What was read before the change arrived does not outlive it, in any app.

    1. one     invalidates; the command is not sent yet
    2. other   reads the old value, and keeps it
    3. one     the command arrives, and the call returns
    """
    provider, service = one.get(CacheProvider), other.get(Service)
    ask = provider.ask

    async def ask_later(*commands):
        monkeypatch.setattr(provider, "ask", ask)
        await warm(service)
        return await ask(*commands)

    await warm(service)
    Service.value += 1
    monkeypatch.setattr(provider, "ask", ask_later)
    await one.get(Service).f.invalidate()
    assert provider.ask is ask
    assert await service.f() == Service.value


async def test_an_app_that_starts_later_is_told_too_and_one_that_stops_is_not_missed(url, prefix):
    """Who is told is who has entries there at the time of the change."""
    async with made(url, prefix) as one:
        for _ in range(2):
            async with made(url, prefix) as other:
                await warm(other.get(Service))
                Service.value += 1
                one.get(Service).g.invalidate()
                assert other.get(Service).g() == Service.value
        one.get(Service).g.invalidate()


async def test_in_any_thread_and_loop(one, other):
    """The change is made on one loop; the value was kept by another one, in another thread."""
    service, changed, warmed = other.get(Service), threading.Event(), threading.Event()

    async def elsewhere() -> int:
        await warm(service)
        warmed.set()
        changed.wait()  # this loop hears nothing meanwhile
        return await service.f()

    running = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(elsewhere())))
    await asyncio.to_thread(warmed.wait)
    Service.value += 1
    await one.get(Service).f.invalidate()
    changed.set()
    assert await running == Service.value


@needs_fork
@many_threads
def test_in_the_child_of_a_fork(url, prefix):
    """The apps of the child tell each other, too."""
    with made(url, prefix) as one, made(url, prefix) as other:
        asyncio.run(warm(other.get(Service)))

        async def check() -> bool:
            await warm(other.get(Service))
            Service.value += 1
            one.get(Service).g.invalidate()
            return other.get(Service).g() == Service.value

        in_child(lambda: asyncio.run(check()))


async def test_another_prefix_is_another_server(url, prefix):
    """What has other names is not dropped."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(made(url, prefix))
        other = await stack.enter_async_context(made(url, prefix + ":2"))
        await warm(other.get(Service))
        one.get(Service).g.invalidate()
        assert other.get(Service).g.explain().tier == NEAR
