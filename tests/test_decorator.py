"""The decorator on every kind of function, and what it makes of them."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import functools
import inspect
import pickle
import sys
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from stillfresh import (
    MISSING,
    App,
    Cache,
    Cached,
    InvalidOption,
    SyncCached,
    UnstableArgument,
    cache,
)
from stillfresh.testing import IsolatedApp, isolated

AT_LEAST_313 = sys.version_info >= (3, 13)


@pytest.fixture(autouse=True)
def app() -> Iterator[IsolatedApp]:
    with isolated() as app:
        yield app


@cache(ttl="1 minute")
async def module_level(a: int, /, b: str = "b", *rest: int, c: float = 1.0, **more: int) -> list:
    """What it is for."""
    return [a, b, rest, c, more]


@cache
def module_level_sync(a: int = 1) -> list[int]:
    return [a]


# Kinds of functions


async def test_bare_and_with_options_cache_alike() -> None:
    """`@cache` and `@cache()` and `@cache(ttl=...)` all hand out the first result again."""

    @cache
    async def bare(x: int) -> object:
        return object()

    @cache()
    async def empty(x: int) -> object:
        return object()

    @cache(ttl="1 hour")
    async def full(x: int) -> object:
        return object()

    for function in (bare, empty, full):
        assert await function(1) is await function(1)
        assert await function(1) is not await function(2)


def test_sync_functions_stay_sync() -> None:
    """A sync function is called without await, and computes once."""
    assert module_level_sync() is module_level_sync(1)
    assert not inspect.iscoroutinefunction(module_level_sync)


async def test_methods_of_both_kinds() -> None:
    """Async and sync methods of a service compute once each."""

    class Service:
        @cache
        async def slow(self, x: int) -> object:
            return object()

        @cache
        def quick(self, x: int) -> object:
            return object()

    async with App(Service) as app:
        service = app.get(Service)
        for _ in range(3):
            assert await service.slow(1) is await service.slow(x=1)
            assert service.quick(1) is service.quick(x=1)


def test_methods_know_self_by_any_name() -> None:
    """In a class the first parameter is the instance, whatever it is called."""

    class Service:
        @cache
        def get(this, x: int) -> object:
            return (this, x)

    service = Service()
    assert service.get(1) == (service, 1)
    assert service.get.key(1) == "1"


def test_self_of_a_nested_function_is_an_argument() -> None:
    """Outside of a class a parameter called `self` is like any other."""

    @cache
    def shout(self: str) -> str:
        return self.upper()

    assert shout("a") == "A"
    assert shout("b") == "B"
    assert shout.key("a") == '"a"'


async def test_classmethods_with_cache_above() -> None:
    """The controls know the class; a subclass has entries of its own."""

    class Base:
        @cache
        @classmethod
        async def make(cls, x: int) -> tuple[str, object]:
            return (cls.__name__, object())

    class Sub(Base):
        pass

    first = await Base.make(1)
    assert await Base.make(x=1) is first
    assert await Base().make(1) is first
    assert (await Sub.make(1))[0] == "Sub"
    await Base.make.invalidate(1)
    assert await Base.make(1) is not first
    sub = await Sub.make(1)
    await Base.make.clear()
    assert await Sub.make(1) is sub


@pytest.mark.parametrize("name", ["cls", "klass"])
def test_classmethods_with_cache_below(name: str) -> None:
    """Calls know the class, and on Python up to 3.12 the controls do, too."""
    if name == "klass" and AT_LEAST_313:
        pytest.skip("a first parameter with another name says nothing there")
    scope: dict[str, typing.Any] = {"cache": cache, "__name__": __name__}
    source = f"""class Base:
    @classmethod
    @cache
    def make({name}, x):
        return ({name}.__name__, object())
