"""
The engine in front of a user's own application: `HttpCacheMiddleware`, and `@http_cache` below a
route's decorator. Pure ASGI; it knows no framework but by looking at what is there.
"""

from __future__ import annotations

import functools
import inspect
import sys
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload
from weakref import WeakKeyDictionary, WeakSet

from ..app import App
from ..errors import InvalidOption
from ..events import log
from ..keys.templates import TagTemplate
from ..services.asgi import HasRoute
from ..services.current import which_app
from ..tags import checked_tags
from .engine.at_endpoint import MARKED, any_name, serve
from .engine.exchange import exchange_here
from .engine.in_front import Engine
from .engine.routes import CachedRoute
from .engine.scope import is_litestar, methods_in, route_in
from .fitting import check_tags, check_validators, of_a_route, of_whole_app
from .injected import unnamed_parameters, watch_litestar
from .parameters import is_generator, parameters_of
from .policy import HttpCache
from .routed import endpoint_in, is_below, is_routed_to
from .startup import check_routes, decorated
from .threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from types import CoroutineType
    from typing import Unpack

    from ..durations import Duration
    from ..services.asgi import Scope
    from .engine.exchange import Desk, Exchange
    from .engine.routes import Parameters
    from .options import HttpOptions
    from .profiles import Profile

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K", bound=type)


class EndpointDecorator(Protocol):
    """What `http_cache(...)` returns. A sync endpoint runs in a thread, so it is one to await."""

    @overload
    def __call__(self, endpoint: K, /) -> K: ...
    @overload
    def __call__(
        self, endpoint: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, CoroutineType[Any, Any, R]]: ...
    @overload
    def __call__(self, endpoint: Callable[P, R], /) -> Callable[P, CoroutineType[Any, Any, R]]: ...


engines: WeakSet[Engine] = WeakSet()
"""Those of middleware: they learn anew when an app starts, stops or changes."""


class HttpCacheMiddleware:
    """
    A cache in front of an ASGI application: add it once, and `@http_cache` to routes.

        app.add_middleware(HttpCacheMiddleware)
        app.add_middleware(HttpCacheMiddleware, profile="safe")  # or: the whole application

    With a *profile* it caches the whole application, as far as the responses mark themselves as
    fresh: "safe" fails closed, "rfc" is a plain shared cache (RFC 9111). *policy* is an
    `HttpCache.for_app(...)` with other options. *cache_app* is the `App` whose provider keeps the
    responses: the one that runs, or the default one.

    Raises:
        InvalidOption: There is no such profile, it stands beside a policy, or the policy is one
            of a route; or *cache_app* is no `App`.
    """

    def __init__(
        self,
        app: Any,
        profile: Profile | None = None,
        *,
        policy: HttpCache | None = None,
        cache_app: App | None = None,
    ) -> None:
        if cache_app is not None and not isinstance(cache_app, App):
            msg = (
                f"cache_app={cache_app!r}: expected the App whose provider keeps the responses. "
                "Leave it out for the one that runs."
            )
            raise InvalidOption(msg)
        self.app = app
        self.engine = Engine(app, self._app)
        self._given = cache_app
        self._checked = False
        if profile is not None or policy is not None:
            whole = of_whole_app(profile, policy)
            self.engine.whole_app = CachedRoute(self._app, HttpCacheMiddleware, whole)
        engines.add(self.engine)

    def _app(self) -> App:
        return self._given or which_app("HttpCacheMiddleware")

    # Any: the frameworks have types of their own for these, and none is another one's.

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if not self._checked:
            self._checked = True
            check_routes(scope.get("app") or self.app)
        ready = self.engine.short_ways.ready(scope)
        if ready is None:
            await self.engine.answer(scope, receive, send)
        else:
            await send(ready[0])
            await send(ready[1])


