"""Why a call would be answered how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from ..durations import describe
from ..entry import Verdict, judge
from ..errors import ProviderUnavailable

if TYPE_CHECKING:
    from ..computing.drivers import Driver
    from ..readthrough import Reader


class Explanation(Struct, frozen=True):
    """How a call would be answered now. `str()` tells it as a story."""

    status: Literal["hit", "stale", "miss"]
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
        try:
            entry = await driver.ops(region.guard).look(region.address(key))
        except ProviderUnavailable as error:
            why = f"It cannot be read, so a call computes, and stores nothing. {error}"
            return Explanation("miss", key, region.namespace, why)
    if entry is None:
        running = " A computation is running." if region.flights.get(key) else ""
        return Explanation("miss", key, region.namespace, f"There is no usable entry.{running}")
    now = region.clock.now()
    age = now - entry.born
    verdict = judge(entry, now)
    status: Literal["hit", "stale", "miss"]
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
