"""How much of the body of a request is read for a key, since some route keeps such responses."""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet


class KeepsMethods(Protocol):
    """What is looked at of an `HttpCache`."""

    methods: frozenset[str]
    max_body: int


_with_bodies: WeakSet[KeepsMethods] = WeakSet()


def note_methods(policy: KeepsMethods) -> None:
    """Remember a policy, if it keeps responses to more than GET."""
    if len(policy.methods) > 1:
        _with_bodies.add(policy)


def longest_keyed(method: str) -> int:
    """Return bytes of the longest body that is part of a key on some route, 0 if none is."""
    return max((one.max_body for one in _with_bodies if method in one.methods), default=0)
