"""
The look at a user's own application as it starts: what is decorated, and cannot work.

A log line names each endpoint whose decorators are in the wrong order, since that is silent
otherwise, and each route that will never be cached, with the reason.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ..events import log
from .engine.at_endpoint import any_name
from .engine.standins import response_class

if TYPE_CHECKING:
    from collections.abc import Iterator

decorated: WeakSet[Any] = WeakSet()
"""The functions that `@http_cache` has made."""


def check_routes(app: object) -> None:
    """Say what is wrong with the decorated endpoints of *app*."""
    routes = list(_routes_in(app))
    if not routes:
        return
    endpoints = [getattr(route, "endpoint", None) for route in routes]
    marks = [mark for mark in map(_mark, endpoints) if mark is not None]
    for mark in marks:
        mark.stands = max(mark.stands, marks.count(mark))
    for route, endpoint in zip(routes, endpoints, strict=True):
        if endpoint is None:
            continue
        mark = _mark(endpoint)
        if mark is not None:
            kind = response_class(route)
            if kind is not None:
                mark.answers.add(kind)
            why = any_name(getattr(route, "path", ""), mark.policy)
            if why:
                mark.takes_any_name = why
                log.warning("%s will never be cached: %s", _name(endpoint), why)
            methods = getattr(route, "methods", None) or {"GET"}
            if mark.policy.methods.isdisjoint(methods) and not mark.drops:
                log.warning(
                    "%s will never be cached: its route answers %s, and only responses to GET are "
                    "kept",
                    _name(endpoint),
                    ", ".join(sorted(methods)),
                )
            continue
        for one in list(decorated):
            inner = getattr(one, "__wrapped__", None)
            if inner is endpoint:
                log.warning(
                    "%s: @http_cache stands above the decorator of the route, so the route does "
                    "not know of it. Write it below.",
                    _name(endpoint),
                )


def _routes_in(app: object) -> Iterator[Any]:
    seen: set[int] = set()
    todo: list[Any] = [app]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        routes = getattr(one, "routes", None)
        if isinstance(routes, list):
            todo.extend(reversed(routes))
        places: Any = getattr(one, "effective_candidates", None)  # FastAPI: of an included router
        if places is not None:
            todo.extend(reversed(places()))
        inner = getattr(one, "app", None)
        if inner is not None and routes is None and not inspect.isroutine(inner):
            todo.append(inner)
        if hasattr(one, "endpoint"):
            yield one


def _mark(endpoint: Any) -> Any:
    if inspect.isclass(endpoint):
        endpoint = getattr(endpoint, "get", None)
    while endpoint is not None:
        found = getattr(endpoint, "__stillfresh_endpoint__", None)
        if found is not None:
            return found
        endpoint = getattr(endpoint, "__wrapped__", None)
    return None


def _name(endpoint: Any) -> str:
    return f"{endpoint.__module__}.{getattr(endpoint, '__qualname__', endpoint)}"
