"""
How long a computation stands behind the lease of another one, in whatever process.

Mostly as long as it takes: the lease ends, the value is there. There are two exceptions, after
which it computes without storing, and what its policy says itself (`patience`):

- A holder has ended without a value. If all who wait took the lease one after the other, N
  processes would fail one after the other.
- It is waited for by another computation. That one may hold the lease for which, somewhere else,
  the holder of ours waits: nobody would ever answer.

    1. process 1   computes a, whose function needs b
    2. process 2   computes b, whose function needs a: waits for the lease of step 1
    3. process 1   waits for the lease of step 2: at most as long as a dead holder would keep it
"""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING

from ..singleflight import Flight

if TYPE_CHECKING:
    from ..providers.base import CacheProvider, Lease

_MOST_SECONDS = 1.0
"""At least so often it asks again: what it waits for may have ended without news."""


class Patience:
    """That of one flight. It is counted in real time, as leases are."""

    __slots__ = ("_ended", "_flight", "_gives_up", "_lease", "_most", "_until")

    def __init__(self, flight: Flight, provider: CacheProvider, most: float = inf) -> None:
        self._flight = flight
        self._lease = provider.lease_seconds
        self._most = most
        self._until: float | None = None
        self._gives_up = inf
        self._ended = False

    def end(self) -> None:
        """Somebody who was waited for has ended without a value."""
        self._ended = True

    def is_over(self) -> bool:
        """Tell whether it is to compute without a lease."""
        if self._until is None:
            began = time.monotonic()
            self._until, self._gives_up = began + self._lease, began + self._most
        now = time.monotonic()
        return self._ended or now >= self._gives_up or (self._flight.wanted and now >= self._until)

    def seconds(self) -> float:
        """How long to wait now."""
        end = self._gives_up
        if self._flight.wanted and self._until is not None:
            end = min(end, self._until)
        return min(_MOST_SECONDS, max(0.0, end - time.monotonic()))


def holder_of(lease: Lease | None) -> Flight | None:
    """Return the flight under *lease*, where it is one of this process."""
    found = None if lease is None or lease.holder is None else lease.holder()
    return found if isinstance(found, Flight) else None
