"""The short ways of a response on a server: near, where the provider says so, and far."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from fastapi import Response

from stillfresh import (
    App,
    CacheProvider,
    HttpCache,
    HttpCacheMiddleware,
    RedisCacheProvider,
    action,
)
from stillfresh.testing import VirtualClock


class Api:
    """An action whose answer shows how often it ran."""

    def __init__(self) -> None:
        self.calls = 0

    @action("/prices/{number}", cache="30 seconds")
    async def price(self, number: int) -> dict[str, int]:
        self.calls += 1
        return {"number": number, "call": self.calls}


def scope_of(path: str) -> dict:
    """What a server hands on of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path.partition("?")[0],
        "raw_path": path.partition("?")[0].encode(),
        "query_string": path.partition("?")[2].encode(),
        "headers": [(b"host", b"shop.example")],
        "server": ("shop.example", 80),
        "client": ("127.0.0.1", 1),
    }


async def get(app: App, path: str, *lines: tuple[bytes, bytes]) -> bytes:
    """Return the body of a response."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = scope_of(path)
    scope["headers"] += lines
    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    return b"".join(message.get("body", b"") for message in sent[1:])


async def test_a_response_is_near_and_goes_when_another_process_invalidates_it(url, prefix):
    """Served without asking; dropped here at once, and elsewhere by the push."""
    apps = [
        App(Api).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix, memory=True))
        for _ in range(2)
    ]
    async with apps[0] as app, apps[1] as other:
        near = app.get(CacheProvider).tier.near
        old = await get(app, "/prices/1")
        while not len(near):
            assert await get(app, "/prices/1") == old
        assert await get(app, "/prices/1") == old
        await other.get(Api).price.invalidate(number=1)
        while await get(app, "/prices/1") == old:  # noqa: ASYNC110  # nothing tells of a push
            await asyncio.sleep(0.001)
        new = await get(app, "/prices/1")
        await app.get(Api).price.invalidate(number=1)
        assert await get(app, "/prices/1") not in {old, new}


async def test_a_near_hit_takes_the_short_way_for_as_long_as_it_may(url, prefix):
    """
    Two look-ups, as on memory, and the near tier is asked: not after another process has
    changed the response, nor where nobody hears of changes any more.
    """
    apps = [
        App(Api).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix, memory=True))
        for _ in range(2)
    ]
    async with apps[0] as app, apps[1] as other:
        near = app.get(CacheProvider).tier.near
        path = "/prices/7"

        async def until_short() -> bytes:
            while app.server.ready(scope_of(path)) is None:
                await get(app, path)
                await asyncio.sleep(0.001)  # a heartbeat has to be answered first
            start, body = app.server.ready(scope_of(path))
            assert b"stillfresh; hit; ttl=" in dict(start["headers"])[b"cache-status"]
            return body["body"]

        old = await until_short()
        hits = app.get(Api).price.stats.hits
        assert await get(app, path) == old
        assert app.get(Api).price.stats.hits == hits + 1

        await other.get(Api).price.invalidate(number=7)
        while app.server.ready(scope_of(path)) is not None:  # noqa: ASYNC110  # the push comes
            await asyncio.sleep(0.001)
        new = await until_short()
        assert new != old

        await app.get(Api).price.invalidate(number=7)  # its own changes count at once
        assert app.server.ready(scope_of(path)) is None
        assert await until_short() not in {old, new}

        near.live_ear().close()
        assert app.server.ready(scope_of(path)) is None


async def test_a_hit_on_a_server_is_one_question(url, prefix):
    """Its key is known, and the read is sent after the request came: a change counts at once."""
    apps = [App(Api).provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)) for _ in "ab"]
    async with apps[0] as app, apps[1] as other:
        path = "/prices/5"
        olds = {await get(app, path) for _ in range(4)}
        assert len(olds) == 1
        assert app.server.engine.short_ways.distant(scope_of(path)) is not None
        hits = app.get(Api).price.stats.hits
        assert await get(app, path) in olds
        assert app.get(Api).price.stats.hits == hits + 1

        await other.get(Api).price.invalidate(number=5)
        new = await get(app, path)
        assert new not in olds
        assert await get(app, path) == new

        sent = []

        async def send(message):
            sent.append(message)

        for condition, status in (("*", 304), ('"x"', 200), (None, 200)):
            scope = scope_of(path)
            if condition is not None:
                scope["headers"].append((b"if-none-match", condition.encode()))
            sent.clear()
            await app(scope, None, send)  # nothing is received: the handler does not run
            fields = dict(sent[0]["headers"])
            assert sent[0]["status"] == status
            assert (fields[b"age"], fields[b"cache-status"]) == (b"0", b"stillfresh; hit; ttl=29")
            assert (b"content-type" in fields) is (status == 200)
            assert sent[1]["body"] == (new if status == 200 else b"")


async def test_credentials_and_changes_of_the_app_take_the_long_way(url, prefix):
    """What the short way does not look at is not left out, and an app that changes learns anew."""
    provider = RedisCacheProvider(url, prefix=prefix)
    async with App(Api).provide(CacheProvider, provider) as app:
        for _ in range(3):
            await get(app, "/prices/6")
        shortcuts = app.server.engine.short_ways
        for line in ((b"authorization", b"x"), (b"range", b"bytes=0-1"), (b"if-match", b"*")):
            scope = scope_of("/prices/6")
            scope["headers"].append(line)
            assert shortcuts.distant(scope) is None
        assert shortcuts.distant(scope_of("/prices/6")) is not None
        assert shortcuts.distant({**scope_of("/prices/6"), "method": "HEAD"}) is None
        app.on("hit", lambda event: None)
        assert shortcuts.distant(scope_of("/prices/6")) is None
    assert shortcuts.distant(scope_of("/prices/6")) is None


async def test_a_silent_server_ends_the_short_way_of_what_is_near(url, prefix):
    """Three seconds without an answer, and nobody knows what has changed."""
    clock = VirtualClock()
    provider = RedisCacheProvider(url, prefix=prefix, memory=True)
    async with App(Api, clock=clock).provide(CacheProvider, provider) as app:
        scope = scope_of("/prices/8")
        while app.server.ready(scope) is None:
            await get(app, "/prices/8")
            await asyncio.sleep(0.001)
        clock.advance("4 seconds")
        assert app.server.ready(scope) is None


class Changing:
    """Actions whose responses change what they depend on."""

    fields: ClassVar[dict[str, str]] = {}
    calls = 0

    @action("/varying", cache=HttpCache("1 minute", stale="1 hour"))
    async def varying(self) -> Response:
        self.calls += 1
        return Response(f"run {self.calls}", headers=self.fields)


async def test_a_response_that_varies_now_takes_the_long_way(url, prefix):
    """Its key is the first variant's, and another client must not get that."""
    async with App(Changing).provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)) as app:
        api = app.get(Changing)
        for _ in range(3):
            await get(app, "/varying")
        assert app.server.engine.short_ways.distant(scope_of("/varying")) is not None
        await api.varying.invalidate()
        api.fields = {"Vary": "X-Kind"}
        pages = {}
        for kind in (b"a", b"b", b"a", b"b"):
            pages.setdefault(kind, set()).add(await get(app, "/varying", (b"x-kind", kind)))
        assert pages == {b"a": {b"run 2"}, b"b": {b"run 3"}}


