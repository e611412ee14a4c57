"""The operations of a `Cache` as users call them, to be awaited or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast, overload

from ..computing.drivers import IN_THREAD, ON_LOOP, drive
from ..entry import MISSING
from .operations import UNSET, flat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from ..durations import Duration
    from ..services.listed import Stats
    from .operations import StoreHome, StoreOperations
    from .root import Root

T = TypeVar("T")
D = TypeVar("D")


class Store(Generic[T]):
    """What can be done by hand with a `Cache`, also with that of one function."""

    _root: Root | None = None
    """What was declared; None where it holds the entries of one function."""
    _home: StoreHome
    _ops: StoreOperations

    def __eq__(self, other: object) -> bool:
        """Both are over the same entries: a store, and the `cache` of a function under it."""
        return isinstance(other, Store) and self._home.what() == other._home.what()

    def __hash__(self) -> int:
        return hash(self._home.what())

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
    async def get(self, key: str, default: T) -> T: ...  # so that [] and {} are of its type
    @overload
    async def get(self, key: str, default: D) -> T | D: ...
    async def get(self, key: str, default: object = None) -> object:
        """
        Return the value, or *default*.

        Raises:
            ProviderUnavailable: The provider did not answer.
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
        await self._ops.set(ON_LOOP, key, value, ttl, tags)

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
        ttl: Duration | None = UNSET,
        tags: Iterable[str] = (),
    ) -> T:
        """
        Return the value, or compute and store it: once, however many ask at a time.

        *ttl* is of what is computed; omitted it is the cache's own, None is for ever. A *factory*
        that assigns `computation().ttl` has the last word.

        Raises:
            InvalidDuration: A *ttl* that cannot be read.
            InvalidOption: *factory* cannot be called.
            NotSerializable: The value would not come back as it is.
        """
        answer = await self._ops.get_or_set(ON_LOOP, key, factory, ttl, tags)
        return cast("T", answer.unwrap())

    async def get_many(self, *keys: str | Iterable[str]) -> dict[str, T]:
        """Return what there is of *keys*, given one by one or as one list. Raises as `get`."""
        return cast("dict[str, T]", await self._ops.get_many(ON_LOOP, flat(keys)))

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
            TypeError: What is there is not a whole number, or values of this cache never are one,
                or the sum has more than 64 bits where the provider keeps bytes.
            NotRunning, ProviderUnavailable: As `set`.
        """
        return await self._ops.incr(ON_LOOP, key, amount)

    async def contains(self, key: str) -> bool:
        """Tell whether `get` would find something. Raises as `get`."""
        return await self._ops.get(ON_LOOP, key, MISSING) is not MISSING

    async def keys(self, pattern: str = "*") -> list[str]:
        """Return the keys that match *pattern*. Raises as `get`."""
        return await self._ops.keys(ON_LOOP, pattern)

    async def clear(self) -> None:
        """Drop everything of this cache. Raises as `set`."""
        await self._ops.clear(ON_LOOP)


class SyncCache(Generic[T]):
    """A `Cache` for sync code: the same operations, nothing is awaited, and it raises the same."""

    def __init__(self, operations: StoreOperations) -> None:
        self._ops = operations

    @overload
    def get(self, key: str) -> T | None: ...
    @overload
    def get(self, key: str, default: T) -> T: ...
    @overload
    def get(self, key: str, default: D) -> T | D: ...
    def get(self, key: str, default: object = None) -> object:
        """Return the value, or *default*."""
        return drive(self._ops.get(IN_THREAD, key, default))

    def set(
        self, key: str, value: T, *, ttl: Duration | None = UNSET, tags: Iterable[str] = ()
    ) -> None:
        """Store *value*; see `Store.set`."""
        drive(self._ops.set(IN_THREAD, key, value, ttl, tags))

    def delete(self, *keys: str) -> int:
        """Drop exactly these keys, and return how many were there."""
        return drive(self._ops.delete(IN_THREAD, keys))

    def invalidate(self, pattern: str) -> None:
        """Drop the keys that match *pattern*."""
        drive(self._ops.invalidate(IN_THREAD, pattern))

    def invalidate_tags(self, *tags: str) -> None:
        """Drop this cache's entries that have one of *tags*."""
        drive(self._ops.invalidate_tags(IN_THREAD, tags))

    def get_or_set(
        self,
        key: str,
        factory: Callable[[], T],
        *,
        ttl: Duration | None = UNSET,
        tags: Iterable[str] = (),
    ) -> T:
        """Return the value, or compute and store it, once; see `Store.get_or_set`."""
        answer = drive(self._ops.get_or_set(IN_THREAD, key, factory, ttl, tags))
        return cast("T", answer.unwrap())

    def get_many(self, *keys: str | Iterable[str]) -> dict[str, T]:
        """Return what there is of *keys*."""
        return cast("dict[str, T]", drive(self._ops.get_many(IN_THREAD, flat(keys))))

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
