"""Starting and stopping an app: hooks, their order, what fails, and what is left afterwards."""

import asyncio
import functools
import threading

import pytest

from stillfresh import (
    AlreadyRunning,
    App,
    InvalidOption,
    MemoryCacheProvider,
    cache,
    hook,
    inject,
)


class Recorder:
    """Notes its hooks in the `log` of its class; subclasses have their own names."""

    log: list

    @hook("start")
    async def on_start(self):
        self.log.append(f"{type(self).__name__} start")

    @hook("ready")
    def on_ready(self):
        self.log.append(f"{type(self).__name__} ready")

    @hook("stop")
    async def on_stop(self):
        self.log.append(f"{type(self).__name__} stop")


@pytest.fixture
def services():
    """A service, what it needs, and what that needs; with their common log."""
    log = []

    class Database(Recorder):
        pass

    class Products(Recorder):
        database = inject(Database)

    class Api(Recorder):
        products = inject(Products)

    for kind in (Database, Products, Api):
        kind.log = log
    return [Api, Products, Database], log


IN_ORDER = ["Database start", "Products start", "Api start"]
IN_ORDER += ["Database ready", "Products ready", "Api ready"]
AND_BACK = ["Api stop", "Products stop", "Database stop"]


# Hooks and their order


async def test_dependencies_come_first_and_stop_last(services):
    """All `start`, then all `ready`, each behind what it needs; `stop` in reverse."""
    kinds, log = services
    async with App(*kinds):
        assert log == IN_ORDER
        log.clear()
    assert log == AND_BACK


def test_the_same_under_with(services):
    """A sync program gets the same order, async hooks included."""
    kinds, log = services
    with App(*kinds):
        assert log == IN_ORDER
        log.clear()
    assert log == AND_BACK


async def test_what_is_only_injected_is_started_too(services):
    """Naming the outermost service is enough."""
    kinds, log = services
    async with App(kinds[0]):
        assert log == IN_ORDER


async def test_dependencies_of_a_provided_service_come_first(services):
    """Also when it was built by a factory, and before the start."""
    (_, products, _), log = services

    class Page:
        pass

    app = App().provide(Page, products)
    app.get(Page)
    async with app:
        assert log == ["Database start", "Products start", "Database ready", "Products ready"]


async def test_services_that_know_each_other_each_start_once(services):
    """A circle has no first one, and still everybody is started and stopped once."""
    (api, _, database), log = services
    database.api = inject(api)
    async with App(api):
        assert sorted(log) == sorted(IN_ORDER)
        log.clear()
    assert sorted(log) == sorted(AND_BACK)


async def test_inherited_hooks_are_called_and_overridden_ones_once():
    """The method that the instance has is the hook; the one it replaced is not."""
    log = []

    class Base:
        @hook("ready")
        def warm(self):
            log.append("base warm")

        @hook("ready")
        def check(self):
            log.append("base check")

    class Concrete(Base):
        @hook("ready")
        def warm(self):
            log.append("concrete warm")
            super().warm()

    async with App(Concrete):
        assert log == ["concrete warm", "base warm", "base check"]


async def test_one_method_may_be_several_hooks():
    """And one class may have several methods for a moment, called as they are written."""
    log = []

    class Service:
        @hook("start")
        @hook("stop")
        def note(self):
            log.append("note")

        @hook("start")
        @staticmethod
        def more():
            log.append("more")

    async with App(Service):
        assert log == ["note", "more"]
    assert log == ["note", "more", "note"]


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
async def test_a_hook_may_stand_below_another_decorator(kind):
    """The mark is on the function, whatever is around it."""
    log = []

    class Service:
        @kind
        @hook("start")
        def note(*args):
            log.append(len(args))

    async with App(Service):
        assert log == [0 if kind is staticmethod else 1]


def test_a_generator_is_no_hook():
    """Nobody would go on behind its `yield`: two hooks say the same, and run."""
    with pytest.raises(InvalidOption, match="Write two hooks"):

        @hook("start")
        async def lifespan(self):
            yield

    with pytest.raises(InvalidOption, match="Write two hooks"):

        @hook("start")
        def also(self):
            yield


@pytest.mark.parametrize("kind", [lambda function: function, cache, staticmethod])
def test_a_hook_needs_no_arguments(kind):
    """The app has none to give: it fails where it is written, and names what is missing."""

    def warm(self, extra, *, more): ...

    missing = "self" if kind is staticmethod else "extra"
    with pytest.raises(InvalidOption, match=f"without arguments, and it has .*'{missing}'"):
        hook("ready")(kind(warm))


@pytest.mark.parametrize("function", [lambda: None, lambda *args, more: None])
def test_a_hook_in_a_class_takes_its_instance(function):
    """What cannot be called with it alone fails where it is written, too."""
    with pytest.raises(InvalidOption, match="without arguments"):
        hook("ready")(function)


async def test_a_decorator_below_a_hook_may_give_it_arguments():
    """What the app calls is what the decorator returns, whatever is inside."""
    seen = []

    def with_session(function):
        @functools.wraps(function)
        async def call(self):
            await function(self, "session")

        return call

    class Warmer:
        @hook("ready")
        @with_session
        async def warm(self, session):
            seen.append(session)

    async with App(Warmer):
        assert seen == ["session"]


@pytest.mark.parametrize(
    "function",
    [
        lambda self, extra=1, *, more=2: None,
        lambda self, *args, **kwargs: None,
        lambda *args: None,
        staticmethod(lambda: None),
    ],
)
def test_a_hook_may_have_arguments_with_defaults(function):
    """What can be called without arguments is a hook."""
    assert hook("ready")(function) is function


