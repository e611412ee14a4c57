"""Which generated wrapper may answer from which index."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from .readthrough import Reader


class Shortcut:
    """
    The connection of one generated wrapper to the index of one reader.

    *scope* are the globals of the wrapper. A wrapper is connected when a slow call finds that
    it may be, and all are disconnected when an app starts, stops or changes how it answers.
    """

    __slots__ = ("__weakref__", "_names", "scope")

    def __init__(self, scope: dict[str, object], names: dict[str, str]) -> None:
        self.scope = scope
        self._names = names
        self._set({}, None)

    def connect(self, reader: Reader, moment: int) -> None:
        """Answer from *reader*, unless something changed since *moment*."""
        with _shortcuts_lock:
            if moment == _moment[0]:
                self._set(reader.index.entries, reader)
                _connected.add(self)

    def disconnect(self) -> None:
        """Answer nothing."""
        self._set({}, None)

    def _set(self, index: object, reader: Reader | None) -> None:
        names = self._names
        if reader is not None:
            self.scope[names["now"]] = reader.region.clock.now
            self.scope[names["book"]] = getattr(reader.region.guard.provider, "book", None)
        self.scope[names["index"]] = index


_shortcuts_lock = threading.RLock()  # garbage may be collected anywhere, and call back
_connected: WeakSet[Shortcut] = WeakSet()
_moment = [0]


def moment() -> int:
    """Return the number of the last change; see `Shortcut.connect`."""
    return _moment[0]


def disconnect_all() -> None:
    """Let every call take the long way once more."""
    with _shortcuts_lock:
        _moment[0] += 1
        for shortcut in list(_connected):
            shortcut.disconnect()
        _connected.clear()
