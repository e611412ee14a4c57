"""What is sent as it comes: streams, events, files, web sockets; and clients that go away."""

import asyncio
import logging

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from stillfresh import App, HttpCacheMiddleware, http_cache


def app_of(endpoint, **options):
    """A Starlette application with one cached page."""
    return Starlette(
        routes=[Route("/", http_cache("1 minute", **options)(endpoint), methods=["GET", "HEAD"])]
    )


@pytest.fixture
async def serve(lab):
    """Puts the cache in front of an application, and returns its client."""
    async with App() as app:
        yield lambda asgi: lab.Client(HttpCacheMiddleware(asgi, cache_app=app))


async def test_the_first_byte_is_not_held_back(serve):
    """The client has the first piece while the handler still makes the second."""
    first, second = asyncio.Event(), asyncio.Event()

    async def pieces():
        yield b"one"
        await second.wait()
        yield b"two"

    async def page(request):
        return StreamingResponse(pieces())

    get = serve(app_of(page))
    asking = asyncio.create_task(
        get("/", on_message=lambda message: message.get("body") == b"one" and first.set())
    )
    await first.wait()
    second.set()
    assert (await asking).body == b"onetwo"
    assert (await get("/")).hit


async def test_followers_of_a_stream_get_the_whole(serve):
    """Who waits for a stream that is kept has it from the store; the handler runs once."""
    begun, go = asyncio.Event(), asyncio.Event()
    runs = []

    async def pieces():
        yield b"one"
        begun.set()
        await go.wait()
        yield b"two"

    async def page(request):
        runs.append(1)
        return StreamingResponse(pieces())

    get = serve(app_of(page))
    asking = [asyncio.create_task(get("/")) for _ in range(3)]
    await begun.wait()
    go.set()
    assert {one.body for one in await asyncio.gather(*asking)} == {b"onetwo"}
    assert len(runs) == 1


@pytest.mark.parametrize("media_type", ["text/event-stream", "text/plain"])
async def test_what_never_ends_is_not_kept(serve, media_type):
    """Events go live, nobody waits for them, and nothing is stored."""
    runs = []

    async def events():
        for number in range(3):
            yield b"data: %d\n\n" % number * 400_000

    async def page(request):
        runs.append(1)
        return StreamingResponse(events(), media_type=media_type)

    get = serve(app_of(page))
    got = await asyncio.gather(*(get("/") for _ in range(3)))
    assert len({one.body for one in got}) == 1
    assert len(runs) == 3
    assert not (await get("/")).hit


async def test_events_are_not_kept_even_if_they_end(serve):
    """Who reads events wants what comes next."""
    runs = []

    async def page(request):
        runs.append(1)
        return StreamingResponse(iter([b"data: 1\n\n"]), media_type="text/event-stream")

    get = serve(app_of(page))
    for _ in range(2):
        assert (await get("/")).body == b"data: 1\n\n"
    assert len(runs) == 2


async def test_a_body_that_is_too_long_is_not_kept(serve):
    """`max_body` bounds what is stored; the client gets all of it."""
    runs = []

    async def page(request):
        runs.append(1)
        return Response(b"x" * 1001)

    get = serve(app_of(page, max_body=1000))
    for _ in range(2):
        assert len((await get("/")).body) == 1001
    assert len(runs) == 2


async def test_streams_are_not_kept_where_that_is_said(serve):
    """`stream="never"`."""
    runs = []

    async def page(request):
        runs.append(1)
        return StreamingResponse(iter([b"a", b"b"]))

    get = serve(app_of(page, stream="never"))
    for _ in range(2):
        assert (await get("/")).body == b"ab"
    assert len(runs) == 2


async def test_a_middleware_that_always_streams_is_no_stream(serve):
    """BaseHTTPMiddleware says `more_body` each time; the response is cached all the same."""
    runs = []

    async def page(request):
        runs.append(1)
        return PlainTextResponse("page")

    async def through(request, call_next):
        return await call_next(request)

    app = app_of(page)
    app.add_middleware(BaseHTTPMiddleware, dispatch=through)
    get = serve(app)
    assert [(await get("/")).text for _ in range(3)] == ["page"] * 3
    assert (await get("/")).hit
    assert len(runs) == 1


