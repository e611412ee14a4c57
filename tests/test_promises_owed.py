"""An invalidation that failed holds at once, and is made up for before anything is read."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

import stillfresh
from stillfresh import (
    MISSING,
    App,
    Cache,
    CacheProvider,
    MemoryCacheProvider,
    ProviderUnavailable,
    cache,
)
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address
from stillfresh.testing import ChaosProvider, VirtualClock, isolated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENCE = 10.0


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


class Stage:
    """An app over a provider with faults, and one cached function whose source changes."""

    def __init__(self, inner: CacheProvider | None = None) -> None:
        self.clock = VirtualClock()
        self.chaos = ChaosProvider(inner or MemoryCacheProvider())
        self.app = App(clock=self.clock).provide(CacheProvider, self.chaos)
        self.value = "old"
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

        @cache(name="owed", key="k:{n}", tags=["t"], ttl=None)
        async def f(n: int) -> str:
            seen = self.value
            if self.gate is not None:
                self.entered.set()
                await self.gate.wait()
            return seen

        self.f = f


WAYS: dict[str, Callable[[Stage], Awaitable[object]]] = {
    "invalidate": lambda stage: stage.f.invalidate(1),
    "expire": lambda stage: stage.f.expire(1),
    "delete": lambda stage: stage.f.cache.delete("k:1"),
    "store": lambda stage: stage.f.store("new", 1),
    "app tags": lambda stage: stage.app.invalidate_tags("t"),
    "cache tags": lambda stage: stage.f.cache.invalidate_tags("t"),
    "matching": lambda stage: stage.f.invalidate_matching("k:*"),
    "clear": lambda stage: stage.f.clear(),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@every_way
@pytest.mark.parametrize("fault", ["fail", "lie", "hang"])
async def test_an_invalidation_that_failed(
    way: Callable[[Stage], Awaitable[object]], fault: str
) -> None:
    """It raises, holds in this process at once, and is replayed before its entry is read again."""
    stage = Stage()
    async with stage.app:
        assert await stage.f(1) == "old"
        stage.value = "new"
        setattr(stage.chaos, fault, 1)
        change = asyncio.ensure_future(way(stage))
        for _ in range(5):
            await asyncio.sleep(0)
        stage.clock.advance("1 second")  # what hangs has not answered in time
        with pytest.raises(ProviderUnavailable):
            await soon(change)
        setattr(stage.chaos, fault, 0)
        assert await soon(stage.f(1)) == "new"  # the old entry may still be there, unread
        stage.clock.advance("2 seconds")
        assert await stage.f.peek(1) in {MISSING, "new"}
        assert await soon(stage.f(1)) == "new"


@every_way
async def test_a_computation_that_runs_when_an_invalidation_fails(
    way: Callable[[Stage], Awaitable[object]],
) -> None:
    """Its lease may still hold at the provider; its value is not stored all the same."""
    stage = Stage()
    async with stage.app:
        stage.gate = gate = asyncio.Event()
        early = asyncio.create_task(stage.f(1))
        await soon(stage.entered.wait())
        stage.value, stage.gate = "new", None
        stage.chaos.fail = 1
        with pytest.raises(ProviderUnavailable):
            await way(stage)
        stage.chaos.fail = 0
        assert await soon(stage.f(1)) == "new"
        stage.clock.advance("2 seconds")  # the store of the early one may be what tries again
        gate.set()
        assert await soon(early) == "old"
        assert await soon(stage.f(1)) == "new"
        assert await stage.f.peek(1) == "new"


def test_an_invalidation_of_a_sync_function_that_failed() -> None:
    """The same in a thread."""
    stage = Stage()

    @cache
    def g() -> str:
        return stage.value

    with stage.app:
        assert g() == "old"
        stage.value, stage.chaos.fail = "new", 1
        with pytest.raises(ProviderUnavailable):
            g.invalidate()
        stage.chaos.fail = 0
        assert g() == "new"
        stage.clock.advance("2 seconds")
        assert g.peek() is MISSING
        assert g() == "new"


async def test_a_replay_that_fails_again_is_tried_again() -> None:
    """Nothing is read before every remembered change was carried out."""
    stage = Stage()
    async with stage.app:
        await stage.f(1)
        await stage.f(2)
        stage.value, stage.chaos.fail = "new", 1
        for n in (1, 2):
            with pytest.raises(ProviderUnavailable):
                await stage.f.invalidate(n)
        for _ in range(3):
            stage.clock.advance("2 seconds")
            assert await soon(stage.f(1)) == "new"
        stage.chaos.fail = 0
        stage.clock.advance("2 seconds")
        assert await stage.f.peek(1) is MISSING
        assert await stage.f.peek(2) is MISSING


async def test_a_cancelled_invalidation_is_remembered() -> None:
    """Nobody knows how far it came when its caller was cancelled."""
    stage = Stage()
    async with stage.app:
        await stage.f(1)
        stage.value, stage.chaos.hang = "new", 1
        change = asyncio.create_task(stage.f.invalidate(1))
        for _ in range(5):
            await asyncio.sleep(0)
        change.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(change)
        stage.chaos.hang = 0
        assert await soon(stage.f(1)) == "new"
        assert await stage.f.peek(1) == "new"  # it was carried out before that call read


@pytest.mark.parametrize("then", ["it answers", "it fails"])
async def test_a_cancelled_change_is_no_fault_of_the_provider(
    then: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is told that it is down, before it is; and that it answers again, once each."""
    stage = Stage()
    told: list[str] = []
    for kind in ("provider_down", "provider_up"):
        stage.app.on(kind, lambda event: told.append(event.kind))
    async with stage.app:
        await stage.f(1)
        stage.value, stage.chaos.hang = "new", 1
        change = asyncio.create_task(stage.f.invalidate(1))
        for _ in range(5):
            await asyncio.sleep(0)
        change.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(change)
        stage.chaos.hang = 0
        if then == "it fails":
            stage.chaos.fail = 1
            assert [await soon(stage.f(1)), await soon(stage.f(1))] == ["new", "new"]
            assert told == ["provider_down"]
            stage.chaos.fail = 0
            stage.clock.advance("2 seconds")
        assert await soon(stage.f(1)) == "new"
        assert await stage.f.peek(1) == "new"
    both = ["provider_down", "provider_up"] if then == "it fails" else []
    assert (told, len(caplog.records)) == (both, len(both))


