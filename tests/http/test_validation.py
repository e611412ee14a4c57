"""A whole application behind the cache: what is stored is asked about, and updated by a 304."""

import time

import pytest
from fastapi import Response

from stillfresh import App, CacheProvider, HttpCache, HttpCacheMiddleware, action, computation
from stillfresh.http.rules.fields import format_date

EARLY = format_date(time.time() - 86_400).decode()


def marked(seconds, **fields):
    return {"cache-control": f"max-age={seconds}", **fields}


async def test_a_304_lets_the_response_live_on(behind):
    """RFC 9111 4.3.3: its fields replace the stored ones, the body stays, and its time begins anew."""
    get, origin, app = behind(
        (200, marked(10, etag='"a"', **{"x-run": "1", "x-kept": "1"}), b"body"),
        (304, marked(20, etag='"a"', **{"x-run": "2", "content-length": "0"}), b""),
    )
    assert (await get("/")).body == b"body"
    app.clock.advance(11)
    two = await get("/")
    assert (two.status, two.body, two.get("x-run"), two.get("x-kept")) == (200, b"body", "2", "1")
    assert two.get("content-length") == "4"
    assert origin.seen[1]["if-none-match"] == '"a"'
    app.clock.advance(19)
    three = await get("/")
    assert three.hit
    assert three.get("age") == "19"
    assert len(origin.seen) == 2


@pytest.fixture
async def stored(provider):
    """An app that runs, on memory or on a server."""
    app = App()
    if provider is not None:
        app.provide(CacheProvider, provider)
    async with app:
        yield app


async def test_what_was_confirmed_is_dropped_by_the_tags_of_its_making(lab, stored):
    """
    The handler adds a tag as it runs. Whoever confirms the response does not run it.

    1. a response is made, with a tag that only the handler knows
    2. it is asked about, and `etag=` says that it still holds: it lives on
    3. that tag is dropped; whoever asks now gets a new one
    """
    runs = []

    class Pages:
        @action("/", cache=HttpCache("1 hour", etag=lambda: "v1"))
        async def page(self) -> Response:
            runs.append(0)
            computation().tags.add("own")
            fields = {"cache-control": "no-cache", "etag": 'W/"v1"'}
            return Response(str(len(runs)), headers=fields)

    stored.kinds.append(Pages)
    get = lab.Client(stored)
    assert [(await get("/")).text for _ in range(3)] == ["1"] * 3
    await stored.invalidate_tags("own")
    assert [(await get("/")).text for _ in range(3)] == ["2"] * 3


