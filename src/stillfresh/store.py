"""`Cache[T]`: a cache without a function, for get, set and delete; and a decorator."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Protocol, TypeVar, cast, overload

from .app import registry
from .codecs import UNKNOWN, codec_for, return_annotation
from .current import which_app
from .definition import Home
from .drivers import IN_THREAD, ON_LOOP, drive
from .entry import MISSING
from .errors import InvalidOption, UnstableArgument
from .ledger import ledger_of
from .options import Policy, checked_name, lifetime
from .patterns import compile_pattern
from .calls import Answer, Call
from .report import Stats
from .tags import checked_tags

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import Self

    from .app import App
    from .codecs import Codec
    from .definition import Definition
    from .drivers import Driver
    from .durations import Duration
    from .readthrough import Reader

T = TypeVar("T")
D = TypeVar("D")
UNSET: Final[Any] = MISSING


class StoreHome(Protocol):
    """Where the entries of a `Cache` are."""

    @property
    def title(self) -> str:
        """How messages call it."""
        ...

    @property
    def namespace(self) -> str:
        """What is in front of every key."""
        ...

    def app(self) -> App:
        """Return the app in force."""
        ...

    def reader(self, app: App) -> Reader:
        """Return the reader in that app."""
        ...

    def stats(self) -> Stats:
        """Return live numbers."""
        ...


class _Root:
    """One declared `Cache`: its name, its options, and the type of its values."""

    def __init__(self, name: str | None, given: dict[str, Any], module: str) -> None:
        self.explicit_name = name
        self.given = given
        """The options as they were written; functions under it start from them."""
        self.policy = Policy.read(**given)
        self.module = module
        self.attribute = ""
        self.annotation: object = UNKNOWN

    @property
    def name(self) -> str:
        if self.explicit_name is not None:
            return self.explicit_name
        if not self.attribute:
            msg = (
                f"a Cache in {self.module} has no name. Write Cache(name=...), "
                "or make it an attribute of a class."
            )
            raise InvalidOption(msg)
        return f"{self.module}.{self.attribute}"

    @property
    def identity(self) -> tuple[str, str]:
        return (self.module, self.attribute or self.name)

    def codec(self) -> Callable[[], Codec]:
        annotation, module, policy = self.annotation, self.module, self.policy

        def make() -> Codec:
            if policy.returns is not MISSING:
                resolved = return_annotation(_Scope(module), policy.returns)
            elif annotation is UNKNOWN:
                resolved = UNKNOWN
            else:
                resolved = return_annotation(_Scope(module), annotation)
            return codec_for(resolved, compress=policy.compress, serializer=policy.serializer)

        return make

    def claim(self, app: App) -> Reader:
        """Make the namespace this cache's, and return its reader."""
        return ledger_of(app).reader(self, self.name, self.name)


class _Scope:
    """Where a forward reference in `Cache["User"]` is looked up."""

    def __init__(self, module: str) -> None:
        self.__module__ = module
        self.__globals__ = vars(sys.modules[module]) if module in sys.modules else {}
        self.__qualname__ = "Cache"
        self.__annotations__: dict[str, object] = {}


class _RootHome:
    """The home of a declared `Cache`, bound to the app of an instance or to none."""

    def __init__(self, root: _Root, owner: App | None = None) -> None:
        self.root = root
        self._owner = owner

    @property
    def title(self) -> str:
        return self.root.name

    @property
    def namespace(self) -> str:
        return self.root.name

    def app(self) -> App:
        return self._owner or which_app(f"Cache {self.root.name!r}")

    def reader(self, app: App) -> Reader:
        return self.root.claim(app)

    def stats(self) -> Stats:
        def count() -> int:
            app = self.app()
            if not app.running:
                return 0
            region = self.reader(app).region
            return region.guard.provider.count(region.namespace)

        return Stats(lambda: ledger_of(self.app()).seen(self.root, self.root.name), count)


class DefinitionHome:
    """The home of the entries of one function."""

    def __init__(self, definition: Definition, instance: object) -> None:
        self._definition = definition
        self._instance = instance

    @property
    def title(self) -> str:
        return self._definition.title

    @property
    def namespace(self) -> str:
        return self._definition.place(self._instance).namespace

    def app(self) -> App:
        return self._definition.place(self._instance).app

    def reader(self, app: App) -> Reader:
        del app
        return self._definition.reader(self._definition.place(self._instance))

    def stats(self) -> Stats:
        return self._definition.stats(self._instance)


