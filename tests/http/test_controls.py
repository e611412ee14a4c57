"""What drops responses: by arguments, by pattern, by tag, and by what a success names."""

import asyncio
from typing import Annotated

import pytest
from fastapi import FastAPI, Header, Request, Response
from gated import turns

from stillfresh import (
    App,
    CacheProvider,
    HttpCache,
    HttpCacheMiddleware,
    InvalidOption,
    MemoryCacheProvider,
    NotRunning,
    RedisCacheProvider,
    UnstableArgument,
    action,
    http_cache,
)
from stillfresh.testing import ChaosProvider, VirtualClock


class ProductApi:
    def __init__(self) -> None:
        self.runs = 0

    @action("/products/{product_id}", cache="1 minute")
    async def get_product(self, product_id: int, lang: str = "en") -> str:
        self.runs += 1
        return f"{product_id} {lang} {self.runs}"

    @action("/greeting", cache="1 minute")
    async def greet(self, accept_language: Annotated[str, Header()] = "en") -> str:
        self.runs += 1
        return f"{accept_language} {self.runs}"

    @action("/tagged/{name}", cache=HttpCache("1 minute", tags=["all", "name:{name}"]))
    async def tagged(self, name: str) -> int:
        self.runs += 1
        return self.runs

    @action("/short/{name}", cache="1 minute", tags=["short", "name:{name}"])
    async def short(self, name: str) -> int:
        self.runs += 1
        return self.runs

    @action("/all", cache="1 minute")
    async def everything(self) -> int:
        self.runs += 1
        return self.runs

    @action(
        "/products/{product_id}/rename",
        method="POST",
        invalidates=[get_product.args(product_id="{product_id}"), everything, "name:{name}"],
    )
    async def rename(self, product_id: int, name: str = "x", fail: bool = False) -> Response:
        return Response(status_code=500 if fail else 204)


@pytest.fixture
async def app(provider):
    app = App(ProductApi)
    if provider is not None:
        app.provide(CacheProvider, provider)
    async with app:
        yield app


@pytest.fixture
def api(app):
    return app.get(ProductApi)


@pytest.fixture
def get(lab, app):
    return lab.Client(app)


@pytest.fixture
async def site_of(lab):
    """Makes a site of one page, and of a POST elsewhere that changes it."""
    async with App() as app:

        def make(page, change, *, invalidates=(), **options):
            site = FastAPI()
            site.add_middleware(HttpCacheMiddleware, cache_app=app)
            site.get("/")(http_cache("1 hour", **options)(page))
            site.post("/change")(http_cache(invalidates=invalidates)(change))
            return lab.Client(site)

        yield make


async def test_tags_beside_a_ttl_drop_the_responses(app, get):
    """They are those of `@cache`, with templates; OpenAPI shows the ones that are plain words."""
    first = [await get("/short/a"), await get("/short/b")]
    assert [page.text for page in first] == ["1", "2"]
    await app.invalidate_tags("name:a")
    assert [(await get(f"/short/{name}")).text for name in "ab"] == ["3", "2"]
    await app.invalidate_tags("short")
    assert [(await get(f"/short/{name}")).text for name in "ab"] == ["4", "5"]
    assert app.http.openapi()["paths"]["/short/{name}"]["get"]["tags"] == ["short"]


async def test_arguments_are_named(api):
    """They come from the request by name; the error shows how to write them."""
    said = r"get_product\.invalidate\(7, 'de'\): name .*: invalidate\(product_id=7, lang='de'\)\."
    with pytest.raises(TypeError, match=said):
        await api.get_product.invalidate(7, "de")
    with pytest.raises(TypeError, match=r": key\(product_id=7\)\."):
        api.get_product.key(7)
    with pytest.raises(TypeError, match=r": args\(product_id=7\)\."):
        ProductApi.get_product.args(7)


async def test_by_arguments(api, get):
    """Every host and variant of one call goes; what was left out has its default."""
    await get("/products/7")
    await get("/products/7", {"Host": "other.example"})
    await get("/products/7?lang=de")
    await get("/products/8")
    assert api.runs == 4
    await api.get_product.invalidate(product_id=7)
    assert (await get("/products/7")).text == '"7 en 5"'
    assert (await get("/products/7", {"Host": "other.example"})).text == '"7 en 6"'
    assert (await get("/products/7?lang=de")).hit
    assert (await get("/products/8")).hit
    await api.get_product.invalidate(product_id="7", lang="de")  # in the type of the parameter
    assert not (await get("/products/7?lang=de")).hit


