"""`@action`: methods of services as endpoints, and an App as an ASGI application."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Annotated

import httpx
import msgspec
import pytest
from fastapi import Depends, Header, HTTPException

from stillfresh import (
    App,
    CacheProvider,
    HttpCache,
    HttpCacheMiddleware,
    InvalidOption,
    MemoryCacheProvider,
    action,
    hook,
    inject,
)
from stillfresh.app import current_app
from stillfresh.http.engine.short_way import ShortWays


@dataclass
class Product:
    number: int
    name: str


class Coin(msgspec.Struct):
    value: int


class ProductService:
    async def product(self, number: int) -> Product:
        return Product(number, f"product {number}")


def checked(token: Annotated[str, Header()]) -> str:
    if token != "open":
        raise HTTPException(403)
    return token


class ProductApi:
    products = inject(ProductService)

    @action("/products/{number}")
    async def get_product(self, number: int, lang: str = "en") -> Product:
        """One product."""
        return await self.products.product(number)

    @action("/products", method="POST", status_code=201)
    async def add(self, product: Product) -> Product:
        return product

    @action("/coins")
    def coins(self) -> list[Coin]:
        return [Coin(1), Coin(2)]

    @action("/secret")
    async def secret(self, token: Annotated[str, Depends(checked)]) -> str:
        return token

    @action("/app")
    async def whose(self) -> str:
        return repr(current_app.get())


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
async def app():
    async with App(ProductApi) as app:
        yield app


@pytest.fixture
async def http(app):
    async with client(app) as http:
        yield http


async def test_an_action_is_an_endpoint(http):
    """Path and query reach the method in their types, and its result is the JSON."""
    answer = await http.get("/products/7?lang=de")
    assert answer.status_code == 200
    assert answer.json() == {"number": 7, "name": "product 7"}


async def test_what_does_not_fit_is_refused(http):
    """Validation is FastAPI's."""
    answer = await http.get("/products/seven")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["path", "number"]


async def test_bodies_and_options_of_routes(http):
    """A body becomes its type, and what else FastAPI's routes take goes through."""
    answer = await http.post("/products", json={"number": 1, "name": "x"})
    assert (answer.status_code, answer.json()) == (201, {"number": 1, "name": "x"})


async def test_a_type_that_fastapi_refuses_is_our_json(http):
    """A msgspec Struct, here in a list, is encoded although FastAPI has no model for it."""
    answer = await http.get("/coins")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == [{"value": 1}, {"value": 2}]


async def test_dependencies_guard(http):
    """A dependency runs before the method, and may refuse."""
    assert (await http.get("/secret", headers={"token": "shut"})).status_code == 403
    assert (await http.get("/secret", headers={"token": "open"})).json() == "open"


async def test_head_is_there_for_each_get(http):
    """HEAD has the fields of GET, the length included, and no body."""
    get, head = await http.get("/products/7"), await http.head("/products/7")
    assert head.status_code == 200
    assert head.headers == get.headers
    assert head.content == b""
    assert (await http.head("/products")).status_code == 405


async def test_a_method_that_is_not_there_is_told_which_ones_are(lab):
    """HEAD stands beside GET, and what other actions of the path take."""

    class Api:
        @action("/things/{number}", cache="1 minute")
        async def read(self, number: int) -> int:
            return number

        @action("/things/{name}", method="PUT")
        async def write(self, name: str) -> str:
            return name

        @action("/things", method="POST")
        async def add(self) -> str:
            return "added"

    async with App(Api) as app:
        ask = lab.Client(app)
        answer = await ask("/things/1", method="DELETE")
        assert (answer.status, answer.get("allow")) == (405, "GET, HEAD, PUT")
        answer = await ask("/things", method="HEAD")
        assert (answer.status, answer.get("allow")) == (405, "POST")


async def test_openapi_has_the_parameters(app, http):
    """The schema is that of FastAPI, without `self` and without a second entry for HEAD."""
    schema = (await http.get("/openapi.json")).json()
    operation = schema["paths"]["/products/{number}"]["get"]
    assert [one["name"] for one in operation["parameters"]] == ["number", "lang"]
    assert operation["description"] == "One product."
    assert set(schema["paths"]["/products/{number}"]) == {"get"}
    assert app.http.openapi()["paths"] == schema["paths"]


