"""The behaviours that caches for Python get wrong, in each integration, on memory and on Redis."""

import asyncio
from urllib.parse import quote

import pytest

from stillfresh import App


async def twice(site, target="/thing", first=(), second=()):
    """Ask twice, and return both answers."""
    return await site.get(target, first), await site.get(target, second)


async def test_a_second_request_is_a_hit(site):
    """It has the same bytes, an Age, and the handler did not run."""
    one, two = await twice(site)
    assert (one.text, two.text) == ("run 1", "run 1")
    assert one.cache == "fwd=uri-miss; stored"
    assert two.hit
    assert two.get("age") == "0"
    assert one.get("etag") == two.get("etag")


async def test_authorization_is_never_shared(site):
    """A request with credentials neither fills the cache nor is answered from it."""
    mine = {"Authorization": "Bearer ann"}
    one, two = await twice(site, first=mine)
    assert (one.text, two.text) == ("run 1", "run 2")
    three = await site.get("/thing", mine)
    assert three.text == "run 3"
    assert three.get("cache-control") == "private, no-cache"


async def test_a_cookie_is_never_shared(site):
    """A request with a cookie goes past the cache, where the handler could see it."""
    one, two = await twice(site, first={"Cookie": "session=ann"})
    if site.is_app:
        assert two.text == "run 1"
        assert two.hit
        return
    assert (one.text, two.text) == ("run 1", "run 2")
    assert one.get("cache-control") == "private, no-cache"
    assert (await site.get("/thing", {"Cookie": "session=bob"})).text == "run 3"


async def test_set_cookie_is_never_replayed(site):
    """A response that sets a cookie is for the one who asked, and is not kept."""
    site.world.headers = [("set-cookie", "session=1")]
    one, two = await twice(site)
    assert (one.text, two.text) == ("run 1", "run 2")
    assert one.get("set-cookie") == "session=1"
    assert one.get("cache-control") == "private, no-cache"


async def test_variants_are_kept_apart(site):
    """What a response varies by selects it; each variant is a hit of its own."""
    site.world.headers = [("vary", "Accept-Language")]
    texts = [
        (await site.get("/thing", {"Accept-Language": language})).text
        for language in ("de", "fr", "de", "fr", "DE")
    ]
    assert texts == ["run 1", "run 2", "run 1", "run 2", "run 1"]
    assert (await site.get("/thing")).text == "run 3"


@pytest.mark.parametrize(
    "headers",
    [
        [("vary", "*")],
        [("vary", "Accept"), ("vary", "x, *")],
        [("cache-control", "private")],
        [("cache-control", "max-age=60"), ("cache-control", "No-Store")],
        [("vary", "Cookie")],
        [("content-security-policy", "script-src 'nonce-abc'")],
    ],
    ids=repr,
)
async def test_what_forbids_it_is_not_stored(site, headers):
    """The handler says that a response is not to be shared, in any spelling."""
    site.world.headers = headers
    one, two = await twice(site)
    assert (one.text, two.text) == ("run 1", "run 2")


@pytest.mark.parametrize("status", [404, 410, 400, 500, 503, 302])
async def test_errors_are_not_stored(site, status):
    """An error is answered each time, and what comes after it is stored."""
    site.world.status = status
    one, two = await twice(site)
    assert (one.status, two.status, two.text) == (status, status, "run 2")
    site.world.status = 200
    three, four = await twice(site)
    assert (three.text, four.text) == ("run 3", "run 3")


async def test_an_exception_is_an_exception(site):
    """What the handler raises reaches the server as without us, and the next request runs it."""
    site.world.error = LookupError("no database")
    for _ in range(2):
        with pytest.raises(LookupError):
            await site.get("/thing")
    site.world.error = None
    assert (await site.get("/thing")).text == "run 3"


async def test_status_and_fields_come_back(site):
    """A 203 with a field of its own is a 203 with that field."""
    site.world.status, site.world.headers = 203, [("x-own", "1"), ("x-own", "2")]
    _, two = await twice(site)
    assert two.hit
    assert (two.status, two.get("x-own")) == (203, "1, 2")


async def test_hosts_are_kept_apart(site):
    """Two hosts on one server never share."""
    one = await site.get("/thing", {"Host": "a.example"})
    two = await site.get("/thing", {"Host": "b.example"})
    again = await site.get("/thing", {"Host": "A.example:80"})
    assert (one.text, two.text, again.text) == ("run 1", "run 2", "run 1")