@overload
def http_cache(endpoint: K, /) -> K: ...
@overload
def http_cache(
    endpoint: Callable[P, Coroutine[Any, Any, R]], /
) -> Callable[P, CoroutineType[Any, Any, R]]: ...
@overload
def http_cache(
    ttl: bool | Duration | HttpCache | None = ...,  # noqa: FBT001  # True is "as usual"
    /,
    *,
    invalidates: Iterable[str] = ...,
    **options: Unpack[HttpOptions],
) -> EndpointDecorator: ...
@overload
def http_cache(endpoint: Callable[P, R], /) -> Callable[P, CoroutineType[Any, Any, R]]: ...
def http_cache(  # HttpCache says what the options are
    ttl: Any = True,  # noqa: FBT002  # True is "as usual"
    /,
    *,
    invalidates: Iterable[str] = (),
    **options: Any,
) -> Any:
    """
    Cache the responses of an endpoint: `@http_cache("30 seconds", tags=["products"])`.

    Below the decorator of the route, in an application under `HttpCacheMiddleware`. *ttl* is a
    duration, or an `HttpCache`; *options* are those of `HttpCache`. *invalidates* are tags that a
    success drops, for endpoints of unsafe methods.

    Guards and dependencies of the route run before the cache answers, unless it is `public=True`.
    Without the middleware the endpoint is called as if it were not decorated; one log line says so.

    Raises:
        InvalidDuration: A length of time that cannot be read.
        InvalidOption: An option that is unknown, impossible, or contradicts another one.
    """
    if inspect.isroutine(ttl) or inspect.isclass(ttl):
        return _decorated(ttl, HttpCache(), ())
    policy = _policy(ttl, options)
    drops = tuple(sorted(checked_tags(invalidates, "invalidates")))
    if drops and len(policy.methods) > 1:
        msg = (
            "invalidates= beside methods=: a response that is kept changes nothing. Leave one out."
        )
        raise InvalidOption(msg)

    def decorate(endpoint: Any) -> Any:
        return _decorated(endpoint, policy, drops)

    return decorate


def _policy(ttl: object, options: dict[str, Any]) -> HttpCache:
    if isinstance(ttl, HttpCache):
        if options:
            msg = f"http_cache({ttl!r}, {min(options)}=...): write the options into the HttpCache."
            raise InvalidOption(msg)
        return of_a_route(ttl)
    if ttl is False or callable(ttl):
        raise InvalidOption(f"http_cache({ttl!r}): expected a duration, or an HttpCache.")
    given: dict[str, Any] = options if ttl is True else {"ttl": ttl, **options}
    return HttpCache(**given)


def _decorated(endpoint: Any, policy: HttpCache, drops: tuple[str, ...]) -> Any:
    if inspect.isclass(endpoint):
        method = getattr(endpoint, "get", None)
        if method is None:
            raise InvalidOption(f"http_cache on {endpoint!r}: expected an endpoint with get().")
        if drops:
            msg = (
                f"http_cache on {endpoint!r} with invalidates=: it speaks about get(), which "
                "changes nothing. Write it on the method that does, such as post()."
            )
            raise InvalidOption(msg)
        cast("Any", endpoint).get = _decorated(method, policy, drops)
        return endpoint
    if isinstance(endpoint, HasRoute):
        msg = (
            f"http_cache on {endpoint!r}: an action has its cache from its own decorator. "
            "Write @action(..., cache='30 seconds'), or cache=HttpCache(...)."
        )
        raise InvalidOption(msg)
    named = callable(endpoint) and hasattr(endpoint, "__qualname__")
    if not named or is_generator(endpoint):
        msg = f"http_cache on {endpoint!r}: expected a function that returns. Wrap it in a def."
        raise InvalidOption(msg)
    return Decorated(endpoint, policy, drops).wrapper()


