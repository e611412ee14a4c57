"""
The slots of a cluster: which server has which, as far as is known here.

A name is in the slot of what stands between its braces. Who asks the wrong server is told the
right one, so an old map costs a trip and is never wrong for longer.
"""

from __future__ import annotations

import binascii
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ...errors import ProviderUnavailable

if TYPE_CHECKING:
    from .urls import Place

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
        return list(dict.fromkeys([*known, *self._seeds]))

    def moved(self, slot: int, place: Place) -> None:
        """Note what a server has said."""
        self._owners[slot] = place

    def read(self, reply: Any, asked: Place) -> None:
        """
        Take the map from a reply to CLUSTER SLOTS of the server at *asked*.

        Raises:
            ProviderUnavailable: It is no such reply.
        """
        owners: list[Place | None] = [None] * SLOTS
        try:
            for first, last, primary, *_ in reply:
                place = place_in(primary[0], primary[1], asked)
                owners[first : last + 1] = [place] * (last + 1 - first)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise ProviderUnavailable(f"no slots were understood in {reply!r:.100}") from error
        self._owners = owners[:SLOTS]
        self.stale = False


def place_in(host: bytes | str | None, port: int, asked: Place) -> Place:
    """Return a place that the server at *asked* has named; without a host it is that one's."""
    name = host.decode() if isinstance(host, bytes) else host
    return (asked[0] if name in {None, "", "?"} else str(name)), int(port)


def redirected(message: str, asked: Place) -> Place:
    """Return the place in the text of a MOVED or ASK: the word, the slot, host and port."""
    host, _, port = message.split()[2].rpartition(":")
    return place_in(host, int(port), asked)
