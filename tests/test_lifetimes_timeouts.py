"""Deadlines: of the computation (`timeout`), and of the patience of callers (`soft_timeout`)."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from stillfresh import MISSING, ComputeTimeout, cache
from stillfresh.testing import isolated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stillfresh.testing import IsolatedApp

PATIENCE = 10.0


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


@pytest.fixture
def app() -> Iterator[IsolatedApp]:
    with isolated() as one:
        yield one


class Slow:
    """An async function that stands still when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.entered = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.cancelled = asyncio.Event()
        self.suppress = False

    async def read(self) -> int:
        self.calls += 1
        number = self.calls
        self.entered.set()
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                if not self.suppress:
                    raise
                await self.gate.wait()
        return number

    async def until_called(self, call: Any) -> asyncio.Task[Any]:
        self.entered.clear()
        task = asyncio.ensure_future(call)
        await soon(self.entered.wait())
        return task


async def test_past_the_deadline_callers_get_an_error_and_the_key_is_free(
    app: IsolatedApp,
) -> None:
    """All who wait get `ComputeTimeout`, the task is cancelled, and the next call computes."""
    slow = Slow()
    slow.gate = asyncio.Event()

    @cache(timeout=5)
    async def f() -> int:
        return await slow.read()

    calls = [await slow.until_called(f()), asyncio.create_task(f())]
    await asyncio.sleep(0)
    app.advance(4.9)
    await asyncio.sleep(0)
    assert not calls[0].done()
    app.advance(0.1)
    for call in calls:
        with pytest.raises(ComputeTimeout, match="timeout=5 s; it was cancelled and its key"):
            await soon(call)
    await soon(slow.cancelled.wait())
    slow.gate = None
    assert await soon(f()) == 2
    assert f.stats.misses + f.stats.coalesced == 3


async def test_a_function_that_suppresses_its_cancellation_stores_nothing_later(
    app: IsolatedApp,
) -> None:
    """Its late value is dropped, whether or not a newer one is there by then."""
    slow = Slow()
    slow.gate = gate = asyncio.Event()
    slow.suppress = True

    @cache(timeout=5)
    async def f(n: int) -> int:
        return await slow.read()

    calls = [await slow.until_called(f(n)) for n in (1, 2)]
    app.advance(5)
    for call in calls:
        with pytest.raises(ComputeTimeout):
            await soon(call)
    slow.gate = None
    assert await soon(f(1)) == 3
    gate.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert await f.peek(1) == 3
    assert await f.peek(2) is MISSING


async def test_a_deadline_that_is_kept_ends_with_the_computation(app: IsolatedApp) -> None:
    """Nothing happens to a value that came in time."""
    slow = Slow()

    @cache(timeout=5, ttl=100)
    async def f() -> int:
        return await slow.read()

    assert await f() == 1
    app.advance(50)
    assert await f() == 1


async def test_the_old_value_instead_of_the_error(app: IsolatedApp) -> None:
    """With `stale_if_error` who waits too long gets the old value, and the failure backs off."""
    slow = Slow()

    @cache(timeout=5, ttl=10, stale_if_error="1 hour")
    async def f() -> int:
        return await slow.read()

    await f()
    app.advance(20)
    slow.gate = asyncio.Event()
    call = await slow.until_called(f())
    app.advance(5)
    assert await soon(call) == 1
    assert await soon(f()) == 1  # resting: not tried again at once
    assert slow.calls == 2
    assert f.stats.fallbacks == 2


@pytest.mark.parametrize("ending", ["value", "error"])
async def test_a_late_end_changes_nothing_about_the_back_off(app: IsolatedApp, ending: str) -> None:
    """The deadline is the failure: what the function does after it is no success and no other."""
    slow = Slow()
    slow.suppress = True

    @cache(timeout=5, ttl=10, stale_if_error="1 hour")
    async def f() -> int:
        value = await slow.read()
        if ending == "error" and value == 2:
            raise OSError
        return value

    await f()
    app.advance(20)
    slow.gate = gate = asyncio.Event()
    call = await slow.until_called(f())
    app.advance(5)
    assert await soon(call) == 1
    gate.set()
    for _ in range(10):
        await asyncio.sleep(0)
    slow.gate = None
    assert await soon(f()) == 1  # still resting
    app.advance(1)
    assert await soon(f()) == 3  # and not for longer than the first time