async def test_who_is_cancelled_while_it_makes_up_for_another_is_no_fault_either() -> None:
    """Its own change was not sent, and is owed with the other one; nobody is told anything."""
    stage = Stage()
    down: list[object] = []
    stage.app.on("provider_down", down.append)
    async with stage.app:
        await stage.f(1)
        await stage.f(2)
        stage.value, stage.chaos.hang = "new", 1
        for n in (1, 2):
            change = asyncio.create_task(stage.f.invalidate(n))
            for _ in range(5):
                await asyncio.sleep(0)
            change.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(change)
        stage.chaos.hang = 0
        with pytest.raises(ProviderUnavailable, match="is owed a change"):
            await stage.f.peek(1)  # the second one has just tried
        stage.clock.advance("2 seconds")
        assert await stage.f.peek(1) is MISSING
        assert await stage.f.peek(2) is MISSING
    assert down == []


class Picky(MemoryCacheProvider):
    """It refuses to clear some namespaces."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = {"first", "second"}
        self.cleared: list[str] = []

    async def clear(self, namespace: str) -> None:
        if namespace in self.refused:
            raise OSError
        self.cleared.append(namespace)


async def test_a_change_that_fails_after_a_replay_is_remembered_itself() -> None:
    """Whoever tries again carries out what is owed, fails, and is owed in its place."""
    picky = Picky()
    first, second = Cache[int](name="first"), Cache[int](name="second")
    clock = VirtualClock()
    async with App(clock=clock).provide(CacheProvider, picky):
        with pytest.raises(ProviderUnavailable):
            await first.clear()
        picky.refused = {"second"}
        clock.advance("2 seconds")
        with pytest.raises(ProviderUnavailable):
            await second.clear()
        assert picky.cleared == ["first"]
        picky.refused = set()
        clock.advance("2 seconds")
        assert await first.get("k") is None
    assert picky.cleared == ["first", "second"]


class Slow(MemoryCacheProvider):
    """It stands still at the third change that is carried out again, the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.carried: list[object] = []
        self.still = asyncio.Event()

    async def clear(self, namespace: str) -> None:
        self.carried.append(namespace)
        if len(self.carried) == 3:
            self.still.set()
            await asyncio.Event().wait()
        await super().clear(namespace)


