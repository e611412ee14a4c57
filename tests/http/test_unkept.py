"""What is not stored, asked for by a client that has it: C2 and C6 of http-rules.md."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from stillfresh import App, HttpCache, HttpCacheMiddleware, action, http_cache
from stillfresh.testing import VirtualClock

DATE = "Tue, 15 Nov 2022 12:45:26 GMT"
TAG = '"v1"'


def marked(**fields):
    return {"etag": TAG, "last-modified": DATE, "cache-control": "private", **fields}


@pytest.mark.parametrize(
    "fields",
    [marked(), marked(**{"cache-control": "no-store"}), marked(**{"set-cookie": "a=b"})],
    ids=["private", "no-store", "set-cookie"],
)
@pytest.mark.parametrize("asked", [("If-None-Match", TAG), ("If-Modified-Since", DATE)])
@pytest.mark.parametrize("profile", ["safe", "rfc"])
async def test_a_client_that_has_it_gets_a_304(behind, profile, asked, fields):
    """The handler was asked for the whole (C6), so its conditions are answered after it (C2)."""
    get, origin, _ = behind((200, fields, b"page"), profile=profile)
    got = await get("/", dict([asked]))
    assert (got.status, got.body) == (304, b"")
    assert got.get("etag") == TAG
    assert got.get("content-length") is None
    assert got.cache == "fwd=uri-miss; fwd-status=200"
    assert asked[0].lower() not in origin.seen[0]
    assert (await get("/")).body == b"page"


@pytest.mark.parametrize("fields", [marked(), marked(**{"cache-control": "max-age=60"})])
async def test_a_stream_that_the_client_has_is_swallowed(lab, fields):
    """A 304 goes at the head; what the handler sends after it reaches nobody, or the store alone."""

    async def page(request):
        return StreamingResponse(iter([b"one", b"two"]), headers=fields)

    async with App() as app:
        site = Starlette(routes=[Route("/", page)])
        get = lab.Client(HttpCacheMiddleware(site, profile="safe", cache_app=app))
        got = await get("/", {"If-None-Match": TAG})
        assert (got.status, got.body) == (304, b"")
        assert [one["type"].rpartition(".")[2] for one in got.messages] == ["start", "body"]
        two = await get("/")
        assert (two.status, two.body) == (200, b"onetwo")
        assert two.hit == (fields["cache-control"] == "max-age=60")


async def test_another_status_is_sent_as_it_is(behind):
    """Conditions are about a 200 (RFC 9110 13.2.1)."""
    get, _, _ = behind((404, marked(), b"none"))
    got = await get("/", {"If-None-Match": TAG})
    assert (got.status, got.body) == (404, b"none")


@pytest.mark.parametrize("way", ["action", "decorated"])
async def test_a_route_that_keeps_nothing_of_it_answers_conditions(lab, way):
    """By a tag of the handler's own, whatever else keeps the response from being stored."""
    fields = {"etag": TAG, "set-cookie": "a=b"}

    async def page(request):
        return PlainTextResponse("page", headers=fields)

    class Api:
        @action("/", cache="1 minute")
        async def page(self) -> Response:
            return PlainTextResponse("page", headers=fields)

    async with (app := App(Api)):
        asgi = app
        if way == "decorated":
            site = Starlette(routes=[Route("/", http_cache("1 minute")(page))])
            asgi = HttpCacheMiddleware(site, cache_app=app)
        get = lab.Client(asgi)
        for _ in range(3):
            assert (await get("/", {"If-None-Match": TAG})).status == 304
        assert (await get("/")).body == b"page"


async def test_known_not_to_be_kept_its_handler_gets_ranges(lab, tmp_path):
    """For 5 s after a 200 that was not stored, conditions and ranges go inward as they came."""
    path = tmp_path / "page.txt"
    path.write_text("0123456789")

    async def page(request):
        return FileResponse(path)

    async with App() as app:
        site = Starlette(routes=[Route("/", page)])
        get = lab.Client(HttpCacheMiddleware(site, profile="safe", cache_app=app))
        whole = await get("/", {"Range": "bytes=2-4"})
        assert (whole.status, whole.text) == (200, "0123456789")
        part = await get("/", {"Range": "bytes=2-4"})
        assert (part.status, part.text) == (206, "234")
        tag = {"If-None-Match": whole.get("etag")}
        assert (await get("/", tag)).status == 304


@pytest.mark.parametrize(
    "other",
    [{"Authorization": "x"}, {"Accept-Encoding": "gzip;q=0", "X-Coded": "gzip"}],
    ids=["credentials", "a coding that is refused"],
)
async def test_what_is_not_kept_of_one_request_leaves_the_others_theirs(lab, other):
    """Nobody makes the conditions of others go inward where something is stored."""
    runs = []

    async def page(request):
        runs.append(1)
        coded = request.headers.get("x-coded")
        fields = {"vary": "Accept-Encoding, X-Coded", "etag": TAG, "cache-control": "max-age=60"}
        return PlainTextResponse(
            "page", headers=fields | ({"content-encoding": coded} if coded else {})
        )

    async with App() as app:
        site = Starlette(routes=[Route("/", page)])
        get = lab.Client(HttpCacheMiddleware(site, profile="safe", cache_app=app))
        for _ in range(2):
            assert not (await get("/", other)).hit
        await get("/")
        await get("/", other)
        got = await get("/", {"If-None-Match": TAG})
        assert (got.status, got.hit) == (304, True)


