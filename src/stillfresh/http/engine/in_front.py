"""
The engine: what becomes of a request in front of an application.

    GET, HEAD ── known, and the cache may answer before routing ──► EARLY: read, or fill inward
              └─ else ──► LATE: the application runs, in a task of its own
                            └─ its endpoint asks (after guards and dependencies): read, or let
                               the handler go on and capture what it sends
    unsafe ──► the application runs; a success invalidates before it is told
    all else passes

A request is a call, and the response its value: `Reader.read` decides, as for functions. There
is no other place that decides to compute.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from ...events import log
from ..keyed_bodies import longest_keyed
from ..rules import outgoing, request_verdict
from ..rules.fields import members
from ..rules.message import Response, has, joined, without
from ..rules.response_verdict import HOP_BY_HOP
from ..rules.unsafe import is_unsafe
from .at_endpoint import MARK, AtEndpoint
from .bodies import body_parts, read_ahead
from .capture import Capture, until
from .changes import answer_unsafe, dropping
from .exchange import Exchange, exchange_here
from .filling import Fill
from .planning import Plan, dresser, spared_head
from .reading import Got, Pass, Readings
from .scope import inner_scope, request_of, send_reply
from .short_way import ShortWays

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...app import App
    from ...services.asgi import AsgiApp, Receive, Scope, Send
    from ..rules.message import Headers, Request
    from .replies import Reply
    from .routes import CachedRoute

_NONE: dict[str, object] = {}


class Engine:
    """Stands in front of one application."""

    def __init__(self, inner: AsgiApp, app: Callable[[], App]) -> None:
        self.inner = inner
        self.find_app = app
        self.short_ways = ShortWays()
        self.readings = Readings(self.short_ways)
        self.desk = AtEndpoint(inner, app, self.readings)
        self.short_ways.set_outside = self.desk.set_outside
        self.whole_app: CachedRoute | None = None
        """Keeps the responses of every route, as far as they say themselves that it may."""
        self._left: set[asyncio.Task[None]] = set()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, for which no short way was ready."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                self.desk.contexts = [copy_context()]
            await self.inner(scope, receive, send)
        elif (far := self.short_ways.distant(scope)) is not None:
            reply = await far[0].reply(far[1])
            if reply is None:
                await self._get(scope, receive, send)
            else:
                await send_reply(send, reply)
        elif scope["method"] in {"GET", "HEAD"}:
            await self._get(scope, receive, send)
        elif keyed := longest_keyed(scope["method"]):
            await self._with_body(scope, receive, send, keyed)
        elif is_unsafe(scope["method"]):
            await answer_unsafe(self.inner, self.desk, scope, receive, send)
        else:
            await self.inner(scope, receive, send)

    async def _get(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        target = self.readings.full_target(request)
        known = self.readings.known.get(target)
        route = self.whole_app if known is None else known[0]
        if (
            route is None
            or self.readings.is_deferred(target)
            or not route.find_app().running
            or (request.method == "HEAD" and not route.heads)
            or (route.trusts_context and self.desk.set_outside())
        ):
            await self._late(request, scope, receive, send)
            return
        text, arguments = ("", _NONE) if known is None else known[1:]
        asked = request_verdict.ask(request, route.http_cache, pure=route.pure)
        plan = Plan(route, request, asked, text, arguments, scope=scope, target=target)
        # Credentials are for guards to look at.
        guarded = known is not None and has(request.headers, b"authorization")
        if guarded or not (asked.look or asked.store):
            dress = None if known is not None else dresser(plan)
            await self._late(request, scope, receive, send, dress)
        else:
            await self._early(plan, scope, receive, send)

    async def _with_body(self, scope: Scope, receive: Receive, send: Send, keyed: int) -> None:
        """Answer a request whose body, up to *keyed* bytes, may be in a key (http-rules.md A1)."""
        request, route = request_of(scope), self.whole_app
        keeps = route is not None and request.method in route.http_cache.methods
        if route is not None and keeps and route.find_app().running:
            body, receive = await read_ahead(receive, route.http_cache.max_body)
            if body is not None:
                plan = self._plan_with(body, route, request, scope)
                if plan is not None:
                    await self._early(plan, scope, receive, send)
                    return
        exchange = Exchange(self.desk, request, inner_scope(scope), keyed=keyed)
        if is_unsafe(scope["method"]):
            send = dropping(exchange, self.find_app(), send)
        await self._through(exchange, receive, send, None)

    def _plan_with(
        self, body: bytes, route: CachedRoute, request: Request, scope: Scope
    ) -> Plan | None:
        """Return what a request to a whole application asks of it, None if its endpoint knows."""
        asked = request_verdict.ask(request, route.http_cache)
        if not (asked.look or asked.store):
            return None
        parts = body_parts(request, body)
        plan = Plan(route, request, asked, "", _NONE, scope=scope, extra=parts)
        plan.body = body
        return None if self.readings.is_deferred(plan.key) else plan

    # Before routing

    async def _early(self, plan: Plan, scope: Scope, receive: Receive, send: Send) -> None:
        way = partial(self.desk.inward, plan.request, scope, send, ear=receive)
        fill = Fill(plan, plan.route.reader(), inward=way)
        reading = asyncio.get_running_loop().create_task(self.readings.read(plan, fill))
        try:
            await fill.led_or(reading)
            capture = fill.capture
            if capture is not None:
                await until(capture.decided)
                if capture.live:
                    await capture.stream()
            await until(reading)
            if capture is not None and fill.exchange is not None and fill.exchange.changed_hands:
                await self._whole(fill.exchange, capture, send)
                return
        except BaseException:
            if fill.capture is not None:
                self._leave(fill.capture)
            reading.cancel()
            raise
        found = reading.result()
        if isinstance(found, Pass) and self.readings.is_deferred(plan.target or plan.key):
            await self._late(plan.request, scope, receive, send)
            return
        if isinstance(found, Pass):
            exchange = Exchange(self.desk, plan.request, inner_scope(scope))
            exchange.passing, exchange.route = True, plan.route
            spares = partial(spared_head, plan)
            await self._through(exchange, receive, send, dresser(plan), spares)
            return
        if found.reply is not None and not (capture is not None and capture.live):
            await send_reply(send, found.reply)
        if capture is not None:
            await self._end(capture, found)

    # After routing, guards and dependencies

    async def _late(
        self,
        request: Request,
        scope: Scope,
        receive: Receive,
        send: Send,
        dress: Callable[[int, Headers], Headers] | None = None,
    ) -> None:
        await self._through(
            Exchange(self.desk, request, inner_scope(scope), outer=scope), receive, send, dress
        )

    async def _through(
        self,
        exchange: Exchange,
        receive: Receive,
        send: Send,
        dress: Callable[[int, Headers], Headers] | None,
        spares: Callable[[int, Headers], Headers | None] | None = None,
    ) -> None:
        capture = exchange.capture = Capture(self.inner, exchange.scope, receive, send)
        capture.dress, capture.spares, capture.keyed = dress, spares, exchange.keyed
        capture.context.run(exchange_here.set, exchange)
        capture.start()
        try:
            await until(capture.decided)
            if capture.live:
                await capture.stream()
            await self._whole(exchange, capture, send)
        except BaseException:
            self._leave(capture)
            raise
        finally:
            if exchange.route is None:
                capture.restore(exchange_here)

    async def _whole(self, exchange: Exchange, capture: Capture, send: Send) -> None:
        """Answer a request whose response did not go to the client by itself."""
        found: Got | None = None
        whole = _whole_of(capture)
        if exchange.reading is not None:
            await until(exchange.reading)
            result = exchange.reading.result()
            found = result if isinstance(result, Got) else None
            exchange.reply = None if found is None else found.reply
        elif whole is None:
            exchange.reply = None
        elif exchange.finish is not None:
            exchange.reply = exchange.finish(whole)
        elif exchange.reply is not None:
            exchange.reply = _with_own_fields(exchange.reply, whole.headers)
        if exchange.reply is not None and not capture.live:
            await send_reply(send, exchange.reply)
        await self._end(capture, found)

    # Ends

    async def _end(self, capture: Capture, found: Got | None) -> None:
        """Wait for what the application does after its response, and raise what it raised."""
        task = capture.task
        if task is None:
            return
        if found is None or found.reply is None:
            await capture.release()
        await until(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if found is not None and found.how == "fallback":
            log.warning("the old response was served, since the handler failed", exc_info=error)
            return
        if found is not None and found.key:
            await self.readings.forget(found)
        raise error

    def _leave(self, capture: Capture) -> None:
        capture.leave()
        task = capture.task
        if task is not None and not task.done():
            self._left.add(task)
            task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._left.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("a response was finished without its client", exc_info=task.exception())


def _whole_of(capture: Capture) -> Response | None:
    whole = capture.whole
    if not whole.done() or whole.cancelled() or whole.exception() is not None:
        return None
    return whole.result()


def _with_own_fields(reply: Reply, headers: Headers) -> Reply:
    """
    Give a reply the fields that something around the endpoint has set for this very client.

    Those that were stored in their place were another one's. In Vary both count.
    """
    said = joined(headers, b"vary")
    if said:
        names = [name.lower() for name in members(said)]
        reply = reply._replace(headers=outgoing.varied(reply.headers, names))
    own = tuple([line for line in headers if not _is_of_the_page(line[0])])
    if not own:
        return reply
    named = {name for name, _ in own}
    kept = reply.headers
    if b"set-cookie" in named:
        kept = (*without(kept, {b"cache-control"}), (b"cache-control", outgoing.PERSONAL))
    return reply._replace(headers=(*without(kept, named), *own))


def _is_of_the_page(name: bytes) -> bool:
    """Tell whether a field speaks of the stored response, or of its bytes."""
    return name.startswith(b"content-") or name in _OF_THE_PAGE


_OF_THE_PAGE = HOP_BY_HOP | {
    MARK,
    b"accept-ranges",
    b"age",
    b"cache-control",
    b"cache-status",
    b"date",
    b"etag",
    b"expires",
    b"last-modified",
    b"server",
    b"vary",
}