async def test_by_a_header_parameter(api, get):
    """A header is an argument by its name, joins the key, and is in Vary."""
    german = {"Accept-Language": "de"}
    first = await get("/greeting", german)
    assert (first.text, first.get("vary")) == ('"de 1"', "Accept-Language")
    assert (await get("/greeting")).text == '"en 2"'
    for _ in range(3):  # also where it is answered before routing
        assert (await get("/greeting", german)).text == '"de 1"'
        assert (await get("/greeting")).text == '"en 2"'
    assert (await get("/greeting", german)).hit
    await api.greet.invalidate(accept_language="de")
    assert (await get("/greeting", german)).text == '"de 3"'
    assert (await get("/greeting")).hit


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"produkt": 7}, "has no argument 'produkt'"),
        ({}, "expected the argument 'product_id'"),
        ({"product_id": "seven"}, "is no such argument"),
    ],
)
async def test_wrong_arguments_are_errors(api, arguments, text):
    """They are looked at when the control is called, and named."""
    with pytest.raises(TypeError, match=text):
        await api.get_product.invalidate(**arguments)


async def test_by_pattern(api, get):
    """A pattern matches the text of the arguments, as `key()` shows it."""
    assert api.get_product.key(product_id=7) == '7,"en"'
    for target in ("/products/7", "/products/7?lang=de", "/products/71"):
        await get(target)
    await api.get_product.invalidate_matching("7,*")
    assert not (await get("/products/7")).hit
    assert not (await get("/products/7?lang=de")).hit
    assert (await get("/products/71")).hit


async def test_all_of_one_action(api, get):
    """`clear` leaves other actions alone."""
    await get("/products/7")
    await get("/all")
    await api.get_product.clear()
    assert not (await get("/products/7")).hit
    assert (await get("/all")).hit


async def test_by_tag(app, get):
    """Templates take the arguments."""
    for name in ("a", "b"):
        await get(f"/tagged/{name}")
    await app.invalidate_tags("name:a")
    assert not (await get("/tagged/a")).hit
    assert (await get("/tagged/b")).hit
    await app.invalidate_tags("all")
    assert not (await get("/tagged/b")).hit


async def test_what_a_success_invalidates(get):
    """Actions, one call of an action, and tags; before the response leaves, and not on failure."""
    for target in ("/products/7", "/products/8", "/all", "/tagged/x"):
        await get(target)
    await get("/products/7/rename?fail=true", method="POST")
    assert (await get("/products/7")).hit

    seen = []

    async def look(message):
        if message["type"] == "http.response.start":
            seen.append((await get("/products/7")).hit)

    await get("/products/7/rename", method="POST", on_message=look)
    assert seen == [False]
    assert (await get("/products/8")).hit
    assert not (await get("/all")).hit
    assert not (await get("/tagged/x")).hit


async def test_clients_ask_where_something_invalidates(get):
    """A browser that would not ask would not see the change."""
    controls = {
        target: (await get(target)).get("cache-control")
        for target in ("/products/7", "/all", "/tagged/a", "/greeting")
    }
    assert controls == {
        "/products/7": "no-cache",
        "/all": "no-cache",
        "/tagged/a": "no-cache",
        "/greeting": "public, max-age=60",
    }


async def test_an_invalidation_wins_over_a_running_handler(lab, provider):
    """What was read before it is served to who asked before, and never stored."""
    world, app = lab.World(), App()
    if provider is not None:
        app.provide(CacheProvider, provider)
    get = lab.Client(lab.make["app"](world, app))
    async with app:
        world.gate = asyncio.Event()
        early = asyncio.create_task(get("/things/a"))
        await world.entered.wait()
        await app.invalidate_tags("thing:a")
        gate, world.gate = world.gate, None
        late = await get("/things/a")
        gate.set()
        assert (await early).text in {"run 1", "run 2"}
        assert late.text == "run 2"
        assert (await get("/things/a")).text == "run 2"


