"""Only the endpoint of a route asks the cache: a function that is called otherwise is a function."""

import functools
import logging
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from litestar import Controller, Litestar, get
from litestar import Request as LitestarRequest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from stillfresh import App, HttpCacheMiddleware, http_cache

ANN, BOB = {"X-User": "ann"}, {"X-User": "bob"}


@http_cache("1 hour", public=True)
async def info():
    return {"v": 1}


def awaited() -> FastAPI:
    site = FastAPI()

    @site.get("/")
    async def page(request: Request):
        return {"me": request.headers["x-user"], "info": await info()}

    return site


def awaited_in_a_cached_one() -> FastAPI:
    site = FastAPI()

    @site.get("/")
    @http_cache("1 minute")
    async def page(request: Request):
        return {"me": request.headers["x-user"], "info": await info()}

    return site


def depended_on() -> FastAPI:
    site = FastAPI()

    @site.get("/")
    async def page(request: Request, found: Annotated[dict, Depends(info)]):
        return {"me": request.headers["x-user"], "info": found}

    return site


def under_a_decorator() -> FastAPI:
    site = FastAPI()

    @site.get("/")
    @personal
    @http_cache("1 minute")
    async def page(request: Request):
        return {"v": 1}

    return site


def personal(function):
    @functools.wraps(function)
    async def changed(request: Request):
        return {"me": request.headers["x-user"], "info": await function(request)}

    return changed


def by_litestar() -> Litestar:
    @get("/")
    async def page(request: LitestarRequest) -> dict:
        return {"me": request.headers["x-user"], "info": await info()}

    return Litestar([page], middleware=[HttpCacheMiddleware])


def by_a_method() -> Starlette:
    class Page(HTTPEndpoint):
        async def get(self, request):
            shared = await self.shared(request)
            return Response(request.headers["x-user"].encode() + bytes(shared.body))

        @http_cache("1 minute")
        async def shared(self, request):
            return PlainTextResponse(" is here")

    return Starlette(routes=[Route("/", Page)])


CALLS = [
    awaited,
    awaited_in_a_cached_one,
    depended_on,
    under_a_decorator,
    by_litestar,
    by_a_method,
]


def copying(app):
    """A middleware that hands on a copy: what routing notes stays inside."""

    async def handed(scope, receive, send):
        await app(dict(scope), receive, send)

    return handed


def cached(site, *, copies=False):
    if isinstance(site, Litestar):
        return site
    return HttpCacheMiddleware(copying(site) if copies else site)


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("make", CALLS)
async def test_what_another_endpoint_makes_of_a_cached_one_is_its_own(lab, make, copies):
    """A page that awaits, or depends on, a cached endpoint is not stored in the place of that."""
    async with App():
        client = lab.Client(cached(make(), copies=copies))
        for user in (ANN, BOB, ANN):
            got = await client("/", user)
            assert got.status == 200
            assert user["X-User"] in got.text


@pytest.mark.parametrize("copies", [False, True])
async def test_a_guarded_page_that_calls_a_public_one_stays_guarded(lab, copies):
    """`public=True` speaks of the endpoint, and not of whoever calls it."""
    site = FastAPI()

    def guard(request: Request):
        if request.headers.get("x-user") != "ann":
            raise HTTPException(401)

    @site.get("/", dependencies=[Depends(guard)])
    async def page():
        return {"secret": await info()}

    async with App():
        client = lab.Client(cached(site, copies=copies))
        assert [(await client("/", user)).status for user in (ANN, BOB, ANN)] == [200, 401, 200]


async def test_a_caller_gets_the_value_whatever_is_stored(lab):
    """It never gets the placeholder that stands for a stored response."""
    site = FastAPI()
    site.get("/info")(info)

    @site.get("/")
    async def page():
        return (await info())["v"] + 1

    async with App():
        client = lab.Client(cached(site))
        for _ in range(3):
            assert (await client("/info")).text == '{"v":1}'
            assert (await client("/")).text == "2"


def runs_of(runs):
    runs.append(1)
    return f"run {len(runs)}"


