"""
Which entry leaves when the memory is full: S3-FIFO.

From "FIFO queues are all you need for cache eviction" (Yang, Zhang, Qiu, Yue, Vinayak;
SOSP 2023).

Most keys are asked for once and never again. A list ordered by last use, the classic LRU, lets
each of them walk through all of the cache before it leaves, and one scan over many keys throws
out everything that is used. Here a key has to prove itself first:

    new ────► small, a tenth ──── touched ────► main ◄─── touched: once more round
                    │                             │
                 untouched                     untouched
                    ▼                             ▼
              out, and remembered                out
                    │
                    └── asked for again soon ──► straight to main

A scan passes through the tenth. What is remembered about those who left is their hash alone,
in two generations, about as many as there are entries.

A hit does nothing here: the entry counts its hits anyway (`visits`, `looks`), and the queue
compares the count with what it was the last time round. A touch is worth one more round in
main, three at most. So that one eviction never walks a long queue in which everybody was
touched, a round of second chances is cut off at a fixed number.

Who leaves from the middle stays in its queue as a gap, until its turn comes or until there are
more gaps than entries.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..entry import Entry

_SMALL_SHARE = 10
"""The small queue has one in so many."""
_MOST_CREDIT = 3
_MOST_CHANCES = 100
_FEW = 64
"""Gaps and memories that are not worth counting."""


class Resident:
    """An entry with its place in the queues."""

    __slots__ = ("counted", "credit", "entry", "gone_at", "key", "namespace", "present", "queue")

    def __init__(self, namespace: str, key: str, entry: Entry) -> None:
        self.namespace = namespace
        self.key = key
        self.entry = entry
        self.gone_at = entry.dies_at()
        self.counted = 0
        """The touches of the entry when the queue last looked."""
        self.credit = 0
        """Rounds that it may stay untouched."""
        self.queue: Queue | None = None
        """Where it waits; None once it left."""
        self.present = True
        """It counts; False once the table took it out."""

    def touched(self) -> int:
        """Return how often it was touched since the last time that this was asked."""
        touches = self.entry.visits + self.entry.looks
        since = touches - self.counted
        self.counted = touches
        return since


class Queue:
    """First in, first out, with gaps."""

    __slots__ = ("alive", "line")

    def __init__(self) -> None:
        self.line: deque[Resident] = deque()
        self.alive = 0

    def append(self, resident: Resident) -> None:
        """Let *resident* wait at the end."""
        resident.queue = self
        self.alive += 1
        self.line.append(resident)

    def popleft(self) -> Resident | None:
        """Return the resident who waited longest, or None."""
        while True:
            try:
                resident = self.line.popleft()
            except IndexError:
                return None
            if resident.queue is not None:
                resident.queue = None
                self.alive -= 1
                return resident


class S3Fifo:
    """The queues. Not thread-safe by itself: the provider that owns it holds its lock."""

    def __init__(self) -> None:
        self.small = Queue()
        self.main = Queue()
        self._gaps = 0
        self._ghosts: set[int] = set()
        self._older_ghosts: set[int] = set()

    def __len__(self) -> int:
        return self.small.alive + self.main.alive

    def enter(self, resident: Resident) -> None:
        """Take in a new resident."""
        ghost = hash((resident.namespace, resident.key))
        if ghost in self._ghosts or ghost in self._older_ghosts:
            self._ghosts.discard(ghost)
            self._older_ghosts.discard(ghost)
            self.main.append(resident)
        else:
            self.small.append(resident)

    def leave(self, resident: Resident) -> None:
        """Let *resident* go, from wherever it is; nothing happens when it left already."""
        if resident.queue is None:
            return
        resident.queue.alive -= 1
        resident.queue = None
        self._gaps += 1
        if self._gaps > len(self) + _FEW:
            self._gaps = 0
            close_gaps(self.small.line)
            close_gaps(self.main.line)

    def evict(self) -> Resident | None:
        """Let go of the one that is worth least, and return it; None when there is nobody."""
        chances = 0
        while True:
            from_small = self.small.alive * _SMALL_SHARE >= len(self)
            resident = (self.small if from_small else self.main).popleft()
            if resident is None:
                return None
            if from_small:
                if not resident.touched():
                    self._remember(resident)
                    return resident
                self.main.append(resident)
                continue
            credit = min(resident.credit + resident.touched(), _MOST_CREDIT)
            if credit <= 0 or chances >= _MOST_CHANCES:
                return resident
            chances += 1
            resident.credit = credit - 1
            self.main.append(resident)

    def _remember(self, resident: Resident) -> None:
        self._ghosts.add(hash((resident.namespace, resident.key)))
        if len(self._ghosts) > len(self) // 2 + 1:
            self._older_ghosts = self._ghosts
            self._ghosts = set()


def close_gaps(line: deque[Resident]) -> None:
    """
    Take out of *line* who left.

    It turns round in place: a destructor that stores something meanwhile adds to the same line.
    """
    for _ in range(len(line)):
        if not line:
            return
        resident = line.popleft()
        if resident.present and resident.queue is not None:
            line.append(resident)
