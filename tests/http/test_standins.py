"""What answers in the place of a handler sees the request unwatched, so its pages are not kept."""

import functools

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.routing import APIRoute
from litestar import Litestar, get
from litestar import Request as LitestarRequest
from litestar import Response as LitestarResponse
from litestar.exceptions import NotFoundException
from litestar.response import Template
from litestar.response.base import ASGIResponse
from litestar.template.config import TemplateConfig
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from stillfresh import App, HttpCache, HttpCacheMiddleware, action, http_cache

ANN, BOB = {"X-User": "ann"}, {"X-User": "bob"}
KEPT = HttpCache("1 minute", negative_ttl={404: 60})


class GoneError(Exception):
    """Has a page of the application's own."""


def explain(request, _):
    return PlainTextResponse(request.headers["x-user"], 200)


def by_fastapi(error, **kinds):
    site = FastAPI(exception_handlers=kinds.get("handlers"))

    @site.get("/")
    @http_cache(kinds.get("policy", KEPT))
    async def page() -> str:
        raise error()

    return site


def by_starlette(error, **kinds):
    @http_cache(kinds.get("policy", KEPT))
    async def page(request: Request) -> PlainTextResponse:
        raise error(request.method)

    return Starlette(routes=[Route("/", page)], exception_handlers=kinds.get("handlers"))


def by_litestar(error, **kinds):
    def answer(request: LitestarRequest, _: Exception) -> LitestarResponse[str]:
        return LitestarResponse(request.headers["x-user"], status_code=200)

    @get("/")
    @http_cache(kinds.get("policy", KEPT))
    async def page() -> str:
        raise error()

    handlers = dict.fromkeys(kinds.get("handlers") or (), answer)
    return Litestar([page], exception_handlers=handlers, openapi_config=None)


MAKERS = [by_fastapi, by_starlette, by_litestar]
NOT_FOUND = {
    by_fastapi: lambda: HTTPException(404),
    by_starlette: lambda _: StarletteHTTPException(404),
    by_litestar: NotFoundException,
}


@pytest.mark.parametrize("make", MAKERS)
async def test_a_page_for_an_exception_is_each_clients_own(lab, make):
    """The handler of the endpoint sees nothing of the request, that of its exception does."""
    async with App() as app:
        site = make(GoneError, handlers={GoneError: explain})
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        for _ in range(2):
            assert [(await client("/", who)).text for who in (ANN, BOB)] == ["ann", "bob"]


@pytest.mark.parametrize("make", MAKERS)
async def test_a_page_of_the_applications_own_for_a_status_is_not_kept(lab, make):
    """It is given the request, and may name in it who asks."""
    async with App() as app:
        site = make(NOT_FOUND[make], handlers={404: explain})
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        assert [(await client("/", who)).text for who in (ANN, BOB)] == ["ann", "bob"]


@pytest.mark.parametrize("make", MAKERS)
async def test_the_frameworks_own_page_for_a_404_is_kept(lab, make):
    """It depends on the exception alone: `negative_ttl=` counts."""
    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(make(NOT_FOUND[make]), cache_app=app))
        got = [await client("/", who) for who in (ANN, BOB)]
        assert [(one.status, one.hit) for one in got] == [(404, False), (404, True)]


@pytest.mark.parametrize("make", MAKERS)
async def test_public_keeps_the_page_for_an_exception(lab, make):
    """Who writes public=True says that everybody gets the same."""
    async with App() as app:
        policy = HttpCache("1 minute", public=True)
        site = make(GoneError, handlers={GoneError: explain}, policy=policy)
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        await client("/", ANN)
        assert (await client("/", ANN)).hit


class Missing:
    @action("/", cache=KEPT)
    async def page(self) -> str:
        raise HTTPException(404)


@pytest.mark.parametrize("own", [False, True])
async def test_an_action_keeps_a_404_unless_the_app_has_a_page_for_it(lab, own):
    """A handler for something else costs nothing."""
    async with App(Missing) as app:
        app.http.add_exception_handler(404 if own else GoneError, explain)
        client = lab.Client(app)
        got = [await client("/", who) for who in (ANN, BOB)]
        assert got[1].hit is not own
        assert (got[1].text == "bob") is own


