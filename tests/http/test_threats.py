"""What an attacker tries: every threat of a shared cache, against ours."""

import asyncio
import gc
import logging
import struct
import weakref
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Request, Response
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from stillfresh import (
    App,
    HttpCache,
    HttpCacheMiddleware,
    MemoryCacheProvider,
    RedisCacheProvider,
    action,
    http_cache,
)
from stillfresh.codecs import UnreadableFrame
from stillfresh.codecs.frame import seal
from stillfresh.http.engine.stored import FINGERPRINT, FRAMES, Stored
from stillfresh.providers.base import CacheProvider
from stillfresh.testing import VirtualClock


@pytest.fixture
async def serve(lab):
    """Puts the cache in front of one cached page, and returns its client."""
    async with App() as app:

        def make(endpoint, *, path="/", middleware=(), **options):
            cached = http_cache("1 minute", **options)(endpoint)
            asgi = Starlette(routes=[Route(path, cached)], middleware=middleware)
            return lab.Client(HttpCacheMiddleware(asgi, cache_app=app))

        yield make


def counting():
    """An endpoint that counts its runs."""

    async def page(request):
        page.runs += 1
        return PlainTextResponse(f"run {page.runs}")

    page.runs = 0
    return page


@pytest.mark.parametrize(
    "targets",
    [
        ("/x/a?b=1", "/x/ab=1", "/x/a%3Fb=1"),
        ("/a/b", "/a%2Fb", "/a//b", "/a/b/", "/A/b"),
        ("/a?x=1&y=2", "/a?x=1%26y=2", "/a?x=1", "/a?x=1&y", "/a?x=1&y="),
        ("/a?x=1&x=2", "/a?x=2&x=1", "/a?x=1,2"),
        ("/a;b", "/a%3Bb", "/a", "/a?;b"),
        ("/a/../b", "/b", "/a/%2e%2e/b%00"),
        ("/caf%C3%A9", "/caf%E9", "/cafe"),
        ("/a?q=%FF", "/a?q=%FE", "/a?q=%C3%BF"),
        ("/a?x=+", "/a?x=%2B", "/a?x="),
    ],
    ids=lambda targets: targets[0],
)
async def test_no_url_forges_the_key_of_another(serve, targets):
    """Whatever is put into a path or a query, two different URLs never share."""
    get = serve(counting(), path="/{rest:path}", public=True)
    texts = [(await get(target)).text for target in targets]
    assert len(set(texts)) == len(targets)
    assert [(await get(target)).text for target in targets] == texts


async def test_a_page_for_one_is_not_cached_under_a_name_like_a_file(lab):
    """Web cache deception: only the route that was declared is cached, never a look of a path."""
    seen = []

    async def me(request):
        seen.append(1)
        return PlainTextResponse(request.headers.get("authorization", "nobody"))

    async with App() as app:
        asgi = Starlette(routes=[Route("/me", me), Route("/me/{rest:path}", me)])
        get = lab.Client(HttpCacheMiddleware(asgi, cache_app=app))
        for target in ("/me/x.css", "/me;x.css", "/me%00.css", "/me/%2e%2e/x.js"):
            await get(target, {"Authorization": "ann"})
            assert (await get(target)).text != "ann"


@pytest.mark.parametrize(
    "field",
    [
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Forwarded",
        "X-HTTP-Method-Override",
    ],
)
async def test_fields_of_a_proxy_poison_nothing(serve, field):
    """Without a proxy that is trusted, a request that has them fills nothing."""
    get = serve(counting())
    assert (await get("/", {field: "evil.example"})).text == "run 1"
    assert (await get("/")).text == "run 2"
    assert (await get("/", {field: "evil.example"})).hit


async def test_a_field_that_is_not_in_the_key_poisons_nothing(serve, caplog):
    """A handler that reads it makes a page for one, and one log line says so."""
    caplog.set_level(logging.WARNING, "stillfresh")

    async def page(request):
        return PlainTextResponse(f"hello {request.headers.get('x-name')}")

    get = serve(page)
    assert (await get("/", {"X-Name": "evil"})).text == "hello evil"
    got = await get("/")
    assert got.text == "hello None"
    assert got.get("cache-control") == "private, no-cache"
    (line,) = {record.getMessage() for record in caplog.records}
    assert "reads 'x-name'" in line


