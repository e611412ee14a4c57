"""Nobody gets what was made for somebody else, however the application learnt who asks."""

import asyncio
from contextvars import ContextVar
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Header, Request, Response
from litestar import Litestar, get
from litestar import Request as LitestarRequest
from litestar.di import NamedDependency, Provide
from litestar.params import HeaderParameter, QueryParameter
from litestar.types import Scope
from opentelemetry.context import Context
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from stillfresh import (
    App,
    CacheProvider,
    HttpCache,
    HttpCacheMiddleware,
    RedisCacheProvider,
    action,
    http_cache,
)

ANN, BOB = {"X-User": "ann"}, {"X-User": "bob"}
user: ContextVar[str] = ContextVar("user", default="nobody")


class Database:
    """Has no text that a key could hold."""


def database() -> Database:
    return Database()


async def asking(request: LitestarRequest, db: NamedDependency[Database]) -> str:
    assert db is not None
    return request.headers["x-user"]


@get("/parameter")
@http_cache("1 minute")
async def by_parameter(who: Annotated[str, HeaderParameter(name="X-User")]) -> str:
    return who


@get("/request")
@http_cache("1 minute")
async def by_request(request: LitestarRequest) -> str:
    return request.headers["x-user"]


@get("/dependency", dependencies={"who": Provide(asking)})
@http_cache("1 minute")
async def by_dependency(who: NamedDependency[str]) -> str:
    return who


@get("/scope")
@http_cache("1 minute")
async def by_scope(scope: Scope) -> str:
    return dict(scope["headers"])[b"x-user"].decode()


@get("/kept")
@http_cache("1 minute")
async def kept(
    request: LitestarRequest,
    db: NamedDependency[Database],
    page: Annotated[int, QueryParameter()] = 1,
) -> str:
    return f"{request.method} {page} {type(db).__name__}"


PAGES = [by_parameter, by_request, by_dependency, by_scope, kept]


@pytest.mark.parametrize("path", ["/parameter", "/request", "/dependency", "/scope"])
async def test_litestar_gives_a_handler_nothing_that_is_not_in_the_key(lab, path):
    """Header parameters, dependencies, the request and the scope: by value, or watched."""
    async with App() as app:
        provided = {"db": Provide(database, sync_to_thread=False)}
        site = Litestar(PAGES, dependencies=provided)
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        assert [(await client(path, who)).text for who in (ANN, BOB, ANN)] == ["ann", "bob", "ann"]


async def test_litestar_pages_that_show_nothing_of_it_are_kept(lab):
    """A session of a database does not see the request, and reading the method tells nothing."""
    async with App() as app:
        provided = {"db": Provide(database, sync_to_thread=False)}
        site = Litestar(PAGES, dependencies=provided)
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        for path, text in (("/kept", "GET 1 Database"), ("/kept?page=2", "GET 2 Database")):
            got = [await client(path, who) for who in (ANN, BOB)]
            assert [one.text for one in got] == [text, text]
            assert got[1].hit


class Copying:
    """A middleware that hands on a copy, so that nobody outside sees what routing notes."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(dict(scope), receive, send)


async def test_a_copied_scope_hides_no_parameter(lab):
    """FastAPI's notes on the endpoint are in the copy; its arguments are in the key all the same."""
    site = FastAPI()

    @site.get("/")
    @http_cache("1 minute")
    async def page(x_user: Annotated[str, Header()]) -> str:
        return x_user

    site.add_middleware(Copying)
    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        assert [(await client("/", who)).text for who in (ANN, BOB)] == ['"ann"', '"bob"']