async def test_an_old_response_takes_the_long_way(url, prefix):
    """It is served, and refreshed behind; the short way knows fresh ones only."""
    async with App(Changing).provide(CacheProvider, RedisCacheProvider(url, prefix=prefix)) as app:
        for _ in range(3):
            await get(app, "/varying")
        reader = app.server.route_of(Changing.varying).reader()
        (key,) = await reader.region.guard.waiting.keys(reader.region.namespace, "*")
        await reader.region.expire(reader.region.guard.waiting, key)
        assert await get(app, "/varying") == b"run 1"
        await app.settled()
        assert await get(app, "/varying") == b"run 2"


async def test_no_short_way_where_a_response_says_what_of_a_query_counts(url, prefix):
    """Its key is another one as soon as a response says so, in whatever process."""

    async def origin(scope, receive, send):
        lines = [(b"cache-control", b"max-age=60"), (b"no-vary-search", b'params=("utm")')]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": scope["query_string"]})

    app = App().provide(CacheProvider, RedisCacheProvider(url, prefix=prefix))
    site = HttpCacheMiddleware(origin, profile="safe", cache_app=app)
    async with app:
        for _ in range(4):
            assert await get(site, "/?a=1") == b"a=1"
        assert not site.engine.short_ways._distant


async def test_engines_learn_anew_when_an_app_starts():
    """Whoever kept responses before may be another app now."""
    site = HttpCacheMiddleware(lambda *_: None, profile="safe")
    site.engine.readings.known["x"] = ()
    async with App():
        assert not site.engine.readings.known
