"""How long responses live: ttl, old ones on purpose, and validation."""

import asyncio
import logging
from contextvars import ContextVar

import pytest
from fastapi import Request, Response
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from stillfresh import (
    App,
    CacheProvider,
    HttpCache,
    HttpCacheMiddleware,
    MemoryCacheProvider,
    action,
    cache,
    computation,
    http_cache,
)
from stillfresh.computing.drivers import drive
from stillfresh.providers.base import Address
from stillfresh.testing import ChaosProvider, VirtualClock

MINUTE = "1 minute"


@pytest.fixture
def clock():
    return VirtualClock()


async def test_a_response_lives_as_long_as_its_ttl(lab, clock):
    """Then the handler runs again; Age and ttl count meanwhile."""
    world = lab.World()
    async with App(clock=clock) as app:
        get = lab.Client(lab.make["app"](world, app))
        await get("/thing")
        clock.advance("59 seconds")
        late = await get("/thing")
        assert (late.text, late.get("age"), late.cache) == ("run 1", "59", "hit; ttl=1")
        clock.advance("1 second")
        assert (await get("/thing")).text == "run 2"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("cache-control", "max-age=5")], 5),
        ([("cache-control", "max-age=5, s-maxage=7")], 7),
        ([("stillfresh-cache-control", "max-age=9"), ("cache-control", "max-age=5")], 9),
        ([("cache-control", "max-age=5"), ("age", "2")], 3),
        ([("cdn-cache-control", "max-age=900")], 60),
    ],
    ids=repr,
)
async def test_the_handler_may_say_how_long(lab, clock, headers, seconds):
    """What it says goes before the ttl of the route, and is sent on as it is."""
    world = lab.World()
    world.headers = headers
    async with App(clock=clock) as app:
        get = lab.Client(lab.make["app"](world, app))
        first = await get("/thing")
        assert first.get("stillfresh-cache-control") is None
        clock.advance(f"{seconds - 1} seconds")
        assert (await get("/thing")).text == "run 1"
        clock.advance("1 second")
        assert (await get("/thing")).text == "run 2"


async def test_old_ones_are_served_while_one_refresh_runs(clock):
    """Within `stale` nobody waits; the refresh carries no credentials and no conditions."""
    seen = []

    class Api:
        runs = 0

        @action("/", cache=HttpCache(MINUTE, stale="1 hour", public=True))
        async def page(self, request: Request) -> str:
            seen.append({name for name, _ in request.headers.items()})
            Api.runs += 1
            return f"run {Api.runs}"

    async with App(Api, clock=clock) as app:
        get = Client(app)
        await get("/", {"X-Own": "1"})
        clock.advance("2 minutes")
        private = {
            "Authorization": "Bearer x",
            "Cookie": "a=1",
            "If-None-Match": '"z"',
            "Range": "bytes=0-1",
            "X-Own": "1",
        }
        old = await asyncio.gather(*(get("/", private) for _ in range(5)))
        assert {one.text for one in old} == {'"run 1"'}
        assert old[0].cache == "hit; ttl=-60"
        await app.settled()
        assert (await get("/", private)).text == '"run 2"'
        assert Api.runs == 2
        assert seen[1] == {"host", "x-own"}


async def test_a_refresh_begins_where_the_request_came_in(lab, clock):
    """Also for a route under a mount, and without anything that was set for the client."""
    who = ContextVar("test_who", default="nobody")
    seen = []

    @http_cache(MINUTE, stale="1 hour", public=True)
    async def page(request):
        seen.append((request.url.path, request.path_params["name"], who.get()))
        return PlainTextResponse(f"run {len(seen)}")

    async def naming(scope, receive, send):
        who.set("ann")
        await cached(scope, receive, send)

    inner = Starlette(routes=[Mount("/in", routes=[Route("/{name}", page)])])
    async with App(clock=clock) as app:
        cached = HttpCacheMiddleware(inner, cache_app=app)
        get = lab.Client(naming)
        await get("/in/x")
        clock.advance("2 minutes")
        cached.engine.readings.forget_all()  # so that the endpoint is asked again
        assert (await get("/in/x")).text == "run 1"
        await app.settled()
        assert (await get("/in/x")).text == "run 2"
    assert seen == [("/in/x", "x", "ann"), ("/in/x", "x", "nobody")]


