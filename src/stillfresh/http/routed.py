"""
Whether a framework has routed a request to this very function.

A decorated endpoint is a function like any other: another endpoint may await it, a dependency may
be it, and a decorator above it may change what it returns. What the client gets then is not what
it has returned, so the cache is asked by the endpoint of the route alone.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..services.asgi import Scope

_CALLERS: Final = ("starlette.routing", "starlette.endpoints", "fastapi.routing", "litestar.")
"""The modules of frameworks that call an endpoint; what solves dependencies is none of them."""


def is_routed_to(function: Any, scopes: Iterable[Scope | None], caller: str) -> bool:
    """
    Tell whether *function* is the endpoint of a request, which is in one of *scopes*.

    Behind a middleware that hands on a copy, no scope that is known may say so. Then *caller*
    does, the module that has called the function.
    """
    for scope in scopes:
        if scope is None:
            continue
        end = endpoint_in(scope)
        if _leads_to(end, function, scope):
            return True
        if inspect.isroutine(end) or inspect.isclass(end) or isinstance(end, functools.partial):
            return False  # any other object is an application, in which routing goes on
    return caller.startswith(_CALLERS)


def is_below(function: Any, end: Any) -> bool:
    """Tell whether a decorator that keeps `__wrapped__` stands between *end* and *function*."""
    end = getattr(_bare(end), "__wrapped__", None)
    while end is not None and end is not function:
        end = getattr(end, "__wrapped__", None)
    return end is function


def endpoint_in(scope: Scope) -> Any:
    """Return the function or class to which a request is routed, None where nobody has noted it."""
    handler: Any = scope.get("route_handler")
    return scope.get("endpoint") if handler is None else handler.fn


def _leads_to(end: Any, function: Any, scope: Scope) -> bool:
    if inspect.isclass(end):
        method = str(scope["method"]).lower()
        if method == "head" and not hasattr(end, "head"):
            method = "get"
        end = getattr(end, method, None)
    return _bare(end) is function


def _bare(end: Any) -> Any:
    """Return the function in what a method or a partial is bound to."""
    while True:
        if isinstance(end, functools.partial):
            end = end.func
        elif inspect.ismethod(end):
            end = end.__func__
        else:
            return end
