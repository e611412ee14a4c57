"""The near tier when the network, the server or the process is not what it was."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

import pytest
import redis
from forking import in_child, many_threads, needs_fork

from stillfresh import App, CacheProvider, ProviderUnavailable, RedisCacheProvider, cache
from stillfresh.clock import Clock
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address, Busy, Lease
from stillfresh.providers.redis import listening, storing
from stillfresh.testing import VirtualClock

NEAR = "RedisCacheProvider, near"
K = Address("space", "key")


class Service:
    """Each computation has another value, so an old one is recognised."""

    def __init__(self) -> None:
        self.calls = 0

    @cache(name="f", ttl="1 minute", tags=["t"], memory=True)
    async def f(self) -> list[int]:
        self.calls += 1
        return [self.calls]

    @cache(name="g", ttl="1 minute", tags=["t"], memory=True)
    def g(self) -> list[int]:
        self.calls += 1
        return [self.calls]


def made(url: str, prefix: str, *, clock=None, **options) -> App:
    app = App(Service, clock=clock)
    return app.provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix, **options))


def near_of(app: App):
    return app.get(CacheProvider).tier.near


async def until(holds) -> None:
    """Wait until *holds*; nothing tells when a push has come."""
    while not holds():  # noqa: ASYNC110  # see above
        await asyncio.sleep(0.001)


async def listening_to(app: App) -> None:
    """Return when the near tier of *app* is LIVE, and holds nothing; what f() holds is known."""
    await warm(app.get(Service).f)
    near_of(app).changed_all()


async def warm(function) -> list[int]:
    """Call until the answer comes from near, and return it."""
    while True:
        with suppress(ProviderUnavailable):  # a connection that was cut, and the breaker after it
            if (await function.explain()).tier == NEAR:
                return await function()
        await function()
        await asyncio.sleep(0.001)


async def is_served(function) -> bool:
    """Tell whether a call is answered although nothing comes from the server."""
    task = asyncio.create_task(function())
    done, _ = await asyncio.wait([task], timeout=0.1)
    task.cancel()
    return bool(done)


@pytest.fixture
def quick_beats(monkeypatch):
    """A heartbeat each hundredth of a second."""
    monkeypatch.setattr(listening, "BEAT_SECONDS", 0.01)


# Reads that are under way

ELSEWHERE = {
    "key": lambda app: app.get(Service).f.invalidate(),
    "tag": lambda app: app.invalidate_tags("t"),
    "pattern": lambda app: app.get(Service).f.invalidate_matching("*"),
    "expire": lambda app: app.get(Service).f.expire(),
}


@pytest.mark.parametrize("change", ELSEWHERE)
async def test_a_read_that_is_held_across_a_change_is_not_kept(url, proxy, prefix, change):
    """
    Its reply and the push arrive together; the one who waits wakes up after both.

    1. f()        reads: the server answers with the old value; the network holds the reply
    2. elsewhere  the key or its tag is invalidated; the push is held behind the reply
    3. f()        gets the old value: it came before. Nobody else gets it.
    """
    async with made(proxy.url, prefix) as app, made(url, prefix) as other:
        service = app.get(Service)
        await listening_to(app)
        before = proxy.seen
        proxy.replies.clear()
        held = asyncio.create_task(service.f())
        await until(lambda: proxy.seen > before)
        await asyncio.sleep(0.02)
        await ELSEWHERE[change](other)
        proxy.replies.set()
        assert await held == [1]
        assert await service.f() == [2]


async def test_a_second_call_before_the_release_is_not_answered_by_the_first(url, proxy, prefix):
    """What it reads is asked for after it came, and nothing old is near afterwards."""
    async with made(proxy.url, prefix) as app, made(url, prefix) as other:
        service = app.get(Service)
        await listening_to(app)
        before = proxy.seen
        proxy.replies.clear()
        held = asyncio.create_task(service.f())
        await until(lambda: proxy.seen > before)
        await asyncio.sleep(0.02)
        await other.get(Service).f.invalidate()
        second = asyncio.create_task(service.f())
        await asyncio.sleep(0.02)
        proxy.replies.set()
        assert await held == [1]
        assert await second == [2]
        assert await service.f() == [2]


@pytest.mark.parametrize("change", ELSEWHERE)
async def test_a_change_counts_here_while_it_is_on_its_way(proxy, prefix, change):
    """Who calls after it was asked for is not served near, whether or not it has arrived."""
    async with made(proxy.url, prefix) as app:
        service = app.get(Service)
        await warm(service.f)
        proxy.requests.clear()
        changing = asyncio.create_task(ELSEWHERE[change](app))
        await asyncio.sleep(0)
        assert not await is_served(service.f)
        proxy.requests.set()
        await changing
        assert await service.f() == [2]


# Connections


async def test_a_silent_connection_serves_for_three_seconds(proxy, prefix, quick_beats):
    """From the heartbeat on that was answered last; when the same one speaks again, it goes on."""
    clock = VirtualClock()
    async with made(proxy.url, prefix, clock=clock, timeout="20 s") as app:
        service = app.get(Service)
        old = await warm(service.f)
        proxy.replies.clear()
        await asyncio.sleep(0.05)
        clock.advance("2.9 seconds")
        assert await is_served(service.f)
        clock.advance("0.2 seconds")
        assert not await is_served(service.f)
        proxy.replies.set()
        await until(near_of(app).live_ear)
        assert await service.f() is old


async def test_heartbeats_keep_it_served(url, prefix, quick_beats):
    """As long as the server answers, an entry is served for all of its life."""
    clock = VirtualClock()
    async with made(url, prefix, clock=clock) as app:
        service = app.get(Service)
        old = await warm(service.f)
        for _ in range(10):
            clock.advance("2 seconds")
            await until(near_of(app).live_ear)
            await until(lambda: near_of(app).live_ear().until == clock.now() + 3)
            assert await service.f() is old
        assert service.f.stats.misses == 1


async def test_a_black_hole_is_noticed_in_real_time(url, proxy, prefix):
    """Within three seconds of the last sign of life nothing near is served any more."""
    async with made(proxy.url, prefix) as app, made(url, prefix) as other:
        service = app.get(Service)
        old = await warm(service.f)
        begin = time.monotonic()
        proxy.requests.clear()
        proxy.replies.clear()
        await other.get(Service).f.invalidate()
        while await service.f() is old:  # noqa: ASYNC110  # it is what is measured
            await asyncio.sleep(0.01)
        # Three seconds, and what the last call itself waits for: connect_timeout and timeout.
        assert time.monotonic() - begin < 3 + 1 + 1
        proxy.requests.set()
        proxy.replies.set()


async def test_a_new_connection_begins_with_nothing(url, proxy, prefix):
    """What changed while nobody heard was pushed to nobody."""
    async with made(proxy.url, prefix) as app, made(url, prefix) as other:
        service = app.get(Service)
        old = await warm(service.f)
        proxy.close_connections()
        await other.get(Service).f.invalidate()
        await until(lambda: len(near_of(app)) == 0)
        assert await service.f() != old
        await warm(service.f)


async def test_a_killed_client_listens_again(own, prefix):
    """CLIENT KILL takes the connection; the next call makes another one, which listens."""
    async with made(own.url, prefix) as app:
        service = app.get(Service)
        await warm(service.f)
        with own.client() as raw:
            raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until(lambda: len(near_of(app)) == 0)
            await warm(service.f)
            assert raw.info("clients")["tracking_clients"] == 1
        assert service.calls == 1


async def test_flushall_is_pushed(own, prefix):
    """The server names nothing then: all of it goes."""
    async with made(own.url, prefix) as app:
        service = app.get(Service)
        await warm(service.f)
        with own.client() as raw:
            raw.flushall()
        await until(lambda: len(near_of(app)) == 0)
        assert await service.f() == [2]


async def test_when_nothing_is_kept_nothing_runs(url, prefix, quick_beats):
    """No timer, no question to the server; the next read begins anew."""
    async with made(url, prefix) as app:
        service = app.get(Service)
        await warm(service.f)
        [link] = app.get(CacheProvider).wires.links.open.values()
        assert link.listener._timer is not None
        await service.f.invalidate()
        await until(lambda: link.listener._timer is None)
        clock = near_of(app)
        await until(lambda: clock.live_ear() is None)
        await warm(service.f)
        assert link.listener._timer is not None


# Servers that do not push


@pytest.mark.parametrize("refused", ["", "-client|tracking", "-role"])
async def test_a_server_that_refuses_to_push_has_no_near_tier(request, prefix, caplog, refused):
    """One log line and one event say so; functions go on, and every hit asks."""
    server = request.getfixturevalue("own" if refused else "outdated")
    url = server.url
    if refused:
        with server.client() as raw:
            raw.execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "&*", "+@all", refused)
        url = url.replace("redis://", "redis://few:pw@")
    heard = []
    with caplog.at_level(logging.WARNING, "stillfresh"):
        app = made(url, prefix)
        app.on("refused", heard.append)
        async with app:
            service = app.get(Service)
            for _ in range(5):
                assert await service.f() == [1]
            assert (await service.f.explain()).tier == "RedisCacheProvider"
            assert len(near_of(app)) == 0
    [line] = [r.getMessage() for r in caplog.records if "near tier" in r.getMessage()]
    assert "every hit asks the server" in line
    [event] = heard
    assert event.detail == line
    assert event.key is None


async def test_a_primary_that_becomes_a_replica_is_not_listened_to(
    own, prefix, quick_beats, caplog
):
    """What it answers may be older than what its primary pushed. A new connection tries again."""
    async with made(own.url, prefix) as app:
        service = app.get(Service)
        await warm(service.f)
        with own.client() as raw:
            raw.replicaof("127.0.0.1", 1)
            await until(lambda: len(near_of(app)) == 0)
            await service.f()
            assert near_of(app).live_ear() is None
            raw.replicaof("NO", "ONE")
            raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with caplog.at_level(logging.WARNING, "stillfresh"):
            await warm(service.f)
        assert "the near tier is on again" in caplog.text


# The process


@needs_fork
@many_threads
async def test_the_child_of_a_fork_starts_without_anything_near(url, prefix):
    """Nobody pushes to the child; what it finds near would never be dropped."""
    async with made(url, prefix) as app:
        service = app.get(Service)
        await service.f()
        while service.g.explain().tier != NEAR:
            service.g()
            await asyncio.sleep(0.001)
        service.g()  # by the short cut

        def check() -> bool:
            good = len(near_of(app)) == 0
            with redis.Redis.from_url(url) as raw:
                raw.flushdb()
            return good and service.g() == [3]

        in_child(check)
        await until(lambda: len(near_of(app)) == 0)
        assert service.g() == [3]


# Waiters


async def test_who_waits_for_another_process_is_woken_by_the_push(url, prefix, monkeypatch):
    """Not at the end of a pause, where the server pushes: that may be long."""
    monkeypatch.setattr(storing, "_SHORTEST_PAUSE", 60.0)
    monkeypatch.setattr(storing, "_LONGEST_PAUSE", 60.0)
    holder, waiter = (RedisCacheProvider(url, prefix=prefix) for _ in range(2))
    for one in (holder, waiter):
        await one.start(Clock())
    await waiter.look(K)
    waiter.ear()
    await until(waiter.tier.near.live_ear)
    lease = await holder.acquire(K)
    assert isinstance(lease, Lease)
    assert isinstance(await waiter.acquire(K), Busy)
    waiting = asyncio.create_task(waiter.wait(K, 60.0))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert await holder.store(lease, Entry(b"x", Clock().now(), Windows(60.0)))
    await asyncio.wait_for(waiting, 10)
    assert (await waiter.look(K)).value == b"x"
    assert not waiter.tier.near._watchers
    for one in (holder, waiter):
        await one.stop()


async def test_what_the_server_pushes_is_no_reply(url, proxy, prefix):
    """A command that gets lost is given up after the time-out, however much others write."""
    async with made(proxy.url, prefix, timeout="200 ms") as app, made(url, prefix) as other:
        service, writer = app.get(Service), other.get(Service)
        await listening_to(app)

        async def write() -> None:
            while True:
                await writer.g.cache.set("k", [0])
                await asyncio.sleep(0.02)

        writing = asyncio.create_task(write())
        proxy.requests.clear()
        try:
            async with asyncio.timeout(5):
                with pytest.raises(ProviderUnavailable, match="no reply within"):
                    await service.f.invalidate()
        finally:
            writing.cancel()
            proxy.requests.set()
