"""Faults of the provider never break a function call, and lose no invalidation."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from stillfresh import (
    MISSING,
    App,
    Cache,
    CacheProvider,
    MemoryCacheProvider,
    ProviderUnavailable,
    cache,
)
from stillfresh.testing import ChaosProvider, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENCE = 10.0


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


class Stage:
    """An app over a provider with faults, an async function, a sync one, and a store."""

    def __init__(self, inner: CacheProvider | None = None) -> None:
        self.clock = VirtualClock()
        self.chaos = ChaosProvider(inner or MemoryCacheProvider())
        self.app = App(clock=self.clock).provide(CacheProvider, self.chaos)
        self.value = "old"
        self.calls = 0
        self.told: list[str] = []
        for kind in ("provider_down", "provider_up", "store", "refused"):
            self.app.on(kind, lambda event: self.told.append(event.kind))

        @cache(name="faults", key="k:{n}", tags=["t"])
        async def f(n: int) -> str:
            self.calls += 1
            await asyncio.sleep(0)
            return self.value

        @cache(name="sync faults")
        def g(n: int) -> str:
            self.calls += 1
            return self.value

        self.f, self.g = f, g
        self.store = Cache[str | int](name="store")

    async def recover(self) -> None:
        self.chaos.fail = self.chaos.hang = self.chaos.lie = 0
        self.clock.advance("2 seconds")


async def test_a_provider_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """Calls compute, one for all who wait; nothing is stored; one event and one line say so."""
    stage = Stage()
    async with stage.app:
        stage.chaos.fail = 1
        with caplog.at_level(logging.WARNING, "stillfresh"):
            assert await soon(asyncio.gather(*(stage.f(1) for _ in range(50)))) == ["old"] * 50
            assert stage.calls == 1
            assert await soon(stage.f(1)) == "old"
            assert stage.calls == 2
        assert stage.told == ["provider_down"]
        assert len(caplog.records) == 1
        assert "ChaosProvider" in caplog.records[0].getMessage()
        stats = stage.f.stats
        assert (stats.bypasses, stats.coalesced) == (2, 49)
        await stage.recover()
        assert await stage.f.peek(1) is MISSING
        assert stage.told == ["provider_down", "provider_up"]


def test_a_provider_that_fails_for_sync_functions() -> None:
    """The same without a loop."""
    stage = Stage()
    with stage.app:
        stage.chaos.fail = 1
        assert [stage.g(1), stage.g(1)] == ["old", "old"]
        assert stage.calls == 2
        assert stage.told == ["provider_down"]
        stage.chaos.fail = 0
        stage.clock.advance("2 seconds")
        assert [stage.g(1), stage.g(1)] == ["old", "old"]
        assert stage.calls == 3
        assert stage.told == ["provider_down", "provider_up", "store"]


async def test_an_open_breaker_asks_nobody() -> None:
    """For a second after a fault no operation is sent; then one of them tries again."""
    stage = Stage()
    async with stage.app:
        stage.chaos.fail = 1
        await stage.f(1)
        stage.chaos.fail = 0
        await stage.f(1)
        assert stage.calls == 2  # it would answer, but is not asked
        stage.clock.advance("0.5 seconds")
        await stage.f(1)
        assert stage.calls == 3
        stage.clock.advance("0.6 seconds")
        await stage.f(1)
        await stage.f(1)
        assert stage.calls == 4
        assert stage.told == ["provider_down", "provider_up", "store"]


async def test_a_provider_that_hangs() -> None:
    """A call waits for the deadline of the provider once, and then computes."""
    stage = Stage()
    async with stage.app:
        stage.chaos.hang = 1
        call = asyncio.create_task(stage.f(1))
        for _ in range(10):
            await asyncio.sleep(0)
        assert stage.calls == 0
        stage.clock.advance("1 second")
        assert await soon(call) == "old"
        assert await soon(stage.f(1)) == "old"  # the breaker is open: nothing to wait for
        assert stage.told == ["provider_down"]


def test_a_provider_that_hangs_for_sync_functions() -> None:
    """The same in a thread, with the time moved by another one."""
    stage = Stage()
    with stage.app:
        stage.chaos.hang = 1
        over = threading.Event()

        def move() -> None:
            while not over.is_set():
                stage.clock.advance("1 second")

        mover = threading.Thread(target=move)
        mover.start()
        try:
            assert stage.g(1) == "old"
        finally:
            over.set()
            mover.join(PATIENCE)
        assert "provider_down" in stage.told


async def test_a_provider_that_is_slow() -> None:
    """An answer within the deadline is only late: it is stored, found, and nobody complains."""
    stage = Stage()
    async with stage.app:
        stage.chaos.delay = "0.5 seconds"
        call = asyncio.create_task(stage.f(1))
        while not call.done():
            await asyncio.sleep(0)
            stage.clock.advance("0.1 seconds")
        assert await call == "old"
        stage.chaos.delay = None
        assert await stage.f.peek(1) == "old"
        assert stage.told == ["store"]


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
async def test_a_provider_that_lies(share: float) -> None:
    """Reads that answer nothing and stores that never happened cost a computation, no answer."""
    stage = Stage()
    async with stage.app:
        stage.chaos.lie = share
        for _ in range(30):
            assert await soon(stage.f(1)) == "old"
            assert stage.g(1) == "old"
        assert "provider_down" not in stage.told


class Garbage(MemoryCacheProvider):
    """Answers things that are no answers, or breaks like a library does."""

    answer: Any = None

    async def look(self, *_: Any, **__: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    acquire = look
    delete = look

    @property
    def blocking(self) -> Any:
        return self


@pytest.mark.parametrize(
    "answer",
    [b"garbage", 7, "x", TypeError("bad bytes"), ValueError("x"), OSError("gone")],
    ids=repr,
)
async def test_a_provider_that_answers_garbage(answer: object) -> None:
    """Whatever it answers or raises, calls compute, and an invalidation is not taken for done."""
    garbage = Garbage()
    garbage.answer = answer
    app = App(clock=VirtualClock()).provide(CacheProvider, garbage)

    @cache
    async def f() -> int:
        return 1

    @cache
    def g() -> int:
        return 2

    async with app:
        assert await soon(f()) == 1
        assert g() == 2
        if answer != 7:
            with pytest.raises(ProviderUnavailable):
                await f.invalidate()


async def test_a_store_by_hand_tells() -> None:
    """What is asked of a store raises `ProviderUnavailable`; nobody can answer for it."""
    stage = Stage()
    async with stage.app:
        stage.chaos.fail = 1
        store = stage.store
        asked: list[Callable[[], Awaitable[object]]] = [
            lambda: store.get("k"),
            lambda: store.get_many("k"),
            lambda: store.contains("k"),
            lambda: store.keys(),
            lambda: store.set("k", "v"),
            lambda: store.delete("k"),
            lambda: store.invalidate("*"),
            lambda: store.invalidate_tags("t"),
            lambda: store.clear(),
            lambda: store.incr("k"),
            lambda: stage.f.peek(1),
            lambda: stage.f.store("v", 1),
            lambda: stage.f.expire(1),
            lambda: stage.f.invalidate(1),
            lambda: stage.app.invalidate_tags("t"),
        ]
        for ask in asked:
            with pytest.raises(ProviderUnavailable):
                await soon(ask())
        assert await soon(store.get_or_set("k", lambda: "computed")) == "computed"


async def test_a_mistake_of_the_caller_is_no_fault_of_the_provider() -> None:
    """Counting what is no number raises `TypeError`, and the provider is not down."""
    stage = Stage()
    async with stage.app:
        await stage.store.set("k", "text")
        with pytest.raises(TypeError, match="no counter"):
            await stage.store.incr("k")
        assert await stage.store.get("k") == "text"
        assert "provider_down" not in stage.told
