"""The server dies and comes back under load, from a disk that keeps what it has acknowledged."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import cast

import pytest
import redis

from stillfresh import (
    App,
    Cache,
    CacheProvider,
    InvalidOption,
    ProviderUnavailable,
    RedisCacheProvider,
    cache,
)
from stillfresh.clock import Clock
from stillfresh.entry import Entry, Lasting, Windows
from stillfresh.providers.base import Address, Lease
from stillfresh.testing import VirtualClock

ROUNDS = 3


class Service:
    """What it reads is a number that only grows."""

    source = 0

    @cache(name="f", tags=["t"], ttl="1 hour")
    async def f(self, key: int) -> int:
        found = Service.source
        await asyncio.sleep(0.001 * key)
        return found


async def test_no_old_value_and_no_lost_invalidation(durable, prefix):
    """
    One app changes the source and invalidates; two read all the while; the server is killed.

    Who starts after an invalidation has returned sees what was written before it, in both. One
    that raised counts in its own app at once, and in the other when it was made up for.
    """

    def app() -> App:
        provide = lambda: RedisCacheProvider(durable.url, prefix=prefix, timeout="500 ms")  # noqa: E731  # one line, used below
        return App(Service).provide(CacheProvider, provide)

    Service.source = 0
    least = {"here": 0, "there": 0}
    wrong: list[str] = []
    missed = calls = 0
    over = asyncio.Event()

    async def read(where: str, service: Service, key: int) -> None:
        nonlocal calls
        while not over.is_set():
            bound = least[where]
            found = await service.f(key)
            calls += 1
            if found < bound:
                wrong.append(f"{where}: {found} after {bound}")
            await asyncio.sleep(0.001)

    async with app() as here, app() as there:

        async def write() -> None:
            nonlocal missed
            service = here.get(Service)
            while not over.is_set():
                Service.source += 1
                number = Service.source
                try:
                    if number % 2:
                        await here.invalidate_tags("t")
                    else:
                        await asyncio.gather(*(service.f.invalidate(key) for key in range(4)))
                    least["there"] = number
                except ProviderUnavailable:
                    missed += 1
                least["here"] = number
                await asyncio.sleep(0.002)

        readers = [
            asyncio.create_task(read(where, one.get(Service), key))
            for where, one in {"here": here, "there": there}.items()
            for key in range(4)
        ]
        writer = asyncio.create_task(write())
        for _ in range(ROUNDS):
            await asyncio.sleep(0.4)
            await asyncio.to_thread(durable.kill)
            await asyncio.sleep(0.1)
            await asyncio.to_thread(durable.start)
            await asyncio.sleep(1.2)  # the breaker lets somebody try again
        over.set()
        await asyncio.gather(writer, *readers)
        assert wrong == []
        assert missed >= ROUNDS
        assert least["there"] > 0
        service = here.get(Service)
        hits = service.f.stats.hits
        async with asyncio.timeout(10):  # nothing is changed any more: it is kept again
            while service.f.stats.hits == hits:
                await service.f(0)
                await asyncio.sleep(0.01)
        assert calls > 500


# A server that brings back what was dropped


def snapshot(server) -> None:
    """Keep what the server has now: it will come back with it."""
    with redis.Redis.from_url(server.url) as raw:
        raw.save()
    shutil.copy(server.folder / "dump.rdb", server.folder / "old.rdb")


def bring_back(server) -> None:
    """Kill the server, and start it with what it had when the snapshot was made."""
    server.kill()
    shutil.copy(server.folder / "old.rdb", server.folder / "dump.rdb")
    server.start()


class Fleet:
    source = 1
    sessions = Cache[str](name="sessions", ttl="1 hour")
    kept = Cache[int](name="kept", ttl="1 hour")

    @cache(name="price", tags=["prices"], ttl="1 hour")
    async def price(self) -> int:
        return Fleet.source

    @cache(name="late", tags=lambda value: ["late"], ttl="1 hour")
    async def late(self) -> int:
        return Fleet.source

    @cache(name="plain", ttl="1 hour")
    def plain(self) -> int:
        return Fleet.source

    @kept(key="computed")
    async def computed(self) -> int:
        return Fleet.source


@asynccontextmanager
async def running(server, prefix: str, mode: str):
    app = App(Fleet, clock=VirtualClock())
    provide = lambda: RedisCacheProvider(server.url, prefix=prefix, after_restart=mode)  # noqa: E731  # one line, used below
    async with app.provide(CacheProvider, provide):
        yield app, app.get(Fleet)


async def answering(app: App, service: Fleet) -> None:
    """Return when the connections of before are forgotten and the breaker is closed."""
    for ask in (lambda: service.sessions.get("x"), lambda: service.sessions.get("x")):
        for face in (ask, lambda: asyncio.to_thread(service.sessions.sync.get, "x")):
            while True:
                try:
                    await face()
                    break
                except ProviderUnavailable:
                    app.clock.advance("2 seconds")


@pytest.mark.parametrize("mode", ["trust", "discard"])
async def test_a_server_that_brings_back_old_values(own, prefix, mode):
    """
    With "discard" nothing is served that another life of the server wrote; with "trust" all is.

    The invalidation was acknowledged, and is lost with what the server did not save.
    """
    Fleet.source = 1
    async with running(own, prefix, mode) as (app, fleet):
        before = await fleet.price(), await fleet.late(), fleet.plain(), await fleet.computed()
        assert before == (1, 1, 1, 1)
        snapshot(own)
        Fleet.source = 2
        await app.invalidate_tags("prices", "late")
        fleet.plain.invalidate()
        await fleet.computed.invalidate()
        bring_back(own)
        await answering(app, fleet)
        expected = 1 if mode == "trust" else 2
        for _ in range(2):
            assert await fleet.price() == await fleet.late() == expected
            assert fleet.plain() == await fleet.computed() == expected
        assert await fleet.price.cache.keys() == [fleet.price.key()]


@pytest.mark.parametrize("mode", ["trust", "discard"])
async def test_what_was_put_by_hand_is_kept(own, prefix, mode):
    """Entries of a Cache without functions are data: they are there after a restart, tags and all."""
    async with running(own, prefix, mode) as (app, fleet):
        await fleet.sessions.set("u1", "ada", tags=["users"])
        await fleet.sessions.set("u2", "bob", tags=["others"])
        assert await fleet.sessions.get_or_set("u3", lambda: "eve", tags=["users"]) == "eve"
        assert await fleet.sessions.set("u4", "dan") is None
        snapshot(own)
        bring_back(own)
        await answering(app, fleet)
        # Somebody computes with one of its tags: its version goes on.
        await fleet.sessions.get_or_set("u5", lambda: "fay", tags=["users"])
        for key, name in {"u1": "ada", "u2": "bob", "u3": "eve", "u4": "dan"}.items():
            assert await fleet.sessions.get(key) == name
            assert fleet.sessions.sync.get(key) == name
        assert sorted(await fleet.sessions.keys()) == ["u1", "u2", "u3", "u4", "u5"]
        await app.invalidate_tags("users")
        assert sorted(await fleet.sessions.keys()) == ["u2", "u4"]


async def test_a_version_that_came_back_does_not_count(own, prefix):
    """
    In "discard" what was computed does not hold by a version that an earlier life has written.

    In a cluster the entry may be on a server that lived on, and the version on one that did not.
    """
    provider = RedisCacheProvider(own.url, prefix=prefix, after_restart="discard")
    await provider.start(Clock())
    key, tags = Address("space", "key"), frozenset(["t"])

    def made(kind: type[Entry]) -> Entry:
        return kind(b"x", Clock().now(), Windows(60.0), tags, 1)

    assert await provider.store(await provider.acquire(key, tags=tags), made(Entry))
    await provider.put([(Address("space", "data"), made(Lasting))])
    snapshot(own)
    bring_back(own)
    while True:
        try:
            await provider.look(key)
            break
        except ProviderUnavailable:
            continue
    with redis.Redis.from_url(own.url) as raw:
        run = raw.info("server")["run_id"][:8].encode()
        name = provider.names.value(key)
        frame = bytearray(raw.get(name))
        frame[4:12] = run  # as on a server that lived on
        raw.set(name, bytes(frame), keepttl=True)
    assert await provider.look(key) is None
    assert (await provider.look(Address("space", "data"))).value == b"x"
    assert isinstance(await provider.acquire(key, tags=tags), Lease)
    assert await provider.look(key) is None
    assert (await provider.look(Address("space", "data"))).value == b"x"
    await provider.stop()


@pytest.mark.parametrize("mode", ["trust", "discard"])
async def test_leases_count_on_their_own_run(durable, prefix, mode):
    """A lease that came back from the disk stands in nobody's way, and writes nothing."""
    provider = RedisCacheProvider(durable.url, prefix=prefix, after_restart=mode)
    await provider.start(Clock())
    key = Address("space", "key")
    old = await provider.acquire(key)
    durable.kill()
    durable.start()
    while True:
        try:
            found = await provider.acquire(key)
            break
        except ProviderUnavailable:
            continue
    assert isinstance(found, Lease)
    entry = Entry(b"x", Clock().now(), Windows(60.0), frozenset(), 1)
    assert not await provider.store(old, entry)
    assert await provider.store(found, entry)
    await provider.stop()


