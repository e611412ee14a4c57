"""Cached methods and inheritance: which class an entry belongs to, and names that collide."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stillfresh import App, cache
from stillfresh.testing import IsolatedApp, VirtualClock, isolated


@pytest.fixture(autouse=True)
def app() -> Iterator[IsolatedApp]:
    with isolated() as app:
        yield app


async def test_inherited_methods_of_two_subclasses_are_apart() -> None:
    """The class joins the namespace where it is not the one that defines the method."""

    class Base:
        kind = "base"

        @cache
        async def get(self, x: int) -> list[object]:
            return [self.kind, x]

    class Left(Base):
        kind = "left"

    class Right(Base):
        kind = "right"

    for _ in range(2):
        assert [(await one().get(1))[0] for one in (Base, Left, Right)] == ["base", "left", "right"]
    name = f"{__name__}.{Base.__qualname__}.get"
    assert Base().get.cache.name == name
    assert Left().get.cache.name == f"{name}@{Left.__qualname__}"
    async with App(Left, Right, Base, clock=VirtualClock()) as running:
        assert [(await running.get(one).get(1))[0] for one in (Base, Left, Right)] == [
            "base",
            "left",
            "right",
        ]


async def test_two_subclasses_of_one_name_are_apart() -> None:
    """A class that a function makes twice is two classes."""

    class Base:
        table = ""

        @cache
        async def get(self) -> list[str]:
            return [self.table]

    def repository(name: str) -> type[Base]:
        class Repository(Base):
            table = name

        return Repository

    users, orders = repository("users"), repository("orders")
    assert await users().get() == ["users"]
    assert await orders().get() == ["orders"]


async def test_a_cached_override_may_call_its_cached_super() -> None:
    """Two methods of one name, two entries, and no recursion."""

    class Base:
        @cache
        async def get(self, x: int) -> list[str]:
            return ["base"]

    class Sub(Base):
        @cache
        async def get(self, x: int) -> list[str]:
            return [*await super().get(x), "sub"]

    async with App(Sub, clock=VirtualClock()) as running:
        for service in (running.get(Sub), Sub()):
            for _ in range(2):
                assert await service.get(1) == ["base", "sub"]
            assert await Base.get(service, 1) == ["base"]


async def test_an_uncached_override_is_not_shadowed() -> None:
    """What the class resolves to is what is called, on an owned instance too."""

    class Base:
        @cache
        async def get(self) -> str:
            return "base"

    class Sub(Base):
        async def get(self) -> str:
            return "sub of " + await super().get()

    class Own(Base):
        def __init__(self) -> None:
            self.get = lambda: "own"

    async with App(Sub, Own, clock=VirtualClock()) as running:
        assert "get" not in vars(running.get(Sub))
        assert await running.get(Sub).get() == "sub of base"
        assert running.get(Own).get() == "own"


async def test_mixins() -> None:
    """A method of a mixin belongs to each class that it is mixed into."""

    class Mixin:
        @cache
        async def name(self) -> list[str]:
            return [type(self).__name__]

    class A(Mixin):
        pass

    class B(Mixin):
        pass

    async with App(A, B, clock=VirtualClock()) as running:
        assert await running.get(A).name() == ["A"]
        assert await running.get(B).name() == ["B"]


async def test_private_names() -> None:
    """`__load` of a class and of its subclass are two methods."""

    class Base:
        @cache
        async def __load(self) -> list[str]:
            return ["base"]

        async def both(self) -> list[list[str]]:
            return [await self.__load()]

    class Sub(Base):
        @cache
        async def __load(self) -> list[str]:
            return ["sub"]

        async def both(self) -> list[list[str]]:
            return [*await super().both(), await self.__load()]

    async with App(Sub, clock=VirtualClock()) as running:
        for _ in range(2):
            assert await running.get(Sub).both() == [["base"], ["sub"]]


async def test_two_closures_of_one_name_take_turns() -> None:
    """Each is the function of the name while it is called, and computes its own value."""

    def make(value: str) -> Any:
        @cache
        async def get() -> list[str]:
            return [value]

        return get

    one, other = make("one"), make("other")
    for _ in range(2):
        assert await one() == ["one"]
        assert await other() == ["other"]


async def test_a_waiter_never_gets_the_value_of_another_closure() -> None:
    """Also when the name was taken over while it waited."""
    began, go = asyncio.Event(), asyncio.Event()

    def make(value: str) -> Any:
        @cache
        async def get() -> list[str]:
            if value == "one":
                began.set()
                await go.wait()
            return [value]

        return get

    one, other = make("one"), make("other")
    first = asyncio.create_task(one())
    await began.wait()
    second = asyncio.create_task(one())
    await asyncio.sleep(0)
    assert await other() == ["other"]
    go.set()
    assert await first == ["one"]
    assert await second == ["one"]


@pytest.mark.parametrize("kind", ["method", "class", "static above", "static below"])
@pytest.mark.parametrize("above", [True, False])
def test_abstract_methods_stay_abstract(kind: str, *, above: bool) -> None:
    """With @abstractmethod above or below @cache the class cannot be instantiated."""

    def get(self: object) -> int:
        return 1

    wrap: Any = {
        "method": cache,
        "class": lambda function: cache(classmethod(function)),
        "static above": lambda function: cache(staticmethod(function)),
        "static below": lambda function: staticmethod(cache(function)),
    }[kind]
    if above and kind.startswith("static"):
        return  # a staticmethod cannot be made abstract afterwards
    get.__qualname__ = "Base.get"
    method = abc.abstractmethod(wrap(get)) if above else wrap(abc.abstractmethod(get))
    base: Any = abc.ABCMeta("Base", (), {"get": method})
    with pytest.raises(TypeError, match="abstract"):
        base()

    class Concrete(base):
        @cache
        def get(self) -> int:
            return 2

    assert Concrete().get() == 2


def test_properties_beside() -> None:
    """A property over a cached method reads a cached value; other properties are left alone."""

    class Service:
        count = 0

        @property
        @cache
        def number(self) -> int:
            type(self).count += 1
            return self.count

        @property
        def broken(self) -> int:
            raise RuntimeError

    for service in (Service(), App(Service).get(Service)):
        service.number  # noqa: B018  # reading it is the claim
    assert Service().number == Service().number
    assert Service.number.fget is not None


async def test_clearing_on_the_class_reaches_those_who_inherited() -> None:
    """`Base.f.clear()` drops what every subclass and every instance with attributes has stored."""
    calls: list[str] = []

    class Base:
        @cache
        async def f(self) -> int:
            calls.append(type(self).__name__)
            return len(calls)

    class Sub(Base):
        pass

    class Stateful(Base):
        def __init__(self) -> None:
            self.name = "own"

    with isolated():
        ones = [Base(), Sub(), Stateful()]
        for one in ones:
            await one.f()
        await Base.f.clear()
        for one in ones:
            await one.f()
        await Base.f.invalidate_matching("*")
        for one in ones:
            await one.f()
    assert calls == ["Base", "Sub", "Stateful"] * 3
