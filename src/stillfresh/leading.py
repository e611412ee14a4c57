"""
Computing: lead a flight, call the function under a lease, store if nothing was invalidated.

    launch ── a task or a thread of its own ── lead ── acquire ── call the function ── store
                                                       (a lease)              (only under it)

Who waits for the result, and who may have it, is decided above, in `readthrough`.
"""

from __future__ import annotations

import contextlib
import weakref
from asyncio import CancelledError
from contextvars import copy_context
from functools import partial
from inspect import isawaitable
from math import inf
from types import CoroutineType
from typing import TYPE_CHECKING

from .app import current_app
from .codecs import PLAIN
from .computing.background import MOST_THREADS
from .computing.calls import Answer, tell
from .computing.computation import Computation, current_computation
from .computing.patience import Patience, holder_of
from .entries.shelf import Shelf, no_value, refuse_one_shot
from .entry import MISSING, Entry
from .errors import ComputeTimeout, NotSerializable, ProviderUnavailable
from .events import log
from .providers.base import Address, Found, Lease
from .singleflight import ALWAYS, Flight, Outcome, inside, tick, waiting_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from .app import App
    from .clock import Timer
    from .codecs import Codec
    from .computing.calls import Call
    from .computing.drivers import Driver
    from .entries.region import Region
    from .entry import Windows
    from .options import Policy

