"""
What an endpoint asks, once routing, guards and dependencies have let a request pass.

Its answer is one of three: the cache has the response; the handler runs, and what it sends is
kept; or it runs, and nothing is kept.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from ...computing.computation import Computation, current_computation
from ...errors import UnstableArgument
from ...services.asgi import BASELINE
from ...singleflight import inside
from ..rules import request_verdict, response_verdict
from ..rules.conditional import inward
from ..rules.message import first
from .bodies import body_parts
from .capture import BUFFER_BREAKERS, Capture, note_end
from .cheap import asked_validators, spared
from .exchange import ANSWERED, Answered, Exchange, exchange_here
from .filling import Fill
from .given import given_parts
from .planning import Nobody, Plan, dresser, spared_head, undressed
from .reading import Pass
from .replies import answer, keep
from .scope import inner_scope, route_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping
    from contextvars import ContextVar, Token

    from ...app import App
    from ...services.asgi import AsgiApp, Message, Receive, Scope, Send
    from ..policy import HttpCache
    from ..rules.message import Headers, Request, Response
    from .reading import Readings
    from .replies import Reply
    from .routes import CachedRoute

MARK = b"stillfresh-answered"
"""A field by which the engine knows the response of an endpoint that it has answered for."""
MARKED = {MARK.decode(): "1"}
"""The fields of a placeholder: what such an endpoint sends."""

_AT_IMPORT = copy_context()


class AtEndpoint:
    """Where the endpoints of one application ask."""

    def __init__(self, inner: AsgiApp, app: Callable[[], App], readings: Readings) -> None:
        self.inner = inner
        self.find_app = app
        self.readings = readings
        self.contexts: list[Context] = []
        """That of the server's start, once it was seen."""
        self._harmless: set[ContextVar[Any]] = set()

    async def ask(
        self, exchange: Exchange, route: CachedRoute, values: Mapping[str, object]
    ) -> Answered | Computation | None:
        """
        Say what the endpoint of *route* does with a request.

        `ANSWERED`: nothing, the cache has the response. A computation: the handler runs as this
        one. None: it runs, and nothing is kept.
        """
        capture = exchange.capture
        if capture is None or exchange.passing or not route.find_app().running:
            return None
        if exchange.filling is not None:
            if exchange.filling.route is route:
                if exchange.url:  # a key without it was not made for this one
                    self.readings.defer(exchange.filling)
                    exchange.tainted = "something in front of the handler has rewritten the URL"
                return None
            self.readings.defer(exchange.filling)
            if not exchange.may_change_hands or capture.status:  # somebody has answered already
                exchange.tainted = "its route has a policy of its own"
                return None
            exchange.filling, exchange.changed_hands = None, True
            capture.change_hands()
            inside.set(None)  # no part of the flight that ends by this
        body: list[bytes] = []
        if exchange.keyed:
            if exchange.request.method not in route.http_cache.methods:
                return None
            found = await capture.request_body(route.http_cache.max_body)
            if found is None:
                return None
            body = body_parts(exchange.request, found)
        exchange.route = route
        plan = self._plan(exchange, route, values, body)
        if isinstance(plan, str):
            if plan:
                route.tell_once(f"it is not cached: {plan}")
            capture.dress = undressed(route)
            return None
        exchange.selecting = plan.keyed
        if not (plan.asked.look or plan.asked.store):
            capture.dress = dresser(plan)
            return None
        if not route.kept:
            return await self._conditional(exchange, capture, plan)
        if route.early and not (body or exchange.url):
            self.readings.learn_route(plan)
        return await self._read(exchange, capture, plan)

    def _plan(
        self,
        exchange: Exchange,
        route: CachedRoute,
        values: Mapping[str, object],
        body: list[bytes],
    ) -> Plan | str:
        """Return what is asked, or why nothing can be kept of the answer."""
        why = self._personal(route) or overridden(exchange, route)
        if why:
            return why
        if route.http_cache.stale and not route.early:
            route.tell_once(
                "stale= has no effect: a refresh has nobody's credentials to pass guards with. "
                "Say public=True if everybody gets the same",
            )
        request = exchange.request
        asked = request_verdict.ask(request, route.http_cache, pure=route.pure)
        try:
            text = route.parameters.text(values)
            given = [] if route.early else given_parts(exchange, route.parameters, values)
            extra = [*given, *body, *exchange.url]
            return Plan(route, request, asked, text, values, scope=exchange.scope, extra=extra)
        except Nobody:
            return ""
        except UnstableArgument as error:
            return str(error)

    async def _read(
        self, exchange: Exchange, capture: Capture, plan: Plan
    ) -> Answered | Computation | None:
        reader = plan.route.reader()
        warm = None if plan.target else self.readings.warm(plan, reader)
        if warm is not None:
            return self._answered(exchange, capture, warm.reply)
        way = partial(self.inward, plan.request, exchange.outer, nowhere)
        fill = Fill(plan, reader, inward=way, inside=exchange)
        reading = asyncio.get_running_loop().create_task(self.readings.read(plan, fill))
        reading.add_done_callback(note_end)
        try:
            await fill.led_or(reading)
        except BaseException:
            reading.cancel()
            raise
        if fill.led is not None:
            exchange.reading = reading
            return fill.led
        found = reading.result()
        if isinstance(found, Pass):
            capture.dress, capture.spares = dresser(plan), partial(spared_head, plan)
            return None
        return self._answered(exchange, capture, found.reply)

    @staticmethod
    def _answered(exchange: Exchange, capture: Capture, reply: Reply | None) -> Answered:
        exchange.reply = reply
        capture.keep = lambda _, headers: first(headers, MARK) is not None
        capture.limit = 1_000
        return ANSWERED

    async def _conditional(
        self, exchange: Exchange, capture: Capture, plan: Plan
    ) -> Answered | None:
        """Answer the conditions of a request, and keep nothing."""
        tag, modified = await asked_validators(plan.route, plan.values)
        reply = spared(plan, tag, modified)
        if reply is not None:
            return self._answered(exchange, capture, reply)
        policy = plan.route.http_cache
        capture.limit, capture.tee = policy.max_body, False

        def keeps(code: int, headers: Headers) -> bool:
            plan.route.learn_vary(plan.key, code, headers)
            return code == 200

        def finish(response: Response) -> Reply:
            kept = keep(
                plan.request,
                response,
                response_verdict.ResponseVerdict(store=False, headers=response.headers),
                policy,
                added=(),
                tag=tag,
                modified=modified,
                behind=False,
            )
            now = time.time()
            return answer(
                kept.stored, plan.request, policy, resident=0.0, how="miss", member=b"", now=now
            )

        capture.keep, exchange.finish = keeps, finish
        return None

    def inward(
        self,
        request: Request,
        scope: Scope,
        send: Send,
        fill: Fill,
        conditions: Headers,
        *,
        ear: Receive | None = None,
    ) -> Capture:
        """
        Make a request of our own, for whoever waits for its response.

        *ear* hears the client go, if the response goes to it live.
        """
        headers = inward(request.headers)
        if fill.call is not None and fill.call.behind:
            headers = request_verdict.background(headers, fill.plan.route.http_cache)
        method = "GET" if request.method == "HEAD" else request.method
        inner = inner_scope(scope, method=method, headers=[*headers, *conditions])
        for name in BUFFER_BREAKERS:
            inner.get("extensions", {}).pop(name, None)
        capture = Capture(self.inner, inner, None, send)
        capture.given = fill.plan.body
        if fill.call is not None and fill.call.behind:
            capture.context = self._clean_context()
        else:
            capture.ear = ear
        keyed = 0 if method == "GET" else fill.plan.route.http_cache.max_body
        exchange = Exchange(self, request, inner, outer=scope, filling=fill.plan, keyed=keyed)
        exchange.may_change_hands = capture.ear is not None and not conditions and not keyed
        fill.exchange = exchange
        exchange.capture = capture
        capture.context.run(exchange_here.set, exchange)
        return capture

    @property
    def _baseline(self) -> Context:
        """
        The context before any request: of the app's start, or else of the import.

        Not of the making of a middleware: frameworks make it inside of the first request.
        """
        found = self.find_app().extras.get(BASELINE)
        return found if isinstance(found, Context) else _AT_IMPORT

    def _clean_context(self) -> Context:
        """Return a context in which nothing is set by whoever made the request."""
        context = self._baseline.copy()
        for variable, value in copy_context().items():
            if variable.name.startswith("stillfresh_"):
                context.run(variable.set, value)
        return context

    def _personal(self, route: CachedRoute) -> str:
        """Return why the code around the handler may know who asks (http-rules.md A6)."""
        if route.http_cache.public or route.http_cache.per is not None:
            return ""
        if route.parameters.writes:
            return (
                "a dependency, or a class of routes, that sees the request is given the response "
                "to write into. Say public=True if everybody gets the same, or per= whose response "
                "it is"
            )
        name = self.set_outside(*route.contexts)
        if not name:
            return ""
        return (
            f"something has set the context variable {name!r} for this request. Say "
            "public=True if everybody gets the same, or per= whose response it is"
        )

    def set_outside(self, *known: Context) -> str:
        """
        Return the name of a context variable that is set for this request, "" for none.

        What some moment outside of any request knows, of ours or *known*, was set by none.
        """
        context = copy_context()
        if self._harmless.issuperset(context):
            return ""
        moments: tuple[Context, ...] = ()
        for variable, value in context.items():
            if variable in self._harmless or self._is_harmless(variable, value):
                continue
            moments = moments or (self._baseline, _AT_IMPORT, *self.contexts, *known)
            if all(moment.get(variable) is not value for moment in moments):
                return variable.name
        return ""

    def _is_harmless(self, variable: ContextVar[Any], value: object) -> bool:
        if variable.name.startswith("stillfresh_") or variable.name in _HARMLESS_NAMES:
            if len(self._harmless) < _MOST_HARMLESS:
                self._harmless.add(variable)  # whatever it is set to: not asked again
            return True
        library = _HARMLESS_VALUES.get(variable.name)
        return library is not None and type(value).__module__.partition(".")[0] == library


