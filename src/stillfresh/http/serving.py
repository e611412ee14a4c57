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
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import FastAPI, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import FastAPIError

from ..app import current_app
from ..errors import InvalidOption
from ..injection import injected_in
from .actions import Action, actions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi.routing import APIRoute

    from ..app import App
    from ..asgi import Receive, Scope, Send


class AppServer:
    """Serves the actions of one app."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.http = FastAPI(title=_title(app))
        self._routes: dict[tuple[type, str], APIRoute] = {}
        for kind in _kinds(app):
            self._register(kind)

    # As a server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the app for the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        token = current_app.set(self.app)
        try:
            await self.http(scope, receive, send)
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

    # Routes

    def _register(self, kind: type) -> None:
        for name, action in actions_of(kind).items():
            if not any(issubclass(kind, known) and name == own for known, own in self._routes):
                self._routes[kind, name] = self._route(kind, name, action)

    def _route(self, kind: type, name: str, action: Action[Any, Any]) -> APIRoute:
        plan = action.plan
        options: dict[str, Any] = {"name": name, **plan.options}
        endpoint = self._endpoint(kind, name, action)
        router = self.http.router
        try:
            router.add_api_route(plan.path, endpoint, methods=[plan.method], **options)
        except FastAPIError as error:
            if "response_model" in options:
                raise InvalidOption(f"{action.title}: {error}") from error
            # A type of result that is not FastAPI's: its JSON is ours.
            options["response_model"] = None
            endpoint = _in_json(endpoint)
            router.add_api_route(plan.path, endpoint, methods=[plan.method], **options)
        route: APIRoute = router.routes[-1]  # type: ignore[assignment]  # just made
        if plan.method == "GET":
            options["include_in_schema"] = False
            router.add_api_route(plan.path, endpoint, methods=["HEAD"], **options)
        self.http.openapi_schema = None
        return route

    def _endpoint(self, kind: type, name: str, action: Action[Any, Any]) -> Callable[..., Any]:
        """Make the function that FastAPI calls: the action's parameters, without `self`."""
        app, original = self.app, action.__wrapped__

        async def endpoint(**values: Any) -> Any:
            method = getattr(app.get(kind, by=action.title), name)
            function = method.function if isinstance(method, Action) else method
            if inspect.iscoroutinefunction(function):
                return await function(**values)
            result = await run_in_threadpool(function, **values)
            return await result if inspect.isawaitable(result) else result

        _, *parameters = inspect.signature(original).parameters.values()
        wrapper: Any = functools.wraps(original)(endpoint)
        wrapper.__signature__ = inspect.signature(original).replace(parameters=parameters)
        return endpoint


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
