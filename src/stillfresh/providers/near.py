"""
A near tier: entries of a shared provider, decoded, in this process as well.

It asks nobody and waits for nobody. It is told what happens on the connections, and answers
which entries may be served. An entry stands here under the names on which it depends: its own
on the server, and those of the versions of its tags. When one of them changes, it goes.

    begin(ear)   ─► a read is sent; its reply arrives; keep(read, ...) ─► may be found from now on
    changed(...) ─► a push, or a change by hand: what depends on these names goes, and of the
                    reads that are under way none is kept that does

What must not happen is that a reply outlives its invalidation:

    1. this process   begin, and sends the read; the server answers with the old value
    2. another one    invalidates; the server pushes the name
    3. this process   changed(name): nothing is here yet; the change is noted
    4. this process   the reader wakes up: keep(read) finds a change that it has not seen: refused

So nobody registers reads: a read is the number of the last change that it has seen. `keep`
compares and writes in one step, under the lock under which `changed` notes.

When it may be served is what its ear says; see `ears`.

A change in any thread drops what any loop has kept. Values end when the lock is free, since a
destructor may call anything; see `memory`.
"""

from __future__ import annotations

import threading
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from ..clock import Clock
from ..entry import Entry, Verdict, judge
from .ears import Ear
from .eviction import S3Fifo

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from ..options import MemoryTier
    from .base import Address

K = TypeVar("K")
MOST_NOTED: Final = 4_096
"""Changes that are told apart; with more of them every read that is under way counts as changed."""
_SWEPT_PER_KEEP: Final = 2


class Read(NamedTuple):
    """A read under way: the number of the last change that it has seen, and who hears others."""

    seen: int
    at: float
    """Before it was sent."""
    ear: Ear
    generation: int


