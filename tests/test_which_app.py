"""Which app serves a cache: the owner of the instance, the one that runs, or the default one."""

import asyncio

import pytest

import stillfresh
from stillfresh import (
    AmbiguousApp,
    App,
    Cache,
    CacheProvider,
    InvalidOption,
    MemoryCacheProvider,
    NotRunning,
    cache,
    hook,
    inject,
)
from stillfresh.testing import isolated


class Service:
    def __init__(self):
        self.calls = 0

    store = Cache[int](name="store")

    @cache
    async def f(self) -> int:
        self.calls += 1
        return self.calls

    @cache
    def g(self) -> int:
        self.calls += 1
        return self.calls


class Disabled:
    """Calls go past the cache of both; what they call is an unbound cached function."""

    things = Cache[int](name="things", enabled=False)

    def __init__(self, inner):
        self.inner = inner

    @cache(enabled=False)
    async def f(self) -> int:
        return await self.inner()

    @cache(enabled=False)
    def g(self) -> int:
        return self.inner()


def counting(**options):
    """An unbound cached function that returns how often it was called."""
    calls = []

    @cache(**options)
    async def counted() -> int:
        calls.append(1)
        return len(calls)

    return counted


@pytest.fixture(autouse=True)
def default():
    """A default app of its own for each test."""
    with isolated() as app:
        yield app


class First:
    pass


class Second:
    pass


# Owned instances


async def test_an_owned_instance_belongs_to_its_app_always():
    """Two apps with the same class keep their entries apart, whoever calls from wherever."""
    async with App(Service) as one, App(Service) as two:
        a, b = one.get(Service), two.get(Service)
        assert [await a.f(), await a.f(), await b.f()] == [1, 1, 1]
        await a.f.invalidate()
        assert [await a.f(), await b.f()] == [2, 1]
        await two.invalidate_tags("t")
        await a.store.set("k", 1)
        assert await b.store.get("k") is None
        assert [len(one.guards), len(two.guards)] == [1, 1]


async def test_an_owned_instance_does_not_use_another_app():
    """While its own app does not run it passes through, and changes raise."""
    owner = App(Service)
    service = owner.get(Service)
    async with App(First):
        assert [await service.f(), await service.f()] == [1, 2]
        with pytest.raises(NotRunning, match="Service"):
            await service.f.invalidate()
        with pytest.raises(NotRunning):
            await service.store.set("k", 1)


async def test_an_owned_instance_is_not_moved_by_the_ambient_app():
    """Called in a computation of another app, it still belongs to its own."""
    theirs = App(Service)

    class Caller:
        @cache
        async def call(self) -> int:
            return await theirs.get(Service).f()

    async with theirs, App(Caller) as app:
        assert await app.get(Caller).call() == 1
        assert theirs.get(Service).f.stats.misses == 1
        assert await theirs.get(Service).f() == 1


async def test_an_instance_is_not_taken_from_an_app_that_runs():
    """Its caches are that app's; another one would drop what it does not serve."""
    service = Service()
    async with App(service), App() as other:
        assert [await service.f(), await service.f()] == [1, 1]
        with pytest.raises(InvalidOption, match=r"belongs to <App\(Service\), running>"):
            App(service)
        with pytest.raises(InvalidOption, match="an instance of its own"):
            other.provide(Service, service).get(Service)
        assert await service.f() == 1
        await service.f.invalidate()
        assert await service.f() == 2


async def test_an_instance_that_is_given_away_leaves_the_short_cut_of_its_first_app():
    """After that one has stopped the next app has it: its entries, its invalidations."""
    service = Service()
    async with App() as other:
        async with App(service):
            assert [await service.f(), await service.f()] == [1, 1]
        other.provide(Service, service).get(Service)
        assert [await service.f(), await service.f()] == [2, 2]
        await service.f.invalidate()
        assert await service.f() == 3


async def test_apps_that_run_may_share_what_has_no_caches():
    """A connection pool, a provider: whoever has it, nothing of it is in a cache."""

    class Pool:
        pass

    pool, provider = Pool(), MemoryCacheProvider()
    one = App().provide(Pool, pool).provide(CacheProvider, provider)
    other = App().provide(Pool, pool).provide(CacheProvider, provider)
    async with one, other:
        assert one.get(Pool) is other.get(Pool) is pool


async def test_a_given_or_provided_instance_is_owned_too():
    """However it came into the hands of the app."""
    given, provided = Service(), First()
    app = App(given).provide(First, provided)
    app.get(First)
    assert stillfresh.app.registry.owner_of(given) is app
    assert stillfresh.app.registry.owner_of(provided) is app
    with pytest.raises(NotRunning):
        await given.f.invalidate()


# Unbound caches


async def test_without_an_app_the_default_one_serves(default):
    """No setup is needed, and entries are in memory."""
    f = counting()
    assert [await f(), await f()] == [1, 1]
    assert len(default.guards) == 1


