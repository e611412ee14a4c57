"""The decorator: what `@cache` does, and a `Cache` used as one."""

# A coroutine is a result like any other: the overload above the other one is meant.
# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false

from __future__ import annotations

import inspect
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from .errors import InvalidOption
from .options import Policy, checked_name
from .services.asgi import HasRoute
from .sources import cached
from .sources.cached import Cached, SyncCached
from .sources.claims import note_elsewhere
from .sources.definition import Definition, named_functions
from .sources.root import Root
from .sources.wrapping import controls_of, generated

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from typing import Unpack

    from .options import Options
    from .sources.cached import CacheDecorator

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


@overload
def cache(
    function: classmethod[S, P, Coroutine[Any, Any, R]], /
) -> Cached[Concatenate[type[S], P], R]: ...
@overload
def cache(function: classmethod[S, P, R], /) -> SyncCached[Concatenate[type[S], P], R]: ...
@overload
def cache(function: Callable[P, Coroutine[Any, Any, R]], /) -> Cached[P, R]: ...
@overload
def cache(function: Callable[P, R], /) -> SyncCached[P, R]: ...
@overload
def cache(
    *,
    name: str | None = ...,
    key: str | Callable[..., str | tuple[Any, ...]] | None = ...,
    tags: Iterable[str] | Callable[..., Iterable[str]] | None = ...,
    **options: Unpack[Options],
) -> CacheDecorator: ...
def cache(function: Any = None, /, **options: Any) -> Any:
    """
    Cache a function: `@cache`, or `@cache(ttl="10 minutes", tags=["products"])`.

    Everyday options: *ttl* (5 minutes; None is for ever), *name* of the namespace, *key* (a
    template or a function of the arguments), *tags* (names, templates, or a function of value
    and arguments). A duration is a number of seconds, a timedelta, `(10, "minutes")`, or a text
    such as `"10 minutes"` or `"1h30m"`.

    When you need them: *stale* (serve the old value this much longer while one refresh runs),
    *stale_if_error* (the same when the function fails), *errors* (what failing means),
    *refresh_ahead* and *jitter* (fractions of the ttl), *timeout* and *soft_timeout* (of the
    computation; the latter needs *stale_if_error*), *when* (a function of the value: store it or
    not; who waits gets it either way), *vary* (ContextVars, or functions whose values join the
    key), *memory* (a near tier).

    And: *returns* (the type to decode to, where the annotation cannot say it), *provider*
    (another one than the app's, or `"memory"`), *serializer* (an object with `encode(value)` and
    `decode(data)`), *compress* (what goes to a server), *copy* (each caller gets a copy of what is
    in memory, and may change it), *enabled* (False, or a function without arguments that says so
    at each call: then it is not cached, and changes still count).

    Raises:
        InvalidDuration: A length of time that cannot be read.
        InvalidOption: An impossible option, or two that contradict each other.
        NotSerializable: The result can be read only once: a generator, an iterator.
    """
    return decorated(function, options, None)


def decorated(function: Any, options: dict[str, Any], root: Root | None) -> Any:
    """Decorate now, or return the decorator when only options were given."""
    if function is None:
        policy = _policy(options, root)
        return partial(_decorate, policy=policy, options=options, root=root)
    if options:
        msg = f"cache({function!r}, ...): a function or options, not both. Write cache(...)(f)."
        raise InvalidOption(msg)
    if isinstance(function, float | timedelta | str | tuple | list | int):
        msg = f"cache({function!r}): options are named. Write @cache(ttl={function!r})."
        raise InvalidOption(msg)
    return _decorate(function, policy=_policy(options, root), options=options, root=root)


def _policy(options: dict[str, Any], root: Root | None) -> Policy:
    given = {name: value for name, value in options.items() if name not in _NOT_POLICY}
    checked_name(options.get("name"))
    if root is not None:
        if options.get("name") is not None:
            msg = "name=: a function under a Cache has its name. Leave it out, or use @cache."
            raise InvalidOption(msg)
        given = {**root.given, **given}
    return Policy.read(**given)


_NOT_POLICY = ("name", "key", "tags")


def _decorate(function: Any, *, policy: Policy, options: dict[str, Any], root: Root | None) -> Any:
    kind = ""
    if isinstance(function, classmethod):
        function, kind = function.__func__, "class"
    elif isinstance(function, staticmethod):
        function, kind = function.__func__, "function"
    if isinstance(function, Cached | SyncCached):
        msg = f"{function!r} is cached already. One @cache is enough."
        raise InvalidOption(msg)
    if isinstance(function, HasRoute):
        msg = (
            f"@cache on {function!r}: it would hide the action. Write @action above @cache, or "
            "cache= of @action to keep the responses."
        )
        raise InvalidOption(msg)
    if not inspect.isfunction(function):
        msg = f"@cache on {function!r}: expected a function or a method. Wrap it in a def."
        raise InvalidOption(msg)
    definition = Definition(
        function,
        policy,
        name=options.get("name"),
        key=options.get("key"),
        tags=options.get("tags"),
        kind=kind,
        root=root,
    )
    where = function.__qualname__.rpartition(".")[0]
    if "<locals>" not in where and definition.kind != "method":
        note_elsewhere(definition)
    if kind == "function":
        definition.check_options()
        return staticmethod(generated(definition))
    if (not where or where.endswith("<locals>")) and not _in_class_body():
        definition.check_options()
        if definition.explicit_name is not None:
            named_functions.add(definition)
        return generated(definition)
    definition.check_options(settled=bool(kind))  # once more when its class has it
    return controls_of(definition)


_OURS = (__name__, cached.__name__)


def _in_class_body() -> bool:
    """Tell whether the user's line stands in a class body: what is assigned there is a method."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") in _OURS:
        frame = frame.f_back
    if frame is None or frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return False
    return frame.f_locals is not frame.f_globals and "__qualname__" in frame.f_locals


# A `Cache` and a `Cached` know each other's type, and stand below what decorates.
Root.decorate = staticmethod(decorated)