@pytest.mark.parametrize(
    "read",
    [
        lambda request: request.client.host,
        lambda request: request.cookies.get("x"),
        lambda request: dict(request.headers).get("x"),
        lambda request: request.headers.items(),
        lambda request: request.scope["headers"],
        lambda request: request["client"],
        lambda request: request.state.name,
        lambda request: request.scope["tenant"],
        lambda request: request["state"]["name"],
        lambda request: request.scope.pop("tenant"),
        lambda request: request.scope.pop("headers"),
        lambda request: request.scope.setdefault("tenant", "nobody"),
        lambda request: "tenant" in request.scope,
        lambda request: dict(request)["tenant"],
        lambda request: (request.scope | {})["tenant"],
        lambda request: ({} | request.scope)["tenant"],
        lambda request: len(request.scope),
        lambda request: list(reversed(request.scope)),
        lambda request: request.scope.popitem(),
        lambda request: request.scope != {},
        lambda request: len(request.headers),
        lambda request: request.cookies.pop("x", None),
        lambda request: bool(request.cookies),
        lambda request: request.scope["extensions"]["tls"]["client_cert_name"],
    ],
)
async def test_every_way_to_read_who_asks_is_seen(serve, read):
    """Address, cookies, all fields, the scope: what depends on them is not shared."""

    async def page(request):
        page.runs += 1
        return PlainTextResponse(str(read(request)))

    page.runs = 0
    get = serve(page)
    for _ in range(2):
        tls = {"tls": {"client_cert_name": "CN=ann"}}
        got = await get("/", state={"name": "x"}, tenant="ann", extensions=tls)
        assert got.status == 200
    assert page.runs == 2


@pytest.mark.parametrize("key", ["path", "query_string", "app", "extensions", "path_params"])
async def test_what_tells_no_clients_apart_may_be_read(serve, key):
    """The URL is in the key, and the application is everybody's."""

    async def page(request):
        page.runs += 1
        return PlainTextResponse(str(type(request.scope.get(key))))

    page.runs = 0
    get = serve(page)
    for _ in range(2):
        await get("/", extensions={"http.response.debug": {}})
    assert page.runs == 1


async def test_what_a_middleware_noted_may_be_read_where_an_identity_is_in_the_key(serve):
    """With `per=` the response is kept for one, who has a tenant."""

    async def page(request):
        page.runs += 1
        return PlainTextResponse(request.scope["tenant"])

    page.runs = 0
    get = serve(page, per=lambda request: request.scope["tenant"])
    texts = [(await get("/", tenant=who)).text for who in ("ann", "bob", "ann")]
    assert texts == ["ann", "bob", "ann"]
    assert page.runs == 2


async def test_what_varies_by_it_may_be_read(serve):
    """A field that the response names in Vary is in the key."""

    async def page(request):
        page.runs += 1
        return PlainTextResponse(
            request.headers["accept-language"], headers={"Vary": "Accept-Language"}
        )

    page.runs = 0
    get = serve(page)
    texts = [(await get("/", {"Accept-Language": tongue})).text for tongue in ("de", "fr", "de")]
    assert texts == ["de", "fr", "de"]
    assert page.runs == 2


async def test_unknown_parameters_fill_no_memory(lab):
    """A declared action does not see them, so they make no entries."""

    class Api:
        @action("/", cache=True)
        async def page(self, a: int = 0) -> int:
            return a

    async with App(Api) as app:
        get = lab.Client(app)
        for number in range(50):
            await get(f"/?bust={number}")
        assert app.get(Api).page.stats.entries == 1


async def test_no_request_and_no_session_is_kept_alive(lab):
    """What is remembered to answer before routing are arguments that have a text, and nothing else."""
    site = FastAPI()
    alive = []

    class Session:
        pass

    async def session():  # a worker thread would hold what it returned for a moment
        made = Session()
        alive.append(weakref.ref(made))
        return made

    async with App() as app:
        site.add_middleware(HttpCacheMiddleware, cache_app=app)

        @site.get("/{name}")
        @http_cache("1 minute", public=True, tags=["name:{name}"])
        async def page(
            request: Request, name: str, session: Annotated[Session, Depends(session)]
        ) -> str:
            alive.append(weakref.ref(request))
            return name

        @site.get("/with/{name}")
        @http_cache("1 minute", public=True, tags=lambda request, session, name: [f"name:{name}"])
        async def other(
            request: Request, name: str, session: Annotated[Session, Depends(session)]
        ) -> str:
            return name

        get = lab.Client(site)
        for target in ("/a", "/with/a"):
            for _ in range(3):
                assert (await get(target)).text == '"a"'
            await app.invalidate_tags("name:a")
            assert not (await get(target)).hit
        gc.collect()
        assert alive
        assert [found() for found in alive] == [None] * len(alive)


