"""An action has the types of its method, and its controls have types of their own."""

from typing import Protocol, assert_type

from fastapi import FastAPI
from litestar import Litestar
from starlette.applications import Starlette

from stillfresh import App, HttpCache, HttpCacheMiddleware, action, http_cache, inject


class Product:
    """What is served."""


class ProductApi:
    @action("/products/{product_id}")
    async def get_product(self, product_id: int, lang: str = "en") -> Product:
        return Product()

    @action("/count", method="POST", status_code=201)
    def count(self, kind: str) -> int:
        return len(kind)


class Other:
    api = inject(ProductApi)

    async def use(self) -> Product:
        return await self.api.get_product(1)


HttpCache("1 minute", per=lambda request: request.headers["x-user"])
HttpCache("1 minute", trusted=lambda request: request.client is not None)


def in_front_of_any_framework() -> None:
    """Each has its own types of scope, receive and send."""
    FastAPI().add_middleware(HttpCacheMiddleware, profile="safe")
    Starlette().add_middleware(HttpCacheMiddleware)
    Litestar([], middleware=[HttpCacheMiddleware])
    HttpCacheMiddleware(Litestar([]), profile="safe")
    HttpCacheMiddleware(FastAPI(), profile="rfc")
    HttpCacheMiddleware(FastAPI(), profile="no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def calls(api: ProductApi) -> None:
    assert_type(await api.get_product(1, lang="de"), Product)
    assert_type(api.count("x"), int)
    await api.get_product("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    api.count(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Endpoint(Protocol):
    async def __call__(self, number: int) -> Product: ...


def as_protocols() -> None:
    """An endpoint is the async function that it was, or one that it was not."""

    @http_cache("1 minute")
    async def one(number: int) -> Product:
        return Product()

    @http_cache
    async def two(number: int) -> Product:
        return Product()

    @http_cache
    def three(number: int) -> Product:
        return Product()

    endpoints: list[Endpoint] = [one, two, three]
    del endpoints


def an_app_is_asgi() -> None:
    app = App(ProductApi)
    assert_type(app.http.title, str)
    action(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    action("/", methods="GET")


class CachedApi:
    @action("/a/{number}", cache="1 minute")
    async def cached(self, number: int) -> Product:
        return Product()

    @action("/b", cache=HttpCache("1 minute", tags=["b"]), invalidates=["b", cached.args(number=1)])
    def other(self) -> int:
        return 1


async def controls(api: CachedApi) -> None:
    await api.cached.invalidate(number=1)
    await api.cached.invalidate_matching("1,*")
    await api.other.clear()
    assert_type(api.cached.key(number=1), str)
    assert_type(api.other.stats.hits, int)
    await api.cached.invalidate(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    action("/", cache=1.5)
    action("/", cache=b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@http_cache("30 seconds", tags=["products"])
async def list_products(limit: int = 10) -> list[Product]:
    return []


@http_cache
async def bare() -> int:
    return 1


@http_cache(HttpCache(60, public=True))
def threaded(number: int) -> str:
    return str(number)


async def decorated() -> None:
    assert_type(await list_products(limit=1), list[Product])
    assert_type(await bare(), int)
    assert_type(await threaded(1), str)
    await list_products("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def middleware() -> None:
    HttpCacheMiddleware(App(ProductApi), "safe")
    HttpCacheMiddleware(App(ProductApi), profile="rfc")
    HttpCacheMiddleware(App(ProductApi), "fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def policies() -> None:
    HttpCache("1 minute", vary_cookies=["theme"])
    HttpCache(vary_cookie=["theme"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    HttpCache("1 minute", True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    HttpCache.for_app("rfc", heuristics=False, max_entries=100)
    HttpCache.for_app("safe", pubilc=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    HttpCache.for_app("safe", ttl=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    http_cache("1 minute", stale="1 minute", tags=["n"])
    http_cache("1 minute", pubilc=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    http_cache("1 minute", tags=3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
