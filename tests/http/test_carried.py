"""Who asks is seen also where it reaches a handler by way of something that sees no request."""

from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from litestar import Litestar, get
from litestar import Request as LitestarRequest
from litestar.di import NamedDependency, Provide
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from stillfresh import App, HttpCacheMiddleware, action, http_cache

ANN, BOB, NOBODY = {"X-User": "ann"}, {"X-User": "bob"}, {}


class Session:
    """Has no text that a key could hold."""

    user = "nobody"


def session() -> Session:
    return Session()


class Repository:
    def __init__(self, rows: Session) -> None:
        self.rows = rows


def repository(rows: Annotated[Session, Depends(session)]) -> Repository:
    return Repository(rows)


def secure(request: Request, rows: Annotated[Session, Depends(session)]) -> None:
    rows.user = request.headers["x-user"]


def secure_all(request: Request, made: Annotated[Repository, Depends(repository)]) -> None:
    made.rows.user = request.headers["x-user"]


async def shown(lab, site, *who):
    """Return what each client gets from the page of an application behind a cache."""
    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        return [await client("/", one) for one in who]


@pytest.mark.parametrize("dependency", [secure, secure_all])
@pytest.mark.parametrize("through", [session, repository])
async def test_a_session_into_which_a_dependency_writes_who_asks_is_not_shared(
    lab, dependency, through
):
    """The session itself sees no request; another dependency does, and is given it as well."""
    site = FastAPI()

    @site.get("/", dependencies=[Depends(dependency)])
    @http_cache("1 minute")
    async def page(given: Annotated[Any, Depends(through)]) -> str:
        return getattr(given, "rows", given).user

    got = await shown(lab, site, ANN, BOB)
    assert [one.text for one in got] == ['"ann"', '"bob"']


async def test_a_session_that_nobody_writes_into_costs_nothing(lab):
    """What sees the request, and is not given the session, does not count."""
    site = FastAPI()

    def counting(request: Request) -> None:
        assert request.method == "GET"

    @site.get("/", dependencies=[Depends(counting)])
    @http_cache("1 minute")
    async def page(rows: Annotated[Session, Depends(session)]) -> str:
        return rows.user

    assert (await shown(lab, site, ANN, BOB))[1].hit


async def test_background_tasks_do_not_carry_who_asks(lab):
    """A dependency is given the same object as the handler."""
    site = FastAPI()

    def fill(request: Request, tasks: BackgroundTasks) -> None:
        tasks.user = request.headers["x-user"]  # type: ignore[attr-defined]

    @site.get("/", dependencies=[Depends(fill)])
    @http_cache("1 minute")
    async def page(tasks: BackgroundTasks) -> str:
        return str(tasks.user)  # type: ignore[attr-defined]

    got = await shown(lab, site, ANN, BOB)
    assert [one.text for one in got] == ['"ann"', '"bob"']


async def test_a_response_that_another_dependency_hands_on_is_written_into(lab):
    """The one that is given the response sees no request, and the one that does writes into it."""
    site = FastAPI()

    def fields(response: Response) -> Response:
        return response

    def greet(request: Request, response: Annotated[Response, Depends(fields)]) -> None:
        if "x-user" in request.headers:
            response.headers["x-greet"] = request.headers["x-user"]

    @site.get("/", dependencies=[Depends(greet)])
    @http_cache("1 minute")
    async def page() -> int:
        return 1

    got = await shown(lab, site, ANN, NOBODY)
    assert [one.get("x-greet") for one in got] == ["ann", None]


def sign_in(request: LitestarRequest, rows: NamedDependency[Session]) -> bool:
    rows.user = request.headers["x-user"]
    return True


def count(rows: NamedDependency[Session]) -> bool:
    return rows.user == "nobody"


