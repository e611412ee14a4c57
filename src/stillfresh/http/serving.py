"""
An app as a server: its actions are FastAPI endpoints, and its lifespan is the app's.

    App.__call__ ── lifespan ──► start, stop
                 └─ http ──────► FastAPI ── routing, dependencies, validation ──► endpoint
                                                                                    │
                         the instance is asked for at each request, so that an override counts
"""

from __future__ import annotations

import functools
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec
from fastapi import FastAPI, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import FastAPIError, HTTPException
from fastapi.routing import APIRoute
from starlette.routing import Match

from ..app import current_app
from ..errors import InvalidOption
from ..keys.templates import TagTemplate
from ..services.injection import injected_in
from .actions import Action, Target, actions_of
from .engine.at_endpoint import MARKED, any_name, serve
from .engine.exchange import exchange_here
from .engine.in_front import Engine
from .engine.routes import CachedRoute
from .engine.taint import watched
from .fitting import check_validators
from .parameters import is_generator, parameters_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from ..app import App
    from ..services.asgi import Receive, Scope, Send
    from .actions import Named
    from .policy import HttpCache

    Drop: TypeAlias = Callable[[Mapping[str, object]], Awaitable[None]]


class Registered:
    """An action of one app, and what keeps its responses."""

    def __init__(self, action: Action[Any, Any]) -> None:
        self.action = action
        self.cached: CachedRoute | None = None
        self.drops: list[Drop] | None = None
        """What its success drops; None before all actions are known."""


