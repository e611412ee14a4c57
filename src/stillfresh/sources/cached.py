"""
What users hold: of a function that is cached a `Cached` or a `SyncCached`, and the `Cache`.

In a class it is a descriptor. A function of a module becomes a generated function that wears
the controls as attributes, and so does each method of an instance that an app owns:

    get_user                a generated function; isinstance(get_user, Cached) holds
    UserService.get_user    a Cached, bound to nothing
    service.get_user        a generated function in the instance's __dict__, or else a Cached
                            that is made per access

They share a file because each names another: `f.cache` is a `Cache`, and what a `Cache`
decorates is a `Cached`. What decorating is comes from above, see `Root.decorate`.
"""

# A coroutine is a result like any other: the overload above the other one is meant.
# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)

from ..app import registry
from ..computing.drivers import IN_THREAD, ON_LOOP, drive
from ..errors import InvalidOption
from ..options import checked_name
from .claims import note_elsewhere
from .controls import Controls
from .ledger import ledger_of
from .operations import DefinitionHome, RootHome, StoreOperations
from .root import Root
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from types import CoroutineType
    from typing import Never, Self, Unpack

    from ..app import App
    from ..entry import Missing
    from ..options import Options
    from ..shape import Values
    from .definition import Definition
    from .operations import StoreHome
    from .report import Explanation

P = ParamSpec("P")
R = TypeVar("R")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")

MYPY: Final = False
"""
True to mypy, which knows the name. The Any in a written Coroutine makes it take gather() of two
such calls for Any; those of an async function do not.
"""