async def test_files_by_path_are_read_where_they_are_kept(serve, tmp_path):
    """A server that sends files by itself does not take them past the cache."""
    path = tmp_path / "page.txt"
    path.write_text("a file")

    async def page(request):
        return FileResponse(path)

    offered = {"extensions": {"http.response.pathsend": {}, "http.response.zerocopysend": {}}}
    get = serve(app_of(page))
    for _ in range(2):
        assert (await get("/", **offered)).text == "a file"
    assert (await get("/", **offered)).hit
    other = serve(Starlette(routes=[Route("/", page)]))
    messages = (await other("/", **offered)).messages
    assert [one["type"] for one in messages] == ["http.response.start", "http.response.pathsend"]


async def test_ranges_of_a_handler_stay_its_own(serve, tmp_path):
    """A fill asks for the whole, so a part is never stored; uncached routes keep their ranges."""
    path = tmp_path / "page.txt"
    path.write_text("0123456789")

    async def page(request):
        return FileResponse(path)

    cut = {"Range": "bytes=2-4"}
    assert (await serve(app_of(page))("/", cut)).text == "0123456789"
    part = await serve(Starlette(routes=[Route("/", page)]))("/", cut)
    assert (part.status, part.text) == (206, "234")


async def test_unknown_messages_and_trailers_pass(serve):
    """What we do not understand goes on as it is, and is not stored."""
    runs = []

    async def page(request):
        runs.append(1)

        async def respond(scope, receive, send):
            await send(
                {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
            )
            await send({"type": "http.response.body", "body": b"x"})
            await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

        return respond

    get = serve(app_of(page))
    for _ in range(2):
        got = await get("/")
        assert got.messages[-1]["type"] == "http.response.trailers"
    assert len(runs) == 2


async def test_web_sockets_pass(serve):
    """They are none of our business."""

    async def echo(socket):
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    get = serve(Starlette(routes=[WebSocketRoute("/", echo)]))
    inbox = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}]
    sent = []

    async def receive():
        return inbox.pop(0)

    async def send(message):
        sent.append(message)

    await get.app({**get.scope("GET", "/", ()), "type": "websocket"}, receive, send)
    assert sent[1]["text"] == "hello"


@pytest.mark.parametrize("length", [b"5", b"3"])
async def test_only_what_is_whole_is_stored(serve, length, caplog):
    """An end that never comes, or another length than announced, is not kept."""
    runs = []

    async def broken(scope, receive, send):
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", length)],
            }
        )
        more = length == b"5"
        await send({"type": "http.response.body", "body": b"four", "more_body": more})

    async def page(request):
        runs.append(1)
        return broken

    get = serve(app_of(page))
    for _ in range(2):
        await get("/")
    assert len(runs) == 2


async def test_what_raises_at_its_end_is_not_kept(serve):
    """A response that was whole, of an application that raised after it."""
    runs = []

    def fail():
        raise LookupError("after")

    async def page(request):
        runs.append(1)
        return PlainTextResponse("page", background=BackgroundTask(fail))

    get = serve(app_of(page))
    for _ in range(2):
        with pytest.raises(LookupError):
            await get("/")
    assert len(runs) == 2


async def test_background_tasks_run_on_a_miss(serve):
    """After the response has left, once."""
    done = []

    async def page(request):
        return PlainTextResponse("page", background=BackgroundTask(done.append, 1))

    get = serve(app_of(page))
    for _ in range(2):
        assert (await get("/")).text == "page"
    assert done == [1]


@pytest.mark.parametrize("kind", ["app", "fastapi", "starlette"])
async def test_a_leader_that_leaves_does_not_cut_the_fill(lab, kind):
    """Its disconnection fails nobody: the handler goes on, and the others have its answer."""
    world = lab.World()
    async with App() as app:
        get = lab.Client(lab.make[kind](world, app))
        for before in (0, 1):  # the second time the route is known
            world.gate = asyncio.Event()
            world.entered.clear()
            leader = asyncio.create_task(get("/thing"))
            await world.entered.wait()
            follower = asyncio.create_task(get("/thing"))
            await asyncio.sleep(0)
            leader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leader
            world.gate.set()
            assert (await follower).text == f"run {before + 1}"
            assert world.runs == before + 1
            await get("/thing", method="POST")
            world.runs = before + 1