class _Route(APIRoute):
    """An action; who asks with another method is told all that its path takes (RFC 9110 10.2.1)."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        if self.methods and scope["method"] not in self.methods:
            allowed: set[str] = set()
            for route in scope["app"].routes:
                if route.matches(scope)[0] is not Match.NONE:
                    allowed |= getattr(route, "methods", None) or set()
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(allowed))})
        await super().handle(scope, receive, send)


class AppServer:
    """Serves the actions of one app."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.http = FastAPI(title=_title(app))
        self.engine = Engine(self.http, lambda: app)
        self.ready = self.engine.short_ways.ready
        self._routes: dict[tuple[type, str], Registered] = {}
        for kind in _kinds(app):
            self._register(kind)

    # As a server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that is not `ready`, or run the app for the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        token = current_app.set(self.app)
        try:
            await self.engine.answer(scope, receive, send)
        finally:
            current_app.reset(token)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        if self.app.running:  # somebody else has started it, and will stop it
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        moment = "startup"
        try:
            async with self.app, self.http.router.lifespan_context(self.http):
                await send({"type": "lifespan.startup.complete"})
                moment = "shutdown"
                await receive()
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
            await send({"type": f"lifespan.{moment}.failed", "message": message})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    def check(self) -> None:
        """Register also what is known only now: the actions of what was provided for a class."""
        for service in self.app.services():
            self._register(type(service))
        for registered in self._routes.values():
            registered.drops = None
            self._drops(registered)

    def forget(self) -> None:
        """Learn anew what may be answered how: the app has changed."""
        self.engine.readings.forget_all()

    # Routes

    def route_of(self, action: object) -> CachedRoute:
        """
        Return what keeps the responses of *action*.

        Raises:
            InvalidOption: It is none of this app's, or it has no cache.
        """
        assert isinstance(action, Action)  # noqa: S101  # nobody else asks
        for (kind, name), registered in self._routes.items():
            same = registered.action is action or registered.action.declared is action.declared
            if same or (isinstance(action.instance, kind) and name == action.name):
                if registered.cached is None:
                    msg = f"{action.title} has no cache. Write @action(..., cache=True)."
                    raise InvalidOption(msg)
                return registered.cached
        msg = f"{action.title} is no action of {self.app!r}. Give its class to App(...)."
        raise InvalidOption(msg)

    def _register(self, kind: type) -> None:
        for name, action in actions_of(kind).items():
            if not any(issubclass(kind, known) and name == own for known, own in self._routes):
                registered = self._routes[kind, name] = Registered(action)
                self._add(kind, name, registered)

    def _add(self, kind: type, name: str, registered: Registered) -> None:
        declared = registered.action.declared
        options: dict[str, Any] = {"name": name, **declared.options}
        if declared.cache is not None:
            options["responses"] = {304: {"description": "Not Modified"}} | options.get(
                "responses", {}
            )
        endpoint = self._endpoint(kind, name, registered)
        router = self.http.router
        if router.route_class is APIRoute:
            options.setdefault("route_class_override", _Route)
        try:
            router.add_api_route(declared.path, endpoint, methods=[declared.method], **options)
        except FastAPIError as error:
            if "response_model" in options:
                raise InvalidOption(f"{registered.action.title}: {error}") from error
            # A type of result that is not FastAPI's: its JSON is ours.
            options["response_model"] = None
            endpoint = _in_json(endpoint)
            router.add_api_route(declared.path, endpoint, methods=[declared.method], **options)
        route: Any = router.routes[-1]
        if declared.cache is not None:
            registered.cached = self._cached(registered.action, route, declared.cache)
        if declared.method == "GET":
            options["include_in_schema"] = False
            router.add_api_route(declared.path, endpoint, methods=["HEAD"], **options)
        self.http.openapi_schema = None

    def _cached(self, action: Action[Any, Any], route: Any, policy: HttpCache) -> CachedRoute:
        parameters = parameters_of(route.dependant, action.title)
        if type(route) not in {_Route, APIRoute}:
            parameters.pure, parameters.writes = False, True
        check_validators(policy, parameters.known, action.title)
        cached = CachedRoute(lambda: self.app, action.__wrapped__, policy, parameters)
        cached.closed = self._is_closed
        cached.kept = action.declared.kept
        cached.marked = lambda: any(
            _names(target, action)
            for one in self._routes.values()
            for target in one.action.declared.invalidates
        )
        return cached

    def _is_closed(self) -> bool:
        """Tell whether nothing of the user's stands around the actions (http-rules.md A6)."""
        http = self.http
        return not (http.user_middleware or http.router.dependencies or http.dependency_overrides)

    def _endpoint(self, kind: type, name: str, registered: Registered) -> Callable[..., Any]:
        """Make the function that FastAPI calls: the action's parameters, without `self`."""
        app, action = self.app, registered.action
        original, declared = action.__wrapped__, action.declared
        why = "" if declared.cache is None else any_name(declared.path, declared.cache)

        def stream(**values: Any) -> Any:
            return getattr(app.get(kind, by=action.title), name)(**values)

        async def endpoint(**values: Any) -> Any:
            async def run() -> Any:
                method = getattr(app.get(kind, by=action.title), name)
                function = method.function if isinstance(method, Action) else method
                if inspect.iscoroutinefunction(function):
                    return await function(**values)
                result = await run_in_threadpool(function, **values)
                return await result if inspect.isawaitable(result) else result

            exchange, cached = exchange_here.get(), registered.cached
            if exchange is not None:
                exchange.drops += [partial(drop, values) for drop in self._drops(registered)]
            if cached is None:
                return await run()
            if why and not cached.pure:
                cached.tell_once(f"it is not cached: {why}")
                cached = None
            elif exchange is not None:
                exchange.at(watched(exchange.reads, values))
            return await serve(exchange, cached, values, run, _placeholder)

        _, *parameters = inspect.signature(original).parameters.values()
        wrapper: Any = functools.wraps(original)(stream if is_generator(original) else endpoint)
        wrapper.__signature__ = inspect.signature(original).replace(parameters=parameters)
        return cast("Callable[..., Any]", wrapper)

    def _drops(self, registered: Registered) -> list[Drop]:
        """
        Return what a success of an action does, for each of its `invalidates=`.

        Raises:
            InvalidOption: One names nothing that can be dropped.
        """
        if registered.drops is None:
            action = registered.action
            registered.drops = [self._drop(action, one) for one in action.declared.invalidates]
        return registered.drops

    def _drop(self, action: Action[Any, Any], target: Named) -> Drop:
        if isinstance(target, TagTemplate):
            return lambda values: self.app.invalidate_tags(target.render(values))
        if isinstance(target, Action):
            route = self.route_of(target)
            return lambda _: route.clear()
        named = self.route_of(target.action)
        try:
            named.parameters.given(target.known)
        except TypeError as error:
            msg = f"{action.title}: invalidates= has {target!r}: {error}"
            raise InvalidOption(msg) from error
        return lambda values: named.invalidate(target.of(values))


def _names(target: object, action: Action[Any, Any]) -> bool:
    named = target.action if isinstance(target, Target) else target
    return isinstance(named, Action) and named.declared is action.declared


def _placeholder(_: Scope) -> Response:
    return Response(headers=MARKED)


def _in_json(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(endpoint)
    async def encoded(**values: Any) -> Any:
        result = await endpoint(**values)
        if isinstance(result, Response):
            return result
        return Response(msgspec.json.encode(result), media_type="application/json")

    return encoded


def _kinds(app: App) -> Iterator[type]:
    """Return the classes of the app's services, and of those that they need."""
    seen: set[type] = set()
    todo = list(reversed(app.kinds))
    while todo:
        kind = todo.pop()
        if kind not in seen:
            seen.add(kind)
            yield kind
            todo.extend(reversed(injected_in(kind)))


def _title(app: App) -> str:
    return ", ".join(kind.__qualname__ for kind in app.kinds) or "stillfresh"