class Decorated:
    """A decorated endpoint of a user's own application."""

    def __init__(
        self, function: Callable[..., Any], policy: HttpCache, drops: tuple[str, ...]
    ) -> None:
        self.function = function
        self.policy = policy
        self._signature = inspect.signature(function)
        names = list(self._signature.parameters)
        self.drops = [TagTemplate(tag, names, option="invalidates") for tag in drops]
        check_tags(policy, names, f"http_cache on {function!r}")
        check_validators(policy, names, f"http_cache on {function!r}")
        self._routes: WeakKeyDictionary[Desk, CachedRoute] = WeakKeyDictionary()
        self._context = copy_context()
        self._warned = False
        self._told: set[str] = set()
        self.takes_any_name = ""
        """Why nothing is kept of one of its routes; the look at the application says."""
        self.stands = 0
        """At how many routes of an application it stands, as far as that look has found them."""
        self.answers: set[type] = set()
        """The classes of which its framework makes responses."""

    def wrapper(self) -> Any:
        """Return the function that the framework calls: with the signature of the user's own."""

        @functools.wraps(self.function)
        async def endpoint(*args: Any, **kwargs: Any) -> Any:
            # No name for a frame: it would keep itself alive, and the arguments with it.
            awaits = getattr(cast("Any", inspect.currentframe()).f_back, "f_globals", {})
            return await self.call(args, kwargs, str(awaits.get("__name__", "")))

        self._wrapper = endpoint
        cast("Any", endpoint).__stillfresh_endpoint__ = self
        decorated.add(endpoint)
        return endpoint

    async def call(self, args: tuple[Any, ...], kwargs: dict[str, Any], caller: str) -> Any:
        """Answer a request from the cache, or by the function, for the module *caller*."""
        exchange = exchange_here.get()
        if exchange is None:
            self._warn()
            run = functools.partial(self._run, args, kwargs)
            return await serve(None, None, {}, run, _placeholder)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = dict(bound.arguments)
        for tag in self.drops:
            exchange.drops.append(functools.partial(_drop, exchange, tag, values))
        if not self._is_routed(exchange, values, caller):
            return await self._run(args, kwargs)
        self._watch(exchange, bound.arguments)
        if args and "self" in values:  # a method's: frameworks give dependencies by their names
            exchange.watched.add("self")
        run = functools.partial(self._run, bound.args, bound.kwargs)
        unkeyed = exchange.request.method not in {"GET", "HEAD"} and not exchange.keyed
        route = None if unkeyed or self._is_kept_nowhere(exchange) else self._route(exchange)
        return await serve(exchange, route, values, run, _placeholder, answers=self.answers)

    async def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(self.function):
            return await self.function(*args, **kwargs)
        call = functools.partial(self.function, *args, **kwargs)
        return await in_thread(call)

    def _is_routed(self, exchange: Exchange, values: dict[str, Any], caller: str) -> bool:
        """Tell whether this is the endpoint of the request; log once what hides that it is."""
        scopes = [*map(_scope_of, values.values()), exchange.scope]
        if is_routed_to(self._wrapper, scopes, caller):
            return True
        if exchange.filling is not None and exchange.filling.route.http_cache.for_whole_app:
            exchange.tainted = "it is made with a function that has a policy of its own"
        ends = [endpoint_in(scope) for scope in scopes if scope is not None]
        if any(is_below(self._wrapper, end) for end in ends):
            self._tell_once(
                ": @http_cache must be the decorator next to the route: what stands above it may "
                "change what it returns, so nothing is cached. Write it right below the route"
            )
        return False

    def _tell_once(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.warning("%s.%s%s", self.function.__module__, self.function.__qualname__, what)

    def _is_kept_nowhere(self, exchange: Exchange) -> bool:
        """Tell whether nothing is kept of the route of a request; log once why."""
        given = exchange.given
        if given is None and self.stands > 1:
            self._tell_once(
                " is not cached: it stands at more than one route, and something in front of it "
                "hands on a copy of the scope, so nobody knows at which. Let it take the Request"
            )
            return True
        route = route_in(exchange.scope if given is None else given)
        if getattr(route, "endpoint", None) is None:
            return bool(self.takes_any_name)
        why = any_name(getattr(route, "path", ""), self.policy)
        if why and why != self.takes_any_name:
            self._tell_once(f" will never be cached: {why}")
        return bool(why)

    def _route(self, exchange: Exchange) -> CachedRoute:
        desk = exchange.desk
        found = self._routes.get(desk)
        methods = methods_in(exchange.given or exchange.scope)
        heads = not methods or "HEAD" in methods
        dependant = getattr(route_in(exchange.scope), "dependant", None)
        if found is None:
            parameters = self._parameters(exchange.scope, dependant)
            found = CachedRoute(desk.find_app, self.function, self.policy, parameters)
            found.dependants.append(dependant)
            found.contexts.append(self._context)
            found.heads = heads
            self._routes[desk] = found
        elif not any(one is dependant for one in found.dependants):
            found.parameters.add(self._parameters(exchange.scope, dependant))  # of another path
            found.dependants.append(dependant)
        found.heads = found.heads and heads
        return found

    def _parameters(self, scope: Scope, dependant: Any) -> Parameters:
        names = list(self._signature.parameters)
        if dependant is None:
            return unnamed_parameters(scope, names)
        found = parameters_of(dependant, self.function.__qualname__)
        found.pure = False  # in a foreign application a signature proves nothing
        found.whole_query = True
        found.known = tuple(names)
        return found

    def _watch(self, exchange: Exchange, values: dict[str, Any]) -> None:
        before = dict(values)
        if is_litestar(exchange.scope):
            exchange.at(watch_litestar(exchange.reads, values))
        elif "starlette.requests" in sys.modules:
            from .engine.taint import kept_on_self, watched

            if self.policy.per is None:
                exchange.own = kept_on_self(values)
            exchange.at(watched(exchange.reads, values))
        exchange.watched = {name for name, value in values.items() if value is not before[name]}

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "%s.%s: @http_cache has no effect without HttpCacheMiddleware; add it to the "
                "application",
                self.function.__module__,
                self.function.__qualname__,
            )


def _scope_of(argument: object) -> Any:
    """Return the scope of a request, or of a class that answers one."""
    found = getattr(argument, "scope", None)
    return found if isinstance(found, dict) else None


async def _drop(exchange: Exchange, tag: TagTemplate, values: dict[str, Any]) -> None:
    await exchange.desk.find_app().invalidate_tags(tag.render(values))


def _placeholder(scope: Scope) -> Any:
    if is_litestar(scope):
        from litestar import Response as LitestarResponse

        return LitestarResponse(b"", headers=MARKED, media_type="application/octet-stream")
    from starlette.responses import Response

    return Response(headers=MARKED)
