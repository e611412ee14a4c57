"""
The entries of one namespace in one app, what is being computed for them, and every change.

A change by hand goes to the provider and takes the flights that it concerns out of the
registry, whatever the provider answers:

    1. invalidate(k) is called; the provider ends the lease of k
    2. the flight of k leaves the registry
    3. invalidate(k) returns
    4. a call that starts now finds no entry, no lease and no flight: it computes

A flight whose function was not called yet stays in the registry in step 2, shaken, and asks for its
lease again: what it will compute is not older than the change.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakSet

from ..errors import ProviderUnavailable
from ..providers.base import Address
from ..singleflight import Flights

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from ..app import App
    from ..entry import Entry, Windows
    from ..events import Kind
    from ..providers.guard import Guard
    from ..providers.guarded import Operations
    from ..singleflight import Flight

T = TypeVar("T")

_new = tuple.__new__
FIRST_REST: Final = 1.0
MOST_RESTING: Final = 1_000

_all: WeakSet[Region] = WeakSet()


class Region:
    """One namespace of one app."""

    def __init__(self, app: App, namespace: str, guard: Guard) -> None:
        self.app = app
        self.namespace = namespace
        self.guard = guard
        self.clock = app.clock
        self.listeners = app.listeners
        self.heard = app.listeners.by_kind
        """Empty as long as nobody listens to anything."""
        self.flights = Flights()
        self.rest = Rest()
        _all.add(self)

    @property
    def serialized(self) -> bool:
        """The provider keeps bytes."""
        return self.guard.provider.serialized

    def address(self, key: str) -> Address:
        """Return where the entry for *key* is."""
        return _new(Address, (self.namespace, key))  # a third of what its constructor takes

    def emit(self, kind: Kind, key: str | None = None, detail: str = "") -> None:
        """Tell the listeners."""
        self.listeners.emit(kind, self.namespace, key, detail)

    # Changes by hand. *ops* is a face of the guard: for coroutines, or one that blocks.

    async def put(self, ops: Operations, entries: Sequence[tuple[str, Entry]]) -> None:
        """Write entries over what is there, and over what is being computed."""
        keys = dict.fromkeys(key for key, _ in entries)
        addressed = [(self.address(key), entry) for key, entry in entries]
        await self._change(ops.put(addressed), lambda flight: flight.key in keys)
        if self.heard:
            for key in keys:
                self.emit("store", key)

    async def delete(self, ops: Operations, keys: Sequence[str]) -> int:
        """Drop exact keys; answer how many were there."""
        named = dict.fromkeys(keys)
        count = await self._change(
            ops.delete([self.address(key) for key in keys]), lambda flight: flight.key in named
        )
        for key in named:
            self.emit("invalidate", key)
        return count

    async def drop(self, ops: Operations, keys: Sequence[str], why: Kind = "invalidate") -> None:
        """Drop exact keys, and tell *why*: `invalidate`, or `evict` for want of room."""
        named = dict.fromkeys(keys)
        await self._change(
            ops.drop([self.address(key) for key in named]), lambda flight: flight.key in named
        )
        for key in named:
            self.emit(why, key)

    async def incr(self, ops: Operations, key: str, amount: int, windows: Windows) -> int:
        """Add to a counter; what is being computed for its key is unwelcome."""
        total = await self._change(
            ops.incr(self.address(key), amount, windows), lambda flight: flight.key == key
        )
        self.emit("store", key)
        return total

    async def expire(self, ops: Operations, key: str) -> None:
        """Make one entry stale, and what is being computed for it unwelcome."""
        await self._change(ops.expire(self.address(key)), lambda flight: flight.key == key)
        self.emit("expire", key)

    async def invalidate_matching(
        self, ops: Operations, pattern: str, matches: Callable[[str], bool], prefix: str = ""
    ) -> None:
        """Drop the keys under *prefix* that match *pattern*."""
        await self._change(
            ops.invalidate_matching(self.namespace, pattern, prefix),
            lambda flight: flight.key.startswith(prefix) and matches(flight.key),
        )
        self.emit("invalidate", pattern)

    async def invalidate_tags(self, ops: Operations, tags: frozenset[str]) -> None:
        """Drop what holds one of *tags* in this namespace."""
        try:
            await ops.invalidate_tags(self.namespace, tags)
        finally:
            await self.leave_tagged(ops, tags)
        self.emit("invalidate", ", ".join(sorted(tags)))

    async def leave_tagged(self, ops: Operations, tags: frozenset[str]) -> None:
        """
        Let nobody join what may turn out to have one of *tags*.

        Where only the flight knows that, its lease is given back as well, so that the next
        caller need not wait for a result that it would not get.
        """
        for flight in self.flights.drop(lambda flight: has_tag(flight, tags)):
            lease = flight.lease  # read once: its own thread may let go of it
            if lease is not None and tags.isdisjoint(flight.tags):
                with suppress(ProviderUnavailable):
                    await ops.release(lease)

    async def clear(self, ops: Operations) -> None:
        """Drop everything of the namespace."""
        await self._change(ops.clear(self.namespace), lambda _: True)
        self.emit("invalidate", "*")

    async def _change(
        self, operation: Coroutine[object, object, T], concerned: Callable[[Flight], bool]
    ) -> T:
        try:
            return await operation
        finally:
            if self.flights:
                self.flights.drop(concerned)


def has_tag(flight: Flight, tags: frozenset[str]) -> bool:
    """Tell whether the result of *flight* has one of *tags*, or may turn out to have."""
    return (
        flight.tags_open
        or not tags.isdisjoint(flight.tags)
        or not tags.isdisjoint(flight.late_tags or ())
    )


class Rest:
    """
    Which keys rest after their function failed: 1 s, doubling each time, at most the ttl.

    Not more than a bounded number is remembered; a forgotten one is tried again sooner.
    """

    def __init__(self) -> None:
        self.until: dict[str, tuple[float, float]] = {}
        """Until when, and how long. Empty as mostly: nothing fails."""
        self._lock = threading.RLock()  # garbage may be collected anywhere, and call back

    def failed(self, key: str, now: float, most: float) -> None:
        """Note that a computation of *key* has failed at *now*."""
        with self._lock:
            _, length = self.until.pop(key, (0.0, FIRST_REST / 2))
            length = min(length * 2, most)
            if len(self.until) >= MOST_RESTING:
                self.until = {k: v for k, v in list(self.until.items()) if v[0] > now}
            if len(self.until) >= MOST_RESTING:
                del self.until[next(iter(self.until))]
            self.until[key] = (now + length, length)

    def rests(self, key: str, now: float) -> bool:
        """Tell whether *key* is not to be tried yet."""
        found = self.until.get(key)
        return found is not None and now < found[0]

    def forget(self, key: str) -> None:
        """Note that a computation of *key* succeeded."""
        with self._lock:
            self.until.pop(key, None)


def _forget_other_threads() -> None:
    # In the child of a fork, whoever led a flight in another thread does not exist.
    for region in list(_all):
        region.flights = Flights()
        region.rest = Rest()
        region.app.background.forget_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)
