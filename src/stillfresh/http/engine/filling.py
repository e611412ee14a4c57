"""
One request to the cache for one route, and what happens where nothing usable is stored.

`Fill.run` is what the path calls: there the decision to compute is made, as for functions. It
looks whether the old response still holds, sends the request inward (or lets the request that is
inside already go on), and says what becomes of the response.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ...computing.computation import Computation, current_computation
from ...computing.drivers import ON_LOOP
from ...entry import MISSING
from ...errors import ProviderUnavailable
from ...events import log
from ..rules import conditional, response_verdict
from ..rules.fields import vary
from ..rules.message import Response, first, has, only, without
from .capture import BUFFER_BREAKERS, Capture, Incomplete, until
from .cheap import asked_validators, spared
from .coding import coded
from .planning import added, dressed, spared_head
from .replies import (
    Kept,
    Reply,
    for_one,
    group_tags,
    keep,
    lifetimes,
    lived_on,
    unkept_cookies,
    with_ttl,
)
from .routes import Failure
from .stored import Stored
from .unkept import Unkept

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...computing.calls import Call
    from ...entry import Entry
    from ...readthrough import Reader
    from ..rules.message import Headers
    from ..rules.response_verdict import ResponseVerdict
    from .exchange import Exchange
    from .paths import Paths
    from .planning import Plan

BEHIND_SECONDS = 30.0
"""How long a refresh may take that nobody waits for."""
RAISED = 500
"""What frameworks answer with before they let an exception of the handler go on."""
REFUSED = Reply(503, ((b"content-length", b"0"), (b"retry-after", b"1")), b"")
"""The provider is away, and the handler is not to run for everybody (http-rules.md G5)."""


class Fill:
    """The way inward of one request, taken if nothing usable is stored."""

    def __init__(
        self,
        plan: Plan,
        reader: Reader,
        *,
        inward: Callable[[Fill, Headers], Capture],
        inside: Exchange | None = None,
    ) -> None:
        self.plan = plan
        self.reader = reader
        self.call: Call | None = None
        self.led: Computation | None = None
        """The computation as which this very request goes inward, if it does."""
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.capture: Capture | None = None
        self.verdict: ResponseVerdict | None = None
        self.seen: Entry | None = None
        """The entry that is there, although nobody asked the path for it."""
        self.forced = False
        """A fresh response is there, and the request did not want it."""
        self.selecting = False
        """What varies the responses of this URL is known: it may have others."""
        self.unshared = False
        """The variants of this URL are too many: nothing more is stored."""
        self._inward = inward
        self._inside = inside
        self.admitted = True
        """It is asked for often enough to be stored."""
        self.paths: Paths | None = None
        """What is kept of each path."""
        self.status: int | None = None
        """What came from inside."""
        self._usable = self._usable_if_raised = self._validating = self._stale = False
        self._began = 0.0
        self._said: Computation | None = None
        """What the handler decides about its response."""
        self._tags: frozenset[str] = frozenset()
        """Those of the old response: its handler and its groups have said some, and not again."""
        self.cookies: Headers = ()
        """What the response sets for the one who asked, and is not stored (A7)."""
        self._tag: bytes | None = None
        self._modified: bytes | None = None
        self.exchange = inside

    @property
    def knows_itself(self) -> bool:
        """What was not kept is a 200 whose handler can answer conditions, or send a part."""
        capture, verdict = self.capture, self.verdict
        if capture is None or verdict is None or verdict.store or self.plan.asked.open_only:
            return False
        headers = capture.headers
        return capture.status == 200 and conditional.has_validator(headers)

    async def led_or(self, reading: asyncio.Task[Any]) -> None:
        """Wait until this request goes inward, or is answered without."""
        reading.add_done_callback(self._take_turn)
        await until(self._turn)

    def _take_turn(self, _: object = None) -> None:
        if not self._turn.done():
            self._turn.set_result(None)

    # What the path calls

    async def run(self) -> Stored | Unkept:
        """Return a response to store; or skip, and say that there is none."""
        call = cast("Call", self.call)
        computation = current_computation.get() or Computation(call.key)
        made = await self._made(call, computation)
        windows = computation.windows
        if self.paths is not None and windows is not None and not computation.skipped:
            await self.paths.make_room(self.plan, self.reader, call.key, windows.life)
        return made

    async def _made(self, call: Call, computation: Computation) -> Stored | Unkept:
        self._began = self.reader.region.clock.now()
        self._said = computation
        guard = self.reader.region.guard
        if guard.down and self.plan.route.http_cache.fail_closed and not call.behind:
            computation.skip()
            return Unkept(self, REFUSED, shared=True)
        old = await self._old(call)
        self._stale = old is not None
        cheap = await self._cheap(call, old, computation)
        if cheap is not None:
            return cheap
        response = await self._response(call, computation, old)
        if response is None:
            computation.skip()
            return Unkept(self)
        self.status = response.status
        if self._validating and old is not None and response.status == 304:
            if conditional.confirms(old.known_inside, response.headers):
                return await self._confirmed(call, old, computation, response.headers)
            self._validating = False  # it speaks of another one: ask without conditions
            try:
                response = await self._again()
            except Failure as failure:
                came = failure.cause.came if isinstance(failure.cause, Incomplete) else None
                if came is None or failure.usable:
                    raise
                computation.skip()  # the client is to judge what came
                return Unkept(self, self._reply(came, self._judge(came)))
            if response is None:
                computation.skip()
                return Unkept(self, lost=True)
            self.status = response.status
        if (self._usable and response_verdict.failed(response.status)) or (
            response.status == RAISED and self._usable_if_raised and await self._has_raised()
        ):
            headers = self.dress(response.status, response.headers)
            raise Failure(None, Reply(response.status, headers, response.body), usable=True)
        return await self._settled(computation, response)

    async def _old(self, call: Call) -> Stored | None:
        """Return the old response, unless something has invalidated it meanwhile."""
        if call.seen is None and self.seen is None:
            return None
        entry, value = await self.reader.look(call.key, ON_LOOP)
        if entry is None or value is MISSING or not isinstance(value, Stored):
            return None
        age = self.reader.region.clock.now() - entry.born
        self._tags = entry.tags
        self._usable = age < entry.windows.fresh + value.after_error
        self._usable_if_raised = age < entry.windows.fresh + value.after_raise
        return value

    # Cheap validators: the user's functions say whether anything has changed

    async def _cheap(
        self, call: Call, old: Stored | None, computation: Computation
    ) -> Stored | Unkept | None:
        policy, plan = self.plan.route.http_cache, self.plan
        if not callable(policy.etag) and policy.last_modified is None:
            return None
        async with asyncio.timeout(BEHIND_SECONDS if call.behind else None):
            self._tag, self._modified = await asked_validators(plan.route, plan.values)
        if old is not None:
            plan.route.learn_vary(plan.key, old.status, old.sent)
            same_tag = self._tag is None or self._tag == old.tag
            modified = first(old.headers, b"last-modified")
            same_date = self._modified is None or self._modified == modified
            if same_tag and same_date:
                return await self._confirmed(call, old, computation, ())
        reply = None if call.behind else spared(plan, self._tag, self._modified)
        if reply is None:
            return None
        computation.skip()
        return Unkept(self, reply)

    async def _confirmed(
        self, call: Call, old: Stored, computation: Computation, fresh: Headers
    ) -> Stored | Unkept:
        headers = conditional.freshened(old.headers, fresh) if fresh else old.headers
        said = (*headers, *only(fresh, {b"age"})) if fresh else without(headers, {b"date"})
        verdict = self._judge(Response(old.status, said))
        if not verdict.store:
            computation.skip()
            if not fresh:
                return old
            region = self.reader.region
            with suppress(ProviderUnavailable):  # what comes next will say so
                await region.drop(ON_LOOP.ops(region.guard), [call.key])
            return Unkept(self, self._reply(Response(old.status, said, old.body), verdict))
        if not verdict.explicit:  # not longer than its handler has said of it, or says now
            own = min(verdict.lifetime, old.lifetime)
            verdict = with_ttl(verdict, own if computation.fresh is None else computation.fresh)
        windows = lifetimes(verdict, behind=self.plan.behind)
        if not fresh:  # the user's functions have said so, and can say so again
            windows = windows._replace(keep=max(windows.keep, response_verdict.VALIDATED))
        self.cookies = unkept_cookies(self.plan.route.http_cache, fresh)
        computation.windows = windows
        computation.tags |= self._tags | group_tags(self.plan.request, verdict)
        return lived_on(old, verdict, verdict.headers if fresh else headers)

    # The way inward

    async def _response(
        self, call: Call, computation: Computation, old: Stored | None
    ) -> Response | None:
        if call.behind or self._inside is None:
            conditions = conditional.validators(old.known_inside) if old else ()
            self._validating = bool(conditions)
            capture = self._inward(self, conditions)
            capture.gone = capture.gone or call.behind
        else:
            capture = cast("Capture", self._inside.capture)
            _strip(self._inside)
        self._watch(capture)
        if not call.behind:
            self.capture = capture
            self.led = computation
            self._take_turn()
        if capture.task is None:
            capture.start()
        if not call.behind:
            return await self._whole(capture)
        try:
            async with asyncio.timeout(BEHIND_SECONDS):
                return await self._whole(capture)
        except (Failure, TimeoutError) as error:
            cause = error.cause if isinstance(error, Failure) else error
            log.warning("%s: a refresh failed", self.plan.route.title, exc_info=cause)
            raise

    async def _again(self) -> Response | None:
        capture = self._inward(self, ())
        capture.gone = True  # the client waits for the answer, not for this run
        self._watch(capture)
        capture.start()
        return await self._whole(capture)

    def _watch(self, capture: Capture) -> None:
        policy = self.plan.route.http_cache
        capture.keep, capture.dress = self._worth_keeping, self.dress
        capture.spares = partial(spared_head, self.plan)
        capture.limit, capture.tee = policy.max_body, policy.stream == "tee"

    async def _whole(self, capture: Capture) -> Response | None:
        whole = capture.whole
        try:
            await until(whole)
        except BaseException:  # the flight ends, and with it whatever it has sent inward
            if capture.task is not None:
                capture.task.cancel()
            raise
        if whole.cancelled():
            raise asyncio.CancelledError
        error = whole.exception()
        if isinstance(error, Incomplete):
            self.plan.route.tell_once(f"a response is not stored: {error}")
        if error is not None:
            raise Failure(error, usable=self._usable_if_raised) from None
        return whole.result()

    async def _has_raised(self) -> bool:
        """Tell whether a response is the page of a framework for what the handler has raised."""
        run = None if self.exchange is None else self.exchange.capture
        if run is None or run.task is None:
            return False
        await until(run.task)
        return not run.task.cancelled() and run.task.exception() is not None

    def _worth_keeping(self, code: int, headers: Headers) -> bool:
        if self._validating and code == 304:
            return True
        if self._usable and response_verdict.failed(code):
            return True
        if self._usable_if_raised and code == RAISED:
            return True
        verdict = self._judge(Response(code, headers))
        return verdict.store or self._is_asked(verdict)

    def _is_asked(self, verdict: ResponseVerdict) -> bool:
        return verdict.askable and self.plan.route.http_cache.etag in {"weak", "strong"}

    def _judge(self, response: Response) -> ResponseVerdict:
        plan = self.plan
        verdict = response_verdict.judge_response(
            plan.request,
            response,
            plan.asked,
            plan.route.http_cache,
            received=time.time(),
            delay=max(0.0, self.reader.region.clock.now() - self._began),
        )
        if verdict.vary and plan.route.pure:  # no Origin, and nothing else unsaid, can matter
            said = vary(response.headers) or ()
            verdict = replace(verdict, vary=tuple([name for name in verdict.vary if name in said]))
        tainted = "" if self.exchange is None else self.exchange.taint(verdict.vary)
        if verdict.store and (tainted or self.unshared):
            why = tainted or "too many variants of one URL"
            verdict = response_verdict.ResponseVerdict(store=False, why=why, private=bool(tainted))
            plan.route.tell_once(f"a response is not stored: {why}")
        if not verdict.store and verdict.why == plan.asked.detail and plan.asked.open_only:
            plan.route.tell_of_credentials()
        self.verdict = verdict
        return verdict

    async def _settled(self, computation: Computation, response: Response) -> Stored | Unkept:
        plan, policy = self.plan, self.plan.route.http_cache
        if self.exchange is not None:
            self.exchange.answered(response)
        verdict = self._judge(response)
        if not verdict.store:
            computation.skip()
            return Unkept(self, self._reply(response, verdict))
        if computation.fresh is not None and not verdict.explicit:
            verdict = self.verdict = with_ttl(verdict, computation.fresh)
        more = added(plan, response.status, response.headers, verdict, computation)
        if not self.admitted:
            computation.skip()
        kept: Kept = keep(
            plan.request,
            response,
            verdict,
            policy,
            added=more,
            tag=self._tag,
            modified=self._modified,
            behind=plan.behind,
            shortened=policy.jitter * random.random(),
            codings=await coded(policy, response, verdict),
        )
        self.cookies = unkept_cookies(policy, response.headers)
        computation.windows = kept.windows
        computation.tags |= kept.tags
        plan.route.learn_search(plan.request, response.headers)
        plan.route.learn_vary(plan.key, response.status, kept.stored.sent)
        return kept.stored

    def _reply(self, response: Response, verdict: ResponseVerdict) -> Reply:
        """Return a response that is not stored, or a 304 if that is enough."""
        headers = self.dress(response.status, response.headers)
        if self._is_asked(verdict):
            strong = self.plan.route.http_cache.etag == "strong"
            tag = conditional.entity_tag(response.headers, response.body, strong=strong)
            headers = (*headers, (b"etag", tag))
        unchanged = spared_head(self.plan, response.status, headers)
        if unchanged is not None:
            return Reply(304, unchanged, b"")
        body = b"" if self.plan.request.method == "HEAD" else response.body
        return Reply(response.status, headers, body)

    def dress(self, code: int, headers: Headers) -> Headers:
        """Return the fields of a response that goes to a client as it comes."""
        said, verdict = self._said, self._judge(Response(code, headers))
        if said is not None and said.fresh is not None and verdict.store and not verdict.explicit:
            verdict = with_ttl(verdict, said.fresh)
        stale, inside = self._stale, self.status
        sent = dressed(self.plan, code, headers, verdict, said, stale=stale, inside=inside)
        if verdict.store and unkept_cookies(self.plan.route.http_cache, headers):
            sent = for_one(sent, ours=not has(headers, b"cache-control"))
        self.plan.route.learn_vary(self.plan.key, code, sent)
        return sent


def _strip(exchange: Exchange) -> None:
    """Let the handler make the whole response, in a way that can be seen (C6, A15)."""
    if exchange.scope["method"] == "HEAD":  # it fills, so the handler makes a body
        exchange.scope["method"] = "GET"
    headers = exchange.scope["headers"]
    headers[:] = [line for line in headers if line[0] not in conditional.PRECONDITIONS]
    for name in BUFFER_BREAKERS:
        exchange.scope.get("extensions", {}).pop(name, None)
