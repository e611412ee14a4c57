"""
THE path: look, judge, compute once, store if nothing was invalidated meanwhile.

Every call that misses the short cut goes through `Reader.read`, async or sync, foreground,
background and warm-up alike:

    read ── look ── FRESH ─────────────────────────────► hit
              │      STALE ── refresh behind ──────────► stale
              ▼
         join the flight of the key ── the first one leads it:
              │                          lead ── acquire ── call the function ── store
              ▼                                     (a lease)              (only under it)
         follow the flight ── a value that is right for this caller ──► miss, coalesced
                              one that may be too old for it ──► go round again
                              an error, and an old value is there ──► fallback

What is written here twice would be a bug: there is no other place that decides to compute.
"""

from __future__ import annotations

import contextlib
import weakref
from asyncio import CancelledError
from contextvars import copy_context
from functools import cached_property
from inspect import isawaitable
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from .app import current_app
from .computing.background import MOST_THREADS
from .computing.calls import Answer, Call
from .computing.computation import Computation, current_computation
from .computing.patience import Patience, holder_of
from .entries.shelf import Shelf, refuse_one_shot
from .entry import MISSING, Entry, Verdict, judge, refresh_due
from .errors import ComputeCancelled, ComputeTimeout, NotSerializable, ProviderUnavailable
from .events import log
from .providers.base import Found, Lease
from .providers.memory import MemoryCacheProvider
from .singleflight import ALWAYS, NEVER, Flight, Outcome, enter, tick, waiting_for

if TYPE_CHECKING:
    from .computing.drivers import Driver

