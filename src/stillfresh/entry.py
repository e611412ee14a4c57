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
_EVER: Final = 2.0**36
"""Seconds that stand for ever in a moment: two thousand years, so that the moment still tells when
it began, to some microseconds."""


class Kind:
    """
    What entries have in common: where they are, how long they live, their tags.

    In a memory the entries of a namespace share one, as long as it says all there is to say of
    them. An entry with tags, a size or a birth of its own has one of its own.
    """

    __slots__ = (
        "born",
        "epoch",
        "expired",
        "markers",
        "shared",
        "simple",
        "size",
        "space",
        "tags",
        "windows",
    )

    space: str
    """The namespace in which a memory keeps it; unset before it does."""

    def __init__(
        self, windows: Windows, tags: frozenset[str] = _UNTAGGED, size: int = 0, *, shared: bool
    ) -> None:
        self.windows = windows
        self.tags = tags
        self.size = size
        """Bytes that count against `max_bytes`; 0 for an object that is not serialized."""
        self.markers: tuple[Marker, ...] = ()
        """The versions of the tags, as the provider attached them."""
        self.epoch = 0
        """Tag invalidations of the provider that were looked at already; see `tags.TagBook`."""
        self.born: float | None = None
        """Where `quick_until` of the entry does not tell it any more."""
        self.expired = False
        self.shared = shared
        fresh, stale, keep, ahead = windows
        self.simple = not stale and not keep and fresh <= ahead
        """An entry is gone when the short cut may not serve it any more."""


class Entry:
    """
    One value in a cache, with its lifetimes and what happened to it.

    *value* is the object itself on memory, and the codec's bytes on a provider that serializes.
    Everything but the bookkeeping fields stays as it was made. There may be millions, so it is
    seven words, and a float: what others have as well is in its `kind`, and when it was born is
    read from `quick_until`. It is its own place in the queues of a memory.
    """

    lasting = False
    """Put there by hand where no function could compute it again."""

    __slots__ = ("chunk", "key", "kind", "looks", "quick_until", "value", "visits")

    key: str
    """Under which a memory keeps it; unset before it does."""

    def __init__(
        self,
        value: object,
        born: float,
        windows: Windows,
        tags: frozenset[str] = _UNTAGGED,
        size: int = 0,
    ) -> None:
        self.value = value
        self.kind: Any = windows
        """Its `Kind`, or its windows as long as there is no more to say; a memory gives it one."""
        if tags or size:
            self.kind = Kind(windows, tags, size, shared=False)
        fresh, _, _, ahead = windows
        due = fresh if fresh <= ahead else ahead  # noqa: FURB136  # half the time of min()
        self.quick_until = born + (_EVER if due == inf else due)
        """The short cut may serve the value before this moment; -inf once it is dead."""
        self.visits: int = False
        """
        Hits by the short cut: statistics and the touch for eviction in one number.

        False, which counts as 0, as long as no short-cut index has it.
        """
        self.looks = 0
        """Reads by the provider, less the touches that the eviction has counted already."""
        self.chunk: Any = None
        """The piece of a queue in which a memory lets it wait to be evicted."""

    @property
    def windows(self) -> Windows:
        """How long it lives."""
        kind = self.kind
        windows: Windows = kind.windows if type(kind) is Kind else kind
        return windows

    @property
    def born(self) -> float:
        """When the computation was called, by the clock of the reader."""
        kind = self.kind
        if type(kind) is Kind:
            if kind.born is not None:
                return kind.born
            kind = kind.windows
        fresh, _, _, ahead = kind
        due = min(fresh, ahead)
        return self.quick_until - (_EVER if due == inf else due)

    @born.setter
    def born(self, moment: float) -> None:
        passed = moment - self.born
        self.own().born = moment
        self.quick_until += passed

    @property
    def expired(self) -> bool:
        """It is not fresh any more, whatever its windows say."""
        kind = self.kind
        if type(kind) is Kind and kind.born is not None:
            return kind.expired
        return self.quick_until == -inf

    @expired.setter
    def expired(self, expired: bool) -> None:
        born, own = self.born, self.own()
        own.born, own.expired = born, expired
        if expired:
            self.quick_until = -inf

    @property
    def tags(self) -> frozenset[str]:
        """By which it can be dropped."""
        kind = self.kind
        return kind.tags if type(kind) is Kind else _UNTAGGED

    @property
    def markers(self) -> tuple[Marker, ...]:
        """The versions of its tags, as the provider attached them."""
        kind = self.kind
        return kind.markers if type(kind) is Kind else ()

    @property
    def size(self) -> int:
        """Bytes that count against `max_bytes`."""
        kind = self.kind
        return kind.size if type(kind) is Kind else 0

    @size.setter
    def size(self, size: int) -> None:
        self.own().size = size

    @property
    def epoch(self) -> int:
        """Tag invalidations that were looked at already."""
        kind = self.kind
        return kind.epoch if type(kind) is Kind else 0

    @property
    def space(self) -> str:
        """The namespace in which a memory keeps it."""
        space: str = self.kind.space
        return space

    def own(self) -> Kind:
        """Return a kind that no other entry has."""
        kind = self.kind
        if type(kind) is not Kind:
            own = Kind(kind, shared=False)
        elif kind.shared:
            own = Kind(kind.windows, shared=False)
            own.space, own.epoch = kind.space, kind.epoch
        else:
            return kind
        self.kind = own
        return own

    def stamp(self, epoch: int, markers: tuple[Marker, ...]) -> None:
        """Note the versions of its tags, which hold at *epoch*."""
        own = self.own()
        own.epoch, own.markers = epoch, markers

    def kill(self) -> None:
        """
        Make the entry useless in place, for a short-cut index that still holds it.

        1. `quick_until` says that it is dead.
        2. The value goes. A reader between the two finds no attribute, and takes the long way.
        """
        self.quick_until = -inf
        kind = self.kind
        if type(kind) is Kind and kind.born is not None:
            kind.expired = True
        try:
            del self.value
        except AttributeError:  # two threads killed it; once is enough
            return

    def expire(self) -> None:
        """Make it not fresh from now on; the windows stay as they were."""
        self.expired = True

    def bar(self) -> None:
        """Let no short cut serve it: others may change what it is a copy of."""
        self.born = self.born  # keeps it: `quick_until` will not tell it any more
        self.quick_until = -inf

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
    if now < entry.quick_until:
        return Verdict.FRESH  # as mostly: that is never later than the end of the first window
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
