"""The default app beside others, names within an app, and the end of apps."""

import asyncio
import gc
import threading
import weakref

import pytest

import stillfresh
from stillfresh import (
    AlreadyResolved,
    AlreadyRunning,
    App,
    Cache,
    CacheProvider,
    InvalidOption,
    MemoryCacheProvider,
    ProviderUnavailable,
    cache,
    hook,
    sync,
)
from stillfresh.testing import ChaosProvider, isolated


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


# The default app


async def test_entries_of_the_default_app_are_dropped_when_an_app_starts(default):
    """What it served before is not found again: others may have changed the source since."""
    f, store = counting(), Cache[int](name="things")
    assert await f() == 1
    await store.set("k", 1)
    async with App(First):
        assert default.guards[0].provider.count("things") == 0
        assert await f() == 2
    assert [await f(), await f()] == [3, 3]
    assert await store.get("k") is None


async def test_entries_are_dropped_when_an_app_stops(default):
    """Also those that came to the default app while the other one ran."""

    class Free:
        @cache
        async def f(self):
            return 1

    served = default.get(Free)  # owned by the default app, so not by the one that runs
    async with App(First):
        await served.f()
        assert served.f.stats.entries == 1
    assert served.f.stats.entries == 0


async def test_what_the_default_app_computes_across_a_start_is_not_found():
    """A computation begun before the start is not stored behind it."""
    gate, began = asyncio.Event(), asyncio.Event()
    calls = []

    @cache
    async def slow():
        calls.append(1)
        began.set()
        await gate.wait()
        return len(calls)

    task = asyncio.create_task(slow())
    await began.wait()
    async with App(First):
        pass
    gate.set()
    assert await task == 1
    assert await slow() == 2


async def test_the_default_app_never_counts_beside_another(default):
    """Its lifespan may be open while an app runs, and nothing is ambiguous."""
    f = counting()
    async with stillfresh.lifespan(), App(First) as app:
        assert [await f(), await f()] == [1, 1]
        assert app.guards[0].provider.count(f"{f.__module__}.{f.__qualname__}") == 1
    assert default.guards == []


async def test_the_module_level_controls_act_on_the_default_app(default):
    """`provide`, `lifespan` and `invalidate_tags` need no app."""
    called = []

    class Hooked:
        @hook("start")
        async def start(self):
            called.append("start")

        @hook("stop")
        def stop(self):
            called.append("stop")

    provider = MemoryCacheProvider(serialize=True)
    stillfresh.provide(CacheProvider, provider)
    f = counting(tags=["t"])
    assert [await f(), await f()] == [1, 1]
    assert [guard.provider for guard in default.guards] == [provider]
    await stillfresh.invalidate_tags("t")
    assert await f() == 2
    default.get(Hooked)
    async with stillfresh.lifespan():
        assert called == ["start"]
    assert called == ["start", "stop"]
    assert await f() == 3


def test_a_late_provide_names_the_first_call(default):
    """Nobody has called app.get(), and most programs have no app: it says who was first."""

    @cache
    def early() -> int:
        return 1

    early()
    with pytest.raises(AlreadyResolved) as caught:
        stillfresh.provide(CacheProvider, MemoryCacheProvider)
    message = str(caught.value)
    assert f"the first use of {__name__}.{early.__qualname__} has already resolved it" in message
    assert "Call stillfresh.provide() before the first call" in message
    assert "isolated()" in message
    assert "app.override" not in message


def test_a_store_and_a_dropped_tag_are_first_uses_too():
    """Of an app that runs it is the start; of the default app whatever came first."""
    with isolated():
        Cache[int](name="numbers").sync.set("a", 1)
        with pytest.raises(AlreadyResolved, match=r"the first use of \S+\.numbers has"):
            stillfresh.provide(CacheProvider, MemoryCacheProvider)
    with isolated():
        sync.invalidate_tags("a")
        with pytest.raises(AlreadyResolved, match=r"late, invalidate_tags\(\) has"):
            stillfresh.provide(CacheProvider, MemoryCacheProvider)


async def test_a_lifespan_inside_another_says_which_app_it_is_about():
    """Users have never made one, so the error calls it by its name."""
    async with stillfresh.lifespan():
        with pytest.raises(AlreadyRunning, match="the default app"), sync.lifespan():
            pass
        with pytest.raises(AlreadyRunning, match="the default app"):
            async with stillfresh.lifespan():
                pass


async def test_module_level_tags_reach_whoever_serves():
    """With an app running the unbound functions are there, and so is the invalidation."""
    f = counting(tags=["t"])
    async with App(First):
        assert [await f(), await f()] == [1, 1]
        await stillfresh.invalidate_tags("t")
        assert await f() == 2


async def test_module_level_tags_reach_every_app_although_one_fails(default):
    """The error comes at the end, when the others have heard of it."""
    default.provide(CacheProvider, ChaosProvider(MemoryCacheProvider(), fail=1))
    f = counting(tags=["t"])
    async with App(First):
        for number, invalidate in enumerate((stillfresh.invalidate_tags, sync.invalidate_tags)):
            assert await f() == number + 1
            with pytest.raises(ProviderUnavailable):
                await invalidate("t")
            assert await f() == number + 2


