"""
Who answers in the place of a handler: what an application has for the errors that it raises.

It is given the request as it is, and nobody watches what it reads. The pages that a framework
makes of its own exceptions depend on the exception alone, so those may be kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...services.asgi import Scope

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


def _is_of_framework(function: object) -> bool:
    return (getattr(function, "__module__", None) or "").startswith(_FRAMEWORKS)
