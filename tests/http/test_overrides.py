"""What a route may say otherwise (docs/http-rules.md, last column), each with its default."""

import asyncio

import pytest
from fastapi import Response

from stillfresh import (
    App,
    CacheProvider,
    HttpCache,
    HttpCacheMiddleware,
    MemoryCacheProvider,
    RedisCacheProvider,
    action,
)
from stillfresh.errors import InvalidOption, ProviderUnavailable
from stillfresh.testing import VirtualClock

MINUTE = "1 minute"


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def site(lab, clock):
    """Return what makes an app with one route under a policy, and a client of it."""

    def make(provider=None, ttl=MINUTE, **options):
        world = lab.World()

        class Api:
            @action("/page", cache=HttpCache(ttl, **options))
            async def page(self, n: int = 0) -> Response:
                return await world.answer()

            @action("/page", method="POST")
            async def change(self) -> Response:
                return Response("done")

        app = App(Api, clock=clock)
        if provider is not None:
            app.provide(CacheProvider, provider)
        return world, app, lab.Client(app)

    return make


# A17


@pytest.mark.parametrize("named", [False, True])
async def test_further_fields_are_never_stored(site, named):
    """A17: hop_by_hop= names what says something of one request, such as its id."""
    world, app, get = site(**({"hop_by_hop": ["X-Request-Id"]} if named else {}))
    world.headers = [("x-request-id", "1"), ("x-kept", "1")]
    async with app:
        await get("/page")
        second = await get("/page")
        assert second.hit
        assert (second.get("x-request-id"), second.get("x-kept")) == (None if named else "1", "1")


# B5


async def test_clients_are_told_private_of_what_is_shared_here(site):
    """B5: private=True keeps every other cache from it; by itself such an action is public."""
    for options, told in (({}, "public, max-age=60"), ({"private": True}, "private, max-age=60")):
        _, app, get = site(**options)
        async with app:
            assert (await get("/page")).get("cache-control") == told
            assert (await get("/page")).hit


async def test_clients_are_told_a_window_of_their_own(site):
    """B5: stale_while_revalidate= is what is sent; `stale` is sent where it is not there."""
    for options, told in (
        ({}, "public, max-age=60"),
        ({"stale": 30}, "public, max-age=60, stale-while-revalidate=30"),
        ({"stale": 30, "stale_while_revalidate": 0}, "public, max-age=60"),
        (
            {"stale_while_revalidate": 5, "private": True},
            "private, max-age=60, stale-while-revalidate=5",
        ),
    ):
        _, app, get = site(**options)
        async with app:
            assert (await get("/page")).get("cache-control") == told


# D2, D3


async def test_only_so_many_are_refreshed_at_once(site, clock):
    """D2: max_refreshes= bounds a route; the old response of another URL is served as it is."""
    for most in (64, 1):  # 64 by itself
        world, app, get = site(stale="1 hour", **({} if most == 64 else {"max_refreshes": most}))
        async with app:
            for n in range(3):
                await get(f"/page?n={n}")
            clock.advance("2 minutes")
            world.gate, world.runs = asyncio.Event(), 0
            for n in range(3):
                old = await get(f"/page?n={n}")
                assert (old.status, old.hit) == (200, True)
            await asyncio.sleep(0)
            assert world.runs == min(most, 3)
            world.gate.set()
            await app.settled()
            if most == 1:  # there is room again
                await get("/page?n=1")
                await app.settled()
                assert world.runs == 2


async def test_an_exception_may_be_worse_than_an_old_response(site, clock):
    """D3: stale_on_exception= is for a handler that raises, not for one that answers an error."""
    for options in ({}, {"stale_on_exception": "1 hour"}):
        world, app, get = site(**options)
        async with app:
            await get("/page")
            clock.advance("2 minutes")
            world.error = LookupError()
            if not options:
                with pytest.raises(LookupError):
                    await get("/page")
                continue
            old = await get("/page")
            assert (old.status, old.text) == (200, "run 1")
            assert old.cache == "fwd=stale; fwd-status=500"  # the page of the framework
            world.error, world.status = None, 500
            clock.advance("1 minute")  # a failed refresh rests
            assert (await get("/page")).status == 500
            clock.advance("1 hour")
            world.error = LookupError()
            with pytest.raises(LookupError):
                await get("/page")


async def test_what_must_be_asked_about_is_not_old_after_an_exception_either(site, clock):
    """D3 (RFC 9111 4.2.4): must-revalidate is about every use of an old response."""
    world, app, get = site(stale_on_exception="1 hour")
    world.headers = [("cache-control", "max-age=60, must-revalidate")]
    async with app:
        await get("/page")
        clock.advance("2 minutes")
        world.error = LookupError()
        with pytest.raises(LookupError):
            await get("/page")


# E