async def test_responses_in_memory_are_bounded_by_their_bytes(lab):
    """`max_bytes` counts what a response takes."""
    world = lab.World()
    world.body = lambda: "x" * 1000
    provider = MemoryCacheProvider(max_bytes=20_000)
    app = App().provide(CacheProvider, provider)
    get = lab.Client(lab.make["app"](world, app))
    async with app:
        for number in range(100):
            await get(f"/things/{number}")
        assert 10_000 < provider._table.bytes <= 20_000


async def test_variants_are_bounded(serve):
    """Past `max_variants` nothing more is stored, and everybody is answered."""

    async def page(request):
        page.runs += 1
        return PlainTextResponse(request.headers["x-any"], headers={"Vary": "X-Any"})

    page.runs = 0
    get = serve(page, max_variants=5)
    for number in range(20):
        assert (await get("/", {"X-Any": str(number)})).text == str(number)
    runs = page.runs
    assert (await get("/", {"X-Any": "0"})).hit
    assert (await get("/", {"X-Any": "19"})).text == "19"
    assert page.runs == runs + 1


async def test_room_for_variants_comes_back(lab):
    """Whoever fills it with made-up variants does so for the length of the ttl, and no longer."""
    clock = VirtualClock()

    async def page(request):
        page.runs += 1
        return PlainTextResponse(request.headers["x-any"], headers={"Vary": "X-Any"})

    page.runs = 0
    async with App(clock=clock) as app:
        cached = http_cache("1 minute", max_variants=5)(page)
        asgi = Starlette(routes=[Route("/", cached)])
        get = lab.Client(HttpCacheMiddleware(asgi, cache_app=app))
        for number in range(20):
            await get("/", {"X-Any": str(number)})
        clock.advance("61 seconds")
        for number in range(3):
            for again in (False, True):
                assert (await get("/", {"X-Any": f"new {number}"})).hit is again


async def test_origins_make_no_variants_of_what_cannot_see_them(lab):
    """An action of declared parameters has one response, whatever a browser says of its page."""

    class Api:
        runs = 0

        @action("/", cache=True)
        async def page(self) -> int:
            Api.runs += 1
            return Api.runs

    async with App(Api) as app:
        get = lab.Client(app)
        for number in range(5):
            assert (await get("/", {"Origin": f"https://{number}.test"})).text == "1"
        assert (await get("/")).text == "1"


async def test_unknown_hosts_pass(serve):
    """With a list of hosts, others neither fill nor are answered."""
    get = serve(counting(), hosts=["*.example"])
    evil = {"Host": "evil.test"}
    assert [(await get("/", evil)).text for _ in range(2)] == ["run 1", "run 2"]
    good = {"Host": "a.example"}
    assert [(await get("/", good)).text for _ in range(2)] == ["run 3", "run 3"]


@pytest.mark.parametrize(
    "line",
    [(b"x", b"a\r\nSet-Cookie: b"), (b"x\r\ny", b"a"), (b"x", b"a\0"), (b"", b"a"), (b"x y", b"")],
)
def test_what_would_split_a_response_is_not_read_back(line):
    """Whoever can write to the store cannot send a field of his own."""
    data = FRAMES.encode(Stored(200, (line,), b"body"))
    with pytest.raises(UnreadableFrame):
        FRAMES.decode(data)


def test_frames_come_back_or_are_a_miss():
    """The bytes of a response, whole or damaged."""
    stored = Stored(200, ((b"etag", b'"1"'),), b"body", age=3.0, vary=(b"accept",), variant="v")
    data = FRAMES.encode(stored)
    back = FRAMES.decode(data)
    assert (back.headers, back.body, back.age, back.vary) == (
        stored.headers,
        b"body",
        3.0,
        (b"accept",),
    )
    for bad in (
        b"",
        data[:-1],
        data[:20] + b"\xff" + data[21:],
        seal(FINGERPRINT, b"\xc1", compress=False),
    ):
        with pytest.raises(UnreadableFrame):
            FRAMES.decode(bad)
    with pytest.raises(UnreadableFrame):
        FRAMES.decode(FRAMES.encode(Stored(99, (), b"")))


