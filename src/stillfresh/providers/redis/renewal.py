"""
The leases that this process holds, and the thread that keeps them.

A computation may take longer than a lease, and it may block the loop that runs it. So nobody
on a loop renews: a thread does, about every third of a lease, and it ends when there is nothing
to renew for a while. A computation that ends sooner costs it nothing.

A lease is kept until the server has answered what ends it. Where that answer is lost, the lease
may be there still, and nobody else can know that its holder has no more use for it:

    1. the holder     sends the store; the connection is reset, and the holder has its value
    2. other callers  find the lease, and would wait for a whole one
    3. the thread     gives it back, again and again until it is told that it is gone

So does whoever meets it in this process. Nothing of that can hurt a store that is on its way:
only a holder that is no more has its lease given back, and neither `RENEW` nor `RELEASE` does
anything where the store has arrived before.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from ...errors import ProviderUnavailable
from ...forks import free_in_child
from ..base import Lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..base import Address

_IDLE_ROUNDS: Final = 3
_RETRY_SECONDS: Final = 1.0
_ours: Final[dict[bytes, Lease]] = {}
"""The leases that this process holds, on whatever server, by what they begin with there."""


def our_lease(head: bytes) -> Lease | None:
    """Return the lease of this process that begins with *head* on its server."""
    return _ours.get(head)


def _never() -> bool:
    return False


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
        release: Callable[[list[tuple[Address, bytes]]], list[bool]],
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._renew = renew
        self._release = release
        self._held: dict[bytes, tuple[Lease, Grant]] = {}
        """By what they begin with: an invalidation lets one address have two at a time."""
        self._lock = free_in_child()
        self._thread: threading.Thread | None = None
        self._bell = threading.Event()
        self._closed = False
        self._unpaid = False
        """The server did not answer when something was given back."""

    def add(self, lease: Lease, grant: Grant) -> None:
        """Keep *lease* from now on."""
        with self._lock:
            if self._closed:  # nobody would take it out
                return
            self._held[grant.head] = lease, grant
            _ours[grant.head] = lease
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="stillfresh-leases", daemon=True)
                self._thread = thread  # first: garbage that is collected may call back
                try:
                    thread.start()
                except RuntimeError:  # no room, or the end of the process: the next one tries again
                    self._thread = None

    def drop(self, grant: Grant) -> None:
        """Do not keep the lease that carries *grant* any more."""
        with self._lock:
            self._held.pop(grant.head, None)
            _ours.pop(grant.head, None)

    def owe(self, address: Address, head: bytes) -> Grant:
        """
        Keep the lease that begins with *head* only to give it back, if the server has it.

        Its holder is not kept with it, nor the value.
        """
        lease = Lease(address, frozenset(), _never, None)
        lease.token = grant = Grant(head, b"", {}, [], time.monotonic())
        self.add(lease, grant)
        return grant

    def pay(self) -> None:
        """Give back now what is over; otherwise the next round does."""
        self._bell.set()

    def close(self) -> list[tuple[Address, bytes]]:
        """Keep nothing any more; return what was held, and how it begins on the server."""
        with self._lock:
            held = [(lease.address, grant.head) for lease, grant in self._held.values()]
            self._held.clear()
            for _, head in held:
                _ours.pop(head, None)
            self._closed = True
        self._bell.set()
        return held

    def _run(self) -> None:
        idle = 0
        while True:
            pause = self._seconds / 3
            self._bell.wait(min(pause, _RETRY_SECONDS) if self._unpaid else pause)
            self._bell.clear()
            with self._lock:
                if self._closed:
                    return
                held = list(self._held.values())
                idle = 0 if held else idle + 1
                if idle > _IDLE_ROUNDS:
                    self._thread = None
                    return
            self._round(held)

    def _give_back(self, over: list[tuple[Lease, Grant]], now: float) -> None:
        self._unpaid = False
        if not over:
            return
        longest = self._seconds
        try:
            gone = self._release([(lease.address, grant.head) for lease, grant in over])
        except ProviderUnavailable:
            self._unpaid = True
            gone, longest = [False] * len(over), self._most
        # One that was not there may be on its way still, on the connection that was lost.
        for (_, grant), is_gone in zip(over, gone, strict=True):
            if is_gone or now - grant.since > longest:
                self.drop(grant)

    def _round(self, held: list[tuple[Lease, Grant]]) -> None:
        now = time.monotonic()
        over: list[tuple[Lease, Grant]] = []
        due: list[tuple[Lease, Grant]] = []
        for lease, grant in held:
            if not lease.alive():
                over.append((lease, grant))
            elif now - grant.since > self._most:
                self.drop(grant)
            elif now - grant.renewed_at >= self._seconds / 6:
                due.append((lease, grant))
        self._give_back(over, now)
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