async def test_a_cached_method_may_be_a_hook():
    """Warming is one line: the hook above the cached method."""
    calls = []

    class Service:
        @hook("ready")
        @cache
        async def popular(self):
            calls.append(1)
            return 1

    async with App(Service) as app:
        assert calls == [1]
        assert await app.get(Service).popular() == 1
        assert calls == [1]


@pytest.mark.parametrize("moment", ["redy", "Start", None])
def test_an_unknown_hook_is_an_error(moment):
    """It fails where it is written, and says what there is."""
    with pytest.raises(InvalidOption, match="start, ready, stop"):
        hook(moment)


def test_a_hook_without_its_moment_says_which_there_are():
    """The mistake of whoever knows decorators that may be bare."""
    with pytest.raises(InvalidOption, match=r"expected a moment. Write @hook\('start'\)"):

        @hook
        def warm(self): ...


def test_an_unknown_hook_gets_a_hint():
    """The closest name is suggested."""
    with pytest.raises(InvalidOption, match="Did you mean 'ready'"):
        hook("redy")


def test_sync_hooks_run_on_the_starting_thread_and_async_ones_on_one_private_loop():
    """Under `with app:` async hooks share one loop, in a thread that ends at stop."""
    seen = []

    class Service:
        @hook("start")
        def sync_start(self):
            seen.append(("sync", threading.current_thread(), None))

        @hook("start")
        async def async_start(self):
            loop = asyncio.get_running_loop()
            await asyncio.sleep(0)
            seen.append(("async", threading.current_thread(), loop))

        @hook("stop")
        async def async_stop(self):
            loop = asyncio.get_running_loop()
            seen.append(("async", threading.current_thread(), loop))

    with App(Service):
        pass
    kinds, threads, loops = zip(*seen, strict=True)
    assert kinds == ("sync", "async", "async")
    assert threads[0] is threading.current_thread()
    assert threads[1] is threads[2] is not threads[0]
    assert loops[1] is loops[2]
    assert not threads[1].is_alive()
    assert loops[1].is_closed()


async def test_async_hooks_run_on_the_loop_of_the_app():
    """Under `async with app:` nothing runs elsewhere."""
    seen = []

    class Service:
        @hook("start")
        async def start(self):
            seen.append(asyncio.get_running_loop())

        @hook("ready")
        def ready(self):
            seen.append(asyncio.get_running_loop())

    async with App(Service):
        pass
    assert seen == [asyncio.get_running_loop()] * 2


# When caches live


class Warmer:
    def __init__(self):
        self.calls = 0
        self.seen = []

    @cache
    async def popular(self):
        self.calls += 1
        return self.calls

    @hook("start")
    async def early(self):
        self.seen.append((await self.popular(), await self.popular()))

    @hook("ready")
    async def warm(self):
        self.seen.append((await self.popular(), await self.popular()))

    @hook("stop")
    async def late(self):
        self.seen.append((await self.popular(), await self.popular()))


async def test_caches_live_from_before_ready_until_after_stop():
    """`start` finds none; what `ready` warmed is served, and in `stop` still."""
    async with App(Warmer) as app:
        service = app.get(Warmer)
        assert await service.popular() == 3
    assert service.seen == [(1, 2), (3, 3), (3, 3)]
    assert await service.popular() == 4


def test_warming_under_with():
    """An async hook warms a cached function on the private loop."""
    with App(Warmer) as app:
        service = app.get(Warmer)
        assert asyncio.run(service.popular()) == 3


async def test_an_app_may_be_started_again():
    """With empty caches, the same services, and its hooks anew."""
    app = App(Warmer)
    async with app:
        service = app.get(Warmer)
    async with app:
        assert app.get(Warmer) is service
        assert await service.popular() == 6
    assert service.seen[3:] == [(4, 5), (6, 6), (6, 6)]


def test_an_app_may_be_started_again_in_another_way():
    """First with a loop, then without, then on a new loop."""
    app = App(Warmer)

    async def run():
        async with app:
            return await app.get(Warmer).popular()

    assert asyncio.run(run()) == 3
    with app:
        assert app.running
    assert asyncio.run(run()) == 9


async def test_a_second_start_is_an_error():
    """A running app is not started once more, and does not suffer from the attempt."""
    async with App(Warmer) as app:
        with pytest.raises(AlreadyRunning, match="was started before"):
            async with app:
                pass
        with pytest.raises(AlreadyRunning), app:
            pass
        assert app.running
        assert await app.get(Warmer).popular() == 3


def test_threads_start_an_app_once():
    """Of many threads that start it at a time one wins, and the others are told."""
    started = []

    class Service:
        @hook("start")
        def note(self):
            started.append(1)

    app = App(Service)
    together, all_tried = threading.Barrier(4), threading.Barrier(4)
    outcomes = []

    def run():
        together.wait(10)
        try:
            with app:
                outcomes.append("ran")
                all_tried.wait(10)
        except AlreadyRunning:
            outcomes.append("refused")
            all_tried.wait(10)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["ran", "refused", "refused", "refused"]
    assert started == [1]
    assert not app.running


async def test_a_provider_that_a_function_names_starts_with_the_app() -> None:
    """A tag that is dropped reaches `provider=` too, also before its first call here."""
    second = MemoryCacheProvider()

    class Service:
        @cache(provider=second, tags=["all"])
        async def read(self) -> int:
            return 1

    dropped: list[frozenset[str]] = []
    forget = second.invalidate_tags

    async def invalidate_tags(scope: object, tags: frozenset[str]) -> None:
        dropped.append(tags)
        await forget(scope, tags)

    second.invalidate_tags = invalidate_tags
    async with App(Service) as app:
        await app.invalidate_tags("all")
    assert dropped == [frozenset({"all"})]
