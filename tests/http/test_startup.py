"""The look at an application as it starts, and the decorator in three frameworks."""

import logging
import threading
import warnings
from contextvars import ContextVar
from decimal import localcontext
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from litestar import Litestar, get, post
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import DefineMiddleware
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from stillfresh import App, HttpCacheMiddleware, InvalidOption, http_cache, lifespan


@pytest.fixture
def told(caplog):
    """What the log says, as texts."""
    caplog.set_level(logging.WARNING, "stillfresh")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
async def cached():
    """Adds the middleware to an application."""
    async with App() as app:

        def add(asgi):
            asgi.add_middleware(HttpCacheMiddleware, cache_app=app)
            return asgi

        yield add


async def test_decorators_in_the_wrong_order_are_named(lab, cached, told):
    """Above the route's decorator it would be silently without effect."""
    site = cached(FastAPI())

    @http_cache("1 minute")
    @site.get("/wrong")
    async def wrong() -> str:
        return "x"

    @site.get("/right")
    @http_cache("1 minute")
    async def right() -> str:
        return "x"

    for _ in range(2):
        await lab.Client(site)("/right")
    (line,) = told()
    assert "wrong: @http_cache stands above the decorator of the route" in line


async def test_routes_that_are_never_cached_are_named(lab, cached, told):
    """A route for POST alone has nothing to keep."""
    site = cached(
        Starlette(
            routes=[Mount("/in", routes=[Route("/", http_cache(60)(never), methods=["POST"])])]
        )
    )
    await lab.Client(site)("/in/", method="POST")
    (line,) = told()
    assert "never will never be cached: its route answers POST" in line


async def never(request):
    return PlainTextResponse("x")


async def test_an_argument_without_a_key_is_named(lab, cached, told):
    """A dependency that sees the request, and gives an object, could be anybody's."""
    site = cached(FastAPI())

    class User:
        def __init__(self, name):
            self.name = name

    def user(request: Request):
        return User(request.headers.get("x-user"))

    @site.get("/")
    @http_cache("1 minute")
    async def page(user: Annotated[User, Depends(user)]) -> str:
        return user.name

    client = lab.Client(site)
    texts = [(await client("/", {"X-User": name})).text for name in ("ann", "bob")]
    assert texts == ['"ann"', '"bob"']
    (line,) = told()
    assert "the argument 'user' comes from the request" in line


async def test_a_dependency_that_is_no_part_of_the_request_is_no_part_of_the_key(lab, cached):
    """A database session does not keep a page from being shared."""
    site = cached(FastAPI())
    runs = []

    class Session:
        pass

    def session():
        yield Session()

    @site.get("/")
    @http_cache("1 minute")
    def page(session: Annotated[Session, Depends(session)]) -> int:
        runs.append(session)
        return len(runs)

    client = lab.Client(site)
    assert [(await client("/")).text for _ in range(3)] == ["1", "1", "1"]


async def test_a_dependency_with_a_text_is_in_the_key(lab, cached):
    """What it gives is part of what was asked."""
    site = cached(FastAPI())
    runs = []

    def tenant(request: Request) -> str:
        name = request.headers.get("x-tenant")
        if name is None:
            raise HTTPException(401)
        return name

    @site.get("/")
    @http_cache("1 minute")
    async def page(tenant: Annotated[str, Depends(tenant)]) -> str:
        runs.append(tenant)
        return tenant

    client = lab.Client(site)
    names = ("a", "b", "a", "b")
    assert [(await client("/", {"X-Tenant": name})).text for name in names] == [
        f'"{name}"' for name in names
    ]
    assert runs == ["a", "b"]
    assert (await client("/")).status == 401


async def test_the_openapi_of_a_decorated_endpoint_is_its_own(cached):
    """Parameters and results are those of the function."""

    def plain() -> FastAPI:
        return FastAPI()

    def add(site, decorate):
        async def page(number: int, lang: str = "en") -> dict[str, int]:
            """A page."""
            return {}

        site.get("/{number}")(decorate(page))
        return site.openapi()

    assert add(plain(), http_cache(60)) == add(plain(), lambda function: function)


