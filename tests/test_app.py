"""The app: its services, what replaces them, its caches, its listeners."""

import asyncio
import functools
import gc
import threading

import pytest

import stillfresh
from stillfresh import (
    AlreadyResolved,
    App,
    Cache,
    CacheProvider,
    CannotBuild,
    InvalidOption,
    MemoryCacheProvider,
    StillfreshError,
    cache,
    hook,
    inject,
)
from stillfresh.ledger import ledger_of
from stillfresh.testing import VirtualClock, isolated

PATIENCE = 10


class Engine:
    def __init__(self):
        self.turns = 0


class Car:
    engine = inject(Engine)


class NeedsUrl:
    def __init__(self, url):
        self.url = url


# Services


def test_a_service_is_built_once():
    """A class becomes one instance, and each app has its own."""
    app, other = App(Engine), App(Engine)
    assert app.get(Engine) is app.get(Engine)
    assert app.get(Engine) is not other.get(Engine)


def test_nothing_is_built_before_it_is_needed():
    """App(...) builds nothing; `get` builds what it is asked for."""
    built = []

    class Loud:
        def __init__(self):
            built.append(self)

    app = App(Loud)
    assert built == []
    assert built == [app.get(Loud)]


def test_instances_are_taken_as_they_are():
    """An instance is the service of its class."""
    service = NeedsUrl("db://here")
    assert App(service).get(NeedsUrl) is service


def test_two_instances_of_one_class_are_an_error():
    """An app has one service per class."""
    with pytest.raises(InvalidOption, match="two instances of Engine"):
        App(Engine(), Engine())


def test_a_class_with_arguments_asks_for_an_instance():
    """The error names the argument, and says to provide an instance."""
    with pytest.raises(CannotBuild, match=r"'url'.*app\.provide\(NeedsUrl, NeedsUrl\(url="):
        App(NeedsUrl).get(NeedsUrl)


@pytest.mark.parametrize("kind", ["Engine", None, Engine()])
def test_services_are_asked_for_by_class(kind):
    """`get` and `provide` take classes."""
    with pytest.raises(InvalidOption, match="expected a class"):
        App().get(kind)
    with pytest.raises(InvalidOption, match="expected a class"):
        App().provide(kind, Engine)


def test_a_clock_is_a_clock():
    """Anything else is refused where it is given."""
    with pytest.raises(InvalidOption, match="clock=5.*VirtualClock"):
        App(clock=5)


def test_a_constructor_that_fails_may_be_tried_again():
    """What a constructor raises comes through, and leaves nothing behind."""
    broken = [True]

    class Fragile:
        def __init__(self):
            if broken:
                raise OSError("no disk")

    app = App(Fragile)
    with pytest.raises(OSError, match="no disk"):
        app.get(Fragile)
    broken.clear()
    assert isinstance(app.get(Fragile), Fragile)


def test_threads_get_the_same_instance():
    """Many threads that ask at a time build one."""
    built = []

    class Slow:
        def __init__(self):
            built.append(self)

    app = App(Slow)
    start = threading.Barrier(8)
    found = []

    def ask():
        start.wait(PATIENCE)
        found.append(app.get(Slow))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(built) == 1
    assert found == built * 8


def test_a_constructor_that_calls_a_cache_does_not_block_another_thread():
    """One thread builds a service that calls a cache, another calls one for the first time."""
    with isolated() as app:
        building, called = threading.Event(), threading.Event()

        @cache
        def one():
            return 1

        @cache
        def two():
            return 2

        class Eager:
            def __init__(self):
                building.set()
                assert called.wait(PATIENCE)
                self.one = one()

        def call():
            assert building.wait(PATIENCE)
            with ledger_of(app)._lock:  # it is about to make its first region
                called.set()
                two()

        app.get(CacheProvider)
        thread = threading.Thread(target=call)
        thread.start()
        assert app.get(Eager).one == 1
        thread.join(PATIENCE)
        assert not thread.is_alive()


# provide


class Diesel(Engine):
    pass


@pytest.mark.parametrize(
    ("use", "kind"),
    [
        (Diesel, Diesel),
        (lambda: Diesel(), Diesel),
        (functools.partial(NeedsUrl, "db://"), NeedsUrl),
    ],
    ids=["class", "factory", "partial"],
)
def test_provide_says_what_a_service_is(use, kind):
    """A class is built, a factory is called, once; `provide` returns the app."""
    app = App(Car)
    assert app.provide(Engine, use) is app
    engine = app.get(Car).engine
    assert type(engine) is kind
    assert app.get(Engine) is engine


def test_provide_takes_an_instance():
    """An instance stands for the class, also when it can be called."""

    class Callable(Engine):
        def __call__(self):
            raise AssertionError

    engine = Callable()
    assert App().provide(Engine, engine).get(Engine) is engine


def test_a_provided_class_is_the_same_service_under_both_names():
    """One instance for the class and for what it stands for, in either order of asking."""
    app = App().provide(Engine, Diesel)
    assert app.get(Engine) is app.get(Diesel)
    app = App().provide(Engine, Diesel)
    assert app.get(Diesel) is app.get(Engine)