class Sub(Base): pass"""
    exec(source, scope)
    base, sub = scope["Base"], scope["Sub"]
    first = base.make(1)
    assert base.make(1) is first
    assert base().make(1) is first
    assert first[0] == "Base"
    assert sub.make(1)[0] == "Sub"
    if not AT_LEAST_313:
        assert base.make.peek(1) is first
        base.make.invalidate(1)
        assert base.make(1) is not first


@pytest.mark.skipif(not AT_LEAST_313, reason="the controls work there")
@pytest.mark.parametrize("arguments", [(), (1,)])
@pytest.mark.parametrize("control", ["invalidate", "peek", "key", "explain", "expire"])
def test_controls_of_a_classmethod_with_cache_below_say_what_to_do(
    control: str, arguments: tuple[int, ...]
) -> None:
    """From 3.13 on they cannot know the class; the error says to put @cache above."""

    class Base:
        @classmethod
        @cache
        def make(cls, x: int = 1) -> int:
            return x

    with pytest.raises(InvalidOption, match="Put @cache above @classmethod"):
        getattr(Base.make, control)(*arguments)
    with pytest.raises(InvalidOption, match="Put @cache above @classmethod"):
        Base.make.clear()


def test_methods_of_a_metaclass_get_the_class() -> None:
    """In a metaclass `cls` is `self`: each class gets itself, and has entries of its own."""
    seen: list[str] = []

    class Meta(type):
        @cache
        def title(cls, number: int) -> str:
            seen.append(cls.__name__)
            return f"{cls.__name__} {number}"

        @cache
        @classmethod
        def kind(mcs) -> str:
            return mcs.__name__

    class One(metaclass=Meta):
        pass

    class Two(metaclass=Meta):
        pass

    for _ in range(2):
        assert [One.title(1), Two.title(1)] == ["One 1", "Two 1"]
        assert [One.kind(), Meta.kind()] == ["Meta", "Meta"]
    assert seen == ["One", "Two"]
    One.title.invalidate(1)
    assert [One.title(1), Two.title(1)] == ["One 1", "Two 1"]
    assert seen == ["One", "Two", "One"]


async def test_functions_of_no_module() -> None:
    """exec() in an empty dictionary makes functions without a module; they are cached as others."""
    names: dict[str, typing.Any] = {}
    exec(
        "from stillfresh import Cache, cache\n"
        "store = Cache[int](name='of no module')\n"
        "@cache\n"
        "async def double(n: int) -> int:\n"
        "    return 2 * n\n",
        names,
    )
    assert await names["double"](2) == 4
    assert await names["double"].peek(2) == 4
    assert "__main__.double" in str(await names["double"].explain(2))
    await names["store"].set("k", 1)
    assert await names["store"].get("k") == 1


async def test_staticmethods_in_both_orders() -> None:
    """All arguments count, calls work on the class and on instances, owned ones too."""

    class Service:
        @cache
        @staticmethod
        async def above(x: int) -> object:
            return object()

        @staticmethod
        @cache
        async def below(x: int) -> object:
            return object()

    async with App(Service) as app:
        service = app.get(Service)
        assert await service.above(1) is await Service.above(1)
        assert await service.below(1) is await Service.below(1)
        first = await Service.above(1)
        await Service.above.invalidate(1)
        assert await Service.above(1) is not first
        first = await Service.below(1)
        await service.below.invalidate(1)
        assert await Service.below(1) is not first
        assert [cache.name.rpartition(".")[2] for cache in app.caches] == ["above", "below"]


def test_a_staticmethod_named_like_a_method_counts_its_self() -> None:
    """With @cache above @staticmethod even a parameter called `self` is an argument."""

    class Service:
        @cache
        @staticmethod
        def shout(self: str) -> str:  # noqa: PLW0211  # the name is the claim
            return self.upper()

    assert Service.shout("a") == "A"
    assert Service.shout("b") == "B"
    assert Service.shout.key("a") == '"a"'


def name_of(self: object, n: int) -> tuple[str, int]:
    return type(self).__name__, n


@pytest.mark.parametrize("options", [{}, {"ttl": 5}])
def test_a_function_that_is_cached_in_a_class_body_is_a_method(options: dict[str, Any]) -> None:
    """Wherever it was defined: `self` is its first parameter, and each class has its own entries."""
    store = Cache[tuple[str, int]](name="names")

    def nearby(this: object, n: int) -> tuple[str, int]:
        return name_of(this, n)

    class One:
        get = cache(**options)(name_of) if options else cache(name_of)
        again = cache(name_of)
        near = cache(nearby)
        lent = store(key="{n}")(name_of)

        @cache
        def plain(self, n: int) -> tuple[str, int]:
            return type(self).__name__, n

    class Two:
        get = cache(name_of)
        near = cache(nearby)

    class Three(One):
        pass

    with App(One, Two, Three) as app:
        for kind in (One, Two, Three):
            for service in (app.get(kind), kind()):
                assert service.get(1) == service.near(1) == (kind.__name__, 1)
                assert service.get.key(1) == "1"
                service.get.invalidate(1)
                assert service.get.peek(1) is MISSING
                assert service.get(1) is service.get(1)
                assert copy.copy(service.get)(1) is service.get(1)
        assert app.get(One).again(1) == ("One", 1)
        assert app.get(One).lent(1) == store.sync.get("1") == ("One", 1)
        around = One.__qualname__.removesuffix("One")
        names = sorted(
            each.name.replace(around, "").removeprefix(f"{__name__}.") for each in app.caches
        )
        assert names == [
            "One.again", "One.again@Three", "One.get", "One.get@Three", "One.near",
            "One.near@Three", "One.plain", "One.plain@Three", "Two.get", "Two.near", "names",
        ]  # fmt: skip


def test_what_stands_in_a_class_body_and_is_no_attribute_is_a_function() -> None:
    """In a list, or under @staticmethod, all arguments count."""

    class Service:
        made = (cache(module_level_plain),)
        still = staticmethod(cache(module_level_plain))

    assert Service.made[0](1) == Service.still(1) == Service().still(1) == [1]
    assert Service.still.key(1) == "1"


def module_level_plain(a: int) -> list[int]:
    return [a]


class AtModuleLevel:
    @staticmethod
    @cache
    def shout(cls: str = "nobody") -> str:  # noqa: PLW0211  # the name is the claim
        return cls.upper()

    @staticmethod
    @cache
    def whisper(self: str = "NOBODY") -> str:  # noqa: PLW0211  # the name is the claim
        return self.lower()


@pytest.mark.parametrize("owned", [False, True])
def test_under_a_staticmethod_all_arguments_count(app: IsolatedApp, *, owned: bool) -> None:
    """Also where @cache stands below it, and the first parameter is called like a method's."""

    class Service:
        def __init__(self) -> None:
            self.state = 1

        @staticmethod
        @cache
        def shout(self: object, times: int = 1) -> str:  # noqa: PLW0211  # the name is the claim
            return str(self).upper() * times

    class Sub(Service):
        pass

    for service in (app.get(Service), app.get(Sub)) if owned else (Service, Service(), Sub()):
        assert service.shout("a") == "A"
        assert service.shout("b", 2) == "BB"
        assert service.shout.key("a") == '"a",1'
        service.shout.invalidate("a")
        assert service.shout.peek("a") is MISSING
    at: Any = app.get(AtModuleLevel) if owned else AtModuleLevel
    assert at.shout("a") == at.shout(cls="a") == "A"
    assert at.shout() == "NOBODY"
    assert at.shout.key("a") == '"a"'
    assert at.whisper("A") == "a"
    assert at.whisper.key() == '"NOBODY"'
    with pytest.raises(UnstableArgument):
        at.whisper(AtModuleLevel())