class Signed(JSONResponse):
    """Writes into the body who asks: what it is made of does not say so."""

    async def __call__(self, scope, receive, send):
        self.body = dict(scope["headers"])[b"x-user"]
        self.init_headers({})
        await super().__call__(scope, receive, send)


class SignedByLitestar(LitestarResponse[str]):
    """The same in Litestar."""

    def to_asgi_response(self, app, request, **options):
        del app, options
        return ASGIResponse(body=request.headers["x-user"].encode())


class Copying:
    """A middleware that hands on a copy, so that nobody outside sees what routing notes."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(dict(scope), receive, send)


async def signed(scope, receive, send):
    await Signed("")(scope, receive, send)


def returned_by_fastapi(policy):
    site = FastAPI()

    @site.get("/")
    @http_cache(policy)
    async def page():
        return Signed("")

    return site


def made_by_fastapi(policy):
    site = FastAPI()

    @site.get("/", response_class=Signed)
    @http_cache(policy)
    async def page() -> str:
        return ""

    return site


def made_by_fastapi_behind_a_copy(policy):
    site = made_by_fastapi(policy)
    site.add_middleware(Copying)
    return site


def made_by_default(policy):
    site = FastAPI(default_response_class=Signed)

    @site.get("/")
    @http_cache(policy)
    async def page() -> str:
        return ""

    return site


def returned_by_starlette(policy):
    @http_cache(policy)
    async def page(_: Request) -> Signed:
        return Signed("")

    return Starlette(routes=[Route("/", page)])


def an_application_of_its_own(policy):
    @http_cache(policy)
    async def page(_: Request):
        return signed

    return Starlette(routes=[Route("/", page)])


def returned_by_litestar(policy):
    @get("/")
    @http_cache(policy)
    async def page() -> SignedByLitestar:
        return SignedByLitestar("")

    return Litestar([page], openapi_config=None)


def made_by_litestar(policy):
    @get("/", response_class=SignedByLitestar)
    @http_cache(policy)
    async def page() -> str:
        return ""

    return Litestar([page], openapi_config=None)


SIGNED = [
    returned_by_fastapi,
    made_by_fastapi,
    made_by_fastapi_behind_a_copy,
    made_by_default,
    returned_by_starlette,
    an_application_of_its_own,
    returned_by_litestar,
    made_by_litestar,
]


@pytest.mark.parametrize("make", SIGNED)
async def test_a_response_that_looks_at_the_request_is_not_kept(lab, make):
    """It is called with the scope after the handler has returned."""
    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(make(HttpCache("1 minute")), cache_app=app))
        for _ in range(2):
            assert [(await client("/", who)).text for who in (ANN, BOB)] == ["ann", "bob"]


@pytest.mark.parametrize("make", SIGNED)
async def test_public_keeps_a_response_that_looks_at_the_request(lab, make):
    """Who writes public=True says that everybody gets the same."""
    async with App() as app:
        site = make(HttpCache("1 minute", public=True))
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        await client("/", ANN)
        assert (await client("/", ANN)).hit


class Signing:
    @action("/made", cache=True, response_class=Signed)
    async def made(self) -> str:
        return ""

    @action("/returned", cache=True, response_model=None)
    async def returned(self) -> Signed:
        return Signed("")

    @action("/plain", cache=True, response_class=PlainTextResponse)
    async def plain(self) -> str:
        return "all"


@pytest.mark.parametrize("path", ["/made", "/returned"])
async def test_an_action_keeps_no_response_that_looks_at_the_request(lab, path):
    """Its signature shows nothing of it; nobody else is told that it is public."""
    async with App(Signing) as app:
        client = lab.Client(app)
        got = [await client(path, who) for who in (ANN, BOB, ANN, BOB)]
        assert [one.text for one in got] == ["ann", "bob", "ann", "bob"]
        assert {one.get("cache-control") for one in got} == {"private, no-cache"}


async def test_an_action_keeps_a_response_of_the_framework(lab):
    """What those send depends on what they were made of."""
    async with App(Signing) as app:
        client = lab.Client(app)
        assert [(await client("/plain", who)).hit for who in (ANN, BOB)] == [False, True]


class Greetings:
    """An engine of templates with one, which greets who asks."""

    def __init__(self, directory, engine_instance):
        pass

    def get_template(self, _):
        return self

    def render(self, request, **_):
        return request.headers["x-user"]


@pytest.mark.parametrize("public", [False, True])
async def test_a_template_of_litestar_is_given_the_request(lab, public):
    """Nobody has watched it, so its page is not kept unless everybody gets the same."""

    @get("/")
    @http_cache("1 minute", public=public)
    async def page() -> Template:
        return Template(template_name="greeting")

    config = TemplateConfig(directory="templates", engine=Greetings)
    site = Litestar([page], template_config=config, openapi_config=None)
    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        got = [await client("/", who) for who in (ANN, BOB)]
        assert [one.text for one in got] == ["ann", "ann" if public else "bob"]


@functools.wraps(http_exception_handler)
async def named(request, _):
    return PlainTextResponse(request.headers["x-user"], 404)


async def test_what_wraps_the_page_of_a_framework_is_not_the_frameworks(lab):
    """`functools.wraps` gives it the module of what it wraps."""
    async with App() as app:
        site = by_fastapi(NOT_FOUND[by_fastapi], handlers={404: named})
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        assert [(await client("/", who)).text for who in (ANN, BOB)] == ["ann", "bob"]


async def renaming(request: Request):
    try:
        yield
    except HTTPException as error:
        detail = f"{request.headers['x-user']}: {error.detail}"
        raise HTTPException(error.status_code, detail) from None


class Renaming(APIRoute):
    """Raises another exception in the place of each."""

    def get_route_handler(self):
        inner = super().get_route_handler()

        async def handle(request):
            try:
                return await inner(request)
            except HTTPException as error:
                raise HTTPException(404, request.headers["x-user"]) from error

        return handle


class Answering:
    """A middleware of one route, which answers for what its endpoint raises."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        try:
            await self.app(scope, receive, send)
        except StarletteHTTPException:
            name = dict(scope["headers"])[b"x-user"].decode()
            await PlainTextResponse(name, 404)(scope, receive, send)


