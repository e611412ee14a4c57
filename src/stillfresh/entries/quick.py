"""The index behind the short cut: arguments as they are, to entries that may be dead."""

from __future__ import annotations

import threading
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..entry import Entry

_SLACK: Final = 64


class QuickIndex:
    """
    Entries by the arguments of the calls that they answer.

    Whoever drops an entry marks it dead and does not look for it here. A dead one keeps only
    its number of hits; it leaves when its place is needed, or when half of the index may be
    dead. An entry is found under one key at most, in one index: a nan is never found again,
    and a `key=` may leave out arguments, so there is no end to the calls that have one entry.
    """

    __slots__ = ("_limit", "_lock", "_retired", "entries")

    def __init__(self) -> None:
        self.entries: dict[object, Entry] = {}
        """Read by the generated wrappers, without a lock."""
        self._lock = threading.RLock()  # garbage may be collected anywhere, and call back
        self._limit = _SLACK
        self._retired = 0

    def remember(self, quick: object, entry: Entry) -> None:
        """Let calls with these arguments be answered from *entry* while it is fresh."""
        with self._lock:
            if entry.visits is not False:
                return
            entry.visits = 0  # it is indexed from now on
            if len(self.entries) >= self._limit:
                self._sweep()
            old = self.entries.get(quick)
            self.entries[quick] = entry
            if old is not None:
                self._retire(old)

    def hits(self) -> int:
        """Return how many calls were answered from here."""
        with self._lock:
            return self._retired + sum(entry.visits for entry in list(self.entries.values()))

    def close(self) -> int:
        """Forget everything, and return how many calls were answered from here."""
        with self._lock:
            while self.entries:
                self._retire(self.entries.popitem()[1])
            hits, self._retired = self._retired, 0
            return hits

    def _sweep(self) -> None:
        for quick, entry in list(self.entries.items()):
            if entry.quick_until == -inf and self.entries.get(quick) is entry:
                del self.entries[quick]
                self._retire(entry)
        self._limit = 2 * len(self.entries) + _SLACK

    def _retire(self, entry: Entry) -> None:
        """Count its hits here. For the eviction they stay touches; another index may have it."""
        self._retired += entry.visits
        entry.looks += entry.visits
        entry.visits = False
