"""
The entries of a memory provider: where they are, how many, and when they leave.

Namespaces are dictionaries of their own, so that a walk over one never meets another. Nothing
here locks, waits or computes: the provider holds its lock.

A collection of garbage may run a destructor in the middle of an operation, and the destructor
may call back and start another one. So each change is written such that it finds out what
happened meanwhile, and each resident is taken out of the books exactly once.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from ..entry import Entry, Verdict, judge
from .base import Address
from .eviction import Resident, S3Fifo, close_gaps

if TYPE_CHECKING:
    from ..tags import TagBook
    from .aftermath import Aftermath

_SWEPT_PER_STORE = 2
_FEW_GAPS = 64


class Table:
    """At most *max_entries* entries, whose sizes are at most *max_bytes* together."""

    def __init__(self, max_entries: int, max_bytes: int, book: TagBook) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.bytes = 0
        self._book = book
        self._spaces: dict[str, dict[str, Resident]] = {}
        self._policy = S3Fifo()
        self._round: deque[Resident] = deque()
        """Everybody, in the order in which the sweep looks whether they are over."""

    def __len__(self) -> int:
        return len(self._policy)

    def keys(self, namespace: str) -> list[str]:
        """Return all keys of *namespace*, also of entries that are over."""
        return list(self._spaces.get(namespace, ()))

    def holds(self, address: Address, entry: Entry) -> bool:
        """Tell whether *entry* itself is what is at *address*."""
        resident = self._resident(address)
        return resident is not None and resident.entry is entry

    def usable(self, address: Address, now: float, after: Aftermath) -> Entry | None:
        """Return the entry if it is of any use; drop it otherwise."""
        resident = self._resident(address)
        if resident is None:
            return None
        entry = resident.entry
        if not self._tags_hold(entry) or judge(entry, now) is Verdict.GONE:
            self._remove(resident, after)
            return None
        return entry

    def place(self, address: Address, entry: Entry, now: float, after: Aftermath) -> bool:
        """
        Write *entry* over what is there, and make room for it; answer whether it was accepted.

        One that is over already is accepted, and nothing is there afterwards. One that is
        larger than all the room is not.
        """
        if entry.size > self.max_bytes:
            after.too_large = entry.size
            after.evicted.append(address)
            self.drop(address, after)
            return False
        if judge(entry, now) is Verdict.GONE:
            self.drop(address, after)
            return True
        namespace, key = address
        newcomer, empty = Resident(namespace, key, entry), dict[str, Resident]()
        while True:
            there = self._resident(address)
            grows = entry.size - (there.entry.size if there else 0)
            full = self.bytes + grows > self.max_bytes or (
                there is None and len(self._policy) >= self.max_entries
            )
            if full and self._evict(after):
                continue
            # Nothing is called from here to the end of the loop, so no destructor can run.
            if there is None:
                if namespace not in self._spaces:
                    self._spaces[namespace] = empty
                if key in self._spaces[namespace]:
                    continue
                self._spaces[namespace][key] = newcomer
                old = None
            elif there.present:
                old = there.entry
                if old is not entry:
                    old.quick_until = -inf
                there.entry = entry
                there.gone_at = newcomer.gone_at
                there.counted = -1  # to be stored again is a touch: somebody asked for it again
            else:
                continue
            self.bytes += grows
            break
        if old is None:
            self._policy.enter(newcomer)
            self._round.append(newcomer)
            if not newcomer.present:  # dropped by a destructor meanwhile
                self._policy.leave(newcomer)
        elif old is not entry:
            after.retire(old)
        self._sweep(now, after)
        return True

    def drop(self, address: Address, after: Aftermath) -> None:
        """Take out what is at *address*, if anything."""
        resident = self._resident(address)
        if resident is not None:
            self._remove(resident, after)

    def drop_all(self, after: Aftermath) -> None:
        """Take out everything, and forget who left."""
        for space in list(self._spaces.values()):
            for resident in list(space.values()):
                resident.present = False
                after.retire(resident.entry)
        self._spaces = {}
        self._policy = S3Fifo()
        self._round = deque()
        self.bytes = 0

    def _resident(self, address: Address) -> Resident | None:
        space = self._spaces.get(address.namespace)
        return None if space is None else space.get(address.key)

    def _tags_hold(self, entry: Entry) -> bool:
        epoch = self._book.epoch
        if entry.epoch == epoch:
            return True
        for marker in entry.markers:
            if marker.dead:
                return False
        entry.epoch = epoch
        return True

    def _evict(self, after: Aftermath) -> bool:
        victim = self._policy.evict()
        if victim is None:
            return False
        after.evicted.append(Address(victim.namespace, victim.key))
        self._remove(victim, after)
        return True

    def _remove(self, resident: Resident, after: Aftermath) -> None:
        """Take *resident* out. It is dead before nobody finds it any more, never after."""
        entry = resident.entry
        entry.quick_until = -inf
        if not resident.present:
            return
        resident.present = False
        self.bytes -= entry.size
        namespace, key = resident.namespace, resident.key
        if namespace in self._spaces and key in self._spaces[namespace]:
            if self._spaces[namespace][key] is resident:
                del self._spaces[namespace][key]
            if not self._spaces[namespace]:
                del self._spaces[namespace]
        after.retire(entry)
        self._policy.leave(resident)
        if len(self._round) > 2 * len(self._policy) + _FEW_GAPS:
            close_gaps(self._round)

    def _sweep(self, now: float, after: Aftermath) -> None:
        """
        Look at the next few entries, and drop those that are over.

        A store adds one and looks at two, so everybody's turn comes within as many stores as
        there are entries.
        """
        epoch = self._book.epoch
        for _ in range(_SWEPT_PER_STORE):
            try:
                resident = self._round.popleft()
            except IndexError:
                return
            if not resident.present:
                continue
            entry = resident.entry
            if resident.gone_at <= now or (entry.epoch != epoch and not self._tags_hold(entry)):
                self._remove(resident, after)
            else:
                self._round.append(resident)
