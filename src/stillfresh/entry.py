"""
What a cache holds under a key, and the verdict on it.

    born            +fresh              +fresh+stale     +fresh+keep
      |---- FRESH -----|------ STALE ---------|--- FALLBACK ---|  GONE

`stale` and `keep` both count from the end of `fresh`; whichever is longer ends the entry.
An entry that was expired by hand is never FRESH again, and keeps the other two windows.

The verdict is a pure function of the entry and the time, the same in every tier.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from .tags import Marker


class Missing(Enum):
    """The type of `MISSING`, so that type checkers can narrow it away."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING
"""No value, where None is a value like any other."""


class Verdict(Enum):
    """What an entry is good for, right now."""

    FRESH = "fresh"
    STALE = "stale"
    FALLBACK = "fallback"
    GONE = "gone"


class Windows(NamedTuple):
    """How long an entry lives. Seconds; `inf` means for ever."""

    fresh: float
    stale: float = 0.0
    """After `fresh`: served at once, while a refresh runs behind it."""
    keep: float = 0.0
    """After `fresh`: served when the function fails."""
    ahead: float = inf
    """Age from which a read starts a refresh although the entry is still fresh."""

    @property
    def life(self) -> float:
        """The age at which the entry is of no use to anybody."""
        return self.fresh + max(self.stale, self.keep)


_UNTAGGED: Final[frozenset[str]] = frozenset()


class Entry:
    """
    One value in a cache, with its lifetimes and what happened to it.

    *value* is the object itself on memory, and the codec's bytes on a provider that serializes.
    Everything but the bookkeeping fields stays as it was made. The last three are for the
    memory that keeps it: it is its own place in the queues, so that there is no second object
    for each entry.
    """

    lasting = False
    """Put there by hand where no function could compute it again."""

    __slots__ = (
        "born",
        "chunk",
        "epoch",
        "expired",
        "indexed",
        "key",
        "looks",
        "markers",
        "quick_until",
        "size",
        "space",
        "tags",
        "value",
        "visits",
        "windows",
    )

    space: str
    """The namespace in which a memory keeps it; unset before it does, as `key` is."""
    key: str

    def __init__(
        self,
        value: object,
        born: float,
        windows: Windows,
        tags: frozenset[str] = _UNTAGGED,
        size: int = 0,
    ) -> None:
        self.value = value
        self.born = born
        """When the computation was called, by the clock of the reader."""
        self.windows = windows
        self.tags = tags
        self.size = size
        """Bytes that count against `max_bytes`; 0 for an object that is not serialized."""
        self.expired = False
        self.markers: tuple[Marker, ...] = ()
        """The versions of the tags, as the provider attached them."""
        self.epoch = 0
        """Tag invalidations of the provider that were looked at already; see `tags.TagBook`."""
        fresh, _, _, ahead = windows
        due = fresh if fresh <= ahead else ahead  # noqa: FURB136  # half the time of min()
        self.quick_until = inf if due == inf else born + due
        """The short cut may serve the value before this moment; -inf once it is dead."""
        self.visits = 0
        """Hits by the short cut: statistics and the touch for eviction in one number."""
        self.indexed = False
        """A short-cut index has it."""
        self.looks = 0
        """Reads by the provider, less the touches that the eviction has counted already."""
        self.chunk: Any = None
        """The piece of a queue in which a memory lets it wait to be evicted."""

    def kill(self) -> None:
        """
        Make the entry useless in place, for a short-cut index that still holds it.

        1. `quick_until` says that it is dead.
        2. The value goes. A reader between the two finds no attribute, and takes the long way.
        """
        self.quick_until = -inf
        self.expired = True
        try:
            del self.value
        except AttributeError:  # two threads killed it; once is enough
            return

    def expire(self) -> None:
        """Make it not fresh from now on; the windows stay as they were."""
        self.quick_until = -inf
        self.expired = True

    def dies_at(self) -> float:
        """When nobody can be served from it any more."""
        fresh, stale, keep, _ = self.windows
        return self.born + (fresh + max(stale, keep))


class Lasting(Entry):
    """An entry of a store without functions: data, which nothing could compute again."""

    lasting = True
    __slots__ = ()


def judge(entry: Entry | None, now: float) -> Verdict:
    """Say what *entry* is good for at *now*. Tags are the provider's to check."""
    if entry is None:
        return Verdict.GONE
    fresh, stale, keep, _ = entry.windows
    age = now - entry.born
    if age < fresh and not entry.expired:
        return Verdict.FRESH
    if stale and age < fresh + stale:
        return Verdict.STALE
    if keep and age < fresh + keep:
        return Verdict.FALLBACK
    return Verdict.GONE


def refresh_due(entry: Entry, now: float) -> bool:
    """Tell whether a fresh entry is old enough to be refreshed ahead of its end."""
    return now - entry.born >= entry.windows.ahead