async def test_a_head_may_fill(lab, clock):
    """With `head_fills` the handler runs as GET, and the page is stored."""
    runs = []

    @http_cache(MINUTE, head_fills=True)
    async def page(request):
        runs.append(request.method)
        return PlainTextResponse("page")

    async with App(clock=clock) as app:
        site = Starlette(routes=[Route("/", page)])
        get = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        head = await get("/", method="HEAD")
        assert (head.body, head.get("content-length")) == (b"", "4")
        assert (await get("/")).text == "page"
        assert runs == ["GET"]


@pytest.mark.parametrize("failure", [LookupError("gone"), 500, 503])
async def test_old_ones_are_served_when_the_handler_fails(lab, clock, failure):
    """Within `stale_if_error`, and not after it."""
    world = lab.World()
    async with App(clock=clock) as app:
        get = lab.Client(lab.make["starlette"](world, app))
        await get("/error")
        world.status = failure if isinstance(failure, int) else 200
        world.error = failure if isinstance(failure, Exception) else None
        clock.advance("2 minutes")
        old = await get("/error")
        inside = f"; fwd-status={failure}" if isinstance(failure, int) else ""
        assert (old.status, old.text, old.cache) == (200, "run 1", f"fwd=stale{inside}")
        assert world.runs == 2
        clock.advance("1 hour")
        if isinstance(failure, Exception):
            with pytest.raises(LookupError):
                await get("/error")
        else:
            assert (await get("/error")).status == failure


async def test_what_is_kept_to_be_asked_about_is_not_for_errors(lab, clock):
    """A response with a validator stays for a day, and stands in for a failure no longer than said."""
    world = lab.World()
    world.headers = [("etag", '"1"')]
    async with App(clock=clock) as app:
        get = lab.Client(lab.make["starlette"](world, app))
        await get("/error")
        world.status = 500
        clock.advance("2 hours")
        assert (await get("/error")).status == 500


async def test_a_missing_page_is_an_answer(lab, clock):
    """A 404 is no failure: the old response does not stand in for it."""
    world = lab.World()
    async with App(clock=clock) as app:
        get = lab.Client(lab.make["starlette"](world, app))
        await get("/error")
        world.status = 404
        clock.advance("2 minutes")
        assert (await get("/error")).status == 404


async def test_what_is_not_there_may_be_kept_for_a_moment(clock):
    """`negative_ttl` says for how long."""

    class Api:
        runs = 0

        @action("/", cache=HttpCache(MINUTE, negative_ttl={404: 5}))
        async def page(self) -> Response:
            Api.runs += 1
            return Response(status_code=404)

    async with App(Api, clock=clock) as app:
        get = Client(app)
        assert [(await get("/")).status for _ in range(3)] == [404] * 3
        assert Api.runs == 1
        clock.advance("5 seconds")
        await get("/")
        assert Api.runs == 2


async def test_a_computation_decides_about_its_response(clock):
    """`computation()` works in a handler: its ttl, its tags, and skip()."""

    class Api:
        runs = 0

        @action("/{name}", cache=MINUTE)
        async def page(self, name: str) -> int:
            Api.runs += 1
            if name == "short":
                computation().ttl = "5 seconds"
            if name == "skip":
                computation().skip()
            computation().tags.add("own")
            return Api.runs

    async with App(Api, clock=clock) as app:
        get = Client(app)
        for _ in range(2):
            assert (await get("/short")).text == "1"
        clock.advance("5 seconds")
        assert (await get("/short")).text == "2"
        assert [(await get("/skip")).text for _ in range(2)] == ["3", "4"]
        assert [(await get("/x")).text for _ in range(2)] == ["5", "5"]
        await app.invalidate_tags("own")
        assert (await get("/x")).text == "6"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("say", "options", "told"),
    [
        (lambda said: said.tags.add("own"), {}, "no-cache"),
        (lambda said: said.skip(), {}, "no-cache"),
        (lambda said: said.skip(), {"client_max_age": 9, "cdn_ttl": 9}, "no-cache"),
        (lambda said: said.tags.add("own"), {"client_max_age": 9}, "public, max-age=9"),
        (lambda said: setattr(said, "ttl", 5), {}, "public, max-age=5"),
        (lambda said: None, {}, "public, max-age=60"),
    ],
    ids=["tag", "skip", "skip anyway", "tag, and a max-age", "ttl", "nothing"],
)
async def test_clients_are_told_what_a_computation_has_decided(say, options, told, streamed):
    """http-rules.md B5: what can be dropped, or is not to be stored, a browser asks about."""

    async def pieces():
        yield b"x"

    class Api:
        @action("/", cache=HttpCache(MINUTE, public=True, **options))
        async def page(self) -> Response:
            say(computation())
            return StreamingResponse(pieces()) if streamed else Response("x")

    async with App(Api) as app:
        got = await Client(app)("/")
        assert got.get("cache-control") == told
        if told == "no-cache":
            assert got.get("cdn-cache-control") is None