def test_a_provided_class_may_be_provided_itself():
    """Engine is Diesel, and Diesel is this very instance."""
    diesel = Diesel()
    app = App().provide(Engine, Diesel).provide(Diesel, diesel)
    assert app.get(Engine) is diesel


def test_two_classes_that_stand_for_each_other_are_a_circle():
    """It is said, not recursed into."""
    app = App().provide(Engine, Diesel).provide(Diesel, Engine)
    with pytest.raises(CannotBuild, match="Engine -> Diesel -> Engine"):
        app.get(Engine)


def test_the_last_provide_counts():
    """Until somebody uses the service it may be provided again."""
    app = App().provide(Engine, Engine).provide(Engine, Diesel)
    assert type(app.get(Engine)) is Diesel


def test_an_async_factory_is_refused():
    """Services are built where nothing can be awaited."""

    async def make():
        return Engine()

    with pytest.raises(InvalidOption, match="must not be async"):
        App().provide(Engine, make)


def test_provide_after_use_names_who_resolved_it():
    """By an attribute, by `get`, by the start, or given to App()."""
    app = App(Car)
    _ = app.get(Car).engine
    with pytest.raises(AlreadyResolved, match=r"provide\(Engine\).*Car\.engine"):
        app.provide(Engine, Diesel)
    with pytest.raises(AlreadyResolved, match=r"app\.get\(\)"):
        app.provide(Car, Car)
    with pytest.raises(AlreadyResolved, match=r"App\(\.\.\.\)"):
        App(Engine()).provide(Engine, Diesel)
    app = App(Engine)
    with app:
        pass
    with pytest.raises(AlreadyResolved, match=r"the start of <App\(Engine\)"):
        app.provide(CacheProvider, MemoryCacheProvider)


def test_a_failed_resolution_does_not_count_as_use():
    """After the error that says to provide an instance one may be provided."""
    app = App()
    with pytest.raises(CannotBuild):
        app.get(NeedsUrl)
    app.provide(NeedsUrl, NeedsUrl("db://"))
    assert app.get(NeedsUrl).url == "db://"


def test_the_provider_is_memory_by_default():
    """Nobody has to say where entries are."""
    assert type(App().get(CacheProvider)) is MemoryCacheProvider


# inject


def test_inject_resolves_at_first_access():
    """Declaring builds nothing; reading does."""
    app = App(Car)
    car = app.get(Car)
    assert Engine not in app._container._instances
    assert car.engine is app.get(Engine)


def test_inject_may_be_assigned():
    """A fake in its place is what the instance sees, and only that instance."""
    app, car = App(), Car()
    car.engine = fake = Diesel()
    assert car.engine is fake
    assert app.get(Car).engine is not fake


async def test_what_was_assigned_is_not_built_at_the_start():
    """With a fake in place the real service is not needed, and none of its hooks run."""

    class Real:
        @hook("start")
        def connect(self):
            raise AssertionError

    class User:
        real = inject(Real)

    user = User()
    user.real = object()
    async with App(user):
        pass


def test_inject_of_the_app():
    """A service can ask for the app that owns it, whatever class that is."""

    class Mine(App):
        pass

    class Service:
        app = inject(App)
        mine = inject(Mine)

    for app in (App(Service), Mine(Service)):
        assert app.get(Service).app is app
        assert app.get(App) is app
    assert app.get(Service).mine is app


def test_services_may_know_each_other():
    """A circle of inject() is no problem: each is looked up when it is read."""

    class A:
        pass

    class B:
        a = inject(A)

    A.b = inject(B)
    A.b.__set_name__(A, "b")
    app = App(A, B)
    assert app.get(A).b.a is app.get(A)
    with app:
        pass


def test_constructors_that_need_each_other_are_an_error():
    """It names the circle."""

    class A:
        def __init__(self):
            self.b.hello()

    class B:
        a = inject(A)

        def __init__(self):
            self.a.hello()

    A.b = inject(B)
    with pytest.raises(CannotBuild, match=r"A -> .*B -> .*A: the constructors"):
        App(A).get(A)


def test_a_constructor_may_use_what_is_injected():
    """It comes from the app that builds the service, also before that app runs."""

    class Early:
        engine = inject(Engine)

        def __init__(self):
            self.seen = self.engine

    app = App(Early)
    assert app.get(Early).seen is app.get(Engine)


def test_inject_takes_a_class():
    """Anything else is refused where it is written."""
    with pytest.raises(InvalidOption, match="expected a class"):
        inject("Engine")


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
    """Its number must not come to mean a later object while the app lives."""
    app = App()
    for _ in range(50):
        with app.override(Engine, Engine):
            pass
    gc.collect()
    strangers = [Engine() for _ in range(200)]
    assert [one for one in strangers if stillfresh.app.registry.owner_of(one)] == []


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
    with pytest.raises(InvalidOption, match="'mis' does not exist. Did you mean 'miss'"):
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
