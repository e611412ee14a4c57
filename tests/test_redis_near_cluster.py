"""The near tier of a cluster: it counts on every primary, and on where their slots are."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from stillfresh import App, CacheProvider, ProviderUnavailable, RedisCacheProvider, cache
from stillfresh.providers.redis import listening
from stillfresh.providers.redis.slots import slot_of

NEAR = "RedisCacheProvider, near"


class Service:
    """Each computation has another value, so an old one is recognised."""

    def __init__(self) -> None:
        self.calls = 0

    @cache(name="f", ttl="1 minute", tags=["t:{number}"], memory=True)
    async def f(self, number: int) -> list[int]:
        self.calls += 1
        return [self.calls]

    @cache(name="g", ttl="1 minute", memory=True)
    def g(self, number: int) -> list[int]:
        self.calls += 1
        return [self.calls]


def made(url: str, prefix: str) -> App:
    return App(Service).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))


def near_of(app: App):
    return app.get(CacheProvider).tier.near


def slot(app: App, number: int) -> int:
    """Return where the entry of f(number) is."""
    return slot_of(f"{app.get(CacheProvider).prefix}:v:{{f|{number}}}")


async def until(holds) -> None:
    """Wait until *holds*; nothing tells when a push has come."""
    while not holds():  # noqa: ASYNC110  # see above
        await asyncio.sleep(0.001)


async def warm(function, *args) -> list[int]:
    """Call until the answer comes from near, and return it."""
    while True:
        with suppress(ProviderUnavailable):  # what needs two keys fails while their slot moves
            if (await function.explain(*args)).tier == NEAR:
                return await function(*args)
        await function(*args)
        await asyncio.sleep(0.001)


async def becomes_new(function, number: int, old: list[int]) -> None:
    """Wait until a call is answered with something else."""
    while await function(number) == old:  # noqa: ASYNC110  # nothing tells when a push has come
        await asyncio.sleep(0.001)


@pytest.fixture
def cluster(quiet_cluster):
    """One whose slots nobody else moves."""
    return quiet_cluster


@pytest.fixture
def quick_beats(monkeypatch):
    """A heartbeat twenty times in a second."""
    monkeypatch.setattr(listening, "BEAT_SECONDS", 0.05)


async def test_every_primary_pushes(cluster, prefix):
    """Entries and their tags are on different servers, and all of them are heard."""
    async with made(cluster.url, prefix) as app, made(cluster.url, prefix) as other:
        service, far = app.get(Service), other.get(Service)
        olds = [await warm(service.f, number) for number in range(12)]
        for number, old in enumerate(olds):
            assert await service.f(number) is old
        for number, old in enumerate(olds):
            if number % 2:
                await far.f.invalidate(number)
            else:
                await other.invalidate_tags(f"t:{number}")
            await becomes_new(service.f, number, old)


async def test_a_change_here_counts_at_once(cluster, prefix):
    """As on one server."""
    async with made(cluster.url, prefix) as app:
        f = app.get(Service).f
        for number in range(6):
            old = await warm(f, number)
            await (f.invalidate(number) if number % 2 else app.invalidate_tags(f"t:{number}"))
            assert await f(number) != old
        old = await warm(f, 1)
        await f.invalidate_matching("1*")
        assert await f(1) != old


async def test_sync_functions_share_what_a_loop_hears(cluster, prefix):
    """A thread has no connections that listen; those of a loop will do."""
    async with made(cluster.url, prefix) as app, made(cluster.url, prefix) as other:
        service = app.get(Service)
        await warm(service.f, 1)
        while service.g.explain(1).tier != NEAR:
            service.g(1)
            await asyncio.sleep(0.001)
        old = service.g(1)
        assert service.g(1) is old
        await asyncio.to_thread(other.get(Service).g.invalidate, 1)
        while service.g(1) == old:  # noqa: ASYNC110  # nothing tells when a push has come
            await asyncio.sleep(0.001)


async def test_without_one_primary_nothing_near_is_served(cluster, prefix):
    """It may be the one that has the tag, or the entry, or what takes its place."""
    async with made(cluster.url, prefix) as app:
        service = app.get(Service)
        for number in range(len(cluster.nodes)):
            await warm(service.f, 1)
            cluster.say(number, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until(lambda: len(near_of(app)) == 0)
            assert near_of(app).live_ear() is None
        await warm(service.f, 1)


async def test_another_map_ends_everything(cluster, prefix, quick_beats):
    """A slot goes to another server: near hits never ask, so the heartbeat does."""
    async with made(cluster.url, prefix) as app:
        service = app.get(Service)
        moved = slot(app, 1)
        number = next(n for n in range(2, 100) if slot(app, n) != moved)
        source = cluster.owner(moved)
        to = (source + 1) % len(cluster.nodes)
        await warm(service.f, number)
        version = app.get(CacheProvider).wires.links.slots.version
        cluster.begin(moved, source, to)
        cluster.move(moved, source, to)
        cluster.end(moved, to)
        try:
            await until(lambda: len(near_of(app)) == 0)
            await warm(service.f, number)
            assert app.get(CacheProvider).wires.links.slots.version > version
        finally:
            cluster.begin(moved, to, source)
            cluster.move(moved, to, source)
            cluster.end(moved, source)


async def test_what_was_read_from_a_server_that_is_only_importing_is_not_kept(cluster, prefix):
    """It may be none that is listened to: every hit asks until the slot has arrived."""
    async with made(cluster.url, prefix) as app, made(cluster.url, prefix) as other:
        service, far = app.get(Service), other.get(Service)
        old = await warm(service.f, 1)
        moving = slot(app, 1)
        source = cluster.owner(moving)
        to = (source + 1) % len(cluster.nodes)
        cluster.begin(moving, source, to)
        cluster.move(moving, source, to)
        try:
            await until(lambda: len(near_of(app)) == 0)
            for _ in range(3):
                assert await service.f(1) == old
            assert len(near_of(app)) == 0
            await far.f.invalidate(1)
            assert await service.f(1) != old
            cluster.end(moving, to)
            old = await warm(service.f, 1)
            await far.f.invalidate(1)
            await becomes_new(service.f, 1, old)
        finally:
            cluster.end(moving, to)
            cluster.begin(moving, to, source)
            cluster.move(moving, to, source)
            cluster.end(moving, source)


async def test_a_thread_keeps_nothing_of_a_server_to_which_no_loop_listens_yet(
    own_cluster, tmp_path, prefix
):
    """
    A thread keeps nothing of what it reads where nobody listens.

    1. another one   moves a slot to a server that had none
    2. a thread      is sent there, and reads again: nobody listens to that server
    3. another one   invalidates there: the thread must not have kept what it read
    """
    cluster, added = own_cluster, own_cluster.add(tmp_path / "added")
    async with made(cluster.url, prefix) as app, made(cluster.url, prefix) as other:
        service, elsewhere = app.get(Service), other.get(Service)
        await warm(service.f, 0)  # a loop that hears; nothing else is called on it
        where = slot_of(f"{prefix}:v:{{g|1}}")
        source = cluster.owner(where)
        old = service.g(1)

        def move() -> None:
            cluster.begin(where, source, added)
            cluster.move(where, source, added)
            for number in (added, *{0, 1, 2} - {source}, source):
                cluster.say(number, "CLUSTER", "SETSLOT", where, "NODE", cluster.ids[added])

        await asyncio.to_thread(move)
        # No step of the loop in between: its heartbeat would see that the map is another one.
        assert [service.g(1) for _ in range(3)] == [old] * 3
        elsewhere.g.invalidate(1)
        assert service.g(1) != old
        while service.g.explain(1).tier != NEAR:
            service.g(1)
            await asyncio.sleep(0.001)  # it listens there from now on