async def test_what_one_client_gets_stays_its_own_whatever_is_decided():
    """The words of a computation make nothing public."""

    async def page(request: Request) -> Response:
        computation().skip()
        return Response("x")

    async with App() as app:
        site = Starlette(routes=[Route("/", http_cache(MINUTE)(page))])
        got = await Client(HttpCacheMiddleware(site, cache_app=app))("/")
        assert got.get("cache-control") == "private, no-cache"


async def test_a_computation_ends_what_would_live_for_ever(clock):
    """`ttl=None` of the route is a lifetime like any other."""

    class Api:
        runs = 0

        @action("/", cache=HttpCache(None))
        async def page(self) -> int:
            Api.runs += 1
            computation().ttl = "5 seconds"
            return Api.runs

    async with App(Api, clock=clock) as app:
        get = Client(app)
        assert [(await get("/")).text for _ in range(2)] == ["1", "1"]
        clock.advance("5 seconds")
        assert (await get("/")).text == "2"


async def test_what_is_confirmed_lives_no_longer_than_its_handler_has_said(clock):
    """The validator says that it holds, and not for how long."""
    asked = []

    class Api:
        @action("/", cache=HttpCache("1 hour", etag=lambda: asked.append(0) or "v1"))
        async def page(self) -> int:
            computation().ttl = "5 seconds"
            return 1

    async with App(Api, clock=clock) as app:
        get = Client(app)
        for count in (1, 2, 3):
            await get("/")
            await get("/")
            assert len(asked) == count
            clock.advance("5 seconds")


def speaking(world):
    """A handler that decides about its response, whatever becomes of it."""
    world.runs += 1
    computation().ttl = "5 seconds"
    computation().tags.add("own")
    return Response(f"run {world.runs}")


def speaking_action(world, app):
    class Api:
        @action("/", cache=HttpCache(MINUTE, per=lambda request: request.headers.get("x-user")))
        async def page(self, request: Request) -> Response:
            return speaking(world)

        @action("/thing", cache=MINUTE)
        def plain(self) -> Response:
            return speaking(world)

        @action("/kept", etag=True)
        async def unkept(self) -> Response:
            return speaking(world)

        @action("/files/{name:path}", cache=MINUTE)
        async def any(self, name: str, request: Request) -> Response:
            return speaking(world)

    app.kinds.append(Api)
    return app


def speaking_endpoint(world, app):
    def page(request: Request) -> Response:
        return speaking(world)

    def cached(**options):
        return http_cache(MINUTE, **options)(page)

    routes = [
        Route("/", cached(per=lambda request: request.headers.get("x-user"))),
        Route("/thing", cached(), methods=["GET", "POST"]),
        Route("/kept", cached(statuses=[203])),
        Route("/files/{name:path}", cached()),
    ]
    return HttpCacheMiddleware(Starlette(routes=routes), cache_app=app)


@pytest.mark.parametrize("make", [speaking_action, speaking_endpoint])
async def test_a_computation_is_there_where_nothing_is_kept(lab, make):
    """What a handler says there is lost, and is no error: which way a request goes it cannot know."""
    world, app = lab.World(), App()
    get = Client(make(world, app))
    assert (await get("/thing")).text == "run 1"  # the app does not run yet
    async with app:
        assert (await get("/")).text == "run 2"  # it is nobody's
        for target in ("/thing", "/kept", "/files/x"):
            for fields in ({"Cookie": "a=b"}, {"If-Match": '"x"'}, {"Expect": "100-continue"}):
                assert (await get(target, fields)).status == 200
        assert (await get("/thing", method="HEAD")).status == 200


async def test_a_handler_does_not_speak_for_whoever_has_made_the_request(lab, clock):
    """A request past the cache inside of a cached function decides nothing about that one."""
    world, app = lab.World(), App(clock=clock)
    get = Client(speaking_action(world, app))

    class Fruits:
        @cache(ttl="1 hour")
        async def text(self) -> str:
            return (await get("/thing", {"If-Match": '"x"'})).text

    app.kinds.append(Fruits)
    async with app:
        fruits = app.get(Fruits)
        assert await fruits.text() == "run 1"
        clock.advance("5 seconds")
        assert await fruits.text() == "run 1"


