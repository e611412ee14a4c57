"""An app as an ASGI application. What really serves it is set from above."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from ..forks import free_in_child

if TYPE_CHECKING:
    from fastapi import FastAPI

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

BASELINE = "http baseline"
"""Where an app keeps the context of its start: what is set there was set by no request."""

_making = free_in_child()


class HasRoute:
    """A method that says itself which requests it answers, as `@action` makes them."""


class Server(Protocol):
    """What answers the requests of one app."""

    @property
    def http(self) -> FastAPI:
        """The FastAPI object behind the actions."""
        ...

    @property
    def ready(self) -> Callable[[Scope], tuple[Message, Message] | None]:
        """Returns the messages that answer a request, where that takes no more than a look."""
        ...

    def route_of(self, action: object) -> Any:
        """Return what keeps the responses of *action*."""
        ...

    def forget(self) -> None:
        """Learn anew what may be answered how: the app has changed."""
        ...

    def check(self) -> None:
        """Look at all actions: the app is about to start."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that is not `ready`, or run the app for the life of the server."""
        ...


class Served:
    """What an app is to a server: an ASGI application."""

    make_server: ClassVar[Callable[[Any], Server] | None] = None
    """Makes what serves an app; set from above."""

    _server: Server | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve the actions of the services: `uvicorn module:app`.

        Raises:
            ImportError: The extra is missing; the message has the command.
        """
        server = self._server or self.server
        ready = server.ready(scope)
        if ready is None:
            await server(scope, receive, send)
        else:
            await send(ready[0])
            await send(ready[1])

    @property
    def http(self) -> FastAPI:
        """
        The FastAPI object behind the actions, for whatever else it can do.

        Raises:
            ImportError: The extra is missing; the message has the command.
        """
        return self.server.http

    @property
    def has_server(self) -> bool:
        """Somebody has asked for it."""
        return self._server is not None

    @property
    def server(self) -> Server:
        """What answers the requests of this app."""
        make = type(self).make_server
        assert make is not None  # noqa: S101  # the front door has set it
        with _making:
            if self._server is None:
                self._server = make(self)
            return self._server
