"""G6: a path has only so many responses, whatever queries are made up for it (`max_entries=`)."""

import asyncio
import logging

import pytest
from fastapi import Response
from starlette.applications import Starlette
from starlette.routing import Route

from stillfresh import (
    App,
    CacheProvider,
    HttpCache,
    HttpCacheMiddleware,
    MemoryCacheProvider,
    RedisCacheProvider,
    action,
    http_cache,
)
from stillfresh.http.engine.paths import MOST_NOTED, Paths
from stillfresh.testing import VirtualClock


@pytest.fixture
async def search(lab):
    """Return what puts a route that answers any query behind the cache, as a foreign application."""
    apps = []

    async def make(ttl="1 minute", provider=None, **options):
        app = App(clock=VirtualClock())
        if provider is not None:
            app.provide(CacheProvider, provider)
        await app.__aenter__()
        apps.append(app)
        world = lab.World()

        async def page(request):
            return await world.answer()

        cached = http_cache(ttl, **options)(page)
        asgi = Starlette(routes=[Route("/search", cached), Route("/other/{name}", cached)])
        return world, app, lab.Client(HttpCacheMiddleware(asgi, cache_app=app))

    yield make
    for app in apps:
        await app.__aexit__(None, None, None)


def entries(app):
    """How many responses the provider of an app keeps."""
    return sum(len(space) for space in app.guards[0].provider._table.spaces.values())


async def test_made_up_queries_do_not_fill_the_cache(search):
    """Past `max_entries` each new response of a path takes the place of its oldest one."""
    world, app, get = await search(max_entries=5)
    for number in range(20):
        got = await get(f"/search?q={number}")
        assert (got.status, got.cache) == (200, "fwd=uri-miss; stored")
        assert entries(app) == min(number + 1, 5)
    for number in range(15, 20):
        assert (await get(f"/search?q={number}")).hit
    assert world.runs == 20
    assert not (await get("/search?q=14")).hit


async def test_a_flood_cannot_keep_others_out(search):
    """What is asked for in the middle of one is stored, and is a hit until as many have come again."""
    _, _, get = await search(max_entries=5)
    for number in range(50):
        await get(f"/search?flood={number}")
    await get("/search?q=good")
    for number in range(4):
        await get(f"/search?flood=again{number}")
        assert (await get("/search?q=good")).hit


async def test_other_paths_and_hosts_have_a_number_of_their_own(search):
    """A flood of one path takes nothing from others, of the same route or not."""
    _, _, get = await search(max_entries=5)
    for name in range(8):  # of the route more than a path may have
        await get(f"/other/{name}")
    await get("/search?q=0", {"host": "elsewhere"})
    for number in range(20):
        await get(f"/search?q={number}")
    for name in range(8):
        assert (await get(f"/other/{name}")).hit
    assert (await get("/search?q=0", {"host": "elsewhere"})).hit


async def test_each_client_of_per_has_its_own_number(search):
    """Under `per=` one client cannot push out what is kept for another."""
    who = {"per": lambda request: request.headers.get("x-user")}
    _, app, get = await search(max_entries=5, **who)
    for name in range(8):
        await get("/search?q=0", {"x-user": str(name)})
    for number in range(20):
        await get(f"/search?q={number}", {"x-user": "7"})
    assert entries(app) == 7 + 5
    assert (await get("/search?q=0", {"x-user": "0"})).hit
    assert not (await get("/search?q=0", {"x-user": "7"})).hit


async def test_a_long_identity_takes_no_more_memory(search, monkeypatch):
    """What is remembered of a path is short, whatever a client has sent."""
    _, _, get = await search(max_entries=5, per=lambda request: request.headers["x-user"])
    noted = []
    note = Paths.note
    monkeypatch.setattr(Paths, "note", lambda *args: noted.append(args[1:3]) or note(*args))
    await get("/search?q=" + "x" * 5_000, {"x-user": "y" * 50_000})
    ((path, key),) = noted
    assert len(path) + len(key) < 1_000


