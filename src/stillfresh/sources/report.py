"""What people ask a cache about itself: numbers, and why a call would be answered how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ..durations import describe
from ..entry import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..computing.calls import Counts
    from ..computing.drivers import Driver
    from ..readthrough import Reader


class Stats:
    """
    How calls were answered so far, and how many entries there are. It reads live numbers.

    Each call counts once: hits + misses + stale + coalesced + fallbacks + bypasses = calls.
    """

    def __init__(
        self,
        seen: Callable[[], Sequence[tuple[Counts, Sequence[Reader]]]],
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


class Explanation(Struct, frozen=True):
    """How a call would be answered now. `str()` tells it as a story."""

    status: str
    """`hit`, `stale` or `miss`."""
    key: str
    cache: str
    why: str
    """Why it is not fresh, or what makes it so."""
    age: float | None = None
    """Seconds since the computation was called; None without an entry."""
    tier: str = ""
    """Which provider has the entry."""
    tags: frozenset[str] = frozenset()

    def __str__(self) -> str:
        lines = [f"{self.status}: {self.cache} {self.key}", f"  {self.why}"]
        if self.age is not None:
            lines.append(f"  age {describe(round(self.age, 3))}, kept by {self.tier}")
        if self.tags:
            lines.append(f"  tags {', '.join(sorted(self.tags))}")
        return "\n".join(lines)


async def explain(reader: Reader, key: str, driver: Driver) -> Explanation:
    """Say how a call for *key* would be answered now."""
    region = reader.region
    tier, entry = f"{region.guard.name}, near", reader.near(key)
    if entry is None:
        tier = region.guard.name
        entry = await driver.ops(region.guard).look(region.address(key))
    if entry is None:
        running = " A computation is running." if region.flights.get(key) else ""
        return Explanation("miss", key, region.namespace, f"There is no usable entry.{running}")
    now = region.clock.now()
    age = now - entry.born
    verdict = judge(entry, now)
    past = describe(round(max(0.0, age - entry.windows.fresh), 3))
    if verdict is Verdict.FRESH:
        left = describe(round(entry.windows.fresh - age, 3))
        status, why = "hit", f"Fresh for {left} more." if left != "never" else "Fresh for ever."
    elif entry.expired:
        status = "stale" if verdict is Verdict.STALE else "miss"
        why = "It was expired by hand."
    elif verdict is Verdict.STALE:
        status, why = "stale", f"Its ttl ended {past} ago; a call refreshes it behind the answer."
    else:
        status, why = "miss", f"Its ttl ended {past} ago; kept in case the function fails."
    if region.rest.rests(key, now):
        why += " The last computation failed; the next one waits."
    return Explanation(status, key, region.namespace, why, age, tier, entry.tags)