class Base(HTTPEndpoint):
    @http_cache("1 minute")
    async def get(self, request):
        return PlainTextResponse(runs_of(request.app.state.runs))


class Inherits(Base):
    pass


class Bound:
    @http_cache("1 minute")
    async def page(self, request: Request):
        return PlainTextResponse(runs_of(request.app.state.runs))


@http_cache("1 minute")
async def function(request: Request):
    return PlainTextResponse(runs_of(request.app.state.runs))


@http_cache("1 minute")
def in_thread(request: Request):
    return PlainTextResponse(runs_of(request.app.state.runs))


@http_cache("1 minute")
async def with_more(request: Request, more: str = ""):
    return PlainTextResponse(runs_of(request.app.state.runs) + more)


ENDPOINTS = {
    "function": function,
    "sync": in_thread,
    "class": Inherits,
    "partial": functools.partial(with_more, more="!"),
}


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("name", ENDPOINTS)
async def test_every_form_of_an_endpoint_asks(lab, name, copies):
    """A function, one that runs in a thread, a class and its heirs, a partial: all are cached."""
    inner = Starlette(routes=[Route("/", ENDPOINTS[name])])
    site = Starlette(routes=[Mount("/sub", inner), Route("/", ENDPOINTS[name])])
    inner.state.runs = site.state.runs = []
    async with App():
        client = lab.Client(cached(site, copies=copies))
        for path in ("/", "/sub/"):
            first, second = [await client(path) for _ in range(2)]
            assert first.text == second.text
            assert second.hit


async def test_a_mounted_application_behind_a_copy_asks(lab):
    """Where routing goes on in an application that is given a copy, its framework is the caller."""
    inner = FastAPI()
    inner.get("/")(function)
    inner.state.runs = []
    inner.add_middleware(Copying)
    async with App():
        client = lab.Client(cached(Starlette(routes=[Mount("/sub", inner)])))
        assert [(await client("/sub/")).text for _ in range(2)] == ["run 1", "run 1"]


class Copying:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(dict(scope), receive, send)


@pytest.mark.parametrize("included", [False, True])
async def test_bound_methods_of_a_service_ask(lab, included):
    """An object of the application's own is no argument that comes from the request."""
    site, router = FastAPI(), APIRouter()
    (router if included else site).get("/page")(Bound().page)
    if included:
        site.include_router(router)
    site.state.runs = []
    async with App():
        client = lab.Client(cached(site))
        assert not (await client("/page")).hit
        assert (await client("/page")).hit


async def test_controllers_of_litestar_ask(lab):
    """What Litestar calls is a method of theirs."""
    runs = []

    class Pages(Controller):
        @get("/")
        @http_cache("1 minute")
        async def page(self) -> str:
            return runs_of(runs)

    async with App():
        client = lab.Client(Litestar([Pages], middleware=[HttpCacheMiddleware]))
        assert [(await client("/")).text for _ in range(2)] == ["run 1", "run 1"]


async def test_a_decorator_above_is_named_once(lab, caplog):
    """It may change what is returned, so nothing is cached, and one log line says why."""
    caplog.set_level(logging.WARNING, "stillfresh")
    async with App():
        client = lab.Client(cached(under_a_decorator()))
        for _ in range(2):
            await client("/", ANN)
    (line,) = [one.getMessage() for one in caplog.records]
    assert "page: @http_cache must be the decorator next to the route" in line


async def test_what_a_called_endpoint_invalidates_is_dropped(lab):
    """`invalidates=` counts for a success, whoever has called the function."""
    site, runs = FastAPI(), []

    @site.get("/")
    @http_cache("1 minute", tags=["page"])
    async def page():
        return runs_of(runs)

    @http_cache(invalidates=["page"])
    async def change():
        return "changed"

    @site.post("/change")
    async def calling():
        return await change()

    async with App():
        client = lab.Client(cached(site))
        assert (await client("/")).text == (await client("/")).text == '"run 1"'
        await client("/change", method="POST")
        assert (await client("/")).text == '"run 2"'