async def test_a_handler_speaks_for_a_response_of_a_whole_application(clock):
    """Below a path that takes any name it has no cache of its own, and its `skip()` still counts."""
    runs = []

    async def page(request: Request) -> Response:
        runs.append(0)
        computation().skip()
        return Response(str(len(runs)), headers={"cache-control": "max-age=60"})

    async with App(clock=clock) as app:
        site = Starlette(routes=[Route("/{name:path}", http_cache(MINUTE)(page))])
        get = Client(HttpCacheMiddleware(site, "safe", cache_app=app))
        assert [(await get("/x")).text for _ in range(2)] == ["1", "2"]


class Versions:
    """A handler with validators that cost nothing."""

    def __init__(self):
        self.runs = 0
        self.version = "v1"

    def api(self, **options):
        outer = self

        class Api:
            @action("/{number}", **options)
            async def page(self, number: int) -> str:
                outer.runs += 1
                return f"{outer.version} of {number}"

        return Api


async def test_a_cheap_validator_spares_the_handler(clock):
    """Its tag is the same: the old response lives anew. It is another one: the handler runs."""
    world = Versions()
    asked = []

    def version(number):
        asked.append(number)
        return world.version

    async with App(world.api(cache=MINUTE, etag=version), clock=clock) as app:
        get = Client(app)
        first = await get("/7")
        assert first.get("etag") == 'W/"v1"'
        clock.advance("2 minutes")
        again = await get("/7")
        assert (again.text, world.runs, asked) == ('"v1 of 7"', 1, [7, 7])
        assert (await get("/7")).hit
        clock.advance("2 minutes")
        world.version = "v2"
        assert (await get("/7")).text == '"v2 of 7"'
        assert world.runs == 2


async def test_a_cheap_validator_answers_who_has_it(clock):
    """Nothing is stored, and the client has the version that is right: a 304 without the handler."""
    world = Versions()
    for options in ({"cache": MINUTE}, {}):
        api = world.api(etag=lambda number: world.version, **options)
        async with App(api, clock=clock) as app:
            get = Client(app)
            got = await get("/7", {"If-None-Match": '"v1"'})
            assert (got.status, got.body, got.get("etag")) == (304, b"", 'W/"v1"')
            assert world.runs == 0


async def test_a_date_is_a_validator_too(clock):
    """`last_modified=` is sent, and answers If-Modified-Since."""
    world = Versions()
    api = world.api(cache=MINUTE, last_modified=lambda number: 1_577_836_800)
    async with App(api, clock=clock) as app:
        get = Client(app)
        date = "Wed, 01 Jan 2020 00:00:00 GMT"
        assert (await get("/7")).get("last-modified") == date
        assert (await get("/7", {"If-Modified-Since": date})).status == 304
        clock.advance("2 minutes")
        await get("/7")
        assert world.runs == 1


async def test_conditions_without_a_cache():
    """`etag=True` sends a tag and answers conditions; the handler runs each time."""
    world = Versions()
    async with App(world.api(etag=True)) as app:
        get = Client(app)
        tag = (await get("/7")).get("etag")
        got = await get("/7", {"If-None-Match": tag})
        assert (got.status, got.body, world.runs) == (304, b"", 2)
        world.version = "v2"
        assert (await get("/7", {"If-None-Match": tag})).text == '"v2 of 7"'


class Origin:
    """An application that validates by itself, as one behind a proxy does."""

    def __init__(self):
        self.asked = []
        self.tag = '"1"'
        self.control = "max-age=5"

    async def __call__(self, scope, receive, send):
        headers = dict(scope["headers"])
        self.asked.append(headers.get(b"if-none-match"))
        same = headers.get(b"if-none-match") == self.tag.encode()
        fields = [(b"etag", self.tag.encode()), (b"cache-control", self.control.encode())]
        fields.append((b"x-answer", b"%d" % len(self.asked)))
        body = b"" if same else b"body " + self.tag.encode()
        await send(
            {"type": "http.response.start", "status": 304 if same else 200, "headers": fields}
        )
        await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("profile", ["safe", "rfc"])