class _Operations:
    """What both faces of a `Cache` do; the driver makes the difference."""

    def __init__(self, home: StoreHome) -> None:
        self.home = home

    def _changing(self, what: str) -> Reader:
        app = self.home.app()
        app.must_run(f"Cache {self.home.title!r}.{what}()")
        return self.home.reader(app)

    def _reading(self) -> Reader | None:
        app = self.home.app()
        if app.running:
            return self.home.reader(app)
        return None

    async def get(self, driver: Driver, key: str, default: object) -> object:
        found = await self.get_many(driver, [key])
        return found.get(key, default)

    async def get_many(self, driver: Driver, keys: Iterable[str]) -> dict[str, object]:
        names = [checked_key(key) for key in keys]
        reader = self._reading()
        if reader is None:
            return {}
        return await reader.peek_many(names, driver)

    async def set_many(
        self, driver: Driver, values: Mapping[str, object], ttl: object, tags: Iterable[str]
    ) -> None:
        fresh = None if ttl is UNSET else lifetime(ttl)
        names = checked_tags(tags, "tags")
        for key in values:
            checked_key(key)
        await self._changing("set").write(values, driver, fresh=fresh, tags=names)

    async def delete(self, driver: Driver, keys: tuple[str, ...]) -> int:
        names = [checked_key(key) for key in keys]
        region = self._changing("delete").region
        return await region.delete(driver.ops(region.guard), names) if names else 0

    async def invalidate(self, driver: Driver, pattern: str) -> None:
        matches = compile_pattern(checked_key(pattern))
        region = self._changing("invalidate").region
        await region.invalidate_matching(driver.ops(region.guard), pattern, matches)

    async def invalidate_tags(self, driver: Driver, tags: tuple[str, ...]) -> None:
        names = checked_tags(tags, "invalidate_tags")
        region = self._changing("invalidate_tags").region
        await region.invalidate_tags(driver.ops(region.guard), names)

    async def clear(self, driver: Driver) -> None:
        region = self._changing("clear").region
        await region.clear(driver.ops(region.guard))

    async def keys(self, driver: Driver, pattern: str) -> list[str]:
        reader = self._reading()
        if reader is None:
            return []
        region = reader.region
        return await driver.ops(region.guard).keys(region.namespace, checked_key(pattern))

    async def incr(self, driver: Driver, key: str, amount: int) -> int:
        checked_key(key)
        if isinstance(amount, bool) or not isinstance(amount, int):
            msg = f"incr({key!r}, {amount!r}): expected a whole number."
            raise InvalidOption(msg)
        return await self._changing("incr").incr(key, amount, driver)

    async def get_or_set(
        self,
        driver: Driver,
        key: str,
        factory: Callable[[], object],
        tags: Iterable[str],
    ) -> Answer:
        call = Call(checked_key(key), factory, checked_tags(tags, "tags"))
        reader = self._reading()
        if reader is None or not reader.policy.is_enabled():
            return await self._bypass(driver, factory)
        return await reader.read(call, driver)

    async def _bypass(self, driver: Driver, factory: Callable[[], object]) -> Answer:
        value = factory()
        if driver.suspends and hasattr(value, "__await__"):
            value = await cast("Awaitable[object]", value)
        return Answer(value)


