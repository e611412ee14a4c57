"""What an app knows about its caches, while threads and collections of garbage come in between."""

from __future__ import annotations

import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from stillfresh import App, Cache, CacheProvider, MemoryCacheProvider, cache
from stillfresh.clock import Clock
from stillfresh.entries.quick import QuickIndex
from stillfresh.providers.guard import Guard
from stillfresh.services.registry import Registry
from stillfresh.sources.ledger import Ledger, ledger_of
from stillfresh.sources.site import Site
from stillfresh.testing import VirtualClock, isolated

if TYPE_CHECKING:
    pass

PATIENCE = 10.0


class Shop:
    def __init__(self, city: str) -> None:
        self.city = city

    @cache
    def price(self, x: int) -> str:
        return f"{x} in {self.city}"


def test_an_instance_may_die_while_readers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A collection of garbage in the middle of an override takes its readers out of the books.

    1. override()   walks through the readers of a method, one for each instance
    2. the garbage  of an instance is collected: its reader leaves
    3. override()   goes on with the others
    """
    with isolated() as app:
        shops = [Shop("Paris"), Shop("Rome"), Shop("Oslo")]
        assert [shop.price(1) for shop in shops] == ["1 in Paris", "1 in Rome", "1 in Oslo"]
        close = QuickIndex.close

        def collected(self: QuickIndex) -> int:
            if len(shops) == 3:
                del shops[0]
            return close(self)

        monkeypatch.setattr(QuickIndex, "close", collected)
        with app.override(CacheProvider, MemoryCacheProvider()):
            assert len(shops) == 2
            assert [shop.price(1) for shop in shops] == ["1 in Rome", "1 in Oslo"]


def test_who_has_a_name_loses_it_before_its_entries_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Of two functions that have one name in a store, neither is served what the other computed.

    1. the new one   asks for the name, and drops what the old one has left
    2. the old one   is called in another thread: it may not go on as if it still had the name
    3. the new one   is served what is there
    """
    store: Cache[str] = Cache(name="words")

    def word(text: str) -> Any:
        def f() -> str:
            return text

        return store(f)

    with isolated():
        old, new = word("old"), word("new")
        assert old() == old() == "old"
        threads: list[threading.Thread] = []
        clear = Ledger._clear

        def meanwhile(*given: Any) -> None:
            clear(*given)
            if not threads:
                threads.append(threading.Thread(target=old))
                threads[0].start()
                threads[0].join(0.2)  # it either ends at once, or waits for the name

        monkeypatch.setattr(Ledger, "_clear", staticmethod(meanwhile))
        assert new() == "new"
        threads[0].join(PATIENCE)
        assert (new(), old(), new()) == ("new", "old", "new")


async def test_two_apps_on_one_memory_may_start_at_once() -> None:
    """The memory is emptied when the last of its apps stops, not before."""

    class Slow(MemoryCacheProvider):
        """Lets another app start in the middle of its start."""

        between = 0

        async def stop(self) -> None:
            if Slow.between == 1:  # pragma: no cover  # only a start that stops comes here
                Slow.between = 2
                await self.start(Clock())
            await super().stop()

    memory = Slow()
    await memory.start(Clock())
    await memory.stop()
    Slow.between = 1
    await memory.start(Clock())
    if Slow.between == 1:
        Slow.between = 0
        await memory.start(Clock())
    await memory.stop()
    assert memory._starts == 1


async def test_a_provider_that_is_asked_for_while_the_app_stops_is_stopped() -> None:
    """A call in a thread that was let in before may still name a provider: it ends with the app."""

    class Late(MemoryCacheProvider):
        """Its end comes while another call makes a provider known."""

        async def stop(self) -> None:
            await super().stop()
            if self is first and ending:
                app.guard(second)

    ending = False
    first, second = Late(), Late()
    app = App(clock=VirtualClock())
    app.provide(CacheProvider, use=lambda: first)
    async with app:
        assert first._starts == 1
        ending = True
    assert (first._starts, second._starts) == (0, 0)
    assert not app.guards


