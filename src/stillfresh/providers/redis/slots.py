"""
The slots of a cluster: which server has which, as far as is known here.

A name is in the slot of what stands between its braces. Who asks the wrong server is told the
right one, so an old map costs a trip and is never wrong for longer.
"""

from __future__ import annotations

import binascii
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from ...errors import ProviderUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .urls import Place

    Range = tuple[int, int, Place]

SLOTS: Final = 16_384


@lru_cache(maxsize=20_000)
def slot_of(name: str) -> int:
    """Return the slot of *name*."""
    begin = name.find("{")
    end = name.find("}", begin + 1)
    if begin >= 0 and end > begin + 1:
        name = name[begin + 1 : end]
    return binascii.crc_hqx(name.encode(), 0) % SLOTS


class SlotMap:
    """Which server has which slot: one map for a process, replaced as a whole or slot by slot."""

    def __init__(self, seeds: tuple[Place, ...]) -> None:
        self._seeds = seeds
        self._owners: list[Place | None] = [None] * SLOTS
        self.stale = True
        """It is to be asked for before it is used again."""
        self.version = 0
        """Grows with each change."""
        self.unrest: Callable[[], object] = lambda: None
        """Called when a slot is, or may be, where it was not: also while it is on its way."""
        self._silent: set[Place] = set()
        """Those that were asked and have not answered yet: others are asked before them."""
        self._ranges: tuple[int, list[Range]] = (-1, [])

    def owner(self, slot: int) -> Place:
        """
        Return who has *slot*.

        Raises:
            ProviderUnavailable: Nobody has.
        """
        found = self._owners[slot]
        if found is None:
            self.stale = True
            raise ProviderUnavailable(f"no server of the cluster has slot {slot}")
        return found

    def candidates(self) -> list[Place]:
        """Return the servers to ask for the map: those that are in it, then those of the URL."""
        known = [place for place in dict.fromkeys(self._owners) if place is not None]
        every = dict.fromkeys([*known, *self._seeds])
        return sorted(every, key=lambda place: place in self._silent)

    def asking(self, place: Place) -> None:
        """Note that a server is about to be asked; its answer is what `read` gets."""
        self._silent.add(place)

    def moved(self, slot: int, place: Place) -> None:
        """Note what a server has said."""
        self._owners[slot] = place
        self.version += 1
        self.unrest()

    def doubt(self) -> None:
        """Ask for it anew before it is used again."""
        self.stale = True
        self.unrest()

    def primaries(self) -> set[Place]:
        """Return who has slots."""
        return {place for place in self._owners if place is not None}

    def agrees(self, reply: Any, asked: Place) -> bool:
        """Tell whether a reply to CLUSTER SLOTS of the server at *asked* says the same."""
        version, ranges = self._ranges
        if version != self.version:
            ranges = _ranges_of(self._owners)
            self._ranges = self.version, ranges
        try:
            return ranges == _ranges_in(reply, asked)
        except ProviderUnavailable:
            return False

    def read(self, reply: Any, asked: Place) -> None:
        """
        Take the map from a reply to CLUSTER SLOTS of the server at *asked*.

        Raises:
            ProviderUnavailable: It is no such reply.
        """
        owners = _read(reply, asked)
        self._silent.discard(asked)
        self.stale = False
        if owners != self._owners:
            self._owners = owners
            self.version += 1
            self.unrest()


def place_in(host: bytes | str | None, port: int, asked: Place) -> Place:
    """Return a place that the server at *asked* has named; without a host it is that one's."""
    name = host.decode() if isinstance(host, bytes) else host
    return (asked[0] if name in {None, "", "?"} else str(name)), int(port)


def redirected(message: str, asked: Place) -> Place:
    """Return the place in the text of a MOVED or ASK: the word, the slot, host and port."""
    host, _, port = message.split()[2].rpartition(":")
    return place_in(host, int(port), asked)


def _read(reply: Any, asked: Place) -> list[Place | None]:
    owners: list[Place | None] = [None] * SLOTS
    for first, last, place in _ranges_in(reply, asked):
        owners[first : last + 1] = [place] * (last + 1 - first)
    return owners[:SLOTS]


def _ranges_in(reply: Any, asked: Place) -> list[Range]:
    """Return the ranges in a reply to CLUSTER SLOTS, in order, those side by side as one."""
    found: list[Range] = []
    try:
        for first, last, (host, port, *_), *_ in sorted(reply, key=itemgetter(0)):
            place = place_in(host, port, asked)
            if found and found[-1][1] + 1 == first and found[-1][2] == place:
                first = found.pop()[0]  # noqa: PLW2901  # one longer range
            found.append((int(first), int(last), place))
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ProviderUnavailable(f"no slots were understood in {reply!r:.100}") from error
    return found


def _ranges_of(owners: list[Place | None]) -> list[Range]:
    found: list[Range] = []
    at = 0
    for place, slots in groupby(owners):
        begin, at = at, at + sum(1 for _ in slots)
        if place is not None:
            found.append((begin, at - 1, place))
    return found