@pytest.mark.parametrize(
    "said", [{"cache-control": "private"}, {"cache-control": "no-store"}, {"set-cookie": "a=ann"}]
)
async def test_a_304_that_is_not_for_everybody(behind, said):
    """
    Its fields go to the client that asked, in front of the body that they confirm; the old
    response is used for nobody any more.
    """
    get, origin, app = behind(
        (200, {"cache-control": "public, max-age=10", "etag": TAG}, b"old"),
        (304, {"etag": TAG, **said}, b""),
        (304, {"etag": TAG, **said}, b""),
        (200, {"cache-control": "max-age=10", "etag": TAG}, b"new"),
        profile="safe",
    )
    await get("/")
    app.clock.advance(11)
    got = await get("/")
    assert (got.status, got.body) == (200, b"old")
    for name, value in said.items():
        assert got.get(name) == value
    assert got.cache == "fwd=stale; fwd-status=304"
    assert "if-none-match" in origin.seen[1]
    again = await get("/")  # nothing is there to be asked about
    assert "if-none-match" not in origin.seen[2]
    assert again.status == 304  # this origin's own
    assert (await get("/")).body == b"new"


async def test_a_304_that_is_not_for_everybody_answers_the_clients_condition(behind):
    """The client that has the response gets a 304 with the new fields."""
    get, _, app = behind(
        (200, {"cache-control": "max-age=10", "etag": TAG}, b"old"),
        (304, {"etag": TAG, "cache-control": "private"}, b""),
        profile="safe",
    )
    await get("/")
    app.clock.advance(11)
    got = await get("/", {"If-None-Match": TAG})
    assert (got.status, got.body) == (304, b"")
    assert got.get("cache-control") == "private"
    assert got.cache == "fwd=stale"  # the application has said 304, too


async def test_a_wrong_length_is_sent_by_a_second_run_too(lab):
    """
    What came is sent, and not stored, although the client's request was not the one that got it.

    1. a response with a tag is stored, and its time is over
    2. asked about it, the application says 304, with the tag of another one
    3. asked once more, without conditions, it sends another length than it has said
    """
    runs = []

    async def site(scope, receive, send):
        asked = dict(scope["headers"]).get(b"if-none-match")
        runs.append(asked)
        fields = [(b"cache-control", b"max-age=10"), (b"etag", b'"b"' if asked else b'"a"')]
        if len(runs) == 3:
            fields.append((b"content-length", b"9"))
        status, body = (304, b"") if asked else (200, b"four")
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    async with App(clock=VirtualClock()) as app:
        get = lab.Client(HttpCacheMiddleware(site, profile="rfc", cache_app=app))
        assert (await get("/")).status == 200
        app.clock.advance(11)
        got = await get("/")
        assert (got.status, got.body, got.get("content-length")) == (200, b"four", "9")
        assert runs == [None, b'"a"', None]
        assert not (await get("/")).hit


@pytest.mark.parametrize("length", [b"5", b"3", b"four", b"", b"4, 5"])
@pytest.mark.parametrize("way", ["decorated", "profile"])
async def test_a_wrong_length_is_the_clients_to_judge(lab, way, length, caplog):
    """It is sent as it came and not stored, one log line says why, and followers run on their own."""
    runs = []

    async def wrong(scope, receive, send):
        runs.append(1)
        fields = [(b"content-length", length), (b"cache-control", b"max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"four"})

    async def page(request):
        return wrong

    async with App() as app:
        if way == "decorated":
            endpoint = http_cache("1 minute", public=True)(page)  # it returns an application
            site = Starlette(routes=[Route("/", endpoint)])
            get = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        else:
            get = lab.Client(HttpCacheMiddleware(wrong, profile="safe", cache_app=app))
        found = await asyncio.gather(*[get("/") for _ in range(3)])
        assert [(one.status, one.body) for one in found] == [(200, b"four")] * 3
        assert not (await get("/")).hit
        assert len(runs) == 4
    (record,) = [one for one in caplog.records if "Content-Length" in one.getMessage()]
    assert "not stored" in record.getMessage()


async def test_a_length_that_is_said_twice(behind):
    """RFC 9110 8.6: a list of equal lengths is that length, and is passed on as one."""
    get, origin, _ = behind(
        (200, {"cache-control": "max-age=9", "content-length": "4, 04"}, b"four")
    )
    await get("/")
    got = await get("/")
    assert got.hit
    assert (got.body, got.get("content-length")) == (b"four", "4")
    assert len(origin.seen) == 1


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("own", [{}, {"cache-control": "max-age=60"}])
async def test_a_cookie_that_is_not_stored_goes_to_the_one_who_asked(lab, own, streamed):
    """http-rules.md A7: `strip_set_cookie=` stores the response without it, and others get that."""
    fields = {"set-cookie": "x=1", **own}
    entered, go = asyncio.Event(), asyncio.Event()

    class Api:
        @action("/", cache=HttpCache("1 minute", strip_set_cookie=["x"]))
        async def page(self) -> Response:
            entered.set()
            await go.wait()
            if streamed:
                return StreamingResponse(iter([b"pa", b"ge"]), headers=fields)
            return PlainTextResponse("page", headers=fields)

    app = App(Api)
    async with app:
        get = lab.Client(app)
        leader = asyncio.create_task(get("/"))
        await entered.wait()
        follower = asyncio.create_task(get("/"))
        await asyncio.sleep(0)
        go.set()
        one = await leader
        assert (one.body, one.get("set-cookie")) == (b"page", "x=1")
        assert one.get("cache-control") == own.get("cache-control", "private, no-cache")
        for got in (await follower, await get("/"), await get("/")):
            assert (got.body, got.get("set-cookie")) == (b"page", None)
            assert got.get("cache-control") == own.get("cache-control", "public, max-age=60")
