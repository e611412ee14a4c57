"""A URL that is rewritten between the cache and the endpoint is another one for each client."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Request
from litestar import Litestar, get
from litestar import Request as LitestarRequest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from stillfresh import App, HttpCache, HttpCacheMiddleware, action, http_cache

ANN, BOB = {"X-User": "ann"}, {"X-User": "bob"}


def path(scope, who):
    scope.update(path=f"/{who}/page", raw_path=f"/{who}/page".encode())


def path_alone(scope, who):
    scope["path"] = f"/{who}/page"


def query(scope, who):
    scope["query_string"] = f"who={who}".encode()


def host(scope, who):
    others = [line for line in scope["headers"] if line[0] != b"host"]
    scope["headers"] = [*others, (b"host", who.encode())]


def root(scope, who):
    scope.update(root_path=f"/{who}", path=f"/{who}{scope['path']}")


def root_alone(scope, who):
    scope["root_path"] = f"/{who}"


def scheme(scope, who):
    scope["scheme"] = who


def server(scope, who):
    scope["server"] = (who, 80)


REWRITES = [path, path_alone, query, host, root, root_alone, scheme, server]


class Rewriting:
    """Rewrites by a field that is in no key; in place, or in a copy."""

    def __init__(self, app, how, *, copies=True):
        self.app, self.how, self.copies = app, how, copies

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            who = dict(scope["headers"]).get(b"x-user")
            if who is not None:
                scope = dict(scope) if self.copies else scope
                self.how(scope, who.decode())
        await self.app(scope, receive, send)


def seen(request):
    return f"{request.url} {request.base_url} {request.scope['server']} {request.path_params}"


def by_fastapi(**options):
    site = FastAPI()

    @http_cache("1 minute", **options)
    async def page(request: Request) -> str:
        return seen(request)

    site.get("/page")(page)
    site.get("/{who}/page")(page)
    return site


def by_starlette(**options):
    @http_cache("1 minute", **options)
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(seen(request))

    return Starlette(routes=[Route("/page", page), Route("/{who}/page", page)])


def by_litestar(**options):
    @get(["/page", "/{who:str}/page"])
    @http_cache("1 minute", **options)
    async def page(request: LitestarRequest) -> str:
        return seen(request)

    return Litestar([page], openapi_config=None)


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("how", REWRITES)
@pytest.mark.parametrize("make", [by_fastapi, by_starlette, by_litestar])
async def test_a_url_that_was_rewritten_inside_is_in_the_key(lab, make, how, copies):
    """Each client gets the page for the URL that its own request became, and gets it from there."""
    async with App() as app:
        site = Rewriting(make(), how, copies=copies)
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        got = [await client("/page", who) for who in (ANN, BOB, {}, ANN, BOB, {})]
        texts = [one.text for one in got]
        assert texts[:3] == texts[3:]
        assert len(set(texts)) == 3
        if make is not by_litestar:  # of its requests nobody sees that it is the host alone
            assert [one.hit for one in got if one.status == 200][3:] == [True] * 3


@pytest.mark.parametrize("how", [path, query, host])
async def test_the_short_way_answers_for_no_rewritten_url(lab, how):
    """A public page is answered before routing, and so is none whose URL is rewritten on the way."""
    async with App() as app:
        site = Rewriting(by_fastapi(public=True), how)
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        got = [await client("/page", who) for who in (ANN, BOB, ANN, BOB)]
        assert [one.text for one in got[:2]] == [one.text for one in got[2:]]
        assert got[0].text != got[1].text


async def test_a_page_that_was_learnt_is_not_filled_from_a_rewritten_url(lab):
    """It is known as public by then: the endpoint says that this one is another, and is asked again."""
    async with App() as app:
        site = Rewriting(by_fastapi(public=True, tags=["pages"]), query)
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        await client("/page")
        await client("/page")
        await app.invalidate_tags("pages")
        got = [await client("/page", who) for who in (ANN, BOB, {}, ANN)]
        assert ["who=ann" in one.text for one in got] == [True, False, False, True]
        assert ["who=bob" in one.text for one in got] == [False, True, False, False]


@pytest.mark.parametrize("inside", [True, False])
async def test_what_a_mount_notes_is_no_rewriting(lab, inside):
    """Neither is FastAPI(root_path=...): a public page is still answered before routing."""
    site = by_fastapi(public=True)
    async with App() as app:
        if inside:
            site = Starlette(routes=[Mount("/shop", site)])
        else:
            site.root_path = "/shop"
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        for _ in range(2):
            assert (await client("/shop/page", ANN)).status == 200
        assert (
            client.app.engine.short_ways.ready(client.scope("GET", "/shop/page", ANN)) is not None
        )


class Pager:
    """Has no text that a key could hold, and comes from the URL alone."""

    def __init__(self, who: str = "") -> None:
        self.who = who


@pytest.mark.parametrize("rewrites", [True, False])
async def test_an_object_of_the_url_is_kept_as_long_as_the_url_is_known(lab, rewrites):
    """In a copied scope nobody sees which URL FastAPI has made it of."""
    site = FastAPI()

    @site.get("/page")
    @http_cache("1 minute")
    async def page(pager: Annotated[Pager, Depends()]) -> str:
        return pager.who

    async with App() as app:
        inner = Rewriting(site, query) if rewrites else site
        client = lab.Client(HttpCacheMiddleware(inner, cache_app=app))
        got = [await client("/page", who) for who in ({}, ANN, BOB)]
        assert [one.text for one in got] == [
            '""',
            *(['"ann"', '"bob"'] if rewrites else ['""'] * 2),
        ]
        assert got[2].hit is not rewrites


class Where:
    @action("/page", cache=True)
    async def page(self, request: Request) -> str:
        return str(request.url)


async def test_an_action_is_asked_for_the_url_that_it_sees(lab):
    """The middleware stands around the actions, inside of their app."""
    async with App(Where) as app:
        app.http.add_middleware(Rewriting, how=query)
        client = lab.Client(app)
        got = [await client("/page", who) for who in (ANN, BOB, ANN)]
        assert ["who=ann" in one.text for one in got] == [True, False, True]
        assert got[2].hit


class Naming:
    """Says in a field of its own where a client is, by something that is in no key."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        who = dict(scope["headers"])[b"x-user"]
        lines = [*scope["headers"], (b"x-place", who)]
        await self.app({**scope, "headers": lines}, receive, send)


@pytest.mark.parametrize("option", [{}, {"per": lambda request: "all"}])
async def test_a_field_that_was_written_inside_is_in_no_variant(lab, option):
    """`Vary` names it, but the client's request does not have it."""
    policy = HttpCache("1 minute", **option)

    @http_cache(policy)
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.headers["x-place"], headers={"Vary": "X-Place"})

    async with App() as app:
        site = Starlette(routes=[Route("/page", page)], middleware=[Middleware(Naming)])
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        assert [(await client("/page", who)).text for who in (ANN, BOB)] == ["ann", "bob"]
