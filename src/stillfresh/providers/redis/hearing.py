"""
What one event loop hears of a cluster: every primary, or nothing.

An entry, its tags and whatever replaces them may be on any of the servers, so an ear counts on a
line to each one that has slots. Which these are may change, and near hits would never be told:

- each heartbeat asks for the slots as well, and a server that says something else than the map
  that is used ends everything that is near;
- so does each MOVED and ASK: the read that met it was answered by a server that may not be
  listened to, and is not kept;
- nor is what a thread reads before the loop has a line to each server of the map that is used now.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from .listening import Listener, is_primary

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..ears import Ear
    from ..tier import Tier
    from .link import Link
    from .links import Links
    from .slots import SlotMap
    from .urls import Place

_RETRY_SECONDS: Final = 1.0


class ClusterListener(Listener):
    """The line to one primary."""

    def __init__(
        self,
        link: Link,
        loop: asyncio.AbstractEventLoop,
        tier: Tier,
        hearing: Hearing,
        *,
        place: Place,
    ) -> None:
        super().__init__(link, loop, tier, hearing.ear)
        self.questions = [("ROLE",), ("CLUSTER", "SLOTS")]
        self.place = place
        self._here = link
        self._hearing = hearing
        self._slots = hearing.slots
        self._retry_at = 0.0

    def connect(self) -> None:
        """Connect, not more than once in a while: the server may be away."""
        now = self._loop.time()
        if not self._here.connected and now >= self._retry_at:
            self._retry_at = now + _RETRY_SECONDS
            _ = self._here.connect()  # its end tells `connected`

    def is_good(self, answers: list[Any]) -> bool:
        role, slots = answers
        if is_primary(role) and self._slots.agrees(slots, self.place):
            if not self._hearing.is_current():  # a thread has found slots elsewhere
                self._hearing.want()
            return True
        self.ear.opened(self)  # as if from the beginning
        self._slots.doubt()
        return False


class Hearing:
    """The ear of one event loop, and its lines. All of it runs on the thread of the loop."""

    def __init__(self, tier: Tier, slots: SlotMap, node: Callable[[Place], Links]) -> None:
        self.ear = tier.near.ear()
        self.slots = slots
        self._tier = tier
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._lines: dict[Place, ClusterListener] = {}
        self._version = -1
        self.closed = False
        """The connections were cut for good: no new ones are made."""
        self._nudged = False

    def want(self) -> Ear | None:
        """Return who listens for a read that is about to be sent, LIVE if all primaries do."""
        self._nudged = False
        if self.slots.stale or self.closed:
            return None
        if not self.is_current():
            version = self.slots.version
            self._arrange()
            self._version = version
        for line in self._lines.values():
            if line.want() is None:
                line.connect()
        return self.ear

    def is_current(self) -> bool:
        """Tell whether there is a line to each server of the map. From any thread."""
        return self._version == self.slots.version

    def hears(self) -> bool:
        """Tell whether what is read now may be kept. From any thread."""
        return self.is_current() and self._tier.near.now() < self.ear.until

    def nudge(self) -> None:
        """Listen soon: a thread would like to. From any thread."""
        if not self._nudged:
            self._nudged = True
            with suppress(RuntimeError):  # the loop is closed, perhaps in this moment
                self._loop.call_soon_threadsafe(self.want)

    def _arrange(self) -> None:
        """Have a line to each server that has slots, and to no other one."""
        places = self.slots.primaries()
        for place in set(self._lines) - places:
            self.ear.forget(self._lines.pop(place))
        for place in places - set(self._lines):
            link = self._node(place).here()
            line = ClusterListener(link, self._loop, self._tier, self, place=place)
            link.listener = self._lines[place] = line
            self.ear.expect(line)
