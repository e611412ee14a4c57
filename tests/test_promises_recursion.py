"""A function that waits for itself gets `RecursiveComputation`; nobody else does."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from stillfresh import MISSING, Cache, RecursiveComputation, cache
from stillfresh.testing import isolated

PATIENCE = 10.0


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


async def test_a_function_that_waits_for_itself() -> None:
    """The inner call raises, and so does the outer one; the key is free afterwards."""
    with isolated():
        again = True

        @cache
        async def f() -> int:
            return await f() if again else 1

        with pytest.raises(RecursiveComputation, match="waits for itself"):
            await soon(f())
        assert await f.peek() is MISSING
        again = False
        assert await soon(f()) == 1


def test_a_sync_function_that_waits_for_itself() -> None:
    """The same in a thread, which would block for ever."""
    with isolated():

        @cache
        def f() -> int:
            return f()

        with pytest.raises(RecursiveComputation):
            f()


def test_a_sync_function_in_a_worker_thread_that_waits_for_itself() -> None:
    """The context goes along into the worker thread, so it is seen there as well."""
    with isolated():

        @cache(timeout=60)
        def f() -> int:
            return f()

        with pytest.raises(RecursiveComputation):
            f()


async def test_a_circle_through_another_function() -> None:
    """F waits for G and G for F: the one who closes the circle is told, and both callers."""
    with isolated():

        @cache
        async def f(n: int) -> int:
            return await g(n)

        @cache
        async def g(n: int) -> int:
            return await f(n)

        with pytest.raises(RecursiveComputation):
            await soon(f(1))
        with pytest.raises(RecursiveComputation):
            await soon(g(1))


def test_a_sync_circle_through_two_others() -> None:
    """f, g and h in a circle in one thread."""
    with isolated():

        @cache
        def f() -> int:
            return g()

        @cache
        def g() -> int:
            return h()

        @cache
        def h() -> int:
            return f()

        with pytest.raises(RecursiveComputation):
            f()


async def test_two_tasks_that_wait_for_each_other() -> None:
    """Each computes one of two functions and then wants the other: no deadlock."""
    with isolated():
        entered = {"f": asyncio.Event(), "g": asyncio.Event()}

        @cache
        async def f() -> int:
            entered["f"].set()
            await entered["g"].wait()
            return await g()

        @cache
        async def g() -> int:
            entered["g"].set()
            await entered["f"].wait()
            return await f()

        results = await soon(asyncio.gather(f(), g(), return_exceptions=True))
        assert [type(result) for result in results] == [RecursiveComputation] * 2


def test_two_threads_that_wait_for_each_other() -> None:
    """The same with two threads and sync functions."""
    with isolated():
        both = threading.Barrier(2)

        @cache
        def f() -> int:
            both.wait(PATIENCE)
            return g()

        @cache
        def g() -> int:
            both.wait(PATIENCE)
            return f()

        got: list[type] = []

        def call(function: Any) -> None:
            try:
                function()
            except Exception as error:
                got.append(type(error))

        threads = [threading.Thread(target=call, args=(one,)) for one in (f, g)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert got == [RecursiveComputation] * 2


def test_two_loops_that_wait_for_each_other() -> None:
    """The same with two event loops in two threads."""
    with isolated():
        entered = {"f": threading.Event(), "g": threading.Event()}

        async def meet(mine: str, other: str) -> None:
            entered[mine].set()
            while not entered[other].is_set():  # noqa: ASYNC110  # a thread sets it
                await asyncio.sleep(0)

        @cache
        async def f() -> int:
            await meet("f", "g")
            return await g()

        @cache
        async def g() -> int:
            await meet("g", "f")
            return await f()

        got: list[type] = []

        def call(function: Any) -> None:
            try:
                asyncio.run(soon(function()))
            except Exception as error:
                got.append(type(error))

        threads = [threading.Thread(target=call, args=(one,)) for one in (f, g)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert got == [RecursiveComputation] * 2


async def test_a_circle_through_gather() -> None:
    """Tasks that a function makes and waits for are part of its computation."""
    with isolated():

        @cache
        async def f() -> list[int]:
            return list(await asyncio.gather(g(1), g(2)))

        @cache
        async def g(n: int) -> int:
            return (await f())[0] if n == 2 else n

        with pytest.raises(RecursiveComputation):
            await soon(f())


async def test_a_circle_through_get_or_set() -> None:
    """Factories of a store are computations as well."""
    with isolated():
        store = Cache[int](name="store")

        @cache
        async def f() -> int:
            return await store.get_or_set("k", f)

        with pytest.raises(RecursiveComputation):
            await soon(f())
        with pytest.raises(RecursiveComputation):
            await soon(store.get_or_set("a", lambda: store.get_or_set("a", f)))


async def test_a_circle_through_refresh() -> None:
    """A function that refreshes itself waits for itself."""
    with isolated():

        @cache
        async def f() -> int:
            return await f.refresh()

        with pytest.raises(RecursiveComputation):
            await soon(f())


def test_other_arguments_are_no_circle() -> None:
    """A recursive function on smaller arguments is what caches are for."""
    with isolated():

        @cache
        def fib(n: int) -> int:
            return n if n < 2 else fib(n - 1) + fib(n - 2)

        assert fib(30) == 832040
        assert fib.stats.misses == 31


async def test_other_arguments_are_no_circle_on_a_loop() -> None:
    """The same with tasks."""
    with isolated():

        @cache
        async def fib(n: int) -> int:
            return n if n < 2 else sum(await asyncio.gather(fib(n - 1), fib(n - 2)))

        assert await soon(fib(20)) == 6765
        assert fib.stats.misses == 21


async def test_two_that_wait_for_a_third_are_no_circle() -> None:
    """Many paths to one computation are fine as long as none leads back."""
    with isolated():

        @cache
        async def base() -> int:
            await asyncio.sleep(0)
            return 1

        @cache
        async def left() -> int:
            return await base()

        @cache
        async def right() -> int:
            return await base() + await left()

        assert await soon(asyncio.gather(left(), right(), base())) == [1, 2, 1]


async def test_a_task_that_outlives_the_function_is_no_circle() -> None:
    """A function spawns a task and returns; the task may call the function when it is done."""
    with isolated() as app:
        done = asyncio.Event()
        tasks: list[asyncio.Task[int]] = []

        @cache(when=lambda _: False)
        async def f(n: int) -> int:
            if not tasks:
                tasks.append(asyncio.create_task(later()))
            return n

        async def later() -> int:
            await done.wait()
            return await f(1)

        assert await soon(f(1)) == 1
        await soon(app.settled())
        done.set()
        assert await soon(tasks[0]) == 1


async def test_a_background_refresh_that_calls_its_caller_is_no_circle() -> None:
    """A refresh belongs to nobody: the computation that started it does not wait for it."""
    with isolated() as app:

        @cache(ttl=10, stale="1 hour")
        async def old() -> int:
            return await caller() if app.clock.now() > 1_005 else 0

        @cache
        async def caller() -> int:
            value = await old()
            for _ in range(10):  # the refresh comes to wait for this computation meanwhile
                await asyncio.sleep(0)
            return value + 1

        await old()
        app.advance(20)
        assert await soon(caller()) == 1
        await soon(app.settled())
        assert await old.peek() == 1


async def test_who_was_waited_for_once_is_no_circle_later() -> None:
    """A wait that is over, or was cancelled, is forgotten."""
    with isolated():
        gate = asyncio.Event()

        @cache
        async def slow() -> int:
            await gate.wait()
            return await f(2)

        @cache
        async def f(n: int) -> int:
            if n == 2:
                return 2
            try:
                await asyncio.wait_for(slow(), 0)
            except TimeoutError:
                gate.set()
            return await f(2)

        assert await soon(f(1)) == 2
        assert await soon(slow()) == 2