_NUMBERS = ("correlation_id", "request_id", "transaction_id")
_ENDINGS = ("", "_context", "_contextvar", "_ctx", "_ctx_var", "_cvar", "_var")
_HARMLESS_NAMES = frozenset(
    (
        "current_async_library_cvar",  # which event loop runs
        "decimal_context",  # made by each thread that calculates
        *(name + ending for name in _NUMBERS for ending in _ENDINGS),
    )
)
"""Whole names: variables that do not say who asks. A `request_identity` does."""
_MOST_HARMLESS = 100
_HARMLESS_VALUES = {
    "current_context": "opentelemetry",
    "current_scope": "sentry_sdk",
    "isolation_scope": "sentry_sdk",
}
"""An application may use these names for its own, so what is in them has to be the library's."""


def overridden(exchange: Exchange, route: CachedRoute) -> str:
    """Return why what an application has put in the place of a dependency may know who asks."""
    needs = route.parameters.needs
    if not needs or route.http_cache.public or route.http_cache.per is not None:
        return ""
    for scope in (exchange.given, exchange.scope):
        if scope is None:
            continue
        provider = getattr(route_in(scope), "dependency_overrides_provider", None)
        for one in (provider, scope.get("app")):
            found: Mapping[Any, Any] = getattr(one, "dependency_overrides", None) or {}
            if any(_takes_something(found[need]) for need in needs & found.keys()):
                return (
                    "a dependency is overridden by one that may see the request. Say public=True "
                    "if everybody gets the same, or per= whose response it is"
                )
    return ""