async def test_what_else_anybody_may_write_counts_too(search):
    """Cookies that are keyed, and variants, are made up as easily as queries."""
    world, app, get = await search(max_entries=5, vary_cookies=["theme"])
    for number in range(20):
        await get("/search", {"cookie": f"theme={number}"})
    assert entries(app) == 5
    world.headers = [("vary", "x-any")]
    for number in range(20):
        await get("/search", {"x-any": str(number)})
    assert entries(app) == 5


async def test_a_response_that_is_made_anew_counts_once(search):
    """Renewing is no second entry: neither after its end, nor by an invalidation, nor behind."""
    world, app, get = await search(max_entries=3, public=True, stale="1 hour", tags=["all"])
    for _ in range(10):
        for number in range(3):
            await get(f"/search?q={number}")
        await app.invalidate_tags("all")
    for _ in range(10):
        for number in range(3):
            await get(f"/search?q={number}")
        await app.settled()
        app.clock.advance("2 minutes")
    runs = world.runs
    for number in range(3):
        assert (await get(f"/search?q={number}")).hit
    await app.settled()
    assert world.runs == runs + 3


async def test_what_has_ended_makes_room_by_itself(search):
    """Nothing leaves for what is not there any more."""
    _, app, get = await search(max_entries=5)
    left = []
    app.on("evict", left.append)
    for _ in range(3):
        for number in range(5):
            await get(f"/search?q={app.clock.now()}{number}")
        app.clock.advance("61 seconds")
    assert left == []
    for number in range(6):
        await get(f"/search?q={number}")
    assert [event.kind for event in left] == ["evict"]


async def test_only_what_is_stored_counts(search):
    """A flood of what is not kept pushes nothing out."""
    world, _, get = await search(max_entries=2)
    await get("/search?q=good")
    for fields in ([("cache-control", "no-store")], [("set-cookie", "a=b")], [("vary", "*")]):
        world.headers = fields
        for number in range(5):
            await get(f"/search?q={number}")
    world.headers, world.status = [], 404
    for number in range(5):
        await get(f"/search?q={number}")
    assert (await get("/search?q=good")).hit


async def test_what_is_not_admitted_yet_does_not_count(search):
    """With `min_uses=2` a flood of queries that come once takes no room at all."""
    _, _, get = await search(max_entries=2, min_uses=2)
    for _ in range(2):
        await get("/search?q=good")
    for number in range(20):
        await get(f"/search?q={number}")
    assert (await get("/search?q=good")).hit


async def test_what_is_being_made_anew_does_not_leave(search):
    """
    One handler runs for a key, in a flood too: 1. the oldest was invalidated, and is made anew; 2. others
    come, and it is the one to leave; 3. its result is stored, and who waits for it gets it.
    """
    world, app, get = await search(max_entries=2, tags=["all"])
    await get("/search?q=old")
    await app.invalidate_tags("all")
    gate = world.gate = asyncio.Event()
    world.entered.clear()
    one = asyncio.create_task(get("/search?q=old"))
    await world.entered.wait()
    world.gate = None
    for number in range(5):
        await get(f"/search?q={number}")
    runs = world.runs
    two = asyncio.create_task(get("/search?q=old"))
    for _ in range(20):
        await asyncio.sleep(0)
    gate.set()
    assert "stored" in (await one).cache
    assert "collapsed" in (await two).cache
    assert (await get("/search?q=old")).hit
    assert world.runs == runs


async def test_a_hit_counts_nothing(search, monkeypatch):
    """Only who stores is looked at."""
    _, _, get = await search(max_entries=2)
    await get("/search?q=1")
    monkeypatch.setattr(Paths, "make_room", None)
    for _ in range(5):
        assert (await get("/search?q=1")).hit


