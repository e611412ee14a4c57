"""An invalidation always wins, whatever the provider was about to answer when it happened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from stillfresh import MISSING, App, CacheProvider, MemoryCacheProvider, cache
from stillfresh.entry import Entry
from stillfresh.providers.base import Address, Found
from stillfresh.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATIENCE = 10.0


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


class Gate:
    """A place where one operation stops until it is let through."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await soon(self.open.wait())


class Gated(MemoryCacheProvider):
    """Memory whose operations can be stopped before they happen, and before they answer."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Gate] = {}
        self.after: dict[str, Gate] = {}

    def halt(self, where: str, operation: str) -> Gate:
        gate = getattr(self, where)[operation] = Gate()
        return gate

    async def _gated(self, name: str, operation: Any) -> Any:
        gate = self.before.pop(name, None)
        if gate is not None:
            await gate()
        answer = await operation
        gate = self.after.pop(name, None)
        if gate is not None:
            await gate()
        return answer

    async def look(self, *args: Any) -> Any:
        return await self._gated("look", super().look(*args))

    async def acquire(self, *args: Any, **kwargs: Any) -> Any:
        return await self._gated("acquire", self._copied(super().acquire(*args, **kwargs)))

    async def _copied(self, operation: Any) -> Any:
        """Find what a remote provider finds: a copy, that nobody can make useless."""
        answer = await operation
        if isinstance(answer, Found):
            entry = answer.entry
            return Found(Entry(entry.value, entry.born, entry.windows, entry.tags))
        return answer

    async def store(self, *args: Any) -> Any:
        return await self._gated("store", super().store(*args))

    async def settle(self, *args: Any) -> Any:
        return await self._gated("settle", super().settle(*args))

    async def delete(self, *args: Any) -> Any:
        return await self._gated("delete", super().delete(*args))


class Stage:
    """An app over a gated provider, with one cached function whose source changes."""

    def __init__(self, **options: Any) -> None:
        self.value = "old"
        self.calls = 0
        self.provider = Gated()
        self.compute = Gate()
        self.compute.open.set()
        self.clock = VirtualClock()
        self.app = App(clock=self.clock).provide(CacheProvider, self.provider)

        @cache(**{"key": "k", "name": "races", **options})
        async def f() -> str:
            self.calls += 1
            seen = self.value
            await self.compute()
            return seen

        self.f = f
        self.address = Address("races", "k")

    async def call(self) -> asyncio.Task[str]:
        task = asyncio.create_task(self.f())
        await asyncio.sleep(0)
        return task


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    one = Stage()
    async with one.app:
        yield one


async def test_a_store_that_is_on_its_way_when_the_invalidation_comes(stage: Stage) -> None:
    """A store that was sent before the invalidation and arrives after it writes nothing."""
    gate = stage.provider.halt("before", "store")
    early = await stage.call()
    await soon(gate.reached.wait())
    stage.value = "new"
    await stage.f.invalidate()
    late = await stage.call()
    gate.open.set()
    assert await soon(early) == "old"
    assert await soon(late) == "new"
    assert await stage.f.peek() == "new"


@pytest.mark.parametrize("by", ["this process", "another one"])
async def test_a_store_that_happened_but_has_not_answered(stage: Stage, by: str) -> None:
    """Who comes after the invalidation never joins a computation whose store waits for its answer."""
    gate = stage.provider.halt("after", "store")
    early = await stage.call()
    await soon(gate.reached.wait())
    stage.value = "new"
    if by == "this process":
        await stage.f.invalidate()
    else:
        await stage.provider.delete([stage.address])
    assert await soon(stage.f()) == "new"
    gate.open.set()
    assert await soon(early) == "old"
    assert await stage.f.peek() == "new"


async def test_an_invalidation_between_its_happening_and_its_return(stage: Stage) -> None:
    """A call that starts while the invalidation is answered does not bring the old value back."""
    stage.compute = Gate()
    early = await stage.call()
    await soon(stage.compute.reached.wait())
    stage.value = "new"
    gate = stage.provider.halt("after", "delete")
    invalidation = asyncio.create_task(stage.f.invalidate())
    await soon(gate.reached.wait())
    between = await stage.call()  # joins, since the flight has not left yet
    gate.open.set()
    await soon(invalidation)
    stage.compute.open.set()
    assert await soon(early) == "old"
    await soon(between)
    assert await soon(stage.f()) == "new"
    assert await stage.f.peek() == "new"


@pytest.mark.parametrize("options", [{}, {"when": lambda _: False}], ids=["stored", "settled"])
async def test_an_invalidation_by_another_process_during_the_computation(
    options: dict[str, Any],
) -> None:
    """Who joins after it goes round again, although nobody told the flights of this process."""
    stage = Stage(**options)
    async with stage.app:
        stage.compute = Gate()
        early = await stage.call()
        await soon(stage.compute.reached.wait())
        stage.value = "new"
        await stage.provider.delete([stage.address])
        late = await stage.call()
        stage.compute.open.set()
        assert await soon(early) == "old"
        assert await soon(late) == "new"
        assert stage.calls == 2


async def test_what_another_process_stored_is_found_and_dropped_before_the_answer_is_here(
    stage: Stage,
) -> None:
    """An entry found by `acquire` is for those who came before the question, not for later ones."""
    look = stage.provider.halt("after", "look")
    early = await stage.call()
    await soon(look.reached.wait())
    await stage.f.store("theirs")
    acquire = stage.provider.halt("after", "acquire")
    look.open.set()
    await soon(acquire.reached.wait())
    stage.value = "new"
    await stage.provider.delete([stage.address])
    late = await stage.call()
    acquire.open.set()
    assert await soon(early) == "theirs"
    assert await soon(late) == "new"
    assert stage.calls == 1


async def test_a_read_from_before_the_invalidation_serves_only_its_own_caller() -> None:
    """A slow read that saw the old entry answers who asked, and leaves nothing behind."""
    stage = Stage(key=lambda: "k")  # no short cut
    async with stage.app:
        await stage.f()
        gate = stage.provider.halt("after", "look")
        early = await stage.call()
        await soon(gate.reached.wait())
        stage.value = "new"
        await stage.f.invalidate()
        gate.open.set()
        assert await soon(early) in {"old", "new"}
        for _ in range(3):
            assert await soon(stage.f()) == "new"


async def test_the_short_cut_of_an_entry_that_was_dropped_while_its_caller_was_told(
    stage: Stage,
) -> None:
    """An entry that is dead when its computation ends is not served by the short cut either."""
    gate = stage.provider.halt("after", "store")
    early = await stage.call()
    await soon(gate.reached.wait())
    await stage.provider.delete([stage.address])  # as another process would
    stage.value = "new"
    gate.open.set()
    assert await soon(early) == "old"
    assert await soon(stage.f()) == "new"
    assert await soon(stage.f()) == "new"


async def test_a_lease_from_before_the_stop_stores_nothing_into_the_next_life() -> None:
    """A call that outlives its app leaves no entry for the time after the next start."""
    stage = Stage()
    stage.app = App().provide(
        CacheProvider, stage.provider
    )  # a stopped provider lives in real time
    async with stage.app:
        gate = stage.provider.halt("before", "look")
        early = await stage.call()
        await soon(gate.reached.wait())
    gate.open.set()
    assert await soon(early) == "old"
    stage.value = "new"
    async with stage.app:
        assert await stage.f.peek() is MISSING
        assert await soon(stage.f()) == "new"


async def test_a_slow_store_is_no_late_computation() -> None:
    """A deadline is the function's: one that was kept is kept, also for who waits in a thread."""
    stage = Stage(timeout=5)
    async with stage.app:
        stage.compute = Gate()
        first = await stage.call()
        await soon(stage.compute.reached.wait())
        store = stage.f.cache.sync
        waiter = asyncio.create_task(asyncio.to_thread(store.get_or_set, "k", lambda: "mine"))
        flight = next(iter(stage.app.background._running))
        while len(flight._callbacks) < 2:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0)
        gate = stage.provider.halt("before", "store")
        stage.compute.open.set()
        await soon(gate.reached.wait())
        before = set(flight._callbacks)
        stage.clock.advance(5)
        while set(flight._callbacks) == before and not flight.over:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0)  # until the thread has looked at the time
        gate.open.set()
        assert await soon(first) == "old"
        assert await soon(waiter) == "old"


CHANGES: dict[str, Callable[[Stage], Any]] = {
    "tags": lambda stage: stage.provider.invalidate_tags(None, ["late"]),
    "delete": lambda stage: stage.provider.delete([stage.address]),
    "expire": lambda stage: stage.provider.expire(stage.address),
    "clear": lambda stage: stage.provider.clear("races"),
    "matching": lambda stage: stage.provider.invalidate_matching("races", "k"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_every_change_ends_the_lease(change: Callable[[Stage], Any]) -> None:
    """Whatever another process does to the key, the value computed meanwhile is not stored."""
    stage = Stage(tags=lambda value: ["late"])
    async with stage.app:
        stage.compute = Gate()
        early = await stage.call()
        await soon(stage.compute.reached.wait())
        await change(stage)
        stage.compute.open.set()
        assert await soon(early) == "old"
        assert await stage.f.peek() is MISSING
