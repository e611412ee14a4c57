"""The app: overrides, its caches, its listeners, and waiting for it."""

import asyncio
import gc
import weakref

import pytest

from stillfresh import (
    App,
    Cache,
    CacheProvider,
    InvalidOption,
    MemoryCacheProvider,
    StillfreshError,
    cache,
    hook,
    inject,
)
from stillfresh.app import registry
from stillfresh.testing import VirtualClock, isolated


class Engine:
    pass


class Diesel(Engine):
    pass


class Car:
    engine = inject(Engine)


def test_a_clock_is_a_clock():
    """Anything else is refused where it is given."""
    with pytest.raises(InvalidOption, match=r"clock=5.*VirtualClock"):
        App(clock=5)


# override


def test_override_replaces_for_a_block():
    """Inside the replacement, afterwards what was there before."""
    app = App(Car)
    car = app.get(Car)
    real = car.engine
    with app.override(Engine, Diesel) as fake:
        assert type(fake) is Diesel
        assert car.engine is app.get(Engine) is fake
        with app.override(Engine, Engine()) as inner:
            assert car.engine is inner
        assert car.engine is fake
    assert car.engine is real


def test_override_ends_with_an_error_too():
    """What the block raises comes through."""
    app = App()
    with pytest.raises(KeyError), app.override(Engine, Diesel):
        raise KeyError
    assert type(app.get(Engine)) is Engine


def test_an_override_is_made_anew_each_time():
    """What one test did to a fake does not reach the next one."""
    app = App()
    with app.override(Engine, Diesel) as first:
        pass
    with app.override(Engine, Diesel) as second:
        assert second is not first


def test_a_resolution_under_an_override_does_not_outlive_it():
    """What stands for another class keeps standing for it afterwards."""
    app = App().provide(Engine, Diesel)
    with app.override(Diesel, Diesel()) as fake:
        assert app.get(Diesel) is fake
        assert app.get(Engine) is not fake
    assert app.get(Engine) is app.get(Diesel)


async def test_an_override_hides_the_hooks_of_what_it_replaces():
    """A service that is replaced is neither started nor stopped."""
    called = []

    class Database:
        @hook("start")
        def connect(self):
            called.append(type(self).__name__)

    class FakeDatabase(Database):
        pass

    app = App(Database)
    app.get(Database)
    with app.override(Database, FakeDatabase):
        async with app:
            assert called == ["FakeDatabase"]


async def test_override_on_a_running_app():
    """A service is replaced under the feet of those who use it."""
    async with App(Car) as app:
        with app.override(Engine, Diesel) as fake:
            assert app.get(Car).engine is fake
        assert type(app.get(Car).engine) is Engine


class Counter:
    def __init__(self):
        self.calls = 0

    @cache
    async def count(self):
        self.calls += 1
        return self.calls


async def test_override_of_the_provider_on_a_running_app():
    """Entries go to the other provider at once, and those of the first one are there again."""
    async with App(Counter) as app:
        service = app.get(Counter)
        assert [await service.count(), await service.count()] == [1, 1]
        with app.override(CacheProvider, MemoryCacheProvider()):
            assert [await service.count(), await service.count()] == [2, 2]
        assert await service.count() == 1


async def test_an_invalidation_reaches_the_provider_under_an_override():
    """By tag everywhere: what the override hides must not come back."""
    with isolated() as app:
        calls = []

        @cache(tags=["t"])
        async def f():
            calls.append(1)
            return len(calls)

        assert await f() == 1
        with app.override(CacheProvider, MemoryCacheProvider()):
            assert await f() == 2
            await app.invalidate_tags("t")
            assert await f() == 3
        assert await f() == 4


def test_an_override_stays_the_apps_own():
    """The registry knows owners by number, which must not come to mean a later object."""
    app = App()
    with app.override(Engine, Diesel) as fake:
        pass
    reference = weakref.ref(fake)
    del fake
    gc.collect()
    fake = reference()
    assert fake is not None
    assert registry.owner_of(fake) is app
    del fake, app
    gc.collect()
    assert reference() is None


# caches, on, settled, lifespan


async def test_app_caches_lists_what_the_app_serves():
    """Caches of its services, and unbound functions that it has served; each once."""

    class Shop:
        carts = Cache[int](name="carts")

        @cache(name="prices")
        async def price(self, item: int) -> int:
            return item

        @cache(name="stock")
        def stock(self) -> int:
            return 1

    @cache(name="rates")
    async def rates() -> int:
        return 1

    async with App(Shop) as app:
        assert {one.name for one in app.caches} == {"carts", "prices", "stock"}
        await rates()
        assert {one.name for one in app.caches} == {"carts", "prices", "stock", "rates"}
        app.get(Shop).price = None  # a fake in its place
        assert all(isinstance(one, Cache) for one in app.caches)
        assert len(app.caches) == 4


