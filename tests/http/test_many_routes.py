"""A function that stands at several routes is cached as far as the strictest of them allows."""

from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from stillfresh import App, HttpCacheMiddleware, http_cache

ANN, BOB = {"X-User": "ann"}, {"X-User": "bob"}


def greeting(request: Request, response: Response) -> None:
    response.headers["x-greet"] = request.headers.get("x-user", "nobody")


@pytest.mark.parametrize("plain_first", [False, True])
async def test_each_place_of_a_router_has_its_dependencies(lab, plain_first):
    """One that writes into the response counts, whichever place was asked first."""
    router, runs = APIRouter(), []

    @router.get("/page")
    @http_cache("1 minute")
    async def page() -> int:
        runs.append(1)
        return len(runs)

    site = FastAPI()
    site.add_middleware(HttpCacheMiddleware)
    site.include_router(router, prefix="/plain")
    site.include_router(router, prefix="/greeting", dependencies=[Depends(greeting)])
    async with App():
        client = lab.Client(site)
        if plain_first:
            await client("/plain/page")
        for user in (ANN, BOB, ANN):
            got = await client("/greeting/page", user)
            assert got.get("x-greet") == user["X-User"]


@pytest.mark.parametrize("first", ["/both", "/get"])
async def test_each_route_answers_its_own_methods(lab, first):
    """HEAD is refused where a route has none, and answered where another one has it."""
    site = FastAPI()
    site.add_middleware(HttpCacheMiddleware)

    @http_cache("1 minute", public=True)
    async def page() -> int:
        return 1

    site.api_route("/both", methods=["GET", "HEAD"])(page)
    site.get("/get")(page)
    async with App():
        client = lab.Client(site)
        for path in (first, "/both", "/get"):
            await client(path)
        assert (await client("/both", method="HEAD")).status == 200
        assert (await client("/get", method="HEAD")).status == 405


@pytest.mark.parametrize("included", [False, True])
async def test_a_path_that_takes_any_name_is_never_kept(lab, included):
    """A function that stands at a declared path as well is cached there, and not here."""
    site, router = FastAPI(), APIRouter()
    site.add_middleware(HttpCacheMiddleware)

    @http_cache("1 minute")
    async def page() -> int:
        return 1

    asked = router if included else site
    asked.get("/declared")(page)
    asked.get("/any/{rest:path}")(page)
    if included:
        site.include_router(router, prefix="/v1")
    prefix = "/v1" if included else ""
    async with App():
        client = lab.Client(site)
        assert [(await client(f"{prefix}/declared")).hit for _ in range(2)] == [False, True]
        assert [(await client(f"{prefix}/any/me.css")).hit for _ in range(2)] == [False, False]


class Public(BaseModel):
    v: int


class Full(Public):
    secret: str


class Choosing:
    """Rewrites the path by who asks, in a copy."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            place = "/admin" if dict(scope["headers"]).get(b"x-user") == b"ann" else "/public"
            scope = {**scope, "path": place + scope["path"]}
        await self.app(scope, receive, send)


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("included", [False, True])
async def test_nothing_is_kept_where_nobody_knows_at_which_route(lab, included, public):
    """A middleware that copies and rewrites leads one URL to two routes, with other models."""
    site, router = FastAPI(), APIRouter()

    @http_cache("1 minute", public=public)
    async def page():
        return Full(v=1, secret="ann's")

    asked = router if included else site
    asked.get("/admin/page", response_model=Full)(page)
    asked.get("/public/page", response_model=Public)(page)
    if included:
        site.include_router(router)
    site.add_middleware(Choosing)
    site.add_middleware(HttpCacheMiddleware)
    async with App():
        client = lab.Client(site)
        texts = [(await client("/page", user)).text for user in (ANN, BOB, BOB)]
        assert "secret" in texts[0]
        assert texts[1:] == ['{"v":1}', '{"v":1}']


class Copying:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(dict(scope), receive, send)


class View:
    def __init__(self, request: Request):
        self.user = request.headers.get("x-user")


@pytest.mark.parametrize("copies", [False, True])
async def test_a_dependency_called_self_is_one(lab, copies):
    """As classes of views have it: it comes from the request, whatever it is called."""
    site = FastAPI()
    if copies:
        site.add_middleware(Copying)
    site.add_middleware(HttpCacheMiddleware)

    @site.get("/")
    @http_cache("1 minute")
    async def page(self: Annotated[View, Depends(View)]) -> str:
        return f"{self.user}"

    async with App():
        client = lab.Client(site)
        texts = [(await client("/", user)).text for user in (ANN, BOB, ANN)]
        assert texts == ['"ann"', '"bob"', '"ann"']


async def test_the_object_of_a_method_is_no_argument(lab):
    """`self` of a bound method is the application's, also in Starlette."""

    class Pages:
        @http_cache("1 minute")
        async def page(self, request):
            return PlainTextResponse("x")

    async with App():
        site = Starlette(routes=[Route("/", Pages().page)])
        client = lab.Client(HttpCacheMiddleware(site))
        assert [(await client("/")).hit for _ in range(2)] == [False, True]
