"""What happens when the server is away, slow, full, or somebody else."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress

import pytest
import redis

from stillfresh import App, Cache, CacheProvider, InvalidOption, ProviderUnavailable, cache
from stillfresh.clock import Clock
from stillfresh.computing.drivers import drive
from stillfresh.entry import Entry, Windows
from stillfresh.errors import InvalidDuration
from stillfresh.providers.base import Address, Lease
from stillfresh.providers.redis import RedisCacheProvider
from stillfresh.testing import VirtualClock

K = Address("space", "key")


class Service:
    store = Cache[int](name="store")

    def __init__(self) -> None:
        self.calls = 0

    @cache(name="f", tags=["t"])
    async def f(self) -> int:
        self.calls += 1
        return self.calls

    @cache(name="g")
    def g(self) -> int:
        self.calls += 1
        return self.calls


def app_at(url: str, prefix: str, **options) -> App:
    """An app whose breaker follows a virtual clock; what the server counts is real."""
    app = App(Service, clock=VirtualClock())
    return app.provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix, **options))


def later(app: App) -> None:
    """The time has come to try again."""
    app.clock.advance("2 seconds")


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def entry(value: bytes = b"x", *tags: str) -> Entry:
    return Entry(value, Clock().now(), Windows(60.0), frozenset(tags), len(value))


# Options


def test_without_a_url_the_start_says_what_to_do(monkeypatch):
    """Neither url= nor REDIS_URL is an error at start, and it names the next step."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    provider = RedisCacheProvider()
    with pytest.raises(InvalidOption, match="REDIS_URL"):
        drive(provider.start(Clock()))
    with pytest.raises(ProviderUnavailable, match="not started"):
        drive(provider.blocking.look(K))


