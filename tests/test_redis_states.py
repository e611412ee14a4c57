"""Every way in which a server can be there and not answer as it should: the same for the app."""

from __future__ import annotations

import asyncio
import logging
import signal
import statistics
import threading
import time

import pytest
import redis

from stillfresh import App, Cache, CacheProvider, ProviderUnavailable, RedisCacheProvider, cache
from stillfresh.testing import VirtualClock


class Service:
    store = Cache[int](name="store")

    def __init__(self) -> None:
        self.calls = 0
        self.inside = self.most = 0

    @cache(name="f", tags=["t"])
    async def f(self, key: int) -> int:
        self.calls += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.005)
        self.inside -= 1
        return key

    @cache(name="g")
    def g(self, key: int) -> int:
        self.calls += 1
        return key


class State:
    """Something that is wrong with a server, and how it ends."""

    def __init__(self, server) -> None:
        self.server = server
        self.raw = redis.Redis.from_url(server.url)
        self.threads: list[threading.Thread] = []

    def hang(self) -> None:
        self.server.signal(signal.SIGSTOP)

    def end_hang(self) -> None:
        self.server.signal(signal.SIGCONT)

    def pause(self) -> None:
        self.raw.execute_command("CLIENT", "PAUSE", 2_500, "ALL")

    def end_pause(self) -> None:
        with redis.Redis.from_url(self.server.url, socket_timeout=20) as raw:
            raw.ping()  # it ends by itself; who would end it waits, too

    def password(self) -> None:
        self.raw.config_set("requirepass", "another")
        self.raw.client_kill_filter(_type="normal", skipme=True)

    def end_password(self) -> None:
        self.raw.config_set("requirepass", "")

    def replica(self) -> None:
        self.raw.execute_command("REPLICAOF", "127.0.0.1", "1")

    def end_replica(self) -> None:
        self.raw.execute_command("REPLICAOF", "NO", "ONE")

    def busy(self) -> None:
        self.raw.config_set("busy-reply-threshold", 1)

        def run() -> None:
            with (
                redis.Redis.from_url(self.server.url, socket_timeout=30) as raw,
                pytest.raises(redis.ResponseError),
            ):
                raw.eval("while true do end", 0)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        while True:
            try:
                self.raw.get("x")
            except redis.ResponseError:
                return

    def end_busy(self) -> None:
        self.raw.script_kill()
        for thread in self.threads:
            thread.join(10)

    def loading(self) -> None:
        self.raw.config_set("key-load-delay", 20_000)  # each takes so many microseconds
        for number in range(300):
            self.raw.set(f"filler{number}", "x")
        self.raw.save()
        self.raw.config_set("loading-process-events-interval-bytes", 1024)
        self.thread = threading.Thread(target=self.reload)
        self.thread.start()
        while True:
            try:
                self.raw.get("x")
            except redis.exceptions.BusyLoadingError:
                return

    def reload(self) -> None:
        with redis.Redis.from_url(self.server.url, socket_timeout=30) as raw:
            raw.execute_command("DEBUG", "RELOAD", "NOSAVE")

    def end_loading(self) -> None:
        while True:
            try:
                self.raw.config_set("key-load-delay", 0)
                break
            except redis.exceptions.BusyLoadingError:
                time.sleep(0.01)
        self.thread.join(60)


@pytest.fixture
def state(restartable):
    found = State(restartable(**{"enable-debug-command": "yes"}))
    yield found
    found.raw.close()