async def test_a_long_replay_goes_on_where_a_caller_gave_up() -> None:
    """Callers who do not wait for all of a replay do not begin it again, each for himself."""
    slow = Slow()
    stage = Stage(slow)
    async with stage.app:
        await stage.f(1)
        stage.chaos.fail = 1.0
        caches = [Cache[int](name=f"c{n}") for n in range(5)]
        for one in caches:
            with pytest.raises(ProviderUnavailable):
                await one.clear()
        stage.chaos.fail = 0.0
        stage.clock.advance("2 seconds")
        reading = asyncio.create_task(stage.f.peek(1))
        await soon(slow.still.wait())
        reading.cancel()
        await asyncio.wait([reading])
        stage.clock.advance("2 seconds")
        assert await soon(stage.f.peek(1)) == "old"
    assert slow.carried == ["c0", "c1", "c2", "c2", "c3", "c4"]


class Stops(MemoryCacheProvider):
    """Memory whose next read stops before it happens."""

    def __init__(self) -> None:
        super().__init__()
        self.armed = False
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def look(self, address: Address) -> Any:
        if self.armed:
            self.armed = False
            self.reached.set()
            await self.go_on.wait()
        return await super().look(address)


async def test_a_change_that_is_owed_again_while_it_is_replayed() -> None:
    """The one that tries again pays for what it carried out, not for what came after that."""
    inner = Stops()
    stage = Stage(inner)
    async with stage.app:
        await stage.f(1)
        stage.chaos.fail = 1
        with pytest.raises(ProviderUnavailable):
            await stage.f.invalidate(1)
        stage.chaos.fail = 0
        stage.clock.advance("2 seconds")
        inner.armed = True
        retry = asyncio.create_task(stage.f.peek(2))  # replays the change, then reads
        await soon(inner.reached.wait())
        # Another process stores what this one is about to drop once more.
        theirs = Entry("theirs", stage.clock.now(), Windows(60.0))
        await inner.put([(Address("owed", "k:1"), theirs)])
        with pytest.raises(ProviderUnavailable):  # the breaker is open: not even sent
            await stage.f.invalidate(1)
        inner.go_on.set()
        await soon(retry)
        stage.clock.advance("2 seconds")
        assert await stage.f.peek(1) is MISSING


async def test_more_than_can_be_remembered_one_by_one() -> None:
    """Beyond ten thousand, whole namespaces are dropped instead: more than was asked, never less."""
    stage = Stage()
    store = Cache[int](name="many", ttl=None)
    other = Cache[int](name="other", ttl=None)
    count = 10_050
    async with stage.app:
        inner = stage.chaos.inner
        for n in (0, 1, count - 1, count):
            await store.set(f"k{n}", n)
        await other.set("stays", 1)
        await other.set("tagged", 1, tags=["late"])
        stage.chaos.fail = 1
        for n in range(count):
            with pytest.raises(ProviderUnavailable):
                await store.delete(f"k{n}")
        with pytest.raises(ProviderUnavailable):
            await stage.app.invalidate_tags("late")
        stage.chaos.fail = 0
        stage.clock.advance("2 seconds")
        assert await store.get("k0") is None
        assert await store.get("k1") is None
        assert await store.get(f"k{count - 1}") is None
        assert await other.get("tagged") is None
        assert await other.get("stays") == 1
        assert not stage.app.guards[0].debts
        assert inner.count("many") <= 1


