"""The short ways of a response on a server: near, where the provider says so, and far."""

from __future__ import annotations

import asyncio

from stillfresh import App, CacheProvider, RedisCacheProvider, action


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
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"shop.example")],
        "server": ("shop.example", 80),
        "client": ("127.0.0.1", 1),
    }


async def get(app: App, path: str) -> bytes:
    """Return the body of a response."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope_of(path), receive, send)
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
        assert app.server.engine.shortcuts.distant(scope_of(path)) is not None
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
        shortcuts = app.server.engine.shortcuts
        for line in ((b"authorization", b"x"), (b"range", b"bytes=0-1"), (b"if-match", b"*")):
            scope = scope_of("/prices/6")
            scope["headers"].append(line)
            assert shortcuts.distant(scope) is None
        assert shortcuts.distant(scope_of("/prices/6")) is not None
        assert shortcuts.distant({**scope_of("/prices/6"), "method": "HEAD"}) is None
        app.on("hit", lambda event: None)
        assert shortcuts.distant(scope_of("/prices/6")) is None
    assert shortcuts.distant(scope_of("/prices/6")) is None