class Cached(Controls, Generic[P, R]):
    """An async function that is cached. Calling it returns a coroutine of the result."""

    if MYPY:

        async def __call__(  # pyright: ignore[reportRedeclaration]  # it is the other one there
            self, /, *args: P.args, **kwargs: P.kwargs
        ) -> R: ...

    else:

        def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> CoroutineType[Any, Any, R]:
            """Call it."""
            instance, values = self._split(args, kwargs)
            answer = _answer_async(self._definition, instance, values)
            return cast("CoroutineType[Any, Any, R]", answer)

    @overload  # type: ignore[override]  # the overloads say what the common one cannot
    def __get__(
        self: Cached[Concatenate[type[S], Q], T], instance: None, owner: type[S]
    ) -> Cached[Q, T]: ...
    @overload
    def __get__(
        self: Cached[Concatenate[type[S], Q], T], instance: S, owner: type[S]
    ) -> Cached[Q, T]: ...
    @overload
    def __get__(
        self: Cached[Concatenate[S, Q], T], instance: S, owner: type[S]
    ) -> Cached[Q, T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Self: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return super().__get__(instance, owner)

    async def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """
        Drop the entry of a call with these arguments; no later call gets its value.

        Raises:
            NotRunning: The app does not run.
            ProviderUnavailable: Nobody knows whether it happened; it is done before this
                process reads the entry again.
        """
        await self._definition.invalidate(self._instance, args, kwargs, ON_LOOP)

    async def expire(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make the entry stale: served as `stale` or `fallback` only. Raises as `invalidate`."""
        await self._definition.expire(self._instance, args, kwargs, ON_LOOP)

    async def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute now, whatever is cached, store the result and return it. Raises as a call."""
        answer = await self._definition.refresh(self._instance, args, kwargs, ON_LOOP)
        return cast("R", answer.unwrap())

    async def peek(self, /, *args: P.args, **kwargs: P.kwargs) -> R | Missing:
        """
        Return the cached value or `MISSING`; never compute.

        Raises:
            ProviderUnavailable: The provider did not answer.
        """
        value = await self._definition.peek(self._instance, args, kwargs, ON_LOOP)
        return cast("R | Missing", value)

    async def store(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """
        Write *value* as the result of a call with these arguments.

        Raises:
            NotSerializable: It would not come back as it is.
            NotRunning: The app does not run.
            ProviderUnavailable: Nobody knows what is there now.
        """
        await self._definition.store(self._instance, value, args, kwargs, ON_LOOP)

    def key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """
        Return the text of the key of a call.

        Raises:
            UnstableArgument: An argument has no stable place in a key.
        """
        return self._definition.key_of(self._instance, args, kwargs)

    async def invalidate_matching(self, pattern: str) -> None:
        """
        Drop the entries whose key matches *pattern*, where `*` is any text.

        Raises:
            InvalidOption: The pattern is no text.
            NotRunning, ProviderUnavailable: As `invalidate`.
        """
        await self._definition.invalidate_matching(self._instance, pattern, ON_LOOP)

    async def clear(self) -> None:
        """Drop all entries of this function. Raises as `invalidate`."""
        await self._definition.clear(self._instance, ON_LOOP)

    async def explain(self, /, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """
        Say how a call with these arguments would be answered now, and why.

        Raises:
            UnstableArgument: As `key`.
        """
        return await self._definition.explain(self._instance, args, kwargs, ON_LOOP)

    @property
    def cache(self) -> Cache[R]:
        """The `Cache` that holds this function's entries; it decorates nothing."""
        return cache_over(DefinitionHome(self._definition, self._instance))


class SyncCached(Controls, Generic[P, R]):
    """A sync function that is cached. Nothing on it is awaited; it raises as `Cached`."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it."""
        instance, values = self._split(args, kwargs)
        return cast("R", _answer_sync(self._definition, instance, values))

    @overload  # type: ignore[override]  # the overloads say what the common one cannot
    def __get__(
        self: SyncCached[Concatenate[type[S], Q], T], instance: None, owner: type[S]
    ) -> SyncCached[Q, T]: ...
    @overload
    def __get__(
        self: SyncCached[Concatenate[type[S], Q], T], instance: S, owner: type[S]
    ) -> SyncCached[Q, T]: ...
    @overload
    def __get__(
        self: SyncCached[Concatenate[S, Q], T], instance: S, owner: type[S]
    ) -> SyncCached[Q, T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Self: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return super().__get__(instance, owner)

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Drop the entry of a call; see `Cached.invalidate`."""
        drive(self._definition.invalidate(self._instance, args, kwargs, IN_THREAD))

    def expire(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make the entry of a call stale; see `Cached.expire`."""
        drive(self._definition.expire(self._instance, args, kwargs, IN_THREAD))

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute now, store, return; see `Cached.refresh`."""
        answer = drive(self._definition.refresh(self._instance, args, kwargs, IN_THREAD))
        return cast("R", answer.unwrap())

    def peek(self, /, *args: P.args, **kwargs: P.kwargs) -> R | Missing:
        """Return the cached value or `MISSING`; never compute."""
        value = drive(self._definition.peek(self._instance, args, kwargs, IN_THREAD))
        return cast("R | Missing", value)

    def store(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Write *value* as the result of a call; see `Cached.store`."""
        drive(self._definition.store(self._instance, value, args, kwargs, IN_THREAD))

    def key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the text of the key of a call; see `Cached.key`."""
        return self._definition.key_of(self._instance, args, kwargs)

    def invalidate_matching(self, pattern: str) -> None:
        """Drop the entries whose key matches *pattern*, where `*` is any text."""
        drive(self._definition.invalidate_matching(self._instance, pattern, IN_THREAD))

    def clear(self) -> None:
        """Drop all entries of this function."""
        drive(self._definition.clear(self._instance, IN_THREAD))

    def explain(self, /, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """Say how a call with these arguments would be answered now, and why."""
        return drive(self._definition.explain(self._instance, args, kwargs, IN_THREAD))

    @property
    def cache(self) -> Cache[R]:
        """The `Cache` that holds this function's entries; it decorates nothing."""
        return cache_over(DefinitionHome(self._definition, self._instance))


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
        self._home = RootHome(self._root)
        self._ops = StoreOperations(self._home)
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
        return cast("Self", cache_of(self._root, app, type(self)))

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
        return Root.decorate(function, options, self.root)


def cache_of(root: Root, app: App, kind: type[Cache[Any]] | None = None) -> Cache[Any]:
    """Return the cache that was declared as *root*, as *app* has it: always the same one."""
    caches: dict[Any, Cache[Any]] = ledger_of(app).stores
    found = caches.get(root)
    if found is not None:
        return found
    return caches.setdefault(root, cache_over(RootHome(root, app), root, kind))


def cache_over(
    home: StoreHome, root: Root | None = None, kind: type[Cache[Any]] | None = None
) -> Cache[Any]:
    """Return a cache over the entries of something else; without a *root* it decorates nothing."""
    kind = kind or Cache
    self = kind.__new__(kind)
    vars(self).update(_root=root, _home=home, _ops=StoreOperations(home))
    return self


async def _answer_async(definition: Definition, instance: object, values: Values) -> object:
    value, answer = await definition.answer(instance, values, ON_LOOP)
    return value if answer is None else answer.unwrap()


def _answer_sync(definition: Definition, instance: object, values: Values) -> object:
    value, answer = drive(definition.answer(instance, values, IN_THREAD))
    return value if answer is None else answer.unwrap()


# What looks at a function before it calls it, such as a mock or a web framework, has to see that
# a `Cached` gives a coroutine.
if sys.version_info >= (3, 12):
    inspect.markcoroutinefunction(Cached)
    inspect.markcoroutinefunction(Cached.__call__)
else:
    # Before 3.12 there is no function for it, only what asyncio marks its own with.
    cast("Any", Cached)._is_coroutine = cast("Any", asyncio.coroutines)._is_coroutine  # noqa: SLF001  # there is no public way
