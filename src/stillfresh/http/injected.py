"""
The arguments of an endpoint whose framework has not said where they come from: Litestar's, and
those of any framework behind a middleware that hands on a copy of the scope.

Each may come from the request, so each is in the key by its value, and one that has no stable
text keeps the response from being stored. Only what cannot differ between clients is left out.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from .engine.read_fields import NOTED
from .engine.routes import Parameters
from .engine.scope import is_litestar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..services.asgi import Scope

_IN_THE_KEY: Final = frozenset({"query", "request", "scope", "state"})
"""Of Litestar: the query is in the key, the state is the application's, the rest is watched."""


def unnamed_parameters(scope: Scope, names: Sequence[str]) -> Parameters:
    """Return the parameters of an endpoint of which only the *names* are known."""
    if is_litestar(scope):
        providers = _providers(scope)
        told: set[str] = set()  # what is given to a provider that sees the request
        for name in providers.keys() & set(names):
            told |= _told(name, providers)
        results = [
            (name, name not in providers or not told.isdisjoint(_needs(name, providers, set())))
            for name in names
            if name not in _IN_THE_KEY and name != "self"
        ]
    else:
        results = [(name, True) for name in names]
    return Parameters(known=names, results=tuple(results))


def _providers(scope: Scope) -> dict[str, Any]:
    handler = scope.get("route_handler")
    return {} if handler is None else dict(handler.resolve_dependencies())


def _reads_request(name: str, providers: dict[str, Any], seen: set[str]) -> bool:
    """Tell whether a dependency is given anything but other dependencies."""
    if name in seen:
        return False
    seen.add(name)
    try:
        needs = inspect.signature(providers[name].dependency).parameters
    except (TypeError, ValueError):
        return True
    return any(
        need != "state" and (need not in providers or _reads_request(need, providers, seen))
        for need in needs
    )


def _needs(name: str, providers: dict[str, Any], seen: set[str]) -> set[str]:
    """Return a provider and those that it needs, by their names in *seen*."""
    if name not in seen and name in providers:
        seen.add(name)
        with suppress(TypeError, ValueError):
            for need in inspect.signature(providers[name].dependency).parameters:
                _needs(need, providers, seen)
    return seen


def _told(name: str, providers: dict[str, Any]) -> set[str]:
    """Return the providers that one which sees the request may write into, itself included."""
    needed = _needs(name, providers, set())
    return set[str]().union(
        *(_needs(one, providers, set()) for one in needed if _reads_request(one, providers, set()))
    )


def watch_litestar(reads: set[str], values: dict[str, Any]) -> Scope | None:
    """
    Let a handler of Litestar be given a request and a scope that remember what is read.

    Returns the scope that it is given, None without one.
    """
    from litestar.connection import ASGIConnection
    from litestar.utils.scope.state import ScopeState

    from .engine.taint import WatchedScope

    given: Scope | None = None
    for name, value in values.items():
        if isinstance(value, ASGIConnection):
            given = cast("Scope", value.scope)
            scope = WatchedScope(value.scope)
            scope.reads = set()  # what making a request reads is nobody's
            seen: Any = type(value)(scope, value.receive, value.send)  # type: ignore[arg-type]
            seen._connection_state = ScopeState()  # noqa: SLF001  # what was parsed before
            for noted, kept in getattr(value, "__dict__", {}).items():  # by hand
                setattr(seen, noted, kept)
                reads.add(NOTED + noted)
        elif name == "scope" and isinstance(value, dict):
            given = value
            scope = seen = WatchedScope(value)
        else:
            continue
        scope.reads = reads
        values[name] = seen
    return given