class SigningIn:
    """A middleware around a whole app, which keeps the user where handlers find it."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        name = dict(scope["headers"]).get(b"x-user")
        token = None if name is None else user.set(name.decode())
        try:
            await self.app(scope, receive, send)
        finally:
            if token is not None:
                user.reset(token)


class Api:
    @action("/me", cache=True)
    async def me(self) -> str:
        return user.get()


@pytest.mark.parametrize("first", ["ann", "nobody"])
async def test_a_context_variable_set_around_an_app_is_seen(lab, first):
    """Also where the page of nobody is there already, and even the short way knows it."""
    async with App(Api) as app:
        client = lab.Client(SigningIn(app))
        for _ in range(3 if first == "nobody" else 0):
            assert (await client("/me")).text == '"nobody"'
        assert [(await client("/me", who)).text for who in (ANN, BOB)] == ['"ann"', '"bob"']
        got = [await client("/me") for _ in range(2)]
        assert [one.text for one in got] == ['"nobody"', '"nobody"']
        assert got[1].hit


@pytest.mark.parametrize("own", [True, False])
async def test_a_variable_counts_by_what_is_in_it(lab, own):
    """`current_context` is OpenTelemetry's name; an application's own one may hold the user."""
    variable: ContextVar[object] = ContextVar("current_context")

    class Tracing:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            name = dict(scope["headers"]).get(b"x-user", b"").decode()
            token = variable.set({"user": name} if own else Context({"span": name}))
            try:
                await self.app(scope, receive, send)
            finally:
                variable.reset(token)

    @http_cache("1 minute")
    async def page(_: object) -> PlainTextResponse:
        return PlainTextResponse(str(variable.get()))

    async with App() as app:
        site = HttpCacheMiddleware(Starlette(routes=[Route("/", page)]), cache_app=app)
        client = lab.Client(Tracing(site))
        got = [await client("/", who) for who in (ANN, BOB)]
        assert got[1].hit is not own


class Rewriting:
    """A middleware outside, which sends versions of an API to paths of their own."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        version = dict(scope["headers"]).get(b"x-version", b"1").decode()
        await self.app({**scope, "path": f"/v{version}{scope['path']}"}, receive, send)


@pytest.mark.parametrize("how", ["late", "public", "safe"])
async def test_a_path_that_was_rewritten_is_another_one(lab, how):
    """Applications route by `path`, so `raw_path` alone does not say what was asked for."""

    async def version(request):
        text = request.path_params["version"]
        return PlainTextResponse(text, headers={"Cache-Control": "public, max-age=60"})

    page = version if how == "safe" else http_cache("1 minute", public=how == "public")(version)
    async with App() as app:
        site = Starlette(routes=[Route("/v{version}/page", page)])
        inner = HttpCacheMiddleware(site, "safe" if how == "safe" else None, cache_app=app)
        client = lab.Client(Rewriting(inner))
        for _ in range(3):
            for one in ("1", "2"):
                assert (await client("/page", {"X-Version": one})).text == one
        assert (await client("/page")).hit


async def test_root_paths_are_in_the_key(lab):
    """Links in a page begin with the root path, whether or not the server's raw path has it."""

    @http_cache("1 minute")
    async def page(request):
        return PlainTextResponse(request.scope["root_path"])

    async with App() as app:
        site = HttpCacheMiddleware(Starlette(routes=[Route("/page", page)]), cache_app=app)
        client = lab.Client(site)
        for root in ("/a", "/b", "/a"):
            assert (await client("/page", root_path=root)).text == root


async def test_one_name_in_two_spellings_keeps_its_order(lab):
    """`a+b` and `a%20b` are one parameter: sorting must not swap its values."""

    @http_cache("1 minute")
    async def page(request):
        return PlainTextResponse(request.query_params["a b"])

    async with App() as app:
        site = HttpCacheMiddleware(Starlette(routes=[Route("/", page)]), cache_app=app)
        client = lab.Client(site)
        assert (await client("/?a+b=1&a%20b=2")).text == "2"
        assert (await client("/?a%20b=2&a+b=1")).text == "1"


async def test_what_a_stranger_writes_about_a_proxy_is_not_stored(lab):
    """`public=True` says whose a page is, and not that X-Forwarded-Host may be believed."""

    @http_cache("1 minute", public=True)
    async def page(request):
        return PlainTextResponse(request.headers.get("x-forwarded-host", "own"))

    async with App() as app:
        site = HttpCacheMiddleware(Starlette(routes=[Route("/", page)]), cache_app=app)
        client = lab.Client(site)
        assert (await client("/", {"X-Forwarded-Host": "evil"})).text == "evil"
        assert (await client("/")).text == "own"
        assert (await client("/", {"X-Forwarded-Host": "evil"})).text == "own"


@pytest.mark.parametrize("how", ["endpoint", "items", "copy", "merged", "fields", "text"])
async def test_a_scope_tells_nothing_unseen(lab, how):
    """Neither that of an HTTPEndpoint, nor a copy of all that is in it."""

    @http_cache("1 minute")
    class Page(HTTPEndpoint):
        async def get(self, request):
            scope = {
                "endpoint": lambda: self.scope,
                "items": lambda: dict(request.scope.items()),
                "copy": lambda: request.scope.copy(),
                "merged": lambda: {**request.scope},
                "fields": lambda: {"headers": request.headers.mutablecopy().raw},
                "text": lambda: {"headers": [(b"x-user", str(request.scope).encode())]},
            }[how]()
            return PlainTextResponse(dict(scope["headers"])[b"x-user"])

    def shown(got):
        return [name for name in ("ann", "bob") if name in got.text]

    async with App() as app:
        site = HttpCacheMiddleware(Starlette(routes=[Route("/", Page)]), cache_app=app)
        client = lab.Client(site)
        assert [shown(await client("/", who)) for who in (ANN, BOB)] == [["ann"], ["bob"]]


