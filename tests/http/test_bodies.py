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


class Querying:
    """An application that answers queries by itself, and marks them as fresh."""

    def __init__(self, control=b"max-age=60"):
        self.control = control
        self.seen = []

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.seen.append((scope["method"], body))
        lines = [(b"cache-control", self.control), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": b"%d %s" % (len(self.seen), body)})


@pytest.mark.parametrize("profile", ["safe", "rfc"])
async def test_a_whole_application_may_have_queries_kept(lab, profile):
    """methods=["QUERY"]: by body and what describes it; without it each goes to the application."""
    for options in ({}, {"methods": ["QUERY"]}):
        origin, app = Querying(), App()
        policy = HttpCache.for_app(profile, **options)
        client = lab.Client(HttpCacheMiddleware(origin, policy=policy, cache_app=app))
        async with app:
            asked = [await client("/", method="QUERY", body=body) for body in (b"a", b"b", b"a")]
            texts = [one.text for one in asked]
            assert texts == (["1 a", "2 b", "1 a"] if options else ["1 a", "2 b", "3 a"])
            other = await client("/", JSON, method="QUERY", body=b"a")
            assert other.text == f"{len(origin.seen)} a"
            assert set(origin.seen) == {("QUERY", b"a"), ("QUERY", b"b")}
            assert (await client("/")).text == f"{len(origin.seen)} "  # a GET is another request


async def test_what_is_not_kept_of_a_query_reaches_the_application_whole(lab):
    """A body that is too long, and a response that may be stored by nobody."""
    app = App()
    policy = HttpCache.for_app("safe", methods=["QUERY"], max_body=10)
    for control, body in ((b"max-age=60", b"x" * 11), (b"no-store", b"short")):
        origin = Querying(control)
        client = lab.Client(HttpCacheMiddleware(origin, policy=policy, cache_app=app))
        async with app:
            for number in (1, 2):
                got = await client("/", method="QUERY", body=body)
                assert got.text == f"{number} {body.decode()}"


async def test_queries_that_come_at_once_are_one(lab):
    """G1 goes for them as well."""
    origin, app = Querying(), App()
    policy = HttpCache.for_app("safe", methods=["QUERY"])
    client = lab.Client(HttpCacheMiddleware(origin, policy=policy, cache_app=app))
    async with app:
        asks = (client("/", method="QUERY", body=b"a") for _ in range(20))
        assert {one.text for one in await asyncio.gather(*asks)} == {"1 a"}


async def test_a_decorated_query_of_a_whole_application_has_its_own_policy(lab):
    """The route knows better, and is asked."""
    runs, app = [], App()
    site = FastAPI()

    @site.api_route("/query", methods=["QUERY"])
    @http_cache(60, public=True, methods=["QUERY"])
    async def query(request: Request) -> str:
        runs.append(1)
        return f"{(await request.body()).decode()} {len(runs)}"

    policy = HttpCache.for_app("safe", methods=["QUERY"])
    client = lab.Client(HttpCacheMiddleware(site, policy=policy, cache_app=app))
    async with app:
        for _ in range(3):
            last = await client("/query", method="QUERY", body=b"a")
        assert last.hit
        assert len(runs) <= 2