async def test_a_memory_that_keeps_no_more_decides_by_itself(search):
    """By itself the number is 10,000, as many as a memory has, which knows what is used."""
    assert HttpCache("1 minute").max_entries == MemoryCacheProvider().most_entries == 10_000


async def test_an_action_says_its_number_too(lab):
    """In an `App`, parameters that nobody has declared are no queries at all."""

    class Api:
        @action("/search", cache=HttpCache("1 minute", max_entries=3))
        async def search(self, q: str = "") -> Response:
            return Response(q)

    async with App(Api) as app:
        get = lab.Client(app)
        for number in range(10):
            await get(f"/search?made-up={number}")
            await get(f"/search?q={number}")
        assert entries(app) == 3


async def test_a_whole_application_has_it_for_each_path(behind):
    """Of a whole application nobody has declared anything, so every query is an entry."""
    get, origin, app = behind((200, {"cache-control": "max-age=60"}, b"body"), max_entries=3)
    await get("/a?q=0")
    for number in range(10):
        await get(f"/b?q={number}")
    assert entries(app) == 4
    runs = len(origin.seen)
    assert (await get("/a?q=0")).hit
    assert len(origin.seen) == runs


async def test_litestar_has_it_too(lab):
    """The third integration."""
    litestar = pytest.importorskip("litestar")
    app = App()
    async with app:

        @litestar.get("/search")
        @http_cache("1 minute", max_entries=3)
        async def search(request: litestar.Request) -> str:
            return str(request.query_params["q"])

        get = lab.Client(HttpCacheMiddleware(litestar.Litestar([search]), cache_app=app))
        for number in range(10):
            await get(f"/search?q={number}")
        assert entries(app) == 3


async def test_a_server_keeps_so_many_of_each_process(search, url, prefix):
    """Nothing else bounds a server but its memory; what another process has stored stays."""
    provider = RedisCacheProvider(url, prefix=prefix)
    _, _, get = await search(provider=provider, max_entries=3)
    other = RedisCacheProvider(url, prefix=prefix)
    _, _, get_other = await search(provider=other, max_entries=3)
    for number in range(10):
        await get(f"/search?a={number}")
        await get_other(f"/search?b={number}")
    assert len(await provider.keys(f"http:{__name__}.search.<locals>.make.<locals>.page")) == 6
    assert (await get_other("/search?a=9")).hit
    assert not (await get("/search?a=6")).hit


async def test_the_log_says_once_what_to_do(search, caplog):
    """Who really has so many hears of it."""
    _, _, get = await search(max_entries=2)
    with caplog.at_level(logging.WARNING, "stillfresh"):
        for number in range(10):
            await get(f"/search?q={number}")
    (line,) = [one.getMessage() for one in caplog.records]
    assert "max_entries=2" in line
    assert "ignore_query=" in line


def test_what_is_remembered_of_paths_is_bounded():
    """However many paths there are, the ones that nothing was stored for longest are forgotten."""
    paths = Paths()

    def note(path, key, most=10):
        return paths.note(path, key, 60.0, most, 0.0, lambda _: False)

    for number in range(3 * MOST_NOTED):
        note(str(number), "key")
    assert len(paths) == MOST_NOTED
    for number in range(MOST_NOTED + 10):
        gone = note("one", str(number))
    assert gone == [str(MOST_NOTED - 1)]
    assert len(paths) == MOST_NOTED
    paths.clear()
    for number in range(5 * MOST_NOTED):
        note("large", str(number), most=2 * MOST_NOTED)
    assert len(paths) == 2 * MOST_NOTED
    assert len(paths._kept["large"]) == 2 * MOST_NOTED


def test_the_newest_never_leaves():
    """Not even where all others are being made anew."""
    paths = Paths()
    for number in range(5):
        assert paths.note("one", str(number), 60.0, 1, 0.0, lambda _: True) == []
    left = paths.note("one", "last", 60.0, 1, 0.0, lambda _: False)
    assert sorted(left) == ["0", "1", "2", "3", "4"]