async def test_the_only_running_app_serves():
    """An unbound cache is served by the app that runs, and goes with it."""
    f, store = counting(), Cache[int](name="things")
    async with App(First) as app:
        assert [await f(), await f()] == [1, 1]
        await store.set("k", 1)
        assert f"{f.__module__}.{f.__qualname__}" in {one.name for one in app.caches}
    assert await store.get("k") is None
    assert [await f(), await f()] == [2, 2]


async def test_a_free_instance_is_unbound():
    """Nobody owns it, so it is served as a function would be."""
    service = Service()
    async with App(First):
        assert [await service.f(), await service.f()] == [1, 1]
        async with App(Second):
            with pytest.raises(AmbiguousApp):
                await service.f()


async def test_several_running_apps_are_ambiguous():
    """The error names the cache and the apps, for calls, controls and stores."""
    f, store = counting(), Cache[int](name="things")

    @cache
    def g():
        return 1

    async with App(First), App(Second):
        with pytest.raises(AmbiguousApp, match=r"counted.*2 apps run.*First.*Second"):
            await f()
        with pytest.raises(AmbiguousApp):
            g()
        with pytest.raises(AmbiguousApp):
            await f.invalidate()
        with pytest.raises(AmbiguousApp, match="'things'"):
            await store.set("k", 1)
        with pytest.raises(AmbiguousApp):
            _ = f.stats.hits
    assert await f() == 1


async def test_a_call_past_the_cache_is_of_its_app():
    """The function of a service calls an unbound one, and the app is the same as with a cache."""
    f = counting()

    @cache
    def g() -> int:
        return 1

    later, now = Disabled(f), Disabled(g)
    async with App(later), App(now):
        assert [await later.f(), await later.f.refresh(), now.g()] == [1, 1, 1]
        assert await later.things.get_or_set("k", f) == 1
        with pytest.raises(AmbiguousApp):  # it was so for the time of the call
            await f()


async def test_a_call_past_an_app_that_stands_still_is_of_the_one_around_it():
    """An app that does not run serves nobody, so it takes nobody from the app that does."""
    f = counting()
    still, inner = App(), Disabled(f)
    still.provide(Disabled, inner).get(Disabled)

    class Caller:
        @cache
        async def call(self) -> int:
            return await inner.f()

    async with App(Caller) as app, App(Second):
        assert [await app.get(Caller).call(), await app.get(Caller).call()] == [1, 1]


async def test_a_warm_function_is_ambiguous_too():
    """The second app's start takes the short cut away."""
    f = counting()
    async with App(First):
        assert [await f(), await f()] == [1, 1]
        async with App(Second):
            with pytest.raises(AmbiguousApp):
                await f()
        assert await f() == 1


async def test_with_several_apps_the_running_hook_decides():
    """In `ready`, in `stop`, and in what a hook calls."""
    f = counting()
    seen = {}

    class Hooked:
        @hook("ready")
        async def ready(self):
            seen["ready"] = [await f(), await f()]

        @hook("stop")
        def stop(self):
            seen["stop"] = f.stats.entries

    async with App(First), App(Hooked):
        pass
    assert seen == {"ready": [1, 1], "stop": 1}


async def test_with_several_apps_the_computation_decides():
    """An unbound function that a service's computation calls uses the service's app."""
    f = counting()

    @cache
    def plain():
        return 1

    class Caller:
        @cache
        async def call(self) -> tuple:
            return await f(), plain()

        @cache
        def call_sync(self) -> int:
            return plain()

    class Other(Caller):
        pass

    async with App(Caller) as one, App(Other) as two:
        assert await one.get(Caller).call() == (1, 1)
        assert await two.get(Other).call() == (2, 1)
        assert two.get(Other).call_sync() == 1
        name = f"{f.__module__}.{f.__qualname__}"
        assert [app.guards[0].provider.count(name) for app in (one, two)] == [1, 1]


async def test_the_caches_of_an_app_are_its_own_among_several():
    """What `app.caches` lists can be named and cleared while another app runs."""
    f = counting()

    class Caller:
        @hook("ready")
        async def ready(self):
            await f()

    async with App(Caller) as one, App(Caller):
        (found,) = one.caches
        assert found.name == f"{f.__module__}.{f.__qualname__}"
        await found.clear()
        assert one.guards[0].provider.count(found.name) == 0


async def test_the_context_decides_only_among_several():
    """What a hook left running after its app has stopped uses the app that runs."""
    f = counting()
    go = asyncio.Event()
    tasks = []

    class Leaver:
        @hook("ready")
        async def ready(self):
            async def later():
                await go.wait()
                return await f()

            tasks.append(asyncio.create_task(later()))

    async with App(Leaver):
        pass
    async with App(First) as app:
        go.set()
        assert await tasks[0] == 1
        assert app.guards[0].provider.count(f"{f.__module__}.{f.__qualname__}") == 1


async def test_inject_of_a_free_instance():
    """It comes from the app that would serve it."""

    class Needs:
        service = inject(Service)

    free = Needs()
    assert free.service is stillfresh.services.current.default_app().get(Service)
    async with App(Service) as app:
        assert free.service is app.get(Service)