async def test_a_store_that_is_sent_again_to_another_run_writes_nothing(own, prefix):
    """A restart between a script's name, which the server does not know, and its text."""
    provider = RedisCacheProvider(own.url, prefix=prefix)
    await provider.start(Clock())
    lease = await provider.acquire(address := Address("space", "key"))
    links = provider.wires.links
    talk_as = links.talk_as

    async def restarting(commands):
        replies = await talk_as(commands)
        links.talk_as = talk_as
        links.here().close()
        own.kill()
        own.start()
        return replies

    with own.client() as raw:
        raw.script_flush()
    links.talk_as = restarting
    assert not await provider.store(lease, Entry(b"x", Clock().now(), Windows(60.0)))
    assert await provider.look(address) is None
    await provider.stop()


def test_after_restart_is_checked():
    """What it cannot be is refused where it is written."""
    with pytest.raises(InvalidOption, match="after_restart='never'"):
        RedisCacheProvider(after_restart="never")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["trust", "discard"])
async def test_a_value_that_does_not_fit_is_returned(mode, url, prefix, caplog):
    """Discarding what another life wrote makes a computed value no mistake: one log line says."""
    provide = lambda: RedisCacheProvider(url, prefix=prefix, after_restart=mode)  # noqa: E731  # one line, used below
    async with App().provide(CacheProvider, provide):

        @cache(name="misfit")
        async def get() -> int:
            return cast("int", "text")

        assert await get() == "text"
    assert len([one for one in caplog.records if "not stored" in one.getMessage()]) == 1
