"""What an operation of a memory provider leaves for the moment when the lock is free."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Self

from ..entry import Kind
from ..events import log
from ..forks import free_in_child
from .base import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..entry import Entry


class Reports:
    """Who is told what had to leave for want of room."""

    def __init__(self) -> None:
        self.listeners: tuple[Callable[[Address], object], ...] = ()
        self._changing = free_in_child()
        self._told_too_large = False

    def add(self, listener: Callable[[Address], object]) -> Callable[[], None]:
        """Tell *listener* each address; what is returned ends it."""
        with self._changing:
            self.listeners = (*self.listeners, listener)

        def remove() -> None:
            with self._changing:
                left = list(self.listeners)
                if listener in left:
                    left.remove(listener)
                self.listeners = tuple(left)

        return remove

    def tell(self, left: Iterable[Entry], unfit: Address | None, size: int) -> None:
        """Report what an operation evicted, and what it could not keep at all."""
        addresses = [Address(entry.space, entry.key) for entry in left]
        if unfit is not None:
            addresses.append(unfit)
            if not self._told_too_large:
                self._told_too_large = True
                log.warning(
                    "%r is not kept: its %d bytes are more than max_bytes. This is said once.",
                    unfit,
                    size,
                )
        for listener in self.listeners:
            for address in addresses:
                try:
                    listener(address)
                except Exception:  # noqa: BLE001  # a broken listener never breaks a call
                    log.exception("a listener of evictions failed")


class Aftermath:
    """
    Wake-ups, reports and the end of values: what may run code of a user.

    It is entered before the lock and left after it: `with Aftermath(...) as after, lock:`. The
    values end with this object. Most operations leave nothing else, so the rest is made late.
    """

    __slots__ = ("_reports", "evicted", "more", "too_large", "unfit", "values", "wakers")

    wakers: list[Callable[[], object]]
    evicted: list[Entry]
    unfit: Address | None
    too_large: int

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self.values: list[object] = []
        self.more = False
        """There is something to be done, besides the end of the values."""

    def retire(self, entry: Entry) -> None:
        """Make *entry* useless now, and let its value live until the lock is free."""
        entry.quick_until = -inf
        kind = entry.kind
        if type(kind) is Kind and kind.born is not None:
            kind.expired = True
        try:
            self.values.append(entry.value)
            del entry.value
        except AttributeError:  # two threads took it out; once is enough
            return

    def wake(self, wakers: Iterable[Callable[[], object]]) -> None:
        """Call *wakers* later."""
        self._begin()
        self.wakers += wakers

    def report(self, entry: Entry) -> None:
        """Tell later that *entry* had to leave."""
        self._begin()
        self.evicted.append(entry)

    def refuse(self, address: Address, size: int) -> None:
        """Tell later that something does not fit at all."""
        self._begin()
        self.unfit, self.too_large = address, size

    def finish(self) -> None:
        """Do it all: the lock is free."""
        if self.more:
            for wake in self.wakers:
                wake()
            self._reports.tell(self.evicted, self.unfit, self.too_large)

    def _begin(self) -> None:
        if not self.more:
            self.more = True
            self.wakers, self.evicted = [], []
            self.unfit, self.too_large = None, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