async def test_queries(site):
    """Names that are sorted are one URL, values are not, and repeats keep their order."""
    texts = {
        query: (await site.get(f"/thing?{query}")).text
        for query in ("a=1&b=2", "b=2&a=1", "a=2&b=1", "a=1", "a=1%26b=2", "a=&b=", "a=1b=2")
    }
    assert texts["a=1&b=2"] == texts["b=2&a=1"]
    assert len(set(texts.values())) == 6
    unknown = [(await site.get(f"/thing?a=1&x={n}")).text for n in range(3)]
    assert len(set(unknown)) == (1 if site.is_app else 3)


async def test_escapes_in_paths(site):
    """`%2F` and `%3F` are part of a name; equal spellings of one path are one."""
    paths = ["a%2Fb", "a%3Fb", "a%2fb", "ab", "%61b", quote("ä")]
    texts = [(await site.get(f"/things/{path}")).text for path in paths]
    found = [text for text in texts if text.startswith("run")]
    assert texts[3] == texts[4]  # %61 is an a
    assert texts[0] == texts[2]  # hex digits in either case
    assert len(set(found)) == len({*texts[:2], texts[3], texts[5]} & set(found))


async def test_head_is_answered_from_get(site):
    """The same fields, the length included, and no body."""
    get = await site.get("/thing")
    head = await site.get("/thing", method="HEAD")
    assert head.hit
    assert head.body == b""
    assert head.get("content-length") == get.get("content-length") == str(len(get.body))
    assert head.get("etag") == get.get("etag")


async def test_head_fills_nothing(site):
    """A HEAD that finds nothing runs the handler and stores nothing."""
    await site.get("/thing", method="HEAD")
    assert (await site.get("/thing")).text == "run 2"


async def test_conditions(site):
    """Any form that names the tag is a 304, without a body; others get it all."""
    tag = (await site.get("/thing")).get("etag")
    opaque = tag.removeprefix("W/")
    for condition in (tag, opaque, "*", f'"x", {tag}', f'W/"a,b" ,\t{opaque},'):
        got = await site.get("/thing", {"If-None-Match": condition})
        assert (got.status, got.body) == (304, b""), condition
        assert got.get("etag") == tag
        assert got.get("content-type") is None
    for condition in ('"x"', opaque[:-1], "W/", opaque.strip('"'), ""):
        got = await site.get("/thing", {"If-None-Match": condition})
        assert got.status == 200, condition


async def test_a_tag_goes_before_a_date(site):
    """If-Modified-Since counts only without If-None-Match."""
    site.world.headers = [("last-modified", "Wed, 01 Jan 2020 00:00:00 GMT")]
    await site.get("/thing")
    later = {"If-Modified-Since": "Thu, 02 Jan 2020 00:00:00 GMT"}
    assert (await site.get("/thing", later)).status == 304
    assert (await site.get("/thing", {**later, "If-None-Match": '"x"'})).status == 200


async def test_a_condition_counts_on_a_miss_too(site):
    """A restart of the cache does not send the body again to who has it."""
    tag = (await site.get("/thing")).get("etag")
    site.world.body = lambda: "run 1"
    await site.get("/thing", method="POST")  # drops it
    got = await site.get("/thing", {"If-None-Match": tag})
    assert (got.status, site.world.runs) == (304, 3)


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache-Control": "no-cache"},
        {"Cache-Control": "max-age=0"},
        {"Cache-Control": "no-store"},
        {"Cache-Control": "only-if-cached"},
        {"Pragma": "no-cache"},
        {"Cache-Control": "min-fresh=999"},
    ],
    ids=repr,
)
async def test_clients_cannot_force_the_handler(site, headers):
    """What a request says about caching is ignored."""
    one, two = await twice(site, first=headers, second=headers)
    assert (one.text, two.text) == ("run 1", "run 1")


async def test_ranges(site):
    """A range is ignored, unless the route answers ranges: then one is cut out of the whole."""
    site.world.body = lambda: "0123456789"
    cut = {"Range": "bytes=2-4"}
    assert (await site.get("/thing", cut)).status == 200
    for _ in range(2):
        part = await site.get("/ranged", cut)
        assert (part.status, part.text) == (206, "234")
        assert part.get("content-range") == "bytes 2-4/10"
        assert part.get("content-length") == "3"
    tag = (await site.get("/ranged")).get("etag")
    assert (await site.get("/ranged", {**cut, "If-Range": tag})).status == 206
    assert (await site.get("/ranged", {**cut, "If-Range": '"x"'})).status == 200
    assert (await site.get("/ranged", {"Range": "bytes=0-1,4-5"})).status == 200
    assert (await site.get("/ranged", {"Range": "bytes=99-"})).status == 416
    assert site.world.runs == 2


