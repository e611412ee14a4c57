"""The bugs of the field: what HTTP caches in front of others gave to the wrong client."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from stillfresh import App, HttpCacheMiddleware, http_cache
from stillfresh.testing import VirtualClock


@pytest.fixture
async def serve(lab):
    """Puts the cache in front of one cached page, and returns its client."""
    async with App(clock=VirtualClock()) as app:

        def make(endpoint, **options):
            cached = http_cache("1 minute", **options)(endpoint)
            asgi = Starlette(routes=[Route("/", cached, methods=["GET", "HEAD"])])
            return lab.Client(HttpCacheMiddleware(asgi, cache_app=app))

        yield make


async def test_ocache_030_authority(serve):
    """The host that was asked is in the key: two tenants of one server share nothing."""

    async def page(request):
        return PlainTextResponse(request.headers["host"])

    get = serve(page)
    for _ in range(2):
        assert (await get("/", {"Host": "a.example"})).text == "a.example"
        assert (await get("/", {"Host": "b.example"})).text == "b.example"


@pytest.mark.parametrize("public", [False, True])
async def test_ocache_030_set_cookie(serve, public):
    """The cookie that one client got is not set for another one."""
    runs = []

    async def page(request):
        runs.append(1)
        response = PlainTextResponse("hello")
        response.set_cookie("session", f"secret-{len(runs)}")
        return response

    get = serve(page, public=public)
    first, second = await get("/"), await get("/")
    assert "secret-1" in first.get("set-cookie")
    assert "secret-1" not in (second.get("set-cookie") or "")


async def test_ocache_030_304_and_head(serve):
    """Neither what answered a condition nor what answered HEAD is what a plain GET gets."""

    async def page(request):
        if request.headers.get("if-none-match") == '"mine"':
            return Response(status_code=304, headers={"ETag": '"mine"'})
        if request.method == "HEAD":
            return Response(headers={"ETag": '"mine"'})
        return PlainTextResponse("body", headers={"ETag": '"mine"'})

    get = serve(page, public=True)
    assert (await get("/", method="HEAD")).body == b""
    assert (await get("/", {"If-None-Match": '"mine"'})).status == 304
    for _ in range(2):
        got = await get("/")
        assert (got.status, got.text) == (200, "body")


async def test_ocache_030_redirect_to_login(serve):
    """That one client has to log in is nothing that another one is told."""

    async def page(request):
        if "authorization" not in request.headers:
            return RedirectResponse("/login", 302)
        return PlainTextResponse("welcome")

    get = serve(page)
    assert (await get("/")).status == 302
    assert (await get("/", {"Authorization": "ann"})).text == "welcome"
    assert (await get("/")).status == 302


async def test_ocache_030_fields_outside_the_key(serve):
    """What a handler reads of a request that the key lacks is not served to who sent something else."""

    async def page(request):
        return PlainTextResponse(request.headers.get("x-tenant", "nobody"))

    get = serve(page)
    assert (await get("/", {"X-Tenant": "a"})).text == "a"
    assert (await get("/", {"X-Tenant": "b"})).text == "b"
    assert (await get("/")).text == "nobody"


@pytest.mark.parametrize("status", [500, 503, 404, 201])
async def test_ocache_030_s_maxage_of_what_is_not_stored(serve, status):
    """No cache behind ours is told to keep what we do not keep."""
    runs = []

    async def page(request):
        runs.append(1)
        return PlainTextResponse("broken", status)

    get = serve(page, public=True)
    got = await get("/")
    stored = (await get("/")).hit
    assert stored or "s-maxage" not in (got.get("cache-control") or "")
    assert stored or "max-age" not in (got.get("cache-control") or "").replace("max-age=0", "")
    assert not (stored and status >= 500)
