"""
How many responses of one path are kept, whatever their query (http-rules.md G6).

    path ──► keys, oldest first ──► one too many is stored: the oldest leaves

Anybody may write queries, and each is an entry of its own where the handler may see it. So a path
has only so many, and new ones take the place of old ones: who floods a path with queries gets what
is stored of it replaced sooner, and cannot keep others out. Only what this process has stored is
counted; a hit comes nowhere near.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ...computing.drivers import ON_LOOP
from ...errors import ProviderUnavailable
from ...events import log
from ...forks import free_in_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...readthrough import Reader
    from .planning import Plan

MOST_NOTED: Final = 20_000
"""Keys that are remembered, of all paths together; a larger `max_entries` remembers more."""


class Paths:
    """The keys of each path that this process has stored, and until when."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, dict[str, float]] = OrderedDict()
        self._count = 0
        self._lock = free_in_child()

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._count = 0

    async def make_room(self, plan: Plan, reader: Reader, key: str, life: float) -> None:
        """Note that *key* is about to be stored for *life* seconds, and let older ones leave."""
        region, most = reader.region, plan.route.http_cache.max_entries
        own = region.guard.provider.most_entries
        if region.guard.down or (own is not None and own <= most):
            return  # nothing is stored, or no more than that, and by what is used
        now = region.clock.now()
        path = plan.path

        def flies(name: str) -> bool:
            return region.flights.get(name) is not None

        with self._lock:  # another loop may serve the same app
            leaving = self.note(path, key, now + life, most, now, flies)
        if not leaving:
            return
        _tell_once(plan, most)
        with suppress(ProviderUnavailable):  # what comes next will say so
            await region.drop(ON_LOOP.ops(region.guard), leaving, "evict")

    def note(  # noqa: PLR0917  # a decision, and all that it depends on
        self,
        path: str,
        key: str,
        until: float,
        most: int,
        now: float,
        flies: Callable[[str], bool],
    ) -> list[str]:
        """
        Note that *key* is stored *until* then; return the keys of its path that are too many.

        What *flies* is being made anew. To drop it would end its lease, and its handler would run
        twice: the next one leaves in its place.
        """
        kept = self._kept.setdefault(path, {})
        self._kept.move_to_end(path)
        before = len(kept)
        kept.pop(key, None)
        kept[key] = until
        leaving: list[str] = []
        passed = 0
        while len(kept) > most + passed:
            oldest = next(iter(kept))
            ends = kept.pop(oldest)
            if oldest == key or flies(oldest):
                kept[oldest] = ends
                passed += 1
            elif now < ends:
                leaving.append(oldest)
        self._count += len(kept) - before
        while self._count > max(MOST_NOTED, 2 * most) and len(self._kept) > 1:
            _, forgotten = self._kept.popitem(last=False)  # nothing was stored there for longest
            self._count -= len(forgotten)
        return leaving


def _tell_once(plan: Plan, most: int) -> None:
    route = plan.route
    why = "more responses than max_entries="
    if why in route.warned:
        return
    route.warned.add(why)
    log.warning(
        "%s: a path has more than max_entries=%d responses, so the oldest leave. Name parameters "
        "that do not count in ignore_query=, or say a larger number",
        route.title,
        most,
    )