@pytest.mark.parametrize("wish", ["no-cache", "max-age=0", "no-store"])
async def test_who_may_ask_may_not_ask_all_the_time(site, clock, wish):
    """E: directives_interval= is how old a response has to be before somebody is heard."""
    asks = {"cache-control": wish}
    for interval in (None, "10 seconds"):
        world, app, get = site(request_directives="all", directives_interval=interval)
        async with app:
            await get("/page")
            clock.advance("9 seconds")
            again = await get("/page", asks)
            assert (again.text, again.hit) == (("run 1", True) if interval else ("run 2", False))
            clock.advance("10 seconds")
            assert (await get("/page", asks)).text == ("run 2" if interval else "run 3")
            assert world.runs == (2 if interval else 3)
            kept = "run 1" if wish == "no-store" else f"run {world.runs}"
            assert (await get("/page")).text == kept  # no-store stores nothing either


async def test_an_old_response_may_be_asked_about_at_any_time(site, clock):
    """E: directives_interval= is about fresh ones, however young the old one is."""
    _, app, get = site(stale="1 hour", request_directives="all", directives_interval="5 minutes")
    async with app:
        await get("/page")
        clock.advance("2 minutes")
        assert (await get("/page", {"cache-control": "no-cache"})).text == "run 2"


# F1


async def test_a_post_may_leave_what_is_stored(site):
    """F1: unsafe_drops=False, for a URL that changes nothing of itself; other changes count."""
    for options in ({}, {"unsafe_drops": False}):
        _, app, get = site(**options)
        async with app:
            await get("/page")
            await get("/page", method="POST")
            assert (await get("/page")).hit is bool(options)
            await app.server.route_of(app.kinds[0].page).invalidate({})
            assert not (await get("/page")).hit


# G1


async def test_nobody_waits_without_collapsed_forwarding(site):
    """G1: collapsed_forwarding=False; the one who came first still stores what it gets."""
    for options, runs in (({}, 1), ({"collapsed_forwarding": False}, 3)):
        world, app, get = site(**options)
        world.gate = asyncio.Event()
        async with app:
            clients = [asyncio.create_task(get("/page")) for _ in range(3)]
            for _ in range(40):  # whoever runs the handler has come there
                await asyncio.sleep(0)
            assert world.runs == runs
            world.gate.set()
            found = await asyncio.gather(*clients)
            assert [one.status for one in found] == [200] * 3
            assert (await get("/page")).hit
            assert world.runs == runs


async def test_an_old_response_is_served_without_collapsed_forwarding_too(site, clock):
    """G1: who is answered at once does not wait for the refresh, so it runs once."""
    world, app, get = site(collapsed_forwarding=False, stale="1 hour")
    async with app:
        await get("/page")
        clock.advance("2 minutes")
        world.gate = asyncio.Event()
        for _ in range(3):
            assert (await get("/page")).text == "run 1"
        world.gate.set()
        await app.settled()
        assert world.runs == 2