async def test_a_call_in_process_is_a_plain_call(app):
    """No HTTP is in the way: arguments go in, the object comes out."""
    api = app.get(ProductApi)
    assert await api.get_product(7) == Product(7, "product 7")
    assert api.coins() == [Coin(1), Coin(2)]


async def test_the_app_is_known_in_an_action(app, http):
    """What belongs to no instance uses the app whose action runs."""
    assert (await http.get("/app")).json() == repr(app)


async def test_an_override_counts_at_once(app, http):
    """The instance is looked up at each request."""

    class Fake(ProductApi):
        @action("/app")
        async def whose(self) -> str:
            return "fake"

    with app.override(ProductApi, Fake):
        assert (await http.get("/app")).json() == "fake"
    assert (await http.get("/app")).json() == repr(app)


async def test_actions_of_what_was_provided():
    """An implementation that has more actions than its base class serves them all."""

    class More(ProductApi):
        @action("/more")
        async def more(self) -> str:
            return "more"

    async with App(ProductApi).provide(ProductApi, More) as app, client(app) as http:
        assert (await http.get("/more")).json() == "more"
        assert (await http.get("/products/1")).status_code == 200


async def test_actions_of_an_injected_service():
    """A service that another one needs serves its actions, too."""

    class Shop:
        api = inject(ProductApi)

    async with App(Shop) as app, client(app) as http:
        assert (await http.get("/products/1")).json()["number"] == 1


async def run_lifespan(app, *, during):
    """Speak the lifespan protocol as a server does; return what the app has sent."""
    inbox: asyncio.Queue[str] = asyncio.Queue()
    sent: list[dict] = []
    started = asyncio.Event()

    async def receive():
        return {"type": await inbox.get()}

    async def send(message):
        sent.append(message)
        started.set()

    inbox.put_nowait("lifespan.startup")
    task = asyncio.create_task(app({"type": "lifespan"}, receive, send))
    await started.wait()
    during()
    inbox.put_nowait("lifespan.shutdown")
    await asyncio.wait([task])
    return sent, task