async def test_concurrent_misses_run_the_handler_once(site):
    """Twenty at once: one runs, and all have its answer."""
    site.world.gate = asyncio.Event()
    asking = [asyncio.create_task(site.get("/thing")) for _ in range(20)]
    await site.world.entered.wait()
    site.world.gate.set()
    answers = await asyncio.gather(*asking)
    assert {one.text for one in answers} == {"run 1"}


async def test_a_post_drops_what_is_stored_for_its_url(site):
    """With any query; and only if it succeeded."""
    await site.get("/thing?a=1")
    site.world.status = 500
    await site.get("/thing", method="POST")
    site.world.status = 200
    assert (await site.get("/thing?a=1")).hit
    await site.get("/thing", method="POST")
    assert not (await site.get("/thing?a=1")).hit


async def test_streamed_responses(site):
    """A body in pieces goes on as it comes, and is whole from the store."""
    site.world.pieces = [b"one ", b"two ", b"three"]
    one, two = await twice(site)
    assert (one.body, two.body) == (b"one two three", b"one two three")
    assert [piece for piece in one.pieces if piece] == [b"one ", b"two ", b"three"]
    assert two.hit
    assert site.world.runs == 1


async def test_guards_go_first(site):
    """Who may not see it does not, also when it is stored."""
    opened = {"Token": "open"}
    assert (await site.get("/guarded")).status == 403
    assert (await site.get("/guarded", opened)).text == "run 1"
    assert (await site.get("/guarded")).status == 403
    assert (await site.get("/guarded", opened)).text == "run 1"


async def test_public_routes_answer_everybody(site):
    """`public=True` says that cookies and credentials change nothing."""
    await site.get("/public", {"Cookie": "a=1", "X-Other": "1"})
    two = await site.get("/public", {"Authorization": "Bearer x"})
    assert two.text == "run 1"
    assert two.get("cache-control") == "public, max-age=60"


def naming(who):
    """A middleware that puts the user into a context variable."""

    class Naming:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] == "http":
                names = [value for name, value in scope["headers"] if name == b"x-user"]
                who.set(names[0].decode() if names else "nobody")
            await self.app(scope, receive, send)

    return Naming


class Refusing:
    """A guard that is a middleware."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if (b"token", b"open") in scope["headers"]:
            await self.app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})


def around(lab, kind, app, middleware):
    """A site with a middleware of the user's: inside of ours, or in an App around the actions."""
    asgi = lab.make[kind](lab.World(), app)
    if kind == "app":
        app.http.add_middleware(middleware)
    else:
        asgi.user_middleware.append(type(asgi.user_middleware[0])(middleware))
    return lab.Client(asgi)


KINDS = pytest.mark.parametrize("kind", ["app", "fastapi", "starlette"])


@KINDS
async def test_a_user_in_a_context_variable_is_not_shared(lab, kind):
    """A signature proves nothing: the page of one visitor does not reach the next one."""
    async with App() as app:
        get = around(lab, kind, app, naming(lab.who))
        for name in ("ann", "bob", "ann"):
            got = await get("/who", {"X-User": name, "Token": "open"})
            assert got.text == name
            assert got.get("cache-control") == "private, no-cache"


@KINDS
async def test_a_user_of_an_outer_middleware_is_not_shared(lab, kind):
    """The same where the middleware stands in front of the cache."""
    async with App() as app:
        get = lab.Client(naming(lab.who)(lab.make[kind](lab.World(), app)))
        for name in ("ann", "bob"):
            assert (await get("/who", {"X-User": name, "Token": "open"})).text == name


@KINDS
async def test_the_first_visitor_is_not_taken_for_everybody(lab, kind):
    """Frameworks make their middleware inside of the first request, with its variables set."""
    async with App() as app:
        asgi = lab.make[kind](lab.World(), app)
        get = lab.Client(naming(lab.who)(asgi))
        assert (await get("/who", {"X-User": "ann", "Token": "open"})).text == "ann"
        lab.who.set("nobody")
        assert (await lab.Client(asgi)("/who", {"Token": "open"})).text == "nobody"


@KINDS
async def test_a_guard_in_an_inner_middleware_goes_first(lab, kind):
    """What a middleware inside refuses, the cache does not give away."""
    async with App() as app:
        get = around(lab, kind, app, Refusing)
        opened = {"Token": "open"}
        assert [(await get("/thing", opened)).text for _ in range(2)] == ["run 1", "run 1"]
        assert (await get("/thing")).status == 403
        assert (await get("/thing", opened)).hit
