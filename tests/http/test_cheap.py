"""RFC 9110 15.4.5: a 304 without a handler says in Vary what its 200 would have said."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import pytest
from fastapi import FastAPI, Header, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from starlette.applications import Starlette
from starlette.routing import Route

from stillfresh import (
    App,
    HttpCache,
    HttpCacheMiddleware,
    InvalidOption,
    action,
    http_cache,
)
from stillfresh.http.engine import filling
from stillfresh.http.engine.routes import MOST_URLS
from stillfresh.testing import VirtualClock

HAS = {"if-none-match": '"v1"'}
LONG = "All work and no play. " * 100


def version(*args, **kwargs):
    return "v1"


def in_app(world, app, options):
    class Api:
        @action("/page", cache=HttpCache("1 minute", etag=version, **options))
        async def page(self) -> Response:
            return await world.answer()

    app.kinds.append(Api)
    return app


def in_fastapi(world, app, options):
    site = FastAPI()

    @site.get("/page")
    @http_cache("1 minute", etag=version, **options)
    async def page() -> Response:
        return await world.answer()

    return HttpCacheMiddleware(site, cache_app=app)


def in_starlette(world, app, options):
    async def page(request):
        return await world.answer()

    cached = http_cache("1 minute", etag=version, **options)(page)
    return HttpCacheMiddleware(Starlette(routes=[Route("/page", cached)]), cache_app=app)


def in_litestar(world, app, options):
    litestar = pytest.importorskip("litestar")

    @litestar.get("/page")
    @http_cache("1 minute", etag=version, **options)
    async def page() -> litestar.Response:
        world.runs += 1
        return litestar.Response(
            world.body(), headers=dict(world.headers), status_code=world.status
        )

    return HttpCacheMiddleware(litestar.Litestar([page]), cache_app=app)


MAKERS = {
    "app": in_app,
    "fastapi": in_fastapi,
    "starlette": in_starlette,
    "litestar": in_litestar,
}


@pytest.fixture(params=list(MAKERS))
async def site(request, lab):
    """Return what makes a route with a cheap validator, in each integration."""
    apps = []

    async def make(**options):
        app, world = App(clock=VirtualClock()), lab.World()
        asgi = MAKERS[request.param](world, app, options)
        await app.__aenter__()
        apps.append(app)
        return world, app, lab.Client(asgi)

    yield make
    for app in apps:
        await app.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"precompress": ["gzip"]}, "Accept-Encoding"),
        ({"vary_cookies": ["theme"]}, "Cookie"),
        ({"per": lambda request: "ann"}, "Cookie, Authorization"),
        ({"per": lambda request: "ann", "precompress": ["gzip"]}, None),
    ],
)
async def test_what_the_route_says_itself_is_known_at_once(site, options, expected):
    """Nothing was made yet, so nothing is remembered; the 200 says the same."""
    world, _, get = await site(**options)
    world.body = lambda: LONG
    spared = await get("/page", HAS)
    assert (spared.status, spared.body, world.runs) == (304, b"", 0)
    made = await get("/page")
    assert (made.status, made.get("etag")) == (200, 'W/"v1"')
    assert spared.get("vary") == made.get("vary")
    if expected:
        assert spared.get("vary") == expected


async def test_what_the_last_response_has_said_is_remembered(site):
    """The handler's own fields, beside those of the route, after the response has left the cache."""
    world, app, get = await site(precompress=["gzip"], tags=["all"])
    world.headers = [("vary", "Accept-Language")]
    made = await get("/page")
    await app.invalidate_tags("all")
    spared = await get("/page", HAS)
    assert (spared.status, world.runs) == (304, 1)
    assert spared.get("vary") == made.get("vary") == "Accept-Language, Accept-Encoding"
    world.headers = []
    app.clock.advance("2 minutes")
    await get("/page")
    await app.invalidate_tags("all")
    await get("/page")
    await app.invalidate_tags("all")
    assert (await get("/page", HAS)).get("vary") == "Accept-Encoding"


async def test_what_was_never_stored_is_remembered_too(site):
    """A9: `Vary: Cookie` keeps it from being stored, and is as true of the 304."""
    world, _, get = await site()
    world.headers = [("vary", "Cookie")]
    made = await get("/page")
    assert "stored" not in made.cache
    assert (await get("/page", HAS)).get("vary") == made.get("vary") == "Cookie"


async def test_an_error_says_nothing_of_the_200(site):
    """A 404 has no tag, so the 304 does not stand for it, stored or not."""
    world, app, get = await site(tags=["all"], negative_ttl={404: 5})
    world.headers = [("vary", "Accept-Language")]
    await get("/page")
    await app.invalidate_tags("all")
    world.headers, world.status = [], 404
    await get("/page")
    await app.invalidate_tags("all")
    assert (await get("/page", HAS)).get("vary") == "Accept-Language"


