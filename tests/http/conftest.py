"""What the tests of the HTTP engine share: a client that sends exact bytes, and three sites."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import unquote

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from starlette.applications import Starlette
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware
from starlette.responses import Response as StarletteResponse
from starlette.responses import StreamingResponse
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
from stillfresh.testing import VirtualClock


@dataclass
class Got:
    """What a client has received."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.body.decode()

    def get(self, name: str) -> str | None:
        """The value of a field, None without; several lines are one list."""
        found = [value for key, value in self.headers if key == name]
        return ", ".join(found) if found else None

    @property
    def cache(self) -> str:
        """What Cache-Status says of us, without the name."""
        return (self.get("cache-status") or "").removeprefix("stillfresh; ")

    @property
    def hit(self) -> bool:
        return self.cache.startswith("hit")


class Client:
    """Sends exact bytes to an ASGI application, and sees exact messages."""

    def __init__(self, app: Any, *, host: str = "test") -> None:
        self.app = app
        self.host = host

    def scope(self, method: str, target: str, headers: Any, **more: Any) -> dict[str, Any]:
        raw, _, query = target.partition("?")
        lines = [(name.lower(), value) for name, value in pairs(headers)]
        if not any(name == "host" for name, _ in lines):
            lines.insert(0, ("host", self.host))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(raw),
            "raw_path": raw.encode("latin-1"),
            "root_path": "",
            "query_string": query.encode("latin-1"),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in lines],
            "client": ("10.0.0.9", 1234),
            "server": ("127.0.0.1", 80),
            "state": {},
            **more,
        }

    async def __call__(
        self,
        target: str,
        headers: Any = (),
        *,
        method: str = "GET",
        body: bytes = b"",
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        **scope: Any,
    ) -> Got:
        got = Got()
        sent = False
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            got.messages.append(message)
            if message["type"] == "http.response.start":
                got.status = message["status"]
                got.headers = [(k.decode(), v.decode("latin-1")) for k, v in message["headers"]]
            elif message["type"] == "http.response.body":
                got.pieces.append(message.get("body", b""))
                got.body += message.get("body", b"")
                if not message.get("more_body"):
                    gone.set()
            if on_message is not None:
                result = on_message(message)
                if asyncio.iscoroutine(result):
                    await result

        await self.app(self.scope(method, target, headers, **scope), receive, send)
        return got


def pairs(headers: Any) -> list[tuple[str, str]]:
    return list(headers.items()) if isinstance(headers, dict) else list(headers)


class World:
    """What the handlers of a site answer with; tests change it as they go."""

    def __init__(self) -> None:
        self.runs = 0
        self.status = 200
        self.headers: list[tuple[str, str]] = []
        self.body: Callable[[], str] = lambda: f"run {self.runs}"
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.pieces: list[bytes] | None = None

    async def answer(self) -> StarletteResponse:
        self.runs += 1
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.pieces is not None:
            pieces = self.pieces

            async def stream() -> AsyncIterator[bytes]:
                for piece in pieces:
                    yield piece

            streamed: StarletteResponse = StreamingResponse(stream(), self.status)
        else:
            streamed = StarletteResponse(self.body(), self.status, media_type="text/plain")
        streamed.raw_headers += [(k.encode(), v.encode()) for k, v in self.headers]
        return streamed


class Site:
    """One of our integrations, with the same routes."""

    def __init__(self, kind: str, asgi: Any, world: World, app: App) -> None:
        self.kind = kind
        self.asgi = asgi
        self.world = world
        self.app = app
        self.get = Client(asgi)

    @property
    def is_app(self) -> bool:
        """Its handlers can depend on nothing but their parameters."""
        return self.kind == "app"


WHO: ContextVar[str] = ContextVar("who", default="nobody")
TAGS = ["things"]
MINUTE = "1 minute"


def guard(token: Annotated[str, Header()] = "") -> None:
    if token != "open":
        raise HTTPException(403)


def make_app(world: World, app: App) -> Any:
    class Api:
        @action("/thing", cache=MINUTE)
        async def thing(self, a: str = "", b: str = "") -> Response:
            return await world.answer()

        @action("/things/{name}", cache=HttpCache(MINUTE, tags=["thing:{name}"]))
        async def named(self, name: str) -> Response:
            return await world.answer()

        @action("/thing", method="POST")
        async def change(self) -> Response:
            return await world.answer()

        @action("/public", cache=HttpCache(MINUTE, public=True))
        async def public(self, request: Request) -> Response:
            return await world.answer()

        @action("/guarded", cache=MINUTE, dependencies=[Depends(guard)])
        async def guarded(self) -> Response:
            return await world.answer()

        @action("/who", cache=MINUTE, dependencies=[Depends(guard)])
        async def who(self) -> Response:
            world.runs += 1
            return Response(WHO.get())

        @action("/ranged", cache=HttpCache(MINUTE, ranges=True, etag="strong"))
        async def ranged(self) -> Response:
            return await world.answer()

        @action("/error", cache=HttpCache(MINUTE, stale_if_error="1 hour"))
        async def error(self) -> Response:
            return await world.answer()

    app.kinds.append(Api)
    return app