@http_cache(KEPT)
async def missing() -> str:
    raise HTTPException(404)


def by_dependency():
    site = FastAPI()
    site.get("/", dependencies=[Depends(renaming)])(missing)
    return site


def by_route():
    site = FastAPI()
    site.router.route_class = Renaming
    site.get("/")(missing)
    return site


def by_middleware():
    @http_cache(KEPT)
    class Page(HTTPEndpoint):
        async def get(self, _):
            raise StarletteHTTPException(404)

    return Starlette(routes=[Route("/", Page, middleware=[Middleware(Answering)])])


@pytest.mark.parametrize("make", [by_dependency, by_route, by_middleware])
async def test_what_others_make_of_an_exception_on_its_way_is_not_kept(lab, make):
    """They see the request, and answer for the handler; the framework's own page is another."""
    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(make(), cache_app=app))
        got = [(await client("/", who)).text for who in (ANN, BOB)]
        assert ["ann" in text for text in got] == [True, False]


@pytest.mark.parametrize("detail", ["none", "é" * 600, {"code": 1, "of": ["a", None]}])
@pytest.mark.parametrize("coded", [False, True])
async def test_the_page_of_a_framework_is_kept_whatever_it_says(lab, detail, coded):
    """Also below a middleware that compresses it."""
    site = FastAPI()

    @site.get("/")
    @http_cache(KEPT)
    async def page() -> str:
        raise HTTPException(404, detail, headers={"X-Why": "none"})

    if coded:
        site.add_middleware(GZipMiddleware)
    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        asked = {"Accept-Encoding": "gzip"}
        got = [await client("/", who | asked) for who in (ANN, BOB)]
        assert [(one.status, one.hit) for one in got] == [(404, False), (404, True)]
        assert got[1].get("content-encoding") == ("gzip" if coded and len(detail) > 99 else None)


class Renamed:
    @action("/", cache=KEPT, dependencies=[Depends(renaming)])
    async def page(self) -> str:
        raise HTTPException(404)


async def test_an_action_below_a_dependency_that_raises_another_keeps_nothing(lab):
    """As an endpoint of an application of the user's own."""
    async with App(Renamed) as app:
        client = lab.Client(app)
        got = [(await client("/", who)).text for who in (ANN, BOB)]
        assert ["ann" in text for text in got] == [True, False]