async def test_soft_timeout_serves_the_old_value_and_finishes_behind(app: IsolatedApp) -> None:
    """Callers wait that long, get the old value, and the new one is stored when it comes."""
    slow = Slow()

    @cache(soft_timeout=2, ttl=10, stale_if_error="1 hour")
    async def f() -> int:
        return await slow.read()

    await f()
    app.advance(20)
    slow.gate = asyncio.Event()
    calls = [await slow.until_called(f()), asyncio.create_task(f())]
    await asyncio.sleep(0)
    app.advance(1.9)
    await asyncio.sleep(0)
    assert not any(call.done() for call in calls)
    app.advance(0.1)
    assert await soon(asyncio.gather(*calls)) == [1, 1]
    assert f.stats.fallbacks == 2
    slow.gate.set()
    await soon(app.settled())
    assert await f() == 2
    assert slow.calls == 2


async def test_soft_timeout_without_an_old_value_waits(app: IsolatedApp) -> None:
    """There is nothing to serve: the caller waits for the function."""
    slow = Slow()
    slow.gate = asyncio.Event()

    @cache(soft_timeout=2, stale_if_error="1 hour")
    async def f() -> int:
        return await slow.read()

    call = await slow.until_called(f())
    app.advance(3)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not call.done()
    slow.gate.set()
    assert await soon(call) == 1


