"""
Nodes, and what they do: an app each, with a provider of its own, over one far server.

All of the library is the real one, the client library included. Two things are not: the thread
that renews leases is a timer here, and its blocking connection a function call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from contextvars import Context
from types import SimpleNamespace
from typing import Any

import hiredis
import redis.exceptions

from stillfresh import App, CacheProvider, RedisCacheProvider, cache, computation
from stillfresh.entries import region
from stillfresh.errors import ComputeCancelled, ComputeTimeout, ProviderUnavailable
from stillfresh.providers.redis import talking
from stillfresh.providers.redis.client import Server
from stillfresh.providers.redis.renewal import Renewals

from .history import CALL, NEW, STATUSES, History, Lives
from .server import NOTHING
from .virtual import HERE, NodeClock, NodeLoop

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
        self.gates: list[asyncio.Event] = []
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
    def read(self) -> Any:
        """The cached function."""
        return self.service.read

    # The function

    async def compute(self, key: str) -> int:
        """Read the source: it may take long, fail, or seem to hang."""
        history, rng = self.history, self.world.rng
        running = history.begin(self.name, key, self.world.now)
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
                await asyncio.sleep(takes)
            computation().tags.update(late)
            if rng.random() < self.world.failing:
                raise Boom(key)
            # One that took longer than its value may live is not stored: nobody gets it from there.
            failed = self.world.now - running.time >= history.lives.life
        finally:
            history.end(running, failed=failed)
        return number

    # What is done on it

    def do(self, coroutine: Any) -> asyncio.Task[Any]:
        """Do something, beside everything else."""
        task = self.loop.create_task(coroutine, context=Context())
        self.tasks.append(task)
        return task

    async def call(self, key: str) -> int | None:
        """Call the function."""
        record = self.history.call(self.name, key, self.world.now)
        CALL.set(record)
        try:
            number = await self.read(key)
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

    def regions(self) -> list[Any]:
        """Return where the library keeps what is being computed on this node."""
        return [one for one in region._all if one.app is self.app]

    async def refresh(self, key: str) -> None:
        """Compute now."""
        self.history.change_begins((key,))
        try:
            await self.read.refresh(key)
        except (Boom, ComputeTimeout):
            return
        finally:
            self.history.change_ends((key,))

    async def change(
        self,
        keys: tuple[str, ...],
        names: tuple[str, ...],
        how: Callable[[], Awaitable[object]],
        *,
        expire: bool = False,
        since: int | None = None,
    ) -> None:
        """Invalidate: what is called from its return on must not be answered with less."""
        begins = self.history.change_begins(keys)
        since = begins if since is None else since
        try:
            await how()
        except (ProviderUnavailable, asyncio.CancelledError) as error:
            self.history.holds_here(self.name, names, since, expire=expire)
            if isinstance(error, asyncio.CancelledError):
                raise
            if self.history.calm:
                self.history.wrong(f"{names} failed on a calm day: {error}")
        else:
            self.history.holds(names, since, node=self.name, now=self.world.now, expire=expire)
        finally:
            self.history.change_ends(keys)

    async def write(self, key: str) -> None:
        """Write a value by hand, as new as can be."""
        history = self.history
        number = history.value(key, self.world.now, frozenset())
        value = history.values[number]
        since, value.tick = value.tick, NEW
        try:
            await self.change(
                (key,), (f"key:{key}",), lambda: self.read.store(number, key), since=since
            )
        finally:
            value.tick = history.tick()

    def changes(self, key: str, pattern: str) -> dict[str, Callable[[], Any]]:
        """Return what may be done by hand, by name: each makes a coroutine."""
        read, app = self.read, self.app
        one, named = (key,), (f"key:{key}",)
        some = PATTERNS[pattern]
        return {
            "invalidate": lambda: self.change(one, named, lambda: read.invalidate(key)),
            "delete": lambda: self.change(one, named, lambda: read.cache.delete(key)),
            "store": lambda: self.write(key),
            "tag": lambda: self.change(
                one, (f"tag:k:{key}",), lambda: app.invalidate_tags(f"k:{key}")
            ),
            "tag here": lambda: self.change(
                one, (f"tag:k:{key}",), lambda: read.cache.invalidate_tags(f"k:{key}")
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


class Blocking:
    """A blocking connection of a node: what is asked arrives at once, or not at all."""

    def __init__(self) -> None:
        loop: Any = HERE[-1] if HERE else None  # a provider tries its options before it starts
        self.world, self.node = (loop.world, loop.node) if loop else (None, None)
        self.replies: deque[Any] = deque()

    def connect(self) -> None:
        self._reach()

    def disconnect(self) -> None:
        self.replies.clear()

    def can_read(self, _: float) -> bool:
        return bool(self.replies)

    def send_command(self, *words: str) -> None:
        self.send_packed_command([hiredis.pack_command(words)])

    def send_packed_command(self, data: list[bytes], **_: Any) -> None:
        self._reach()
        server = self.world.network.server
        reader = hiredis.Reader(notEnoughData=NOTHING)
        reader.feed(b"".join(data))
        while (command := reader.gets()) is not NOTHING:
            answer = hiredis.Reader()
            answer.feed(server.answer(_NOBODY, command))
            self.replies.append(answer.gets())
        server.tell_trackers(None)

    def read_response(self, **_: Any) -> Any:
        reply = self.replies.popleft()
        if isinstance(reply, hiredis.ReplyError):
            kind = redis.exceptions.NoScriptError if "NOSCRIPT" in str(reply) else None
            raise (kind or redis.exceptions.ResponseError)(str(reply))
        return reply

    def _reach(self) -> None:
        if not self.world.network.reaches(self.node):
            raise redis.exceptions.ConnectionError("the simulation wants it so")


_NOBODY: Any = SimpleNamespace(resp3=False)


class SimRenewals(Renewals):
    """Renews from a timer instead of a thread; it stands still with its process."""

    _loop: NodeLoop | None = None

    def add(self, lease: Any, grant: Any) -> None:
        with self._lock:
            self._held[lease.address] = lease, grant
        if self._loop is None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, NodeLoop)
            self._loop = loop
            self._again()

    def _again(self) -> None:
        assert self._loop is not None
        self._loop.world.call_later(self._seconds / 3, self._turn)

    def _turn(self) -> None:
        loop = self._loop
        assert loop is not None
        if self._closed.is_set() or not loop.node.alive or not self._held:
            self._loop = None
        elif loop.paused_until > loop.world.now:
            loop.world.call_at(loop.paused_until, self._turn)
        else:
            HERE.append(loop)
            try:
                self._round(list(self._held.values()))
            finally:
                HERE.pop()
            self._again()


@contextmanager
def simulated_threads():
    """Have providers renew without threads."""
    kept = talking.Renewals, Server.blocking
    talking.Renewals, Server.blocking = SimRenewals, lambda _: Blocking()
    try:
        yield
    finally:
        talking.Renewals, Server.blocking = kept


def far_node(name: str, world: Any, history: History, way: type[Any], **options: Any) -> Node:
    """Make a node of the simulated world."""
    loop = world.loop()
    provider = RedisCacheProvider("redis://far:6379", prefix="sim", **options)
    node = Node(name, loop, history, world, way, provider, clock=NodeClock(loop))
    loop.node = node
    return node