def test_a_decorator_above_cache_hands_self_on() -> None:
    """What wraps a cached method and is no staticmethod calls it with the instance."""

    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(self: Any, *args: Any) -> Any:
            return function(self, *args)

        return wrapper

    class Service:
        @logged
        @cache
        def get(self, x: int) -> tuple[str, int]:
            return type(self).__name__, x

    class Sub(Service):
        pass

    assert Service().get(1) == ("Service", 1)
    assert Sub().get(1) == ("Sub", 1)
    assert Service().get(2) == ("Service", 2)


def test_lambdas_are_functions() -> None:
    """A lambda can be cached like any function."""
    double = cache(lambda x: [x, x])
    assert double(2) is double(2)


@pytest.mark.parametrize(
    "thing", [len, functools.partial(max, 1), "text".upper, object(), int, 5], ids=repr
)
def test_what_is_no_function_is_refused(thing: object) -> None:
    """Builtins, partials, bound methods, classes and values raise when the decorator runs."""
    with pytest.raises(InvalidOption, match=r"expected a function|options are named"):
        cache(thing)
    with pytest.raises(InvalidOption, match="expected a function"):
        cache(ttl=1)(thing)


def test_a_callable_object_is_refused_and_its_call_can_be_cached() -> None:
    """An object with __call__ is no function; @cache belongs on the method."""

    class Loader:
        @cache
        def __call__(self, x: int) -> object:
            return object()

    with pytest.raises(InvalidOption, match="expected a function"):
        cache(Loader())
    loader = Loader()
    assert loader(1) is loader(1)