async def test_other_queries_are_other_responses(site):
    """What one URL has said says nothing of another one."""
    world, app, get = await site(tags=["all"], key=lambda request: str(request.query_params["n"]))
    world.headers = [("vary", "Accept-Language")]
    await get("/page?n=1")
    await app.invalidate_tags("all")
    assert (await get("/page?n=1", HAS)).get("vary") == "Accept-Language"
    assert (await get("/page?n=2", HAS)).get("vary") is None


async def test_an_old_response_tells_it(lab):
    """It is there of another version, and this process has forgotten, or was not the one to make it."""
    world, versions = lab.World(), ["v1"]
    world.headers = [("vary", "Accept-Language")]

    class Api:
        @action("/page", cache=HttpCache("1 minute", etag=lambda: versions[-1]))
        async def page(self) -> Response:
            return await world.answer()

    async with App(Api, clock=VirtualClock()) as app:
        get = lab.Client(app)
        await get("/page")
        app.clock.advance("2 minutes")
        app.server.route_of(Api.page)._varies.clear()
        versions.append("v2")
        spared = await get("/page", {"if-none-match": '"v2"'})
        assert (spared.status, spared.get("vary"), world.runs) == (304, "Accept-Language", 1)


async def test_what_stands_around_the_endpoint_has_its_say(lab):
    """CORS and compression that a user's application has of its own add to both."""
    world = lab.World()
    world.body = lambda: LONG
    async with App() as app:
        site = FastAPI()
        site.add_middleware(GZipMiddleware, minimum_size=1)
        site.add_middleware(CORSMiddleware, allow_origins=["https://a.test"])

        @site.get("/page")
        @http_cache("1 minute", etag=version, tags=["all"])
        async def page() -> Response:
            return await world.answer()

        site.add_middleware(HttpCacheMiddleware, cache_app=app)
        get = lab.Client(site)
        asks = {"origin": "https://a.test", "accept-encoding": "gzip"}
        spared = await get("/page", {**asks, **HAS})
        made = await get("/page", asks)
        assert (spared.status, made.status) == (304, 200)
        assert spared.get("access-control-allow-origin") == "https://a.test"
        assert names(spared) == {"origin"}  # nobody knows yet what would be compressed
        assert names(made) == {"origin", "accept-encoding"}
        assert names(await get("/page", asks)) == names(made)
        await app.invalidate_tags("all")
        assert names(await get("/page", {**asks, **HAS})) == names(made)


async def test_what_is_said_around_a_hit_is_for_this_client(lab):
    """A field that something around the endpoint sends to one site alone comes with its Vary."""
    world = lab.World()
    world.headers = [("vary", "X-Any")]

    def around(inner):
        async def asgi(scope, receive, send):
            site = dict(scope["headers"]).get(b"x-site")

            async def told(message):
                if site and message["type"] == "http.response.start":
                    lines = [(b"x-for-site", site), (b"vary", b"X-Site, X-Any")]
                    message["headers"] = [*message["headers"], *lines]
                await send(message)

            await inner(scope, receive, told)

        return asgi

    async with App() as app:

        async def page(request):
            return await world.answer()

        site = Starlette(routes=[Route("/page", http_cache("1 minute")(page))])
        get = lab.Client(HttpCacheMiddleware(around(site), cache_app=app))
        assert (await get("/page")).get("vary") == "X-Any"
        got = await get("/page", {"X-Site": "a"})
        assert (got.hit, got.get("x-for-site")) == (True, "a")
        assert got.get("vary") == "X-Any, X-Site"
        assert (await get("/page")).get("vary") == "X-Any"


def names(got):
    return {name.strip().lower() for name in (got.get("vary") or "").split(",")}


async def test_a_header_parameter_is_named(lab):
    """It is part of the key of an action, so it is in Vary of the 304, too."""

    class Api:
        @action("/page", cache=HttpCache("1 minute", etag=version))
        async def page(self, accept_language: Annotated[str, Header()] = "en") -> str:
            return accept_language

    async with App(Api) as app:
        get = lab.Client(app)
        assert (await get("/page", HAS)).get("vary") == "Accept-Language"
        assert (await get("/page")).get("vary") == "Accept-Language"


async def test_without_a_cache_it_is_what_the_handler_says(lab):
    """`etag=fn` alone keeps nothing, and remembers what was said."""

    class Api:
        @action("/page", etag=version)
        async def page(self, accept_language: Annotated[str, Header()] = "en") -> Response:
            return Response(accept_language, headers={"Vary": "Accept-Language"})

    async with App(Api) as app:
        get = lab.Client(app)
        assert (await get("/page", HAS)).get("vary") is None  # nobody knows yet
        assert (await get("/page")).get("vary") == "Accept-Language"
        assert (await get("/page", HAS)).get("vary") == "Accept-Language"