async def test_a_client_that_leaves_is_not_told_to_a_fill(serve):
    """A handler that asks whether its client is there goes on for the others."""
    entered, go = asyncio.Event(), asyncio.Event()
    finished = []

    async def page(request):
        entered.set()
        await go.wait()
        finished.append(await request.is_disconnected())
        return PlainTextResponse("page")

    get = serve(app_of(page))
    sent = []

    async def receive():
        return {"type": "http.disconnect"} if sent else {"type": "http.request"}

    async def send(message):
        sent.append(message)

    task = asyncio.create_task(get.app(get.scope("GET", "/", ()), receive, send))
    await entered.wait()
    go.set()
    await task
    assert (await get("/")).hit


async def test_a_stream_that_nobody_reads_ends(serve):
    """Without a store to fill, a handler ends with its client."""
    ended = asyncio.Event()
    begun = asyncio.Event()

    async def forever():
        try:
            while True:
                yield b"x"
                begun.set()
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def page(request):
        return StreamingResponse(forever())

    get = serve(Starlette(routes=[Route("/", page)]))
    task = asyncio.create_task(get("/"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ended.wait()


async def test_a_stream_that_grows_too_long_without_its_client_ends(serve):
    """It is not kept for anybody, so the handler need not go on."""
    begun, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def forever():
        try:
            yield b"x"
            begun.set()
            await go.wait()
            while True:
                yield b"x" * 500
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def page(request):
        return StreamingResponse(forever())

    get = serve(app_of(page, max_body=1000))
    task = asyncio.create_task(get("/"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await ended.wait()


async def test_compression_inside(serve):
    """Each coding is a variant of its own, and nobody gets one that he does not take."""
    runs = []

    async def page(request):
        runs.append(1)
        return PlainTextResponse("page " * 500)

    app = app_of(page)
    app.add_middleware(GZipMiddleware)
    get = serve(app)
    zipped = {"Accept-Encoding": "gzip"}
    for _ in range(2):
        assert (await get("/", zipped)).get("content-encoding") == "gzip"
        plain = await get("/")
        assert plain.get("content-encoding") is None
        assert plain.text == "page " * 500
    assert len(runs) == 2


async def test_compression_outside(lab):
    """The page is stored once, and its weak tag survives the compressor."""
    runs = []

    async def page(request):
        runs.append(1)
        return PlainTextResponse("page " * 500)

    async with App() as app:
        get = lab.Client(GZipMiddleware(HttpCacheMiddleware(app_of(page), cache_app=app)))
        first = await get("/", {"Accept-Encoding": "gzip"})
        assert first.get("content-encoding") == "gzip"
        assert (await get("/")).text == "page " * 500
        tag = {"If-None-Match": first.get("etag"), "Accept-Encoding": "gzip"}
        assert (await get("/", tag)).status == 304
        assert len(runs) == 1


async def test_context_variables_of_uncached_pages_come_back(serve):
    """A middleware outside sees what the page has set, as without us."""
    from contextvars import ContextVar

    variable = ContextVar("test_http_variable", default=0)

    async def page(request):
        variable.set(7)
        return PlainTextResponse("x")

    get = serve(Starlette(routes=[Route("/", page)]))
    await get("/")
    assert variable.get() == 7


async def test_without_the_middleware_it_passes_and_says_so_once(lab, caplog):
    """An endpoint that is decorated, in an application without the cache."""
    caplog.set_level(logging.WARNING, "stillfresh")

    async def page(request):
        return PlainTextResponse("page")

    get = lab.Client(app_of(page))
    for _ in range(2):
        assert (await get("/")).text == "page"
    (record,) = caplog.records
    assert "no effect without HttpCacheMiddleware" in record.getMessage()
