"""
How long a computation stands behind the lease of another one, in whatever process.

Mostly as long as it takes: the lease ends, the value is there. There are three exceptions, after
which it computes without storing, and what its policy says itself (`patience`):

- A holder has ended without a value. If all who wait took the lease one after the other, N
  processes would fail one after the other.
- It is waited for by another computation. That one may hold the lease for which, somewhere else,
  the holder of ours waits: nobody would ever answer.

    1. process 1   computes a, whose function needs b
    2. process 2   computes b, whose function needs a: waits for the lease of step 1
    3. process 1   waits for the lease of step 2: at most as long as a dead holder would keep it

- A holder is overdue: it has had its `timeout=` and the time to store. It has died, or it stands
  still; its callers would have had `ComputeTimeout` by now. Where there is an old value, it is
  served.
"""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING

from ..singleflight import Flight

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ..clock import Clock
    from ..providers.base import CacheProvider, Lease

_MOST_SECONDS = 1.0
"""At least so often it asks again: what it waits for may have ended without news."""
STORE_SECONDS = 1.0
"""What a holder may need beside its `timeout=`: from the grant to the call, and to store."""
_NONE_YET = object()


class Patience:
    """That of one flight. Leases are counted in real time, deadlines by the app's clock."""

    __slots__ = (
        *("_clock", "_ended", "_flight", "_gives_up", "_lease", "_mark", "_most", "_overdue_at"),
        *("_timeout", "_until"),
    )

    def __init__(
        self,
        flight: Flight,
        provider: CacheProvider,
        clock: Clock,
        *,
        most: float = inf,
        timeout: float = inf,
    ) -> None:
        self._flight = flight
        self._lease = provider.lease_seconds
        self._clock = clock
        self._most = most
        self._timeout = timeout
        self._mark: Hashable = _NONE_YET
        self._overdue_at = inf
        self._until: float | None = None
        self._gives_up = inf
        self._ended = False

    def meet(self, mark: Hashable) -> None:
        """Note which lease is in the way. The holder of another one has its own time."""
        if mark != self._mark:
            self._mark = mark
            self._overdue_at = self._clock.now() + self._timeout + STORE_SECONDS

    def is_overdue(self) -> bool:
        """Tell whether the holder of the lease must have come to its end, if it lives."""
        return self._clock.now() >= self._overdue_at

    def end(self) -> None:
        """Somebody who was waited for has ended without a value."""
        self._ended = True

    def is_over(self) -> bool:
        """Tell whether it is to compute without a lease."""
        if self._until is None:
            began = time.monotonic()
            self._until, self._gives_up = began + self._lease, began + self._most
        now = time.monotonic()
        if self._ended or now >= self._gives_up or self.is_overdue():
            return True
        return self._flight.wanted and now >= self._until

    def seconds(self) -> float:
        """How long to wait now."""
        end = self._gives_up
        if self._flight.wanted and self._until is not None:
            end = min(end, self._until)
        left = min(end - time.monotonic(), self._overdue_at - self._clock.now())
        return min(_MOST_SECONDS, max(0.0, left))


def holder_of(lease: Lease | None) -> Flight | None:
    """Return the flight under *lease*, where it is one of this process."""
    found = None if lease is None or lease.holder is None else lease.holder()
    return found if isinstance(found, Flight) else None