class Fields(BaseModel):
    """A model of header parameters."""

    x_user: str


class Modelled:
    @action("/model", cache=True)
    async def model(self, fields: Annotated[Fields, Header()]) -> str:
        return fields.x_user


async def test_a_model_of_header_parameters_is_in_the_key(lab):
    """It takes fields of the request by other names than its own."""
    async with App(Modelled) as app:
        client = lab.Client(app)
        for _ in range(2):
            assert [(await client("/model", who)).text for who in (ANN, BOB)] == ['"ann"', '"bob"']


class Naming:
    """A middleware inside, which writes a field into each response."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def outward(message):
            if message["type"] == "http.response.start":
                name = dict(scope["headers"])[b"x-user"]
                message = {**message, "headers": [*message["headers"], (b"x-for", name)]}
            await send(message)

        await self.app(scope, receive, outward)


async def test_fields_that_are_set_around_an_endpoint_are_those_of_who_asks(lab):
    """A middleware writes them at a hit, too; those that were stored are another client's."""

    @http_cache("1 minute")
    async def page(_: object) -> PlainTextResponse:
        return PlainTextResponse("page")

    async with App() as app:
        site = Starlette(routes=[Route("/", page)], middleware=[Middleware(Naming)])
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        got = [await client("/", who) for who in (ANN, BOB, ANN)]
        assert [one.get("x-for") for one in got] == ["ann", "bob", "ann"]
        assert got[1].hit
        assert got[1].text == got[0].text
        unchanged = await client("/", {**BOB, "If-None-Match": got[0].get("etag")})
        assert (unchanged.status, unchanged.get("x-for")) == (304, "bob")


async def test_what_a_dependency_writes_for_one_is_not_stored(lab):
    """FastAPI adds its fields to what a handler returns, so they would be stored with it."""
    site = FastAPI()

    def note(response: Response, x_user: Annotated[str, Header()]) -> None:
        response.headers["X-For"] = x_user

    @site.get("/", dependencies=[Depends(note)])
    @http_cache("1 minute")
    async def page() -> str:
        return "page"

    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        got = [await client("/", who) for who in (ANN, BOB, ANN)]
        assert [one.get("x-for") for one in got] == ["ann", "bob", "ann"]


class NotHereError(Exception):
    pass


class Missing:
    @action("/missing", cache=HttpCache("1 minute", negative_ttl={404: 5}))
    async def missing(self) -> str:
        raise NotHereError

    @action("/files/{name:path}", cache=True)
    async def file(self, name: str) -> str:
        return name

    @action("/mine/{name:path}", cache=True)
    async def mine(self, name: str, request: Request) -> str:
        return f"{request.method} {name}"


@pytest.mark.parametrize("status", [200, 404])
async def test_a_page_for_an_exception_is_not_kept(lab, status):
    """The action sees nothing of the request, but the handler of its exception does."""
    async with App(Missing) as app:

        @app.http.exception_handler(NotHereError)
        async def explain(request: Request, _: NotHereError) -> PlainTextResponse:
            return PlainTextResponse(request.headers["x-user"], status)

        client = lab.Client(app)
        for _ in range(2):
            assert [(await client("/missing", who)).text for who in (ANN, BOB)] == ["ann", "bob"]


async def test_an_action_that_takes_any_path_is_kept_only_if_it_is_nobodys(lab):
    """Under `/mine/x.css` a cache in front would keep it for everybody."""
    async with App(Missing) as app:
        client = lab.Client(app)
        for path, kept in (("/files/x.css", True), ("/mine/x.css", False)):
            await client(path)
            assert (await client(path)).hit is kept


async def test_a_post_drops_what_all_hosts_share(lab):
    """With `host_in_key=False` the page is of no host, and a POST to any of them makes it old."""
    runs = []

    class Page:
        @action("/page", cache=HttpCache("1 minute", host_in_key=False))
        async def page(self) -> int:
            runs.append(0)
            return len(runs)

        @action("/page", method="POST")
        async def change(self) -> None: ...

    async with App(Page) as app:
        one, two = lab.Client(app, host="one"), lab.Client(app, host="two")
        assert [(await client("/page")).text for client in (one, two)] == ["1", "1"]
        await two("/page", method="POST")
        assert (await one("/page")).text == "2"