@pytest.mark.parametrize("again", [cache, cache(ttl=1)])
def test_twice_is_once_too_many(again: typing.Any) -> None:
    """A cached function is not cached again."""
    with pytest.raises(InvalidOption, match="cached already"):
        again(module_level)

    class Service:
        @cache
        def method(self) -> int:
            return 1

    with pytest.raises(InvalidOption, match="cached already"):
        again(vars(Service)["method"])


def test_a_decorator_below_keeps_the_signature() -> None:
    """Under functools.wraps the key has the parameters of the innermost function."""

    def plus_one(function: typing.Any) -> typing.Any:
        @functools.wraps(function)
        def wrapper(*args: object, **kwargs: object) -> object:
            return function(*args, **kwargs) + 1

        return wrapper

    @cache
    @plus_one
    def add(a: int, *, b: int = 2) -> int:
        return a + b

    assert add(1) == 4
    assert add.key(1) == add.key(a=1, b=2) == "1,2"


# What a generated function looks like


def test_it_looks_like_the_function() -> None:
    """Names, documentation, signature and annotations are those of the function."""
    inner = module_level.__wrapped__
    assert module_level.__name__ == "module_level"
    assert module_level.__qualname__ == "module_level"
    assert module_level.__module__ == __name__
    assert module_level.__doc__ == "What it is for."
    assert module_level.__annotations__ == inner.__annotations__
    assert inspect.signature(module_level) == inspect.signature(inner)
    assert inspect.signature(module_level, follow_wrapped=False) == inspect.signature(inner)
    assert typing.get_type_hints(module_level) == typing.get_type_hints(inner)
    assert inspect.getsource(module_level) == inspect.getsource(inner)


async def test_it_is_a_coroutine_function() -> None:
    """Frameworks see an async function; its call is a coroutine, good for a task."""
    assert inspect.iscoroutinefunction(module_level)
    coroutine = module_level(1)
    assert inspect.iscoroutine(coroutine)
    assert await asyncio.create_task(coroutine) == [1, "b", (), 1.0, {}]


def test_isinstance_sees_cached() -> None:
    """A generated function is a `Cached` or a `SyncCached`, and nothing else is."""
    assert isinstance(module_level, Cached)
    assert not isinstance(module_level, SyncCached)
    assert isinstance(module_level_sync, SyncCached)
    assert not isinstance(module_level_sync, Cached)
    for other in (module_level.__wrapped__, None, 1, Cached, object(), functools.partial):
        assert not isinstance(other, Cached | SyncCached)


async def test_methods_look_like_methods() -> None:
    """On owned and free instances signature and hints leave out `self`, on the class not."""

    class Service:
        @cache
        async def get(self, x: int, lang: str = "en") -> str:
            """What it is for."""
            return lang

    free = Service()
    owned = App(Service).get(Service)
    hints = {"x": int, "lang": str, "return": str}
    for method in (free.get, owned.get):
        assert isinstance(method, Cached)
        assert str(inspect.signature(method)).startswith("(x: 'int', lang: 'str' = 'en')")
        assert typing.get_type_hints(method) == hints
        assert method.__wrapped__ is not None
        assert method.__name__ == "get"
        assert method.__doc__ == "What it is for."
        assert asyncio.iscoroutinefunction(method)
    assert str(inspect.signature(Service.get)).startswith("(self, x: 'int'")
    assert typing.get_type_hints(Service.get) == hints


def test_a_module_function_is_pickled_by_name() -> None:
    """It can be sent to another process, as any function of a module can."""
    assert module_level_sync.__qualname__ == "module_level_sync"
    if __name__ in sys.modules and sys.modules[__name__].module_level_sync is module_level_sync:
        assert pickle.loads(pickle.dumps(module_level_sync)) is module_level_sync


# How it is called


@dataclasses.dataclass
class Pickled:
    """A service that is found by its name."""

    number: int

    @cache
    def get(self, x: int) -> int:
        return self.number * x

    @cache
    @classmethod
    def kind(cls) -> str:
        return cls.__name__


class PickledToo(Pickled):
    """Inherits its functions."""


