"""
Tags: names by which entries are dropped together, whatever their keys.

An entry holds a marker of each of its tags. Dropping a tag marks one object dead and forgets
it, however many entries hold it: the cost does not grow with the members.

    entries:  a ──┐                invalidate_tags("x")
              b ──┼──► marker x         marks this object dead; the next store with the
              c ──┘                     tag "x" makes a new one
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, cast
from weakref import WeakValueDictionary

from .errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterable

Scope = str | None
"""The namespace in which a tag is dropped, or None for all of them."""

_MOST_REMEMBERED = 10_000


class Marker:
    """One version of one tag; dead once the tag was dropped."""

    __slots__ = ("__weakref__", "dead")

    def __init__(self) -> None:
        self.dead = False


class TagBook:
    """
    The tags of one process: which versions are alive, and what was dropped lately.

    Not thread-safe by itself: the provider that owns it holds its lock. `epoch` alone is read
    without one: it grows with each invalidation, so an entry that was checked at the same
    epoch needs no second check.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._alive: WeakValueDictionary[tuple[Scope, str], Marker] = WeakValueDictionary()
        self._dropped: dict[tuple[Scope, str], int] = {}
        self._forgotten_until: float = -inf

    def markers(self, namespace: str, tags: Iterable[str]) -> tuple[Marker, ...]:
        """Return the living versions: per tag one for the namespace, one for all of them."""
        found: list[Marker] = []
        for tag in tags:
            for scope in (namespace, None):
                marker = self._alive.get((scope, tag))
                if marker is None:
                    marker = self._alive[scope, tag] = Marker()
                found.append(marker)
        return tuple(found)

    def drop(self, scope: Scope, tags: Iterable[str]) -> None:
        """Invalidate everything that holds one of *tags* in *scope*."""
        self.epoch += 1
        if len(self._dropped) >= _MOST_REMEMBERED:
            # Too many to tell apart: whoever began before now counts as invalidated.
            self._dropped.clear()
            self._forgotten_until = self.epoch
        for tag in tags:
            marker = self._alive.pop((scope, tag), None)
            if marker is not None:
                marker.dead = True
            self._dropped[scope, tag] = self.epoch

    def dropped_since(self, epoch: int, namespace: str, tags: Iterable[str]) -> bool:
        """Tell whether one of *tags* was dropped after *epoch*, also before anybody held it."""
        if not tags:
            return False
        if epoch < self._forgotten_until:
            return True
        return any(
            self._dropped.get((scope, tag), -1) > epoch
            for tag in tags
            for scope in (namespace, None)
        )

    def forget(self) -> None:
        """Forget what was dropped: no computation is left that could ask about it."""
        self._dropped.clear()


def checked_tags(tags: object, where: str) -> frozenset[str]:
    """
    Return *tags* as a set of names.

    Raises:
        InvalidOption: A bare string, or something in it that is not a non-empty string.
    """
    if isinstance(tags, str):
        msg = f"{where}={tags!r}: expected a list of tags. Write [{tags!r}]."
        raise InvalidOption(msg)
    try:
        given = list(cast("Iterable[object]", tags))
    except TypeError:
        msg = f"{where}={tags!r}: expected a list of tags, each a string."
        raise InvalidOption(msg) from None
    for name in given:
        if not isinstance(name, str) or not name:
            step = "A tag is a non-empty string."
            if where == "invalidate_tags" and isinstance(name, list | tuple | set | frozenset):
                names = ", ".join(map(repr, cast("Iterable[object]", name)))
                step = f"Write {where}({names})."
            msg = f"{where}: {name!r} is not a tag. {step}"
            raise InvalidOption(msg)
    return frozenset(cast("list[str]", given))