def make_fastapi(world: World, app: App) -> Any:
    site = FastAPI()
    site.add_middleware(HttpCacheMiddleware, cache_app=app)

    @site.head("/thing")
    @site.get("/thing")
    @http_cache(MINUTE)
    async def thing(a: str = "", b: str = "") -> Response:
        return await world.answer()

    @site.get("/things/{name}")
    @http_cache(MINUTE, tags=["thing:{name}"])
    async def named(name: str) -> Response:
        return await world.answer()

    @site.post("/thing")
    async def change() -> Response:
        return await world.answer()

    @site.get("/public")
    @http_cache(MINUTE, public=True)
    async def public(request: Request) -> Response:
        return await world.answer()

    @site.get("/guarded", dependencies=[Depends(guard)])
    @http_cache(MINUTE)
    async def guarded() -> Response:
        return await world.answer()

    @site.get("/who")
    @http_cache(MINUTE)
    async def who() -> Response:
        world.runs += 1
        return Response(WHO.get())

    @site.get("/ranged")
    @http_cache(MINUTE, ranges=True, etag="strong")
    async def ranged() -> Response:
        return await world.answer()

    @site.get("/error")
    @http_cache(MINUTE, stale_if_error="1 hour")
    async def error() -> Response:
        return await world.answer()

    return site


def make_starlette(world: World, app: App) -> Any:
    def guarding(inner: Any) -> Any:
        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if (b"token", b"open") not in scope["headers"]:
                raise StarletteHTTPException(403)
            await inner(scope, receive, send)

        return guarded

    async def handler(request: Any) -> StarletteResponse:
        return await world.answer()

    async def who(request: Any) -> StarletteResponse:
        world.runs += 1
        return StarletteResponse(WHO.get())

    def cached(**options: Any) -> Any:
        async def endpoint(request: Any) -> StarletteResponse:
            return await world.answer()

        endpoint.__qualname__ = f"endpoint{len(names)}"
        names.append(endpoint)
        return http_cache(MINUTE, **options)(endpoint)

    names: list[Any] = []
    site = Starlette(
        routes=[
            Route("/thing", cached()),
            Route("/thing", handler, methods=["POST"]),
            Route("/things/{name}", cached(tags=lambda request: [thing_tag(request)])),
            Route("/public", cached(public=True)),
            Route("/guarded", cached(), middleware=[Middleware(guarding)]),
            Route("/who", http_cache(MINUTE)(who)),
            Route("/ranged", cached(ranges=True, etag="strong")),
            Route("/error", cached(stale_if_error="1 hour")),
        ]
    )
    site.add_middleware(HttpCacheMiddleware, cache_app=app)
    return site


def thing_tag(request: Any) -> str:
    return f"thing:{request.path_params['name']}"


MAKERS = {"app": make_app, "fastapi": make_fastapi, "starlette": make_starlette}


@pytest.fixture(params=["memory", "redis"])
def provider(request: pytest.FixtureRequest) -> Any:
    """Where responses are kept; None is the memory of the app."""
    if request.param == "memory":
        return None
    url, prefix = request.getfixturevalue("url"), request.getfixturevalue("prefix")
    # On a machine that is busy a second passes without a reply.
    return RedisCacheProvider(url, prefix=prefix, connect_timeout=20.0, timeout=20.0)


@pytest.fixture(params=list(MAKERS))
async def site(request: pytest.FixtureRequest, provider: Any) -> AsyncIterator[Site]:
    """Each integration, on memory and on a server."""
    world, app = World(), App()
    if provider is not None:
        app.provide(CacheProvider, provider)
    asgi = MAKERS[request.param](world, app)
    async with app:
        yield Site(request.param, asgi, world, app)


@pytest.fixture(params=list(MAKERS))
async def local(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """Each integration, on memory."""
    world, app = World(), App()
    asgi = MAKERS[request.param](world, app)
    async with app:
        yield Site(request.param, asgi, world, app)


@pytest.fixture
def lab() -> SimpleNamespace:
    """The parts of the sites, for tests that put them together in another way."""
    return SimpleNamespace(make=MAKERS, who=WHO, Client=Client, World=World)


class Origin:
    """Answers each request with the next response of a list, the last one again and again."""

    def __init__(self, *responses):
        self.responses = list(responses)
        self.seen = []

    async def __call__(self, scope, receive, send):
        self.seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        status, headers, body = self.responses.pop(0) if self.responses[1:] else self.responses[0]
        lines = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def behind() -> AsyncIterator[Any]:
    """Put an origin behind the cache of a whole application, in virtual time."""
    app = App(clock=VirtualClock())

    def make(*responses: Any, profile: Any = "rfc", **options: Any) -> Any:
        origin = Origin(*responses)
        policy = HttpCache.for_app(profile, **options)
        client = Client(HttpCacheMiddleware(origin, policy=policy, cache_app=app))
        return client, origin, app

    async with app:
        yield make