class Cache(Generic[T]):
    """
    A cache without a function: `sessions = Cache[Session](name="sessions", ttl="1 hour")`.

    It takes the options of `@cache`, without `key` and `tags`. As an attribute of a class it
    belongs to the app that owns the instance, and needs no name. As a decorator it caches
    functions in its own namespace.

    Raises:
        InvalidDuration, InvalidOption: As `@cache`.
    """

    def __init__(self, *, name: str | None = None, **options: Any) -> None:
        frame = sys._getframe(1)  # noqa: SLF001  # forward references are the caller's names
        while frame.f_back is not None and frame.f_globals.get("__name__") == "typing":
            frame = frame.f_back
        module = str(frame.f_globals.get("__name__", "__main__"))
        self._root: _Root | None = _Root(checked_name(name), options, module)
        self._home: StoreHome = _RootHome(self._root)
        self._ops = _Operations(self._home)

    @classmethod
    def over(cls, home: StoreHome) -> Cache[Any]:
        """Return the store over the entries of something else."""
        self = cls.__new__(cls)
        self._root = None
        self._home = home
        self._ops = _Operations(home)
        return self

    decorated: ClassVar[Callable[..., Any]]
    """Decorates a function; set from above, where functions are known."""

    @property
    def root(self) -> _Root:
        """What was declared."""
        assert self._root is not None  # noqa: S101  # asked of declared ones only
        return self._root

    def __set_name__(self, owner: type, name: str) -> None:
        if self._root is not None and not self._root.attribute:
            self._root.attribute = f"{owner.__qualname__}.{name}"

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Self: ...
    def __get__(self, instance: object, owner: type | None = None) -> Self:
        app = None if instance is None else registry.owner_of(instance)
        if app is None or self._root is None:
            return self
        bound = type(self).__new__(type(self))
        bound._root = self._root
        bound._home = _RootHome(self._root, app)
        bound._ops = _Operations(bound._home)
        return bound

    def __repr__(self) -> str:
        return f"<Cache {self.name!r}>"

    @property
    def name(self) -> str:
        """The namespace of its entries."""
        return self._home.namespace

    @property
    def stats(self) -> Stats:
        """How it was asked, and how many entries there are; live numbers."""
        return self._home.stats()

    @property
    def sync(self) -> SyncCache[T]:
        """The same store for sync code."""
        return SyncCache(self._ops)

    @overload
    async def get(self, key: str) -> T | None: ...
    @overload
    async def get(self, key: str, default: D) -> T | D: ...
    async def get(self, key: str, default: object = None) -> object:
        """
        Return the value, or *default*.

        Raises:
            ProviderUnavailable: Nobody knows.
        """
        return await self._ops.get(ON_LOOP, key, default)

    async def set(
        self, key: str, value: T, *, ttl: Duration | None = UNSET, tags: Iterable[str] = ()
    ) -> None:
        """
        Store *value*. *ttl* omitted is the cache's own, None is for ever.

        Raises:
            NotSerializable: It would not come back as it is.
            NotRunning: The app does not run.
            ProviderUnavailable: Nobody knows what is there now.
        """
        await self._ops.set_many(ON_LOOP, {key: value}, ttl, tags)

    async def delete(self, *keys: str) -> int:
        """Drop exactly these keys, and return how many were there. Raises as `set`."""
        return await self._ops.delete(ON_LOOP, keys)

    async def invalidate(self, pattern: str) -> None:
        """Drop the keys that match *pattern*, where `*` is any text. Raises as `set`."""
        await self._ops.invalidate(ON_LOOP, pattern)

    async def invalidate_tags(self, *tags: str) -> None:
        """Drop this cache's entries that have one of *tags*. Raises as `set`."""
        await self._ops.invalidate_tags(ON_LOOP, tags)

    async def get_or_set(
        self,
        key: str,
        factory: Callable[[], Awaitable[T]] | Callable[[], T],
        *,
        tags: Iterable[str] = (),
    ) -> T:
        """Return the value, or compute and store it: once, however many ask at a time."""
        answer = await self._ops.get_or_set(ON_LOOP, key, factory, tags)
        return cast("T", answer.unwrap())

    async def get_many(self, *keys: str | Iterable[str]) -> dict[str, T]:
        """Return what there is of *keys*, given one by one or as one list."""
        return cast("dict[str, T]", await self._ops.get_many(ON_LOOP, _flat(keys)))

    async def set_many(
        self,
        values: Mapping[str, T],
        *,
        ttl: Duration | None = UNSET,
        tags: Iterable[str] = (),
    ) -> None:
        """Store all of *values*, or, when one of them does not fit, none. Raises as `set`."""
        await self._ops.set_many(ON_LOOP, values, ttl, tags)

    async def incr(self, key: str, amount: int = 1) -> int:
        """
        Add to a counter and return the sum. Its ttl is set once, when it is created.

        Raises:
            TypeError: What is there is not a whole number.
            NotRunning, ProviderUnavailable: As `set`.
        """
        return await self._ops.incr(ON_LOOP, key, amount)

    async def contains(self, key: str) -> bool:
        """Tell whether `get` would find something."""
        return await self._ops.get(ON_LOOP, key, MISSING) is not MISSING

    async def keys(self, pattern: str = "*") -> list[str]:
        """Return the keys that match *pattern*."""
        return await self._ops.keys(ON_LOOP, pattern)

    async def clear(self) -> None:
        """Drop everything of this cache. Raises as `set`."""
        await self._ops.clear(ON_LOOP)

    def __call__(self, function: Any = None, /, **options: Any) -> Any:
        """
        Cache a function here: `@users`, or `@users(key="user:{user_id}")`.

        It shares the namespace and `clear()`. With `key=` its key is exactly the store's key;
        without, it starts with the function's name. Options that are left out are the cache's.

        Raises:
            InvalidOption: As `@cache`; and when this is the store of one function.
        """
        return type(self).decorated(function, options, self._as_home())

    def _as_home(self) -> Home:
        """
        Return the namespace for functions that are decorated with this cache.

        Raises:
            InvalidOption: It is the store of one function, not one that was declared.
        """
        root = self._root
        if root is None:
            msg = f"{self!r} holds the entries of one function. Declare a Cache to decorate with."
            raise InvalidOption(msg)
        return Home(lambda: root.name, root)

    @property
    def __orig_class__(self) -> object:
        """The `Cache[T]` that was called to make this; typing sets it after `__init__`."""
        return Cache if self._root is None else Cache[self._root.annotation]

    @__orig_class__.setter
    def __orig_class__(self, alias: Any) -> None:
        self.root.annotation = alias.__args__[0]