def test_the_module_level_controls_of_sync_programs(default):
    """`sync` has the same without await."""
    calls = []

    @cache(tags=["t"])
    def f():
        calls.append(1)
        return len(calls)

    class Hooked:
        @hook("ready")
        async def ready(self):
            calls.append("ready")

    assert [f(), f()] == [1, 1]
    sync.invalidate_tags("t")
    assert f() == 2
    default.get(Hooked)
    with sync.lifespan():
        assert calls[-1] == "ready"
    sync.settled()


# Names


def one_name(name):
    """Two services whose functions have the same explicit name."""

    class One:
        @cache(name=name)
        async def f(self):
            return 1

    class Two:
        @cache(name=name)
        async def g(self):
            return 2

    return One, Two


def test_explicit_names_must_differ_within_an_app():
    """It is checked at the start, before any hook runs, and names both functions."""
    one, two = one_name("same")
    app = App(one, two)
    with pytest.raises(InvalidOption, match=r"'same'.*One\.f.*Two\.g"), app:
        pass
    assert not app.running
    with App(one), App(two):
        pass


async def test_explicit_names_are_checked_lazily_too():
    """Functions that no service shows are told when the second one is used."""

    @cache(name="same")
    async def f():
        return 1

    @cache(name="same")
    async def g():
        return 2

    assert await f() == 1
    with pytest.raises(InvalidOption, match=r"'same'.*<locals>\.f.*<locals>\.g"):
        await g()
    with pytest.raises(InvalidOption):
        await g.invalidate()
    del f
    assert await g() == 2


async def test_a_store_and_a_function_cannot_share_a_name_by_accident():
    """Declared apart they are two owners."""
    store = Cache[int](name="same")
    f = counting(name="same")
    await store.set("k", 1)
    with pytest.raises(InvalidOption, match="same"):
        await f()


async def test_decorating_again_replaces_silently():
    """A reload or a notebook cell: the new function never gets the old one's values."""

    def cell(value):
        @cache
        async def f():
            return value

        return f

    old = cell("old")
    assert await old() == "old"
    new = cell("new")
    assert await new() == "new"
    assert await old() == "old"
    assert await new() == "new"


async def test_closures_made_twice_never_mix():
    """Both live, share their name, and each gets its own values, also in an explicit name."""

    def make(factor):
        @cache(name="times")
        async def times(x: int) -> int:
            return x * factor

        return times

    double, triple = make(2), make(3)
    assert [await double(5), await triple(5), await double(5), await triple(5)] == [10, 15] * 2
    assert [await double(5), await double(5)] == [10, 10]


async def test_a_closure_never_gets_the_entries_of_one_that_died():
    """Also when it takes the number of the dead one, while an older one of the name lives."""

    def make(factor):
        @cache
        async def times(x: int) -> int:
            return x * factor

        return times

    double, triple = make(2), make(3)
    assert [await double(5), await triple(5)] == [10, 15]
    del triple
    gc.collect()
    assert [await make(4)(5), await double(5)] == [20, 10]


async def test_what_an_old_function_still_computes_is_not_the_new_ones():
    """A computation that began before the replacement is not joined, and not stored."""
    gate, began = asyncio.Event(), asyncio.Event()

    def cell(value, *, slow):
        @cache
        async def f():
            if slow:
                began.set()
                await gate.wait()
            return value

        return f

    old = cell("old", slow=True)
    task = asyncio.create_task(old())
    await began.wait()
    new = cell("new", slow=False)
    assert await new() == "new"
    gate.set()
    assert await task == "old"
    assert await new() == "new"


# Collection


async def test_apps_are_garbage_collected():
    """With their services and entries, also after they ran and served unbound functions."""
    f = counting()

    async def use():
        app = App(Service)
        async with app:
            await app.get(Service).f()
            app.get(Service).g()
            await app.get(Service).store.set("k", 1)
            await f()
        return weakref.ref(app), weakref.ref(app.get(Service))

    references = await use()
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_an_app_that_never_ran_is_collected():
    """Nobody but its owner holds it, and its number in the registry is free."""
    owners = stillfresh.app.registry._owners
    gc.collect()
    before = len(owners)
    app = App(Service, First)
    app.get(Service).g()
    assert len(owners) == before + 1
    reference = weakref.ref(app)
    del app
    gc.collect()
    assert reference() is None
    assert len(owners) == before


def test_threads_of_two_apps():
    """Each thread that runs a hook-bound computation is served by its own app."""
    f_calls = []

    @cache
    def f():
        f_calls.append(threading.get_ident())
        return 1

    class Caller:
        @cache
        def call(self) -> int:
            return f()

    start = threading.Barrier(2)
    failures = []

    with App(Caller) as one, App(Caller) as two:

        def work(app):
            try:
                start.wait(10)
                assert app.get(Caller).call() == 1
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(app,)) for app in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert failures == []
        assert len(f_calls) == 2
