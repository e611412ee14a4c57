"""A request of a class of the application's own, or with something put on it, keeps all that."""

import gzip
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from litestar import Litestar, get
from litestar import Request as LitestarRequest

from stillfresh import App, HttpCacheMiddleware, http_cache

ANN, BOB = {"X-User": "ann"}, {"X-User": "bob"}


class GzipRequest(Request):
    """As FastAPI's documentation has it."""

    async def body(self):
        if not hasattr(self, "_body"):
            body = await super().body()
            if "gzip" in self.headers.getlist("Content-Encoding"):
                body = gzip.decompress(body)
            self._body = body
        return self._body

    @property
    def tenant(self):
        return self.headers.get("x-user")


class Made(GzipRequest):
    def __init__(self, scope, receive, who):
        super().__init__(scope, receive)
        self.who = who


class Other(GzipRequest):
    @property
    def headers(self):
        return super().headers


class Slotted(GzipRequest):
    __slots__ = ("who",)


class Last(GzipRequest):
    def __init_subclass__(cls):
        raise TypeError("no heirs")


def site_of(make, read, **options):
    class Handing(APIRoute):
        def get_route_handler(self):
            handle = super().get_route_handler()

            async def handed(request):
                return await handle(make(request))

            return handed

    site = FastAPI()
    site.router.route_class = Handing
    site.add_middleware(HttpCacheMiddleware)

    @site.get("/")
    @http_cache("1 minute", **options)
    async def page(request: Request):
        return read(request)

    return site


def plain(request):
    return GzipRequest(request.scope, request.receive)


async def test_a_class_of_ones_own_is_cached(lab):
    """A handler that reads nothing of it is cached as under Starlette's."""
    async with App():
        client = lab.Client(site_of(plain, lambda request: type(request).__name__))
        first, second = [await client("/", user) for user in (ANN, BOB)]
        assert first.text == second.text == '"GzipRequest"'
        assert second.hit


async def test_what_its_methods_read_is_noted(lab):
    """A property of that class that reads a field makes the response one client's."""
    async with App():
        client = lab.Client(site_of(plain, lambda request: request.tenant))
        got = [await client("/", user) for user in (ANN, BOB, ANN)]
        assert [one.text for one in got] == ['"ann"', '"bob"', '"ann"']


def with_arguments(request):
    return Made(request.scope, request.receive, request.headers["x-user"])


def other(request):
    made = Other(request.scope, request.receive)
    made.who = request.headers["x-user"]
    return made


def slotted(request):
    made = Slotted(request.scope, request.receive)
    made.who = request.headers["x-user"]
    return made


def last(request):
    made = Last(request.scope, request.receive)
    made.who = request.headers["x-user"]
    return made


def by_hand(request):
    request.who = request.headers["x-user"]
    return request


@pytest.mark.parametrize("make", [with_arguments, other, slotted, last, by_hand])
async def test_what_stands_on_a_request_counts_as_read(lab, make):
    """Arguments of its class, attributes and slots may say who asks; nothing is stored."""
    async with App():
        client = lab.Client(site_of(make, lambda request: request.who))
        got = [await client("/", user) for user in (ANN, BOB, ANN)]
        assert [one.text for one in got] == ['"ann"', '"bob"', '"ann"']
        assert not any(one.hit for one in got)


async def test_what_a_dependency_puts_on_it_is_there(lab):
    """The handler sees it, and it counts as read."""
    site = FastAPI()
    site.add_middleware(HttpCacheMiddleware)

    def noting(request: Request) -> None:
        cast_any(request).who = request.headers["x-user"]

    @site.get("/", dependencies=[Depends(noting)])
    @http_cache("1 minute")
    async def page(request: Request):
        return cast_any(request).who

    async with App():
        client = lab.Client(site)
        got = [await client("/", user) for user in (ANN, BOB, ANN)]
        assert [one.text for one in got] == ['"ann"', '"bob"', '"ann"']


def cast_any(request: Any) -> Any:
    return request


async def test_what_is_put_on_a_request_of_litestar_is_there(lab):
    """A class of one's own has room for it there."""

    class Own(LitestarRequest):
        pass

    @get("/")
    @http_cache("1 minute")
    async def page(request: LitestarRequest) -> str:
        return f"{cast_any(request).who}"

    def before(request: LitestarRequest) -> None:
        cast_any(request).who = request.headers["x-user"]

    site = Litestar(
        [page], request_class=Own, before_request=before, middleware=[HttpCacheMiddleware]
    )
    async with App():
        client = lab.Client(site)
        got = [await client("/", user) for user in (ANN, BOB, ANN)]
        assert [one.text for one in got] == ["ann", "bob", "ann"]
