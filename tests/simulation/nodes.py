"""
Nodes, and what they do: an app each, with a provider of its own, over one far server.

All of the library is the real one, the client library included. Two things are not: its threads
are those of the world, and so are their connections (`lines.py`).
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from inspect import isawaitable
from typing import Any

from stillfresh import App, Cache, CacheProvider, RedisCacheProvider, cache, computation
from stillfresh.computing.drivers import drive
from stillfresh.entries import region
from stillfresh.errors import ComputeCancelled, ComputeTimeout, ProviderUnavailable
from stillfresh.providers.redis.client import Server
from stillfresh.sources import binding

from .history import CALL, NEW, STATUSES, History, Lives
from .lines import Blocking
from .threads import SimThread, simulated
from .virtual import NodeClock

KEYS = ("a1", "a2", "b1", "b2")
PATTERNS = {"a*": ("a1", "a2"), "*1": ("a1", "b1"), "b2": ("b2",), "*": KEYS}


class Boom(Exception):
    """What the function raises."""


TAGS = ("all", "k:{key}")


def service(tags: tuple[str, ...] = TAGS, **options: Any) -> type[Any]:
    """Make a service whose function is cached in one way."""

    class Service:
        node: Any = None

        @cache(name="sim", key="{key}", tags=tags, **options)
        async def read(self, key: str) -> int:
            return await self.node.compute(key)

    return Service


def service_of_both(tags: tuple[str, ...] = TAGS, **options: Any) -> type[Any]:
    """Make one with a function for tasks and one for threads, over the same entries."""

    class Service:
        node: Any = None
        entries = Cache[int](name="sim")

        @entries(key="{key}", tags=tags, **options)
        async def read(self, key: str) -> int:
            return await self.node.compute(key)

        @entries(key="{key}", tags=tags, **options)
        def read_in_thread(self, key: str) -> int:
            return self.node.compute_in_thread(key)

    return Service


WAYS: list[tuple[type[Any], Lives]] = [
    (service(ttl=10), Lives(10)),
    (service(ttl=None), Lives(float("inf"))),
    (service(ttl=10, stale=10), Lives(10, stale=10)),
    (service(ttl=10, stale_if_error=20, timeout=5), Lives(10, keep=20, timeout=5)),
    (
        service(ttl=10, stale=5, stale_if_error=20, refresh_ahead=0.5, timeout=30),
        Lives(10, stale=5, keep=20, timeout=30),
    ),
    (service(ttl=10, stale_if_error=20, soft_timeout=0.05), Lives(10, keep=20)),
    (service(ttl=10, tags=()), Lives(10, tagged=False)),
    (service(ttl=10, tags=(), stale=5, memory=True), Lives(10, stale=5, near=True, tagged=False)),
    (service(ttl=10, memory=True), Lives(10, near=True)),
    (service(ttl=None, memory=5), Lives(float("inf"), near=True)),
    (service(ttl=10, stale=10, memory=True), Lives(10, stale=10, near=True)),
    (service_of_both(ttl=10), Lives(10)),
    (service_of_both(ttl=10, stale=10, tags=()), Lives(10, stale=10, tagged=False)),
    (
        service_of_both(ttl=10, stale_if_error=20, timeout=5, refresh_ahead=0.5),
        Lives(10, keep=20, timeout=5),
    ),
    (
        service_of_both(ttl=10, stale_if_error=20, soft_timeout=0.05, memory=True),
        Lives(10, keep=20, near=True),
    ),
]


class Node:
    """One process: a loop, an app, a provider."""

    def __init__(  # noqa: PLR0917  # what it is made of
        self,
        name: str,
        loop: Any,
        history: History,
        world: Any,
        way: type[Any],
        provider: CacheProvider,
        *,
        clock: Any = None,
    ) -> None:
        self.name = name
        self.loop = loop
        self.history = history
        self.world = world
        self.alive = True
        self.provider = provider
        self.way = way
        self.app = App(way, clock=clock).provide(CacheProvider, provider)
        self.tasks: list[asyncio.Task[Any]] = []
        self.thread: Any = threading.Thread
        self.threads: list[SimThread] = []
        """Those of the simulation that have not ended."""
        for kind in STATUSES:
            self.app.on(kind, self._count)
        self.service: Any = None

    def _count(self, event: Any) -> None:
        record = CALL.get()
        if record is not None:
            record.statuses.append(event.kind)

    async def start(self) -> None:
        """Start the app."""
        await self.app.__aenter__()
        self.service = self.app.get(self.way)
        self.service.node = self

    async def stop(self) -> None:
        """Stop the app."""
        await self.app.__aexit__(None, None, None)

    @property
    def in_threads(self) -> Any:
        """The same function for threads, if there is one."""
        return getattr(self.service, "read_in_thread", None)

    # The function

    async def compute(self, key: str, pause: Callable[[float], Any] = asyncio.sleep) -> int:
        """Read the source: it may take long, fail, or seem to hang."""
        history, rng = self.history, self.world.rng
        away = any(guard.down for guard in self.app.guards)
        running = history.begin(self.name, key, self.world.now, leaseless=away)
        is_late = history.lives.tagged and rng.random() < self.world.lateness
        late = frozenset({"late"}) if is_late else frozenset()
        number = history.value(key, self.world.now, late)
        failed = True
        try:
            takes = self.world.takes()
            if late and rng.random() < 0.5:
                computation().tags.update(late)
                late = frozenset()
            if takes:
                await pause(takes)
            computation().tags.update(late)
            if rng.random() < self.world.failing:
                raise Boom(key)
            # One that took longer than its value may live is not stored: nobody gets it from there.
            failed = self.world.now - running.time >= history.lives.life
            # Nor is one whose late tag may have been dropped meanwhile; those who wait for it compute.
            failed |= is_late and history.changed_since(key, running.tick)
        finally:
            history.end(running, failed=failed)
        return number

    def compute_in_thread(self, key: str) -> int:
        """Read the source, and block."""

        async def pause(seconds: float) -> None:
            time.sleep(seconds)  # noqa: ASYNC251  # here it blocks

        return drive(self.compute(key, pause))

    # What is done on it

    def do(self, coroutine: Any) -> asyncio.Task[Any]:
        """Do something, beside everything else."""
        task = self.loop.create_task(coroutine, context=Context())
        self.tasks.append(task)
        return task

    async def in_thread(self, make: Callable[[], Any], name: str) -> Any:
        """Do something that blocks, in a thread of its own."""
        ended = self.loop.create_future()

        def end(result: Any, error: Exception | None) -> None:
            if error is not None:
                ended.set_exception(error)
            else:
                ended.set_result(result)

        def work() -> None:
            result, error = None, None
            try:
                result = drive(make())
            except Exception as raised:
                error = raised
            self.loop.call_soon_threadsafe(end, result, error)

        self.thread(target=work, name=name, daemon=True).start()
        return await ended

    def begin(self, name: str, key: str, *, threaded: bool = False) -> asyncio.Task[Any]:
        """Call the function, or refresh."""
        how = self.call if name == "call" else self.refresh
        if threaded and self.in_threads is not None:
            return self.do(self.in_thread(lambda: how(self.in_threads, key), name))
        return self.do(how(self.service.read, key))

    def begin_change(
        self, name: str, key: str, pattern: str, *, threaded: bool = False
    ) -> asyncio.Task[Any]:
        """Change something by hand."""
        if threaded and self.in_threads is not None:
            return self.do(self.in_thread(self.changes(key, pattern, blocking=True)[name], name))
        return self.do(self.changes(key, pattern)[name]())

    def cancellable(self, *, calls_only: bool) -> list[asyncio.Task[Any]]:
        """Return what is being done and may be cancelled; a thread cannot be."""
        names = {"call", "refresh"} if calls_only else {"call", "refresh", "change", "write"}
        return [one for one in self.tasks if not one.done() and one.get_coro().__name__ in names]

    async def call(self, read: Any, key: str) -> int | None:
        """Call the function."""
        record = self.history.call(self.name, key, self.world.now)
        CALL.set(record)
        try:
            number = await result_of(read(key))
        except (Boom, ComputeTimeout, asyncio.CancelledError) as error:
            if len(record.statuses) != 1:
                self.history.wrong(
                    f"(f) a call of {key} at {record.start} on {self.name} that ended with "
                    f"{type(error).__name__} counts as {record.statuses}"
                )
            if isinstance(error, asyncio.CancelledError):
                raise
        except ComputeCancelled:
            if self.history.calm:
                raise
        else:
            self.history.answered(record, number)
            return number
        return None

    async def refresh(self, read: Any, key: str) -> None:
        """Compute now."""
        self.history.change_begins((key,))
        try:
            await result_of(read.refresh(key))
        except (Boom, ComputeTimeout):
            return
        finally:
            self.history.change_ends((key,))

    async def change(
        self,
        keys: tuple[str, ...],
        names: tuple[str, ...],
        how: Callable[[], object],
        *,
        expire: bool = False,
        since: int | None = None,
    ) -> None:
        """Invalidate: what is called from its return on must not be answered with less."""
        begins = self.history.change_begins(keys)
        since = begins if since is None else since
        try:
            await result_of(how())
        except (ProviderUnavailable, asyncio.CancelledError) as error:
            self.history.holds_here(self.name, names, since, expire=expire)
            if isinstance(error, asyncio.CancelledError):
                raise
            # A walk over slots that move again and again gives up, and says so.
            if self.history.calm and not self.world.conditions.cluster:
                self.history.wrong(f"{names} failed on a calm day: {error}")
        else:
            self.history.holds(names, since, node=self.name, now=self.world.now, expire=expire)
        finally:
            self.history.change_ends(keys)

    async def write(self, read: Any, key: str) -> None:
        """Write a value by hand, as new as can be."""
        history = self.history
        number = history.value(key, self.world.now, frozenset())
        value = history.values[number]
        since, value.tick = value.tick, NEW
        try:
            await self.change((key,), (f"key:{key}",), lambda: read.store(number, key), since=since)
        finally:
            value.tick = history.tick()

    def changes(
        self, key: str, pattern: str, *, blocking: bool = False
    ) -> dict[str, Callable[[], Any]]:
        """Return what may be done by hand, by name: each makes a coroutine."""
        read: Any = self.in_threads if blocking else self.service.read
        app: Any = self.app.sync if blocking else self.app
        entries: Any = read.cache.sync if blocking else read.cache
        one, named = (key,), (f"key:{key}",)
        some = PATTERNS[pattern]
        return {
            "invalidate": lambda: self.change(one, named, lambda: read.invalidate(key)),
            "delete": lambda: self.change(one, named, lambda: entries.delete(key)),
            "store": lambda: self.write(read, key),
            "tag": lambda: self.change(
                one, (f"tag:k:{key}",), lambda: app.invalidate_tags(f"k:{key}")
            ),
            "tag here": lambda: self.change(
                one, (f"tag:k:{key}",), lambda: entries.invalidate_tags(f"k:{key}")
            ),
            "late tag": lambda: self.change(
                KEYS, ("tag:late",), lambda: app.invalidate_tags("late")
            ),
            "all tag": lambda: self.change(KEYS, ("tag:all",), lambda: app.invalidate_tags("all")),
            "pattern": lambda: self.change(
                some,
                tuple(f"key:{one}" for one in some),
                lambda: read.invalidate_matching(pattern),
            ),
            "clear": lambda: self.change(KEYS, ("*",), read.clear),
            "expire": lambda: self.change(one, named, lambda: read.expire(key), expire=True),
        }

    # What is left of it in the end

    def left(self) -> list[object]:
        """Return what the library still keeps of what was begun on this node."""
        found: list[object] = [
            f"{len(one.flights)} flights"
            for one in region._all
            if one.app is self.app and len(one.flights)
        ]
        found += list(self.app.background._running)
        wires = self.provider._wires
        held = [] if wires is None else wires.renewals._held.values()
        return found + [lease.address for lease, _ in held]

    def counted(self) -> int:
        """Return how many calls were counted."""
        functions = [one for one in (self.service.read, self.in_threads) if one is not None]
        return sum(
            stats.hits + stats.misses + stats.stale + stats.coalesced + stats.fallbacks
            + stats.bypasses
            for stats in (one.stats for one in functions)
        )  # fmt: skip


async def result_of(answer: Any) -> Any:
    """Return what a function for tasks, or one for threads, comes to."""
    return await answer if isawaitable(answer) else answer


# In the simulation

_attributes = functools.cache(lambda kind: tuple(_find_attributes(kind)))
_find_attributes = binding.cached_attributes


@contextmanager
def node_threads(world: Any) -> Iterator[None]:
    """Let the threads and the blocking connections of nodes be those of the world."""
    kept = Server.blocking
    Server.blocking = lambda server: Blocking(server.timeout, server.place or ("far", 6379))
    binding.cached_attributes = _attributes  # the classes are few, and nodes are many
    try:
        with simulated(world):
            yield
    finally:
        Server.blocking = kept
        binding.cached_attributes = _find_attributes


class OfOneProcess(RedisCacheProvider):
    """Nodes stand for processes: what one owes no other one knows."""

    @property
    def identity(self) -> Any:
        """Nobody else's."""
        return id(self)


def far_node(
    name: str, world: Any, history: History, way: type[Any], url: str, **options: Any
) -> Node:
    """Make a node of the simulated world."""
    loop = world.loop()
    provider = OfOneProcess(url, prefix="sim", **options)
    node = Node(name, loop, history, world, way, provider, clock=NodeClock(loop))
    node.thread = SimThread
    loop.node = node
    return node
