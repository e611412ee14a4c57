"""
A response that says what of its query counts is stored once more, under the key that it makes.

    1. a request is answered under the key of its whole query, and its response says: without `utm`
    2. the next one looks under the key without it, and finds nothing
    3. its response is stored under that one, and only the third is a hit

So what was stored in 1 is stored under the other key as well, by a flight of its own: it looks
whether the first one is still there after it has its lease. An invalidation before that has
dropped it, and any later one refuses the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ...computing.calls import Call
from ...computing.computation import Computation, current_computation
from ...computing.drivers import ON_LOOP
from .stored import Stored

if TYPE_CHECKING:
    from ...readthrough import Reader
    from .paths import Paths
    from .planning import Plan


async def store_anew(plan: Plan, reader: Reader, paths: Paths, key: str) -> None:
    """Store under *key* as well what the plan's own has."""
    region = reader.region

    async def run() -> Stored | None:
        computation = current_computation.get() or Computation(key)
        entry, value = await reader.look(plan.key, ON_LOOP)
        if entry is None or not isinstance(value, Stored):
            computation.skip()
            return None
        passed = max(0.0, region.clock.now() - entry.born)
        windows = entry.windows
        left = max(0.0, windows.fresh - passed)
        late = left - (windows.fresh - passed)
        computation.windows = windows._replace(
            fresh=left, stale=max(0.0, windows.stale - late), keep=max(0.0, windows.keep - late)
        )
        computation.tags |= entry.tags
        await paths.make_room(plan, reader, key, computation.windows.life)
        return msgspec.structs.replace(value, age=value.age + passed)

    if region.flights.get(key) is None:  # else somebody makes it anyway
        await reader.refresh(Call(key, run, plan.tags), ON_LOOP)
