"""A whole application behind the cache, in which some routes have a policy of their own."""

import asyncio

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from stillfresh import App, HttpCacheMiddleware, http_cache


class Page:
    """The routes of one application, and how often their handler ran."""

    def __init__(self, kind):
        self.runs = 0
        self.entered, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.fields = {}
        if kind == "starlette":
            own = http_cache("1 minute")(self.starlette)
            public = http_cache("1 minute", public=True)(self.starlette)
            self.site = Starlette(routes=[Route("/own", own), Route("/public", public)])
        else:
            self.site = FastAPI()
            self.site.get("/own")(http_cache("1 minute")(self.fastapi))
            self.site.get("/public")(http_cache("1 minute", public=True)(self.fastapi))
            self.site.get("/guarded", dependencies=[Depends(self.guard)])(
                http_cache("1 minute")(self.fastapi)
            )

    async def answer(self):
        self.runs += 1
        self.entered.set()
        await self.go.wait()
        return Response(f"run {self.runs}", headers=self.fields)

    async def starlette(self, request):
        return await self.answer()

    async def fastapi(self) -> Response:
        return await self.answer()

    async def guard(self, request: Request) -> None:
        if request.headers.get("token") != "open":
            raise HTTPException(403)


@pytest.fixture(params=["fastapi", "starlette"])
async def page(request, lab):
    made = Page(request.param)
    async with App() as app:
        made.get = lab.Client(HttpCacheMiddleware(made.site, profile="safe", cache_app=app))
        yield made


@pytest.mark.parametrize("target", ["/own", "/public"])
async def test_the_first_response_is_stored(page, target):
    """Nothing is known of the URL, and yet the policy of its route counts at once."""
    one, two = await page.get(target), await page.get(target)
    assert one.cache == "fwd=uri-miss; stored"
    assert "max-age=60" in one.get("cache-control")
    assert two.hit
    assert (two.get("etag"), two.text) == (one.get("etag"), "run 1")
    three = await page.get(target, {"If-None-Match": one.get("etag")})
    assert three.status == 304


@pytest.mark.parametrize("target", ["/own", "/public"])
async def test_a_first_condition_is_answered(page, target):
    """The request that finds the route has its own conditions."""
    assert (await page.get(target, {"If-None-Match": "*"})).status == 304
    assert (await page.get(target)).hit


@pytest.mark.parametrize("target", ["/own", "/public"])
async def test_those_who_come_at_once_share_one_run(page, target):
    """http-rules.md G1, also for the first requests of a URL."""
    found = await asyncio.gather(*[page.get(target) for _ in range(10)])
    assert {one.text for one in found} == {"run 1"}
    assert page.runs == 1


async def test_those_who_come_at_once_share_nothing_that_is_private(page):
    """http-rules.md G2: each has a response of its own."""
    page.fields = {"cache-control": "private"}
    found = await asyncio.gather(*[page.get("/own") for _ in range(5)])
    assert {one.text for one in found} == {f"run {n}" for n in range(1, 6)}


async def test_a_leader_that_leaves_takes_nobody_along(page):
    """The run that its request has begun is finished for the others."""
    page.go.clear()
    leader = asyncio.create_task(page.get("/own"))
    await page.entered.wait()
    others = [asyncio.create_task(page.get("/own")) for _ in range(3)]
    await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    page.go.set()
    assert {(await one).text for one in others} == {"run 1"}
    assert page.runs == 1


async def test_guards_go_first_from_the_first_request_on(lab):
    """What was stored of a guarded route is for those whom the guard lets pass."""
    page = Page("fastapi")
    async with App() as app:
        get = lab.Client(HttpCacheMiddleware(page.site, profile="safe", cache_app=app))
        assert (await get("/guarded")).status == 403
        assert (await get("/guarded", {"token": "open"})).text == "run 1"
        assert (await get("/guarded")).status == 403
        assert (await get("/guarded", {"token": "open"})).hit


async def test_a_stream_goes_on_at_once(lab):
    """Also if its first request has found the route."""
    first, second = asyncio.Event(), asyncio.Event()

    async def pieces():
        yield b"one"
        await second.wait()
        yield b"two"

    async def page(request):
        return StreamingResponse(pieces())

    site = Starlette(routes=[Route("/", http_cache("1 minute")(page))])
    async with App() as app:
        get = lab.Client(HttpCacheMiddleware(site, profile="safe", cache_app=app))
        asking = asyncio.create_task(
            get("/", on_message=lambda message: message.get("body") == b"one" and first.set())
        )
        await first.wait()
        second.set()
        assert (await asking).body == b"onetwo"
        assert (await get("/")).hit


async def test_an_endpoint_that_comes_too_late_changes_nothing(lab):
    """Something around it has answered before it is reached; nobody takes that over."""
    runs = []

    async def page(request):
        runs.append(1)
        return Response("page")

    site = Starlette(routes=[Route("/", http_cache("1 minute")(page))])

    async def hasty(scope, receive, send):
        fields = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"soon"})

        async def nowhere(message):
            pass

        await site(scope, receive, nowhere)

    async with App() as app:
        get = lab.Client(HttpCacheMiddleware(hasty, profile="safe", cache_app=app))
        for number in range(1, 3):
            got = await get("/")
            assert (got.status, got.text, got.hit) == (200, "soon", False)
            assert len(runs) == number
