"""G6 in any order: a path that drops its oldest serves nobody another response, or an old one."""

import asyncio
import random

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from stillfresh import App, CacheProvider, HttpCacheMiddleware, RedisCacheProvider, http_cache
from stillfresh.testing import VirtualClock

QUERIES = ("", "?q=1", "?q=2", "?q=3", "?vary=1", "?vary=2")


class Orders:
    """Clients that ask, change and invalidate in an order of their own, at the same time."""

    def __init__(self, lab, seed, app, **options):
        self.random = random.Random(seed)
        self.app = app
        self.version = self.invalidated = 0
        cached = http_cache("1 minute", tags=["all"], **options)(self.page)
        routes = [Route(path, cached) for path in ("/a", "/b")]
        routes += [Route(path, self.change, methods=["POST"]) for path in ("/a", "/b")]
        self.get = lab.Client(HttpCacheMiddleware(Starlette(routes=routes), cache_app=app))

    async def page(self, request):
        version, query = self.version, request.url.query
        language = request.headers["x-language"] if "vary" in query else ""
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        text = f"{request.url.path} {query} {language} {version}"
        return Response(text, headers={"vary": "X-Language"} if language else {})

    async def change(self, request):
        return Response()

    async def ask(self, path, query):
        least, language = self.invalidated, self.random.choice("de")
        got = await self.get(path + query, {"x-language": language})
        *what, version = got.text.split(" ")
        assert what == [path, query[1:], language if "vary" in query else ""]
        assert int(version) >= least

    async def client(self):
        for _ in range(60):
            path, chance = self.random.choice(["/a", "/b"]), self.random.random()
            if chance < 0.05:
                await self.app.invalidate_tags("all")
            elif chance < 0.08:
                await self.get(path, method="POST")
            elif chance < 0.15 and isinstance(self.app.clock, VirtualClock):
                self.app.clock.advance(self.random.choice([1, 20, 45, 70, 100]))
            else:
                await self.ask(path, self.random.choice(QUERIES))

    async def writer(self):
        for _ in range(15):
            for _ in range(self.random.randrange(12)):
                await asyncio.sleep(0)
            self.version += 1
            version = self.version
            await self.app.invalidate_tags("all")
            self.invalidated = version

    async def play(self):
        await asyncio.gather(*(self.client() for _ in range(4)), self.writer())
        for query in QUERIES:
            await self.ask("/a", query)
            await self.ask("/b", query)
        await self.app.settled()


@pytest.mark.parametrize("seed", range(16))
async def test_dropping_the_oldest_keeps_all_promises(lab, seed, request):
    """Each gets its own, nothing older than the last invalidation, and no path has too many."""
    most, app = 1 + seed % 3, App()
    options = {"public": True, "stale": "30 seconds"} if seed % 2 else {}
    if seed % 4 == 3:
        provider = RedisCacheProvider(
            request.getfixturevalue("url"), prefix=request.getfixturevalue("prefix")
        )
        app.provide(CacheProvider, provider)
    else:
        app = App(clock=VirtualClock())
    async with app:
        orders = Orders(lab, seed, app, max_entries=most, **options)
        await orders.play()
        kept = await app.guards[0].provider.keys(f"http:{__name__}.Orders.page")
        assert 2 <= len(kept) <= 2 * most
