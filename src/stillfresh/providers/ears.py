"""
Who listens for a near tier, and until when that counts.

A connection that is cut says nothing more, and does not say so. An `Ear` is what one event loop
hears, over one connection or, in a cluster, over one for each primary:

    OFF ── opened ──► CONNECTING ── heard ──► LIVE ── nothing heard for 3 s ──► SUSPECT
     ▲                                         ▲ └───────────── heard ────────────┘
     └──────────── lost: all of its entries go, whatever the state ───────────────

Nothing runs when an ear becomes suspect: `until` has passed. It counts from the moment at which a
heartbeat was *sent*, so what is served is never older than that and three seconds.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

LIVE_SECONDS: Final = 3.0
"""For so long entries may be served after the last answered heartbeat was *sent*."""


class Ear:
    """What one event loop hears of changes: one connection, or several that belong together."""

    __slots__ = ("__weakref__", "_drop", "_heard", "closed", "entries", "generation", "until")

    def __init__(self, drop: Callable[[Ear], object]) -> None:
        self._drop = drop
        self._heard: dict[Hashable, float | None] = {}
        """By line: when the last question that was answered was sent; None: it is not open."""
        self.until = -inf
        """The moment before which what was kept may be served."""
        self.generation = 0
        """Grows when a connection is opened or lost: reads from before are not kept."""
        self.entries = 0
        """How many are kept that depend on it."""
        self.closed = False
        """Nobody listens any more, and never will: its process or its loop is another one."""

    def state(self, now: float) -> str:
        """Return OFF, CONNECTING, LIVE or SUSPECT."""
        moments = [moment for moment in self._heard.values() if moment is not None]
        if not moments:
            return "OFF"
        if -inf in moments or len(moments) < len(self._heard):
            return "CONNECTING"
        return "LIVE" if now < self.until else "SUSPECT"

    def expect(self, line: Hashable) -> None:
        """Count on *line*: without it nothing is served."""
        if line not in self._heard:
            self._heard[line] = None
            self._reset()

    def forget(self, line: Hashable) -> None:
        """Count on *line* no more."""
        if line in self._heard:
            del self._heard[line]
            self._reset()

    def opened(self, line: Hashable) -> None:
        """The server was asked to push over *line*; what is read over it from here on counts."""
        self._reset()
        self._heard[line] = -inf

    def heard(self, line: Hashable, sent_at: float) -> None:
        """What was sent over *line* at that moment was answered, and *line* is still the same."""
        last = self._heard.get(line)
        if last is not None and not self.closed:
            self._heard[line] = max(last, sent_at)
            moments = [-inf if moment is None else moment for moment in self._heard.values()]
            self.until = min(moments) + LIVE_SECONDS

    def lost(self, line: Hashable) -> None:
        """Nothing more comes over *line*, until it is opened again."""
        if self._heard.get(line) is not None:
            self._heard[line] = None
            self._reset()

    def doubt(self) -> None:
        """What was heard says nothing any more; the lines are as they were."""
        for line, moment in self._heard.items():
            self._heard[line] = None if moment is None else -inf
        self._reset()

    def close(self) -> None:
        """Nothing more comes over any of its lines."""
        self.closed = True
        self._heard.clear()
        self._reset()

    def _reset(self) -> None:
        self.until = -inf
        self.generation += 1
        self._drop(self)
