"""Responses of actions are near as well, where the provider says so for everything."""

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


async def get(app: App, path: str) -> bytes:
    """Return the body of a response."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
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
