"""A network that holds, delays and cuts: what is late arrives late, and must not win."""

from __future__ import annotations

import asyncio
import time

import pytest

from stillfresh import App, Cache, CacheProvider, ProviderUnavailable, RedisCacheProvider, cache
from stillfresh.clock import Clock
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address, Busy, Lease
from stillfresh.testing import VirtualClock

K = Address("space", "key")


@pytest.fixture
async def far(proxy, prefix):
    """A provider behind the proxy, with little patience."""
    provider = RedisCacheProvider(
        proxy.url, prefix=prefix, timeout="150 ms", connect_timeout="500 ms", lease="600 ms"
    )
    await provider.start(Clock())
    await provider.look(K)  # connected, while nothing is held
    for _ in range(2):  # and the server knows the scripts
        await provider.release(await provider.acquire(K, take=True))
        await provider.put([(K, entry(b"first"))])
    yield provider
    await provider.stop()


@pytest.fixture
async def near(url, prefix):
    """Another process, on a good network."""
    provider = RedisCacheProvider(url, prefix=prefix, lease="600 ms")
    await provider.start(Clock())
    yield provider
    await provider.stop()


def entry(value: bytes) -> Entry:
    return Entry(value, Clock().now(), Windows(60.0), frozenset(), len(value))


async def arrived(proxy, before: int) -> None:
    """Return when the proxy has got something more."""
    while proxy.seen == before:  # noqa: ASYNC110  # it is the test's own loop
        await asyncio.sleep(0.001)


async def value(provider: CacheProvider) -> object:
    found = await provider.look(K)
    return None if found is None else found.value


async def test_a_network_that_takes_what_is_sent_is_not_silent(proxy, prefix, tmp_path):
    """A long command may take longer than the time-out, as long as some of it is taken."""
    # Sockets of files have small buffers: what one end has written the other has soon read.
    server = await asyncio.start_unix_server(proxy.accept, tmp_path / "socket")
    provider = RedisCacheProvider(f"unix://{tmp_path}/socket", prefix=prefix, timeout=0.5)
    await provider.start(Clock())
    lease = await provider.acquire(K)
    proxy.pace, begin = 0.005, time.monotonic()
    assert await provider.store(lease, entry(b"x" * 10_000_000))
    assert time.monotonic() - begin > 0.5
    await provider.stop()
    server.close()


async def test_a_read_that_is_held_answers_nobody_who_came_later(proxy, far, near):
    """
    A reply belongs to its own question.

    1. far    look: the server answers "first"; the network holds the reply
    2. near   delete(k) returns
    3. far    a second look comes, before the first one is answered
    """
    proxy.replies.clear()
    before = proxy.seen
    first = asyncio.create_task(value(far))
    await arrived(proxy, before)
    await asyncio.sleep(0.02)
    await near.delete([K])
    second = asyncio.create_task(value(far))
    await asyncio.sleep(0)
    proxy.replies.set()
    assert await first == b"first"
    assert await second is None


async def test_a_connection_that_ends_as_it_is_made_answers_nobody_with_anothers_value(
    proxy, near, prefix, monkeypatch
):
    """
    A reply belongs to its own question, also where a question was never sent.

    1. look(k)     connects; the server answers the greeting, and is gone before the read is sent
    2. look(other) connects anew: its reply is not that of step 1
    """
    other = Address("space", "other")
    await near.put([(K, entry(b"mine")), (other, entry(b"another's"))])
    pump, ended = proxy.pump, asyncio.Event()

    async def ends_after_the_greeting(source, sink, gate):
        while gate is proxy.replies and (data := await source.read(65_536)):
            sink.write(data)
            if b"run_id" in data:
                monkeypatch.undo()
                sink.close()
                ended.set()
                return
        await pump(source, sink, gate)

    monkeypatch.setattr(proxy, "pump", ends_after_the_greeting)
    far = RedisCacheProvider(proxy.url, prefix=prefix)
    await far.start(Clock())
    first = asyncio.create_task(value(far))
    await ended.wait()
    await asyncio.sleep(0.05)
    found = await far.look(other)
    assert found is not None
    assert found.value == b"another's"
    with pytest.raises(ProviderUnavailable, match="the connection was lost"):
        await first
    await far.stop()


async def test_an_acquire_that_arrives_after_its_time_out_lets_nobody_store(proxy, far, near):
    """The lease that it leaves behind is nobody's, and runs out."""
    await near.delete([K])
    proxy.requests.clear()
    with pytest.raises(ProviderUnavailable, match="no reply within"):
        await far.acquire(K)
    proxy.requests.set()
    await asyncio.sleep(0.02)
    while isinstance(lease := await near.acquire(K), Busy):
        await near.wait(K, 1.0)
    assert isinstance(lease, Lease)
    assert await near.store(lease, entry(b"new"))
    assert await value(near) == b"new"


