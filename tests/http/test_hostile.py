"""Whatever comes from either side, the client gets a response, and the cache stays sound."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillfresh import App, HttpCache, HttpCacheMiddleware

NAMES = st.sampled_from([
    b"accept-encoding", b"age", b"authorization", b"cache-control", b"cache-groups", b"cache-group-invalidation",
    b"cache-status", b"cdn-cache-control", b"connection", b"content-encoding", b"content-location", b"content-length",
    b"cookie", b"date", b"etag", b"expires", b"forwarded", b"host", b"if-modified-since", b"if-none-match",
    b"if-range", b"last-modified", b"location", b"no-vary-search", b"origin", b"pragma", b"range", b"set-cookie",
    b"stillfresh-cache-control", b"vary", b"x",
])  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([
        b"", b"*", b"max-age=60", b"max-age=60, public", b"no-cache", b"private", b'"a"', b'W/"a"', b'"a", "b"', b"gzip",
        b"bytes=0-1", b"bytes=-1", b"Sun, 06 Nov 1994 08:49:37 GMT", b"http://[", b"/x", b"a=b; c", b"accept-encoding, x",
        b'"open', b"max-age=99999999999999999999", b"params", b'params=("a")', b"5", b"xn--/\xff",
    ]),
    st.binary(max_size=20).map(lambda value: value.translate(None, b"\r\n\0")),
)  # fmt: skip
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
PATHS = st.binary(max_size=10).map(lambda value: b"/" + value)
METHODS = st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "QUERY", "OPTIONS", "FOO", "get"])
REQUESTS = st.tuples(METHODS, PATHS, st.binary(max_size=8), FIELDS)
RESPONSES = st.tuples(
    st.sampled_from([200, 200, 203, 204, 206, 301, 304, 404, 500, 599, 999]), FIELDS
)


async def ask(middleware, request, response):
    method, path, query, fields = request
    status, answer = response

    async def inner(scope, receive, send):
        lines = [line for line in answer if line[0] != b"content-length"]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": b"0123456789"})

    middleware.app = middleware.engine.inner = middleware.engine.desk.inner = inner
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": method, "scheme": "http", "path": path.decode("latin-1"), "raw_path": path,
        "query_string": query, "headers": fields, "server": ("h", 80), "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    await asyncio.wait_for(middleware(scope, receive, send), 5)
    return sent


@pytest.mark.parametrize("profile", ["safe", "rfc"])
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(exchanges=st.lists(st.tuples(REQUESTS, RESPONSES), min_size=1, max_size=4))
def test_every_request_has_one_whole_response(profile, exchanges):
    """One start, one end, fields that can be sent, and no exception."""

    async def run():
        app = App()
        async with app:
            middleware = HttpCacheMiddleware(None, policy=HttpCache.for_app(profile), cache_app=app)
            for request, response in exchanges:
                sent = await ask(middleware, request, response)
                assert sent[0]["type"] == "http.response.start"
                assert [message["type"] for message in sent[1:]] == ["http.response.body"] * (
                    len(sent) - 1
                )
                assert not sent[-1].get("more_body")
                for name, value in sent[0]["headers"]:
                    assert not {*b"\r\n\0"} & {*name, *value}

    asyncio.run(run())
