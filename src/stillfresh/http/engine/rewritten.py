"""
Whether the endpoint is asked for the URL of which the key is made.

    client ── /p ──► cache ── /p ──► a middleware that rewrites ── /de/p ──► endpoint

By which rule it rewrites nobody knows: by a field of the request, or a table of tenants. So what
the endpoint sees is in the key beside what the client wrote, as soon as the two differ.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .scope import lines_of

if TYPE_CHECKING:
    from ...services.asgi import Scope

_SLASHES = re.compile("/+")


def rewritten(outer: Scope, given: Scope | None) -> list[bytes]:
    """Return what of the URL in *given* is not as in *outer*, as parts of a key."""
    if given is None:
        return []
    parts: list[bytes] = []
    for name in ("scheme", "server", "raw_path", "query_string"):
        inside = given.get(name)
        if inside != outer.get(name):
            parts += [name.encode(), repr(inside).encode()]
    path, root = given["path"], _root(outer, given)
    routed = "route_handler" in given
    if path != outer["path"] and not (routed and path == _as_litestar(outer)):
        parts += [b"path", path.encode("utf-8", "surrogatepass")]
    if root != (outer.get("root_path") or ""):
        parts += [b"root_path", root.encode("utf-8", "surrogatepass")]
    if given["headers"] is not outer["headers"]:
        hosts = lines_of(given, b"host")
        if hosts != lines_of(outer, b"host"):
            parts += [b"host", *hosts]
    return parts


def _root(outer: Scope, given: Scope) -> str:
    """Return the root path without what a Mount, or FastAPI(root_path=...), has put there."""
    said = outer.get("root_path") or ""
    root = given.get("root_path") or ""
    if root != said and "app_root_path" not in outer:
        root = given.get("app_root_path", root)
    own = getattr(given.get("app"), "root_path", None)
    return said if root == own else root


def _as_litestar(scope: Scope) -> str:
    """Return the path as Litestar notes it: without the root path, and without doubled slashes."""
    path, root = scope["path"], scope.get("root_path")
    if root:
        path = path.split(root, maxsplit=1)[-1]
    return "/" + _SLASHES.sub("/", path).strip("/")
