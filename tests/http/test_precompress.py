"""precompress=: each coding is made once, and each client gets what it likes best (I)."""

import gzip
import sys

import brotli
import pytest
from fastapi import Response

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from stillfresh import (
    App,
    CacheProvider,
    HttpCache,
    HttpCacheMiddleware,
    action,
)
from stillfresh.http import codings
from stillfresh.http.engine import coding
from stillfresh.http.rules.key import best_coding

ALL = ("zstd", "br", "gzip")
OPENED = {None: bytes, "gzip": gzip.decompress, "br": brotli.decompress, "zstd": zstd.decompress}
TEXT = "All work and no play. " * 100


def site_of(lab, provider=None, **options):
    world = lab.World()
    world.body = lambda: f"{TEXT}{world.runs}"

    class Api:
        @action("/page", cache=HttpCache("1 minute", **({"precompress": ALL} | options)))
        async def page(self) -> Response:
            return await world.answer()

    app = App(Api)
    if provider is not None:
        app.provide(CacheProvider, lambda: provider)
    return world, app, lab.Client(app)


def opened(got):
    return OPENED[got.get("content-encoding")](got.body).decode()


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("br;q=0.5, gzip", "gzip"),
        ("zstd;q=0, *", "br"),
        ("*", "zstd"),
        ("gzip;q=0", None),
        ("gzip;q=0.2, identity;q=0.5", None),
        ("deflate", None),
    ],
)
async def test_each_client_gets_what_it_likes_best(lab, provider, accepted, expected):
    """On a miss, on a hit and on the short way; one handler, and one Vary on all of them."""
    world, app, get = site_of(lab, provider)
    headers = {} if accepted is None else {"accept-encoding": accepted}
    async with app:
        for _ in range(4):
            got = await get("/page", headers)
            assert got.get("content-encoding") == expected
            assert got.get("content-length") == str(len(got.body))
            assert opened(got) == f"{TEXT}1"
            assert got.get("vary") == "Accept-Encoding"
            assert len(got.body) < len(TEXT) / 5 or expected is None
        assert world.runs == 1


async def test_all_codings_have_one_tag_and_go_together(lab, provider):
    """The tag is weak: who has the page in one coding has it in all. A change drops them all."""
    world, app, get = site_of(lab, provider)
    async with app:
        gots = [await get("/page", {"accept-encoding": name}) for name in ("", *ALL, "", *ALL)]
        (tag,) = {got.get("etag") for got in gots}
        assert tag.startswith('W/"')
        for name in ("", *ALL):
            same = await get("/page", {"accept-encoding": name, "if-none-match": tag})
            assert (same.status, same.body, same.get("vary")) == (304, b"", "Accept-Encoding")
            assert same.get("content-encoding") is None
        await app.server.route_of(app.kinds[0].page).invalidate({})
        assert opened(await get("/page", {"accept-encoding": "br"})) == f"{TEXT}2"
        assert opened(await get("/page", {"accept-encoding": "gzip"})) == f"{TEXT}2"
        assert world.runs == 2


async def test_a_strong_tag_of_the_handler_is_weak_where_the_bytes_are_others(lab):
    """RFC 9110 8.8.3.3: two codings must not have one strong tag."""
    world, app, get = site_of(lab)
    world.headers = [("etag", '"mine"'), ("accept-ranges", "bytes")]
    async with app:
        for _ in range(2):
            plain, coded = await get("/page"), await get("/page", {"accept-encoding": "gzip"})
            assert (plain.get("etag"), coded.get("etag")) == ('"mine"', 'W/"mine"')
            assert (plain.get("accept-ranges"), coded.get("accept-ranges")) == ("bytes", None)


async def test_head_says_what_get_would_send(lab):
    """RFC 9110 9.3.2: the fields of the coding, and no body."""
    _, app, get = site_of(lab)
    async with app:
        gzip_only = {"accept-encoding": "gzip"}
        full = await get("/page", gzip_only)
        head = await get("/page", gzip_only, method="HEAD")
        assert (head.body, head.get("content-length")) == (b"", full.get("content-length"))
        assert head.get("content-encoding") == "gzip"


@pytest.mark.parametrize(
    ("fields", "options", "body"),
    [
        ([], {"precompress": ()}, TEXT),
        ([("cache-control", "max-age=60, no-transform")], {}, TEXT),
        ([], {"no_transform": True}, TEXT),
        ([("content-encoding", "x")], {}, TEXT),
        ([("content-digest", "sha-256=:AA==:")], {}, TEXT),
        ([], {}, "short"),
        ([("vary", "Accept-Encoding")], {}, TEXT),
    ],
)
async def test_what_stays_as_it_came(lab, fields, options, body):
    """By itself nothing is compressed; never what must not be, what is coded, or what is short."""
    world, app, get = site_of(lab, **options)
    world.headers, world.body = fields, lambda: body
    async with app:
        for _ in range(3):
            got = await get("/page", {"accept-encoding": "gzip, br, zstd, x"})
            assert got.body.decode() == body


async def test_pictures_are_not_compressed(lab):
    """Their bytes are coded already, and no field says that they vary."""
    world, app, get = site_of(lab)

    async def picture():
        return Response(b"\0" * 5_000, media_type="image/png")

    world.answer = picture
    async with app:
        got = await get("/page", {"accept-encoding": "gzip"})
        assert (len(got.body), got.get("vary")) == (5_000, None)


async def test_a_long_body_is_compressed_beside_the_loop(lab, monkeypatch):
    """A thread does it, and the bytes are the same."""
    used = []

    async def noted(call):
        used.append(call)
        return call()

    monkeypatch.setattr(coding, "in_thread", noted)
    world, app, get = site_of(lab)
    world.body = lambda: TEXT * 50
    async with app:
        assert opened(await get("/page", {"accept-encoding": "br"})) == TEXT * 50
    assert len(used) == 1


async def test_whole_applications_are_compressed_too(lab):
    """As far as they mark what is fresh."""

    async def origin(scope, receive, send):
        lines = [(b"content-type", b"text/html"), (b"cache-control", b"max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": TEXT.encode()})

    app = App()
    policy = HttpCache.for_app("safe", precompress=["gzip"])
    get = lab.Client(HttpCacheMiddleware(origin, policy=policy, cache_app=app))
    async with app:
        for _ in range(3):
            got = await get("/", {"accept-encoding": "gzip"})
            assert (got.get("content-encoding"), opened(got)) == ("gzip", TEXT)
        assert got.hit


def test_a_library_that_is_missing_is_named(monkeypatch):
    """The error has the command; gzip needs nothing."""
    monkeypatch.setattr(codings, "_library", lambda _: None)
    codings.compressor.cache_clear()
    try:
        for name in ("br", "zstd"):
            with pytest.raises(Exception, match=r"pip install 'stillfresh\[compression\]'"):
                HttpCache(precompress=["gzip", name])
        HttpCache(precompress=["gzip"])
    finally:
        codings.compressor.cache_clear()


def test_gzip_has_the_same_bytes_each_time():
    """No clock and no name is in it."""
    make = codings.compressor("gzip")
    assert make is not None
    assert make(TEXT.encode()) == make(TEXT.encode())
    assert gzip.decompress(make(TEXT.encode())).decode() == TEXT


def test_of_equals_the_first_that_the_route_names_is_sent():
    """Clients mostly have no preference."""
    assert best_coding(b"gzip, br", (b"br", b"gzip")) == b"br"
    assert best_coding(b"gzip, br", (b"gzip", b"br")) == b"gzip"
