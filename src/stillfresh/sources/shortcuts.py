"""What a generated wrapper knows about where its calls go, and when that is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakSet

from ..forks import free_in_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from .route import Route


class Shortcut:
    """
    The connection of one generated wrapper to its place, and to the index of a reader there.

    *scope* are the globals of the wrapper. *slow* is what it calls when it does not answer, and
    awaits if it *waits*. *guards* are the classes with which it compares those of arguments: while
    there is nothing in the index, no argument has one of them, so that nobody looks there in vain.

    A wrapper is connected when a slow call finds that it may be, and all are disconnected when an
    app starts, stops or changes how it answers, or when a name gets another holder.
    """

    __slots__ = ("__weakref__", "_guards", "_names", "_slow", "_waits", "route", "scope")

    def __init__(
        self,
        scope: dict[str, object],
        names: dict[str, str],
        guards: dict[str, object],
        slow: Callable[..., object],
        *,
        waits: bool,
    ) -> None:
        self.scope = scope
        self._names = names
        self._guards = guards
        self._slow = slow
        self._waits = waits
        self.route: Route | None = None
        """Where slow calls go, as long as this is connected."""
        scope[names["shortcut"]] = self  # it lives as long as the wrapper
        self.disconnect()

    def connect(self, route: Route, moment: int, *, quick: bool) -> None:
        """
        Go on by *route*, unless something changed since *moment*.

        With *quick* the wrapper answers from the index there by itself.
        """
        with _shortcuts_lock:
            if moment != _moment[0]:
                return
            _connected.add(self)  # first: a signal handler may raise after any step
            self.route = route
            if self._waits:  # without asking the way each time
                self.scope[self._names["slow"]] = route.answer
            if quick:
                names, reader = self._names, route.reader
                self.scope[names["now"]] = reader.region.clock.now
                self.scope[names["book"]] = getattr(reader.region.guard.provider, "book", None)
                self.scope[names["index"]] = reader.index.entries
                self.scope.update(self._guards)

    def disconnect(self) -> None:
        """Answer nothing, and find the way anew."""
        self.route = None
        self.scope[self._names["slow"]] = self._slow
        self.scope[self._names["index"]] = {}
        self.scope.update(dict.fromkeys(self._guards))


_shortcuts_lock = free_in_child()
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
