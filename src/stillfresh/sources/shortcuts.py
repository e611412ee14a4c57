"""What a generated wrapper knows about where its calls go, and when that is forgotten."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from .route import Route


class Shortcut:
    """
    The connection of one generated wrapper to its place, and to the index of a reader there.

    *scope* are the globals of the wrapper. A wrapper is connected when a slow call finds that
    it may be, and all are disconnected when an app starts, stops or changes how it answers, or
    when a name gets another holder.
    """

    __slots__ = ("__weakref__", "_names", "route", "scope")

    def __init__(self, scope: dict[str, object], names: dict[str, str]) -> None:
        self.scope = scope
        self._names = names
        self.route: Route | None = None
        """Where slow calls go, as long as this is connected."""
        scope[names["index"]] = {}

    def connect(self, route: Route, moment: int, *, quick: bool) -> None:
        """
        Go on by *route*, unless something changed since *moment*.

        With *quick* the wrapper answers from the index there by itself.
        """
        with _shortcuts_lock:
            if moment != _moment[0]:
                return
            self.route = route
            _connected.add(self)
            if quick:
                names, reader = self._names, route.reader
                self.scope[names["now"]] = reader.region.clock.now
                self.scope[names["book"]] = getattr(reader.region.guard.provider, "book", None)
                self.scope[names["index"]] = reader.index.entries

    def disconnect(self) -> None:
        """Answer nothing, and find the way anew."""
        self.route = None
        self.scope[self._names["index"]] = {}


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