Looked: TypeAlias = "tuple[int, Entry | None, object]"
"""When a caller came, and the entry and the value that it has found since."""
_ENDS = (CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
"""What ends a computation without being its answer."""


class Reader(Shelf):
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
            now = region.clock.now()
            verdict = judge(entry, now)
            if verdict is Verdict.FRESH and entry is not None:
                if refresh_due(entry, now):
                    self._refresh_behind(call, driver, entry, now)
                self._remember(call, entry, now)
                return self.done("coalesced" if waited else "hit", key, value, entry)
            if verdict is Verdict.STALE and entry is not None:
                self._refresh_behind(call, driver, entry, now)
                return self.done("stale", key, value, entry)
            if verdict is Verdict.FALLBACK and region.rest.rests(key, now):
                return self.done("fallback", key, value, entry)

            flight, leads = region.flights.join(key, lambda: self._flight(call, driver))
            if not driver.may_wait_for(flight):
                outcome = self._compute_alone(call)
                if outcome.error is not None:
                    return await self._failed(key, outcome, driver, leads=True)
                return self.done("miss", key, outcome.value)
            try:
                with waiting_for(flight):
                    if leads:
                        self._launch(call, flight, driver, seen=entry)
                    else:
                        waited = True
                    await driver.follow(flight, region.clock, now + self.policy.soft_timeout)
                    if flight.outcome is None and not flight.over:  # the soft timeout
                        entry, value = await self.look(key, driver)
                        if value is not MISSING:
                            return self.done("fallback", key, value, entry)
                        await driver.follow(flight, region.clock)
            except BaseException:  # cancelled, or a circle: it was a call all the same
                self.done("miss" if leads else "coalesced", key, None)
                raise

            outcome = flight.outcome or Outcome()
            if outcome.cancelled:
                if cancelled:
                    self.done("miss" if leads else "coalesced", key, None)
                    return Answer(None, _twice_cancelled(flight))
                cancelled = True
            elif outcome.error is not None:
                return await self._failed(key, outcome, driver, leads=leads)
            elif came < outcome.asof:
                if leads and outcome.entry is not None:
                    self._remember(call, outcome.entry, region.clock.now())
                status = _status(outcome, leads=leads)
                return self.done(status, key, outcome.value, outcome.entry)

    async def refresh(self, call: Call, driver: Driver) -> Answer:
        """Compute now, whatever is there; join only what begins after this call."""
        came = tick()
        key, cancelled = call.key, False
        while True:
            flight, leads = self.region.flights.join(key, lambda: self._flight(call, driver))
            if not driver.may_wait_for(flight):
                outcome = self._compute_alone(call)
                return Answer(self.hand_out(outcome.value), outcome.error, outcome)
            with waiting_for(flight):
                if leads:
                    self._launch(call, flight, driver, take=True)
                await driver.follow(flight, self.region.clock)
            outcome = flight.outcome or Outcome()
            if outcome.cancelled:
                if cancelled:
                    return Answer(None, _twice_cancelled(flight))
                cancelled = True
            elif leads or came < outcome.began:  # an error may come before it begins
                if outcome.error is not None:
                    return Answer(None, outcome.error, outcome)
                return Answer(self.hand_out(outcome.value))

    # Computing

    def _flight(self, call: Call, driver: Driver) -> Flight:
        return Flight(
            call.key,
            loop=driver.loop(),
            namespace=self.region.namespace,
            tags=call.tags,
            tags_open=call.late_tags is not None,
        )

    def _refresh_behind(self, call: Call, driver: Driver, seen: Entry, now: float) -> None:
        if self.region.rest.rests(call.key, now) or not self.region.app.background.has_room():
            return
        flight, leads = self.region.flights.join(call.key, lambda: self._flight(call, driver))
        if leads:
            self._launch(call, flight, driver, seen=seen, behind=True)

    def _launch(
        self,
        call: Call,
        flight: Flight,
        driver: Driver,
        *,
        seen: Entry | None = None,
        take: bool = False,
        behind: bool = False,
    ) -> None:
        call.seen, call.behind = seen, behind
        worker = not driver.suspends and (behind or self.policy.in_worker)
        if worker and self.region.app.background.is_stuck():
            # A thread cannot be ended from outside, so they must not pile up.
            error = ComputeTimeout(
                f"{flight.title}: {MOST_THREADS} sync computations still hang past their timeout. "
                "Give their source a timeout of its own."
            )
            self._ended(flight, Outcome(error=error, asof=ALWAYS))
            return
        try:
            driver.launch(
                self.region.app.background.add,
                flight,
                lambda: self._lead(call, flight, driver, seen=seen, take=take),
                lambda: self._never_began(flight),
                worker=worker,
            )
        except BaseException:
            self._ended(flight, Outcome())
            raise

    def _never_began(self, flight: Flight) -> None:
        if flight.outcome is None:  # otherwise it has, and came to its own end
            self._ended(flight, Outcome())

    def _ended(self, flight: Flight, outcome: Outcome) -> None:
        self.region.flights.leave(flight)
        flight.finish(outcome)
        flight.let_go()
        self.region.app.background.discard(flight)

    async def _lead(
        self, call: Call, flight: Flight, driver: Driver, *, seen: Entry | None, take: bool
    ) -> None:
        outcome: Outcome | None = None
        current_app.set(self.region.app)
        enter(flight)
        try:
            flight.take_off()
            lease = await self._acquire(call, flight, driver, seen=seen, take=take)
            if isinstance(lease, Outcome):
                outcome = lease
            else:
                flight.lease = lease
                if lease is not None:
                    lease.holder = weakref.ref(flight)
                outcome = await self._compute(call, flight, driver, lease)
        except Exception as error:  # noqa: BLE001  # all of it reaches the callers
            outcome = Outcome(error=error, began=flight.began, asof=ALWAYS)
        finally:
            self._ended(flight, Outcome() if outcome is None else outcome)

    async def _acquire(
        self, call: Call, flight: Flight, driver: Driver, *, seen: Entry | None, take: bool
    ) -> Lease | Outcome | None:
        """Get the lease, or what another process has stored, or None from a silent provider."""
        ops, address = driver.ops(self.region.guard), self.region.address(call.key)
        self.packer.check_type()  # said before the function runs
        patience: Patience | None = None
        while True:
            sent = tick()
            try:
                answer = await ops.acquire(
                    address, seen=seen, take=take, tags=call.tags, alive=lambda: not flight.over
                )
                if isinstance(answer, Lease):
                    if not flight.must_ask_again():
                        return answer
                    await ops.release(answer)
                elif not isinstance(answer, Found):
                    on_loop = driver.stands_on_loop() or flight.blocks_loop
                    if on_loop and not self.region.guard.provider.shared:
                        return None  # it may be held by a task of the loop that stands still
                    if patience is None:
                        patience = Patience(flight, self.region.guard.provider.lease_seconds)
                    if patience.is_over():
                        flight.answered = True
                        return None  # computes, and stores nothing
                    with waiting_for(holder_of(answer.lease)):
                        if await ops.wait(address, patience.seconds()):
                            patience.end()
            except ProviderUnavailable:
                return None
            if isinstance(answer, Found):
                entry, value = self.open(answer.entry)
                if entry is not None:
                    return Outcome(value=value, asof=sent, entry=entry)
                seen = answer.entry

    async def _compute(
        self, call: Call, flight: Flight, driver: Driver, lease: Lease | None
    ) -> Outcome:
        region, clock = self.region, self.region.clock
        computation = Computation(call.key, flight.late_tags)
        current_computation.set(computation)
        born = clock.now()
        flight.time_out = lambda: self._too_late(flight)
        began = flight.begin(born + self.policy.timeout)
        loop = driver.loop()
        timer = None
        if loop is not None and self.policy.timeout < inf:
            timer = clock.call_later(loop, self.policy.timeout, flight.time_out)
        try:
            value = call.run()
            if driver.suspends and isawaitable(value):
                value = await value
            entry, tags = self._weigh(call, computation, value, born)
        except BaseException as error:
            if lease is not None and not isinstance(error, GeneratorExit):
                ops = driver.ops(region.guard)
                failed = isinstance(error, Exception) or flight.over  # or it was cancelled
                with contextlib.suppress(ProviderUnavailable):
                    await (ops.settle(lease, call.tags) if failed else ops.release(lease))
            # Who was timed out before has had its failure noted then.
            if isinstance(error, Exception) and not flight.over and self.policy.fails(error):
                region.rest.failed(call.key, clock.now(), self.policy.fresh)
            if isinstance(error, _ENDS):
                raise
            # Returned, since no StopIteration can be raised here.
            return Outcome(error=error, began=began, asof=ALWAYS)
        finally:
            flight.deadline, flight.time_out = inf, None  # what comes now is the provider's time
            if timer is not None:
                timer.cancel()
        if not flight.over:  # one that was timed out is late, and its store will be refused
            region.rest.forget(call.key)
        region.flights.leave(flight)  # before the command that decides: see singleflight
        sent = tick()
        accepted = await self._store(driver, lease, entry, tags)
        if entry is not None and lease is not None:
            region.emit("store" if accepted else "refused", call.key)
        return Outcome(
            value=value,
            began=began,
            asof=sent if accepted else began,
            entry=entry if accepted else None,
            leased=lease is not None or flight.answered,
        )

    def _weigh(
        self, call: Call, computation: Computation, value: object, born: float
    ) -> tuple[Entry | None, frozenset[str]]:
        """Make the entry of a computed value, or None where it is not to be stored; its tags."""
        refuse_one_shot(value)
        tags = call.tags
        if computation.tags:
            tags |= computation.late_tags()
        if call.late_tags is not None:
            tags |= call.late_tags(value)
        fresh = computation.fresh_or(self.policy.fresh)
        windows = computation.windows or self.policy.windows(fresh)
        when = self.policy.when
        if (
            computation.skipped
            or (when is not None and not when(value))
            or self.region.clock.now() - born >= windows.life
        ):
            return None, tags
        title = self.region.namespace
        try:
            self.packer.try_once(value, title)
            return self.packer.pack(value, born, windows, tags), tags
        except NotSerializable as error:
            if self.region.guard.provider.strict:
                raise
            log.warning("%s: %s is not stored: %s", title, call.key, str(error))
            self.region.emit("refused", call.key, str(error))
            return None, tags

    async def _store(
        self, driver: Driver, lease: Lease | None, entry: Entry | None, tags: frozenset[str]
    ) -> bool:
        ops = driver.ops(self.region.guard)
        if lease is None:
            return False
        try:
            if entry is None:
                return await ops.settle(lease, tags)
            return await ops.store(lease, entry)
        except ProviderUnavailable:
            return False

    def _too_late(self, flight: Flight) -> None:
        message = (
            f"{flight.title} took longer than timeout={self.policy.timeout:g} s; it was "
            "cancelled and its key is free. Give it more time, or stale_if_error= for an old value."
        )
        error = ComputeTimeout(message)
        if flight.finish(Outcome(error=error, began=flight.began, asof=ALWAYS)):
            self.region.flights.leave(flight)
            region = self.region
            region.rest.failed(flight.key, region.clock.now(), self.policy.fresh)
            flight.cancel()

    def _compute_alone(self, call: Call) -> Outcome:
        """Compute on a loop's thread, where waiting for the loop would stop it; not stored."""
        context = copy_context()
        context.run(current_app.set, self.region.app)
        context.run(current_computation.set, Computation(call.key))
        try:
            value = context.run(call.run)
            refuse_one_shot(value)
        except Exception as error:  # noqa: BLE001  # raised outside of the path
            return Outcome(error=error)
        return Outcome(value=value)

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
                return self.done("fallback", key, value, entry)
        self.done(_status(outcome, leads=leads), key, None)
        return Answer(None, error, outcome)

    # The short cut

    def _remember(self, call: Call, entry: Entry, now: float) -> None:
        if call.quick is None or now >= entry.quick_until:
            return
        if entry.tags and not call.tagged:
            return  # late tags: the short cut of an untagged function does not look at them
        self.index.remember(call.quick, entry)


def _status(outcome: Outcome, *, leads: bool) -> str:
    if not leads or (outcome.began == NEVER and outcome.error is None):
        return "coalesced"
    return "miss" if outcome.leased else "bypass"


def _twice_cancelled(flight: Flight) -> ComputeCancelled:
    msg = f"{flight.title} was cancelled from outside, twice; call it again for another try"
    return ComputeCancelled(msg)
