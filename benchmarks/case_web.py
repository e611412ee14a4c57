"""Responses over ASGI: a hit and a 304 of ours, beside others, and what a bare application does."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from frame import OURS, Case, Row, compete

if TYPE_CHECKING:
    from collections.abc import Callable

    from run import Scale

BARE = "bare ASGI"
BODY = {"id": 7, "name": "a product", "tags": ["one", "two", "three"], "price": 12.5}
PATH = "/products/7"


class Client:
    """Calls an ASGI application as a server would, and keeps what it answered."""

    def __init__(self, app: Any, *fields: tuple[bytes, bytes]) -> None:
        self.app = app
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        self.body = b""
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"example.org"), (b"accept", b"*/*"), *fields],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 80),
        }

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.fields = dict(message["headers"])
            self.body = b""
        else:
            self.body += message.get("body", b"")

    async def get(self) -> None:
        await self.app(dict(self.scope), self.receive, self.send)


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answer with a constant: nothing in Python answers sooner."""
    del scope, receive
    fields = [(b"content-type", b"application/json"), (b"content-length", b"71")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"x" * 71})


async def applications(stack: AsyncExitStack) -> dict[str, Any]:
    """Return an application for each of us, started."""
    found: dict[str, Any] = {BARE: bare}
    try:
        from stillfresh import App, action

        class Products:
            """One action."""

            @action("/products/{product_id}", cache="5 minutes")
            async def product(self, product_id: int) -> dict[str, Any]:
                return dict(BODY, id=product_id)

        app = App(Products)
        await stack.enter_async_context(app)
        found[OURS] = app
    except ImportError:
        pass
    try:
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse
        from starlette.routing import Route

        def starlette() -> Any:
            async def endpoint(request: Any) -> Any:
                return JSONResponse(dict(BODY, id=int(request.path_params["product_id"])))

            return Starlette(routes=[Route("/products/{product_id}", endpoint)])

        found["Starlette, uncached"] = starlette()
        import aiocache
        from starlette_caches.middleware import CacheMiddleware

        found["starlette-caches"] = CacheMiddleware(
            starlette(), cache=aiocache.Cache(aiocache.Cache.MEMORY, ttl=300)
        )
    except ImportError:
        pass
    try:
        from fastapi import FastAPI
        from fastapi_cache import FastAPICache
        from fastapi_cache.backends.inmemory import InMemoryBackend
        from fastapi_cache.decorator import cache as fastapi_cache

        FastAPICache.init(InMemoryBackend())
        fastapi = FastAPI()

        @fastapi.get("/products/{product_id}")
        @fastapi_cache(expire=300)
        async def of_fastapi(product_id: int) -> dict[str, Any]:
            return dict(BODY, id=product_id)

        found["fastapi-cache2"] = fastapi
    except ImportError:
        pass
    try:
        import litestar

        @litestar.get("/products/{product_id:int}", cache=300)
        async def of_litestar(product_id: int) -> dict[str, Any]:
            return dict(BODY, id=product_id)

        found["Litestar"] = litestar.Litestar([of_litestar])
    except ImportError:
        pass
    return found


def timed(client: Client, loops: int) -> Callable[[], Any]:
    async def play() -> float:
        get = client.get
        begin = time.thread_time()
        for _ in range(loops):
            await get()
        return (time.thread_time() - begin) / loops * 1e6

    return play


def web(scale: Scale) -> list[Case]:
    """A response from the cache, without a server around it."""
    hits = Case("http-hit", "HTTP hit, called over ASGI", "us", measure=BARE)
    fresh = Case("http-304", "HTTP 304, called over ASGI", "us", measure=BARE)
    loops = scale.less(400, 4)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            clients, asking, wrong = {}, {}, {}
            for name, app in (await applications(stack)).items():
                client = Client(app)
                try:
                    for _ in range(3):
                        await client.get()
                except Exception as error:  # noqa: BLE001  # whatever a peer raises, it is shown
                    wrong[name] = f"{type(error).__name__}: {error}"
                    continue
                if client.status != 200 or len(client.body) < 50:
                    wrong[name] = f"answered {client.status} with {len(client.body)} bytes"
                    continue
                clients[name] = client
                tag = client.fields.get(b"etag")
                if tag is not None:
                    same = Client(app, (b"if-none-match", tag))
                    await same.get()
                    if same.status == 304:
                        asking[name] = same
            plays = {name: timed(client, loops) for name, client in clients.items()}
            await compete(hits, plays, scale.rounds)
            hits.rows += [Row(name, wrong=what) for name, what in wrong.items()]
            plays = {name: timed(client, loops) for name, client in asking.items()}
            await compete(fresh, {BARE: timed(clients[BARE], loops)} | plays, scale.rounds)

    asyncio.run(run())
    ours = hits.row(OURS)
    if ours is not None and ours.ratio is not None:
        uncached = hits.row("Starlette, uncached")
        if uncached is not None and uncached.ratio is not None:
            least = uncached.ratio / ours.ratio
            hits.note = f"ours is {least:.1f} times as fast as Starlette without a cache"
    fresh.note = "who gives no entity tag, or answers 200 to it, is not here"
    return [hits, fresh]


CASES = {"http": web}
