"""A server of its own for tests: `python worker.py PORT`; REDIS_URL and PREFIX say where the store is."""

import asyncio
import os
import sys

import redis.asyncio
import uvicorn

from stillfresh import App, CacheProvider, HttpCache, RedisCacheProvider, action


class PageApi:
    """Counts its runs where all processes see them."""

    app: App
    store: redis.asyncio.Redis

    @action("/page/{name}", cache=HttpCache("1 minute", tags=["page:{name}"]))
    async def page(self, name: str) -> str:
        await self.store.incr(f"runs:{name}")
        await asyncio.sleep(0.1)  # long enough for all of a crowd to come meanwhile
        text = await self.store.get(f"text:{name}")
        return text.decode() if text else "first"

    @action("/page/{name}", method="PUT", invalidates=["page:{name}"])
    async def change(self, name: str, text: str) -> None:
        await self.store.set(f"text:{name}", text)

    @action("/process")
    async def process(self) -> int:
        return os.getpid()


def make() -> App:
    url, prefix = os.environ["REDIS_URL"], os.environ["PREFIX"]
    api = PageApi()
    api.store = redis.asyncio.Redis.from_url(url)
    return App(api).provide(CacheProvider, RedisCacheProvider(url, prefix=prefix))


if __name__ == "__main__":
    uvicorn.run(make(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
