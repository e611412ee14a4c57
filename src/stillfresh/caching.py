"""The decorator: `@cache`, and a `Cache` used as one; and what an app does with its services."""

from __future__ import annotations

import gc
import inspect
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

from .app import App, extensions
from .cached import Cached, SyncCached, controls_of, generated
from .definition import Definition
from .errors import InvalidOption
from .instances import BINDING
from .ledger import LedgerExtension, ledger_of, name_taken
from .options import Policy, checked_name
from .store import Cache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from contextvars import ContextVar

    from .definition import Home
    from .durations import Duration
    from .options import MemoryTier
    from .providers.base import CacheProvider

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class CacheDecorator(Protocol):
    """What `cache(...)` with options returns."""

    @overload
    def __call__(
        self, function: classmethod[S, P, Coroutine[Any, Any, R]], /
    ) -> Cached[Concatenate[type[S], P], R]: ...
    @overload
    def __call__(
        self, function: classmethod[S, P, R], /
    ) -> SyncCached[Concatenate[type[S], P], R]: ...
    @overload
    def __call__(
        self, function: staticmethod[P, Coroutine[Any, Any, R]], /
    ) -> staticmethod[P, Coroutine[Any, Any, R]]: ...
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
    and arguments).

    When you need them: *stale* (serve the old value this much longer while one refresh runs),
    *stale_if_error* (the same when the function fails), *errors* (what failing means),
    *refresh_ahead* and *jitter* (fractions of the ttl), *timeout* and *soft_timeout* (of the
    computation), *when* (store this value or not), *vary* (more that joins the key), *memory*
    (a near tier), *returns* (the type, where the annotation cannot say it), *provider*,
    *serializer*, *compress*, *copy*, *enabled*.

    Raises:
        InvalidDuration: A length of time that cannot be read.
        InvalidOption: An impossible option, or two that contradict each other.
        NotSerializable: The result can be read only once: a generator, an iterator.
    """
    return decorated(function, options, None)


def decorated(function: Any, options: dict[str, Any], home: Home | None) -> Any:
    """Decorate now, or return the decorator when only options were given."""
    if function is None:
        policy = _policy(options, home)
        return partial(_decorate, policy=policy, options=options, home=home)
    if options or not (callable(function) or isinstance(function, classmethod | staticmethod)):
        msg = (
            f"cache({function!r}): options are named. Write @cache(ttl={function!r})."
        )
        raise InvalidOption(msg)
    return _decorate(function, policy=_policy(options, home), options=options, home=home)


def _policy(options: dict[str, Any], home: Home | None) -> Policy:
    given = {name: value for name, value in options.items() if name not in _NOT_POLICY}
    checked_name(options.get("name"))
    if home is not None:
        if options.get("name") is not None:
            msg = "name=: a function under a Cache has its name. Leave it out, or use @cache."
            raise InvalidOption(msg)
        given = {**home.source.given, **given}
    return Policy.read(**given)


_NOT_POLICY = ("name", "key", "tags")


def _decorate(
    function: Any, *, policy: Policy, options: dict[str, Any], home: Home | None
) -> Any:
    kind = ""
    static = False
    if isinstance(function, classmethod):
        function, kind = function.__func__, "class"
    elif isinstance(function, staticmethod):
        function, kind, static = function.__func__, "function", True
    if isinstance(function, Cached | SyncCached):
        msg = f"{function!r} is cached already. One @cache is enough."
        raise InvalidOption(msg)
    if not inspect.isfunction(function):
        msg = f"@cache on {function!r}: expected a function or a method."
        raise InvalidOption(msg)
    definition = Definition(
        function,
        policy,
        name=options.get("name"),
        key=options.get("key"),
        tags=options.get("tags"),
        kind=kind,
        home=home,
    )
    where = function.__qualname__.rpartition(".")[0]
    if static:
        return staticmethod(generated(definition))
    if not where or where.endswith("<locals>"):
        if definition.explicit_name is not None:
            _named_functions.add(definition)
        return generated(definition)
    return controls_of(definition)


# What an app does with its services


def cached_attributes(kind: type) -> Iterator[tuple[str, Any]]:
    """Return the names under which a class has something cached, as the MRO resolves them."""
    names: dict[str, None] = {}
    for owner in reversed(kind.__mro__):
        names.update(dict.fromkeys(vars(owner)))
    for name in names:
        found = inspect.getattr_static(kind, name, None)
        if isinstance(found, classmethod | staticmethod):
            found = found.__func__
        if isinstance(found, Cached | SyncCached | Cache):
            yield name, found


class CachingExtension(LedgerExtension):
    """Binds the cached methods of the services that an app owns, and checks their names."""

    def adopt(self, app: App, instance: object) -> None:
        own = getattr(instance, "__dict__", None)
        if own is None:
            return
        bound = False
        for name, found in cached_attributes(type(instance)):
            if isinstance(found, Cache) or name in own or found.kind != "method":
                continue
            own[name] = generated(found.definition, instance)
            bound = True
        if bound:
            _hide_bindings(type(instance))

    def check(self, app: App) -> None:
        holders: dict[str, Any] = {}

        def claim(source: Any) -> None:
            name = source.explicit_name
            if name is None:
                return
            holder = holders.setdefault(name, source)
            if holder.identity != source.identity:
                raise name_taken(name, holder, source)

        modules: set[str] = set()
        for instance in app.services():
            modules.add(type(instance).__module__)
            for _, found in cached_attributes(type(instance)):
                claim(found.root if isinstance(found, Cache) else found.definition)
        for definition in _of_modules(modules):
            if definition.explicit_name in holders:
                claim(definition)

    def caches(self, app: App) -> list[object]:
        found: dict[str, object] = {}
        for instance in app.services():
            for name, attribute in cached_attributes(type(instance)):
                if isinstance(attribute, Cache):
                    cache: Any = getattr(instance, name)
                else:
                    cache = getattr(instance, name).cache
                found.setdefault(cache.name, cache)
        for source in ledger_of(app).sources():
            if isinstance(source, Definition) and source.kind == "function":
                cache = controls_of(source).cache
                found.setdefault(cache.name, cache)
        return list(found.values())


_named_functions: WeakSet[Definition] = WeakSet()


def _of_modules(modules: set[str]) -> list[Definition]:
    found = [one for one in _named_functions if one.function.__module__ in modules]
    if found:
        del found
        gc.collect()  # a name is free again when its function is gone
    return [one for one in _named_functions if one.function.__module__ in modules]


def _hide_bindings(kind: type) -> None:
    """Keep the bindings out of copies and pickles: they belong to one instance."""
    if "__stillfresh_bindings_hidden__" in vars(kind):
        return
    original: Any = kind.__getstate__  # type: ignore[attr-defined]  # object has it since 3.11

    def __getstate__(self: object) -> object:  # noqa: N807  # it replaces the method
        return _without_bindings(original(self))

    cast("Any", kind).__getstate__ = __getstate__
    cast("Any", kind).__stillfresh_bindings_hidden__ = True


def _without_bindings(state: Any) -> Any:
    if isinstance(state, tuple) and len(state) == 2:
        return (_without_bindings(state[0]), state[1])
    if not isinstance(state, dict):
        return state
    return {name: value for name, value in state.items() if not hasattr(value, BINDING)} or None


extensions.append(CachingExtension())
Cache.decorated = staticmethod(decorated)
