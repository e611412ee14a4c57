"""
THE path: look, judge, compute once, store if nothing was invalidated meanwhile.

Whatever has to be computed is decided here, async or sync, foreground, background and warm-up
alike: by `Reader.read` for a call that found nothing usable, by `Reader.refresh` for
whoever asks for a new value. A call past the cache never comes here.

Others only look, judge and count, and hand on whatever needs more: the short cut (`shape`), the
first look of a function's call (`sources/route`), what a store finds (`Shelf.get`, `get_many`),
and of responses `http/engine`: `distant`, `crowd.read_stale`, and `reading` for requests that say
themselves what is fresh enough.

    read ── look ── FRESH ─────────────────────────────► hit
              │      STALE ── refresh behind ──────────► stale
              ▼
         join the flight of the key ── the first one leads it:
              │                          lead ── acquire ── call the function ── store
              ▼                                     (a lease)              (only under it)
         follow the flight ── a value that is right for this caller ──► miss, coalesced
                              one that may be too old for it ──► go round again
                              an error, and an old value is there ──► fallback

What is written here twice would be a bug. How one is computed, and what may be stored, stands in
`leading`.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Final, TypeAlias

from .computing.calls import Answer, tell
from .entry import MISSING, Entry, Verdict, judge, refresh_due
from .errors import ComputeCancelled
from .leading import Leading
from .providers.memory import MemoryCacheProvider
from .singleflight import NEVER, NOTHING, Flight, Outcome, inside, tick, waiting_for

if TYPE_CHECKING:
    from .computing.calls import Call
    from .computing.drivers import Driver
    from .events import Kind

Looked: TypeAlias = "tuple[int, Entry | None, object]"
"""When a caller came, and the entry and the value that it has found since."""
_ALONE: Final = nullcontext()
"""Around the waiting of who is no computation itself."""


class Reader(Leading):
    """A shelf, and the path by which calls of its function are answered."""

    @cached_property
    def quick(self) -> bool:
        """A short cut may hold its entries: whoever drops one marks it."""
        return (
            not self.region.serialized and type(self.region.guard.provider) is MemoryCacheProvider
        )

    @cached_property
    def glances(self) -> bool:
        """A hit may end with the bytes that the provider has: nothing is kept of it here."""
        return self.region.serialized

    # Reading
    async def read(self, call: Call, driver: Driver, looked: Looked | None = None) -> Answer:
        """Answer one call; *looked* says when it came, and what it has found since."""
        came = tick() if looked is None else looked[0]
        region, key = self.region, call.key
        waited = cancelled = False
        while True:
            if looked is None:
                entry, value = await self.look_as("coalesced" if waited else "miss", key, driver)
            else:
                (_, entry, value), looked = looked, None
            if entry is not None:
                now = region.clock.now()
                verdict = judge(entry, now)
                if verdict is Verdict.FRESH:
                    if refresh_due(entry, now):
                        self._refresh_behind(call, driver, entry, now)
                    self._remember(call, entry, now)
                    return self.done("coalesced" if waited else "hit", key, value, entry)
                if verdict is Verdict.STALE:
                    self._refresh_behind(call, driver, entry, now)
                    return self.done("stale", key, value, entry)
                if verdict is Verdict.FALLBACK and region.rest.rests(key, now):
                    return self.done("fallback", key, value, entry)

            flight, leads = self.join(call, driver)
            if not (leads or driver.suspends or driver.may_wait_for(flight)):
                outcome = self.compute_alone(call)
                if outcome.error is not None:
                    return await self._failed(key, outcome, driver, leads=True)
                return self.done("miss", key, outcome.value)
            try:
                with _ALONE if inside.get() is None else waiting_for(flight):
                    soft = self.policy.soft_timeout
                    until = inf if soft == inf else region.clock.now() + soft
                    if leads:
                        self.launch(call, flight, driver, entry)
                    else:
                        waited = True
                    await driver.follow(flight, region.clock, until)
                    if flight.outcome is None and not flight.over:  # the soft timeout
                        entry, value = await self.look(key, driver)
                        if value is not MISSING:
                            return self._leave(call, key, value, entry)
                        await driver.follow(flight, region.clock)
            except BaseException:  # cancelled, or a circle: it was a call all the same
                self._given_up(flight, driver, leads=leads)
                raise

            outcome = flight.outcome or Outcome()
            if outcome.error is None and outcome.value is NOTHING:  # it was cancelled
                if cancelled:
                    self.done("miss" if leads else "coalesced", key, None)
                    return Answer(None, _twice_cancelled(flight))
                cancelled = True
            elif outcome.error is not None:
                return await self._failed(key, outcome, driver, leads=leads)
            elif came < outcome.asof:
                entry = outcome.entry
                if leads and entry is not None and call.quick_key is not None:
                    self._remember(call, entry, region.clock.now())
                status = _status(outcome, leads=leads)
                return self.done(status, key, outcome.value, entry)

    def _leave(self, call: Call, key: str, value: object, entry: Entry | None) -> Answer:
        call.behind = True  # from here on, if it was this one's
        return self.done("fallback", key, value, entry)

    def _given_up(self, flight: Flight, driver: Driver, *, leads: bool) -> None:
        if leads:
            self.abandon(flight, driver)
        self.done("miss" if leads else "coalesced", flight.key, None)

    async def refresh(self, call: Call, driver: Driver) -> Answer:
        """Compute now, whatever is there; join only what begins after this call."""
        came = tick()
        cancelled = False
        while True:
            flight, leads = self.join(call, driver)
            if not (leads or driver.suspends or driver.may_wait_for(flight)):
                outcome = self.compute_alone(call)
                return Answer(self.hand_out(outcome.value), outcome.error, outcome)
            try:
                with waiting_for(flight):
                    if leads:
                        self.launch(call, flight, driver, take=True)
                    await driver.follow(flight, self.region.clock)
            except BaseException:
                if leads:
                    self.abandon(flight, driver)
                raise
            outcome = flight.outcome or Outcome()
            if outcome.cancelled:
                if cancelled:
                    return Answer(None, _twice_cancelled(flight))
                cancelled = True
            elif leads or came < outcome.began:  # an error may come before it begins
                if outcome.error is not None:
                    return Answer(None, outcome.error, outcome)
                return Answer(self.hand_out(outcome.value))

    def _refresh_behind(self, call: Call, driver: Driver, seen: Entry, now: float) -> None:
        if self.region.rest.rests(call.key, now) or not self.region.app.background.has_room():
            return
        flight, leads = self.join(call, driver)
        if leads:
            self.launch(call, flight, driver, seen=seen, behind=True)

    async def _failed(self, key: str, outcome: Outcome, driver: Driver, *, leads: bool) -> Answer:
        error = outcome.error
        try:
            failed = bool(self.policy.keep) and error is not None and self.policy.fails(error)
        except Exception as mistake:  # noqa: BLE001  # in `errors=`; raised outside of the path
            self.done(_status(outcome, leads=leads), key, None)
            return Answer(None, mistake)
        if failed:
            entry, value = await self.look_as(_status(outcome, leads=leads), key, driver)
            if value is not MISSING:
                if leads and error is not None:
                    title = f"{self.region.namespace}({key})"
                    tell(title, "it failed, and the old value is served", error)
                return self.done("fallback", key, value, entry)
        self.done(_status(outcome, leads=leads), key, None)
        return Answer(None, error, outcome)

    # The short cut

    def _remember(self, call: Call, entry: Entry, now: float) -> None:
        if call.quick_key is None or now >= entry.quick_until:
            return
        if entry.tags and not call.tagged:
            return  # late tags: the short cut of an untagged function does not look at them
        self.index.remember(call.quick_key, entry)


def _status(outcome: Outcome, *, leads: bool) -> Kind:
    if not leads or (outcome.began == NEVER and outcome.error is None):
        return "coalesced"
    return "miss" if outcome.leased else "bypass"


def _twice_cancelled(flight: Flight) -> ComputeCancelled:
    msg = f"{flight.title} was cancelled from outside, twice; call it again for another try"
    return ComputeCancelled(msg)
