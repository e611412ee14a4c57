"""
What is known about the variants of one URL, and how many there may be (http-rules.md A9).

One too many is not stored: nobody fills the cache with values of a field. Origins are different.
Anybody may invent some, and a page that is then stored for none of the real ones would be made for
each of their requests. So there the variant leaves that was asked for longest ago.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ...computing.drivers import ON_LOOP
from ...errors import ProviderUnavailable

if TYPE_CHECKING:
    from ...readthrough import Reader


class Learnt(NamedTuple):
    """What is known about the variants of one URL."""

    names: tuple[bytes, ...]
    first: str
    """The variant in the primary entry."""
    seen: dict[str, float]
    """The variants that are kept, and until when; room is made by time."""

    def has_room(self, variant: str, most: int, now: float) -> bool:
        """Tell whether one more variant may be kept."""
        if variant in self.seen or len(self.seen) < most:
            return True
        for name in [name for name, until in self.seen.items() if until <= now]:
            del self.seen[name]
        return len(self.seen) < most

    def note(self, variant: str, until: float) -> None:
        """One that is kept *until* then was asked for."""
        self.seen.pop(variant, None)
        self.seen[variant] = until


async def make_room(learnt: Learnt, reader: Reader, key: str) -> bool:
    """Let the variant under *key* leave that was asked for longest ago; False if none can."""
    region = reader.region
    for variant in learnt.seen:
        name = f"{key}|{variant}"
        if variant != learnt.first and region.flights.get(name) is None:
            del learnt.seen[variant]
            with suppress(ProviderUnavailable):  # what comes next will say so
                await region.drop(ON_LOOP.ops(region.guard), [name], "evict")
            return True
    return False
