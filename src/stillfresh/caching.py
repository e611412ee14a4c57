"""The decorator: `@cache`, and a `Cache` used as one."""

# A coroutine is a result like any other: the overload above the other one is meant.
# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false

from __future__ import annotations

import inspect
from datetime import timedelta
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)
from weakref import WeakSet

from .app import registry
from .errors import InvalidOption
from .options import Options, Policy, checked_name
from .providers.base import checked_provider
from .services.asgi import HasRoute
from .sources.cached import Cached, SyncCached, controls_of, generated
from .sources.claims import note_elsewhere
from .sources.definition import Definition
from .sources.operations import RootHome
from .sources.root import Root
from .sources.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from contextvars import ContextVar
    from typing import Never, Self, Unpack

    from .durations import Duration
    from .options import MemoryTier
    from .providers.base import CacheProvider

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class CacheDecorator(Protocol):
    """What `cache(...)` with options returns: async functions stay async, sync ones sync."""

    @overload
    def __call__(
        self, function: classmethod[S, P, Coroutine[Any, Any, R]], /
    ) -> Cached[Concatenate[type[S], P], R]: ...
    @overload
    def __call__(
        self, function: classmethod[S, P, R], /
    ) -> SyncCached[Concatenate[type[S], P], R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Cached[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncCached[P, R]: ...


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
    ttl: Duration | None = ...,
    name: str | None = ...,
    key: str | Callable[..., str | tuple[Any, ...]] | None = ...,
    tags: Iterable[str] | Callable[..., Iterable[str]] | None = ...,
    stale: Duration | None = ...,
    stale_if_error: Duration | None = ...,
    errors: type[BaseException]
    | tuple[type[BaseException], ...]
    | Callable[[BaseException], bool] = ...,
    refresh_ahead: float | None = ...,
    jitter: float | None = ...,
    timeout: Duration | None = ...,
    soft_timeout: Duration | None = ...,
    when: Callable[[Any], object] | None = ...,
    vary: Iterable[ContextVar[Any] | Callable[[], object]]
    | ContextVar[Any]
    | Callable[[], object] = ...,
    memory: bool | Duration | MemoryTier | None = ...,
    returns: object = ...,
    provider: CacheProvider | type[CacheProvider] | str | None = ...,
    serializer: object = ...,
    compress: bool = ...,
    copy: bool = ...,
    enabled: bool | Callable[[], object] = ...,
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
    policy = Policy.read(**given)
    checked_provider(policy.provider)
    return policy


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
        return staticmethod(generated(definition))
    if (not where or where.endswith("<locals>")) and not _in_class_body():
        if definition.explicit_name is not None:
            named_functions.add(definition)
        return generated(definition)
    return controls_of(definition)


def _in_class_body() -> bool:
    """Tell whether the user's line stands in a class body: what is assigned there is a method."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    if frame is None or frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return False
    return frame.f_locals is not frame.f_globals and "__qualname__" in frame.f_locals


named_functions: WeakSet[Definition] = WeakSet()
"""Functions of modules that have a name of their own."""


class Cache(Store[T]):
    """
    A cache without a function: `sessions = Cache[Session](name="sessions", ttl="1 hour")`.

    It takes the options of `@cache`, without `key` and `tags`. As an attribute of a class it
    belongs to the app that owns the instance, and needs no name. As a decorator it caches
    functions in its own namespace.

    Raises:
        InvalidDuration, InvalidOption: As `@cache`.
    """

    def __init__(
        self, *unnamed: Never, name: str | None = None, **options: Unpack[Options]
    ) -> None:
        if unnamed:
            values: tuple[object, ...] = unnamed
            given = repr(values[0])
            raise InvalidOption(f"Cache({given}): options are named. Write Cache(name={given}).")
        # Forward references are the caller's names; typing stands between for Cache[T].
        frame = inspect.currentframe()
        while frame is not None and frame.f_globals.get("__name__") in {__name__, "typing"}:
            frame = frame.f_back
        module = (
            str(frame.f_globals.get("__name__", "__main__")) if frame is not None else "__main__"
        )
        self._root = Root(checked_name(name), dict(options), module)
        self._settle(RootHome(self._root))
        if frame is not None and frame.f_code.co_name == "<module>":
            note_elsewhere(self._root)

    @property
    def root(self) -> Root:
        """
        What was declared.

        Raises:
            InvalidOption: It is the store of one function, not one that was declared.
        """
        if self._root is None:
            msg = f"{self!r} holds the entries of one function. Declare a Cache to decorate with."
            raise InvalidOption(msg)
        return self._root

    @property
    def __orig_class__(self) -> object:
        """The `Cache[T]` that was called to make this; typing sets it after `__init__`."""
        return Cache if self._root is None else Cache[self._root.annotation]  # type: ignore[name-defined]  # it is a value

    @__orig_class__.setter
    def __orig_class__(self, alias: Any) -> None:
        self.root.annotation = alias.__args__[0]

    def __set_name__(self, owner: type, name: str) -> None:
        if self._root is not None and not self._root.attribute:
            self._root.attribute = f"{owner.__qualname__}.{name}"

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        app = None if instance is None else registry.owner_of(instance)
        if app is None or self._root is None:
            return self
        return cast("Self", Store.of(self._root, app, type(self)))

    @overload
    def __call__(
        self, function: classmethod[S, P, Coroutine[Any, Any, R]], /
    ) -> Cached[Concatenate[type[S], P], R]: ...
    @overload
    def __call__(
        self, function: classmethod[S, P, R], /
    ) -> SyncCached[Concatenate[type[S], P], R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Cached[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncCached[P, R]: ...
    @overload
    def __call__(
        self,
        /,
        *,
        key: str | Callable[..., str | tuple[Any, ...]] | None = ...,
        tags: Iterable[str] | Callable[..., Iterable[str]] | None = ...,
        **options: Unpack[Options],
    ) -> CacheDecorator: ...
    def __call__(self, function: Any = None, /, **options: Any) -> Any:
        """
        Cache a function here: `@users`, or `@users(key="user:{user_id}")`.

        It shares the namespace and `clear()`. With `key=` its key is exactly the store's key;
        without, it starts with the function's name. Options that are left out are the cache's.

        Raises:
            InvalidOption: As `@cache`; and when this is the store of one function.
        """
        self.root.has_functions = True
        return decorated(function, options, self.root)


Store.cache_class = Cache
