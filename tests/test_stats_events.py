"""What happened is told to listeners, and counted."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from stillfresh import App, Cache, CacheProvider, Event, MemoryCacheProvider, cache
from stillfresh.errors import InvalidOption, RecursiveComputation
from stillfresh.testing import ChaosProvider, VirtualClock, isolated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stillfresh.testing import IsolatedApp

READING = ("hit", "stale", "miss", "coalesced", "fallback", "bypass")
CHANGING = ("store", "refused", "invalidate", "evict", "expire", "provider_down", "provider_up")
KINDS = READING + CHANGING
PATIENCE = 10.0


@pytest.fixture
def app() -> Iterator[IsolatedApp]:
    with isolated() as one:
        yield one


def listen(app: App) -> list[tuple[str, str, str | None]]:
    told: list[tuple[str, str, str | None]] = []
    for kind in KINDS:
        app.on(kind, lambda event: told.append((event.kind, event.cache, event.key)))
    return told


async def test_events_of_reading(app: IsolatedApp) -> None:
    """Each way in which a call is served has its event, with cache and key."""
    told = listen(app)
    broken = False

    @cache(name="n", key="k:{n}", ttl=10, stale=10, stale_if_error=100)
    async def f(n: int) -> int:
        await asyncio.sleep(0)
        if broken:
            raise OSError
        return n

    await asyncio.gather(f(1), f(1))
    assert told == [("store", "n", "k:1"), ("miss", "n", "k:1"), ("coalesced", "n", "k:1")]
    told.clear()
    await f(1)
    assert told == [("hit", "n", "k:1")]
    told.clear()
    app.advance(15)
    await f(1)
    assert told == [("stale", "n", "k:1")]
    await app.settled()
    assert told == [("stale", "n", "k:1"), ("store", "n", "k:1")]
    told.clear()
    app.advance(50)
    broken = True
    await f(1)
    assert told == [("fallback", "n", "k:1")]


async def test_events_of_what_was_not_stored(app: IsolatedApp) -> None:
    """A value that an invalidation overtook is `refused`; one that `when` refuses is not told."""
    told = listen(app)
    entered, gate = asyncio.Event(), asyncio.Event()

    @cache(name="n", key="k")
    async def f() -> int:
        entered.set()
        await gate.wait()
        return 1

    @cache(name="w", key="k", when=lambda _: False)
    async def w() -> int:
        return 1

    call = asyncio.create_task(f())
    await asyncio.wait_for(entered.wait(), PATIENCE)
    await f.invalidate()
    gate.set()
    await call
    await w()
    assert told == [
        ("invalidate", "n", "k"),
        ("refused", "n", "k"),
        ("miss", "n", "k"),
        ("miss", "w", "k"),
    ]


async def test_events_of_the_provider_and_of_calls_past_it() -> None:
    """Down and up are told once each; calls in between are `bypass`."""
    clock = VirtualClock()
    chaos = ChaosProvider(MemoryCacheProvider(max_entries=20))
    app = App(clock=clock).provide(CacheProvider, chaos)
    told = listen(app)

    @cache(name="n", key="k:{n}")
    async def f(n: int) -> int:
        return n

    async with app:
        chaos.fail = 1
        await f(1)
        await f(1)
        chaos.fail = 0
        clock.advance("2 seconds")
        await f(1)
    assert told == [
        ("provider_down", "", None),
        ("bypass", "n", "k:1"),
        ("bypass", "n", "k:1"),
        ("provider_up", "", None),
        ("store", "n", "k:1"),
        ("miss", "n", "k:1"),
    ]


async def test_events_of_eviction() -> None:
    """What leaves for want of room is told, once each."""
    app = App(clock=VirtualClock()).provide(CacheProvider, MemoryCacheProvider(max_entries=20))
    told = listen(app)
    store = Cache[int](name="s")
    async with app:
        for n in range(50):
            await store.set(f"k{n}", n)
        left = set(await store.keys())
    evicted = [key for kind, cache_name, key in told if kind == "evict" and cache_name == "s"]
    assert len(evicted) == len(set(evicted)) == 30
    assert not left & set(evicted)


async def test_evictions_are_told_from_when_somebody_listens() -> None:
    """Also to who comes when the app runs; until then nobody pays for a report."""
    app = App().provide(CacheProvider, MemoryCacheProvider(max_entries=10))
    store = Cache[int](name="s")
    async with app:
        for n in range(12):
            await store.set(f"k{n}", n)
        told: list[str | None] = []
        again: list[str | None] = []
        app.on("evict", lambda event: told.append(event.key))
        app.on("evict", lambda event: again.append(event.key))
        for n in range(5):
            await store.set(f"l{n}", n)
        assert len(told) == 5
        assert told == again


async def test_a_call_of_a_stopped_app_is_a_bypass() -> None:
    """It is told like any other."""

    class Service:
        @cache(name="n")
        async def f(self) -> int:
            return 1

    app = App(Service, clock=VirtualClock())
    told = listen(app)
    await app.get(Service).f()
    assert [kind for kind, *_ in told] == ["bypass"]


async def test_a_refresh_is_no_call() -> None:
    """It is counted nowhere: not where it stores, and not where it goes past the cache."""
    on = True

    class Service:
        @cache(enabled=lambda: on)
        async def f(self) -> int:
            return 1

    app = App(Service, clock=VirtualClock())
    told = listen(app)
    f = app.get(Service).f
    before = repr(f.stats)
    await f.refresh()
    async with app:
        on = False
        await f.refresh()
        assert (repr(f.stats), told) == (before, [])
        on = True
        await f.refresh()
        assert [kind for kind, *_ in told] == ["store"]
        assert repr(f.stats) == before.replace("entries=0", "entries=1")


async def test_what_a_store_of_a_stopped_app_is_asked_counts() -> None:
    """Each key is a question, answered or not."""

    class Service:
        store = Cache[int](name="s")

    app = App(Service)
    told = listen(app)
    store = app.get(Service).store
    assert await store.get("a") is None
    assert store.sync.get("a", 1) == 1
    assert not await store.contains("a")
    assert await store.get_many("a", "b") == {}
    assert await store.get_or_set("a", lambda: 1) == 1
    assert (store.stats.bypasses, store.stats.misses) == (6, 0)
    assert told == [("bypass", "s", None)] * 6


async def test_a_broken_listener_breaks_no_call(
    app: IsolatedApp, caplog: pytest.LogCaptureFixture
) -> None:
    """What it raises is logged, and the others are told all the same."""
    told: list[str] = []

    def broken(event: Any) -> None:
        raise ValueError(event.kind)

    app.on("miss", broken)
    app.on("miss", lambda event: told.append(event.kind))

    @cache
    async def f() -> int:
        return 1

    with caplog.at_level(logging.ERROR, "stillfresh"):
        assert await f() == 1
    assert told == ["miss"]
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_an_async_listener_is_refused(app: IsolatedApp) -> None:
    """Nobody would await it, so it fails where it is given."""

    async def listener(_: Event) -> None:
        pass

    with pytest.raises(InvalidOption, match=r"listener .*: expected a plain function.* async"):
        app.on("hit", listener)


def test_a_listener_is_called_in_the_calling_thread_before_the_call_returns(
    app: IsolatedApp,
) -> None:
    """Nobody has to wait to see what a call did."""
    told: list[tuple[str, int]] = []
    for kind in ("miss", "hit", "invalidate"):
        app.on(kind, lambda event: told.append((event.kind, threading.get_ident())))

    @cache
    def f() -> int:
        return 1

    me = threading.get_ident()
    f()
    assert told == [("miss", me)]
    f()
    assert told == [("miss", me), ("hit", me)]
    f.invalidate()
    assert told[-1] == ("invalidate", me)


def test_a_store_is_heard_where_the_function_ran_before_the_call_returns(
    app: IsolatedApp,
) -> None:
    """It belongs to the computation: that of a sync function with a timeout has its own thread."""
    heard: list[tuple[str, int]] = []
    for kind in ("store", "miss"):
        app.on(kind, lambda event: heard.append((event.kind, threading.get_ident())))

    @cache(timeout="1 hour")
    def f() -> int:
        return threading.get_ident()

    assert heard == [("store", f()), ("miss", threading.get_ident())]


async def test_short_cut_hits_are_counted(app: IsolatedApp) -> None:
    """A hit that takes the short cut counts like any other, also after its entry has gone."""

    @cache
    async def f(n: int) -> int:
        return n

    for _ in range(10):
        await f(1)
    assert (f.stats.hits, f.stats.misses) == (9, 1)
    await f.invalidate(1)
    assert (f.stats.hits, f.stats.misses) == (9, 1)
    for _ in range(10):
        await f(1)
    assert (f.stats.hits, f.stats.misses) == (18, 2)


async def test_a_listener_hears_of_hits_that_took_the_short_cut_so_far(app: IsolatedApp) -> None:
    """From `on` to its end each hit is told; all of them are counted."""

    @cache
    async def f(n: int) -> int:
        return n

    for _ in range(3):
        await f(1)
    told: list[str] = []
    remove = app.on("hit", lambda event: told.append(event.kind))
    for _ in range(4):
        await f(1)
    assert told == ["hit"] * 4
    remove()
    for _ in range(5):
        await f(1)
    assert told == ["hit"] * 4
    assert f.stats.hits == 2 + 4 + 5


def test_one_entry_under_two_spellings_counts_each_hit_once(app: IsolatedApp) -> None:
    """Calls that differ and have one key, and functions that share one, count their own hits."""

    @cache(key="u:{uid}")
    def f(uid: int, verbose: bool = False) -> int:
        return uid

    for _ in range(10):
        f(1)
        f(1, verbose=True)
    assert (f.stats.hits, f.stats.misses) == (19, 1)

    store = Cache[int](name="s")

    @store(key="u:{uid}")
    def a(uid: int) -> int:
        return uid

    @store(key="u:{uid}")
    def b(uid: int) -> int:
        return uid

    for _ in range(10):
        a(1)
        b(1)
    assert (a.stats.hits, a.stats.misses) == (9, 1)
    assert (b.stats.hits, b.stats.misses) == (10, 0)


def test_threads_lose_no_counts(app: IsolatedApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """With threads that switch all the time, every call on the long way is counted."""
    import sys

    @cache(vary=lambda: 1)  # no short cut
    def f() -> int:
        return 1

    f()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=lambda: [f() for _ in range(2000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    finally:
        sys.setswitchinterval(before)
    assert f.stats.hits == 8000


def test_an_event_that_does_not_exist(app: IsolatedApp) -> None:
    """The error names a close one."""
    with pytest.raises(InvalidOption, match="'hit'"):
        app.on("hits", print)


async def test_stats_of_a_store(app: IsolatedApp) -> None:
    """`get` counts hits and misses per key; `entries` are those that can be used."""
    store = Cache[int](name="s", ttl=10)
    await store.set_many({"a": 1, "b": 2})
    await store.get_many(["a", "b", "c"])
    stats = store.stats
    assert (stats.hits, stats.misses, stats.entries) == (2, 1, 2)
    app.advance(10)
    assert stats.entries == 0
    assert "hits=2" in repr(stats)


async def test_a_caller_who_was_cancelled_or_refused_was_a_call() -> None:
    """The numbers add up to all calls, also those that got no answer."""
    gate = asyncio.Event()

    @cache
    async def slow(circle: bool) -> int:
        if circle:
            return await slow(circle)
        await gate.wait()
        return 1

    with isolated():
        callers = [asyncio.create_task(slow(False)) for _ in range(3)]
        await asyncio.sleep(0)
        callers[0].cancel()
        callers[1].cancel()
        await asyncio.wait(callers[:2])
        gate.set()
        assert await callers[2] == 1
        with pytest.raises(RecursiveComputation):
            await slow(True)
        stats = slow.stats
        assert (stats.misses, stats.coalesced) == (2, 3)
