"""
Threads of a node, one at a time: the world decides when each of them goes on.

A thread has a stack and a context of its own (a greenlet: handing over to a thread of the system
and back takes a hundred times as long). It runs when its node has a turn, until it would block: on
a a reply, an event, a pause, and by chance in front of a lock and behind one. There it parks, and the
world goes on. So whatever two threads of a node do, and a thread and the loop, its order is drawn
from the seed. No thread parks while it holds a lock, so nobody ever waits for one.

Where the library asks `threading` and `time`, it gets what is here (`installed`).
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from types import ModuleType
from typing import Any

from greenlet import getcurrent, greenlet

from .virtual import HERE, NodeLoop, World


class Killed(BaseException):
    """The process of this thread has ended: what it would still do, nobody sees."""


class SimThread:
    """One thread of the node whose turn it is when it is started."""

    current: SimThread | None = None

    def __init__(
        self, target: Callable[..., Any], args: tuple[Any, ...] = (), name: str = "", **_: Any
    ) -> None:
        self.name = name
        self.over = False
        self.killed = False
        self.held = 0
        """How many locks it holds."""
        self.loop: NodeLoop
        self.world: World
        self._target, self._args = target, args
        self._greenlet = greenlet(self._main)
        self._woken = False

    def __repr__(self) -> str:
        return f"<thread {self.name}>"

    def start(self) -> None:
        """Let it begin at some turn of its node."""
        self.loop = HERE[-1]
        self.world = self.loop.world
        self.loop.node.threads.append(self)
        self.wake()

    def wake(self, *_: Any) -> None:
        """Let it go on at the next turn of its node, and see whether what it waits for is there."""
        if not self._woken and not self.over:
            self._woken = True
            self.loop.call_soon(self._step)

    def _step(self) -> None:
        """Let it run until it parks or ends; on the stack of the world."""
        self._woken = False
        if self.over:
            return
        outer, SimThread.current = SimThread.current, self
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)  # a thread has none
        self._greenlet.parent = getcurrent()
        try:
            self._greenlet.switch()
        finally:
            SimThread.current = outer
            asyncio._set_running_loop(loop)
            if self._greenlet.dead:
                self.over = True
                self.loop.node.threads.remove(self)

    def kill(self) -> None:
        """End it, wherever it stands."""
        self.killed = True
        while not self.over:
            HERE.append(self.loop)
            try:
                self._step()
            finally:
                HERE.pop()

    # In the thread itself

    def _main(self) -> None:
        if not self.killed:
            with suppress(Killed):
                self._target(*self._args)

    def park(self) -> None:
        """Let everything else go on, until somebody wakes this thread."""
        parent = self._greenlet.parent
        assert parent is not None
        parent.switch()
        if self.killed:
            raise Killed

    def maybe_yield(self) -> None:
        """Let others go first, by chance."""
        world = self.world
        if not self.held and not self.killed and world.rng.random() < world.preempting:
            self.wake()
            self.park()

    def wait(self, done: Callable[[], bool], seconds: float = inf) -> bool:
        """Park until something is *done*, or *seconds* have passed; tell whether it is."""
        if self.killed:
            raise Killed
        over: list[bool] = []

        def end() -> None:
            over.append(True)
            self.wake()

        timer = self.loop.call_later(seconds, end) if seconds < inf else None
        try:
            while not done() and not over:
                self.park()
        finally:
            if timer is not None:
                timer.cancel()
        return bool(done())


def here() -> SimThread:
    """Return the thread that runs; nothing else blocks in a simulation."""
    thread = SimThread.current
    assert thread is not None, "an event loop must not block"
    return thread


class SimEvent:
    """An event that threads of a simulation wait for."""

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[SimThread] = []

    def set(self) -> None:
        self._set = True
        for thread in self._waiting:
            thread.wake()

    def is_set(self) -> bool:
        return self._set

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        thread = here()
        self._waiting.append(thread)
        try:
            return thread.wait(self.is_set, inf if timeout is None else timeout)
        finally:
            self._waiting.remove(thread)


def sleep(seconds: float) -> None:
    """Let other things happen for so long."""
    here().wait(lambda: False, seconds)


class SimLock:
    """A lock of the library, in front of and behind which another thread may go first."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def acquire(self, *args: Any, **options: Any) -> bool:
        thread = SimThread.current
        if thread is None:
            return bool(self._lock.acquire(*args, **options))
        thread.maybe_yield()
        got = bool(self._lock.acquire(*args, **options))
        thread.held += got
        return got

    def release(self) -> None:
        self._lock.release()
        thread = SimThread.current
        if thread is not None:
            thread.held -= 1
            thread.maybe_yield()

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class _Threading:
    """The module `threading` as the library sees it."""

    Thread = SimThread
    Event = SimEvent

    def __init__(self, world: World) -> None:
        self._locked = world.preempting > 0

    def Lock(self) -> Any:
        return SimLock(threading.Lock()) if self._locked else threading.Lock()

    def RLock(self) -> Any:
        return SimLock(threading.RLock()) if self._locked else threading.RLock()

    @staticmethod
    def get_ident() -> int:
        return id(SimThread.current)

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)


@functools.cache
def _library() -> list[tuple[ModuleType, str, Any]]:
    """Return the modules of the library that know threads, and the locks that modules have."""
    found: list[tuple[ModuleType, str, Any]] = []
    for late in ("nearby", "providers.near", "providers.payer"):  # loaded when they are needed
        importlib.import_module(f"stillfresh.{late}")
    for name, module in list(sys.modules.items()):
        if name.startswith("stillfresh.") and not name.startswith("stillfresh.testing"):
            found += [
                (module, attribute, value)
                for attribute, value in vars(module).items()
                if value is threading or isinstance(value, type(threading.RLock()))
            ]
    return found


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """Let the library start threads of the simulation, and wait as those do."""
    kept, known = time.sleep, _Threading(world)
    for module, name, value in _library():
        if value is threading:
            setattr(module, name, known)
        elif world.preempting:
            setattr(module, name, SimLock(value))
    time.sleep = sleep
    try:
        yield
    finally:
        time.sleep = kept
        for module, name, value in _library():
            setattr(module, name, value)
