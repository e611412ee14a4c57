"""Which apps run in this process, and to which of them an instance belongs."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

from ..forks import free_in_child

A = TypeVar("A")


class Registry(Generic[A]):
    """
    The running apps and the owners of instances.

    Owners are kept by identity: an app holds its instances for as long as it lives itself, so
    none of these numbers can mean another object meanwhile.
    """

    def __init__(self) -> None:
        self._lock = free_in_child()
        self._running: tuple[A, ...] = ()
        self._owners: dict[int, weakref.ref[A]] = {}

    @property
    def running(self) -> tuple[A, ...]:
        """The apps that run, in the order in which they were started."""
        return self._running

    def note_running(self, app: A) -> None:
        """Add *app*."""
        with self._lock:
            self._running = (*self._running, app)

    def forget_running(self, app: A) -> None:
        """Take *app* away, if it is there."""
        with self._lock:
            self._running = tuple(one for one in self._running if one is not app)

    def own(self, app: A, instance: object) -> None:
        """Note that *instance* belongs to *app*, which keeps it alive."""
        key = id(instance)
        reference = self._owners[key] = weakref.ref(app)
        weakref.finalize(app, self._disown, key, reference)

    def owner_of(self, instance: object) -> A | None:
        """Return the app that owns *instance*."""
        found = self._owners.get(id(instance))
        return None if found is None else found()

    def _disown(self, key: int, reference: weakref.ref[A]) -> None:
        if self._owners.get(key) is reference:
            del self._owners[key]
