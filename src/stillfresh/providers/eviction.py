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
takes from `looks` what it has counted. What is left is what the entry may live on: a touch is
worth one more round in main, three at most. So that one eviction never walks a long queue in
which everybody was touched, a round of second chances is cut off at a fixed number.

A queue is a chain of short lists, its chunks. Who leaves from the middle stays as a gap, until
its chunk has more gaps than entries: to close them costs the length of a chunk, however long
the queue is. A chunk also knows a time before which none of its entries is over, so that the
sweep looks at one number instead of at all of them.

A collection of garbage may run a destructor that calls back, wherever something is called or
made. Where that must not happen, there are only look-ups and assignments.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..entry import Entry

CHUNK: Final = 256
"""Entries in a chunk."""
_SMALL_SHARE: Final = 10
"""The small queue has one in so many."""
_MOST_ROUNDS: Final = 3
_MOST_CHANCES: Final = 100
_FEW: Final = 16
"""Gaps that are not worth closing."""


class Chunk:
    """A piece of a queue: its entries are between `first` and `fill`, with gaps."""

    __slots__ = (
        "alive",
        "closing",
        "epoch",
        "fill",
        "first",
        "gone_at",
        "line",
        "next",
        "prev",
        "queue",
    )

    def __init__(self, queue: Queue, prev: Chunk | None) -> None:
        self.line: list[Entry | None] = [None] * CHUNK
        self.first = 0
        self.fill = 0
        self.alive = 0
        self.gone_at = inf
        """No entry in it is over before this moment."""
        self.epoch = 0
        """The tags of all entries in it were looked at in this epoch, or later."""
        self.closing = False
        self.queue = queue
        self.prev = prev
        self.next: Chunk | None = None

    def entries(self) -> list[Entry]:
        """Return who waits here, in order."""
        line = self.line[self.first : self.fill]
        return [entry for entry in line if entry is not None and entry.chunk is self]

    def close_gaps(self) -> None:
        """
        Move the entries together.

        Whatever a destructor adds or takes out meanwhile finds each entry here once: at every
        turn of the loop those that were moved are in order, with gaps behind them.
        """
        if self.closing:
            return
        self.closing = True
        line = self.line
        to = at = self.first
        while at < self.fill:
            if to < self.first:  # noqa: PLR1730  # somebody was evicted meanwhile
                to = self.first
            entry = line[at]
            line[at] = None
            if entry is not None and entry.chunk is self:
                line[to] = entry
                to += 1
            at += 1
        self.fill = to
        self.closing = False
        if self.next is not None:
            del line[self.fill :]  # nobody is added in the middle of a queue


class Queue:
    """First in, first out, with gaps."""

    __slots__ = ("alive", "head", "tail")

    def __init__(self) -> None:
        self.alive = 0
        self.head = self.tail = Chunk(self, None)

    def append(self, entry: Entry, gone_at: float, epoch: int) -> None:
        """Let *entry* wait at the end. It is over at *gone_at*, or later."""
        chunk = self.tail
        while chunk.fill == CHUNK:
            chunk = self.grow()
        chunk.line[chunk.fill] = entry
        chunk.fill += 1
        chunk.alive += 1
        self.alive += 1
        entry.chunk = chunk
        chunk.gone_at = min(chunk.gone_at, gone_at)
        chunk.epoch = min(chunk.epoch, epoch)

    def grow(self) -> Chunk:
        """Return the last chunk, which has room."""
        new = Chunk(self, self.tail)
        tail = self.tail
        if tail.fill == CHUNK:
            new.prev = tail
            tail.next = self.tail = new
            if not tail.alive:
                self.unlink(tail)
        return self.tail

    def advance(self) -> bool:
        """Go on to the next chunk when the first is through; False when there is none."""
        chunk = self.head
        if chunk.first < chunk.fill:
            return True
        if chunk.next is not None:
            self.unlink(chunk)
            return True
        if not chunk.closing:
            chunk.first = chunk.fill = 0
        return False

    def unlink(self, chunk: Chunk) -> None:
        """Take out a chunk in which nobody waits any more; never the last one."""
        before, behind = chunk.prev, chunk.next
        if behind is None or chunk.alive:
            return
        if before is not None:
            before.next = behind
        elif self.head is chunk:
            self.head = behind
        else:
            return  # it was taken out already
        behind.prev = before
        chunk.prev = None


class S3Fifo:
    """The queues. Not thread-safe by itself: who owns it holds a lock."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: nobody is there, and nobody is remembered."""
        self.small = Queue()
        self.main = Queue()
        self.ghosts: set[int] = set()
        self.older_ghosts: set[int] = set()
        self._room = 1
        """How many more ghosts there may be in the younger generation."""
        self._hand = self.small.tail

    def __len__(self) -> int:
        return self.small.alive + self.main.alive

    def enter(self, entry: Entry) -> None:
        """Take in a newcomer, whose `space` and `key` say who it is."""
        ghost = hash((entry.space, entry.key))
        known = ghost in self.ghosts or ghost in self.older_ghosts
        if known:
            self.recall(ghost)
        queue = self.main if known else self.small
        queue.append(entry, entry.dies_at(), entry.epoch)

    def recall(self, ghost: int) -> None:
        """Forget that somebody was here not long ago: he is back."""
        self.ghosts.discard(ghost)
        self.older_ghosts.discard(ghost)

    def leave(self, entry: Entry) -> None:
        """Let *entry* go, from wherever it waits; nothing happens when it left already."""
        chunk: Chunk | None = entry.chunk
        if chunk is None:
            return
        entry.chunk = None
        chunk.alive -= 1
        chunk.queue.alive -= 1
        if not chunk.alive and chunk.next is not None:
            chunk.queue.unlink(chunk)
        elif chunk.fill - chunk.first > 2 * chunk.alive + _FEW:
            chunk.close_gaps()

    def evict(self) -> Entry | None:
        """Let go of the one that is worth least, and return it; None when there is nobody."""
        small, main = self.small, self.main
        chances = 0
        while True:
            there = small.alive + main.alive
            queue = small if small.alive * _SMALL_SHARE >= there else main
            chunk = queue.head
            at = chunk.first
            if at >= chunk.fill:
                if queue.advance():
                    continue
                return None
            entry = chunk.line[at]
            chunk.line[at] = None
            chunk.first = at + 1
            if entry is None or entry.chunk is not chunk:
                continue  # a gap
            entry.chunk = None
            chunk.alive -= 1
            queue.alive -= 1
            touches = entry.visits + entry.looks
            if touches <= 0:
                if queue is small:
                    self.ghosts.add(hash((entry.kind.space, entry.key)))
                    self._room -= 1
                    if self._room <= 0:
                        self.older_ghosts = self.ghosts
                        self.ghosts = set()
                        self._room = there // 2
                return entry
            if queue is small:
                left = 0
            elif chances < _MOST_CHANCES:
                chances += 1
                left = min(touches, _MOST_ROUNDS) - 1
            else:
                return entry
            entry.looks = left - entry.visits
            main.append(entry, chunk.gone_at, chunk.epoch)

    def turn(self) -> Chunk:
        """Return the chunk whose turn it is to be looked through; each gets its own."""
        hand = self._hand
        while hand.next is not None and not hand.alive:
            hand = hand.next
        if hand.next is not None:
            self._hand = hand.next
        else:
            self._hand = (self.main if hand.queue is self.small else self.small).head
        return hand
