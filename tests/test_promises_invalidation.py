"""An invalidation always wins: what was being computed when it happened is never served later."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import stillfresh
from stillfresh import MISSING, Cache, cache, computation
from stillfresh.testing import isolated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stillfresh.testing import IsolatedApp

PATIENCE = 10.0
"""Real seconds that nothing here ever takes; a broken promise fails instead of hanging."""


async def soon(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


class Source:
    """A value that changes, and readers of it: the first one stops after it has read."""

    def __init__(self, stops: int = 1) -> None:
        self.value = "old"
        self.calls = 0
        self.stops = stops
        self.reading = asyncio.Event()
        self.go_on = asyncio.Event()

    async def read(self) -> str:
        self.calls += 1
        seen = self.value
        if self.calls == self.stops:
            self.reading.set()
            await self.go_on.wait()
        return seen


class Stage:
    """One cached function over a source, and the app that serves it."""

    def __init__(self, app: IsolatedApp, **options: Any) -> None:
        self.app = app
        self.source = source = Source()

        @cache(**{"key": "k:{n}", "tags": ["all", "one:{n}"], **options})
        async def f(n: int) -> str:
            return await source.read()

        self.f = f

    async def call_too_early(self) -> asyncio.Task[str]:
        early = asyncio.create_task(self.f(1))
        await soon(self.source.reading.wait())
        self.source.value = "new"
        return early


WAYS: dict[str, Callable[[Stage], Awaitable[object]]] = {
    "invalidate": lambda stage: stage.f.invalidate(1),
    "expire": lambda stage: stage.f.expire(1),
    "delete": lambda stage: stage.f.cache.delete("k:1"),
    "set": lambda stage: stage.f.cache.set("k:1", "new"),
    "set_many": lambda stage: stage.f.cache.set_many({"k:1": "new", "k:2": "x"}),
    "store": lambda stage: stage.f.store("new", 1),
    "app.invalidate_tags": lambda stage: stage.app.invalidate_tags("all"),
    "app.invalidate_tags of a template": lambda stage: stage.app.invalidate_tags("one:1"),
    "stillfresh.invalidate_tags": lambda stage: stillfresh.invalidate_tags("other", "all"),
    "cache.invalidate_tags": lambda stage: stage.f.cache.invalidate_tags("one:1"),
    "invalidate_matching": lambda stage: stage.f.invalidate_matching("k:*"),
    "cache.invalidate": lambda stage: stage.f.cache.invalidate("*1"),
    "clear": lambda stage: stage.f.clear(),
    "cache.clear": lambda stage: stage.f.cache.clear(),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@every_way
async def test_a_running_computation_is_not_joined_and_not_stored(
    way: Callable[[Stage], Awaitable[object]],
) -> None:
    """Who calls after the change gets the new value, and the old one never comes back."""
    with isolated() as app:
        stage = Stage(app)
        early = await stage.call_too_early()
        await way(stage)
        assert await soon(stage.f(1)) == "new"  # the early one still stands in the middle
        stage.source.go_on.set()
        assert await soon(early) == "old"  # it came before the change
        await soon(app.settled())
        assert await stage.f.peek(1) == "new"
        assert await soon(stage.f(1)) == "new"
        assert stage.source.calls <= 2


@every_way
async def test_a_computation_that_nobody_asks_again_stores_nothing(
    way: Callable[[Stage], Awaitable[object]],
) -> None:
    """The late result is dropped also when no new computation took its place."""
    with isolated() as app:
        stage = Stage(app)
        early = await stage.call_too_early()
        await way(stage)
        there = await stage.f.peek(1)
        stage.source.go_on.set()
        assert await soon(early) == "old"
        assert await stage.f.peek(1) == there
        assert there in {MISSING, "new"}


@every_way
@pytest.mark.parametrize("window", ["stale", "refresh_ahead"])
async def test_a_background_refresh_loses_as_well(
    way: Callable[[Stage], Awaitable[object]], window: str
) -> None:
    """A refresh behind an answer that was called before the change stores nothing."""
    options = {"stale": {"stale": "1 minute"}, "refresh_ahead": {"refresh_ahead": 0.5}}[window]
    with isolated() as app:
        stage = Stage(app, ttl=10, **options)
        stage.source.stops = 2
        await stage.f(1)
        app.advance(12 if window == "stale" else 6)
        assert await stage.f(1) == "old"
        await soon(stage.source.reading.wait())
        stage.source.value = "new"
        await way(stage)
        await soon(stage.f(1))
        stage.source.go_on.set()
        await soon(app.settled())
        assert await soon(stage.f(1)) == "new"
        assert await stage.f.peek(1) == "new"


@every_way
async def test_refresh_loses_as_well(way: Callable[[Stage], Awaitable[object]]) -> None:
    """`refresh()` returns what it computed, and stores nothing that is older than the change."""
    with isolated() as app:
        stage = Stage(app)
        early = asyncio.create_task(stage.f.refresh(1))
        await soon(stage.source.reading.wait())
        stage.source.value = "new"
        await way(stage)
        assert await soon(stage.f(1)) == "new"
        stage.source.go_on.set()
        assert await soon(early) == "old"
        assert await stage.f.peek(1) == "new"


async def test_refresh_does_not_join_what_began_before_it() -> None:
    """`refresh()` waits for a computation that runs already, and then makes its own."""
    with isolated() as app:
        stage = Stage(app)
        early = await stage.call_too_early()
        refresh = asyncio.create_task(stage.f.refresh(1))
        await asyncio.sleep(0)
        stage.source.go_on.set()
        assert await soon(refresh) == "new"
        assert await soon(early) == "old"
        assert await stage.f.peek(1) == "new"


async def test_a_caller_from_before_may_have_the_old_value_a_later_one_may_not() -> None:
    """Two who joined before the change get the old value, two who came after it share a new one."""
    with isolated() as app:
        stage = Stage(app)
        early = [asyncio.create_task(stage.f(1)) for _ in range(2)]
        await soon(stage.source.reading.wait())
        stage.source.value = "new"
        await stage.f.invalidate(1)
        late = [asyncio.create_task(stage.f(1)) for _ in range(2)]
        assert await soon(asyncio.gather(*late)) == ["new", "new"]
        stage.source.go_on.set()
        assert await soon(asyncio.gather(*early)) == ["old", "old"]
        assert stage.source.calls == 2


async def test_invalidations_one_after_another_each_win() -> None:
    """Every computation that was overtaken is dropped, not only the first one."""
    with isolated():
        gates = [asyncio.Event() for _ in range(3)]
        entered = [asyncio.Event() for _ in range(3)]
        state = {"value": 0, "calls": 0}

        @cache
        async def f() -> int:
            seen, number = state["value"], state["calls"]
            state["calls"] += 1
            if number < 3:
                entered[number].set()
                await gates[number].wait()
            return seen

        tasks = []
        for number in range(3):
            state["value"] = number
            tasks.append(asyncio.create_task(f()))
            await soon(entered[number].wait())
            await f.invalidate()
        for number in reversed(range(3)):
            gates[number].set()
            assert await soon(tasks[number]) == number
            assert await f.peek() is MISSING
        state["value"] = 9
        assert await soon(f()) == 9


@pytest.mark.parametrize("scope", ["app", "cache"])
async def test_tags_that_depend_on_the_value(scope: str) -> None:
    """A callable gives the tags after the computation; dropping one of them during it counts."""
    with isolated() as app:
        stage = Stage(app, tags=lambda value, n: [f"value:{value}"])
        early = await stage.call_too_early()
        drop = app.invalidate_tags if scope == "app" else stage.f.cache.invalidate_tags
        await drop("value:old")
        late = asyncio.create_task(stage.f(1))
        await asyncio.sleep(0)
        stage.source.go_on.set()
        assert await soon(late) == "new"
        assert await soon(early) == "old"
        assert await stage.f.peek(1) == "new"
        await drop("value:new")
        assert await stage.f.peek(1) is MISSING


@pytest.mark.parametrize("when", ["before", "after"])
async def test_tags_that_the_function_adds(when: str) -> None:
    """A tag added by the function counts, whether it was dropped before or after it was added."""
    with isolated() as app:
        source = Source()

        @cache
        async def f() -> str:
            if when == "before":
                computation().tags.add("mine")
            value = await source.read()
            computation().tags.add("mine")
            return value

        early = asyncio.create_task(f())
        await soon(source.reading.wait())
        source.value = "new"
        await app.invalidate_tags("mine")
        late = asyncio.create_task(f())
        await asyncio.sleep(0)
        source.go_on.set()
        assert await soon(late) == "new"
        assert await soon(early) == "old"
        assert await f.peek() == "new"
        await app.invalidate_tags("mine")
        assert await f.peek() is MISSING


async def test_a_tag_of_another_cache_drops_nothing_here() -> None:
    """`cache.invalidate_tags` concerns its own entries; others with the same tag stay."""
    with isolated():

        @cache(tags=["t"])
        async def f() -> int:
            return 1

        @cache(tags=["t"])
        async def g() -> int:
            return 2

        await f()
        await g()
        await f.cache.invalidate_tags("t")
        assert await f.peek() is MISSING
        assert await g.peek() == 2


STORE_WAYS: dict[str, Callable[[Cache[Any], IsolatedApp], Awaitable[object]]] = {
    "delete": lambda store, _: store.delete("k"),
    "set": lambda store, _: store.set("k", "new"),
    "invalidate": lambda store, _: store.invalidate("k*"),
    "invalidate_tags": lambda store, _: store.invalidate_tags("t"),
    "app.invalidate_tags": lambda _, app: app.invalidate_tags("t"),
    "clear": lambda store, _: store.clear(),
}


@pytest.mark.parametrize("way", STORE_WAYS.values(), ids=STORE_WAYS)
async def test_get_or_set_loses_as_well(
    way: Callable[[Cache[Any], IsolatedApp], Awaitable[object]],
) -> None:
    """A factory that runs when its key is changed stores nothing."""
    with isolated() as app:
        store, source = Cache[str](name="store"), Source()
        early = asyncio.create_task(store.get_or_set("k", source.read, tags=["t"]))
        await soon(source.reading.wait())
        source.value = "new"
        await way(store, app)
        assert await soon(store.get_or_set("k", source.read, tags=["t"])) == "new"
        source.go_on.set()
        assert await soon(early) == "old"
        assert await store.get("k") == "new"


async def test_incr_overtakes_a_factory() -> None:
    """A counter that is created while a factory computes its key is not written over."""
    with isolated():
        store = Cache[int](name="counters")
        reading, go_on = asyncio.Event(), asyncio.Event()

        async def factory() -> int:
            reading.set()
            await go_on.wait()
            return 100

        early = asyncio.create_task(store.get_or_set("k", factory))
        await soon(reading.wait())
        assert await store.incr("k") == 1
        go_on.set()
        assert await soon(early) == 100
        assert await store.incr("k") == 2


class InThread:
    """A sync cached function that stops in a thread after it has read its source."""

    def __init__(self) -> None:
        self.value = "old"
        self.calls = 0
        self.reading = threading.Event()
        self.go_on = threading.Event()
        self.got: list[str] = []

        @cache(tags=["t"])
        def f() -> str:
            self.calls += 1
            seen = self.value
            if self.calls == 1:
                self.reading.set()
                assert self.go_on.wait(PATIENCE)
            return seen

        self.f = f
        self.thread = threading.Thread(target=lambda: self.got.append(f()))

    def start(self) -> None:
        self.thread.start()
        assert self.reading.wait(PATIENCE)
        self.value = "new"

    def end(self) -> None:
        self.go_on.set()
        self.thread.join(PATIENCE)
        assert self.got == ["old"]


SYNC_WAYS: dict[str, Callable[[Any, IsolatedApp], object]] = {
    "invalidate": lambda f, _: f.invalidate(),
    "expire": lambda f, _: f.expire(),
    "store": lambda f, _: f.store("new"),
    "delete": lambda f, _: f.cache.sync.delete(f.key()),
    "tags": lambda _, app: app.sync.invalidate_tags("t"),
    "matching": lambda f, _: f.invalidate_matching("*"),
    "clear": lambda f, _: f.clear(),
}


@pytest.mark.parametrize("way", SYNC_WAYS.values(), ids=SYNC_WAYS)
def test_a_computation_in_another_thread_loses(way: Callable[[Any, IsolatedApp], object]) -> None:
    """A change in one thread beats the computation that runs in another one."""
    with isolated() as app:
        stage = InThread()
        stage.start()
        way(stage.f, app)
        assert stage.f() == "new"
        stage.end()
        assert stage.f() == "new"
        assert stage.f.peek() == "new"


@every_way
def test_a_change_from_another_thread_beats_the_loop(
    way: Callable[[Stage], Awaitable[object]],
) -> None:
    """A change on a loop of another thread beats the computation that runs on this one."""
    with isolated() as app:

        async def main() -> None:
            stage = Stage(app)
            early = await stage.call_too_early()

            async def change() -> None:
                await way(stage)

            await soon(asyncio.to_thread(asyncio.run, change()))
            assert await soon(stage.f(1)) == "new"
            stage.source.go_on.set()
            assert await soon(early) == "old"
            assert await stage.f.peek(1) == "new"

        asyncio.run(main())
