"""
Entries in the memory of this process.

One lock guards everything, and nobody holds it for long: a walk over many keys takes it again
for each slice. Under the lock no code of a user runs. What would run some is put off
until the lock is free (`Aftermath`): wake-ups, reports, and the end of a value, which may have a
destructor.

    1. thread A    delete(k)  takes the lock, drops the entry, lets its value die
    2. thread A    the destructor of the value waits for thread B
    3. thread B    look(j)    waits for the lock of thread A, for ever

A collection of garbage can still run a destructor anywhere, and it may call back. So the lock
is re-entrant, and each step leaves a state in which another operation may run.

A warm hit is served without this file: a generated wrapper holds the entry and looks at
`quick_until`. So whatever leaves is made useless in place, and before it is taken out of the
table: an operation that does not find it any more may return at once.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from ..clock import LIVENESS_SECONDS, Clock
from ..entry import Entry, Kind, Verdict, judge
from ..options import a_bool, a_number
from ..singleflight import resolve
from ..tags import TagBook
from .aftermath import Aftermath, Reports
from .base import Busy, Found, Lease
from .counters import digits_of, number_in
from .leases import Leases
from .table import Table
from .walks import SLICE, Walks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..entry import Windows
    from ..tags import Scope
    from .base import Address


class MemoryCacheProvider(Walks):
    """
    Keeps entries in this process, at most *max_entries* of them.

    *max_bytes* bounds what has a size: serialized values and HTTP frames. An entry that is
    larger than all of it is not kept: its `store` answers False. With *serialize* it keeps
    bytes like a remote provider, so that development shows what production would do.

    It works on any event loop, on several, and in any number of threads. It needs no task, no
    thread and no timer: expired entries leave as others are stored, a few at a time.

    Raises:
        InvalidOption: A bound is not a whole number of at least 1.
    """

    shared = False

    def __init__(
        self,
        max_entries: int = 10_000,
        max_bytes: int = 268_435_456,
        *,
        serialize: bool = False,
    ) -> None:
        self.serialized = self.strict = a_bool(serialize, "serialize")
        self.most_entries = max_entries
        super().__init__(
            Table(
                a_number(max_entries, "max_entries"),
                a_number(max_bytes, "max_bytes"),
                TagBook(),
                Reports(),
            )
        )
        self._starts = 0
        self._spare: Aftermath | None = None
        _living.add(self)

    def __repr__(self) -> str:
        table = self._table
        return (
            f"<MemoryCacheProvider: {len(table)} of {table.max_entries} entries, "
            f"{table.bytes} of {table.max_bytes} bytes, {len(self._leases)} leases>"
        )

    @property
    def blocking(self) -> MemoryCacheProvider:
        """The same provider; its `wait` blocks the thread."""
        return _BlockingMemory(self)

    def add_evict_listener(self, callback: Callable[[Address], object]) -> Callable[[], None]:
        """Tell *callback* what had to leave for want of room; what is returned ends it."""
        return self._reports.add(callback)

    # Lifecycle

    async def start(self, clock: Clock) -> None:
        """Live by *clock* from now on. With several apps the last one's counts."""
        with Aftermath(self._reports) as after, self._lock:
            if not self._starts:
                self._empty(after)  # who outlived the last app may have stored something
            self._starts += 1
            self._clock = clock

    async def stop(self) -> None:
        """Drop everything when the last app stops: it starts again empty."""
        with Aftermath(self._reports) as after, self._lock:
            self._starts = max(0, self._starts - 1)
            if not self._starts:
                self._empty(after)

    def _empty(self, after: Aftermath) -> None:
        self._clock = Clock()
        self._table.drop_all(after)
        self._leases.end_all(after)

    # Reading and computing

    async def look(self, address: Address) -> Entry | None:
        return self.find(address)

    def find(self, address: Address) -> Entry | None:
        """Do what `look` does, without a coroutine."""
        namespace, key = address
        with self._lock:
            space = self._table.spaces.get(namespace)
            if space is None or (entry := space.get(key)) is None:
                return None
            if self._clock.now() < entry.quick_until and entry.kind.epoch == self.book.epoch:
                entry.looks += 1
                return entry
        with Aftermath(self._reports) as after, self._lock:
            entry = self._table.usable(address, self._clock.now(), after)
            if entry is not None:
                entry.looks += 1
            return entry

    async def acquire(
        self,
        address: Address,
        *,
        seen: Entry | None = None,
        take: bool = False,
        tags: frozenset[str] = frozenset(),
        alive: Callable[[], bool] = lambda: True,
    ) -> Found | Busy | Lease:
        namespace, key = address
        lease = Lease(address, tags, alive, None)
        leases = self._leases
        suspects: list[Lease] = []
        while True:
            with self._lock:
                space = self._table.spaces.get(namespace)
                if (space is None or key not in space) and address not in leases.held:
                    # As nearly always after a miss, and what `grant` does.
                    lease.epoch = self.book.epoch
                    leases.held[address] = lease
                    if len(leases.held) <= leases.many:
                        return lease
                    suspects = leases.suspects()
                    break
            with Aftermath(self._reports) as after, self._lock:
                now = self._clock.now()
                entry = None if take else self._table.usable(address, now, after)
                if entry is not None and entry is not seen and judge(entry, now) is Verdict.FRESH:
                    entry.looks += 1
                    return Found(entry)
                held = self._leases.at(address)
                if held is None:
                    self._leases.grant(lease)
                    suspects = self._leases.suspects()
                    break
            if held.alive():
                return Busy(held)
            self._end_dead([held])
        if suspects:
            self._end_dead(suspects)
        return lease

    async def store(self, lease: Lease, entry: Entry) -> bool:
        address, leases, alive = lease.address, self._leases, lease.alive()
        after: Aftermath | None = None
        try:
            with self._lock:
                after = self._aftermath()
                if not leases.holds(lease):
                    return False
                welcome = alive
                if lease.tags or type(entry.kind) is Kind:  # otherwise it has no tags
                    if entry.tags:
                        self._stamp(entry, address.namespace)
                    welcome = alive and leases.welcome(lease, entry.tags)
                written = welcome and self._table.place(address, entry, self._clock.now(), after)
                if leases.held.get(address) is lease:
                    leases.end(address, after)
                else:  # a destructor called back and ended it
                    written = False
                    if self._table.holds(address, entry):
                        self._table.drop(address, after)
                return written
        finally:
            if after is not None:
                self._end(after)

    async def settle(self, lease: Lease, tags: frozenset[str]) -> bool:
        alive = lease.alive()
        with Aftermath(self._reports) as after, self._lock:
            if not self._leases.holds(lease):
                return False
            welcome = alive and self._leases.welcome(lease, tags)
            self._leases.end(lease.address, after)
            return welcome

    async def release(self, lease: Lease) -> None:
        with Aftermath(self._reports) as after, self._lock:
            self._leases.end_these([lease], after)

    async def wait(self, address: Address, seconds: float) -> None:
        """
        Return when the lease at *address* ended, or after a moment.

        At least every `LIVENESS_SECONDS` of real time it returns for nothing, so that the
        caller sees when the holder of the lease is no more.
        """
        loop = asyncio.get_running_loop()
        over = loop.create_future()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(resolve, over)

        if not self._add_waker(address, wake):
            return
        timers = (
            self._clock.call_later(loop, seconds, partial(resolve, over)),
            loop.call_later(LIVENESS_SECONDS, resolve, over),
        )
        try:
            await over
        finally:
            for timer in timers:
                timer.cancel()
            self._remove_waker(address, wake)

    # Changing by hand

    async def put(self, entries: Sequence[tuple[Address, Entry]]) -> None:
        if len(entries) <= SLICE:
            self.write(entries)
            return
        for at in range(0, len(entries), SLICE):  # others get the lock in between
            self.write(entries[at : at + SLICE])

    def write(self, entries: Sequence[tuple[Address, Entry]]) -> None:
        """Do what `put` does, without a coroutine; for a few entries."""
        leases, place = self._leases, self._table.place
        after: Aftermath | None = None
        try:
            with self._lock:
                after = self._aftermath()
                now = self._clock.now()
                for address, entry in entries:
                    if leases.held:
                        leases.end(address, after)
                    if type(entry.kind) is Kind and entry.kind.tags:
                        self._stamp(entry, address.namespace)
                    place(address, entry, now, after)
        finally:
            if after is not None:
                self._end(after)

    async def delete(self, addresses: Sequence[Address]) -> int:
        usable = 0
        for address in addresses:
            with Aftermath(self._reports) as after, self._lock:
                self._leases.end(address, after)
                usable += self._table.usable(address, self._clock.now(), after) is not None
                self._table.drop(address, after)
        return usable

    async def expire(self, address: Address) -> None:
        with Aftermath(self._reports) as after, self._lock:
            self._leases.end(address, after)
            entry = self._table.usable(address, self._clock.now(), after)
            if entry is not None:
                entry.expire()
                self._table.usable(address, self._clock.now(), after)  # without windows it leaves

    async def invalidate_tags(self, scope: Scope, tags: Iterable[str]) -> None:
        names = frozenset(tags)
        with Aftermath(self._reports) as after, self._lock:
            self.book.drop(scope, names)
            self._leases.end_tagged(scope, names, after)
            self._leases.forget()

    async def incr(self, address: Address, amount: int, windows: Windows) -> int:
        with Aftermath(self._reports) as after, self._lock:
            now = self._clock.now()
            old = self._table.usable(address, now, after)
            if old is None or judge(old, now) is not Verdict.FRESH:
                total = amount
                new = Entry(None, now, windows)
            else:
                total = number_in(old.value, address, serialized=self.serialized) + amount
                new = Entry(None, old.born, old.windows, old.tags)
                if old.markers:
                    new.stamp(old.epoch, old.markers)
            new.value = total
            if self.serialized:
                new.value = digits = digits_of(total, amount, address)
                new.size = len(digits)
            self._leases.end(address, after)
            self._table.place(address, new, now, after)
            return total

    # Underneath

    def _aftermath(self) -> Aftermath:
        """Return one for what happens most, mostly without a new object; under the lock."""
        after, self._spare = self._spare, None
        return Aftermath(self._reports) if after is None else after

    def _end(self, after: Aftermath) -> None:
        """Come to its end, after the lock."""
        if after.more:
            after.finish()
        else:
            if after.values:
                after.values = []  # here they end
            self._spare = after

    def _end_dead(self, leases: list[Lease]) -> None:
        """End those of *leases* whose holder is no more. `alive` is not ours: no lock."""
        dead = [lease for lease in leases if not lease.alive()]
        with Aftermath(self._reports) as after, self._lock:
            self._leases.end_these(dead, after)

    def _stamp(self, entry: Entry, namespace: str) -> None:
        # The epoch first: a tag that a destructor drops in between is looked at once more.
        epoch = self.book.epoch
        entry.stamp(epoch, self.book.markers(namespace, entry.tags))

    def _add_waker(self, address: Address, waker: Callable[[], object]) -> bool:
        with self._lock:
            return self._leases.add_waker(address, waker)

    def _remove_waker(self, address: Address, waker: Callable[[], object]) -> None:
        with self._lock:
            self._leases.remove_waker(address, waker)

    def after_fork(self) -> None:
        """
        Get ready to work in the child of a fork, where only the forking thread lives on.

        The holders of the leases are gone. If another thread was at work under the lock, its
        work is half done for ever: then nothing is kept.
        """
        whole = self._lock.acquire(blocking=False)
        self._lock = threading.RLock()
        self._leases = Leases(self.book)
        self._leases.forget()
        if not whole:
            with Aftermath(self._reports) as after, self._lock:
                self._table.drop_all(after)


class _BlockingMemory(MemoryCacheProvider):
    """All of another provider, attribute by attribute; only it never suspends."""

    __slots__ = ("_origin",)

    def __init__(self, origin: MemoryCacheProvider) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.__dict__ = origin.__dict__
        self._origin = origin
        """Kept alive: it is what a fork renews."""

    async def _breathe(self) -> bool:
        return False

    async def wait(self, address: Address, seconds: float) -> None:
        """Block the thread until the lease at *address* ended, or for a moment."""
        over = threading.Event()
        if self._add_waker(address, over.set):
            try:
                self._clock.wait(over, seconds)
            finally:
                self._remove_waker(address, over.set)


_living: WeakSet[MemoryCacheProvider] = WeakSet()


def _after_fork() -> None:
    for provider in list(_living):
        provider.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
