"""
The leases that this process holds, and the thread that keeps them.

A computation may take longer than a lease, and it may block the loop that runs it. So nobody
on a loop renews: a thread does, about every third of a lease, and it ends when there is nothing
to renew for a while. A computation that ends sooner costs it nothing.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ...errors import ProviderUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..base import Address, Lease

_IDLE_ROUNDS: Final = 3
_ours: Final[dict[bytes, Lease]] = {}
"""The leases that this process holds, on whatever server, by what they begin with there."""


def our_lease(head: bytes) -> Lease | None:
    """Return the lease of this process that begins with *head* on its server."""
    return _ours.get(head)


def forget_our_leases() -> None:
    """Get ready for the child of a fork: the leases are the parent's."""
    _ours.clear()


class Grant:
    """What a lease of this provider carries."""

    __slots__ = ("fences", "head", "renewed_at", "run", "since", "versions")

    def __init__(
        self,
        head: bytes,
        run: bytes,
        versions: dict[str, tuple[bytes, bytes]],
        fences: list[bytes],
        since: float,
    ) -> None:
        self.head = head
        """The beginning of the lease on the server; no other lease begins like it."""
        self.run = run
        self.versions = versions
        """Of the tags that were known when it was handed out."""
        self.fences = fences
        self.since = self.renewed_at = since


class Renewals:
    """The leases that are held, and their thread."""

    def __init__(
        self,
        seconds: float,
        most: float,
        renew: Callable[[list[tuple[Address, bytes]]], list[bool]],
        release: Callable[[Address, bytes], None],
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._renew = renew
        self._release = release
        self._held: dict[bytes, tuple[Lease, Grant]] = {}
        """By what they begin with: an invalidation lets one address have two at a time."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def add(self, lease: Lease, grant: Grant) -> None:
        """Keep *lease* from now on."""
        with self._lock:
            self._held[grant.head] = lease, grant
            _ours[grant.head] = lease
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="stillfresh-leases", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no room, or the end of the process: the next one tries again
                    return
                self._thread = thread

    def drop(self, grant: Grant) -> None:
        """Do not keep the lease that carries *grant* any more."""
        with self._lock:
            self._held.pop(grant.head, None)
            _ours.pop(grant.head, None)

    def close(self) -> list[tuple[Address, bytes]]:
        """Keep nothing any more; return what was held, and how it begins on the server."""
        with self._lock:
            held = [(lease.address, grant.head) for lease, grant in self._held.values()]
            self._held.clear()
            for _, head in held:
                _ours.pop(head, None)
        self._closed.set()
        return held

    def _run(self) -> None:
        idle = 0
        while not self._closed.wait(self._seconds / 3):
            with self._lock:
                held = list(self._held.values())
                idle = 0 if held else idle + 1
                if idle > _IDLE_ROUNDS:
                    self._thread = None
                    return
            self._round(held)

    def _give_back(self, address: Address, head: bytes) -> None:
        with suppress(ProviderUnavailable):  # then it runs out
            self._release(address, head)

    def _round(self, held: list[tuple[Lease, Grant]]) -> None:
        now = time.monotonic()
        due: list[tuple[Lease, Grant]] = []
        for lease, grant in held:
            if not lease.alive():
                self.drop(grant)
                self._give_back(lease.address, grant.head)
            elif now - grant.since > self._most:
                self.drop(grant)
            elif now - grant.renewed_at >= self._seconds / 6:
                due.append((lease, grant))
        if not due:
            return
        try:
            kept = self._renew([(lease.address, grant.head) for lease, grant in due])
        except ProviderUnavailable:
            return  # there is time for another round
        for (_, grant), still in zip(due, kept, strict=True):
            if still:
                grant.renewed_at = now
            else:
                self.drop(grant)