async def test_a_damaged_entry_is_a_miss(lab, raw, url, prefix):
    """The handler runs, and what it gives takes the place of the damaged one."""
    from stillfresh import RedisCacheProvider

    world = lab.World()
    app = App().provide(CacheProvider, RedisCacheProvider(url, prefix=prefix))
    async with app:
        get = lab.Client(lab.make["app"](world, app))
        await get("/thing")
        for key in raw.keys(f"*{prefix}*"):
            if raw.type(key) == b"string":
                value = raw.get(key)
                raw.set(key, value[: len(value) // 2] + struct.pack("q", 7))
        assert (await get("/thing")).text == "run 2"


async def test_a_body_in_a_get_goes_past(serve):
    """It could change the answer, and is not in the key."""
    get = serve(counting())
    fat = {"Content-Length": "3"}
    assert [(await get("/", fat, body=b"a=1")).text for _ in range(2)] == ["run 1", "run 2"]
    assert (await get("/")).text == "run 3"


@pytest.mark.parametrize("field", ["If-Match", "If-Unmodified-Since", "Expect", "Upgrade"])
async def test_what_is_not_ours_goes_past(serve, field):
    """Preconditions and protocols are the handler's."""
    get = serve(counting())
    await get("/")
    assert (await get("/", {field: '"x"'})).text == "run 2"


async def test_fields_between_neighbours_are_not_stored(serve):
    """Connection and what it lists, and the like, end at their hop."""
    listed = {
        "Connection": "X-Hop, close",
        "X-Hop": "1",
        "Keep-Alive": "timeout=5",
        "Proxy-Authenticate": "Basic",
        "TE": "trailers",
        "Trailer": "X-Sum",
        "Upgrade": "h2c",
        "Age": "0",
        "Cache-Status": "stillfresh; hit, other; hit",
        "X-Kept": "1",
    }

    async def page(request):
        return PlainTextResponse("x", headers=listed)

    get = serve(page)
    await get("/")
    got = await get("/")
    assert got.hit is False  # another cache is nearer to the origin: its member comes first
    assert got.get("cache-status").startswith("other; hit, stillfresh; hit")
    names = {name for name, _ in got.headers}
    assert names.isdisjoint(
        {"connection", "x-hop", "keep-alive", "proxy-authenticate", "te", "trailer", "upgrade"}
    )
    assert "x-kept" in names


async def test_origins_are_kept_apart(serve):
    """What CORS allows one origin is not sent to another."""
    cors = Middleware(CORSMiddleware, allow_origins=["https://a.test", "https://b.test"])
    get = serve(counting(), middleware=[cors])
    for origin in ("https://a.test", "https://b.test", "https://a.test"):
        got = await get("/", {"Origin": origin})
        assert got.get("access-control-allow-origin") == origin
    assert (await get("/")).get("access-control-allow-origin") is None


@pytest.mark.parametrize("way", ["decorated", "public", "safe", "rfc"])
@pytest.mark.parametrize(
    "asked",
    [
        (None, "https://a.test", "https://b.test"),
        ("https://evil.test", None, "https://a.test", None),
    ],
)
async def test_who_asks_without_an_origin_answers_for_nobody_else(lab, way, asked):
    """http-rules.md A10: CORS middleware says nothing, not even in Vary, where it is not asked."""
    runs = []

    async def page(request):
        runs.append(1)
        return PlainTextResponse("page", headers={"cache-control": "max-age=60"})

    cors = Middleware(OldCors, allowed=[b"https://a.test", b"https://b.test"])
    cached = page
    if way in {"decorated", "public"}:
        cached = http_cache("1 minute", public=way == "public")(page)
    site = Starlette(routes=[Route("/", cached)], middleware=[cors])
    profile = way if way in {"safe", "rfc"} else None
    async with App() as app:
        get = lab.Client(HttpCacheMiddleware(site, profile=profile, cache_app=app))
        for _ in range(3):
            for origin in asked:
                got = await get("/", {} if origin is None else {"Origin": origin})
                allowed = origin if origin in {"https://a.test", "https://b.test"} else None
                assert got.get("access-control-allow-origin") == allowed
        assert got.hit
    assert len(runs) == len(set(asked))


class OldCors:
    """Names an origin that is allowed, and Origin in Vary only then."""

    def __init__(self, app, allowed):
        self.app, self.allowed = app, allowed

    async def __call__(self, scope, receive, send):
        origin = dict(scope["headers"]).get(b"origin")

        async def sending(message):
            if message["type"] == "http.response.start" and origin in self.allowed:
                told = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
                message = {**message, "headers": [*message["headers"], *told]}
            await send(message)

        await self.app(scope, receive, sending)


async def test_invented_origins_cost_those_without_one_nothing(serve):
    """More than there may be variants: what is asked for without an origin is a hit all the same."""
    get = serve(counting(), max_variants=3)
    for number in range(5):
        await get("/", {"Origin": f"https://{number}.test"})
    await get("/")
    assert (await get("/")).hit


async def test_invented_origins_cost_real_ones_nothing(serve):
    """The variant leaves that was asked for longest ago, and there are never more than allowed."""
    page = counting()
    get = serve(page, max_variants=3)
    real = {"Origin": "https://a.test"}
    await get("/", real)
    for number in range(10):
        assert not (await get("/", {"Origin": f"https://{number}.test"})).hit
        assert (await get("/", real)).hit
    assert (await get("/", {"Origin": "https://9.test"})).hit
    assert not (await get("/", {"Origin": "https://0.test"})).hit
    assert page.runs == 12


async def test_a_uncacheable_leader_is_shared_with_nobody(serve):
    """Each of those who waited runs the handler, and those who come next do not queue."""
    gate, entered, third = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def page(request):
        page.runs += 1
        mine = page.runs
        entered.set()
        if mine == 8:
            third.set()
        await gate.wait()
        return PlainTextResponse(f"run {mine}", headers={"Set-Cookie": f"id={mine}"})

    page.runs = 0
    get = serve(page)
    asking = [asyncio.create_task(get("/")) for _ in range(5)]
    await entered.wait()
    gate.set()
    got = await asyncio.gather(*asking)
    assert len({one.get("set-cookie") for one in got}) == 5
    gate.clear()
    entered.clear()
    late = [asyncio.create_task(get("/")) for _ in range(3)]
    await third.wait()  # all at once: nobody waits for another one
    gate.set()
    await asyncio.gather(*late)


async def test_variants_that_the_leader_teaches(serve):
    """Who waited for another variant goes round once more, under the fields learnt."""
    gate, entered = asyncio.Event(), asyncio.Event()

    async def page(request):
        page.runs += 1
        tongue = request.headers["accept-language"]
        entered.set()
        await gate.wait()
        return PlainTextResponse(tongue, headers={"Vary": "Accept-Language"})

    page.runs = 0
    get = serve(page)
    asking = []
    for tongue in ("de", "fr", "de", "fr", "fr"):
        asking.append(asyncio.create_task(get("/", {"Accept-Language": tongue})))
        await entered.wait()
    gate.set()
    assert [one.text for one in await asyncio.gather(*asking)] == ["de", "fr", "de", "fr", "fr"]
    assert page.runs == 2


async def test_a_store_that_is_down_stops_nobody(lab, url, prefix):
    """Requests are answered by the handler, and nothing is shared that should not be."""
    from stillfresh.testing import ChaosProvider

    world, app = lab.World(), App()
    chaos = ChaosProvider(MemoryCacheProvider(), fail=1.0)
    app.provide(CacheProvider, chaos)
    async with app:
        get = lab.Client(lab.make["app"](world, app))
        assert [(await get("/thing")).text for _ in range(2)] == ["run 1", "run 2"]
        assert (await get("/thing", method="POST")).status == 200


async def test_groups(lab):
    """32 groups of 32 characters are honoured, on unsafe methods and for their own origin."""
    names = [f"{number:032d}" for number in range(32)]
    listed = ", ".join(f'"{name}"' for name in names)

    class Api:
        runs = 0

        @action("/page", cache=HttpCache("1 minute", tags=["own"], emit_groups=True))
        async def page(self) -> Response:
            Api.runs += 1
            return Response(f"run {Api.runs}", headers={"Cache-Groups": f"{listed};x=1"})

        @action("/other", cache=HttpCache("1 minute", tags=["own"], emit_groups=True))
        async def other(self) -> str:
            return "x"

        @action("/safe")
        async def safe(self) -> Response:
            return Response(headers={"Cache-Group-Invalidation": f'"{names[-1]}"'})

        @action("/change", method="POST")
        async def change(self, name: str = "") -> Response:
            return Response(headers={"Cache-Group-Invalidation": f'"{name}"'})

    async with App(Api) as app:
        get = lab.Client(app)
        assert (await get("/other")).get("cache-groups") == '"own"'
        await get("/page")
        await get("/safe")
        await get("/change?name=other", method="POST")
        await get(f"/change?name={names[-1]}", {"Host": "else.test"}, method="POST")
        assert (await get("/page")).hit
        await get(f"/change?name={names[-1]}", method="POST")
        assert not (await get("/page")).hit


async def test_what_of_a_query_counts(serve):
    """No-Vary-Search of the handler is honoured once it is known."""

    async def page(request):
        page.runs += 1
        return PlainTextResponse(
            request.url.query, headers={"No-Vary-Search": 'params=("utm"), key-order'}
        )

    page.runs = 0
    get = serve(page)
    assert not (await get("/?a=1&utm=x")).hit
    assert (await get("/?a=1&utm=y")).hit
    assert (await get("/?utm=z&a=1")).hit
    assert (await get("/?a=1&utm=x")).hit
    assert not (await get("/?a=2")).hit
    assert page.runs == 2


@pytest.mark.parametrize("dropped", ["before", "after"])
async def test_what_is_stored_under_a_second_key_is_dropped_as_well(lab, url, prefix, dropped):
    """
    The response is stored under the key of its whole query, then under the one that it has taught;
    an invalidation between the two, or after both, counts for both.
    """
    from stillfresh.http.engine import reading

    class Api:
        runs = 0

        @action("/", cache=HttpCache("1 minute", tags=["own"]))
        async def page(self, request: Request) -> Response:
            Api.runs += 1
            return Response(str(Api.runs), headers={"No-Vary-Search": 'params=("utm")'})

    app = App(Api)
    app.provide(CacheProvider, RedisCacheProvider(url, prefix=prefix))
    store_anew = reading.store_anew

    async def late(*args):
        await app.invalidate_tags("own")
        await store_anew(*args)

    async with app:
        get = lab.Client(app)
        with pytest.MonkeyPatch.context() as patch:
            if dropped == "before":
                patch.setattr(reading, "store_anew", late)
            assert (await get("/?utm=1")).text == "1"
        if dropped == "after":
            assert (await get("/?utm=2")).hit
            await app.invalidate_tags("own")
        assert (await get("/?utm=3")).text == "2"
        assert (await get("/?utm=4")).hit


async def test_a_post_to_another_origin_drops_nothing(serve, lab):
    """Location counts only on the same origin."""

    async def page(request):
        if request.method == "POST":
            return Response(status_code=201, headers={"Location": request.query_params["to"]})
        page.runs += 1
        return PlainTextResponse(f"run {page.runs}")

    page.runs = 0
    async with App() as app:
        cached = http_cache("1 minute")(page)
        routes = [Route("/post", page, methods=["POST"]), Mount("/", routes=[Route("/a", cached)])]
        get = lab.Client(HttpCacheMiddleware(Starlette(routes=routes), cache_app=app))
        await get("/a")
        await get("/post?to=http://else.test/a", method="POST")
        assert (await get("/a")).hit
        await get("/post?to=/a", method="POST")
        assert not (await get("/a")).hit


async def test_a_request_that_the_handler_gets_is_whole(lab):
    """Watching a request changes nothing that a handler does with it."""

    class Api:
        @action("/{name}", cache=True)
        async def page(self, name: str, request: Request) -> dict[str, str]:
            return {
                "url": str(request.url),
                "base": str(request.base_url),
                "path": request.path_params["name"],
                "query": request.query_params["q"],
                "method": request.method,
                "body": (await request.body()).decode(),
                "route": str(request.url_for("page", name="y")),
            }

    async with App(Api) as app:
        got = await lab.Client(app)("/x?q=1")
        assert got.status == 200, got.text
        assert '"route":"http://test/y"' in got.text
        assert (await lab.Client(app)("/x?q=1")).hit