async def known(*args, **kwargs):
    await asyncio.sleep(0)
    return "v1"


async def changed(*args, **kwargs):
    await asyncio.sleep(0)
    return 0


@pytest.mark.parametrize("kept", [True, None], ids=["kept", "not kept"])
@pytest.mark.parametrize(
    ("validator", "condition"),
    [
        ({"etag": known}, HAS),
        ({"etag": lambda: known()}, HAS),
        ({"last_modified": changed}, {"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"}),
    ],
    ids=["etag", "what a plain one returns", "last_modified"],
)
async def test_who_knows_the_version_may_have_to_wait_for_it(lab, kept, validator, condition):
    """A function that is async is awaited: a version often stands in a database."""
    runs = []

    class Api:
        @action("/page", cache=kept, **validator)
        async def page(self) -> str:
            runs.append(0)
            return "x"

    async with App(Api, clock=(clock := VirtualClock())) as app:
        get = lab.Client(app)
        one = await get("/page")
        assert one.get("etag") == 'W/"v1"' or one.get("last-modified")
        assert ((await get("/page", condition)).status, len(runs)) == (304, 1)
        clock.advance("1 hour")
        assert ((await get("/page", condition)).status, len(runs)) == (304, 1)
        if kept:
            assert ((await get("/page")).status, len(runs)) == (200, 1)  # it still holds


async def test_a_refresh_does_not_wait_for_ever_for_a_version(lab, monkeypatch):
    """One that hangs behind an old response ends, so that a later one may try again."""
    world, hung = lab.World(), []

    async def version():
        if hung == [0]:
            hung.append(1)
            await asyncio.Event().wait()
        return f"v{world.runs}"

    class Api:
        @action("/page", cache=HttpCache("1 minute", etag=version, stale="1 day"))
        async def page(self) -> Response:
            return await world.answer()

    async with App(Api, clock=(clock := VirtualClock())) as app:
        get = lab.Client(app)
        await get("/page")
        for limit in (0.0, 30.0):
            monkeypatch.setattr(filling, "BEHIND_SECONDS", limit)
            hung.append(0)
            clock.advance("1 hour")
            assert (await get("/page")).text == "run 1"
            await app.settled()
        assert (await get("/page")).cache == "hit; ttl=60"  # the second one has confirmed it
        assert hung == [0, 1, 0]


@pytest.mark.parametrize("value", [datetime(2026, 1, 1, tzinfo=UTC), 'a "b'])
async def test_a_version_that_is_no_entity_tag_says_what_to_return(lab, value):
    """A date has a space in its text."""

    class Api:
        @action("/page", cache=True, etag=lambda: value)
        async def page(self) -> None: ...

    async with App(Api) as app:
        with pytest.raises(InvalidOption, match=r"Return text without spaces and quotes, such as"):
            await lab.Client(app)("/page")


@pytest.mark.parametrize("value", ["2026-01-01", True, 1_770_000_000_000.0, float("nan")])
async def test_a_time_that_is_none_says_what_to_return(lab, value):
    """Milliseconds are the usual mistake: there is no such year."""

    class Api:
        @action("/page", cache=True, last_modified=lambda: value)
        async def page(self) -> None: ...

    async with App(Api) as app:
        with pytest.raises(InvalidOption, match=r"Return a datetime, or Unix seconds"):
            await lab.Client(app)("/page")


@pytest.mark.parametrize(
    "value",
    [0, 0.9, datetime(1970, 1, 1, tzinfo=UTC), datetime.fromtimestamp(0)],
    ids=["seconds", "a part of one", "aware", "naive"],
)
async def test_times_are_sent_in_one_form(lab, value):
    """A naive datetime is local time; parts of a second are left out."""

    class Api:
        @action("/page", cache=True, last_modified=lambda: value)
        async def page(self) -> None: ...

    async with App(Api) as app:
        got = await lab.Client(app)("/page")
    assert got.get("last-modified") == "Thu, 01 Jan 1970 00:00:00 GMT"


async def test_what_is_remembered_is_bounded(lab):
    """However many URLs there are."""

    class Api:
        @action("/{number}", cache=HttpCache("1 minute", etag=version))
        async def page(self, number: int) -> int:
            return number

    async with App(Api) as app:
        get = lab.Client(app)
        for number in range(MOST_URLS + 10):
            await get(f"/{number}")
        assert len(app.server.route_of(Api.page)._varies) <= MOST_URLS
