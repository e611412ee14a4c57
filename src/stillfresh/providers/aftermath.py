"""What an operation of a memory provider leaves for the moment when the lock is free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ..events import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..entry import Entry
    from .base import Address


class Reports:
    """Who is told what had to leave for want of room."""

    def __init__(self) -> None:
        self._listeners: tuple[Callable[[Address], object], ...] = ()
        self._told_too_large = False

    def add(self, listener: Callable[[Address], object]) -> Callable[[], None]:
        """Tell *listener* each address; what is returned ends it."""
        self._listeners = (*self._listeners, listener)

        def remove() -> None:
            left = list(self._listeners)
            if listener in left:
                left.remove(listener)
            self._listeners = tuple(left)

        return remove

    def tell(self, after: Aftermath) -> None:
        """Report what an operation evicted."""
        if after.too_large and not self._told_too_large:
            self._told_too_large = True
            log.warning(
                "%r is not kept: its %d bytes are more than max_bytes. This is said once.",
                after.evicted[0],
                after.too_large,
            )
        for listener in self._listeners:
            for address in after.evicted:
                try:
                    listener(address)
                except Exception:  # noqa: BLE001  # a broken listener never breaks a call
                    log.exception("a listener of evictions failed")


class Aftermath:
    """
    Wake-ups, reports and the end of values: what may run code of a user.

    It is entered before the lock and left after it: `with Aftermath(...) as after, lock:`. The
    values end with this object.
    """

    __slots__ = ("_reports", "evicted", "too_large", "values", "wakers")

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self.values: list[object] = []
        self.wakers: list[Callable[[], object]] = []
        self.evicted: list[Address] = []
        self.too_large = 0
        """The size of an entry that does not fit at all."""

    def retire(self, entry: Entry) -> None:
        """Make *entry* useless now, and let its value live until the lock is free."""
        self.values.append(getattr(entry, "value", None))
        entry.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for wake in self.wakers:
            wake()
        if self.evicted:
            self._reports.tell(self)
