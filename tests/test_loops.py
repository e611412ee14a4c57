"""Event loops that end, several of them, foreign ones, and a fork."""

import asyncio
import os
import threading

import pytest
from forking import in_child, many_threads, needs_fork

from stillfresh import (
    App,
    Cache,
    StillfreshError,
    cache,
)
from stillfresh.services.current import default_app
from stillfresh.testing import isolated

PATIENCE = 10


async def until(condition):
    """Let everything else happen until *condition* holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # nobody sets an event for it
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def app():
    """A default app of its own for each test."""
    with isolated() as app:
        yield app


def test_asyncio_run_twice():
    """Entries outlive the loop on which they were computed."""
    calls = []

    @cache
    async def f():
        calls.append(1)
        await asyncio.sleep(0)
        return len(calls)

    assert [asyncio.run(f()), asyncio.run(f())] == [1, 1]


def test_a_sync_call_never_waits_for_a_loop_that_stands_still():
    """It may be this very thread's to run: the call computes itself, settled() says why."""
    store = Cache[str](name="things")
    waits = asyncio.Event()

    async def leaves_something_behind():
        task = asyncio.create_task(store.get_or_set("k", waits.wait))
        await until(lambda: default_app().background._running)
        task.cancel()

    with asyncio.Runner() as runner:
        runner.run(leaves_something_behind())
        assert store.sync.get_or_set("k", lambda: "sync") == "sync"
        with pytest.raises(StillfreshError, match="does not run"):
            default_app().sync.settled()


def test_a_computation_whose_loop_ended_counts_as_absent():
    """The first asyncio.run ends in the middle of it; the second one computes anew."""
    calls = []

    @cache
    async def f():
        calls.append(1)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return len(calls)

    async def leave():
        task = asyncio.create_task(f())
        await until(lambda: calls)
        task.cancel()

    asyncio.run(leave())
    assert asyncio.run(f()) == 2


def test_a_loop_that_was_closed_without_its_tasks():
    """Nobody cancelled what it computed, and still nobody waits for it."""
    calls = []

    @cache
    async def f():
        calls.append(1)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return len(calls)

    loop = asyncio.new_event_loop()
    task = loop.create_task(f())

    async def started():
        await until(lambda: calls)

    loop.run_until_complete(started())
    abandoned = asyncio.all_tasks(loop)
    loop.close()
    assert asyncio.run(f()) == 2
    for one in (task, *abandoned):
        one._log_destroy_pending = False
    del task, abandoned, one


async def test_tasks_that_are_all_cancelled_before_they_ran():
    """A computation that never began leaves no flight behind that others would wait for."""
    calls = []

    @cache
    async def f():
        calls.append(1)
        return 1

    task = asyncio.create_task(f())
    await asyncio.sleep(0)  # it has made its computation, which has not begun
    for one in asyncio.all_tasks() - {asyncio.current_task()}:
        one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(PATIENCE):
        assert await f() == 1
    assert calls == [1]


class InThread:
    """A loop in a thread of its own, told step by step."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def start(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()


@pytest.fixture
def loops():
    """Two loops in two threads."""
    both = InThread(), InThread()
    yield both
    for one in both:
        one.close()


def test_two_loops_in_two_threads_compute_once(loops):
    """A caller on one loop waits for the computation of the other one."""
    began, joined = threading.Event(), threading.Event()
    calls = []

    class Gate:
        """An asyncio event that any thread may set."""

        def __init__(self):
            self.event = asyncio.Event()
            self.loop = asyncio.get_running_loop()

    gates = []

    @cache
    async def f():
        calls.append(asyncio.get_running_loop())
        gates.append(Gate())
        began.set()
        await gates[-1].event.wait()
        return len(calls)

    async def joining():
        task = asyncio.ensure_future(f())
        await asyncio.sleep(0)  # it waits now
        joined.set()
        return await task

    one, two = loops
    first = one.start(f())
    assert began.wait(PATIENCE)
    second = two.start(joining())
    assert joined.wait(PATIENCE)
    gates[0].loop.call_soon_threadsafe(gates[0].event.set)
    assert first.result(PATIENCE) == second.result(PATIENCE) == 1
    assert calls == [one.loop]
    assert f.stats.coalesced == 1


def test_errors_cross_loops(loops):
    """Who waits on another loop gets the exception too."""
    began, joined, fail = threading.Event(), threading.Event(), []

    @cache
    async def f():
        fail.append((asyncio.get_running_loop(), asyncio.Event()))
        began.set()
        await fail[0][1].wait()
        raise KeyError("source")

    async def joining():
        task = asyncio.ensure_future(f())
        await asyncio.sleep(0)
        joined.set()
        return await task

    first = loops[0].start(f())
    assert began.wait(PATIENCE)
    second = loops[1].start(joining())
    assert joined.wait(PATIENCE)
    fail[0][0].call_soon_threadsafe(fail[0][1].set)
    for future in (first, second):
        with pytest.raises(KeyError, match="source"):
            future.result(PATIENCE)
    assert len(fail) == 1


def test_many_threads_with_loops_of_their_own():
    """Each runs asyncio.run; the function runs once."""
    calls = []
    start = threading.Barrier(6)
    results = []

    @cache
    async def f():
        calls.append(1)
        await asyncio.sleep(0)
        return len(calls)

    def run():
        start.wait(PATIENCE)
        results.append(asyncio.run(f()))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [1] * 6
    assert calls == [1]


# Something else than asyncio


def step(coroutine):
    """Drive a coroutine by hand, as a foreign loop would."""
    try:
        return coroutine.send(None)
    except StopIteration as end:
        return end.value
    finally:
        coroutine.close()


def test_a_foreign_loop_gets_a_clear_error():
    """It says that asyncio is needed, and leaves nothing in the way of the next call."""
    calls = []

    @cache
    async def f():
        calls.append(1)
        return 1

    for _ in range(2):
        with pytest.raises(StillfreshError, match=r"asyncio.*trio"):
            step(f())
    with pytest.raises(StillfreshError, match=r"asyncio.*trio"):
        step(f.refresh())
    with pytest.raises(StillfreshError, match=r"asyncio.*trio"):
        step(Cache[int](name="things").get_or_set("k", f))
    assert calls == []
    assert asyncio.run(f()) == 1


def test_a_foreign_loop_may_use_what_does_not_wait():
    """A hit in memory, and changes there, need no loop."""

    @cache
    async def f():
        return 1

    asyncio.run(f())
    assert step(f()) == 1
    step(f.invalidate())
    with pytest.raises(StillfreshError, match="asyncio"):
        step(f())


def test_a_foreign_loop_outside_of_a_running_app_is_no_matter():
    """What passes straight through is the function alone."""

    class Service:
        @cache
        async def f(self):
            return 1

    assert step(App(Service).get(Service).f()) == 1


@needs_fork
@many_threads
def test_use_after_a_fork():
    """The child finds the entries, and does not wait for a computation of the parent."""
    began, gate = threading.Event(), threading.Event()
    parent = os.getpid()

    @cache
    def warm():
        return os.getpid()

    @cache
    def busy():
        if os.getpid() == parent:
            began.set()
            assert gate.wait(PATIENCE)
        return os.getpid()

    assert warm() == parent
    thread = threading.Thread(target=busy)
    thread.start()
    assert began.wait(PATIENCE)
    try:
        in_child(lambda: (warm(), busy()) == (parent, os.getpid()))
    finally:
        gate.set()
        thread.join(PATIENCE)
    assert busy() == parent