async def test_the_look_at_the_start_sees_an_application_inside(lab):
    """A middleware that is wrapped around an application knows its routes as well."""

    @http_cache("1 minute")
    async def anything(request):
        return PlainTextResponse(request.path_params["rest"])

    async with App() as app:
        site = Starlette(routes=[Route("/{rest:path}", anything)])
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        for _ in range(2):
            assert not (await client("/me/x.css")).hit


@pytest.mark.parametrize("profile", ["safe", "rfc"])
@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"per": lambda request: request.headers["x-user"]}, "x-user"),
        ({"key": lambda request: request.headers["x-user"]}, "x-user"),
        ({"vary_cookies": ["user"]}, "cookie"),
    ],
)
async def test_what_a_whole_application_adds_to_the_key_counts_on_the_short_way(
    lab, provider, profile, options, name
):
    """A request that looks the same otherwise never gets what was kept for another one."""
    app = App()
    if provider is not None:
        app.provide(CacheProvider, provider)

    async def page(request: Request) -> Response:
        return PlainTextResponse(request.headers[name], headers={"cache-control": "max-age=60"})

    policy = HttpCache.for_app(profile, trust_forwarded=False, **options)
    site = Starlette(routes=[Route("/", page)])
    client = lab.Client(HttpCacheMiddleware(site, policy=policy, cache_app=app))
    async with app:
        for who in ("user=ann", "user=bob"):
            got = [(await client("/", {name: who})).text for _ in range(4)]
            assert got == [who] * 4


async def test_credentials_cost_nobody_else_the_cache(lab):
    """
    Anybody may send the field, and whoever waits behind it still shares one run.

    1. a request with credentials leads; its response is for it alone
    2. the others have waited: one of them leads, and the rest have its response
    3. the key does not rest: the next request is a hit
    """
    runs, entered, go = [], asyncio.Event(), asyncio.Event()

    class Api:
        @action("/", cache="1 minute")
        async def page(self) -> int:
            runs.append(1)
            entered.set()
            await go.wait()
            return len(runs)

    app = App(Api)
    async with app:
        get = lab.Client(app)
        leader = asyncio.create_task(get("/", {"Authorization": "x"}))
        await entered.wait()
        others = [asyncio.create_task(get("/")) for _ in range(5)]
        await asyncio.sleep(0)
        go.set()
        assert (await leader).get("cache-control") == "private, no-cache"
        assert {(await one).text for one in others} == {"2"}
        assert len(runs) == 2
        assert (await get("/")).hit


@pytest.mark.parametrize("said", ["public", "s-maxage=60", "max-age=60, must-revalidate"])
async def test_what_the_handler_says_opens_an_action_to_credentials(lab, said):
    """RFC 9111 3.5: these directives of its own, and not those that the cache adds."""

    class Api:
        @action("/", cache="1 minute")
        async def page(self, response: Response) -> str:
            response.headers["cache-control"] = said
            return "page"

        @action("/all", cache=HttpCache("1 minute", public=True))
        async def everybody(self) -> str:
            return "page"

    app = App(Api)
    async with app:
        get = lab.Client(app)
        for target in ("/", "/all"):
            assert not (await get(target, {"Authorization": "ann"})).hit
            assert (await get(target, {"Authorization": "bob"})).hit
            assert (await get(target)).hit


def of_key(request):
    return request.headers.get("x-api-key")


@pytest.mark.parametrize("option", ["per", "key"])
@pytest.mark.parametrize("kind", ["action", "fastapi", "starlette"])
async def test_what_is_in_the_key_may_be_read(lab, kind, option):
    """A field that `per=` or `key=` looks at is no secret of the handler; clients learn it in Vary."""
    runs = []
    cached = HttpCache("1 minute", **{option: of_key})

    def answer(request):
        runs.append(1)
        return PlainTextResponse(request.headers["x-api-key"])

    class Api:
        @action("/", cache=cached)
        async def page(self, request: Request) -> Response:
            return answer(request)

    async def page(request: Request) -> Response:
        return answer(request)

    app = App(Api)
    site = FastAPI() if kind == "fastapi" else Starlette()
    add = site.add_api_route if kind == "fastapi" else site.add_route
    add("/", http_cache(cached)(page))
    site.add_middleware(HttpCacheMiddleware, cache_app=app)
    async with app:
        get = lab.Client(app if kind == "action" else site)
        for name in ("ann", "bob"):
            asked = {"X-Api-Key": name}
            assert (await get("/", asked)).text == name
            got = await get("/", asked)
            assert got.hit
            assert got.text == name
            vary = {one.strip() for one in got.get("vary").split(",")}
            assert vary == {"X-Api-Key"} | (
                {"Cookie", "Authorization"} if option == "per" else set()
            )
    assert len(runs) == 2


