"""One computes, all others wait and get its value; cancelling one of them cancels nobody else."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import traceback
import weakref
from typing import Any

import pytest

from stillfresh import MISSING, App, Cache, ComputeCancelled, cache
from stillfresh.singleflight import Flight
from stillfresh.testing import VirtualClock, isolated

PATIENCE = 10.0


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


def names_in(error: BaseException) -> list[str]:
    return [
        frame.name
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == __file__
    ]


async def computations(besides: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Return the tasks that somebody else made: those in which functions are computed."""
    mine = {asyncio.current_task(), *besides}
    return [task for task in asyncio.all_tasks() if task not in mine]


async def test_a_thousand_callers_and_one_computation() -> None:
    """A thousand calls at a time run the function once, and all get its value."""
    with isolated():
        calls = 0

        @cache
        async def f(n: int) -> list[int]:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0)
            return [n]

        results = await soon(asyncio.gather(*(f(1) for _ in range(1000))))
        assert calls == 1
        assert all(result is results[0] for result in results)
        assert (f.stats.misses, f.stats.coalesced, f.stats.hits) == (1, 999, 0)


async def test_other_arguments_do_not_wait() -> None:
    """A computation that stands still holds up its own key only."""
    with isolated():
        gate = asyncio.Event()

        @cache
        async def f(n: int) -> int:
            if n == 1:
                await gate.wait()
            return n

        slow = asyncio.create_task(f(1))
        assert await soon(f(2)) == 2
        assert not slow.done()
        gate.set()
        assert await soon(slow) == 1


async def raises_deep_inside(n: int) -> int:
    return _the_very_place(n)


def _the_very_place(n: int) -> int:
    raise KeyError(n)


async def test_an_exception_reaches_every_waiter_with_its_traceback() -> None:
    """All waiters get the exception from the place where it was raised; it is not cached."""
    with isolated():
        calls = 0

        @cache
        async def f(n: int) -> int:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0)
            return await raises_deep_inside(n)

        lengths = set()
        for turn in (1, 2):
            tasks = [asyncio.create_task(f(7)) for _ in range(20)]
            for task in tasks:
                with pytest.raises(KeyError) as caught:
                    await soon(task)
                assert names_in(caught.value)[-3:] == ["f", "raises_deep_inside", "_the_very_place"]
                lengths.add(len(names_in(caught.value)))
            assert calls == turn
        assert len(lengths) == 1  # it does not grow from waiter to waiter
        assert await f.peek(7) is MISSING


async def test_an_exception_tells_nobody_what_another_caller_was_handling() -> None:
    """Every waiter raises the same object: it keeps the context that the function gave it."""
    with isolated():
        gate = asyncio.Event()

        @cache
        async def f() -> int:
            await gate.wait()
            try:
                raise LookupError
            except LookupError:
                raise OSError  # noqa: B904  # the context is what this is about

        async def handling() -> int:
            try:
                raise KeyError("of this caller")
            except KeyError:
                return await f()

        waiters = [asyncio.create_task(handling()), asyncio.create_task(f())]
        await asyncio.sleep(0)
        gate.set()
        for error in await asyncio.gather(*waiters, return_exceptions=True):
            assert type(error) is OSError
            assert type(error.__context__) is LookupError


@pytest.mark.parametrize(
    "options", [{}, {"timeout": 5}, {"enabled": False}], ids=["here", "worker", "bypass"]
)
def test_an_exception_of_a_sync_function_keeps_its_traceback(options: dict[str, Any]) -> None:
    """The place where it was raised is seen from a worker thread and past the cache as well."""
    with isolated():

        @cache(**options)
        def f(n: int) -> int:
            return _the_very_place(n)

        with pytest.raises(KeyError) as caught:
            f(1)
        assert names_in(caught.value)[-2:] == ["f", "_the_very_place"]


@pytest.mark.parametrize("options", [{}, {"timeout": 5}], ids=["here", "worker"])
def test_stop_iteration_reaches_the_caller(options: dict[str, Any]) -> None:
    """`StopIteration` of a sync function is an error like any other, and stays what it is."""
    with isolated():

        @cache(**options)
        def f() -> int:
            return next(iter([]))

        with pytest.raises(StopIteration):
            f()
        assert f.stats.misses == 1