async def test_module_level_tags_reach_every_app_although_one_fails() -> None:
    """`invalidate_tags` tells of the app that failed after it has asked all of them."""
    clock = VirtualClock()

    class Service:
        value = "old"

        @cache(tags=["t"])
        async def f(self) -> str:
            return self.value

    with isolated() as default:
        chaos = ChaosProvider(MemoryCacheProvider())
        broken = App(Service, clock=clock).provide(CacheProvider, chaos)
        sound = [App(Service, clock=clock) for _ in range(2)]
        async with sound[0], broken, sound[1]:
            for app in (*sound, broken):
                assert await app.get(Service).f() == "old"
            chaos.fail = 1
            with pytest.raises(ProviderUnavailable):
                await stillfresh.invalidate_tags("t")
            for app in sound:
                assert await app.get(Service).f.peek() is MISSING
            await sound[0].get(Service).f()
            with pytest.raises(ProviderUnavailable):
                await asyncio.to_thread(stillfresh.sync.invalidate_tags, "t")
            assert await sound[0].get(Service).f.peek() is MISSING
        assert default.running


def test_a_failed_invalidation_of_one_thread_holds_in_all() -> None:
    """Once it has raised in one thread, no other thread reads the old entry."""
    stage = Stage()

    @cache
    def g() -> str:
        return stage.value

    with stage.app:
        g()
        stage.value, stage.chaos.fail = "new", 1
        with pytest.raises(ProviderUnavailable):
            g.invalidate()
        stage.chaos.fail = 0
        got: list[str] = []
        threads = [threading.Thread(target=lambda: got.append(g())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert got == ["new"] * 8


@pytest.mark.parametrize("begins", ["before", "after"])
async def test_what_one_app_owes_all_owe_that_have_the_same_entries(begins: str) -> None:
    """
    Another app of the process does not read what the first one dropped in vain.

    1. app A   invalidates; the provider does not answer; the call raises
    2. app B   has the same entries, and a provider that answers, or starts only now
    """
    memory, clock = MemoryCacheProvider(), VirtualClock()

    class Service:
        value = "old"

        @cache(name="shared", key="k", ttl=None)
        async def f(self) -> str:
            return self.value

    chaos = ChaosProvider(memory)
    first = App(Service, clock=clock).provide(CacheProvider, chaos)
    second = App(Service, clock=clock).provide(CacheProvider, memory)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(first)
        if begins == "before":
            await stack.enter_async_context(second)
            assert await second.get(Service).f() == "old"
        a = first.get(Service)
        assert await a.f() == "old"
        Service.value, chaos.fail = "new", 1
        with pytest.raises(ProviderUnavailable):
            await a.f.invalidate()
        if begins == "after":
            await stack.enter_async_context(second)
        assert [await second.get(Service).f() for _ in range(3)] == ["new"] * 3
        chaos.fail = 0
        clock.advance("2 seconds")
        assert [await a.f(), await second.get(Service).f()] == ["new"] * 2
        assert not [guard for app in (first, second) for guard in app.guards if guard.debts]


def test_a_change_that_was_interrupted_on_memory_holds_for_the_short_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is served without a look at any guard is so no more while something is owed."""
    value = "old"

    @cache
    def g() -> str:
        return value

    async def interrupted(self: MemoryCacheProvider, addresses: object) -> int:
        raise KeyboardInterrupt

    with isolated():
        assert g() == g() == "old"
        value = "new"
        with monkeypatch.context() as broken:
            broken.setattr(MemoryCacheProvider, "delete", interrupted)
            with pytest.raises(KeyboardInterrupt):
                g.invalidate()
        assert g() == g() == "new"
