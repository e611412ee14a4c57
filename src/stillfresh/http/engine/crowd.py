"""
Many requests at once: how long one waits for the response of another, and how many are refreshed.

By itself a request waits for as long as it takes (http-rules.md G1). Where its route says how long,
it is a call of the path that may be given up: who runs the handler meanwhile is not disturbed.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Final

from ...computing.drivers import ON_LOOP
from ...entry import Verdict, judge
from ...known import Known
from ...singleflight import tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...computing.calls import Answer, Call
    from ...readthrough import Reader
    from ...singleflight import Flights

MOST_NOTED: Final = 10_000
AT_ONCE = frozenset({Verdict.FRESH, Verdict.STALE})


async def read_patiently(
    reader: Reader, call: Call, patience: float, leads: Callable[[], bool]
) -> Answer | None:
    """
    Answer a call by the path; None if somebody else's response takes too long to wait for.

    *patience* are seconds; *leads* tells whether this very call runs the handler.
    """
    flights = reader.region.flights
    flight = None if patience == inf else flights.get(call.key)
    if flight is None:
        return await reader.read(call, ON_LOOP)
    came = tick()
    entry, value = await reader.look(call.key, ON_LOOP)
    looked = (came, entry, value)
    if judge(entry, reader.region.clock.now()) in AT_ONCE or flights.get(call.key) is not flight:
        return await reader.read(call, ON_LOOP, looked)
    if not patience:
        return None
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    given_up = False

    def give_up() -> None:
        nonlocal given_up
        if not leads() and flights.get(call.key) is flight and task is not None:
            given_up = True
            task.cancel()

    timer = reader.region.clock.call_later(loop, patience, give_up)
    try:
        return await reader.read(call, ON_LOOP, looked)
    except asyncio.CancelledError:
        if given_up and task is not None and not task.uncancel():
            return None
        raise
    finally:
        timer.cancel()


class Lately:
    """Keys of which something was seen lately."""

    def __init__(self) -> None:
        self._until: Known[str, float] = Known(MOST_NOTED)

    def note(self, key: str, until: float) -> None:
        """It holds for *key* until then."""
        self._until.note(key, until)

    def holds(self, key: str, now: float) -> bool:
        """Tell whether it still does."""
        until = self._until.get(key)
        if until is None:
            return False
        if now < until:
            return True
        self._until.pop(key, None)
        return False

    def clear(self) -> None:
        """Forget all."""
        self._until.clear()


class Refreshes:
    """The responses of one route that are refreshed behind, in this process."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def have_room(self, flights: Flights, most: int) -> bool:
        """Tell whether one more may begin; what flies no more has ended."""
        self._keys = {key for key in self._keys if flights.get(key) is not None}
        return len(self._keys) < most

    def note(self, call: Call) -> None:
        """Count the refresh that a call has launched, in the step in which it was answered."""
        if call.behind:
            self._keys.add(call.key)


async def read_stale(reader: Reader, call: Call) -> Answer | None:
    """Answer a call from an old response without refreshing it; None if there is none."""
    entry, value = await reader.look(call.key, ON_LOOP)
    if judge(entry, reader.region.clock.now()) is not Verdict.STALE:
        return None
    return reader.done("stale", call.key, value, entry)