async def test_an_invalidation_by_arguments_is_one_command(url, prefix, raw):
    """Nothing is read for it: what happens to a second trip cannot make it fail."""

    class Service:
        @cache(ttl="1 minute", tags=["t"])
        async def f(self) -> int:
            return 1

    app = App(Service).provide(CacheProvider, RedisCacheProvider(url, prefix=prefix))
    async with app:
        service = app.get(Service)
        await service.f()
        raw.config_resetstat()
        await service.f.invalidate()
        asked = {name.removeprefix("cmdstat_") for name in raw.info("commandstats")}
        assert asked - {"info", "config|resetstat", "ping"} == {"unlink"}


async def test_a_delete_that_cannot_be_counted_is_done(proxy, prefix, url):
    """
    What tells whether the tags of an entry held is asked for in a second trip.

    1. delete(k)   the entry is read and dropped; the reply arrives
    2. delete(k)   asks for the versions of the tags: the network is cut
    """

    class Service:
        store = Cache[int](name="store")

    def app(at: str) -> App:
        return App(Service).provide(
            CacheProvider, RedisCacheProvider(at, prefix=prefix, timeout="150 ms")
        )

    async with app(url) as other, app(proxy.url) as here:
        await other.get(Service).store.set("k", 1, tags=["t"])
        store = here.get(Service).store
        assert not await store.contains("else")
        provider = here.get(CacheProvider)
        held = provider.held

        async def cut(*args):
            proxy.replies.clear()
            return await held(*args)

        provider.held = cut
        assert await store.delete("k") == 1
        proxy.replies.set()
        assert await other.get(Service).store.get("k") is None


@pytest.mark.parametrize("change", ["put", "delete"])
async def test_a_put_whose_first_trip_arrives_late_writes_nothing(proxy, far, near, change):
    """
    What a write by hand sends first ends leases, and nothing else.

    1. far    put(old): the network holds the first trip; the caller is told that it failed
    2. near   put(new) or delete(k) returns
    3. far    the first trip arrives
    """
    proxy.requests.clear()
    with pytest.raises(ProviderUnavailable):
        await far.put([(K, entry(b"old"))])
    if change == "put":
        await near.put([(K, entry(b"new"))])
    else:
        await near.delete([K])
    proxy.requests.set()
    await asyncio.sleep(0.05)
    assert await value(near) == (b"new" if change == "put" else None)


@pytest.mark.parametrize("change", ["put", "delete"])
async def test_a_put_whose_second_trip_arrives_late_writes_nothing(proxy, far, near, change):
    """The second trip needs the lease of the first one, which a later change has ended."""
    trips = 0
    ask, ask_as = far.ask, far.ask_as

    def hold_the_second() -> None:
        nonlocal trips
        trips += 1
        if trips == 2:
            proxy.requests.clear()

    far.ask = lambda *commands: (hold_the_second(), ask(*commands))[1]
    far.ask_as = lambda commands: (hold_the_second(), ask_as(commands))[1]
    with pytest.raises(ProviderUnavailable):
        await far.put([(K, entry(b"old"))])
    if change == "put":
        await near.put([(K, entry(b"new"))])
    else:
        await near.delete([K])
    proxy.requests.set()
    await asyncio.sleep(0.05)
    assert await value(near) == (b"new" if change == "put" else None)


async def test_a_store_that_arrives_late_is_refused(proxy, far, near):
    """A result that the network held arrives after an invalidation: its lease is gone."""
    await near.delete([K])
    lease = await far.acquire(K)
    proxy.requests.clear()
    with pytest.raises(ProviderUnavailable):
        await far.store(lease, entry(b"old"))
    await near.delete([K])
    proxy.requests.set()
    await asyncio.sleep(0.05)
    assert await value(near) is None


class Service:
    numbers = Cache[int](name="numbers")
    source = "old"

    @cache(name="waits", tags=["t"])
    async def waits(self) -> str:
        return self.source

    @cache(name="blocks", tags=["t"])
    def blocks(self) -> str:
        return self.source


@pytest.mark.parametrize("where", ["loop", "other loop", "thread", "sync"])
async def test_after_a_cut_the_missed_invalidation_comes_first_everywhere(proxy, prefix, where):
    """
    What could not be delivered is carried out before anything is read.

    1. the network of a process is cut; an invalidation raises there
    2. the cut is mended
    3. the first call, in whatever loop or thread of that process, computes
    """
    app = App(Service, clock=VirtualClock())
    app.provide(CacheProvider, lambda: RedisCacheProvider(proxy.url, prefix=prefix))
    async with app:
        service = app.get(Service)
        assert await service.waits() == await asyncio.to_thread(service.blocks) == "old"
        proxy.cut = True
        proxy.close_connections()
        await asyncio.sleep(0.01)
        with pytest.raises(ProviderUnavailable):
            await app.invalidate_tags("t")
        service.source = "new"
        proxy.cut = False
        app.clock.advance("2 seconds")
        found = {
            "loop": service.waits,
            "other loop": lambda: asyncio.to_thread(lambda: asyncio.run(run(service.waits))),
            "thread": lambda: asyncio.to_thread(service.blocks),
            "sync": lambda: in_thread_with_loop(service.blocks),
        }[where]()
        assert await found == "new"


async def run(function):
    return await function()


async def in_thread_with_loop(function):
    """Call a sync function on a thread where a loop runs."""

    async def call():
        return function()

    return await asyncio.to_thread(lambda: asyncio.run(call()))
