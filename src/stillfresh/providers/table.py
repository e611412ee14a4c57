"""
The entries of a memory provider: where they are, how many, and when they leave.

Namespaces are dictionaries of their own, so that a walk over one never meets another. Nothing
here locks, waits or computes: the provider holds its lock.

A collection of garbage may run a destructor in the middle of an operation, and the destructor
may call back and start another one. So each change is written such that it finds out what
happened meanwhile, and each entry is taken out of the books exactly once.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from ..entry import Entry, Kind, Verdict, judge
from .base import Address
from .eviction import CHUNK, S3Fifo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..entry import Windows
    from ..tags import TagBook
    from .aftermath import Aftermath, Reports

_MOST_STORES: Final = 64
"""Stores between two looks of the sweep, a quarter of what one look may meet."""
_MOST_KINDS: Final = 256
_NOTHING: Final[dict[str, Entry]] = {}


class Table:
    """At most *max_entries* entries, whose sizes are at most *max_bytes* together."""

    def __init__(self, max_entries: int, max_bytes: int, book: TagBook, reports: Reports) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.watchers: dict[str, list[list[str]]] = {}
        """By namespace: lists that want the key of everything that is placed."""
        self.book = book
        self.bytes = 0
        self.reports = reports
        self._count = 0
        self.spaces: dict[str, dict[str, Entry]] = {}
        """By namespace, then by key."""
        self._kinds: dict[str, Kind] = {}
        """By namespace: what those entries have in common that came last."""
        self._all_kinds: dict[tuple[str, Windows], Kind] = {}
        """Not more than a bounded number; one that is forgotten is made once more."""
        self._policy = S3Fifo()
        self._stores_left = 0
        """Until the next look for what is over."""

    def __len__(self) -> int:
        return self._count

    def keys(self, namespace: str) -> list[str]:
        """Return all keys of *namespace*, also of entries that are over."""
        space = self.spaces.get(namespace)
        return [] if space is None else list(space)

    def at(self, namespace: str, key: str) -> Entry | None:
        """Return what is there, whether it is over or not."""
        space = self.spaces.get(namespace)
        return None if space is None else space.get(key)

    def holds(self, address: Address, entry: Entry) -> bool:
        """Tell whether *entry* itself is what is at *address*."""
        return self.at(*address) is entry

    def usable(self, address: Address, now: float, after: Aftermath) -> Entry | None:
        """Return the entry if it is of any use; drop it otherwise."""
        entry = self.at(*address)
        if entry is None:
            return None
        if (now < entry.quick_until or judge(entry, now) is not Verdict.GONE) and (
            entry.kind.epoch == self.book.epoch or self._tags_hold(entry)
        ):
            return entry
        self.remove(entry, after)
        return None

    def usable_keys(
        self, namespace: str, keys: Iterable[str], now: float, after: Aftermath
    ) -> list[str]:
        """Return those of *keys* whose entries are of any use; drop the others."""
        found: list[str] = []
        for key in keys:
            entry = self.at(namespace, key)
            if entry is None:
                continue
            if (now < entry.quick_until and entry.kind.epoch == self.book.epoch) or (
                self.usable(Address(namespace, key), now, after) is not None
            ):
                found.append(key)
        return found

    def place(  # noqa: PLR0915  # in one piece: a call costs as much as ten lines here
        self, address: Address, entry: Entry, now: float, after: Aftermath
    ) -> bool:
        """
        Write *entry* over what is there, and make room for it; answer whether it was accepted.

        One that is over already is accepted, and nothing is there afterwards. One that is
        larger than all the room is not. An entry that is written over another one waits at the
        end of the same queue, and counts as touched: somebody asked for it again.
        """
        namespace, key = address
        if entry.chunk is not None and not self.holds(address, entry):
            entry = _twin(entry)  # one that is elsewhere stays there
        kind = entry.kind
        windows = kind.windows if type(kind) is Kind else kind
        if windows is not kind and not kind.shared:
            kind.space = namespace
        else:
            kind = self._kinds.get(namespace)
            if kind is None or kind.windows is not windows:
                kind = self._kind(namespace, windows)
        size = kind.size
        if size > self.max_bytes:
            after.refuse(address, size)
            self.drop(address, after)
            return False
        gone_at = entry.quick_until if kind.simple else entry.dies_at()
        if now >= gone_at or (entry.quick_until == -inf and judge(entry, now) is Verdict.GONE):
            self.drop(address, after)
            entry.quick_until = -inf  # by this clock; the short cut may have another
            return True
        if self.watchers:
            for written in self.watchers.get(namespace, ()):
                written.append(key)
        policy = self._policy
        if self._count >= self.max_entries and key not in self.spaces.get(namespace, _NOTHING):
            self._evict(after)
        known = False
        if policy.ghosts:
            ghost = hash(address)
            known = ghost in policy.ghosts or ghost in policy.older_ghosts
            if known:
                policy.recall(ghost)
        made: dict[str, Entry] | None = None
        crowded = False
        while True:
            # From here to the end of the loop nothing is called that does not lead back here,
            # so no destructor can run in between.
            spaces = self.spaces
            if namespace in spaces:
                space = spaces[namespace]
            elif made is None:
                made = {}
                continue
            else:
                space = made
            old = space[key] if key in space else None  # noqa: SIM401  # get() costs a call
            grows = size if old is None else size - old.kind.size
            if not crowded and (
                (old is None and self._count >= self.max_entries)
                or (grows > 0 and self.bytes + grows > self.max_bytes)
            ):
                crowded = not self._evict(after)
                continue
            if old is not None and old.chunk is not None:
                queue = old.chunk.queue
            else:
                queue = policy.main if known else policy.small
            chunk = queue.tail
            at = chunk.fill
            if at == CHUNK:
                queue.grow()
                continue
            if grows:
                self.bytes += grows
            if old is entry:
                entry.looks += 1
                break
            if old is None:
                self._count += 1
                if not space:
                    spaces[namespace] = space
            else:
                old.quick_until = -inf
                entry.looks = 1
            space[key] = entry
            entry.kind, entry.key, entry.chunk = kind, key, chunk
            chunk.line[at] = entry
            chunk.fill = at + 1
            chunk.alive += 1
            queue.alive += 1
            if gone_at < chunk.gone_at:  # noqa: PLR1730  # min() and max() cost a call
                chunk.gone_at = gone_at
            if kind.epoch < chunk.epoch:  # noqa: PLR1730  # min() and max() cost a call
                chunk.epoch = kind.epoch
            break
        if old is not None and old is not entry:
            after.retire(old)
            policy.leave(old)
        self._stores_left -= 1
        if self._stores_left < 0:
            self._sweep(now, after)
        return True

    def drop(self, address: Address, after: Aftermath) -> None:
        """Take out what is at *address*, if anything."""
        entry = self.at(*address)
        if entry is not None:
            self.remove(entry, after)

    def drop_all(self, after: Aftermath) -> None:
        """Take out everything, and forget who left."""
        for space in list(self.spaces.values()):
            for entry in list(space.values()):
                after.retire(entry)
                entry.chunk = None
        self._policy.forget()
        self.spaces, self._kinds, self._all_kinds = {}, {}, {}
        self._count = self.bytes = 0

    def remove(self, entry: Entry, after: Aftermath) -> None:
        """Take *entry* out. It is dead before nobody finds it any more, never after."""
        entry.quick_until = -inf
        kind = entry.kind
        spaces, namespace, key = self.spaces, kind.space, entry.key
        if namespace in spaces:
            space = spaces[namespace]
            if key in space and space[key] is entry:
                del space[key]
                self._count -= 1
                self.bytes -= kind.size
                if not space:
                    del spaces[namespace]
                    self._kinds.pop(namespace, None)
        if kind.born is not None:
            kind.expired = True
        try:
            after.values.append(entry.value)
            del entry.value
        except AttributeError:
            pass  # a destructor took it out meanwhile
        if entry.chunk is not None:
            self._policy.leave(entry)

    def _evict(self, after: Aftermath) -> bool:
        victim = self._policy.evict()
        if victim is None:
            return False
        if self.reports.listeners:
            after.report(victim)
        self.remove(victim, after)
        return True

    def _tags_hold(self, entry: Entry) -> bool:
        epoch, kind = self.book.epoch, entry.kind
        for marker in kind.markers:
            if marker.dead:
                return False
        kind.epoch = epoch
        return True

    def _kind(self, namespace: str, windows: Windows) -> Kind:
        """Return what the entries of *namespace* with these *windows* share."""
        kind = self._all_kinds.get((namespace, windows))
        if kind is None:
            if len(self._all_kinds) >= _MOST_KINDS:
                self._all_kinds.clear()
            kind = self._all_kinds[namespace, windows] = Kind(windows, shared=True)
            kind.space, kind.epoch = namespace, self.book.epoch
        self._kinds[namespace] = kind
        return kind

    def _sweep(self, now: float, after: Aftermath) -> None:
        """
        Look through the next chunk of a queue, and drop what is over.

        The next look is a quarter as many stores away as there were entries in it. So
        everybody's turn comes within half as many stores as there are entries, and mostly it is
        a look at two numbers.
        """
        chunk = self._policy.turn()
        self._stores_left = min(chunk.alive // 4, _MOST_STORES)
        epoch = self.book.epoch
        if chunk.gone_at > now and chunk.epoch == epoch:
            return
        chunk.gone_at, chunk.epoch = inf, epoch
        for entry in chunk.entries():
            gone_at = entry.dies_at()
            if gone_at <= now or (entry.kind.epoch != epoch and not self._tags_hold(entry)):
                self.remove(entry, after)
            elif gone_at < chunk.gone_at:
                chunk.gone_at = gone_at


def _twin(entry: Entry) -> Entry:
    """Return a copy that is nowhere yet."""
    kind = entry.kind
    twin = Entry(entry.value, entry.born, kind.windows, kind.tags, kind.size)
    if kind.tags:
        twin.stamp(kind.epoch, kind.markers)
    if entry.quick_until == -inf:
        twin.expired, twin.quick_until = entry.expired, -inf
    return twin
