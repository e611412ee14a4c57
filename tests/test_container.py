"""Services by type: what is built, provided, injected, overridden."""

import functools
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import pytest

from stillfresh import (
    AlreadyResolved,
    App,
    CacheProvider,
    CannotBuild,
    InvalidOption,
    MemoryCacheProvider,
    cache,
    hook,
    inject,
)
from stillfresh.sources.ledger import ledger_of
from stillfresh.testing import isolated

PATIENCE = 10


class Engine:
    pass


class Diesel(Engine):
    pass


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


NO_PROVIDER = r"gave .*: expected a CacheProvider\. Write app\.provide"


@pytest.mark.parametrize("use", ["redis", 3, dict, None], ids=repr)
@pytest.mark.parametrize("kind", [CacheProvider, MemoryCacheProvider])
def test_what_keeps_the_entries_is_a_provider(kind, use):
    """Anything else is an error where it is written, and says what to write."""
    app = App()
    with pytest.raises(InvalidOption, match=NO_PROVIDER):
        app.provide(kind, use)
    with pytest.raises(InvalidOption, match=NO_PROVIDER), app.override(kind, use):
        raise AssertionError
    assert type(app.get(CacheProvider)) is MemoryCacheProvider


async def test_what_a_factory_makes_is_a_provider():
    """It is made at the start, so the error is there."""
    app = App().provide(CacheProvider, lambda: 3)
    with pytest.raises(InvalidOption, match=NO_PROVIDER):
        async with app:
            raise AssertionError


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
    with pytest.raises(CannotBuild, match=r"A -> .*B -> .*A: the constructors.*after"):
        App(A).get(A)


def test_a_constructor_may_use_what_is_injected():
    """It comes from the app that builds the service, also before that app runs."""

    class Early:
        engine = inject(Engine)

        def __init__(self):
            self.seen = self.engine

    app = App(Early)
    assert app.get(Early).seen is app.get(Engine)


def test_what_is_abstract_has_to_be_provided():
    """The error names the class and the way out, for an ABC and for a Protocol."""

    class Base(ABC):
        @abstractmethod
        def rows(self) -> list[int]: ...

    class Repository(Protocol):
        def rows(self) -> list[int]: ...

    class Memory(Base):
        def rows(self) -> list[int]:
            return [1]

    for kind in (Base, Repository):
        with pytest.raises(CannotBuild, match=rf"{kind.__name__} is abstract.*app\.provide\("):
            App().get(kind)
        assert App().provide(kind, Memory).get(kind).rows() == [1]


def test_inject_may_be_the_default_of_a_field():
    """With an annotation a dataclass takes it for one, and gives it to each instance."""

    class Database:
        rows = (1, 2)

    @dataclass
    class Service:
        limit: int = 1
        db: Database = inject(Database)  # noqa: RUF009  # it is what the test is about

    assert App(Service).get(Service).db.rows == (1, 2)
    fake = Service(db="fake")
    assert App(fake).get(Service).db == "fake"


def test_inject_takes_a_class():
    """Anything else is refused where it is written."""
    with pytest.raises(InvalidOption, match="expected a class"):
        inject("Engine")