async def test_the_lifespan_of_a_foreign_application(lab):
    """`FastAPI(lifespan=stillfresh.lifespan)` runs the default app."""
    site = FastAPI(lifespan=lifespan)
    site.add_middleware(HttpCacheMiddleware)
    runs = []

    @site.get("/")
    @http_cache("1 minute", tags=["pages"])
    async def page(response: Response) -> int:
        runs.append(1)
        response.headers["x-own"] = "1"
        return len(runs)

    client = lab.Client(site)
    async with site.router.lifespan_context(site):
        got = [await client("/") for _ in range(2)]
        assert [(one.text, one.get("x-own")) for one in got] == [("1", "1"), ("1", "1")]
        from stillfresh import invalidate_tags

        await invalidate_tags("pages")
        assert (await client("/")).text == "2"


async def test_an_endpoint_that_is_a_class(lab, cached):
    """Its get() is cached, its other methods are not."""
    runs = []

    @http_cache("1 minute")
    class Page(HTTPEndpoint):
        def get(self, request):
            runs.append(1)
            return PlainTextResponse(f"run {len(runs)}")

        async def post(self, request):
            return PlainTextResponse("posted")

    client = lab.Client(cached(Starlette(routes=[Route("/", Page)])))
    assert [(await client("/")).text for _ in range(2)] == ["run 1", "run 1"]
    assert (await client("/", method="POST")).text == "posted"
    assert (await client("/")).text == "run 2"


SETTING = ContextVar("test_setting", default="none")


async def test_what_was_set_before_any_request_says_nothing_about_who_asks(lab, told):
    """A program may set variables as it starts; those of a request are another thing."""
    SETTING.set("of the program")
    runs = []

    @http_cache("1 minute")
    async def page(request):
        runs.append(SETTING.get())
        return PlainTextResponse(SETTING.get())

    site = Starlette(routes=[Route("/", page)])
    site.add_middleware(HttpCacheMiddleware)
    client = lab.Client(site)
    for _ in range(2):
        assert (await client("/")).text == "of the program"
    assert len(runs) == 1
    SETTING.set("of a request")
    assert (await client("/")).text == "of a request"
    (line,) = told()
    assert "'test_setting'" in line


def test_the_test_client_of_starlette():
    """It runs the application in a thread of its own, and pages are cached there, too."""
    with warnings.catch_warnings(action="ignore"):  # it would like another client library
        from starlette.testclient import TestClient

    site = FastAPI(lifespan=lifespan)
    site.add_middleware(HttpCacheMiddleware)
    runs, threads = [], []

    @site.get("/sync")
    @http_cache("1 minute")
    def sync() -> int:
        threads.append(threading.get_ident())
        runs.append(1)
        with localcontext():
            return len(runs)

    @site.get("/async")
    @http_cache("1 minute")
    async def page() -> int:
        threads.append(threading.get_ident())
        runs.append(1)
        return len(runs)

    with TestClient(site) as client:
        assert [client.get("/sync").json() for _ in range(3)] == [1, 1, 1]
        assert [client.get("/async").json() for _ in range(3)] == [2, 2, 2]
    assert len(set(threads)) == 2  # a sync endpoint keeps its thread
    client = TestClient(site)  # without the lifespan
    assert [client.get("/sync").json() for _ in range(3)] == [3, 3, 3]


async def test_litestar(lab):
    """Guards first, hits, conditions, and what a POST drops."""
    runs = []

    def guard(connection: ASGIConnection, _: object) -> None:
        if connection.headers.get("token") != "open":
            raise NotAuthorizedException

    @get("/", guards=[guard])
    @http_cache("1 minute")
    async def page() -> dict[str, int]:
        runs.append(1)
        return {"run": len(runs)}

    @post("/")
    async def change() -> None: ...

    async with App() as app:
        middleware = DefineMiddleware(HttpCacheMiddleware, cache_app=app)
        client = lab.Client(Litestar([page, change], middleware=[middleware]))
        opened = {"Token": "open"}
        assert (await client("/")).status == 401
        got = [await client("/", opened) for _ in range(2)]
        assert [one.text for one in got] == ['{"run":1}', '{"run":1}']
        assert got[1].hit
        assert (await client("/")).status == 401
        condition = {"If-None-Match": got[0].get("etag"), **opened}
        assert (await client("/", condition)).status == 304
        assert (await client("/", {"Cookie": "a=1", **opened})).text == '{"run":2}'
        await client("/", method="POST")
        assert (await client("/", opened)).text == '{"run":3}'


