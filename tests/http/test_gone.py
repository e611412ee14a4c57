"""Clients that go, as servers tell it: by a message, while what is sent to them is dropped."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from stillfresh import App, HttpCache, HttpCacheMiddleware, action, http_cache

FORMER = {"asgi": {"version": "3.0", "spec_version": "2.3"}}
"""What most servers say: `send` does not tell that the client has gone."""


class Endless:
    """A stream that ends only if somebody ends it."""

    def __init__(self, piece=b"data: x\n\n", **options):
        self.begun, self.ended = asyncio.Event(), asyncio.Event()
        self.piece, self.options = piece, options

    async def pieces(self):
        try:
            while True:
                yield self.piece
                self.begun.set()
                await asyncio.sleep(0)
        finally:
            self.ended.set()

    def response(self):
        return StreamingResponse(self.pieces(), **self.options)


STREAMS = {
    "events": {"media_type": "text/event-stream"},
    "no-store": {"headers": {"cache-control": "no-store"}},
    "unmarked lines": {"media_type": "application/x-ndjson", "headers": {"expires": "0"}},
    "too long": {"piece": b"x" * 600, "headers": {"cache-control": "max-age=60"}},
}


async def goes(get, target, stream):
    """Ask, read a piece, and go: the server says so when it is asked, and drops what comes."""
    gone = asyncio.Event()
    asked = []

    async def receive():
        if not asked:
            asked.append(1)
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    task = asyncio.create_task(get.app(get.scope("GET", target, (), **FORMER), receive, send))
    await stream.begun.wait()
    gone.set()
    async with asyncio.timeout(5):
        await stream.ended.wait()
        await task


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("way", ["profile", "public", "action"])
async def test_a_stream_that_is_not_kept_ends_with_its_client(lab, way, kind):
    """Also where the cache answers before routing, and asks inward by itself."""
    stream = Endless(**STREAMS[kind])

    async def page(request):
        return stream.response()

    class Api:
        @action("/", cache=HttpCache("1 minute", max_body=1000))
        async def page(self) -> StreamingResponse:
            return stream.response()

    app = App(Api)
    async with app:
        if way == "profile":
            policy = HttpCache.for_app("safe", max_body=1000)
            asgi = HttpCacheMiddleware(
                Starlette(routes=[Route("/", page)]), policy=policy, cache_app=app
            )
        elif way == "public":
            cached = http_cache("1 minute", public=True, max_body=1000)(page)
            asgi = HttpCacheMiddleware(Starlette(routes=[Route("/", cached)]), cache_app=app)
        else:
            asgi = app
        get = lab.Client(asgi)
        for _ in range(3):  # unknown, known, and not waited for
            await goes(get, "/", stream)
            stream.begun, stream.ended = asyncio.Event(), asyncio.Event()


async def test_a_client_that_goes_is_not_told_to_those_who_fill_for_others(lab):
    """While the response may be kept, its handler goes on for the others, whoever led."""
    entered, go, left, asked = (asyncio.Event() for _ in range(4))
    told, runs = [], []

    async def page(request: Request):
        runs.append(1)
        entered.set()
        await left.wait()
        told.append(await request.is_disconnected())
        asked.set()
        await go.wait()
        return PlainTextResponse("page", headers={"cache-control": "max-age=60"})

    async def receive():
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    async with App() as app:
        site = HttpCacheMiddleware(
            Starlette(routes=[Route("/", page)]), profile="safe", cache_app=app
        )
        get = lab.Client(site)
        leader = asyncio.create_task(site(get.scope("GET", "/", (), **FORMER), receive, send))
        await entered.wait()
        followers = [asyncio.create_task(get("/")) for _ in range(3)]
        left.set()
        await asked.wait()
        go.set()
        assert {(await one).text for one in followers} == {"page"}
        await leader
        assert told == [False]
        assert len(runs) == 1