def test_an_app_that_starts_again_knows_no_reader_of_its_former_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A call that was let in before the stop may make a reader after it.

    1. a call      finds that the app runs
    2. the app     stops, and forgets its readers
    3. the call    makes one, with the guard that is about to go
    4. the app     starts again; what its new guard owes, the old one would not know
    """
    at, go = threading.Event(), threading.Event()
    app = App(clock=VirtualClock())
    find, stop = Site.reader, Guard.stop

    @cache
    def f(x: int) -> int:
        return x

    def held(self: Site, place: Any) -> Any:
        if threading.current_thread() is caller:
            at.set()
            assert go.wait(PATIENCE)
        return find(self, place)

    async def late(self: Guard, *, blocking: bool) -> None:
        go.set()
        caller.join(PATIENCE)
        await stop(self, blocking=blocking)

    caller = threading.Thread(target=f, args=(5,))
    monkeypatch.setattr(Site, "reader", held)
    with app:
        caller.start()
        assert at.wait(PATIENCE)
        monkeypatch.setattr(Guard, "stop", late)
    monkeypatch.setattr(Guard, "stop", stop)
    assert ledger_of(app).regions()  # it has made one
    with app:
        f(1)
        assert [region.guard for region in ledger_of(app).regions()] == app.guards


async def test_a_response_of_what_was_overridden_has_no_short_way() -> None:
    """
    A request that had its reader before an override offers nothing to those who come after it.

    1. a request    has found its reader, and is about to read
    2. override()   replaces the provider, and returns
    3. the request  hits what the old one has
    4. clear()      drops what the new one has
    5. a request    computes
    """
    httpx = pytest.importorskip("httpx")
    from stillfresh import HttpCache, action
    from stillfresh.http.engine.reading import Readings

    source = 1

    class Api:
        @action("/page", cache=HttpCache("1 hour", public=True))
        async def page(self) -> int:
            return source

    app = App(Api)
    read = Readings.read

    async with (
        app,
        AsyncExitStack() as stack,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client,
    ):

        async def meanwhile(self: Readings, *given: Any) -> Any:
            Readings.read = read  # type: ignore[method-assign]
            stack.enter_context(app.override(CacheProvider, MemoryCacheProvider()))
            return await read(self, *given)

        assert (await client.get("/page")).text == "1"
        Readings.read = meanwhile  # type: ignore[method-assign]
        try:
            assert (await client.get("/page")).text == "1"
        finally:
            Readings.read = read  # type: ignore[method-assign]
        source = 2
        await app.get(Api).page.clear()
        assert (await client.get("/page")).text == "2"


def test_what_the_default_app_computed_meanwhile_is_not_served_after_an_app(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    When an app stops, the default app serves unbound functions again, and has nothing old.

    1. a call    knows that it is for the default app
    2. an app    starts: what the default one has is dropped
    3. the call  computes, and stores it there
    4. f.invalidate() returns: it was for the app that runs
    5. the app   stops; a call at any step of that computes
    """
    source, at, go = 1, threading.Event(), threading.Event()
    find, forget = Site.reader, Registry.forget_running
    got: list[int] = []

    @cache
    def f() -> int:
        return source

    def held(self: Site, place: Any) -> Any:
        if threading.current_thread() is caller:
            at.set()
            assert go.wait(PATIENCE)
        return find(self, place)

    def watched(self: Registry[Any], app: Any) -> None:
        forget(self, app)
        thread = threading.Thread(target=lambda: got.append(f()))
        thread.start()
        thread.join(PATIENCE)

    with isolated():
        caller = threading.Thread(target=f)
        monkeypatch.setattr(Site, "reader", held)
        caller.start()
        assert at.wait(PATIENCE)
        with App(clock=VirtualClock()):
            go.set()
            caller.join(PATIENCE)
            source = 2
            f.invalidate()
            monkeypatch.setattr(Registry, "forget_running", watched)
        assert (got, f()) == ([2], 2)


def test_what_a_provider_has_not_kept_is_in_no_short_cut() -> None:
    """A provider with another clock may find that a new entry is over: then nobody serves it."""
    memory, source = MemoryCacheProvider(), 1

    @cache(provider=memory)
    def f() -> int:
        return source

    with isolated():
        f()
        with isolated() as other:
            f()
            other.advance("1000 days")
        assert f() == f() == 1
        source = 2
        f.invalidate()
        assert f() == 2


def test_an_override_that_is_interrupted_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that raises while all are told leaves the old service in its place."""

    def interrupted() -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with isolated() as app:
        before = app.get(CacheProvider)
        monkeypatch.setattr("stillfresh.sources.ledger.disconnect_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            app.override(CacheProvider, MemoryCacheProvider()).__enter__()
        assert app.get(CacheProvider) is before


def test_two_listeners_that_come_at_once_are_both_heard() -> None:
    """Threads that call `app.on` in the same moment do not overwrite each other."""
    heard: list[str] = []
    with isolated() as app:
        ends: list[Any] = []
        begin = threading.Barrier(8)

        def add(name: str) -> None:
            begin.wait(PATIENCE)
            ends.extend(app.on("miss", lambda _: heard.append(name)) for _ in range(200))

        threads = [threading.Thread(target=add, args=(str(n),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        Shop("Riga").price(1)
        assert len(heard) == 1_600
        for end in ends:
            end()
        Shop("Riga").price(2)
        assert len(heard) == 1_600
