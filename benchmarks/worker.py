"""One of the processes of `case_server`: many callers of one cold key."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

calls = 0


async def slow(number: int) -> int:
    global calls  # noqa: PLW0603  # it is what is counted
    calls += 1
    await asyncio.sleep(0.1)
    return number


async def decorated(name: str, url: str, stack: AsyncExitStack) -> Any:
    """Return `slow`, cached on the server by the one that *name* names."""
    if name == "stillfresh":
        from stillfresh import App, CacheProvider, RedisCacheProvider, cache

        await stack.enter_async_context(
            App().provide(CacheProvider, lambda: RedisCacheProvider(url))
        )
        return cache(ttl=300, name="slow")(slow)
    if name.startswith("cashews"):
        from cashews import Cache

        cashews = Cache()
        cashews.setup(url, max_connections=1_000)
        stack.push_async_callback(cashews.close)
        return cashews(ttl=300, key=f"{name}:{{number}}", lock="lock" in name)(slow)
    import aiocache

    return aiocache.cached_stampede(
        cache=aiocache.RedisCache,
        endpoint="127.0.0.1",
        port=int(url.rpartition(":")[2]),
        pool_max_size=1_000,
        ttl=300,
        lease=2,
        key_builder=lambda _, number: f"aiocache:{number}",
    )(slow)


async def main(name: str, url: str, number: int, callers: int) -> None:
    """Get ready, wait for the others, and go."""
    async with AsyncExitStack() as stack:
        function = await decorated(name, url, stack)
        await function(-1 - number)  # connected
        global calls  # noqa: PLW0603  # the function counts there
        calls = 0
        gc.collect()  # what the start has left: it would be counted as waiting
        print("ready")
        await asyncio.to_thread(sys.stdin.readline)
        begin = time.perf_counter()
        await asyncio.gather(*(function(number) for _ in range(callers)))
        print((time.perf_counter() - begin) * 1e3, calls)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
