"""The same service on memory and on a server: only the provider changes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from stillfresh import (
    App,
    Cache,
    CacheProvider,
    ComputeTimeout,
    MemoryCacheProvider,
    NotSerializable,
    RecursiveComputation,
    RedisCacheProvider,
    cache,
    computation,
    inject,
)

Provide = Callable[[App], App]


@pytest.fixture(params=["memory", "redis"])
def provide(request, url, prefix) -> Provide:
    """Give an app its provider: memory that keeps bytes, or the server."""
    if request.param == "memory":
        return lambda app: app.provide(CacheProvider, lambda: MemoryCacheProvider(serialize=True))
    return lambda app: app.provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))


@dataclass(frozen=True)
class Product:
    id: int
    name: str
    seen: datetime


class Products:
    """What a user writes."""

    numbers = Cache[int](name="numbers", ttl="1 minute")
    sessions = Cache[dict[str, str]](name="sessions", ttl="1 hour")

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.names = {1: "one", 2: "two"}
        self.fails = False

    @cache(ttl="1 minute", tags=["products", "product:{product_id}"])
    async def product(self, product_id: int) -> Product:
        self.calls.append(product_id)
        await asyncio.sleep(0)
        return Product(product_id, self.names[product_id], datetime(2026, 1, 2, tzinfo=UTC))

    @cache(ttl="1 minute", tags=["products"])
    def plain(self, product_id: int) -> Product:
        self.calls.append(product_id)
        return Product(product_id, self.names[product_id], datetime(2026, 1, 2, tzinfo=UTC))

    @cache(ttl="100 ms", stale="1 minute")
    async def stale(self) -> int:
        self.calls.append("stale")
        return len(self.calls)

    @cache(ttl="100 ms", stale_if_error="1 minute")
    async def fallback(self) -> int:
        self.calls.append("fallback")
        if self.fails:
            raise OSError
        return len(self.calls)

    @cache(timeout="50 ms")
    async def late(self) -> int:
        self.calls.append("late")
        await asyncio.sleep(10)
        return 0

    @cache(timeout="100 ms")
    def late_plain(self) -> int:
        self.calls.append("late")
        time.sleep(0.4)
        return 0

    @cache(ttl="1 minute")
    async def tagged_late(self, name: str) -> str:
        self.calls.append(name)
        computation().tags.add(f"late:{name}")
        return name

    @cache(ttl="1 minute", key="user:{name}:{kind}")
    async def user(self, name: str, kind: str = "plain") -> str:
        self.calls.append((name, kind))
        return name

    @cache
    async def circle(self, depth: int = 1) -> int:
        return await self.circle(depth)

    @cache(when=lambda value: value is not None)
    async def maybe(self) -> int | None:
        self.calls.append("maybe")
        return None


class Shop:
    products = inject(Products)


async def test_functions(provide):
    """Arguments make the key, values come back in their types, and one computes for all."""
    async with provide(App(Shop)) as app:
        products = app.get(Shop).products
        found = await asyncio.gather(*(products.product(1) for _ in range(100)))
        assert set(found) == {Product(1, "one", datetime(2026, 1, 2, tzinfo=UTC))}
        assert await products.product(product_id=1) == found[0]
        assert (await products.product(2)).name == "two"
        assert products.calls == [1, 2]
        assert products.product.stats.coalesced == 99
        assert await products.product.peek(1) == found[0]
        assert (await products.product.explain(1)).status == "hit"


async def test_invalidation(provide):
    """By arguments, by tag, by pattern, all of it, by writing through, and by hand."""
    async with provide(App(Shop)) as app:
        products = app.get(Shop).products

        async def computes(name: str) -> None:
            products.names[1] = name
            count = len(products.calls)
            assert (await products.product(1)).name == name
            assert (await products.product(1)).name == name
            assert len(products.calls) == count + 1

        await computes("a")
        await products.product.invalidate(1)
        await computes("b")
        await app.invalidate_tags("product:2")
        assert (await products.product(1)).name == "b"
        await app.invalidate_tags("product:1")
        await computes("c")
        await products.product.invalidate_matching("1*")
        await computes("d")
        await products.product.clear()
        await computes("e")
        await products.product.expire(1)
        await computes("f")
        products.names[1] = "g"
        assert (await products.product.refresh(1)).name == "g"
        await products.product.store(Product(1, "h", datetime.now(UTC)), 1)
        assert (await products.product(1)).name == "h"


def test_sync_functions(provide):
    """Functions without await, in a program without a loop, from many threads."""
    with provide(App(Shop)) as app:
        products = app.get(Shop).products
        found: list[Product] = []
        threads = [
            threading.Thread(target=lambda: found.append(products.plain(1))) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 20
        assert products.calls == [1]
        products.names[1] = "new"
        app.sync.invalidate_tags("products")
        assert products.plain(1).name == "new"
        products.plain.invalidate(1)
        assert products.plain(1).name == "new"
        assert products.calls == [1, 1, 1]
        products.numbers.sync.set("n", 40)
        assert products.numbers.sync.incr("n", 2) == 42
        assert products.numbers.sync.get("n") == 42
        with pytest.raises(ComputeTimeout):
            products.late_plain()


async def test_sync_functions_beside_async_ones(provide):
    """A sync function may be called on the loop, and sees what async ones stored."""
    async with provide(App(Shop)) as app:
        products = app.get(Shop).products
        assert products.plain(1) == products.plain(1)
        assert products.calls == [1]
        assert await asyncio.to_thread(products.plain, 1) == products.plain(1)
        await app.invalidate_tags("products")
        assert products.plain(1).name == "one"
        assert products.calls == [1, 1]


async def test_stale_while_one_refresh_runs(provide):
    """After its ttl the old value is served at once, and a refresh runs behind."""
    async with provide(App(Shop)) as app:
        products = app.get(Shop).products
        assert await products.stale() == 1
        await asyncio.sleep(0.15)
        assert await asyncio.gather(*(products.stale() for _ in range(10))) == [1] * 10
        await app.settled()
        assert await products.stale() == 2
        await products.stale.expire()
        assert await products.stale() >= 2
        await app.settled()
        assert await products.stale() >= 3


async def test_the_old_value_when_the_function_fails(provide):
    """Inside its window an old value is better than an error."""
    async with provide(App(Shop)) as app:
        products = app.get(Shop).products
        assert await products.fallback() == 1
        products.fails = True
        await asyncio.sleep(0.15)
        assert await products.fallback() == 1
        assert products.fallback.stats.fallbacks == 1
        await products.fallback.invalidate()
        with pytest.raises(OSError):
            await products.fallback()


async def test_timeouts(provide):
    """A late computation is cancelled, its callers are told, and its key is free."""
    async with provide(App(Shop)) as app:
        products = app.get(Shop).products
        for _ in range(2):
            with pytest.raises(ComputeTimeout):
                await products.late()
        assert products.calls == ["late", "late"]


async def test_late_tags_and_conditions(provide):
    """Tags that the function adds count; what `when` refuses is not stored."""
    async with provide(App(Shop)) as app:
        products = app.get(Shop).products
        for _ in range(2):
            assert await products.tagged_late("x") == "x"
        assert products.calls == ["x"]
        await app.invalidate_tags("late:x")
        assert await products.tagged_late("x") == "x"
        assert products.calls == ["x", "x"]
        for _ in range(2):
            assert await products.maybe() is None
        assert products.calls == ["x", "x", "maybe", "maybe"]


async def test_a_function_that_waits_for_itself(provide):
    """It is told so, instead of waiting for a lease that it holds."""
    async with provide(App(Shop)) as app:
        with pytest.raises(RecursiveComputation):
            await asyncio.wait_for(app.get(Shop).products.circle(), 5)


async def test_stores(provide):
    """A store without a function: sessions, counters, patterns, many at once."""
    async with provide(App(Shop)) as app:
        sessions, numbers = app.get(Shop).products.sessions, app.get(Shop).products.numbers
        await sessions.set("user:1:s", {"a": "b"}, tags=["user:1"])
        await sessions.set_many({"user:2:s": {"c": "d"}, "*": {"e": "f"}})
        assert await sessions.get("user:1:s") == {"a": "b"}
        assert await sessions.get_many(["user:2:s", "none"]) == {"user:2:s": {"c": "d"}}
        assert sorted(await sessions.keys("user:*")) == ["user:1:s", "user:2:s"]
        assert await sessions.delete("*", "none") == 1
        await sessions.invalidate_tags("user:1")
        assert await sessions.get("user:1:s") is None
        await sessions.invalidate("user:*:s")
        assert await sessions.keys() == []
        assert await sessions.get_or_set("x", lambda: {"g": "h"}) == {"g": "h"}
        totals = await asyncio.gather(*(numbers.incr("n") for _ in range(50)))
        assert sorted(totals) == list(range(1, 51))
        assert await numbers.get("n") == 50
        with pytest.raises(NotSerializable):
            await numbers.set("n", object())
        assert not await numbers.contains("m")


async def test_key_templates(provide):
    """Keys from templates, with values that mean something to a server."""
    async with provide(App(Shop)) as app:
        products = app.get(Shop).products
        odd = ["*", "{x}", "a b", "a\nb", "é", "a:b", "x" * 2_000, "%", "", "~"]
        for name in odd:
            assert await products.user(name) == name
            assert await products.user(name) == name
        assert len(products.calls) == len(odd)
        await products.user.invalidate("*")
        assert await products.user("a b") == "a b"
        assert len(products.calls) == len(odd)
        await products.user.invalidate_matching("user:a*")
        for name in odd:
            await products.user(name)
        assert len(products.calls) == len(odd) + 4


async def test_an_app_may_start_again(provide):
    """Stop and start, as a test suite or a reloading server does."""
    app = provide(App(Shop))
    for _ in range(3):
        async with app:
            assert (await app.get(Shop).products.product(1)).name == "one"


async def test_two_apps_on_one_server_are_one_fleet(url, prefix):
    """One computes for both, and what one invalidates the other does not see again."""

    def app() -> App:
        return App(Shop).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))

    async with app() as one, app() as two:
        here, there = one.get(Shop).products, two.get(Shop).products
        await asyncio.gather(*(p.product(1) for p in (here, there) * 20))
        assert len(here.calls + there.calls) == 1
        here.names[1] = there.names[1] = "new"
        await one.invalidate_tags("products")
        assert (await there.product(1)).name == "new"
        assert (await here.product(1)).name == "new"
        assert len(here.calls + there.calls) == 2
        await here.sessions.set("k", {"a": "b"})
        assert await there.sessions.get("k") == {"a": "b"}
        await asyncio.gather(*(p.numbers.incr("n") for p in (here, there) * 25))
        assert await here.numbers.get("n") == 50


@pytest.mark.parametrize(
    ("kind", "value"),
    [(str, "five"), (bool, True), (bytes, b"5"), (list[int], [5]), (Product, None)],
    ids=str,
)
async def test_a_number_of_an_older_version_of_the_code_is_a_miss_for_another_type(
    url, prefix, kind, value
):
    """Digits stand for themselves on the server; they do not pass for what a function returns."""
    value = value if kind is not Product else Product(5, "five", datetime(2026, 1, 2, tzinfo=UTC))

    class Before:
        @cache(name="f", ttl="1 minute")
        async def f(self) -> int:
            return 5

    class After:
        @cache(name="f", ttl="1 minute", returns=kind)
        async def f(self):
            return value

    for service, expected in ((Before, 5), (After, value), (After, value), (Before, 5)):
        app = App(service).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))
        async with app:
            for _ in range(2):
                found = await app.get(service).f()
                assert (type(found), found) == (type(expected), expected)


def test_lambdas_of_a_class_are_named_after_their_attributes(provide: Provide) -> None:
    """Two of them have no entry in common, on a server either."""

    class Signs:
        plus = cache(lambda self, x: x)
        minus = cache(lambda self, x: -x)

    app = provide(App(Signs))
    with app:
        signs = app.get(Signs)
        for _ in range(2):
            assert (signs.plus(1), signs.minus(1)) == (1, -1)
        assert [each.name.rpartition(".")[2] for each in app.caches] == ["plus", "minus"]


def test_two_functions_of_one_name_are_said(url: str, prefix: str, caplog: Any) -> None:
    """A server knows the name and no more; one log line tells to give each its own."""

    def made(sign: int, **options: Any) -> Callable[[int], int]:
        @cache(returns=int, **options)
        def times(x: int) -> int:
            return x * sign

        return times

    app = App()
    app.provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))
    with app:
        named = [made(1, name="plus"), made(-1, name="minus")]
        assert [times(2) for times in named] == [2, -2]
        assert not caplog.records
        times, other = made(1), made(-1)
        for number in range(3):
            times(number)
            other(number)
    [said] = [record.getMessage() for record in caplog.records]
    assert "made.<locals>.times" in said
    assert "name=" in said
