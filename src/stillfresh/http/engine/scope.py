"""What is read of an ASGI scope, and how a reply is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from ..rules.message import Request, first, lowered

if TYPE_CHECKING:
    from collections.abc import Collection

    from ...services.asgi import Scope, Send
    from .replies import Reply


def request_of(scope: Scope) -> Request:
    """Return the head of the request in *scope*."""
    headers = lowered(scope["headers"])
    return Request(
        method=scope["method"],
        scheme=scope.get("scheme", "http"),
        host=host_of(scope, first(headers, b"host")),
        path=raw_path(scope),
        query=scope.get("query_string", b""),
        headers=headers,
    )


def target_of(request: Request) -> tuple[str, str, bytes, bytes]:
    """Return what a request looks like before anything is read of it."""
    return (request.scheme, request.host, request.path, request.query)


def host_of(scope: Scope, field: bytes | None) -> str:
    """Return the authority: what the client wrote, else where the server listens."""
    if field is not None:
        return field.decode("latin-1")
    server = scope.get("server")
    if not server:
        return ""
    return f"{server[0]}:{server[1]}" if server[1] is not None else str(server[0])


def raw_path(scope: Scope) -> bytes:
    """
    Return the path as it was sent, percent-encoding and root path included.

    Where something outside has rewritten the path, applications route by the new one, so both
    count.
    """
    path, root = scope["path"], scope.get("root_path") or ""
    raw = scope.get("raw_path")
    if raw is None:
        sent = quote(path, safe="/:;=@!$&'()*+,~").encode()
    else:
        sent = bytes(raw).partition(b"?")[0]
        text = sent.decode("latin-1")
        if path != (unquote(text) if "%" in text else text):
            sent += b"\0" + path.encode("utf-8", "surrogatepass")
    return sent if path.startswith(root) else quote(root).encode() + sent


def inner_scope(scope: Scope, **changed: Any) -> Scope:
    """Return a scope of our own to hand inward: the parts that change are copies."""
    inner = {**scope, "headers": list(scope["headers"]), **changed}
    if "extensions" in scope:
        inner["extensions"] = dict(scope["extensions"] or {})
    if "state" in scope:
        inner["state"] = scope["state"].copy()
    return inner


def request_object(scope: Scope) -> Any:
    """Return the request as the user's framework has it, for functions of the user."""
    if is_litestar(scope):
        from litestar import Request as LitestarRequest

        return LitestarRequest(scope)  # type: ignore[arg-type]  # ASGI's
    from starlette.requests import Request as StarletteRequest

    return StarletteRequest(scope)


def watched_object(scope: Scope, reads: set[str]) -> Any:
    """Return the same, one that notes in *reads* which fields are looked at (not Litestar's)."""
    request = request_object(scope)
    if is_litestar(scope):
        return request
    from .taint import WatchedRequest

    return WatchedRequest(request, reads)


def lines_of(scope: Scope, name: bytes) -> list[bytes]:
    """Return the value of each line of the field *name*, as they came."""
    return [value for key, value in scope["headers"] if key == name]


def route_in(scope: Scope) -> Any:
    """
    Return the route that answers, None where its framework does not note it.

    FastAPI notes one route for all places in which its router is included, and beside it the
    place: that has the dependencies, the path and the methods.
    """
    handler, route = scope.get("route_handler"), scope.get("route")
    if handler is not None:
        return handler
    notes = scope.get("fastapi")
    place = notes.get("effective_route_context") if isinstance(notes, dict) else None
    return route if getattr(place, "original_route", None) is not route else place or route


def is_routed(scope: Scope) -> bool:
    """Tell whether FastAPI or Litestar has noted in *scope* itself which route answers."""
    noted = getattr(route_in(scope), "dependant", None)
    return noted is not None or scope.get("route_handler") is not None


def methods_in(scope: Scope) -> Collection[str]:
    """Return the methods that a route answers, none where its framework does not note them."""
    route: Any = route_in(scope)
    found: Collection[str] | None = getattr(route, "methods", None)
    if scope.get("route_handler") is not None:
        found = route.http_methods
    return found or ()


def is_litestar(scope: Scope) -> bool:
    """Tell whether Litestar serves this request."""
    return "litestar_app" in scope or type(scope.get("app")).__module__.startswith("litestar")


async def send_reply(send: Send, reply: Reply) -> None:
    """Send a whole response."""
    await send(
        {"type": "http.response.start", "status": reply.status, "headers": list(reply.headers)}
    )
    await send({"type": "http.response.body", "body": reply.body})