async def test_caches_lists_a_store_for_all_functions_under_it():
    """Each store and each function apart is there once, and a store has counted its functions."""
    users = Cache[int](name="users")

    @users(key="u:{x}")
    async def one(x: int) -> int:
        return x

    @users(provider="memory")
    async def two(x: int) -> int:
        return x

    class Service:
        own = Cache[int](name="own")

        @own(key="k:{x}")
        async def of_own(self, x: int) -> int:
            return x

        @users
        async def of_users(self, x: int) -> int:
            return x

        @cache(name="apart")
        async def apart(self, x: int) -> int:
            return x

    async with App(Service) as app:
        service = app.get(Service)
        for function, times in (
            (one, 2),
            (two, 3),
            (service.of_own, 4),
            (service.of_users, 5),
            (service.apart, 6),
        ):
            for _ in range(times):
                await function(1)
        await service.own.get("k:1")
        await users.get("nothing")
        numbers = {one.name: one.stats for one in app.caches}
        assert {
            name: (stats.hits, stats.misses, stats.entries) for name, stats in numbers.items()
        } == {"own": (4, 1, 1), "users": (1 + 2 + 4, 4, 3), "apart": (5, 1, 1)}
        assert [one.name for one in app.caches].count("users") == 1
        for store in (users, service.own):
            assert repr(store.stats) == repr(numbers[store.name])
        assert (one.stats.hits, service.of_own.stats.hits) == (1, 3)  # and each has its own


async def test_a_store_that_only_functions_have_used_past_the_cache_is_listed():
    """Also their calls past the cache count for it."""
    users = Cache[int](name="users")

    @users(enabled=False)
    def get_user() -> int:
        return 1

    with App() as app:
        get_user()
        [store] = app.caches
        assert (store.name, store.stats.bypasses, users.stats.bypasses) == ("users", 1, 1)


async def test_caches_are_those_of_this_app_also_where_several_run():
    """Class methods and static methods of its services need nobody to say which app is meant."""

    class Service:
        @cache(name="of the class")
        @classmethod
        def of_class(cls) -> int:
            return 1

        @cache(name="static")
        @staticmethod
        def static() -> int:
            return 1

    async with App(Service) as one:
        one.get(Service).of_class()
        async with App(Service) as other:
            misses = [{each.name: each.stats.misses for each in app.caches} for app in (one, other)]
    assert misses == [{"of the class": 1, "static": 0}, {"of the class": 0, "static": 0}]


async def test_listeners_hear_events_until_they_are_removed():
    """Kind, cache and key are told before the call returns; what `on` returns ends it."""
    async with App(Counter) as app:
        heard = []
        remove = app.on("miss", heard.append)
        app.on("hit", heard.append)
        service = app.get(Counter)
        await service.count()
        await service.count()
        assert [event.kind for event in heard] == ["miss", "hit"]
        assert heard[0].cache == f"{__name__}.Counter.count"
        assert heard[0].key == ""
        remove()
        await service.count.invalidate()
        await service.count()
        assert [event.kind for event in heard] == ["miss", "hit"]


async def test_a_listener_that_raises_is_logged(caplog):
    """It breaks neither the call nor the listeners after it."""
    heard = []

    def broken(event):
        raise RuntimeError("listener")

    async with App(Counter) as app:
        app.on("miss", broken)
        app.on("miss", heard.append)
        assert await app.get(Counter).count() == 1
    assert len(heard) == 1
    assert "a listener of 'miss' failed" in caplog.text


def test_an_unknown_event_is_an_error():
    """It says what there is, and what was meant."""
    with pytest.raises(InvalidOption, match=r"'mis' does not exist\. Did you mean 'miss'"):
        App().on("mis", print)
    with pytest.raises(InvalidOption, match="expected a function"):
        App().on("miss", None)


async def test_settled_waits_for_background_work():
    """When it returns, the refresh behind a stale answer is stored."""
    gate = asyncio.Event()
    gate.set()

    class Service:
        calls = 0

        @cache(ttl=1, stale=10)
        async def f(self):
            Service.calls += 1
            await gate.wait()
            return Service.calls

    clock = VirtualClock()
    async with App(Service, clock=clock) as app:
        f = app.get(Service).f
        assert await f() == 1
        clock.advance("2 seconds")
        gate.clear()
        assert await f() == 1
        settled = asyncio.create_task(app.settled())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not settled.done()
        gate.set()
        await settled
        assert await f() == 2
        await app.settled()  # with nothing to do it returns


async def test_settled_inside_a_computation_waits_for_none_of_its_callers():
    """Who waits for the one that asks would never end."""
    with isolated() as app:

        @cache
        async def inner():
            await app.settled()
            return 1

        @cache
        async def outer():
            return await inner()

        assert await asyncio.wait_for(outer(), 10) == 1


async def test_sync_settled_does_not_block_the_loop_it_waits_for():
    """On the loop's own thread it says what to write instead of blocking for ever."""
    gate = asyncio.Event()

    class Service:
        @cache
        async def f(self):
            await gate.wait()
            return 1

    async with App(Service) as app:
        task = asyncio.create_task(app.get(Service).f())
        await asyncio.sleep(0)
        with pytest.raises(StillfreshError, match=r"await app\.settled"):
            app.sync.settled()
        gate.set()
        assert await task == 1


async def test_lifespan_runs_the_app():
    """As the `lifespan=` of an ASGI app, which passes itself."""
    app = App(Engine)
    async with app.lifespan(object()) as state:
        assert app.running
        assert state is None
    assert not app.running


@pytest.mark.parametrize("service", ["ProductService", 3, None, str])
def test_what_is_no_service_is_refused(service: object) -> None:
    """A text, a number or a builtin class in `App(...)` is a mistake, and is said at once."""
    with pytest.raises(InvalidOption, match="expected a class of yours"):
        App(service)