async def test_a_client_waits_only_so_long(site, clock):
    """G1: past wait_limit= it runs the handler itself, and disturbs nobody."""
    world, app, get = site(wait_limit="2 seconds")
    world.gate = asyncio.Event()
    async with app:
        first = asyncio.create_task(get("/page"))
        await world.entered.wait()
        second = asyncio.create_task(get("/page"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.runs == 1
        clock.advance("2 seconds")
        for _ in range(40):
            await asyncio.sleep(0)
        assert world.runs == 2
        world.gate.set()
        one, two = await asyncio.gather(first, second)
        assert "stored" in one.cache
        assert two.status == 200
        assert (await get("/page")).hit
        assert world.runs == 2


async def test_who_leads_after_all_does_not_give_up(site, clock):
    """
    G1: 1. one runs the handler, two waits; 2. an invalidation: what one makes is not stored; 3. two
    runs the handler itself, past its wait_limit=; 4. three waits for two.
    """
    world, app, get = site(wait_limit="2 seconds")
    gate = world.gate = asyncio.Event()
    async with app:
        first = asyncio.create_task(get("/page"))
        await world.entered.wait()
        second = asyncio.create_task(get("/page"))
        for _ in range(20):
            await asyncio.sleep(0)
        await app.server.route_of(app.kinds[0].page).invalidate({"n": 0})
        world.gate = asyncio.Event()
        world.entered.clear()
        gate.set()
        await world.entered.wait()
        clock.advance("3 seconds")
        for _ in range(20):
            await asyncio.sleep(0)
        world.gate.set()
        assert "stored" not in (await first).cache
        assert "stored" in (await second).cache
        assert (await get("/page")).text == "run 2"
        assert world.runs == 2


async def test_other_processes_are_waited_for_only_so_long(site, url, prefix):
    """G1 over a server: the lease of another process counts like a request of one's own."""
    provider = lambda: RedisCacheProvider(url, prefix=prefix)  # noqa: E731  # one line, used below
    world, app, get = site(provider, collapsed_forwarding=False)
    other_world, other, other_get = site(provider, collapsed_forwarding=False)
    world.gate = asyncio.Event()
    async with app, other:
        first = asyncio.create_task(get("/page"))
        await world.entered.wait()
        assert (await other_get("/page")).status == 200
        assert other_world.runs == 1
        world.gate.set()
        assert "stored" in (await first).cache
        assert (await other_get("/page")).hit


# G5


class Away(MemoryCacheProvider):
    """A provider that may be away."""

    away = False

    async def look(self, address):
        if self.away:
            raise ProviderUnavailable("away")
        return await super().look(address)

    async def acquire(self, address, **options):
        if self.away:
            raise ProviderUnavailable("away")
        return await super().acquire(address, **options)


async def test_a_route_may_be_refused_where_the_provider_is_away(site, clock):
    """G5: fail_closed=True spares the handler; by itself it runs for everybody."""
    for options in ({}, {"fail_closed": True}):
        away = Away()
        world, app, get = site(lambda away=away: away, **options)
        async with app:
            await get("/page?n=1")
            away.away = True
            clock.advance("2 minutes")
            found = await asyncio.gather(*(get("/page?n=1") for _ in range(3)))
            if not options:
                assert {one.status for one in found} == {200}
                continue
            assert [(one.status, one.get("retry-after")) for one in found] == [(503, "1")] * 3
            assert world.runs == 1
            away.away = False
            clock.advance("2 seconds")
            assert (await get("/page?n=1")).text == "run 2"


# G6


async def test_what_is_asked_for_once_may_be_left_out(site):
    """G6: min_uses=2 stores at the second request; who waits together counts, too."""
    for least, statuses in ((1, ["stored", "hit"]), (2, ["", "stored", "hit"])):
        world, app, get = site(min_uses=least)
        async with app:
            for status in statuses:
                assert status in (await get("/page")).cache
                if not status:
                    assert app.server.route_of(app.kinds[0].page).stats.entries == 0
            world.gate = asyncio.Event()
            clients = [asyncio.create_task(get("/page?n=1")) for _ in range(3)]
            await asyncio.sleep(0)
            world.gate.set()
            found = await asyncio.gather(*clients)
            assert len({one.text for one in found}) == 1  # shared, stored or not


async def test_a_long_head_is_not_stored(site):
    """G6: max_header_bytes=, 64 KiB by itself."""
    for limit, size, stored in ((65_536, 60_000, True), (65_536, 70_000, False), (100, 90, False)):
        world, app, get = site(max_header_bytes=limit)
        world.headers = [("x-long", "x" * size)]
        async with app:
            await get("/page")
            assert (await get("/page")).hit is stored


# H


async def test_cache_status_says_what_came_from_inside_where_it_is_something_else(behind):
    """H (RFC 9211 2.4): a 304 of the application that the client does not see."""
    marked = {"cache-control": "max-age=10", "etag": '"a"'}
    get, _, app = behind(
        (200, marked, b"body"), (304, marked, b""), (200, {**marked, "etag": '"b"'}, b"")
    )
    assert (await get("/")).cache == "fwd=uri-miss; stored"
    app.clock.advance(11)
    assert (await get("/")).cache == "fwd=stale; stored; fwd-status=304"
    app.clock.advance(11)
    unchanged = await get("/", {"if-none-match": '"b"'})
    assert (unchanged.status, unchanged.cache) == (304, "fwd=stale; stored; fwd-status=200")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directives_interval": 5}, "request_directives='trusted' or 'all'"),
        ({"collapsed_forwarding": False, "wait_limit": 5}, "Leave one out"),
        ({"cdn_ttl": 5, "public": True, "private": True}, "Leave one out"),
        ({"min_uses": 0}, "min_uses=0: expected a whole number of at least 1"),
        ({"max_entries": 0}, "max_entries=0: expected a whole number of at least 1"),
        ({"max_refreshes": 0}, "max_refreshes=0: expected a whole number"),
        ({"max_header_bytes": 0}, "max_header_bytes=0"),
        ({"hop_by_hop": "X-A"}, r"Write hop_by_hop=\('X-A',\)"),
        ({"hop_by_hop": ["a b"]}, "is not the name of a field"),
        ({"fail_closed": 1}, "expected True or False"),
        ({"unsafe_drops": "no"}, "expected True or False"),
        ({"private": None}, "expected True or False"),
        ({"precompress": ["deflate"]}, "'deflate' is no coding known here"),
        ({"precompress": ["gzip"], "ranges": True, "etag": "strong"}, "Leave one out"),
    ],
)
def test_mistakes_fail_where_they_are_written(options, message):
    """Each names the value, what is expected, and the next step."""
    with pytest.raises(InvalidOption, match=message):
        HttpCache(MINUTE, **options)


def test_whole_apps_take_the_same_options():
    """What is not a ttl may be said of an application, too."""
    policy = HttpCache.for_app("safe", min_uses=2, hop_by_hop=["X-A"], precompress=["gzip"])
    assert HttpCacheMiddleware(lambda *_: None, policy=policy).engine.whole_app is not None