async def test_soft_timeout_serves_nothing_that_was_invalidated(app: IsolatedApp) -> None:
    """An invalidation during the wait takes the old value away from who waits as well."""
    slow = Slow()

    @cache(soft_timeout=2, ttl=10, stale_if_error="1 hour")
    async def f() -> int:
        return await slow.read()

    await f()
    app.advance(20)
    slow.gate = asyncio.Event()
    call = await slow.until_called(f())
    await f.invalidate()
    app.advance(2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not call.done()
    slow.gate.set()
    assert await soon(call) == 2
    assert await f.peek() is MISSING


class SlowThread:
    """The same for sync functions."""

    def __init__(self) -> None:
        self.calls = 0
        self.entered = threading.Event()
        self.gate: threading.Event | None = None
        self.ended = threading.Event()

    def read(self) -> int:
        self.calls += 1
        number, gate = self.calls, self.gate
        self.entered.set()
        if gate is not None:
            assert gate.wait(PATIENCE)
            self.ended.set()
        return number

    def while_called(self, function: Any) -> tuple[threading.Thread, list[Any]]:
        got: list[Any] = []
        self.entered.clear()

        def call() -> None:
            try:
                got.append(function())
            except Exception as error:
                got.append(type(error))

        thread = threading.Thread(target=call)
        thread.start()
        assert self.entered.wait(PATIENCE)
        return thread, got


def test_a_sync_function_runs_in_a_worker_and_is_left_there(app: IsolatedApp) -> None:
    """Its caller is told that it runs on; the key is free, and the late result is dropped."""
    slow = SlowThread()
    slow.gate = gate = threading.Event()
    threads: list[str] = []
    told: list[str] = []

    @cache(timeout=5)
    def f() -> int:
        threads.append(threading.current_thread().name)
        return slow.read()

    def call() -> int:
        try:
            return f()
        except ComputeTimeout as error:
            told.append(str(error))
            raise

    thread, got = slow.while_called(call)
    app.advance(5)
    thread.join(PATIENCE)
    assert got == [ComputeTimeout]
    assert "it runs on in its thread, its result will be dropped, and its key is free" in told[0]
    slow.gate = None
    assert f() == 2
    gate.set()
    assert slow.ended.wait(PATIENCE)
    app.sync.settled()
    assert f.peek() == 2
    assert threading.current_thread().name not in threads


def test_soft_timeout_of_a_sync_function(app: IsolatedApp) -> None:
    """The caller gets the old value, the worker finishes behind, and its value is stored."""
    slow = SlowThread()

    @cache(soft_timeout=2, ttl=10, stale_if_error="1 hour")
    def f() -> int:
        return slow.read()

    f()
    app.advance(20)
    slow.gate = gate = threading.Event()
    thread, got = slow.while_called(f)
    app.advance(2)
    thread.join(PATIENCE)
    assert got == [1]
    gate.set()
    app.sync.settled()
    assert f() == 2


def test_stale_of_a_sync_function(app: IsolatedApp) -> None:
    """The old value is served at once, while one refresh runs in a worker thread."""
    slow = SlowThread()

    @cache(ttl=10, stale=20)
    def f() -> int:
        return slow.read()

    f()
    app.advance(15)
    slow.gate = gate = threading.Event()
    slow.entered.clear()
    assert [f(), f(), f()] == [1, 1, 1]
    assert slow.entered.wait(PATIENCE)
    gate.set()
    app.sync.settled()
    assert f() == 2
    assert slow.calls == 2
    assert f.stats.stale == 3


def test_a_loop_that_is_blocked_is_watched_by_others(app: IsolatedApp) -> None:
    """A caller on another loop gets its `ComputeTimeout` although the first loop stands still."""
    entered, go_on = threading.Event(), threading.Event()

    @cache(timeout=5)
    async def f() -> int:
        entered.set()
        assert go_on.wait(PATIENCE)  # as code does that should not be on a loop
        return 1

    got: list[Any] = []

    def call() -> None:
        try:
            got.append(asyncio.run(f()))
        except ComputeTimeout:
            got.append(ComputeTimeout)

    first = threading.Thread(target=call)
    first.start()
    assert entered.wait(PATIENCE)
    second = threading.Thread(target=call)
    second.start()
    flight = next(iter(app.background._running))
    while not flight._callbacks:  # the first caller was woken when the function began
        second.join(0)
    app.advance(5)
    second.join(PATIENCE)
    assert got == [ComputeTimeout]
    go_on.set()
    first.join(PATIENCE)
    assert got == [ComputeTimeout] * 2


async def test_hanging_threads_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many sync computations hang past their timeout, the next call fails at once."""
    monkeypatch.setattr("stillfresh.computing.background.MOST_THREADS", 2)
    go, hanging = threading.Event(), threading.Semaphore(0)

    @cache(timeout="1 second")
    def slow(number: int) -> int:
        hanging.release()
        go.wait(20)
        return number

    with isolated() as app:

        def call(number: int) -> None:
            with pytest.raises(ComputeTimeout):
                slow(number)

        try:
            for number in range(2):
                caller = threading.Thread(target=call, args=(number,))
                caller.start()
                assert hanging.acquire(timeout=10)
                app.advance("2 seconds")
                caller.join()
            with pytest.raises(ComputeTimeout, match="still hang"):
                slow(3)
        finally:
            go.set()
        assert not hanging.acquire(blocking=False)


@pytest.mark.parametrize("late", [False, True])
async def test_what_fails_behind_an_impatient_caller_is_logged(
    app: IsolatedApp, caplog: pytest.LogCaptureFixture, late: bool
) -> None:
    """After soft_timeout nobody waits for the function: a line says that it failed, or was late."""
    fails, gate = False, asyncio.Event()

    @cache(ttl=10, stale_if_error=100, soft_timeout=1, timeout=5, name="f")
    async def f() -> int:
        if fails:
            await gate.wait()
            raise OSError
        return 1

    await f()
    fails = True
    app.advance(15)
    call = asyncio.create_task(f())
    await asyncio.sleep(0)
    app.advance(2)
    assert await soon(call) == 1
    assert not caplog.records
    if late:
        app.advance(5)
    gate.set()
    await soon(app.settled())
    [record] = caplog.records
    told = "f(): a refresh failed: " + ("ComputeTimeout('f() took" if late else "OSError()")
    assert record.getMessage().startswith(told)