class Guarded:
    """Lets nobody to a route without the token."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        guarded = self.app
        if dict(scope["headers"]).get(b"token") != b"open":
            guarded = PlainTextResponse("no", 403)
        await guarded(scope, receive, send)


async def test_a_profile_does_not_touch_decorated_routes(lab):
    """In a whole cached application a route with a policy of its own follows that, guards first."""
    runs = []

    @http_cache("1 minute")
    async def page(request):
        runs.append(1)
        return PlainTextResponse(f"run {len(runs)}", headers={"Cache-Control": "max-age=60"})

    async def guarding(request):
        if request.headers.get("token") != "open":
            return PlainTextResponse("no", 403)
        return await page(request)

    async with App() as app:
        routes = [Route("/", page, middleware=[Middleware(Guarded)]), Route("/called", guarding)]
        client = lab.Client(HttpCacheMiddleware(Starlette(routes=routes), "safe", cache_app=app))
        opened = {"Token": "open"}
        texts = [(await client("/", opened)).text for _ in range(4)]
        assert texts[2] == texts[3]
        assert (await client("/")).status == 403
        called = [(await client("/called", opened)).text for _ in range(4)]
        assert len(set(called)) == 4  # it is not the endpoint there
        assert (await client("/called")).status == 403


async def test_routes_that_take_any_path_are_not_cached(lab, cached, told):
    """What a client may name at will is no declared page; `public=True` says that it is."""

    @http_cache("1 minute")
    async def closed(request):
        return PlainTextResponse("x")

    @http_cache("1 minute", public=True)
    async def opened(request):
        return PlainTextResponse("x")

    routes = [Route("/closed/{rest:path}", closed), Route("/open/{rest:path}", opened)]
    client = lab.Client(cached(Starlette(routes=routes)))
    for _ in range(2):
        closed_page, open_page = await client("/closed/a/b"), await client("/open/a/b")
    assert (closed_page.cache, open_page.hit) == ("", True)
    (line,) = told()
    assert "closed will never be cached: its path '/closed/{rest:path}' takes any name" in line


async def test_credentials_are_for_guards_to_see(lab, cached):
    """A public route answers before its guards, but not a request that shows credentials."""
    site = cached(FastAPI())
    asked = []

    @site.get("/", dependencies=[Depends(lambda: asked.append(1))])
    @http_cache("1 minute", public=True)
    async def page() -> str:
        return "x"

    client = lab.Client(site)
    for _ in range(4):
        await client("/")
    before = len(asked)
    got = await client("/", {"Authorization": "Bearer x"})
    assert got.hit
    assert len(asked) == before + 1


async def test_cookies_that_are_set_around_a_hit(lab, cached):
    """What a middleware inside of the cache sets for this very client is not lost, and not shared."""
    site = Starlette(routes=[Route("/", http_cache("1 minute")(never))])

    class Visiting:
        def __init__(self, app):
            self.app = app
            self.visits = 0

        async def __call__(self, scope, receive, send):
            async def outward(message):
                starts = message["type"] == "http.response.start"
                if starts and (b"visit", b"1") in scope["headers"]:
                    self.visits += 1
                    cookie = (b"set-cookie", b"visit=%d" % self.visits)
                    message["headers"] = [*message["headers"], cookie]
                await send(message)

            await self.app(scope, receive, outward)

    site.add_middleware(Visiting)
    client = lab.Client(cached(site))
    await client("/")
    for number in (1, 2):
        got = await client("/", {"Visit": "1"})
        assert (got.hit, got.get("set-cookie")) == (True, f"visit={number}")
        assert got.get("cache-control") == "private, no-cache"
    assert (await client("/")).get("set-cookie") is None


async def test_stale_needs_a_public_route(lab, cached, told):
    """A refresh behind the request has nobody's credentials, and would be refused."""

    @http_cache("1 minute", stale="1 hour")
    async def page(request):
        return PlainTextResponse("x")

    client = lab.Client(cached(Starlette(routes=[Route("/", page)])))
    await client("/")
    (line,) = told()
    assert "stale= has no effect" in line


@pytest.mark.parametrize("value", [7, "page", object()])
def test_only_endpoints_can_be_decorated(value):
    """Anything else is an error at its line."""
    with pytest.raises(InvalidOption):
        http_cache(60)(value)


def test_profiles_have_names():
    """Others are refused."""
    with pytest.raises(InvalidOption, match="'fast'"):
        HttpCacheMiddleware(None, "fast")
