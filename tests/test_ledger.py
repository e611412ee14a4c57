"""What an app knows about its caches, while threads, collections of garbage and forks come in between."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from stillfresh import App, Cache, CacheProvider, MemoryCacheProvider, cache
from stillfresh.clock import Clock
from stillfresh.entries.quick import QuickIndex
from stillfresh.sources import instances, shortcuts
from stillfresh.sources.ledger import Ledger, ledger_of
from stillfresh.testing import VirtualClock, isolated

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def locks() -> Iterator[tuple[str, Any]]:
    """Yield the locks on the way of a call, by the name of who has them."""
    yield "instances", lambda app, f: instances._lock
    yield "short cuts", lambda app, f: shortcuts._shortcuts_lock
    yield "ledger", lambda app, f: ledger_of(app)._lock
    yield "app", lambda app, f: app._guarding
    yield "container", lambda app, f: app._container._lock
    yield "index", lambda app, f: index_of(app)._lock


def index_of(app: App) -> QuickIndex:
    """Return the index of the only function that *app* has answered."""
    (readers,) = ledger_of(app)._readers.values()
    return next(iter(readers.values())).index


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("lock", [pytest.param(find, id=name) for name, find in locks()])
def test_a_fork_while_another_thread_holds_a_lock(lock: Any) -> None:
    """The child finds it free: it computes, stores, is served, and changes its provider."""
    with isolated() as app:

        @cache
        def f(x: int) -> int:
            return x

        f(1)
        f(1)
        held, let_go = threading.Event(), threading.Event()

        def hold() -> None:
            with lock(app, f):
                held.set()
                let_go.wait(PATIENCE)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(PATIENCE)
        child = os.fork()
        if not child:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(PATIENCE))  # ends who waits for ever
            try:
                use(app, f)
                os._exit(0)
            finally:
                os._exit(1)
        let_go.set()
        thread.join(PATIENCE)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def use(app: App, f: Any) -> None:
    """Do what takes each of the locks once."""
    f(2)
    f(2)
    Shop("Bern").price(1)
    with app.override(CacheProvider, MemoryCacheProvider()):
        f(3)
