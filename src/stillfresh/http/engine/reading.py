"""
Reading: from a plan to what the client gets, by way of `Reader.read`.

A URL has one primary entry. If its response varies, that entry is its first variant, and names
the fields by which it does; every other variant has an entry under a key of its own. So where
nothing varies there is one look-up, and a change that drops the primary entry drops nothing
else: what is told by tags reaches all variants.
"""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from ...computing.calls import Call
from ...computing.drivers import ON_LOOP
from ...entry import Verdict, judge
from ...errors import ComputeCancelled, ProviderUnavailable
from ..rules import conditional, key, outgoing, request_verdict, response_verdict
from ..rules.message import has, joined
from .anew import store_anew
from .crowd import Lately, read_patiently, read_stale
from .paths import Paths
from .planning import member_of
from .replies import FIRST_HAND, Reply, answer, with_cookies
from .routes import Failure
from .scope import request_object, target_of
from .short_way import book_of
from .stored import Stored
from .unkept import Unkept
from .variants import Learnt, make_room

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...computing.calls import Answer
    from ...entry import Entry
    from ...readthrough import Reader
    from ..rules.fields import CacheControl
    from ..rules.message import Request
    from .filling import Fill
    from .planning import Plan
    from .routes import CachedRoute
    from .short_way import ShortWays

ROUNDS: Final = 4
"""How many keys are tried for one request; each one knows more fields than the one before."""
HIT_FOR_MISS: Final = 5.0
"""Seconds for which requests do not wait for one whose response they could not share."""
MOST_KNOWN: Final = 10_000


class Got(NamedTuple):
    """What the client gets."""

    reply: Reply | None
    """None: the client gets it from inside, or there is an error to raise."""
    how: str = ""
    key: str = ""
    reader: Reader | None = None


class Pass(NamedTuple):
    """The handler has to answer, and nothing is shared."""