async def test_an_application_is_validated_with_its_own_tag(clock, profile):
    """A 304 from inside gives the old response a new life, and new fields."""
    origin = Origin()
    async with App(clock=clock) as app:
        get = Client(HttpCacheMiddleware(origin, profile, cache_app=app))
        assert (await get("/")).body == b'body "1"'
        clock.advance("6 seconds")
        second = await get("/")
        assert (second.status, second.body, second.get("x-answer")) == (200, b'body "1"', "2")
        assert (await get("/")).hit
        origin.tag = '"2"'
        clock.advance("6 seconds")
        assert (await get("/")).body == b'body "2"'
        assert origin.asked == [None, b'"1"', b'"1"']


async def test_no_cache_is_asked_about_before_each_use(clock):
    """It is stored, and never used unasked."""
    origin = Origin()
    origin.control = "no-cache"
    async with App(clock=clock) as app:
        get = Client(HttpCacheMiddleware(origin, "safe", cache_app=app))
        for _ in range(3):
            assert (await get("/")).body == b'body "1"'
        assert origin.asked == [None, b'"1"', b'"1"']


async def test_a_profile_caches_only_what_is_marked(lab, clock):
    """Nothing is fresh that does not say so itself."""
    world = lab.World()

    async def page(request):
        return await world.answer()

    plain = Starlette(routes=[Route("/", page)])
    async with App(clock=clock) as app:
        get = lab.Client(HttpCacheMiddleware(plain, "safe", cache_app=app))
        assert [(await get("/")).text for _ in range(2)] == ["run 1", "run 2"]


class Client:
    """A client of the kind that the conftest has."""

    made = None

    def __new__(cls, app):
        return cls.made(app)


@pytest.fixture(autouse=True)
def client_of(lab):
    Client.made = lab.Client


async def test_jitter_shortens_and_is_not_told(clock):
    """Clients hear the whole lifetime."""
    world = Versions()
    async with App(world.api(cache=HttpCache(100, jitter=0.9)), clock=clock) as app:
        get = Client(app)
        for number in range(20):
            assert (await get(f"/{number}")).get("cache-control") == "public, max-age=100"
        clock.advance("60 seconds")
        for number in range(20):
            await get(f"/{number}")
        assert 20 < world.runs <= 40


async def test_a_slow_refresh_does_not_pile_up(clock, caplog):
    """A refresh that fails is told in the log, and the old response stays within its window."""
    caplog.set_level(logging.CRITICAL)
    world = Versions()

    class Api:
        runs = 0

        @action("/", cache=HttpCache(MINUTE, stale="1 hour"))
        async def page(self) -> str:
            Api.runs += 1
            if Api.runs > 1:
                raise LookupError("down")
            return "one"

    del world
    async with App(Api, clock=clock) as app:
        get = Client(app)
        await get("/")
        clock.advance("2 minutes")
        for _ in range(3):
            assert (await get("/")).text == '"one"'
            await app.settled()
        assert Api.runs <= 4


async def test_what_nobody_marks_is_not_kept_hold_of(lab):
    """Where a provider of somebody's own drops an entry, an index would never hear of it."""
    world = lab.World()
    app = App().provide(CacheProvider, lambda: ChaosProvider(MemoryCacheProvider()))
    get = lab.Client(lab.make["app"](world, app))
    async with app:
        for number in range(3):
            await get(f"/thing?a={number}")
            assert (await get(f"/thing?a={number}")).hit
        readers = [one.cached.reader() for one in app.server._routes.values() if one.cached]
        assert [reader.counts.hit for reader in readers if reader.counts.hit] == [3]
        assert not any(reader.index.entries for reader in readers)


async def test_what_is_dropped_before_its_client_has_it_is_not_told_to_be_old(lab):
    """
    It was made for this client just now, and its entry knows no age any more.

    1. a request leads: its response is stored
    2. something drops it, in the same turn of the loop
    3. the request wakes up, and is answered
    """
    world, loop = lab.World(), asyncio.get_running_loop()
    async with App() as app:
        get = lab.Client(lab.make["app"](world, app))
        memory = app.get(CacheProvider)
        dropped = []

        def drop(event):  # ours, which never suspends
            dropped.append(drive(memory.delete([Address(event.cache, event.key)])))

        app.on("store", lambda event: loop.call_soon(drop, event))
        for _ in range(2):
            made = await get("/thing")
            assert made.get("age") is None
            assert "hit" not in made.cache
        assert dropped == [1, 1]
