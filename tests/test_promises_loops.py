"""Loops that end, and processes that fork, with a computation in flight."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest
from forking import in_child, many_threads, needs_fork

from stillfresh import App, cache
from stillfresh.testing import VirtualClock, isolated

PATIENCE = 10.0


def leave_in_flight(coroutine: Any, entered: asyncio.Event) -> asyncio.AbstractEventLoop:
    """Start *coroutine* on a loop of its own, and close the loop in the middle of it."""
    loop = asyncio.new_event_loop()

    async def start() -> None:
        task = loop.create_task(coroutine)
        await asyncio.wait_for(entered.wait(), PATIENCE)
        task._log_destroy_pending = False
        for other in asyncio.all_tasks():
            other._log_destroy_pending = False  # it is left behind on purpose

    loop.run_until_complete(start())
    return loop


class Stuck:
    """A cached function whose first run never ends."""

    def __init__(self) -> None:
        self.calls = 0
        self.entered = asyncio.Event()

        @cache
        async def f() -> int:
            self.calls += 1
            if self.calls == 1:
                self.entered.set()
                await asyncio.Event().wait()
            return self.calls

        self.f = f


def test_a_flight_of_a_closed_loop_counts_as_absent() -> None:
    """A computation that was left behind on a closed loop holds nobody up."""
    with isolated():
        stuck = Stuck()
        leave_in_flight(stuck.f(), stuck.entered).close()

        async def again() -> int:
            return await asyncio.wait_for(stuck.f(), PATIENCE)

        assert asyncio.run(again()) == 2
        assert asyncio.run(again()) == 2


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_who_waits_for_a_loop_that_is_closed_computes_itself(kind: str) -> None:
    """A thread, or a loop in a thread, that waits for a flight sees that its loop has gone."""
    with isolated() as app:
        stuck = Stuck()
        store = stuck.f.cache
        key = stuck.f.key()
        loop = leave_in_flight(stuck.f(), stuck.entered)
        got: list[int] = []

        def wait() -> None:
            if kind == "loop":
                got.append(asyncio.run(stuck.f()))
            else:
                got.append(store.sync.get_or_set(key, lambda: 7))

        waiter = threading.Thread(target=wait)
        waiter.start()
        flight = next(iter(app.background._running))
        while not flight._callbacks:  # the waiter has not come to wait yet
            waiter.join(0)
        loop.close()
        waiter.join(PATIENCE)
        assert got == ([2] if kind == "loop" else [7])


def test_one_run_after_another_on_the_same_app() -> None:
    """An app is started, used and stopped under one `asyncio.run` after another."""
    calls: list[int] = []

    @cache
    async def f(n: int) -> int:
        calls.append(n)
        await asyncio.sleep(0)
        return n

    app = App(clock=VirtualClock())

    async def life() -> None:
        async with app:
            assert await asyncio.gather(f(1), f(1)) == [1, 1]

    asyncio.run(life())
    asyncio.run(life())
    assert calls == [1, 1]


def test_one_run_after_another_on_the_default_app() -> None:
    """What one `asyncio.run` stored the next one finds."""
    with isolated():
        calls: list[int] = []

        @cache
        async def f(n: int) -> int:
            calls.append(n)
            return n

        async def life() -> int:
            return await f(1)

        assert [asyncio.run(life()) for _ in range(3)] == [1, 1, 1]
        assert calls == [1]


def test_a_run_that_ends_cancels_its_computations_and_frees_the_key() -> None:
    """`asyncio.run` cancels what is left; the next run computes anew."""
    with isolated():
        stuck = Stuck()

        async def abandon() -> None:
            task = asyncio.create_task(stuck.f())
            await asyncio.wait_for(stuck.entered.wait(), PATIENCE)
            task.cancel()

        asyncio.run(abandon())

        async def again() -> int:
            return await asyncio.wait_for(stuck.f(), PATIENCE)

        assert asyncio.run(again()) == 2


@needs_fork
@many_threads
@pytest.mark.parametrize("options", [{}, {"timeout": 60}], ids=["inline", "worker"])
def test_the_child_of_a_fork_waits_for_nobody_who_stayed_behind(options: dict[str, Any]) -> None:
    """A flight of another thread is the parent's; the child computes, stores, and settles."""
    with isolated() as app:
        entered, go_on = threading.Event(), threading.Event()
        parent = os.getpid()

        @cache(**options)
        def f(n: int) -> str:
            if os.getpid() == parent and n == 1:
                entered.set()
                assert go_on.wait(PATIENCE)
                return "parent"
            return "child"

        got: list[str] = []
        thread = threading.Thread(target=lambda: got.append(f(1)))
        thread.start()
        assert entered.wait(PATIENCE)

        def check() -> bool:
            right = f(1) == "child" and f.peek(1) == "child" and f(2) == "child"
            app.sync.settled()
            return right

        try:
            in_child(check)
        finally:
            go_on.set()
            thread.join(PATIENCE)
        assert got == ["parent"]
        assert f.peek(1) == "parent"


@needs_fork
@many_threads
def test_entries_from_before_the_fork_are_there_in_the_child() -> None:
    """What was stored stays; a change in the child does not reach the parent."""
    with isolated():

        @cache
        def f() -> int:
            return os.getpid()

        before = f()

        def check() -> bool:
            kept = f() == before
            f.invalidate()
            return kept and f() == os.getpid() != before

        in_child(check)
        assert f() == before
