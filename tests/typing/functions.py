"""Cached functions have the types of the function. Only type-checked, never run."""

import asyncio
from contextvars import ContextVar
from datetime import timedelta
from typing import Literal, Protocol, assert_type

import msgspec

from stillfresh import (
    MISSING,
    Cache,
    Cached,
    MemoryCacheProvider,
    MemoryTier,
    SyncCached,
    cache,
)

tenant: ContextVar[str] = ContextVar("tenant")


@cache
async def bare(number: int, *, flag: bool = False) -> str:
    return f"{number}{flag}"


@cache(ttl="10 minutes", tags=["products", "product:{number}"], stale=30)
async def optioned(number: int) -> list[str]:
    return [str(number)]


@cache(ttl=timedelta(minutes=1), key="n:{number}")
def sync(number: int) -> str | None:
    return str(number)


def declared(function: Cached[[int], str], other: SyncCached[[int], str]) -> None:
    """A parameter can say that it wants a cached function."""
    del function, other


async def calling() -> None:
    assert_type(await bare(1, flag=True), str)
    assert_type(await optioned(number=1), list[str])
    assert_type(sync(1), str | None)
    declared(optioned_str, sync_str)

    await bare("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bare(1, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await optioned()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sync("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def together() -> None:
    """What is gathered keeps its types, also where they differ."""
    assert_type(await asyncio.gather(bare(1), optioned(1)), tuple[str, list[str]])
    one, other = await asyncio.gather(bare(1), optioned(1))
    assert_type(one, str)
    assert_type(other, list[str])
    task = asyncio.create_task(bare(1))
    assert_type(await task, str)


class Getter(Protocol):
    async def __call__(self, number: int) -> list[str]: ...


class SyncGetter(Protocol):
    def __call__(self, number: int) -> str | None: ...


def injected(get: Getter, sync_get: SyncGetter) -> None:
    del get, sync_get


async def as_protocols() -> None:
    """What is written as a function's Protocol takes a cached one."""
    injected(optioned, sync)
    injected(bare, sync)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def controls() -> None:
    assert_type(await bare.invalidate(1), None)
    assert_type(await bare.refresh(1), str)
    assert_type(bare.key(1, flag=True), str)
    assert_type(sync.refresh(1), str | None)
    assert_type(bare.stats.hits, int)
    assert_type((await bare.explain(1)).status, Literal["hit", "stale", "miss"])
    await bare.expire(1)
    await bare.invalidate_matching("1*")
    await bare.clear()
    assert_type(await bare.cache.get("k"), str | None)
    assert_type(bare.cache, Cache[str])
    assert_type(sync.cache, Cache[str | None])
    assert_type(bare.__name__ + sync.__qualname__, str)

    await bare.invalidate("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bare.expire("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bare.refresh("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bare.peek("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bare.explain()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    bare.key("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sync.invalidate("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sync.key()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def storing() -> None:
    await bare.store("value", 1)
    await bare.store("value", 1, flag=True)
    sync.store(None, 1)

    await bare.store(b"value", 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bare.store("value", "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bare.store("value")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sync.store(1, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def peeking() -> None:
    found = await bare.peek(1)
    if found is MISSING:
        found = "nothing"
    assert_type(found, str)
    there = sync.peek(1)
    if there is not MISSING:
        assert_type(there, str | None)


async def decorating() -> None:
    cache("5 minutes")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    cache(tll=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    cache(errors=(KeyError, OSError), vary=tenant, memory="1 minute", enabled=lambda: True)
    cache(errors=lambda error: isinstance(error, OSError), vary=[tenant, lambda: 1], memory=True)
    cache(provider="memory", serializer=msgspec.json, when=bool, returns=list[str], ttl=None)
    cache(provider=MemoryCacheProvider, memory=MemoryTier("1 minute"), stale=(1, "minute"))
    cache(errors=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    cache(vary=3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    cache(memory=object())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    cache(provider="redis")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    cache(serializer=7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    cache(enabled="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    cache(ttl=object())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


@cache
async def optioned_str(number: int) -> str:
    return str(number)


@cache
def sync_str(number: int) -> str:
    return str(number)