@pytest.mark.parametrize("named", [200, 304])
async def test_what_was_confirmed_is_in_its_groups(lab, stored, named):
    """RFC 9875 2: a 304 need not repeat Cache-Groups, and may name more; a change drops them all."""
    runs = []

    async def origin(scope, receive, send):
        fields, body = {"etag": '"a"', "cache-control": "no-cache"}, b""
        code = 304 if (b"if-none-match", b'"a"') in scope["headers"] else 200
        if scope["method"] == "POST":
            fields = {"cache-group-invalidation": '"g"'}
        elif code == 200:
            runs.append(0)
            body = b"%d" % len(runs)
        if code == named and scope["method"] != "POST":
            fields["cache-groups"] = '"g"'
        lines = [(name.encode(), value.encode()) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": code, "headers": lines})
        await send({"type": "http.response.body", "body": body})

    get = lab.Client(HttpCacheMiddleware(origin, "rfc", cache_app=stored))
    assert [(await get("/")).text for _ in range(3)] == ["1"] * 3
    await get("/other", method="POST")
    assert [(await get("/")).text for _ in range(3)] == ["2"] * 3


async def test_the_age_of_a_304_counts(behind):
    """RFC 9111 4.2.3: a response that another cache has confirmed is as old as that says."""
    get, origin, app = behind(
        (200, marked(10, etag='"a"'), b"body"), (304, marked(10, etag='"a"', age="7"), b"")
    )
    await get("/")
    app.clock.advance(11)
    assert (await get("/")).get("age") == "7"
    app.clock.advance(4)
    await get("/")
    assert len(origin.seen) == 3


async def test_a_304_of_another_response_is_asked_again(behind):
    """RFC 9111 4.3.4: it updates nothing; the second request has no conditions."""
    get, origin, app = behind(
        (200, marked(10, etag='"a"'), b"old"),
        (304, marked(10, etag='"b"'), b""),
        (200, marked(10, etag='"b"'), b"new"),
    )
    await get("/")
    app.clock.advance(11)
    two = await get("/")
    assert (two.body, two.get("etag")) == (b"new", '"b"')
    assert "if-none-match" not in origin.seen[2]
    assert (await get("/")).hit


async def test_what_is_not_stored_reaches_the_client_after_such_a_304(behind):
    """Whatever the second answer is, whoever asked gets one."""
    get, _, app = behind(
        (200, marked(10, etag='"a"'), b"old"),
        (304, marked(10, etag='"b"'), b""),
        (200, {"cache-control": "no-store"}, b"new"),
    )
    await get("/")
    app.clock.advance(11)
    two = await get("/")
    assert (two.status, two.body) == (200, b"new")


async def test_a_tag_that_was_made_here_is_not_sent_inward(behind):
    """RFC 9111 4.3.1: the origin knows its own Last-Modified, and no tag of ours."""
    get, origin, app = behind(
        (200, marked(10, **{"last-modified": EARLY}), b"body"),
        (304, marked(10, **{"last-modified": EARLY}), b""),
        profile="safe",
    )
    one = await get("/")
    assert one.get("etag")
    app.clock.advance(11)
    two = await get("/", {"if-none-match": one.get("etag")})
    assert two.status == 304
    assert origin.seen[1]["if-modified-since"] == EARLY
    assert "if-none-match" not in origin.seen[1]


async def test_no_cache_asks_before_each_use(behind):
    """RFC 9111 5.2.2.4: stored, and validated every time."""
    get, origin, _ = behind(
        (200, {"cache-control": "no-cache", "etag": '"a"'}, b"body"),
        (304, {"cache-control": "no-cache", "etag": '"a"'}, b""),
    )
    for _ in range(3):
        assert (await get("/")).body == b"body"
    assert len(origin.seen) == 3
    assert [seen.get("if-none-match") for seen in origin.seen] == [None, '"a"', '"a"']


@pytest.mark.parametrize("profile", ["safe", "rfc"])
async def test_stale_is_served_while_one_asks(behind, profile):
    """RFC 5861 3: at once, and the next one gets what the refresh brought."""
    control = {"cache-control": "max-age=10, stale-while-revalidate=10", "etag": '"a"'}
    get, _, app = behind((200, control, b"old"), (200, control, b"new"), profile=profile)
    await get("/")
    app.clock.advance(15)
    two = await get("/")
    assert (two.body, two.cache) == (b"old", "hit; ttl=-5")
    await app.settled()
    assert (await get("/")).body == b"new"


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("max-age=10, stale-if-error=60", b"old"),
        ("max-age=10", b"down"),
        ("max-age=10, stale-if-error=60, must-revalidate", b"down"),
        ("s-maxage=10, stale-if-error=60", b"down"),
    ],
)
async def test_an_old_response_is_better_than_an_error_where_it_says_so(behind, control, expected):
    """RFC 5861 4, RFC 9111 4.2.4."""
    get, _, app = behind((200, {"cache-control": control}, b"old"), (503, {}, b"down"))
    await get("/")
    app.clock.advance(11)
    assert (await get("/")).body == expected
    app.clock.advance(100)
    assert (await get("/")).body == b"down"


async def test_fields_for_other_caches_are_sent_on(behind):
    """RFC 9213: those that address this cache are not."""
    fields = {
        "stillfresh-cache-control": "max-age=10",
        "cdn-cache-control": "max-age=5",
        "cache-control": "no-store",
    }
    get, origin, _ = behind((200, fields, b"body"), profile="safe")
    for _ in range(2):
        got = await get("/")
        assert got.get("cdn-cache-control") == "max-age=5"
        assert got.get("cache-control") == "no-store"
        assert got.get("stillfresh-cache-control") is None
    assert len(origin.seen) == 1


@pytest.mark.parametrize(("profile", "expected"), [("safe", b"new"), ("rfc", b"old")])
async def test_a_cookie_goes_past_a_whole_app_also_where_hits_are_short(behind, profile, expected):
    """http-rules.md A6: the shortest way of a hit knows the rule, too."""
    get, _, _ = behind((200, marked(10), b"old"), (200, marked(10), b"new"), profile=profile)
    for _ in range(3):
        assert (await get("/")).body == b"old"
    assert (await get("/", {"cookie": "session=1"})).body == expected
