"""
What `@cache` makes of a function: `Cached` for async ones, `SyncCached` for the others.

In a class it is a descriptor. A function of a module becomes a generated function that wears
the controls as attributes, and so does each method of an instance that an app owns:

    get_user                a generated function; isinstance(get_user, Cached) holds
    UserService.get_user    a Cached, bound to nothing
    service.get_user        a generated function in the instance's __dict__, or else a Cached
                            that is made per access
"""

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
    TypeVar,
    cast,
    overload,
)

from ..computing.drivers import IN_THREAD, ON_LOOP, drive
from ..shape import dress
from .instances import BINDING
from .operations import DefinitionHome
from .shortcuts import Shortcut
from .site import UNBOUND
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import CoroutineType, FunctionType
    from typing import Self

    from ..computing.calls import Answer
    from ..computing.drivers import Driver
    from ..entry import Missing
    from ..shape import Values
    from .definition import Definition
    from .report import Explanation, Stats

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

_CONTROLS: Final = (
    "invalidate",
    "expire",
    "refresh",
    "peek",
    "store",
    "key",
    "invalidate_matching",
    "clear",
    "explain",
    "stats",
    "cache",
)


class _Recognising(type):
    """Lets isinstance() see a `Cached` in a generated function."""

    def __instancecheck__(cls, instance: object) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        control = getattr(instance, "__dict__", {}).get(BINDING)
        return control is not None and type.__instancecheck__(cls, control)


class _Controls(metaclass=_Recognising):
    """What both kinds have in common."""

    __wrapped__: Any

    def __init__(self, definition: Definition, instance: object = UNBOUND) -> None:
        self._definition = definition
        self._instance = instance
        function = definition.function
        vars(self).update(vars(function))  # what other decorators have left there
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(self, name, getattr(function, name, None))
        self.__wrapped__ = function
        self.__annotations__ = function.__annotations__
        if getattr(function, "__isabstractmethod__", False):
            self.__isabstractmethod__ = True
        if instance is not UNBOUND:
            self.__signature__ = definition.shape.signature
            self.__annotations__ = definition.shape.annotations()
            self.__wrapped__ = _bound(function, instance)

    def __set_name__(self, owner: type, name: str) -> None:
        definition = self._definition
        if definition.owner is None:
            # In a metaclass `cls` is what `self` is elsewhere, unless @classmethod was there.
            is_self = issubclass(owner, type) and not definition.is_classmethod
            kind = "class" if definition.kind == "class" and not is_self else "method"
            definition.set_kind(kind, owner, name)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        definition = self._definition
        if self._instance is not UNBOUND:
            return self
        if isinstance(instance, type) and owner is instance and definition.kind != "class":
            # @classmethod above @cache hands the class over as the instance, up to 3.12.
            definition.set_kind("class")
        if definition.kind == "function":
            return self
        if definition.kind == "class":
            return type(self)(definition, owner if owner is not None else type(instance))
        return self if instance is None else type(self)(definition, instance)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._definition.title}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        """Be pickled and copied as a method is: by name, on what it is bound to."""
        qualname = self._definition.identity[1]
        if self._instance is UNBOUND:
            return qualname
        return getattr, (self._instance, qualname.rpartition(".")[2])

    @property
    def definition(self) -> Definition:
        """What is behind it."""
        return self._definition

    @property
    def instance(self) -> object:
        """What `self` or `cls` is, if it is bound."""
        return self._instance

    @property
    def kind(self) -> str:
        """A `function`, a `method`, or a `class` method."""
        return self._definition.kind

    def _split(self, args: Values, kwargs: dict[str, Any]) -> tuple[object, Values]:
        instance, rest = self._definition.receiver(self._instance, args)
        return instance, self._definition.shape.bind(rest, kwargs)

    @property
    def stats(self) -> Stats:
        """How calls were answered, and how many entries there are; live numbers."""
        return self._definition.stats(self._instance)


class Cached(_Controls, Generic[P, R]):
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
        """Say how a call with these arguments would be answered now, and why. Raises as `peek`."""
        return await self._definition.explain(self._instance, args, kwargs, ON_LOOP)

    @property
    def cache(self) -> Store[R]:
        """The `Cache` that holds this function's entries; it decorates nothing."""
        return Store.over(DefinitionHome(self._definition, self._instance))


class SyncCached(_Controls, Generic[P, R]):
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
    def cache(self) -> Store[R]:
        """The `Cache` that holds this function's entries; it decorates nothing."""
        return Store.over(DefinitionHome(self._definition, self._instance))


async def _answer_async(definition: Definition, instance: object, values: Values) -> object:
    value, answer = await definition.answer(instance, values, ON_LOOP)
    return value if answer is None else answer.unwrap()


def _answer_sync(definition: Definition, instance: object, values: Values) -> object:
    value, answer = drive(definition.answer(instance, values, IN_THREAD))
    return value if answer is None else answer.unwrap()


def controls_of(
    definition: Definition, instance: object = UNBOUND
) -> Cached[Any, Any] | SyncCached[Any, Any]:
    """Return a `Cached` or `SyncCached`, as the function is async or not."""
    kind = Cached if definition.shape.is_async else SyncCached
    return kind(definition, instance)


def generated(definition: Definition, instance: object = UNBOUND) -> FunctionType:
    """Return the function with the short cut in front, wearing the controls."""
    shape = definition.shape
    controls = controls_of(definition, instance)
    scope: dict[str, object] = {"__builtins__": __builtins__}

    def answer(
        values: Values, driver: Driver = ON_LOOP
    ) -> Coroutine[Any, Any, tuple[object, Answer | None]]:
        route = shortcut.route
        if route is None:
            return definition.answer(instance, values, driver, shortcut)
        return route.answer(values, driver)

    def step(values: Values) -> object:
        value, found = drive(answer(values, IN_THREAD))
        return value if found is None else found.unwrap()

    slow = answer if shape.is_async else step
    wrapper = shape.wrapper(scope, quick=definition.quick, tagged=definition.tag_rule.any)
    names = {word: shape.name(word) for word in ("index", "now", "book", "slow", "shortcut")}
    shortcut = Shortcut(scope, names, shape.guards(), slow, waits=shape.is_async)
    dress(wrapper, shape, controls.__wrapped__)
    for name in _CONTROLS:
        wrapper.__dict__[name] = getattr(controls, name)
    wrapper.__dict__[BINDING] = controls
    return wrapper


def _bound(function: Any, instance: object) -> Any:
    return function.__get__(instance, type(instance))


# What looks at a function before it calls it, such as a mock or a web framework, has to see that
# a `Cached` gives a coroutine.
if sys.version_info >= (3, 12):
    inspect.markcoroutinefunction(Cached)
    inspect.markcoroutinefunction(Cached.__call__)
else:
    # Before 3.12 there is no function for it, only what asyncio marks its own with.
    cast("Any", Cached)._is_coroutine = cast("Any", asyncio.coroutines)._is_coroutine  # noqa: SLF001