@pytest.mark.parametrize("how", ["tag", "post", "arguments"])
async def test_a_change_in_another_process_wins_over_a_running_handler(lab, url, prefix, how):
    """
    The fill began before the change, and is not stored after it.

    1. the first app runs the handler, which has read what was there
    2. the second app, on the same server, changes it; its answer leaves
    3. the handler of the first one ends; who asks now gets what is new, in both
    """
    state, entered, gate = ["old"], asyncio.Event(), asyncio.Event()

    class Things:
        @action("/things/{name}", cache=HttpCache("1 hour", tags=["things"]))
        async def thing(self, name: str) -> str:
            seen = state[0]
            if seen == "old":
                entered.set()
                await gate.wait()
            return f"{seen} {name}"

        @action("/things/{name}", method="POST")
        async def change(self, name: str) -> None:
            state[0] = f"new from {name}"

    one, two = App(Things), App(Things)
    for app in (one, two):
        app.provide(CacheProvider, RedisCacheProvider(url, prefix=prefix))
    async with one, two:
        here, there = lab.Client(one), lab.Client(two)
        early = asyncio.create_task(here("/things/a"))
        await entered.wait()
        if how == "post":
            assert (await there("/things/a", method="POST")).status == 200
        else:
            state[0] = "new from a"
            if how == "tag":
                await two.invalidate_tags("things")
            else:
                await two.get(Things).thing.invalidate(name="a")
        late = asyncio.create_task(there("/things/a"))
        gate.set()
        assert (await early).status == 200
        assert (await late).text == '"new from a a"'
        for get in (here, there):
            assert (await get("/things/a")).text == '"new from a a"'


@pytest.mark.parametrize("named", ["actions", "tags"])
async def test_a_change_that_does_not_reach_the_provider_is_remembered_whole(lab, named):
    """
    Each of `invalidates=` holds, although the first one has failed.

    1. two pages are stored; the handler of a change commits, and the provider is away
    2. the first page is not dropped, and neither is the second one: both are remembered
    3. the provider is back; who asks for one of them now gets what is new
    """
    clock = VirtualClock()
    app = App(clock=clock)
    provider = ChaosProvider(MemoryCacheProvider())
    app.provide(CacheProvider, provider)
    state = ["old"]

    class Pages:
        @action("/a", cache=HttpCache("1 hour", tags=["a"]))
        async def a(self) -> str:
            return state[0]

        @action("/b", cache=HttpCache("1 hour", tags=["b"]))
        async def b(self) -> str:
            return state[0]

        @action("/", method="POST", invalidates=[a, b] if named == "actions" else ["a", "b"])
        async def change(self) -> None:
            state[0] = "new"
            provider.fail = 1.0

    app.kinds.append(Pages)
    async with app:
        get = lab.Client(app)
        assert [(await get(page)).text for page in ("/a", "/b")] == ['"old"'] * 2
        assert (await get("/", method="POST")).status == 200
        provider.fail = 0.0
        clock.advance("1 minute")  # the provider is asked again
        assert [(await get(page)).text for page in ("/a", "/b")] == ['"new"'] * 2