def test_fifty_threads_and_one_computation() -> None:
    """Fifty threads that call a sync function at a time run it once."""
    with isolated():
        calls: list[int] = []
        entered, go_on = threading.Event(), threading.Event()

        @cache
        def f(n: int) -> list[int]:
            calls.append(n)
            entered.set()
            assert go_on.wait(PATIENCE)
            return [n]

        got: list[list[int]] = []
        start = threading.Barrier(50)

        def call() -> None:
            start.wait(PATIENCE)
            got.append(f(3))

        threads = [threading.Thread(target=call) for _ in range(50)]
        for thread in threads:
            thread.start()
        assert entered.wait(PATIENCE)
        go_on.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert calls == [3]
        assert len(got) == 50
        assert all(one is got[0] for one in got)
        stats = f.stats
        assert stats.misses == 1
        assert stats.misses + stats.coalesced + stats.hits == 50


def test_two_loops_in_two_threads() -> None:
    """Two event loops of one app compute once, and both get the value."""
    with isolated():
        calls: list[int] = []
        entered, second = threading.Event(), threading.Event()

        @cache
        async def f(n: int) -> list[int]:
            calls.append(n)
            entered.set()
            while not second.is_set():  # noqa: ASYNC110  # a thread sets it
                await asyncio.sleep(0)
            return [n]

        got: list[list[int]] = []

        async def call() -> None:
            got.append(await f(1))

        async def call_later() -> None:
            waiter = asyncio.create_task(call())
            for _ in range(5):
                await asyncio.sleep(0)
            second.set()
            await waiter

        first = threading.Thread(target=asyncio.run, args=(call(),))
        first.start()
        assert entered.wait(PATIENCE)
        other = threading.Thread(target=asyncio.run, args=(call_later(),))
        other.start()
        for thread in (first, other):
            thread.join(PATIENCE)
        assert calls == [1]
        assert got == [[1], [1]]
        assert got[0] is got[1]


def test_a_thread_waits_for_a_loop() -> None:
    """A sync `get_or_set` in a thread waits for the async one of a loop, and gets its value."""
    with isolated():
        store = Cache[str](name="shared")
        entered, joined = threading.Event(), threading.Event()
        got: list[str] = []

        async def factory() -> str:
            entered.set()
            while not joined.is_set():  # noqa: ASYNC110  # a thread sets it
                await asyncio.sleep(0)
            return "of the loop"

        def never() -> str:
            got.append("computed twice")
            return "of the thread"

        loop = threading.Thread(target=asyncio.run, args=(store.get_or_set("k", factory),))
        loop.start()
        assert entered.wait(PATIENCE)
        waiter = threading.Thread(target=lambda: got.append(store.sync.get_or_set("k", never)))
        waiter.start()
        joined.set()
        for thread in (loop, waiter):
            thread.join(PATIENCE)
        assert got == ["of the loop"]


async def test_cancelling_the_first_caller_leaves_the_others_alone() -> None:
    """The one who started the computation goes; the others get the value of that same run."""
    with isolated():
        calls, gate, entered = 0, asyncio.Event(), asyncio.Event()

        @cache
        async def f() -> int:
            nonlocal calls
            calls += 1
            entered.set()
            await gate.wait()
            return calls

        first = asyncio.create_task(f())
        others = [asyncio.create_task(f()) for _ in range(3)]
        await soon(entered.wait())
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(first)
        gate.set()
        assert await soon(asyncio.gather(*others)) == [1, 1, 1]


async def test_without_callers_the_computation_finishes_and_is_stored() -> None:
    """All callers are cancelled; the value is there for the next one."""
    with isolated() as app:
        gate, entered = asyncio.Event(), asyncio.Event()

        @cache
        async def f() -> str:
            entered.set()
            await gate.wait()
            return "done"

        callers = [asyncio.create_task(f()) for _ in range(3)]
        await soon(entered.wait())
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        gate.set()
        await soon(app.settled())
        assert await f.peek() == "done"


