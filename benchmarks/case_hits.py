"""Warm hits and misses, in the process: ours, and everybody's decorator with a time to live."""

from __future__ import annotations

import asyncio
import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from frame import OURS, Case, compete, loop_over

from stillfresh import App, cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from run import Scale

TTL = 300
LIMIT = 10_000
KEY = "user-123"
LEAST = "a task and a future"


def async_peers() -> dict[str, Callable[[Any], Any]]:
    """Return the decorators of those who are installed, for coroutine functions."""
    peers: dict[str, Callable[[Any], Any]] = {}
    try:
        from async_lru import alru_cache

        peers["async-lru"] = alru_cache(maxsize=LIMIT, ttl=TTL)
    except ImportError:
        pass
    try:
        import cachebox

        peers["cachebox"] = cachebox.cached(cachebox.TTLCache(LIMIT, TTL))
    except ImportError:
        pass
    try:
        import theine

        peers["theine"] = theine.Memoize(LIMIT, timedelta(seconds=TTL))
    except ImportError:
        pass
    try:
        from cashews import cache as cashews

        cashews.setup("mem://", size=LIMIT)
        peers["cashews"] = cashews(ttl=TTL)
    except ImportError:
        pass
    try:
        import aiocache

        peers["aiocache"] = aiocache.cached(ttl=TTL)
    except ImportError:
        pass
    try:
        from fastapi_cache import FastAPICache
        from fastapi_cache.backends.inmemory import InMemoryBackend
        from fastapi_cache.decorator import cache as fastapi_cache

        FastAPICache.init(InMemoryBackend())
        peers["fastapi-cache2"] = fastapi_cache(expire=TTL)
    except ImportError:
        pass
    return peers


def sync_peers() -> dict[str, Callable[[Any], Any]]:
    """Return the decorators of those who are installed, for plain functions."""
    peers: dict[str, Callable[[Any], Any]] = {"lru_cache": functools.lru_cache(maxsize=LIMIT)}
    try:
        import cachetools

        peers["cachetools"] = cachetools.cached(cachetools.TTLCache(LIMIT, TTL))
    except ImportError:
        pass
    try:
        import cachebox

        peers["cachebox"] = cachebox.cached(cachebox.TTLCache(LIMIT, TTL))
    except ImportError:
        pass
    try:
        import theine

        peers["theine"] = theine.Memoize(LIMIT, timedelta(seconds=TTL))
    except ImportError:
        pass
    try:
        from dogpile.cache import make_region

        region = make_region().configure("dogpile.cache.memory", expiration_time=TTL)
        peers["dogpile.cache"] = region.cache_on_arguments()
    except ImportError:
        pass
    try:
        import tempfile

        import diskcache

        peers["diskcache"] = diskcache.Cache(tempfile.mkdtemp()).memoize(expire=TTL)
    except ImportError:
        pass
    return peers


async def bare(user_id: str) -> str:
    return user_id


class Users:
    """A service with methods that are cached."""

    @cache(ttl=TTL)
    async def method(self, user_id: str) -> str:
        return user_id

    @cache(ttl=TTL, tags=["user:{user_id}"])
    async def tagged(self, user_id: str) -> str:
        return user_id


def hit_async(scale: Scale) -> list[Case]:
    """A warm hit of a coroutine function with one argument."""
    case = Case("hit-async", "Warm hit, async, one argument", "ns", measure="bare await")

    async def run() -> None:
        @cache(ttl=TTL)
        async def ours(user_id: str) -> str:
            return user_id

        functions: dict[str, Any] = {"bare await": bare, OURS: ours}
        for name, decorate in async_peers().items():

            async def theirs(user_id: str) -> str:
                return user_id

            functions[name] = decorate(theirs)
        slow = {"cashews", "aiocache", "fastapi-cache2"}
        plays = {
            name: loop_over(
                "f(KEY)", wait=True, loops=scale.loops // (20 if name in slow else 1), f=f, KEY=KEY
            )
            for name, f in functions.items()
        }
        await compete(case, plays, scale.rounds)

    asyncio.run(run())
    ours = case.row(OURS)
    case.goal("times a bare await", scale.pick(2.2, 2.5), ours and ours.ratio)
    for name, times in (("cashews", 100), ("aiocache", 60), ("async-lru", 3.5), ("cachebox", 2.5)):
        case.times_ours(name, times)
    return [case]