class SlowToDrop(MemoryCacheProvider):
    """A provider whose changes end when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.gate = asyncio.Event(), asyncio.Event()

    async def invalidate_tags(self, *args, **kwargs):
        self.asked.set()
        await self.gate.wait()
        return await super().invalidate_tags(*args, **kwargs)


async def test_a_client_that_goes_takes_no_invalidation_along(lab):
    """
    Each of `invalidates=` holds, although its request was cancelled.

    1. the handler commits; the first drop is on its way to the provider
    2. the client goes, and its server cancels the request
    3. the first drop ends, and the second one is made
    """
    app, provider, state = App(), SlowToDrop(), ["old"]
    app.provide(CacheProvider, provider)

    class Pages:
        @action("/a", cache=HttpCache("1 hour", tags=["a"]))
        async def a(self) -> str:
            return state[0]

        @action("/b", cache=HttpCache("1 hour", tags=["b"]))
        async def b(self) -> str:
            return state[0]

        @action("/", method="POST", invalidates=["a", "b"])
        async def change(self) -> None:
            state[0] = "new"

    app.kinds.append(Pages)
    async with app:
        get = lab.Client(app)
        assert [(await get(page)).text for page in ("/a", "/b")] == ['"old"'] * 2
        request = asyncio.create_task(get("/", method="POST"))
        await provider.asked.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        provider.gate.set()
        await turns()
        assert [(await get(page)).text for page in ("/a", "/b")] == ['"new"'] * 2


async def test_a_change_that_cannot_be_named_leaves_out_none_of_the_others(lab, site_of):
    """A tag without a text is a mistake, and an error; what is named beside it is dropped."""
    runs = []

    async def page() -> int:
        runs.append(0)
        return len(runs)

    async def change(request: Request) -> None: ...

    get = site_of(page, change, tags=["b"], invalidates=["a:{request}", "b"])
    assert [(await get("/")).text for _ in range(2)] == ["1", "1"]
    with pytest.raises(UnstableArgument, match="no stable text"):
        await get("/change", method="POST")
    assert (await get("/")).text == "2"


async def test_numbers(api, get):
    """`stats` counts requests as those of functions are counted."""
    for _ in range(3):
        await get("/all")
    stats = api.everything.stats
    assert (stats.misses, stats.hits) == (1, 2)


async def test_a_stopped_app_passes(lab):
    """It answers without the cache, and refuses changes that would be lost."""
    app = App(ProductApi)
    get, api = lab.Client(app), app.get(ProductApi)
    assert [(await get("/all")).text for _ in range(2)] == ["1", "2"]
    with pytest.raises(NotRunning, match=r"everything\.clear\(\)"):
        await api.everything.clear()
    async with app:
        assert [(await get("/all")).text for _ in range(2)] == ["3", "3"]
    assert (await get("/all")).text == "4"
    async with app:
        assert (await get("/all")).text == "5"  # nothing of its earlier life


async def test_a_pattern_is_a_text(api):
    """A number would match the call whose text begins with it, as for functions."""
    with pytest.raises(InvalidOption, match="pattern 7: expected a text"):
        await api.get_product.invalidate_matching(7)


async def test_an_action_without_a_cache_has_no_controls(app, api):
    """It says what to write."""
    with pytest.raises(InvalidOption, match="has no cache"):
        await api.rename.clear()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "POST", "cache": True}, "only responses to GET are kept"),
        ({"cache": HttpCache(), "etag": "strong"}, "write them into it"),
        ({"cache": "10m5"}, "stopped at '5'"),
    ],
)
def test_contradictions_fail_at_decoration(options, text):
    """Mistakes in code are errors at their line."""
    with pytest.raises(ValueError, match=text):
        action("/", **options)


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (("10m5",), {}, "stopped at '5'"),
        ((60,), {"tag": ["x"]}, "tag"),
        ((HttpCache(),), {"public": True}, "into the HttpCache"),
        ((False,), {}, "expected a duration"),
        ((), {"per": lambda r: 1, "public": True}, "Leave one out"),
    ],
)
def test_contradictions_of_the_decorator(arguments, options, text):
    """The same for `@http_cache`."""
    with pytest.raises(ValueError, match=text):
        http_cache(*arguments, **options)


async def test_one_response_per_identity(lab):
    """`per=` keys by who asks, tells clients `private`, and passes where it knows nobody."""

    class Api:
        runs = 0

        @action("/", cache=HttpCache("1 minute", per=lambda r: r.headers.get("x-user")))
        async def page(self, request: Request) -> str:
            Api.runs += 1
            return f"{request.headers.get('authorization')} {Api.runs}"

    async with App(Api) as app:
        get = lab.Client(app)
        ann, bob = ({"X-User": n, "Authorization": n} for n in ("ann", "bob"))
        texts = [(await get("/", who)).text for who in (ann, bob, ann, bob)]
        assert texts == ['"ann 1"', '"bob 2"', '"ann 1"', '"bob 2"']
        assert (await get("/", ann)).get("cache-control") == "private, max-age=60"
        assert [(await get("/")).text for _ in range(2)] == ['"None 3"', '"None 4"']


async def test_cookies_that_count(lab):
    """`vary_cookies=` keys those values, and no other cookie keeps a page from being shared."""

    class Api:
        runs = 0

        @action("/", cache=HttpCache("1 minute", vary_cookies=("theme",)))
        async def page(self, request: Request) -> str:
            Api.runs += 1
            return f"{request.cookies.get('theme')} {Api.runs}"

    async with App(Api) as app:
        get = lab.Client(app)
        texts = [
            (await get("/", {"Cookie": cookie})).text
            for cookie in ("theme=dark; id=1", "theme=light", "id=2; theme=dark")
        ]
        assert texts == ['"dark 1"', '"light 2"', '"dark 1"']