@pytest.mark.parametrize("provider", [sign_in, count])
async def test_a_provider_of_litestar_into_which_another_one_writes_is_not_shared(lab, provider):
    """As of FastAPI; one that sees nothing of the request costs nothing."""

    @get("/")
    @http_cache("1 minute")
    async def page(rows: NamedDependency[Session], done: NamedDependency[bool]) -> str:
        return rows.user if done else ""

    provided = {
        "rows": Provide(session, sync_to_thread=False),
        "done": Provide(provider, sync_to_thread=False),
    }
    got = await shown(lab, Litestar([page], dependencies=provided), ANN, BOB)
    signed = provider is sign_in
    assert [one.text for one in got] == (["ann", "bob"] if signed else ["nobody", "nobody"])
    assert got[1].hit is not signed


@pytest.mark.parametrize(
    ("name", "harmless"),
    [
        ("request_id", True),
        ("correlation_id_ctx_var", True),
        ("request_identity", False),
        ("request_id_of_user", False),
        ("decimal_context_of_user", False),
    ],
)
async def test_a_context_variable_is_harmless_by_its_whole_name(lab, name, harmless):
    """`request_identity` begins as `request_id` does, and says who asks."""
    variable: ContextVar[str] = ContextVar(name)

    class Api:
        @action("/", cache=True)
        async def page(self) -> str:
            return variable.get()

    async with App(Api) as app:

        async def setting(scope, receive, send):
            variable.set(dict(scope["headers"])[b"x-user"].decode())
            await app(scope, receive, send)

        client = lab.Client(setting)
        got = [await client("/", who) for who in (ANN, BOB)]
        assert got[1].hit is harmless


class Guarded(APIRoute):
    """Lets nobody in who has no cookie."""

    def get_route_handler(self):
        inner = super().get_route_handler()

        async def handle(request):
            if "session" not in request.cookies:
                raise HTTPException(401)
            return await inner(request)

        return handle


class Signed(APIRoute):
    """Writes who asks below each page."""

    def get_route_handler(self):
        inner = super().get_route_handler()

        async def handle(request):
            response = await inner(request)
            response.body += request.headers["x-user"].encode()
            response.headers["content-length"] = str(len(response.body))
            return response

        return handle


class Behind:
    @action("/guarded", cache=True, route_class_override=Guarded)
    async def guarded(self) -> str:
        return "secret"

    @action("/signed", cache=True, route_class_override=Signed)
    async def signed(self) -> str:
        return ""


async def test_an_action_with_a_class_of_routes_of_its_own_is_answered_behind_it(lab):
    """The class sees the whole request: it may refuse one, or write into each page."""
    async with App(Behind) as app:
        client = lab.Client(app)
        asking = [{"Cookie": "session=ann"}, NOBODY]
        assert [(await client("/guarded", one)).status for one in asking] == [200, 401]
        got = [await client("/signed", who) for who in (ANN, BOB)]
        assert [one.text for one in got] == ['""ann', '""bob']


class Noting:
    """A middleware inside, which notes who asks in a part of the scope."""

    def __init__(self, app, part):
        self.app, self.part = app, part

    async def __call__(self, scope, receive, send):
        name = dict(scope["headers"])[b"x-user"].decode()
        scope[self.part] = name if self.part.startswith("fastapi") else {"tenant": name}
        await self.app(scope, receive, send)