@pytest.mark.parametrize("moment", ["before it begins", "while it runs"])
async def test_a_computation_that_is_cancelled_from_outside_is_made_once_more(moment: str) -> None:
    """Waiters that were not cancelled compute again, and get that value."""
    with isolated():
        entered, gate, calls = asyncio.Event(), asyncio.Event(), 0

        @cache
        async def f() -> int:
            nonlocal calls
            calls += 1
            entered.set()
            await gate.wait()
            return calls

        callers = {asyncio.create_task(f()) for _ in range(3)}
        if moment == "while it runs":
            await soon(entered.wait())
        while not (running := await computations(callers)):  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0)
        for task in running:
            task.cancel()
        gate.set()
        results = await soon(asyncio.gather(*callers))
        assert set(results) == {calls}
        assert calls == (2 if moment == "while it runs" else 1)


async def test_a_computation_that_is_cancelled_twice_is_an_error() -> None:
    """After the second time waiters get `ComputeCancelled`; the key is free, and all are counted."""
    with isolated():
        calls, gate = 0, asyncio.Event()
        entered = asyncio.Event()

        @cache
        async def f() -> int:
            nonlocal calls
            calls += 1
            entered.set()
            await gate.wait()
            return calls

        callers = {asyncio.create_task(f()) for _ in range(3)}
        for _ in range(2):
            await soon(entered.wait())
            entered.clear()
            for task in await computations(callers):
                task.cancel()
        results = await soon(asyncio.gather(*callers, return_exceptions=True))
        assert [type(result) for result in results] == [ComputeCancelled] * 3
        assert calls == 2
        gate.set()
        assert await soon(f()) == 3
        assert f.stats.misses + f.stats.coalesced == 4


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
async def test_eager_tasks() -> None:
    """Under the eager task factory a computation may be over before it is known."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    with isolated() as app:

        @cache
        async def f(n: int) -> int:
            return n

        assert [await f(n) for n in (1, 2, 1)] == [1, 2, 1]
        await soon(app.settled())
        assert not app.background._running


async def test_a_miss_leaves_nothing_to_the_garbage_collector() -> None:
    """What a computation was made of ends with it: no circle waits for a collection."""
    with isolated() as app:

        @cache
        async def f(n: int) -> int:
            return n

        await f(0)
        await soon(app.settled())
        gc.collect()
        gc.disable()
        try:
            await f(1)
            await asyncio.sleep(0)  # the task itself is let go of by the loop
            flights = [one for one in gc.get_objects() if isinstance(one, Flight)]
            assert not [one for one in flights if one.namespace == f.cache.name]
        finally:
            gc.enable()


async def test_the_computation_runs_in_a_copy_of_the_first_callers_context() -> None:
    """It sees the context variables of its first caller, and its own changes stay inside."""
    from contextvars import ContextVar

    variable: ContextVar[str] = ContextVar("variable", default="nobody")
    with isolated():

        @cache
        async def f() -> str:
            seen = variable.get()
            variable.set("changed inside")
            return seen

        variable.set("first")
        assert await f() == "first"
        assert variable.get() == "first"


async def test_one_app_serves_one_key_in_one_namespace_only() -> None:
    """Two apps compute the same key each for itself."""
    clock = VirtualClock()

    class Service:
        def __init__(self) -> None:
            self.calls = 0

        @cache
        async def f(self) -> int:
            self.calls += 1
            await asyncio.sleep(0)
            return self.calls

    one, two = App(Service, clock=clock), App(Service, clock=clock)
    async with one, two:
        await asyncio.gather(*(app.get(Service).f() for app in (one, two) for _ in range(5)))
        assert one.get(Service).calls == two.get(Service).calls == 1


async def test_a_task_that_a_function_leaves_behind_keeps_no_value() -> None:
    """It inherits the context of the computation, and not the result."""

    class Value:
        pass

    gate = asyncio.Event()
    left: list[asyncio.Task[bool]] = []

    @cache
    async def make() -> Value:
        left.append(asyncio.create_task(gate.wait()))
        return Value()

    with isolated():
        value = weakref.ref(await make())
        await make.invalidate()
        await asyncio.sleep(0)
        gc.collect()
        assert value() is None
        gate.set()
        assert await left[0]
