"""What an app lists of its caches: a name, live numbers, and ways to drop what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..computing.calls import Counts
    from ..entries.quick import QuickIndex


class Indexed(Protocol):
    """What answers calls also from an index, and counts them there."""

    @property
    def index(self) -> QuickIndex:
        """The index."""
        ...


class Stats:
    """
    How calls were answered so far, and how many entries there are. It reads live numbers.

    Each call counts once: hits + misses + stale + coalesced + fallbacks + bypasses = calls.
    """

    def __init__(
        self,
        seen: Callable[[], Sequence[tuple[Counts, Sequence[Indexed]]]],
        entries: Callable[[], int],
    ) -> None:
        self._seen = seen
        self._entries = entries

    @property
    def hits(self) -> int:
        """Calls that were answered from a fresh entry."""
        return sum(
            counts.hit + sum(reader.index.hits() for reader in readers)
            for counts, readers in self._seen()
        )

    @property
    def misses(self) -> int:
        """Calls that computed."""
        return sum(counts.miss for counts, _ in self._seen())

    @property
    def stale(self) -> int:
        """Calls that got the old value, while it was refreshed behind them."""
        return sum(counts.stale for counts, _ in self._seen())

    @property
    def coalesced(self) -> int:
        """Calls that waited for somebody else's computation."""
        return sum(counts.coalesced for counts, _ in self._seen())

    @property
    def fallbacks(self) -> int:
        """Calls that got the old value because the function failed or was late."""
        return sum(counts.fallback for counts, _ in self._seen())

    @property
    def bypasses(self) -> int:
        """Calls that went past the cache."""
        return sum(counts.bypass for counts, _ in self._seen())

    @property
    def entries(self) -> int:
        """Usable entries in this process."""
        return self._entries()

    def __repr__(self) -> str:
        return (
            f"Stats(hits={self.hits}, misses={self.misses}, stale={self.stale}, "
            f"coalesced={self.coalesced}, fallbacks={self.fallbacks}, "
            f"bypasses={self.bypasses}, entries={self.entries})"
        )


class ListedSync(Protocol):
    """The `sync` of a `Listed`."""

    def invalidate(self, pattern: str) -> None:
        """Drop the keys that match *pattern*."""
        ...

    def invalidate_tags(self, *tags: str) -> None:
        """Drop this cache's entries that have one of *tags*."""
        ...

    def keys(self, pattern: str = "*") -> list[str]:
        """Return the keys that match *pattern*."""
        ...

    def clear(self) -> None:
        """Drop everything of this cache."""
        ...


class Listed(Protocol):
    """A `Cache`, as far as whoever looks over all of an app's needs it, whatever is in it."""

    @property
    def name(self) -> str:
        """The namespace of its entries."""
        ...

    @property
    def stats(self) -> Stats:
        """How it was asked, and how many entries there are; live numbers."""
        ...

    @property
    def sync(self) -> ListedSync:
        """The same for sync code."""
        ...

    async def invalidate(self, pattern: str) -> None:
        """Drop the keys that match *pattern*."""
        ...

    async def invalidate_tags(self, *tags: str) -> None:
        """Drop this cache's entries that have one of *tags*."""
        ...

    async def keys(self, pattern: str = "*") -> list[str]:
        """Return the keys that match *pattern*."""
        ...

    async def clear(self) -> None:
        """Drop everything of this cache."""
        ...