def _takes_something(function: Callable[..., object]) -> bool:
    try:
        return bool(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return True


async def nowhere(message: Message) -> None:
    """Send to nobody."""


async def serve(
    exchange: Exchange | None,
    route: CachedRoute | None,
    values: Mapping[str, object],
    run: Callable[[], Awaitable[Any]],
    placeholder: Callable[[Scope], Any],
    *,
    answers: Collection[type] = (),
) -> Any:
    """
    Let an endpoint answer a request: with what *placeholder* makes where the cache has the
    response, or else with what its handler returns, which is *run*.

    Without an exchange no cache is in front. Without a *route* nothing is kept. *answers* are the
    classes of which the framework makes responses.
    """
    computation: Computation | None = None
    if exchange is not None and route is not None:
        found = await exchange.desk.ask(exchange, route, values)
        if isinstance(found, Answered):
            return placeholder(exchange.scope)
        computation = found
    token: Token[Computation | None] | None = None
    # A request that was made to fill the cache is inside of its computation already. Where nothing
    # is kept the handler speaks to nobody: not to whatever has made the request, either, such as a
    # cached function with a client inside.
    if computation is not None or exchange is None or exchange.filling is None:
        token = current_computation.set(computation or Computation(""))
    try:
        result = await run()
    except Exception as error:
        if exchange is not None and route is not None:
            exchange.raised(error, route.http_cache)
        raise
    finally:
        if token is not None:
            current_computation.reset(token)
    if exchange is not None and route is not None:
        exchange.returned(result, route.http_cache, answers)
    return result


def any_name(path: str, policy: HttpCache) -> str:
    """
    Return why nothing is kept of a route whose *path* takes any name, "" where something is.

    A page may be one client's, and its path look like a file. Caches in front that go by such
    names would keep it for everybody (web cache deception).
    """
    if ":path}" not in path or policy.public or policy.per is not None:
        return ""
    return (
        f"its path {path!r} takes any name. Declare the paths, or say public=True if everybody "
        "gets the same, or per= whose response it is"
    )