@pytest.mark.parametrize("part", ["path_params", "extensions", "fastapi_user"])
async def test_a_part_of_the_scope_that_is_not_its_owners_says_who_asks(lab, part):
    """A middleware may write where servers, routing and FastAPI do."""

    @http_cache("1 minute")
    async def page(request: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse(str(request.scope[part]))

    site = Starlette(routes=[Route("/", page)], middleware=[Middleware(Noting, part=part)])
    got = await shown(lab, site, ANN, BOB)
    assert ["ann" in one.text for one in got] == [True, False]


async def test_pages_with_a_name_in_their_path_are_kept(lab):
    """What routing has found in a path is a part of the URL."""

    @http_cache("1 minute")
    async def page(request: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse(str(request.path_params))

    inner = Mount("/{shop}", routes=[Route("/{item:int}", page)])
    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(Starlette(routes=[inner]), cache_app=app))
        paths = ("/north/1", "/south/1", "/north/2", "/north/1")
        got = [await client(path, ANN) for path in paths]
        assert [one.hit for one in got] == [False, False, False, True]
        assert len({one.text for one in got}) == 3


async def test_an_action_is_not_given_somebody_elses_path_parameters(lab):
    """Code around an app hands them in, as a Mount does."""

    class Api:
        @action("/", cache=True)
        async def page(self, request: Request) -> str:
            return str(request.path_params["tenant"])

    async with App(Api) as app:

        async def outside(scope, receive, send):
            tenant = dict(scope["headers"])[b"x-user"].decode()
            await app({**scope, "path_params": {"tenant": tenant}}, receive, send)

        client = lab.Client(outside)
        got = [await client("/", who) for who in (ANN, BOB, ANN)]
        assert [one.text for one in got] == ['"ann"', '"bob"', '"ann"']


async def test_slots_of_a_class_based_endpoint_are_in_the_key(lab):
    """They hold what `dispatch` has found, as attributes do."""

    @http_cache("1 minute")
    class Page(HTTPEndpoint):
        __slots__ = ("__who", "user")

        async def dispatch(self):
            self.user = StarletteRequest(self.scope).headers["x-user"]
            self.__who = self.user
            await super().dispatch()

        async def get(self, _: StarletteRequest) -> PlainTextResponse:
            return PlainTextResponse(self.user + self.__who)

    got = await shown(lab, Starlette(routes=[Route("/", Page)]), ANN, BOB)
    assert [one.text for one in got] == ["annann", "bobbob"]


async def test_the_type_of_a_body_is_in_no_key_of_a_get(lab):
    """Only beside a body that is in the key it says no more than that."""

    @http_cache("1 minute")
    async def page(request: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse(request.headers["content-type"])

    site = Starlette(routes=[Route("/", page)])
    got = await shown(lab, site, {"Content-Type": "ann/x"}, {"Content-Type": "bob/x"})
    assert [one.text for one in got] == ["ann/x", "bob/x"]


def asking(request: Request) -> list[Session]:
    rows = Session()
    rows.user = request.headers["x-user"]
    return [rows]


def greeting(request: Request, response: Response) -> list[Session]:
    if "x-user" in request.headers:
        response.headers["x-greet"] = request.headers["x-user"]
    return [Session()]


def plain() -> list[Session]:
    return [Session()]


@pytest.mark.parametrize("kind", ["site", "router", "app"])
@pytest.mark.parametrize("override", [asking, greeting, plain])
async def test_an_override_of_a_dependency_may_see_who_asks(lab, override, kind):
    """The dependency that a route declares sees nothing; one that sees nothing costs nothing."""

    def stub() -> list[Session]:
        return []

    class Api:
        @action("/", cache=True)
        async def page(self, rows: Annotated[list[Session], Depends(stub)]) -> str:
            return rows[0].user

    @http_cache("1 minute")
    async def page(rows: Annotated[list[Session], Depends(stub)]) -> str:
        return rows[0].user

    site, router = FastAPI(), APIRouter()
    (site if kind == "site" else router).get("/")(page)
    site.include_router(router, prefix="/below")
    async with App(Api) as app:
        http = app.http if kind == "app" else site
        http.dependency_overrides[stub] = override
        client = lab.Client(app if kind == "app" else HttpCacheMiddleware(site, cache_app=app))
        path = "/below/" if kind == "router" else "/"
        got = [await client(path, who) for who in (ANN, BOB)]
        seen = ["ann", "bob"] if override is asking else ["nobody"] * 2
        assert [one.text.strip('"') for one in got] == seen
        assert got[1].get("x-greet") == ("bob" if override is greeting else None)
        assert got[1].hit is (override is plain)


async def test_what_a_router_puts_before_its_routes_counts(lab):
    """Also where the same endpoint stands at another path, without it, and was asked there."""
    site, router = FastAPI(), APIRouter()

    @router.get("/page")
    @http_cache("1 minute")
    async def page() -> int:
        return 1

    site.include_router(router)
    site.include_router(router, prefix="/below", dependencies=[Depends(greeting)])
    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        for _ in range(2):
            await client("/page")
            got = [await client("/below/page", who) for who in (ANN, NOBODY)]
            assert [one.get("x-greet") for one in got] == ["ann", None]