def hit_shapes(scale: Scale) -> list[Case]:
    """Warm hits of ours alone: a method, a keyword, three parameters, tags."""
    case = Case("hit-shapes", "Warm hit of ours, by shape", "ns", measure="bare await")

    async def run() -> None:
        @cache(ttl=TTL)
        async def one(user_id: str) -> str:
            return user_id

        @cache(ttl=TTL)
        async def three(user_id: str, lang: str = "en", page: int = 1) -> str:
            return f"{user_id}{lang}{page}"

        async with App(Users) as app:
            users = app.get(Users)
            calls: dict[str, tuple[str, dict[str, Any]]] = {
                "bare await": ("f(KEY)", {"f": bare}),
                "one argument": ("f(KEY)", {"f": one}),
                "keyword": ("f(user_id=KEY)", {"f": one}),
                "method": ("users.method(KEY)", {"users": users}),
                "tagged method": ("users.tagged(KEY)", {"users": users}),
                "three parameters": ("f(KEY, page=7)", {"f": three}),
            }
            plays = {
                name: loop_over(call, wait=True, loops=scale.loops, KEY=KEY, **names)
                for name, (call, names) in calls.items()
            }
            await compete(case, plays, scale.rounds)

    asyncio.run(run())
    for name in ("one argument", "method"):
        row = case.row(name)
        case.goal(f"{name}, times a bare await", scale.pick(2.2, 2.5), row and row.ratio)
    row = case.row("three parameters")
    case.goal("three parameters, times a bare await", 3.5, row and row.ratio)
    return [case]


def hit_sync(scale: Scale) -> list[Case]:
    """A warm hit of a plain function."""
    case = Case("hit-sync", "Warm hit, sync, one argument", "ns", measure="lru_cache")

    @cache(ttl=TTL)
    def ours(user_id: str) -> str:
        return user_id

    functions: dict[str, Any] = {OURS: ours}
    for name, decorate in sync_peers().items():

        def theirs(user_id: str) -> str:
            return user_id

        functions[name] = decorate(theirs)
    slow = {"dogpile.cache", "diskcache"}
    plays = {
        name: loop_over(
            "f(KEY)", wait=False, loops=scale.loops // (20 if name in slow else 1), f=f, KEY=KEY
        )
        for name, f in functions.items()
    }
    asyncio.run(compete(case, plays, scale.rounds))
    row = case.row("lru_cache")
    if row is not None:
        row.note = "without a time to live"
    ours_row = case.row(OURS)
    case.goal("times lru_cache", 2.8, ours_row and ours_row.ratio)
    case.times_ours("dogpile.cache", 40)
    return [case]


async def least(user_id: str) -> str:
    """Do what no miss can do without whose caller may be cancelled alone: a task, and a future."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    async def lead() -> None:
        answer.set_result(await bare(user_id))

    task = loop.create_task(lead())
    await answer
    del task  # kept until here
    return answer.result()


def miss(scale: Scale) -> list[Case]:
    """A call whose key is new: computed, stored, returned."""
    case = Case("miss", "Miss, async: compute and store", "ns", measure="async-lru")

    async def run() -> None:
        @cache(ttl=TTL)
        async def ours(user_id: str) -> str:
            return user_id

        functions: dict[str, Any] = {OURS: ours, LEAST: least}
        for name, decorate in async_peers().items():

            async def theirs(user_id: str) -> str:
                return user_id

            functions[name] = decorate(theirs)
        plays = {
            name: loop_over(
                "f(keys[number])",
                wait=True,
                loops=scale.loops // 20,
                setup=f"keys = [f'{{turn}}-{{n}}' for n in range({scale.loops // 20})]",
                f=f,
            )
            for name, f in functions.items()
        }
        if "async-lru" not in functions:
            case.measure = OURS
        await compete(case, plays, scale.rounds)

    asyncio.run(run())
    ours, floor = case.row(OURS), case.row(LEAST)
    if floor is not None:
        floor.note = "what no miss can do without"
    case.goal("times async-lru", 1.0, ours and ours.ratio)
    case.note = "cachebox and theine compute in the caller: when that one is cancelled, all are."
    return [case]


CASES = {"hit-async": hit_async, "hit-shapes": hit_shapes, "hit-sync": hit_sync, "miss": miss}
