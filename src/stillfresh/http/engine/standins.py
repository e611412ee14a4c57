"""
Who answers in the place of a handler: what an application has for the errors that it raises, and
a response that is called with the scope.

Both are given the request as it is, and nobody watches what they read. The pages that a framework
makes of its own exceptions depend on the exception alone, and its own responses on what they were
made of, so those may be kept.
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any, Final

from ..rules.message import first
from .scope import route_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ...services.asgi import Scope
    from ..rules.message import Response

_FRAMEWORKS: Final = ("starlette.", "fastapi.", "litestar.")


def explained(error: Exception, scope: Scope | None) -> str:
    """
    Return why the page for *error* may be one client's alone, "" where the framework makes it.

    *scope* is what the endpoint was given, None where nobody knows.
    """
    if _is_of_framework(_explainer(error, scope)):
        return ""
    return (
        f"the handler raised {type(error).__name__}, and what answers for that sees the whole "
        "request. Say public=True if everybody gets the same"
    )


def is_page_of(error: Exception, response: Response) -> bool:
    """
    Tell whether *response* is what a framework makes of *error*, and of nothing else.

    A dependency, a route or a middleware may have raised another exception in its place, or have
    answered itself, and those see the request. Fields are not compared: what a middleware between
    the cache and the handler writes into each response stands among them.
    """
    facts = {"status_code": getattr(error, "status_code", None)}
    if response.status != facts["status_code"]:
        return False
    detail: object = getattr(error, "detail", None)
    extra: object = getattr(error, "extra", None)
    facts |= {"detail": detail} | ({} if extra is None else {"extra": extra})
    body = response.body
    try:
        if first(response.headers, b"content-encoding") == b"gzip":
            body = gzip.decompress(body)
        if body == (detail.encode() if isinstance(detail, str) else b""):
            return True  # of Starlette, or none at all
        said = json.loads(body)
        return any(said == json.loads(json.dumps(one)) for one in (facts, {"detail": detail}))
    except (ValueError, TypeError, OSError, EOFError, zlib.error):
        return False


def _explainer(error: Exception, scope: Scope | None) -> object:
    """Return the handler of an exception that the framework calls, None without one."""
    if scope is None:
        return None
    route: Any = scope.get("route_handler")
    if route is not None:
        handlers = dict(route.resolve_exception_handlers())
        return _found(error, handlers, handlers) or _of_litestar(error)
    kinds, codes = scope.get("starlette.exception_handlers") or ({}, {})
    return _found(error, kinds, codes)


def _found(error: Exception, kinds: Mapping[Any, object], codes: Mapping[Any, object]) -> object:
    by_code = codes.get(getattr(error, "status_code", None))
    if by_code is not None:
        return by_code
    return next((kinds[kind] for kind in type(error).__mro__ if kind in kinds), None)


def _of_litestar(error: Exception) -> object:
    from litestar.exceptions import HTTPException
    from litestar.exceptions.responses import create_exception_response

    return create_exception_response if isinstance(error, HTTPException) else None


def answering(result: object, scope: Scope | None, kinds: Collection[type]) -> str:
    """
    Return why what a handler returns may be one client's response, "" if nothing shows it.

    *kinds* are the classes of which the framework makes responses to this endpoint, as far as
    its start has shown them.
    """
    for kind in _classes(result, scope) or kinds:
        if any(base.__module__ == _TEMPLATES for base in kind.__mro__):
            return (
                f"{kind.__qualname__} gives the whole request to its template. Say public=True if "
                "everybody gets the same"
            )
        for name in _ANSWERS:
            method = _attribute(kind, name)
            if method is not None and not _is_of_framework(method):
                return (
                    f"{kind.__qualname__}.{name} is given the whole request. Say public=True if "
                    "everybody gets the same"
                )
    return ""


_TEMPLATES: Final = "litestar.response.template"
_ANSWERS: Final = ("__call__", "to_asgi_response")


def _classes(result: object, scope: Scope | None) -> list[type]:
    """Return what answers: a response itself, or the class that the route has for values."""
    if callable(result) or hasattr(type(result), "to_asgi_response"):
        return [type(result)]
    if scope is None:
        return []
    handler: Any = scope.get("route_handler")
    kind = response_class(route_in(scope)) if handler is None else _of_handler(handler)
    return [] if kind is None else [kind]


def response_class(route: object) -> type | None:
    """Return the class of which FastAPI makes the responses of *route*."""
    found: object = getattr(route, "response_class", None)
    found = getattr(found, "value", found)  # in a placeholder, if the route has said none
    return found if isinstance(found, type) else None


def _of_handler(handler: Any) -> type | None:
    found: type | None = handler.resolve_response_class()
    return found


def _attribute(kind: type, name: str) -> object:
    """Return an attribute of the objects of *kind*; `__call__` of the class itself is none."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


def _is_of_framework(function: object) -> bool:
    if hasattr(function, "__wrapped__"):  # then its module is that of what it wraps
        return False
    return (getattr(function, "__module__", None) or "").startswith(_FRAMEWORKS)
