"""A store without a function: what is read and written by key, in the process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from frame import OURS, Case, compete, loop_over

from stillfresh import App, Cache

if TYPE_CHECKING:
    from run import Scale

TTL = 300
LIMIT = 10_000
KEY = "user-123"
SYNC = "stillfresh, .sync"
SLOW = {"aiocache", "cashews", "dogpile.cache"}

Words = tuple[str, str, bool, dict[str, Any]]
"""How a contestant is asked for a value, and how it is given one; whether that is awaited."""


def contestants() -> dict[str, Words]:
    """Return how the others are used, of those who are installed."""
    found: dict[str, Words] = {}
    try:
        import cachetools

        table: Any = cachetools.TTLCache(LIMIT, TTL)
        found["cachetools"] = ("store[key]", "store.__setitem__(key, 1)", False, {"store": table})
    except ImportError:
        pass
    try:
        import cachebox

        table = cachebox.TTLCache(LIMIT, TTL)
        found["cachebox"] = ("store[key]", "store.__setitem__(key, 1)", False, {"store": table})
    except ImportError:
        pass
    try:
        from cashews import Cache as Cashews

        cashews = Cashews()
        cashews.setup("mem://", size=LIMIT)
        found["cashews"] = (
            "store.get(key)",
            "store.set(key, 1, expire=300)",
            True,
            {"store": cashews},
        )
    except ImportError:
        pass
    try:
        import aiocache

        found["aiocache"] = (
            "store.get(key)",
            "store.set(key, 1, ttl=300)",
            True,
            {"store": aiocache.SimpleMemoryCache()},
        )
    except ImportError:
        pass
    try:
        from dogpile.cache import make_region

        region = make_region().configure("dogpile.cache.memory", expiration_time=TTL)
        found["dogpile.cache"] = ("store.get(key)", "store.set(key, 1)", False, {"store": region})
    except ImportError:
        pass
    return found


def store(scale: Scale) -> list[Case]:
    """Get what is there; and set what is new, where an old entry has to leave."""
    getting = Case("store-get", "Get from a store, warm", "ns", measure=OURS)
    setting = Case("store-set", "Set into a full store, 10,000 entries", "ns", measure=OURS)
    setting.note = "aiocache and dogpile.cache know no limit: nothing leaves."

    async def run() -> None:
        ours: Cache[int] = Cache(name="numbers", ttl=TTL)
        async with App():
            words: dict[str, Words] = {
                OURS: ("store.get(key)", "store.set(key, 1)", True, {"store": ours}),
                SYNC: ("store.get(key)", "store.set(key, 1)", False, {"store": ours.sync}),
                **contestants(),
            }
            plays: dict[str, Any] = {}
            for case, which in ((setting, 1), (getting, 0)):
                for name, (get, put, wait, names) in words.items():
                    loops = scale.loops // (20 if name in SLOW else 4)
                    call = (get, put)[which].replace("key", "keys[number]")
                    keys = "f'{turn}-{n}'" if which else "KEY"
                    plays[name] = loop_over(
                        call,
                        wait=wait,
                        loops=loops,
                        setup=f"keys = [{keys} for n in range({loops})]",
                        KEY=KEY,
                        **names,
                    )
                    for number in range(LIMIT if which else 1):
                        put_one = eval(  # noqa: S307  # the text is ours
                            put, {"key": f"first-{number}" if which else KEY, **names}
                        )
                        if wait:
                            await put_one
                await compete(case, plays, scale.rounds)

    asyncio.run(run())
    for name in ("cashews", "aiocache"):
        getting.times_ours(name, 1.0)
    return [getting, setting]


CASES = {"store": store}
