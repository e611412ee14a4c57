"""A fork while other threads are at work: the child is stuck on none of them, and waits for none."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forking import SECONDS, in_child, many_threads, needs_fork

import stillfresh
from stillfresh import App, Cache, CacheProvider, MemoryCacheProvider, cache, forks, hook
from stillfresh.http.engine.paths import Paths
from stillfresh.testing import VirtualClock, isolated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [needs_fork, many_threads]


@contextmanager
def elsewhere(work: Callable[[threading.Event, threading.Event], object]) -> Iterator[None]:
    """Let another thread be in the middle of *work*, which says when it is, until the end."""
    there, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=work, args=(there, over))
    thread.start()
    assert there.wait(SECONDS)
    try:
        yield
    finally:
        over.set()
        thread.join(SECONDS)


def test_every_lock_is_free_in_the_child() -> None:
    """Another thread holds all of them at the fork: of functions, stores, apps, listeners, HTTP."""
    with isolated() as app:

        @cache(stale_if_error="1 minute")
        def fails(x: int) -> int:
            if x:
                raise OSError
            return x

        @cache
        def f(x: int) -> int:
            return x + fails(0)

        numbers = Cache[int](name="numbers")
        clock, paths = VirtualClock(), Paths()

        def use() -> bool:
            heard: list[object] = []
            app.on("miss", heard.append)
            with pytest.raises(OSError):
                fails(1)
            with app.override(CacheProvider, MemoryCacheProvider()):
                assert f(3) == 3
            with App() as other:
                assert other.http is not None
            clock.advance("1 second")
            paths.clear()
            f(2)
            numbers.sync.set("k", 2)
            return f(2) == 2 and numbers.sync.get("k") == 2 and len(heard) > 0

        assert use()

        def hold(there: threading.Event, over: threading.Event) -> None:
            with ExitStack() as held:
                for lock in list(forks._locks):
                    held.enter_context(lock)
                there.set()
                over.wait(SECONDS)

        with elsewhere(hold):
            in_child(use)


def test_no_lock_is_made_that_a_fork_does_not_free() -> None:
    """All come from `free_in_child`, but those that are made anew together with what they guard."""
    made: dict[str, int] = {}
    package = Path(stillfresh.__file__).parent
    for path in package.rglob("*.py"):
        found = re.findall(r"\b(?:R?Lock|Condition|Semaphore)\(\)", path.read_text("utf-8"))
        threads = [one for one in found if "asyncio." + one not in path.read_text("utf-8")]
        if threads:
            made[path.relative_to(package).as_posix()] = len(threads)
    assert made == {
        "forks.py": 1,
        "entries/region.py": 1,  # `Rest` is made anew
        "singleflight.py": 1,  # `Flights`, too
        "providers/memory.py": 1,  # what was half done is dropped
        "providers/near.py": 2,  # all of it is
        "providers/walks.py": 1,  # the memory's
    }


def test_a_service_that_another_thread_was_building() -> None:
    """The child builds it, in any thread: who was at it does not exist there, and is no circle."""
    parent = os.getpid()
    stage: list[threading.Event] = []

    class Slow:
        def __init__(self) -> None:
            if os.getpid() == parent:
                stage[0].set()
                assert stage[1].wait(SECONDS)

    app = App()

    def build(there: threading.Event, over: threading.Event) -> None:
        stage.extend((there, over))
        app.get(Slow)

    def check() -> bool:
        built: list[object] = []
        # The first new thread of the child may have the number of the one that was building.
        thread = threading.Thread(target=lambda: built.append(app.get(Slow)))
        thread.start()
        thread.join(SECONDS)
        return built == [app.get(Slow)]

    with elsewhere(build):
        in_child(check)


def test_the_private_loop_of_a_sync_program() -> None:
    """It is a thread of the parent: the child makes another one for its async hooks."""
    stopped: list[int] = []

    class Service:
        @hook("start")
        async def begin(self) -> None:
            await asyncio.sleep(0)

        @hook("stop")
        async def end(self) -> None:
            await asyncio.sleep(0)
            stopped.append(os.getpid())

    app = App(Service)
    parent = os.getpid()
    with app:

        def check() -> bool:
            app.__exit__(None, None, None)
            return stopped == [os.getpid()] != [parent]

        in_child(check)
    assert stopped == [parent]


def test_a_function_that_rests_after_a_failure() -> None:
    """Which keys rest is the parent's; the child tries by itself."""
    with isolated() as app:
        failing = [False]

        @cache(ttl="1 minute", stale_if_error="1 hour")
        def f() -> int:
            if failing[0]:
                raise OSError
            return os.getpid()

        before = f()
        app.advance("2 minutes")
        failing[0] = True
        assert f() == before
        failing[0] = False
        assert f() == before  # it rests
        in_child(lambda: f() == os.getpid() != before)