@pytest.mark.parametrize("whole", [True, False])
async def test_a_part_of_a_field_in_the_key_is_not_the_field(lab, whole):
    """A key that tells groups apart says nothing of who is in one: what is made of it is not shared."""
    runs = []
    said = of_key if whole else lambda request: of_key(request)[:4]

    async def page(request):
        runs.append(1)
        return PlainTextResponse(request.headers["x-api-key"])

    site = Starlette(routes=[Route("/", http_cache("1 minute", key=said)(page))])
    async with App() as app:
        get = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        for name in ("gold-ann", "gold-bob", "gold-ann"):
            assert (await get("/", {"X-Api-Key": name})).text == name
    assert len(runs) == (2 if whole else 3)


@pytest.mark.parametrize(
    "reads",
    [
        lambda request: str(sorted(request.headers.items())),
        lambda request: request.state.tenant,
        lambda request: request.scope["tenant"],
    ],
    ids=["all fields", "state", "scope"],
)
async def test_what_names_no_field_allows_none(lab, reads):
    """`key=` of all that is there, or of a middleware's notes, does not say what counts of them."""
    runs = []

    async def page(request):
        runs.append(1)
        seen = request.headers.get("x-user", ""), request.state.user, request.scope["who"]
        return PlainTextResponse(repr(seen))

    class Noting:
        def __init__(self, asgi):
            self.asgi = asgi

        async def __call__(self, scope, receive, send):
            who = dict(scope["headers"]).get(b"x-user", b"").decode()
            noted = {"tenant": "acme", "user": who}
            await self.asgi(scope | {"state": noted, "tenant": "acme", "who": who}, receive, send)

    site = Starlette(routes=[Route("/", http_cache("1 minute", key=reads)(page))])
    async with App() as app:
        get = lab.Client(Noting(HttpCacheMiddleware(site, cache_app=app)))
        for name in ("ann", "bob", "ann"):
            assert name in (await get("/", {"X-User": name})).text
    assert len(runs) == 3


@pytest.mark.parametrize("first", [{}, {"Authorization": "ann"}])
async def test_one_log_line_says_how_credentials_are_cached(lab, caplog, first):
    """Of a route that is asked with Authorization, once; not where its handler says who may have it."""

    class Api:
        @action("/", cache="1 minute")
        async def page(self) -> str:
            return "page"

        @action("/open", cache="1 minute")
        async def opened(self, response: Response) -> str:
            response.headers["cache-control"] = "public"
            return "page"

        @action("/all", cache=HttpCache("1 minute", public=True))
        async def everybody(self) -> str:
            return "page"

    app = App(Api)
    async with app:
        for target in ("/", "/open", "/all"):
            await lab.Client(app)(target, first)
            for _ in range(2):
                await lab.Client(app)(target, {"Authorization": "bob"})
    (record,) = caplog.records
    said = record.getMessage()
    assert "page" in said
    assert "Authorization" in said
    assert "public=True" in said
    assert "per=" in said


class Hosts:
    @action("/host", cache=HttpCache("1 minute", public=True))
    async def host(self, request: Request) -> str:
        return request.headers["host"]


@pytest.mark.parametrize("distant", [False, True])
async def test_of_two_hosts_the_first_counts_on_every_way(lab, distant, url, prefix):
    """The short way, the key and the handler speak of the same one."""
    app = App(Hosts)
    if distant:
        app.provide(CacheProvider, RedisCacheProvider(url, prefix=prefix))
    async with app:
        client = lab.Client(app)
        for _ in range(3):
            for pair in (("shop", "evil"), ("evil", "shop")):
                got = await client("/host", [("host", name) for name in pair])
                assert got.text == f'"{pair[0]}"'


@pytest.mark.parametrize("framework", [FastAPI, Litestar])
async def test_what_answers_no_head_answers_none_after_a_get(lab, framework):
    """Routes for GET alone refuse HEAD, and so does the cache in front, stored page or not."""

    @http_cache("1 minute", public=True)
    async def page() -> str:
        return "all"

    if framework is FastAPI:
        site = FastAPI()
        site.get("/")(page)
    else:
        site = Litestar([get("/")(page)])

    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        assert (await client("/", method="HEAD")).status == 405
        for _ in range(3):
            assert (await client("/")).status == 200
            assert (await client("/", method="HEAD")).status == 405
