"""What makes an app an ASGI application; loads the rest when a server first asks."""

from __future__ import annotations

import sys
from contextvars import copy_context
from typing import TYPE_CHECKING

from ..app import App, Extension, extensions
from ..services.asgi import BASELINE

if TYPE_CHECKING:
    from ..services.asgi import Server


def _make_server(app: App) -> Server:
    """
    Make what answers the requests to *app*; the app does so at the first one.

    Raises:
        ImportError: The extra `http` is not installed.
    """
    try:
        from .serving import AppServer
    except ModuleNotFoundError as error:
        if error.name not in {"fastapi", "starlette", "http_sf"}:
            raise
        raise ImportError(
            "an App serves HTTP with FastAPI. Install it: pip install 'stillfresh[http]'"
        ) from error
    return AppServer(app)


class HttpExtension(Extension):
    """Looks at the actions of an app as it starts, if anybody has written one."""

    def check(self, app: App) -> None:
        actions = sys.modules.get(f"{__package__}.actions")
        if actions is None:
            return
        if any(actions.actions_of(type(service)) for service in app.services()):
            app.server.check()

    def opened(self, app: App) -> None:
        app.extras[BASELINE] = copy_context()
        self.closed(app)  # who served before knows of another app, or of none

    def changed(self, app: App, *, provider: bool) -> None:
        del provider
        self.closed(app)

    def closed(self, app: App) -> None:
        if app.has_server:
            app.server.forget()
        middleware = sys.modules.get(f"{__package__}.middleware")
        if middleware is not None:
            for engine in list(middleware.engines):
                engine.readings.forget_all()


App.make_server = staticmethod(_make_server)
extensions.append(HttpExtension())