@pytest.mark.parametrize("name", ["hang", "pause", "password", "replica", "busy", "loading"])
async def test_whatever_is_wrong_with_the_server(state, prefix, caplog, name):
    """
    Functions answer, one computation for all who ask at once; what is asked by hand raises.

    It costs one time-out, and next to nothing from then on; one log line and one event say so. An
    invalidation is raised, remembered, and carried out before anything is read again. Then all is
    as before, by itself.
    """
    app = App(Service, clock=VirtualClock())
    app.provide(
        CacheProvider,
        lambda: RedisCacheProvider(
            state.server.url, prefix=prefix, timeout="300 ms", connect_timeout="300 ms"
        ),
    )
    told: list[str] = []
    app.on("provider_down", lambda event: told.append(event.kind))
    app.on("provider_up", lambda event: told.append(event.kind))
    caplog.set_level(logging.WARNING, "stillfresh")
    async with app:
        service = app.get(Service)
        for key in range(3):
            assert await service.f(key) == service.g(key) == key
        await service.store.set("k", 1)
        calls = service.calls
        await asyncio.to_thread(getattr(state, name))
        try:
            begin = time.monotonic()
            # A replica still reads what it has: it is known when something is to be written.
            assert set(await asyncio.gather(*(service.f(7) for _ in range(50)))) == {7}
            assert time.monotonic() - begin < 1.5
            assert service.most == 1
            assert service.calls == calls + 1
            with pytest.raises(ProviderUnavailable):
                await service.store.set("k", 2)
            with pytest.raises(ProviderUnavailable):
                await service.store.get("k")
            with pytest.raises(ProviderUnavailable):
                await service.store.incr("n")
            with pytest.raises(ProviderUnavailable):
                await service.f.invalidate(1)
            with pytest.raises(ProviderUnavailable):
                await app.invalidate_tags("u")
            with pytest.raises(ProviderUnavailable):
                service.store.sync.invalidate("*")
            took = []
            for _ in range(30):
                begin = time.perf_counter()
                assert service.g(1) == 1
                took.append(time.perf_counter() - begin)
            assert statistics.median(took) < 0.005
            assert service.calls > calls + 2
            assert told == ["provider_down"]
        finally:
            await asyncio.to_thread(getattr(state, f"end_{name}"))
        app.clock.advance("2 seconds")
        calls = service.calls
        assert await service.f(0) == service.g(0) == 0
        assert service.calls == calls  # kept from before
        assert await service.f(1) == 1
        assert service.calls == calls + 1  # what was owed comes first
        assert await asyncio.to_thread(service.g, 2) == 2
        assert service.calls == calls + 1
        assert await service.store.get("k") is None
        assert told == ["provider_down", "provider_up"]
        assert len([r for r in caplog.records if "does not answer" in r.message]) == 1
        assert len([r for r in caplog.records if "answers again" in r.message]) == 1


async def test_versions_that_were_evicted(restartable, prefix):
    """A version or a fence that has gone reads as dropped: the function computes, and all goes on."""
    server = restartable()
    app = App(Service, clock=VirtualClock()).provide(
        CacheProvider, lambda: RedisCacheProvider(server.url, prefix=prefix)
    )
    async with app:
        service = app.get(Service)
        provider = app.guards[0].provider
        with redis.Redis.from_url(server.url) as raw:
            assert [await service.f(1), await service.f(1)] == [1, 1]
            for kind in ("t", "f"):
                calls = service.calls
                assert raw.delete(*raw.keys(f"{prefix}:{kind}:*"))
                assert [await service.f(1), await service.f(1)] == [1, 1]
                assert service.calls == calls + (kind == "t")
            raw.script_flush()
            calls = service.calls
            await service.f.invalidate(1)
            assert [await service.f(1), await service.f(1)] == [1, 1]
            assert service.calls == calls + 1
            raw.flushall()
            assert [await service.f(1), await service.f(1)] == [1, 1]
            assert service.calls == calls + 2
            assert raw.exists(provider.names.fence("x"))
        assert not app.guards[0].down


async def test_the_first_call_in_any_thread_makes_up_for_what_was_missed(state, prefix):
    """What one loop could not deliver is carried out by whoever comes first: here a thread."""
    app = App(Service, clock=VirtualClock()).provide(
        CacheProvider, lambda: RedisCacheProvider(state.server.url, prefix=prefix, timeout="300 ms")
    )
    async with app:
        service = app.get(Service)
        assert await service.f(1) == service.g(1) == 1
        state.hang()
        try:
            with pytest.raises(ProviderUnavailable):
                await app.invalidate_tags("t")
            with pytest.raises(ProviderUnavailable):
                service.g.invalidate(1)
        finally:
            state.end_hang()
        app.clock.advance("2 seconds")
        calls = service.calls
        assert await asyncio.to_thread(service.g, 1) == 1
        assert service.calls == calls + 1
        assert not app.guards[0].debts
        assert await asyncio.to_thread(asyncio.run, call(service)) == 1
        assert service.calls == calls + 2


async def call(service: Service) -> int:
    return await service.f(1)
