"""The index behind the short cut: arguments as they are, to entries that may be dead."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Final

from ..forks import free_in_child

if TYPE_CHECKING:
    from ..entry import Entry

_SLACK: Final = 64


class QuickIndex:
    """
    Entries by the arguments of the calls that they answer.

    Whoever drops an entry marks it dead and does not look for it here. A dead one keeps only
    its number of hits; it leaves when its place is needed, or when its turn comes: each newcomer
    looks at two of the others, so that at most about half of the index is dead, and nobody ever
    has to look through all of it. An entry is remembered once, for one call. It may answer others,
    without end, where a `key=` leaves out arguments; and a nan equals nothing, so each call with
    one would be remembered anew.
    """

    __slots__ = ("_lock", "_retired", "_turns", "entries")

    def __init__(self) -> None:
        self.entries: dict[object, Entry] = {}
        """Read by the generated wrappers, without a lock."""
        self._lock = free_in_child()
        self._turns: deque[object] = deque()
        """The keys, in the order in which they are looked at."""
        self._retired = 0

    def remember(self, quick: object, entry: Entry) -> None:
        """Let calls with these arguments be answered from *entry* while it is fresh."""
        with self._lock:
            if entry.visits is not False:
                return
            entry.visits = 0  # it is indexed from now on
            old = self.entries.get(quick)
            self.entries[quick] = entry
            if old is not None:
                self._retire(old)
                return
            turns, entries = self._turns, self.entries
            turns.append(quick)
            if len(turns) > _SLACK:
                for other in (turns.popleft(), turns.popleft()):
                    seen = entries.get(other)
                    if seen is None:
                        continue
                    if seen.quick_until != -inf:
                        turns.append(other)
                    else:
                        del entries[other]
                        self._retire(seen)

    def hits(self) -> int:
        """Return how many calls were answered from here."""
        with self._lock:
            return self._retired + sum(entry.visits for entry in list(self.entries.values()))

    def close(self) -> int:
        """Forget everything, and return how many calls were answered from here."""
        with self._lock:
            self._turns.clear()
            while self.entries:
                self._retire(self.entries.popitem()[1])
            hits, self._retired = self._retired, 0
            return hits

    def _retire(self, entry: Entry) -> None:
        """Count its hits here. For the eviction they stay touches; another index may have it."""
        self._retired += entry.visits
        entry.looks += entry.visits
        entry.visits = False