class SyncCache(Generic[T]):
    """A `Cache` for sync code: the same operations, and nothing is awaited."""

    def __init__(self, operations: _Operations) -> None:
        self._ops = operations

    @overload
    def get(self, key: str) -> T | None: ...
    @overload
    def get(self, key: str, default: D) -> T | D: ...
    def get(self, key: str, default: object = None) -> object:
        """Return the value, or *default*."""
        return drive(self._ops.get(IN_THREAD, key, default))

    def set(
        self, key: str, value: T, *, ttl: Duration | None = UNSET, tags: Iterable[str] = ()
    ) -> None:
        """Store *value*; see `Cache.set`."""
        drive(self._ops.set_many(IN_THREAD, {key: value}, ttl, tags))

    def delete(self, *keys: str) -> int:
        """Drop exactly these keys, and return how many were there."""
        return drive(self._ops.delete(IN_THREAD, keys))

    def invalidate(self, pattern: str) -> None:
        """Drop the keys that match *pattern*."""
        drive(self._ops.invalidate(IN_THREAD, pattern))

    def invalidate_tags(self, *tags: str) -> None:
        """Drop this cache's entries that have one of *tags*."""
        drive(self._ops.invalidate_tags(IN_THREAD, tags))

    def get_or_set(self, key: str, factory: Callable[[], T], *, tags: Iterable[str] = ()) -> T:
        """Return the value, or compute and store it, once."""
        return cast("T", drive(self._ops.get_or_set(IN_THREAD, key, factory, tags)).unwrap())

    def get_many(self, *keys: str | Iterable[str]) -> dict[str, T]:
        """Return what there is of *keys*."""
        return cast("dict[str, T]", drive(self._ops.get_many(IN_THREAD, _flat(keys))))

    def set_many(
        self,
        values: Mapping[str, T],
        *,
        ttl: Duration | None = UNSET,
        tags: Iterable[str] = (),
    ) -> None:
        """Store all of *values*, or none."""
        drive(self._ops.set_many(IN_THREAD, values, ttl, tags))

    def incr(self, key: str, amount: int = 1) -> int:
        """Add to a counter and return the sum."""
        return drive(self._ops.incr(IN_THREAD, key, amount))

    def contains(self, key: str) -> bool:
        """Tell whether `get` would find something."""
        return drive(self._ops.get(IN_THREAD, key, MISSING)) is not MISSING

    def keys(self, pattern: str = "*") -> list[str]:
        """Return the keys that match *pattern*."""
        return drive(self._ops.keys(IN_THREAD, pattern))

    def clear(self) -> None:
        """Drop everything of this cache."""
        drive(self._ops.clear(IN_THREAD))


def checked_key(key: object) -> str:
    """
    Return *key* if it is a text.

    Raises:
        UnstableArgument: It is not.
    """
    if not isinstance(key, str):
        msg = f"key {key!r}: the keys of a store are texts. Write for example f'user:{{user_id}}'."
        raise UnstableArgument(msg, key)
    return key


def _flat(keys: tuple[str | Iterable[str], ...]) -> list[str]:
    if len(keys) == 1 and not isinstance(keys[0], str):
        return list(keys[0])
    return [cast("str", key) for key in keys]
