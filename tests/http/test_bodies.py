"""Methods with a body: their responses are kept only where the route names them (http-rules.md A1)."""

import asyncio

import pytest
from fastapi import FastAPI, Request

from stillfresh import App, HttpCache, HttpCacheMiddleware, InvalidOption, action, http_cache


class Search:
    def __init__(self):
        self.runs = 0

    @action("/search", method="POST", cache=HttpCache(60, methods=["POST"]))
    async def search(self, terms: dict[str, str]) -> str:
        self.runs += 1
        return f"{terms} {self.runs}"

    @action("/search", cache=60)
    async def form(self) -> str:
        return "form"

    @action("/change", method="POST")
    async def change(self) -> str:
        return "changed"

    @action("/change", cache=60)
    async def state(self) -> int:
        self.runs += 1
        return self.runs


def foreign(runs, **options):
    """An application that reads the body itself."""
    app = FastAPI()

    @app.post("/raw")
    @http_cache(60, public=True, methods=["POST"], **options)
    async def raw(request: Request) -> str:
        runs.append(1)
        return f"{(await request.body()).decode()} {len(runs)}"

    @app.api_route("/query", methods=["QUERY"])
    @http_cache(60, public=True, methods=["QUERY"])
    async def query(request: Request) -> str:
        runs.append(1)
        return f"{(await request.body()).decode()} {len(runs)}"

    app.add_middleware(HttpCacheMiddleware)
    return app


JSON = {"content-type": "application/json"}


async def test_the_body_is_part_of_the_key(lab):
    """Two searches are two responses, and the same one is a hit."""
    app = App(Search)
    client = lab.Client(app)

    async def search(body, **headers):
        return await client(
            "/search",
            {**JSON, **headers, "content-length": str(len(body))},
            method="POST",
            body=body,
        )

    async with app:
        one, two, three = [
            await search(body) for body in (b'{"a":"1"}', b'{"a":"2"}', b'{"a":"1"}')
        ]
        assert one.text == three.text != two.text
        assert three.hit
        assert (await client("/search")).text == '"form"'  # a GET has another key
        assert (await search(b'{"a":"1"}')).hit  # and a cached POST changes nothing
        conditional = await search(b'{"a":"1"}', **{"if-none-match": one.get("etag")})
        assert conditional.status == 200  # a 304 answers GET and HEAD only


async def test_other_requests_of_the_method_change_things_as_before(lab):
    """RFC 9111 4.4: a POST to a route that keeps none drops what is stored for its URL."""
    app = App(Search)
    client = lab.Client(app)
    async with app:
        assert (await client("/change")).text == (await client("/change")).text == "1"
        await client("/change", method="POST")
        assert (await client("/change")).text == "2"


@pytest.mark.parametrize(("path", "method"), [("/raw", "POST"), ("/query", "QUERY")])
async def test_a_handler_that_reads_the_body_itself(lab, caplog, path, method):
    """It gets the whole body, although the cache has read it before."""
    runs = []
    client = lab.Client(foreign(runs))
    async with App() as app:
        assert app.running
        caplog.clear()
        texts = [
            (await client(path, {"content-length": str(len(body))}, method=method, body=body)).text
            for body in (b"x", b"y", b"x")
        ]
    assert texts == ['"x 1"', '"y 2"', '"x 1"']
    assert caplog.text == ""  # and nothing says that it will never be cached


async def test_the_type_of_a_body_counts(lab):
    """The same bytes as another type are another request."""
    runs = []
    client = lab.Client(foreign(runs))
    async with App():
        for kind in ("a/b", "a/c", "a/b"):
            await client(
                "/raw", {"content-type": kind, "content-length": "1"}, method="POST", body=b"x"
            )
    assert len(runs) == 2


async def test_a_body_that_is_too_long_goes_past(lab):
    """Nobody fills the memory with bodies of requests; the handler gets all of it."""
    runs = []
    client = lab.Client(foreign(runs, max_body=10))
    async with App():
        for _ in range(2):
            got = await client("/raw", {"content-length": "20"}, method="POST", body=b"x" * 20)
    assert got.text == f'"{"x" * 20} 2"'


@pytest.mark.parametrize(("limit", "runs"), [(100, 1), (10, 2)])
async def test_a_body_may_come_in_pieces(lab, limit, runs):
    """The handler gets each of them once and in order, kept or not."""
    ran = []
    client = lab.Client(foreign(ran, max_body=limit))

    async def ask():
        pieces = [b"a" * 8, b"b" * 8, b""]
        got = []

        async def receive():
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message):
            got.append(message.get("body", b""))

        await client.app(client.scope("POST", "/raw", {"content-length": "16"}), receive, send)
        return b"".join(got)

    async with App():
        assert await ask() == b'"aaaaaaaabbbbbbbb 1"'
        assert await ask() == b'"aaaaaaaabbbbbbbb %d"' % runs
    assert len(ran) == runs


async def test_many_at_once_run_one_handler(lab):
    """http-rules.md G1, for bodies, too."""
    runs = []
    client = lab.Client(foreign(runs))
    async with App():
        found = await asyncio.gather(
            *[client("/raw", {"content-length": "1"}, method="POST", body=b"x") for _ in range(10)]
        )
    assert {got.text for got in found} == {'"x 1"'}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HttpCache(methods=["POST"], stale=5), "without its body"),
        (lambda: HttpCache.for_app("safe", methods=["POST"]), "on routes only"),
    ],
)
def test_what_cannot_be_done_is_said(make, message):
    """A refresh behind has no body to send, and a whole application no route."""
    with pytest.raises(InvalidOption, match=message):
        make()
