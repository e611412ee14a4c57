"""
The leases of a memory provider: who may compute what, and who waits for it.

Nothing here locks: the provider holds its lock. `alive` of a lease is not ours to run under
it, so the provider asks first and tells the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..tags import Scope, TagBook
    from .aftermath import Aftermath
    from .base import Address, Lease

_MANY = 1_000


class Leases:
    """At most one lease for an address, and the wake-ups for its end."""

    def __init__(self, book: TagBook) -> None:
        self._book = book
        self.held: dict[Address, Lease] = {}
        self._wakers: dict[Address, set[Callable[[], object]]] = {}
        self.many = _MANY
        """As long as there are not more, nobody looks for dead holders."""

    def __len__(self) -> int:
        return len(self.held)

    def at(self, address: Address) -> Lease | None:
        """Return the lease that is held at *address*."""
        return self.held.get(address)

    def holds(self, lease: Lease) -> bool:
        """Tell whether *lease* was not ended yet."""
        return self.held.get(lease.address) is lease

    def grant(self, lease: Lease) -> None:
        """Let *lease* be held from now on."""
        lease.epoch = self._book.epoch
        self.held[lease.address] = lease

    def welcome(self, lease: Lease, tags: frozenset[str]) -> bool:
        """Tell whether no tag of *lease*, and none of *tags*, was dropped since it was granted."""
        return not self._book.dropped_since(lease.epoch, lease.address.namespace, lease.tags | tags)

    def end(self, address: Address, after: Aftermath) -> None:
        """End the lease at *address*, if there is one."""
        if self.held.pop(address, None) is None:
            return
        if self._wakers:
            after.wake(self._wakers.pop(address, ()))
        if not self.held:
            self.forget()

    def end_tagged(self, scope: Scope, tags: frozenset[str], after: Aftermath) -> None:
        """End those of which it is known that their entry would hold one of *tags*."""
        for address, lease in list(self.held.items()):
            if scope in {None, address.namespace} and not tags.isdisjoint(lease.tags):
                self.end(address, after)

    def end_all(self, after: Aftermath) -> None:
        """End every lease."""
        for address in list(self.held):
            self.end(address, after)

    def keys(self, namespace: str) -> list[str]:
        """Return the keys of *namespace* that are being computed."""
        return [address.key for address in list(self.held) if address.namespace == namespace]

    def suspects(self) -> list[Lease]:
        """Return what to look through for dead holders: nothing, until there are twice as many."""
        if len(self.held) <= self.many:
            return []
        self.many = max(_MANY, 2 * len(self.held))
        return list(self.held.values())

    def end_these(self, leases: Iterable[Lease], after: Aftermath) -> None:
        """End those of *leases* that are still held."""
        for lease in leases:
            if self.holds(lease):
                self.end(lease.address, after)

    def forget(self) -> None:
        """Let the book forget what was dropped, when nobody computes who could ask."""
        if not self.held:
            self.many = _MANY
            self._book.forget()

    def add_waker(self, address: Address, waker: Callable[[], object]) -> bool:
        """Call *waker* when the lease at *address* ends; False when there is none."""
        if address not in self.held:
            return False
        self._wakers.setdefault(address, set()).add(waker)
        return True

    def remove_waker(self, address: Address, waker: Callable[[], object]) -> None:
        """Do not call *waker* any more."""
        wakers = self._wakers.get(address)
        if wakers is not None:
            wakers.discard(waker)
            if not wakers:
                del self._wakers[address]