class Pool:
    """A number of entries, whoever they belong to, and which of them leaves for want of room."""

    __slots__ = ("max_entries", "queue")

    def __init__(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self.queue = S3Fifo()


class Nook:
    """
    Whose entries they are: a function, or a store.

    Two that share a name on the server may decode it into values of different types.
    """

    __slots__ = ("pool", "ttl")

    def __init__(self, pool: Pool, ttl: float) -> None:
        self.pool = pool
        self.ttl = ttl
        """Seconds that an entry is served without asking, `inf` for as long as it is fresh."""


class NearEntry(Entry):
    """
    An entry that is kept here: its value is the object itself.

    A short cut may hold it and looks at `quick_until` alone, which is never later than what its
    ear allowed when somebody last asked. So about each second one call takes the long way.
    """

    __slots__ = ("ear", "ends", "names", "nook", "there")

    def __init__(
        self,
        source: Entry,
        value: object,
        ends: float,
        *,
        names: Sequence[Hashable],
        nook: Nook,
        ear: Ear,
    ) -> None:
        super().__init__(value, source.born, source.windows, source.tags)
        self.own().born = source.born
        self.ends = ends
        """Who may be served is served before this moment, -inf once it is dead."""
        self.names = names
        """What it depends on; its own name on the server comes first."""
        self.nook = nook
        self.ear = ear
        self.there = True
        """It counts; False once it was taken out."""
        self.quick_until = min(ends, ear.until)

    def may_serve(self, now: float) -> bool:
        """Tell whether it may be served, and let short cuts serve it for as long as is known."""
        until = min(self.ends, self.ear.until)
        if now >= until:
            return False
        self.quick_until = until
        if self.ends == -inf:  # another thread has killed it meanwhile
            self.quick_until = -inf
            return False
        return True

    def kill(self) -> None:
        self.ends = -inf
        super().kill()

    def dies_at(self) -> float:
        return self.ends


class Near:
    """
    What this process keeps of one shared provider.

    Names are the provider's: anything that can be a key of a dictionary, and the same object of
    the server is always the same name. Moments are those of `now`.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.now: Callable[[], float] = (clock or Clock()).now
        self._lock = threading.RLock()
        self._values: dict[Hashable, tuple[NearEntry, ...]] = {}
        self._members: dict[Hashable, set[NearEntry]] = {}
        self._spaces: dict[str, set[NearEntry]] = {}
        self._round: deque[NearEntry] = deque()
        self._pools: WeakKeyDictionary[MemoryTier, Pool] = WeakKeyDictionary()
        self._ears: WeakSet[Ear] = WeakSet()
        self._watchers: dict[Hashable, set[Callable[[], object]]] = {}
        self._changes = 0
        self._floor = 0
        self._noted: dict[Hashable, int] = {}
        self._noted_spaces: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(len(entries) for entries in list(self._values.values()))

    def __repr__(self) -> str:
        states = sorted(ear.state(self.now()) for ear in self._all_ears())
        return f"<Near: {len(self)} entries, ears {states}, {len(self._watchers)} watched>"

    # Reading

    def ear(self) -> Ear:
        """Return a new ear; it is OFF."""
        ear = Ear(self.drop_of)
        with self._lock:
            self._ears.add(ear)
        return ear

    def live_ear(self) -> Ear | None:
        """Return an ear that is LIVE, whosever it is."""
        now = self.now()
        return next((ear for ear in self._all_ears() if now < ear.until), None)

    def nook(self, tier: MemoryTier) -> Nook:
        """Return a place for entries of one kind; all with the same *tier* share its bound."""
        with self._lock:
            pool = self._pools.get(tier)
            if pool is None:
                pool = self._pools[tier] = Pool(tier.max_entries)
        return Nook(pool, inf if tier.ttl is None else tier.ttl)

    def begin(self, ear: Ear) -> Read:
        """Note that a read begins. To be called before it is sent, and after `opened`."""
        return Read(self._changes, self.now(), ear, ear.generation)

    def keep(
        self,
        read: Read,
        nook: Nook,
        address: Address,
        entry: Entry,
        *,
        value: object,
        names: Sequence[Hashable],
    ) -> NearEntry | None:
        """
        Keep what *read* has found: *value* is that of *entry*, decoded; it depends on *names*.

        None where it must not be kept: something on which it depends has changed since the read
        began, its ear does not hear or is another one, or it is not fresh any more.
        """
        fresh, _, _, ahead = entry.windows
        ends = min(entry.born + min(fresh, ahead), read.at + nook.ttl)
        dead: list[object] = []
        with self._lock:
            now, ear = self.now(), read.ear
            if (
                now >= min(ends, ear.until)
                or ear.generation != read.generation
                or judge(entry, now) is not Verdict.FRESH
                or self._changed_since(read.seen, address.namespace, names)
            ):
                return None
            kept = NearEntry(entry, value, ends, names=names, nook=nook, ear=ear)
            kept.own().space, kept.key = address
            for other in self._values.get(names[0], ()):
                if other.nook is nook:
                    self._remove(other, dead)
            queue = nook.pool.queue
            while len(queue) >= nook.pool.max_entries and (victim := queue.evict()) is not None:
                if isinstance(victim, NearEntry):
                    self._remove(victim, dead)
            self._values[names[0]] = (*self._values.get(names[0], ()), kept)
            for name in names[1:]:
                self._members.setdefault(name, set()).add(kept)
            self._spaces.setdefault(kept.space, set()).add(kept)
            ear.entries += 1
            queue.enter(kept)
            self._round.append(kept)
            self._sweep(_SWEPT_PER_KEEP, now, dead)
            # A collection of garbage may have run a destructor above, and that an invalidation.
            if self._changed_since(read.seen, address.namespace, names):
                self._remove(kept, dead)
                return None
        return kept

    def find(self, nook: Nook, name: Hashable) -> NearEntry | None:
        """Return what may be served for *name*."""
        for entry in self._values.get(name, ()):
            if entry.nook is nook:
                if entry.may_serve(self.now()):
                    entry.looks += 1
                    return entry
                return None
        return None

    def count(self, namespace: str, prefix: str = "") -> int:
        """Return how many entries under *prefix* of *namespace* may be served."""
        now = self.now()
        return sum(
            now < min(entry.ends, entry.ear.until) and entry.key.startswith(prefix)
            for entry in list(self._spaces.get(namespace, ()))
        )

    # What has changed

    def changed(self, names: Iterable[Hashable]) -> None:
        """Drop what depends on one of *names*: the server has something else, or will have."""
        dead: list[object] = []
        wake: list[Callable[[], object]] = []
        with self._lock:
            for name in names:
                self._note(name, self._noted)
                for entry in self._values.get(name, ()):
                    self._remove(entry, dead)
                for entry in list(self._members.get(name, ())):
                    self._remove(entry, dead)
                if name in self._watchers:
                    wake += self._watchers[name]
        for ring in wake:
            ring()

    def changed_keys(self, namespace: str, fits: Callable[[str], bool] = lambda _: True) -> None:
        """Drop the keys of *namespace* that *fits* picks; no read under way in it is kept."""
        dead: list[object] = []
        with self._lock:
            self._note(namespace, self._noted_spaces)
            for entry in list(self._spaces.get(namespace, ())):
                if fits(entry.key):
                    self._remove(entry, dead)

    def changed_all(self) -> None:
        """Nothing is known of anything any more."""
        dead: list[object] = []
        with self._lock:
            self._forget_notes()
            for entry in self._entries():
                self._remove(entry, dead)
            wake = [ring for rings in self._watchers.values() for ring in rings]
        for ring in wake:
            ring()

    def drop_of(self, ear: Ear) -> None:
        """Drop what *ear* would have to hear about."""
        dead: list[object] = []
        with self._lock:
            for entry in self._entries() if ear.entries else ():
                if entry.ear is ear:
                    self._remove(entry, dead)

    def sweep(self, most: int) -> None:
        """Look at the next few entries, and drop those that are over."""
        dead: list[object] = []
        with self._lock:
            self._sweep(most, self.now(), dead)

    def live_by(self, clock: Clock) -> None:
        """Count time by *clock* from now on; what was kept by another one goes."""
        if clock.now != self.now:
            self.now = clock.now
            for ear in self._all_ears():
                ear.doubt()
            self.changed_all()

    def after_fork(self) -> None:
        """Get ready for the child of a fork, where another thread's work is half done for ever."""
        self._lock = threading.RLock()
        entries = self._entries()
        self._values, self._members, self._spaces = {}, {}, {}
        self._round, self._watchers = deque(), {}
        for pool in list(self._pools.values()):
            pool.queue = S3Fifo()
        for entry in entries:
            entry.there = False
            entry.kill()
        for ear in self._all_ears():
            ear.entries = 0
            ear.close()
        self._forget_notes()

    # Waiting

    def watch(self, name: Hashable, ring: Callable[[], object]) -> None:
        """Call *ring*, in any thread, each time that *name* changes."""
        with self._lock:
            self._watchers.setdefault(name, set()).add(ring)

    def unwatch(self, name: Hashable, ring: Callable[[], object]) -> None:
        """Do not call *ring* any more."""
        with self._lock:
            rings = self._watchers.get(name)
            if rings is not None:
                rings.discard(ring)
                if not rings:
                    del self._watchers[name]

    # Underneath; the lock is held

    def _all_ears(self) -> list[Ear]:
        with self._lock:  # another thread may be adding one
            return list(self._ears)

    def _entries(self) -> list[NearEntry]:
        return [entry for entries in list(self._values.values()) for entry in entries]

    def _note(self, name: Hashable, notes: dict[Hashable, int] | dict[str, int]) -> None:
        if len(notes) >= MOST_NOTED:
            self._forget_notes()
        self._changes += 1
        notes[name] = self._changes  # type: ignore[index]  # each kind has names of its own

    def _forget_notes(self) -> None:
        self._changes += 1
        self._floor = self._changes
        self._noted.clear()
        self._noted_spaces.clear()

    def _changed_since(self, seen: int, namespace: str, names: Sequence[Hashable]) -> bool:
        return (
            seen < self._floor
            or self._noted_spaces.get(namespace, 0) > seen
            or any(self._noted.get(name, 0) > seen for name in names)
        )

    def _remove(self, entry: NearEntry, dead: list[object]) -> None:
        """Make *entry* useless, and then take it out; its value lives as long as *dead*."""
        there, entry.there = entry.there, False
        dead.append(getattr(entry, "value", None))
        entry.kill()
        if not there:
            return
        entry.ear.entries -= 1
        entry.nook.pool.queue.leave(entry)
        own, *others = entry.names
        left = tuple(other for other in self._values.get(own, ()) if other is not entry)
        if left:
            self._values[own] = left
        else:
            self._values.pop(own, None)
        for name in others:
            _discard(self._members, name, entry)
        _discard(self._spaces, entry.space, entry)

    def _sweep(self, most: int, now: float, dead: list[object]) -> None:
        for _ in range(min(most, len(self._round))):
            entry = self._round.popleft()
            if not entry.there:
                continue
            if entry.dies_at() <= now:
                self._remove(entry, dead)
            else:
                self._round.append(entry)


def _discard(sets: dict[K, set[NearEntry]], name: K, entry: NearEntry) -> None:
    """Take *entry* out of the set at *name*, and the set out when it is empty."""
    found = sets.get(name)
    if found is not None:
        found.discard(entry)
        if not found:
            sets.pop(name, None)