async def test_the_url_comes_from_the_environment(monkeypatch, url):
    """REDIS_URL is read at start, not at import or construction."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    app = App(Service).provide(CacheProvider, RedisCacheProvider)
    monkeypatch.setenv("REDIS_URL", url)
    async with app:
        assert await app.get(Service).f() == await app.get(Service).f()
        await app.get(Service).f.clear()


@pytest.mark.parametrize(
    "url",
    [
        *["localhost:6379", "redis+sentinel://h", "redis+cluster://h/1", "http://h", "", 7],
        *["redis+cluster://", "redis+sentinel://h:port/m", "unix+cluster://h", "redis+raft://h"],
        *["redis://h/0?unheard=1", "rediss://h?ssl_cert_reqs=perhaps", "redis://h:port"],
    ],
)
def test_a_url_that_is_not_supported_is_refused(url):
    """What cannot work is an error where it is written."""
    with pytest.raises(InvalidOption, match="url"):
        RedisCacheProvider(url)


def test_other_options_are_checked():
    """Lengths of time and the prefix are read where they are written."""
    with pytest.raises(InvalidDuration, match="lease"):
        RedisCacheProvider(lease=0)
    with pytest.raises(InvalidDuration, match="timeout"):
        RedisCacheProvider(timeout="soon")
    with pytest.raises(InvalidOption, match="prefix"):
        RedisCacheProvider(prefix="a{b}")


def test_a_password_is_not_shown():
    """Neither the text of a provider nor an error about its URL shows what is secret."""
    shown = repr(RedisCacheProvider("redis://user:secret@h:1/0"))
    assert "secret" not in shown
    assert "h:1" in shown
    with pytest.raises(InvalidOption) as caught:
        RedisCacheProvider("sentinel://user:secret@h:1/0")
    assert "secret" not in str(caught.value)
    for url in ("redis://:secret#x@h:1/0", "redis://u:secret/x@h:1", "redis://u:secret?x@h"):
        with pytest.raises(InvalidOption, match="percent-encoded") as caught:
            RedisCacheProvider(url)
        assert "secret" not in str(caught.value)
    with pytest.raises(InvalidOption):
        RedisCacheProvider("redis://[::1")


def test_a_missing_extra_says_how_to_install_it():
    """The package is imported without the client; asking for the provider names the command."""
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "import stillfresh\n"
        "try: stillfresh.RedisCacheProvider\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "pip install 'stillfresh[redis]'" in done.stdout, done.stderr


# Away


async def test_a_server_that_is_away_is_no_error_for_functions(prefix, caplog):
    """The app starts and answers; one event and one log line say so; stores raise."""
    app = app_at(f"redis://127.0.0.1:{closed_port()}", prefix)
    downs = []
    app.on("provider_down", downs.append)
    with caplog.at_level(logging.WARNING, "stillfresh"):
        async with app:
            service = app.get(Service)
            assert [await service.f() for _ in range(3)] == [1, 2, 3]
            assert service.g() == 4
            with pytest.raises(ProviderUnavailable):
                await service.store.get("k")
            with pytest.raises(ProviderUnavailable):
                await service.store.set("k", 1)
            later(app)
            assert await service.f() == 5
            begin = time.perf_counter()
            for _ in range(100):
                await service.f()
            assert (time.perf_counter() - begin) / 100 < 0.005
    assert len(downs) == 1
    assert len([r for r in caplog.records if "does not answer" in r.message]) == 1


async def test_one_computes_in_a_process_without_the_server(prefix):
    """With the server away a process still computes once for all who ask at once."""
    app = app_at(f"redis://127.0.0.1:{closed_port()}", prefix)
    async with app:
        service = app.get(Service)
        await service.f()
        assert set(await asyncio.gather(*(service.f() for _ in range(50)))) == {2}


async def test_a_server_that_is_killed_and_comes_back(own, prefix):
    """Calls answer all the way; when the server is back, entries are kept again."""
    app = app_at(own.url, prefix)
    async with app:
        service = app.get(Service)
        assert await service.f() == await service.f() == 1
        assert service.g() == service.g() == 2
        own.kill()
        assert [await service.f(), service.g(), await service.f()] == [3, 4, 5]
        own.start()
        later(app)
        assert await service.f() == await service.f() == 6
        assert service.g() == service.g() == 7
        await service.store.set("k", 1)
        assert await service.store.get("k") == 1


@pytest.mark.parametrize("change", ["key", "tag", "pattern", "clear", "store", "expire", "set"])
async def test_a_missed_invalidation_is_made_up_for_before_anything_is_read(own, prefix, change):
    """
    R6: an invalidation that did not reach the server raises, is remembered, and comes first.

        1. f() is stored; the server saves it
        2. the server dies; an invalidation raises
        3. the server comes back with the old entry
        4. the next call carries the invalidation out, and computes
    """
    app = app_at(own.url, prefix)
    async with app:
        service = app.get(Service)
        changes = {
            "key": lambda: service.f.invalidate(),
            "tag": lambda: app.invalidate_tags("t"),
            "pattern": lambda: service.f.invalidate_matching("*"),
            "clear": lambda: service.f.clear(),
            "store": lambda: service.f.store(9),
            "expire": lambda: service.f.expire(),
            "set": lambda: service.f.cache.set(service.f.key(), 9),
        }
        assert await service.f() == await service.f() == 1
        with redis.Redis.from_url(own.url) as raw:
            raw.save()
        own.kill()
        with pytest.raises(ProviderUnavailable):
            await changes[change]()
        own.start()
        later(app)
        assert await service.f() == 2


async def test_a_lease_of_an_earlier_life_of_the_server_is_none(own, prefix):
    """
    R5: a server that comes back from its disk brings back leases that were ended since.

        1. acquire(k) -> lease; the server saves
        2. delete(k) ends the lease; the server dies
        3. it comes back with the lease: nobody waits for it, and nothing is stored under it
    """
    provider = RedisCacheProvider(own.url, prefix=prefix)
    await provider.start(Clock())
    leases = [await provider.acquire(Address("space", key)) for key in ("a", "b", "c")]
    with redis.Redis.from_url(own.url) as raw:
        raw.save()
    await provider.delete([lease.address for lease in leases])
    own.kill()
    own.start()
    with pytest.raises(ProviderUnavailable):
        await provider.look(K)
    assert not await provider.store(leases[0], entry())
    assert not await provider.settle(leases[1], frozenset())
    assert isinstance(await provider.acquire(leases[2].address), Lease)
    await provider.stop()


# Slow, full, somebody else


async def test_a_server_that_hangs_counts_as_down(own, prefix):
    """A silent server costs one time-out; then calls do not wait for it."""
    app = app_at(own.url, prefix, timeout="1 second", connect_timeout="1 second")
    async with app:
        service = app.get(Service)
        assert await service.f() == 1
        own.signal(signal.SIGSTOP)
        begin = time.perf_counter()
        assert await service.f() == 2
        assert time.perf_counter() - begin < 3
        begin = time.perf_counter()
        assert await service.f() == 3
        assert service.g() == 4
        assert time.perf_counter() - begin < 0.9
        own.signal(signal.SIGCONT)
        later(app)
        assert await service.f() == 1  # the entry was there all the time


async def test_a_hanging_server_hangs_no_blocking_caller(own, prefix):
    """The blocking face gives up as well."""
    provider = RedisCacheProvider(own.url, prefix=prefix, timeout="200 ms")
    drive(provider.start(Clock()))
    face = provider.blocking
    drive(face.put([(K, entry())]))
    own.signal(signal.SIGSTOP)
    with pytest.raises(ProviderUnavailable, match=r"[Tt]imeout"):
        drive(face.look(K))
    own.signal(signal.SIGCONT)
    assert drive(face.look(K)) is not None
    drive(face.stop())


async def test_a_late_reply_belongs_to_nobody(own, prefix):
    """After a time-out the connection is cut: no later question gets an earlier answer."""
    provider = RedisCacheProvider(own.url, prefix=prefix, timeout="200 ms")
    await provider.start(Clock())
    await provider.put([(K, entry(b"one")), (Address("space", "two"), entry(b"two"))])
    own.signal(signal.SIGSTOP)
    with pytest.raises(ProviderUnavailable, match="no reply within"):
        await provider.look(K)
    own.signal(signal.SIGCONT)
    found = await provider.look(Address("space", "two"))
    assert found.value == b"two"
    await provider.stop()


async def test_a_full_server_still_reads_and_invalidates(own, prefix, caplog):
    """Out of memory: functions compute, what is there is served, invalidations work."""
    app = app_at(own.url, prefix)
    with redis.Redis.from_url(own.url) as raw:
        async with app:
            service = app.get(Service)
            assert await service.f() == 1
            await service.store.set("k", 1)
            raw.config_set("maxmemory", 1)
            assert await service.f() == 1
            assert [service.g(), service.g()] == [2, 3]
            assert await service.f() == 1  # the breaker stays closed
            await service.f.invalidate()
            assert [await service.f(), await service.f()] == [4, 5]
            with pytest.raises(ProviderUnavailable, match="no room"):
                await service.store.set("k", 2)
            assert await service.store.get("k") is None  # what was there is not served
            with pytest.raises(ProviderUnavailable, match="no room"):
                await service.store.incr("n")
            await service.store.delete("n")
            raw.config_set("maxmemory", 0)
            assert await service.f() == await service.f() == 6  # it was not down
    assert len([r for r in caplog.records if "no room" in r.message]) == 1
    assert not [r for r in caplog.records if "does not answer" in r.message]


async def test_a_replica_is_not_written_to(own, prefix):
    """A server that became a replica refuses leases: functions compute, stores raise."""
    app = app_at(own.url, prefix)
    with redis.Redis.from_url(own.url) as raw:
        async with app:
            service = app.get(Service)
            raw.execute_command("REPLICAOF", "127.0.0.1", closed_port())
            assert [await service.f(), await service.f()] == [1, 2]
            with pytest.raises(ProviderUnavailable):
                await service.f.invalidate()
            raw.execute_command("REPLICAOF", "NO", "ONE")
            later(app)
            assert await service.f() == await service.f() == 3


async def test_a_wrong_password_is_a_server_that_is_down(url, prefix):
    """What the server refuses at sign-in is reported, and the app runs."""
    app = app_at(url.replace("://", "://nobody:wrong@"), prefix)
    async with app:
        service = app.get(Service)
        assert [await service.f(), service.g()] == [1, 2]
        later(app)
        with pytest.raises(ProviderUnavailable, match="Authentication"):
            await service.store.get("k")


@asynccontextmanager
async def impostor(answer: bytes, after: int):
    """A server that answers well so many times, and then something else."""
    good = b"$0\r\n\r\n"

    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        count = 0
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                for _ in range(data.count(b"*")):
                    writer.write(good if count < after else answer)
                    count += 1

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400\r\n\r\n", b"\x00\xff\r\n", b"*2\r\n:1\r\n", b":7\r\n"]
)
@pytest.mark.parametrize("after", [0, 3])
async def test_a_server_that_talks_garbage_breaks_no_call(prefix, answer, after):
    """Something else on that port costs a time-out at most, and no wrong answer."""
    async with impostor(answer, after) as url:
        app = app_at(url, prefix, timeout="200 ms", connect_timeout="200 ms")
        async with app:
            service = app.get(Service)
            assert [await service.f(), await service.f()] == [1, 2]
            with pytest.raises(ProviderUnavailable):
                await service.store.set("k", 1)