class Readings:
    """How requests are answered from what is stored, in one process."""

    def __init__(self, short_ways: ShortWays) -> None:
        self._short_ways = short_ways
        self.header_names: dict[object, tuple[bytes, ...]] = {}
        """The fields of requests that are parameters of what they ask for."""
        self.known: dict[object, tuple[CachedRoute, str, Mapping[str, object]]] = {}
        """The routes and arguments behind requests that may be answered before routing."""
        self._learnt: dict[str, Learnt] = {}
        self._resting = Lately()
        self._unkept_lately = Lately()
        """Conditions and ranges are for the handlers of these."""
        self._used: dict[str, int] = {}
        self._deferred: dict[object, None] = {}
        self._paths = Paths()

    def forget_all(self) -> None:
        """The app has changed: learn anew."""
        self._short_ways.clear()
        self.known.clear()
        self.header_names.clear()
        self._learnt.clear()
        self._resting.clear()
        self._unkept_lately.clear()
        self._used.clear()
        self._deferred.clear()
        self._paths.clear()

    def learn_route(self, plan: Plan) -> None:
        """Remember which route answers such a request."""
        values = plan.route.lasting_values(plan.values)
        if values is None:
            return
        if len(self.known) >= MOST_KNOWN:
            self.known.clear()
            self.header_names.clear()
        target, headers = target_of(plan.request), plan.route.parameters.headers
        if headers:
            self.header_names[target] = headers
        plan.target = self.full_target(plan.request)
        self.known[plan.target] = (plan.route, plan.text, values)

    def full_target(self, request: Request) -> tuple[object, ...]:
        """Return what says which route and arguments a request is for, once they are known."""
        target = target_of(request)
        names = self.header_names.get(target)
        if names is None:
            return target
        return (*target, *(joined(request.headers, name) for name in names))

    def defer(self, plan: Plan) -> None:
        """Remember that the endpoint has to be asked about such a request."""
        if len(self._deferred) >= MOST_KNOWN:
            self._deferred.clear()
        self._deferred[plan.target or plan.key] = None

    def is_deferred(self, target: object) -> bool:
        """Tell whether the endpoint has to be asked."""
        return target in self._deferred

    async def read(self, plan: Plan, fill: Fill) -> Got | Pass:
        """Answer a request from what is stored, or by way of *fill*."""
        reader = fill.reader
        now = reader.region.clock.now()
        cache = plan.route.http_cache
        fill.paths = self._paths
        if self._resting.holds(plan.key, now):
            return Pass()
        wished = self._wished(plan)
        if wished is not None and wished.has(b"no-store") and not cache.directives_interval:
            return Pass()
        if cache.min_uses > 1:
            fill.admitted = self._uses(plan.key) >= cache.min_uses
        names = self._names(plan)
        for _ in range(ROUNDS):
            call = self._call(plan, fill, names)
            if fill.unshared and plan.asked.store and b"origin" in names:
                fill.unshared = not await make_room(self._learnt[plan.key], fill.reader, plan.key)
            if await self._is_for_the_handler(plan, reader, call.key):
                return Pass()
            answered = await self._one(plan, fill, call, wished)
            if answered is None:
                return Pass()
            if answered.error is not None:
                return self._failed(fill, answered.error)
            value = answered.value
            if isinstance(value, Unkept):
                if not plan.asked.open_only and value.is_anothers(fill):
                    continue  # its credentials say nothing of this request: wait once more
                return self._unkept(plan, fill, value, now)
            if not isinstance(value, Stored):
                return Pass()
            mine = fill.led is not None or self._fits(plan, value)
            self._learn(plan, value, names, now)
            plan.route.learn_search(plan.request, value.headers)
            leads = fill.led is not None and answered.entry is not None and not names
            if leads and has(value.headers, b"no-vary-search") and plan.key_now != plan.key:
                await store_anew(plan, reader, self._paths, plan.key_now)
            plan.route.learn_vary(plan.key, value.status, value.sent)
            if not mine:
                names = tuple(sorted({*names, *value.vary}))
                continue
            if plan.asked.open_only and not value.open:
                plan.route.tell_of_credentials()
                return Pass()
            return self._found(plan, fill, call, answered, value)
        return Pass()

    async def _is_for_the_handler(self, plan: Plan, reader: Reader, name: str) -> bool:
        """Tell whether a request has conditions of what is known to be kept by nobody (C6)."""
        now, headers = reader.region.clock.now(), plan.request.headers
        if not (self._unkept_lately.holds(plan.key, now) and conditional.has_any(headers)):
            return False
        entry, _ = await reader.look(name, ON_LOOP)
        return entry is None

    def warm(self, plan: Plan, reader: Reader) -> Got | None:
        """Return the answer of a hit in memory, where that takes no more than a look."""
        entry = reader.index.entries.get(plan.key)
        book = None if entry is None else book_of(reader, entry)
        if (
            entry is None
            or book is None
            or plan.asked is not request_verdict.USUAL
            or plan.route.http_cache.request_directives != "ignore"
            or reader.region.listeners.wants("hit")
        ):
            return None
        now = reader.region.clock.now()
        if not (now < entry.quick_until and entry.epoch == book.epoch):
            return None
        value = getattr(entry, "value", None)  # gone, if it was dropped in this moment
        if not isinstance(value, Stored) or value.vary:
            return None
        entry.visits += 1
        resident = _resident(entry, value, now, how="hit")
        member = member_of(plan, outgoing.hit(value.lifetime - value.age - resident))
        reply = answer(
            value,
            plan.request,
            plan.route.http_cache,
            resident=resident,
            how="hit",
            member=member,
            now=time.time(),
        )
        return Got(reply, "hit", plan.key, reader)

    # One key

    def _call(self, plan: Plan, fill: Fill, names: tuple[bytes, ...]) -> Call:
        text = plan.key
        if names:
            normalizers = plan.route.http_cache.normalize
            variant = key.variant(names, plan.request.headers, normalizers)
            text = f"{text}|{variant}"
            learnt = self._learnt.get(plan.key)
            if learnt is not None:
                most, now = plan.route.http_cache.max_variants, fill.reader.region.clock.now()
                fill.unshared = not learnt.has_room(variant, most, now)
        # Where nothing marks an entry that was dropped, the index would keep it for ever.
        quick_key = (plan.target or plan.key) if fill.reader.quick and not names else None
        call = Call(text, fill.run, plan.tags, quick_key=quick_key, tagged=True)
        fill.call, fill.selecting = call, bool(names)
        return call

    async def _one(
        self, plan: Plan, fill: Fill, call: Call, wished: CacheControl | None
    ) -> Answer | None:
        reader, cache = fill.reader, plan.route.http_cache
        if plan.asked.store and wished is None:
            return await self._usual(plan, fill, call)
        entry, value = await reader.look(call.key, ON_LOOP)
        now = reader.region.clock.now()
        verdict = judge(entry, now)
        if isinstance(value, Stored) and entry is not None:
            age = value.age + now - entry.born
            fresh = verdict is Verdict.FRESH
            if wished is None:
                usable = fresh or verdict is Verdict.STALE
            elif fresh and now - entry.born < cache.directives_interval:
                usable = True
            else:
                usable = request_verdict.satisfies(wished, age, value.lifetime) and (
                    fresh
                    or not (entry.expired or response_verdict.never_stale(value.headers, cache))
                )
            if usable:
                return reader.done("hit" if fresh else "stale", call.key, value, entry)
        if wished is not None and wished.has(b"only-if-cached"):
            gone = Reply(504, ((b"content-length", b"0"),), b"")
            return reader.done("bypass", call.key, Unkept(fill, gone))
        if not plan.asked.store or (wished is not None and wished.has(b"no-store")):
            return None
        fill.seen, fill.forced = entry, verdict is Verdict.FRESH
        return await reader.refresh(call, ON_LOOP)

    @staticmethod
    async def _usual(plan: Plan, fill: Fill, call: Call) -> Answer | None:
        reader, cache, refreshes = fill.reader, plan.route.http_cache, plan.route.refreshes
        if not refreshes.have_room(reader.region.flights, cache.max_refreshes):
            old = await read_stale(reader, call)
            if old is not None:
                return old
        answered = await read_patiently(
            reader, call, cache.longest_wait, lambda: fill.led is not None
        )
        refreshes.note(call)
        return answered

    @staticmethod
    def _wished(plan: Plan) -> CacheControl | None:
        cache = plan.route.http_cache
        if cache.request_directives == "ignore":
            return None
        if cache.trusted is not None and not cache.trusted(request_object(plan.scope)):
            return None
        return request_verdict.wishes(plan.request.headers)

    # What came of it

    def _failed(self, fill: Fill, error: BaseException) -> Got | Pass:
        if isinstance(error, Failure):
            return Got(error.reply, "failed") if fill.led is not None else Pass()
        if isinstance(error, ComputeCancelled | ProviderUnavailable) and fill.led is None:
            return Pass()
        raise error

    def _unkept(self, plan: Plan, fill: Fill, value: Unkept, now: float) -> Got | Pass:
        if value.fill is fill:
            if fill.knows_itself:
                self._unkept_lately.note(plan.key, now + HIT_FOR_MISS)
            return Pass() if value.lost else Got(value.reply, "miss")
        if value.shared:
            return Got(value.reply, "bypass")
        if not value.is_anothers(fill):
            self._resting.note(plan.key, now + HIT_FOR_MISS)
        return Pass()

    def _uses(self, name: str) -> int:
        """Count one more request, and return how many there were."""
        if len(self._used) >= MOST_KNOWN:
            self._used.clear()
        count = self._used[name] = self._used.get(name, 0) + 1
        return count

    def _found(self, plan: Plan, fill: Fill, call: Call, answered: Answer, value: Stored) -> Got:
        entry = answered.entry
        now = fill.reader.region.clock.now()
        resident = _resident(entry, value, now, how=answered.status)
        reply = answer(
            value,
            plan.request,
            plan.route.http_cache,
            resident=resident,
            how=answered.status,
            member=member_of(plan, self._member(fill, call, answered, value, resident)),
            now=time.time(),
            inside=None if fill.led is None else fill.status,
        )
        if fill.led is not None and fill.cookies:
            reply = with_cookies(reply, value, fill.cookies)
        if answered.status == "hit" and entry is not None and plan.target is not None:
            self._short_ways.offer(plan, fill.reader, entry, value)
            if fill.reader.forgotten:  # by a change that came before this: it has cleared already
                self._short_ways.clear()
        return Got(reply, answered.status, call.key, fill.reader)

    @staticmethod
    def _member(fill: Fill, call: Call, answered: Answer, value: Stored, resident: float) -> bytes:
        """Return what Cache-Status says of a stored response (RFC 9211 section 2)."""
        if answered.status in {"hit", "stale"}:
            return outgoing.hit(value.lifetime - value.age - resident)
        if answered.status == "fallback":
            return outgoing.forwarded(b"stale")
        if fill.forced:
            reason = b"request"
        elif call.seen is not None or fill.seen is not None:
            reason = b"stale"
        else:
            reason = b"vary-miss" if fill.selecting else b"uri-miss"
        if answered.status == "coalesced":
            return outgoing.forwarded(reason, collapsed=True)
        return outgoing.forwarded(reason, stored=answered.entry is not None)

    # Variants

    def _names(self, plan: Plan) -> tuple[bytes, ...]:
        """Return the fields to look under at once: none, if the primary entry is the one."""
        learnt = self._learnt.get(plan.key)
        if learnt is None:
            return ()
        variant = key.variant(learnt.names, plan.request.headers, plan.route.http_cache.normalize)
        return () if variant == learnt.first else learnt.names

    def _fits(self, plan: Plan, value: Stored) -> bool:
        if not value.vary:
            return True
        normalizers = plan.route.http_cache.normalize
        return key.variant(value.vary, plan.request.headers, normalizers) == value.variant

    def _learn(self, plan: Plan, value: Stored, names: tuple[bytes, ...], now: float) -> None:
        if not value.vary:
            return
        learnt = self._learnt.get(plan.key)
        if not names and (
            learnt is None or learnt.names != value.vary or learnt.first != value.variant
        ):
            if len(self._learnt) >= MOST_KNOWN:
                self._learnt.clear()
            seen = {} if learnt is None else learnt.seen
            learnt = self._learnt[plan.key] = Learnt(value.vary, value.variant, seen)
        most = plan.route.http_cache.max_variants
        if learnt is not None and learnt.has_room(value.variant, most, now):
            learnt.note(value.variant, now + max(1.0, value.lifetime))

    async def forget(self, found: Got) -> None:
        """Drop a response whose application raised after it was whole."""
        if found.reader is not None:
            region = found.reader.region
            await region.drop(ON_LOOP.ops(region.guard), [found.key])


def _resident(entry: Entry | None, value: Stored, now: float, *, how: str) -> float:
    """
    Return the age of an entry. One that was dropped in this moment does not tell it any more:
    it is new, or as old as it can be.
    """
    passed = 0.0 if entry is None else max(0.0, now - entry.born)
    if passed < inf:
        return passed
    return 0.0 if how in FIRST_HAND else max(0.0, value.lifetime - value.age)