async def test_the_lifespan_of_the_server_is_that_of_the_app():
    """Start-up starts the services, shutdown stops them."""
    told = []

    class Noted:
        @hook("ready")
        async def ready(self):
            told.append("ready")

        @hook("stop")
        async def stop(self):
            told.append("stop")

    app = App(Noted)
    running = []
    sent, _ = await run_lifespan(app, during=lambda: running.append(app.running))
    assert [one["type"] for one in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert running == [True]
    assert told == ["ready", "stop"]


async def test_a_failing_start_is_told_to_the_server():
    """The server hears the error, and does not serve."""

    class Broken:
        @hook("ready")
        async def ready(self):
            raise LookupError("no database")

    sent, task = await run_lifespan(App(Broken), during=lambda: None)
    assert sent == [{"type": "lifespan.startup.failed", "message": "LookupError: no database"}]
    assert isinstance(task.exception(), LookupError)


async def test_a_running_app_is_not_started_twice(app):
    """A server in front of an app that somebody has started leaves its life alone."""
    sent, _ = await run_lifespan(app, during=lambda: None)
    assert len(sent) == 2
    assert app.running


async def test_a_warm_hit_keeps_up_with_the_app(lab):
    """The short way of a hit tells listeners, counts, and follows when the provider changes."""

    class Api:
        runs = 0

        @action("/page", cache=True)
        async def page(self) -> int:
            Api.runs += 1
            return Api.runs

    async with App(Api) as app:
        get = lab.Client(app)
        for _ in range(5):
            assert (await get("/page")).text == "1"
        assert app.get(Api).page.stats.hits == 4
        heard = []
        forget = app.on("hit", lambda event: heard.append(event.kind))
        await get("/page")
        assert heard == ["hit"]
        forget()
        for _ in range(3):
            await get("/page")
        with app.override(CacheProvider, MemoryCacheProvider()):
            for _ in range(3):
                assert (await get("/page")).text == "2"
        assert (await get("/page")).text == "1"
        await app.get(Api).page.clear()
        assert (await get("/page")).text == "3"


@pytest.mark.parametrize("kind", ["app", "middleware"])
async def test_each_request_looks_for_a_short_way_once(monkeypatch, lab, kind):
    """A hit, a miss, an endpoint without a cache, an unsafe method: one look, and no second one."""

    class Api:
        @action("/page", cache=True)
        async def page(self) -> int:
            return 1

        @action("/plain")
        async def plain(self) -> int:
            return 2

        @action("/change", method="POST")
        async def change(self) -> int:
            return 3

    looks = []
    look = ShortWays.ready
    monkeypatch.setattr(
        ShortWays, "ready", lambda self, scope: looks.append(scope["path"]) or look(self, scope)
    )
    async with App(Api) as app:
        served = app if kind == "app" else HttpCacheMiddleware(app.http, cache_app=app)
        get = lab.Client(served)
        texts = [(await get(path)).text for path in ("/page", "/page", "/page", "/plain")]
        texts.append((await get("/change", method="POST")).text)
    assert texts == ["1", "1", "1", "2", "3"]
    assert looks == ["/page", "/page", "/page", "/plain", "/change"]


async def test_a_cached_action_documents_its_304():
    """And says nothing in Cache-Status, where that is switched off."""

    class Api:
        @action("/", cache=HttpCache(60, cache_status=False))
        async def page(self) -> int:
            return 1

        @action("/plain")
        async def plain(self) -> int:
            return 1

    async with App(Api) as app, client(app) as http:
        paths = app.http.openapi()["paths"]
        assert set(paths["/"]["get"]["responses"]) == {"200", "304"}
        assert set(paths["/plain"]["get"]["responses"]) == {"200"}
        for _ in range(4):
            assert "cache-status" not in (await http.get("/")).headers


@pytest.mark.parametrize("cached", [None, True])
async def test_a_sync_action_runs_in_a_thread(cached):
    """It does not stop the loop, and still knows its app."""
    seen = []

    class Api:
        @action("/", cache=cached)
        def page(self) -> int:
            seen.append((threading.current_thread() is threading.main_thread(), current_app.get()))
            return 1

    async with App(Api) as app, client(app) as http:
        assert (await http.get("/")).json() == 1
    assert seen == [(False, app)]


async def test_generators_stream():
    """FastAPI sends on what a generator yields; the cache keeps none of it."""

    class Api:
        @action("/numbers")
        async def numbers(self) -> AsyncIterable[int]:
            for number in range(3):
                yield number

    async with App(Api) as app, client(app) as http:
        assert (await http.get("/numbers")).text.split() == ["0", "1", "2"]
    with pytest.raises(InvalidOption, match="is not kept"):
        action("/", cache=True)(vars(Api)["numbers"].function)


@pytest.mark.parametrize("value", [staticmethod(len), lambda: 1, 7, int], ids=repr)
def test_only_methods_are_actions(value):
    """Anything else is an error at its line."""
    with pytest.raises(InvalidOption, match="@action on"):
        action("/")(value)


@pytest.mark.parametrize(
    ("path", "options", "text"),
    [
        ("products", {}, "begins with '/'"),
        (b"/", {}, "begins with '/'"),
        ("/", {"method": 1}, "expected a method"),
        ("/", {"invalidates": ["x"]}, "a GET changes nothing"),
    ],
)
def test_mistakes_fail_at_decoration(path, options, text):
    """What cannot be meant is an error where it was written."""
    with pytest.raises(InvalidOption, match=text):
        action(path, **options)


NAMES = ("action", "http_cache", "HttpCache", "HttpCacheMiddleware")


@pytest.mark.parametrize(
    ("missing", "names"),
    [("fastapi", ["action"]), ("http_sf", NAMES), ("fastapi, http_sf", NAMES)],
)
def test_every_name_of_the_extra_says_what_to_install(missing, names):
    """A name of a module that nobody has heard of is no help, and the command is."""
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({missing.split(', ')!r}))\n"
        "import stillfresh\n"
        f"for name in {list(names)!r}:\n"
        "    try:\n        getattr(stillfresh, name)\n"
        "    except ImportError as error:\n        print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(names), done
    assert all(line.startswith("ImportError ") for line in lines), lines
    assert all(line.endswith("pip install 'stillfresh[http]'") for line in lines), lines


def test_without_the_extra_there_is_the_command():
    """Whoever has no FastAPI is told what to install, by the name and by the app."""
    program = (
        "import sys; sys.modules['fastapi'] = None\n"
        "import asyncio, stillfresh\n"
        "for ask in (lambda: stillfresh.action, lambda: stillfresh.App().http,\n"
        "            lambda: asyncio.run(stillfresh.App()({}, None, None))):\n"
        "    try:\n        ask()\n"
        "    except ImportError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.stdout.count("pip install 'stillfresh[http]'") == 3, done