def test_methods_are_pickled_and_copied_with_their_instance() -> None:
    """As plain methods: what comes back is bound to a copy of the instance, or to the class."""
    for how in (copy.deepcopy, copy.copy, lambda one: pickle.loads(pickle.dumps(one))):
        assert how(Pickled.get) is Pickled.get
        for kind in (Pickled, PickledToo):
            method = how(kind(3).get)
            assert isinstance(method, SyncCached)
            assert method(2) == 6
            assert how(kind.kind)() == kind.__name__


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((), {"a": 1}), ((1,), {"b": 1, "c": 2, "a": 3})],
    ids=["missing", "positional-only by name", "fine"],
)
def test_wrong_calls_are_wrong_as_before(
    args: tuple[int, ...], kwargs: dict[str, typing.Any]
) -> None:
    """What the function refuses the cached one refuses, at the call and by its name."""
    try:
        module_level.__wrapped__(*args, **kwargs).close()
    except TypeError:
        with pytest.raises(TypeError, match=r"module_level\(\)"):
            module_level(*args, **kwargs)
        with pytest.raises(TypeError, match=r"module_level\(\)"):
            module_level.key(*args, **kwargs)
    else:
        module_level(*args, **kwargs).close()


def test_a_wrong_call_of_a_method_names_it() -> None:
    """On owned, free and unbound methods the TypeError says which function was called."""

    class Service:
        @cache
        async def get(self, x: int) -> int:
            return x

    for method in (App(Service).get(Service).get, Service().get):
        with pytest.raises(TypeError, match=r"Service\.get\(\) missing 1 required"):
            method()
        with pytest.raises(TypeError, match=r"Service\.get\(\) got an unexpected"):
            method(1, nothing=2)
    with pytest.raises(TypeError, match=r"Service\.get"):
        Service.get()


async def test_every_kind_of_parameter_arrives() -> None:
    """Positional-only, keyword-only, *args, **kwargs and defaults reach the function."""
    assert await module_level(1) == [1, "b", (), 1.0, {}]
    assert await module_level(1, "x", 2, 3, c=4.0, d=5) == [1, "x", (2, 3), 4.0, {"d": 5}]
    assert await module_level(1, b="y", z=1, y=2) == [1, "y", (), 1.0, {"z": 1, "y": 2}]
    again = await module_level(1, b="y", y=2, z=1)
    assert again is await module_level(1, "y", z=1, y=2)


def test_keyword_only_parameters_without_stars_beside() -> None:
    """`*` alone, and defaults in any order behind it."""

    @cache
    def only(*, a: int = 1, b: int) -> list[int]:
        return [a, b]

    assert only(b=2) is only(b=2, a=1)
    assert only(b=2) == [1, 2]
    assert only(b=1, a=2) == [2, 1]


def test_defaults_are_the_very_objects() -> None:
    """A mutable default is shared with the function, and counts by what is in it."""
    default: list[int] = []

    @cache
    def append(x: int, to: list[int] = default) -> list[int]:
        assert to is default
        to.append(x)
        return list(to)

    assert append(1) == [1]
    assert append(1) == [1, 1]  # the default is another value now, so it is another call
    assert append.key(1) == "1,[1,1]"


NAMES = ["e", "_e", "__e", "_slow", "_index", "_now", "_book", "_int", "_type", "_Exception"]
NAMES += ["KeyError", "TypeError", "Exception", "wrapper", "type", "cls", "values", "function"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("annotation", ["", ": int", ": float"])
async def test_any_name_of_a_parameter_will_do(name: str, annotation: str) -> None:
    """Names of the generated code, and of builtins, are free for parameters."""
    scope: dict[str, typing.Any] = {"cache": cache, "__name__": __name__}
    exec(f"@cache\nasync def f({name}{annotation}, other=1): return [{name}, other]", scope)
    f = scope["f"]
    for value in (5, 2.5, [1]):
        first = await f(value)
        assert first == [value, 1]
        assert await f(**{name: value}) is first
        assert await f(value, 1) is first


async def test_private_parameters_of_methods() -> None:
    """`__x` inside a class is another name for the interpreter, and works."""

    class Service:
        @cache
        async def get(self, __x: int, _y: int = 2) -> list[int]:  # noqa: PYI063  # the name is the point
            return [__x, _y]

    async with App(Service) as app:
        service = app.get(Service)
        assert await service.get(1) == [1, 2]
        assert await service.get(1) is await service.get(1, 2)


def test_an_unbound_function_in_a_class_body_is_no_method() -> None:
    """A cached function put into a class takes the instance as an argument, and says so."""

    class Service:
        borrowed = module_level_sync

    with pytest.raises(UnstableArgument, match="a: a value of type"):
        Service().borrowed()