_ENDS = (CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
"""What ends a computation without being its answer, but in a worker thread."""


_new = tuple.__new__


class Leading(Shelf):
    """A shelf whose entries can be computed."""

    def __init__(
        self, region: Region, policy: Policy, codec: Callable[[], Codec], *, local: bool = False
    ) -> None:
        super().__init__(region, policy, codec, local=local)
        self._usual: Windows | None = None if policy.jitter else policy.windows()
        """The lifetimes of an entry about which its function says nothing."""

    def join(self, call: Call, driver: Driver) -> tuple[Flight, bool]:
        """Return the flight of *call*, and whether the caller has to lead it."""
        loop = driver.loop() if driver.suspends else None
        region, key, late = self.region, call.key, call.late_tags is not None
        return region.flights.join(key, Flight, key, loop, region.namespace, call.tags, late)

    def launch(
        self,
        call: Call,
        flight: Flight,
        driver: Driver,
        seen: Entry | None = None,
        *,
        take: bool = False,
        behind: bool = False,
    ) -> None:
        """Lead *flight*: beside the caller, or in a sync call here and now."""
        call.seen, call.behind = seen, behind
        background = self.region.app.background
        path = self._lead(call, flight, driver, take=take)
        try:
            worker = not driver.suspends and (behind or self.policy.in_worker)
            if worker and background.is_stuck():
                # A thread cannot be ended from outside, so they must not pile up.
                path.close()
                self._ended(flight, Outcome(error=_stuck(flight), asof=ALWAYS))
                return
            if worker or driver.suspends:  # otherwise it is over when `launch` returns
                background.add(flight)
            driver.launch(flight, path, partial(self._never_began, flight), worker=worker)
        except BaseException:
            path.close()
            self._ended(flight, Outcome())
            raise

    def abandon(self, flight: Flight, driver: Driver) -> None:
        """
        End a flight whose leader was interrupted before it was launched: nobody else would.

            1. a sync call joins, as the leader
            2. a signal handler raises, such as at Ctrl-C
            3. the program goes on, and calls the same once more: it would wait for ever
        """
        if not (driver.suspends or self.region.app.background.has(flight)):
            self._ended(flight, Outcome())

    def _never_began(self, flight: Flight, _: object) -> None:
        if flight.outcome is None:  # otherwise it has, and came to its own end
            self._ended(flight, Outcome())

    def _ended(self, flight: Flight, outcome: Outcome) -> None:
        if flight.listed:
            self.region.flights.leave(flight)
        flight.finish(outcome)
        # What leads back here goes: a circle would wait for the collector.
        flight.task = flight.unbegun = flight.lease = None
        self.region.app.background.discard(flight)

    async def _lead(self, call: Call, flight: Flight, driver: Driver, *, take: bool) -> None:
        outcome: Outcome | None = None
        itself = weakref.ref(flight)
        current_app.set(self.region.app)
        inside.set(itself)
        try:
            if flight.unbegun is not None and flight.task is not None:
                # From here on it sees to the end by itself.
                flight.task.remove_done_callback(flight.unbegun)
            lease = await self._acquire(call, flight, driver, take=take)
            if isinstance(lease, Outcome):
                outcome = lease
            else:
                flight.lease = lease
                if lease is not None:
                    lease.holder = itself
                outcome = await self._compute(call, flight, driver, lease)
        except Exception as error:  # noqa: BLE001  # all of it reaches the callers
            outcome = Outcome(error=error, began=flight.began, asof=ALWAYS)
        finally:
            self._ended(flight, Outcome() if outcome is None else outcome)

    async def _acquire(
        self, call: Call, flight: Flight, driver: Driver, *, take: bool
    ) -> Lease | Outcome | None:
        """Get the lease, or what another process has stored, or None from a silent provider."""
        guard = self.region.guard
        ops = driver.reads(guard)
        address = _new(Address, (self.region.namespace, call.key))
        if self.packer.serialized:
            self.packer.check_type()  # said before the function runs
        patience: Patience | None = None
        seen = call.seen
        while True:
            sent = tick()
            try:
                answer = await ops.acquire(
                    address, seen=seen, take=take, tags=call.tags, alive=flight.is_alive
                )
                if isinstance(answer, Lease):
                    if not flight.shaken or not flight.must_ask_again():
                        return answer
                    await ops.release(answer)
                elif not isinstance(answer, Found):
                    on_loop = driver.stands_on_loop() or flight.blocks_loop
                    if on_loop and not self.region.guard.provider.shared:
                        return None  # it may be held by a task of the loop that stands still
                    if patience is None:
                        patience = self._patience(flight)
                    patience.meet(answer.mark)
                    if patience.is_overdue():
                        found, _ = await self.look(call.key, driver)
                        if found is not None:  # the old value is better
                            return self._overdue(flight, call)
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

    def _patience(self, flight: Flight) -> Patience:
        region, policy = self.region, self.policy
        return Patience(
            flight,
            region.guard.provider,
            region.clock,
            most=policy.patience,
            timeout=policy.timeout,
        )

    def _overdue(self, flight: Flight, call: Call) -> Outcome:
        """Return what callers get where a holder has had its time, and there is an old value."""
        error = ComputeTimeout(
            f"{flight.title} is computed by another process, which has not come to an end within "
            f"timeout={self.policy.timeout:g} s. Its key is free when its lease ends."
        )
        self._note(call, flight, error, fails=True)
        return Outcome(error=error, asof=ALWAYS)

    async def _compute(
        self, call: Call, flight: Flight, driver: Driver, lease: Lease | None
    ) -> Outcome:
        region, clock, guard = self.region, self.region.clock, self.region.guard
        computation = Computation(call.key)
        flight.late_tags = computation.tags
        current_computation.set(computation)
        born = clock.now()
        timer = None
        if self.policy.timeout == inf:
            flight.began = began = tick()
        else:
            timer = self._limit(flight, call)
            began = flight.begin(born + self.policy.timeout)
        try:
            value = call.run(*call.args)
            if driver.suspends and (type(value) is CoroutineType or isawaitable(value)):
                value = await value
            entry, tags = self._weigh(call, computation, value, born)
        except BaseException as error:
            failed = isinstance(error, Exception) or self._fails_beside(error, flight, driver)
            if lease is not None and (failed or not isinstance(error, GeneratorExit)):
                ops, settles = driver.reads(guard), failed or flight.over  # or it was cancelled
                with contextlib.suppress(ProviderUnavailable):
                    await (ops.settle(lease, call.tags) if settles else ops.release(lease))
            # Who was timed out before has had its failure noted then.
            if failed and not flight.over:
                self._note(call, flight, error)
            if isinstance(error, _ENDS) and not failed:
                raise
            # Returned, since no StopIteration can be raised here.
            return Outcome(error=error, began=began, asof=ALWAYS)
        finally:
            if flight.time_out is not None:  # what comes now is the provider's time
                flight.deadline, flight.time_out = inf, None
            if timer is not None:
                timer.cancel()
        # One that was timed out is late, and its store will be refused.
        if region.rest.until and flight.outcome is None:
            region.rest.forget(call.key)
        region.flights.leave(flight)  # before the command that decides: see singleflight
        sent = tick()
        accepted = False
        if lease is not None:
            ops = driver.reads(guard)
            try:
                if entry is None:
                    accepted = await ops.settle(lease, tags)
                else:
                    accepted = await ops.store(lease, entry)
            except ProviderUnavailable:
                pass
            if entry is not None and region.heard:
                region.emit("store" if accepted else "refused", call.key)
        asof = sent if accepted else began
        leased = lease is not None or flight.answered
        # By position: names cost half as much again.
        return Outcome(value, None, began, asof, entry if accepted else None, leased)

    def _fails_beside(self, error: BaseException, flight: Flight, driver: Driver) -> bool:
        """
        Tell whether what is no `Exception` is the answer all the same.

        In a thread of its own nobody is above the function whom `SystemExit` would reach, so its
        callers get it. `CancelledError` says of a thread, too, that there is no answer.
        """
        beside = not driver.suspends and self.region.app.background.has(flight)
        return beside and not isinstance(error, CancelledError)

    def _limit(self, flight: Flight, call: Call) -> Timer | None:
        """Say how *flight* is ended when its time is over; on a loop it is watched from there."""
        flight.time_out = time_out = partial(self._too_late, flight, call)
        if flight.loop is None:
            return None
        return self.region.clock.call_later(flight.loop, self.policy.timeout, time_out)

    def _weigh(
        self, call: Call, computation: Computation, value: object, born: float
    ) -> tuple[Entry | None, frozenset[str]]:
        """Make the entry of a computed value, or None where it is not to be stored; its tags."""
        tags = call.tags
        if computation.tags:
            tags |= computation.late_tags()
        if type(value) not in PLAIN:
            if value is MISSING:
                if not computation.skipped:
                    self._refuse(call, no_value("Return None where None is the value."))
                return None, tags
            refuse_one_shot(value, self.region.namespace)
        if call.late_tags is not None:
            tags |= call.late_tags(value)
        windows = computation.windows
        if windows is None and (computation.fresh is not None or (windows := self._usual) is None):
            windows = self.policy.windows(computation.fresh)
        when = self.policy.when
        spent = self.region.clock.now() - born
        if (
            computation.skipped
            or (when is not None and not when(value))
            or (spent >= windows.fresh and spent >= windows.life)
        ):
            return None, tags
        packer = self.packer
        try:
            if not packer.tried:
                packer.try_once(value, self.region.namespace)
            # Mostly it is nothing but the value.
            if not packer.serialized and packer.measure is None and not packer.copies:
                return Entry(value, born, windows, tags), tags
            return packer.pack(value, born, windows, tags), tags
        except NotSerializable as error:
            self._refuse(call, error)
            return None, tags

    def _refuse(self, call: Call, error: NotSerializable) -> None:
        """Say that a computed value is not stored; raise it where the provider is strict."""
        if self.region.guard.provider.strict:
            raise error
        log.warning("%s: %s is not stored: %s", self.region.namespace, call.key, str(error))
        self.region.emit("refused", call.key, str(error))

    def _too_late(self, flight: Flight, call: Call) -> None:
        end = "it was cancelled"
        if flight.loop is None:  # nobody can end a thread from outside
            end = "it runs on in its thread, its result will be dropped,"
        message = (
            f"{flight.title} took longer than timeout={self.policy.timeout:g} s; {end} "
            "and its key is free. Give it more time, or stale_if_error= for an old value."
        )
        error = ComputeTimeout(message)
        if flight.finish(Outcome(error=error, began=flight.began, asof=ALWAYS)):
            self.region.flights.leave(flight)
            self._note(call, flight, error, fails=True)
            flight.cancel()

    def _note(
        self, call: Call, flight: Flight, error: BaseException, *, fails: bool = False
    ) -> None:
        region = self.region
        if call.behind:
            tell(flight.title, "a refresh failed", error)
        if fails or self.policy.fails(error):
            region.rest.failed(flight.key, region.clock.now(), self.policy.fresh)

    def compute_alone(self, call: Call) -> Outcome:
        """Compute on a loop's thread, where waiting for the loop would stop it; not stored."""
        context = copy_context()
        context.run(current_app.set, self.region.app)
        context.run(current_computation.set, Computation(call.key))
        try:
            value = context.run(call.run, *call.args)
            refuse_one_shot(value, self.region.namespace)
        except Exception as error:  # noqa: BLE001  # raised outside of the path
            return Outcome(error=error)
        return Outcome(value=value)


async def past_the_cache(
    app: App, key: str | Callable[[], str], run: Callable[[], object], driver: Driver
) -> Answer:
    """
    Run a function as if there were no cache; what it raises is in the answer.

    What it calls is served by *app*, as under a cache; one that does not run serves nobody.
    """
    computing = current_computation.set(Computation(key))
    serving = current_app.set(app) if app.running else None
    try:
        value = run()
        if driver.suspends and isawaitable(value):
            value = await value
    except Exception as error:  # noqa: BLE001  # raised outside, so that any error passes
        return Answer(None, error)
    finally:
        current_computation.reset(computing)
        if serving is not None:
            current_app.reset(serving)
    return Answer(value)


def _stuck(flight: Flight) -> ComputeTimeout:
    msg = (
        f"{flight.title}: {MOST_THREADS} sync computations still hang past their timeout. "
        "Give their source a timeout of its own."
    )
    return ComputeTimeout(msg)
