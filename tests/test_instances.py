"""Cached methods and their instances: whose entries they are, and who may share them."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pytest
from msgspec import Struct

from stillfresh import App, UnstableArgument, cache
from stillfresh.sources.ledger import ledger_of
from stillfresh.testing import IsolatedApp, VirtualClock, isolated


@pytest.fixture(autouse=True)
def app() -> Iterator[IsolatedApp]:
    with isolated() as app:
        yield app


class Service:
    """A module's class, so that instances can be pickled."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.calls = 0

    @cache
    async def get(self, x: int) -> list[object]:
        self.calls += 1
        return [self.number, x]


@pytest.fixture
async def owned() -> AsyncIterator[Service]:
    async with App(Service, clock=VirtualClock()) as app:
        yield app.get(Service)


class Plain:
    @cache
    async def get(self, x: int) -> object:
        return object()


# Whose entries


async def test_an_owned_instance_leaves_out_self(owned: Service) -> None:
    """Its attributes do not count: an app has one of it."""
    assert owned.get.key(1) == "1"
    first = await owned.get(1)
    owned.number = 5
    assert await owned.get(1) is first
    assert await Service.get(owned, 1) is first


async def test_instances_without_attributes_share() -> None:
    """What has no state of its own gives one result for all."""
    assert await Plain().get(1) is await Plain().get(1)


async def test_instances_with_attributes_are_apart(caplog: pytest.LogCaptureFixture) -> None:
    """Each computes for itself, and one warning per function says how to share."""

    class Client:
        def __init__(self, n: int) -> None:
            self.n = n

        @cache
        async def get(self) -> list[int]:
            return [self.n]

    a, b = Client(1), Client(2)
    for _ in range(2):
        assert await a.get() == [1]
        assert await b.get() == [2]
    assert await a.get() is await a.get()
    await a.get.invalidate()
    assert await b.get() is await b.get()
    warnings = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "__cache_key__" in warnings[0].getMessage()


async def test_any_attribute_counts() -> None:
    """Also one that answers to every name, and one that is a cached function itself."""

    class Proxy:
        def __init__(self, n: int) -> None:
            vars(self)["n"] = n

        def __getattr__(self, name: str) -> str:
            return name

    @cache
    async def one() -> int:
        return 1

    @cache
    async def two() -> int:
        return 2

    class Client:
        def __init__(self, source: Any) -> None:
            self.source = source

        @cache
        async def get(self) -> int:
            return vars(self.source)["n"] if isinstance(self.source, Proxy) else await self.source()

    assert [await Client(source).get() for source in (Proxy(3), Proxy(4))] == [3, 4]
    a, b = Client(one), Client(two)
    assert [await a.get(), await b.get()] == [1, 2]


async def test_the_sum_of_all_instances_does_not_fall_when_one_dies() -> None:
    """Every call stays counted where the class is asked."""

    class Client:
        def __init__(self) -> None:
            self.own = 1

        @cache
        async def get(self) -> int:
            return self.own

    for calls in (2, 4, 6):
        client = Client()
        await client.get()
        await client.get()
        del client
        gc.collect()
        stats = Client.get.stats
        assert stats.hits + stats.misses == calls


async def test_entries_die_with_their_instance(app: IsolatedApp) -> None:
    """No instance is kept alive by its entries, and its values go when it goes."""

    class Value:
        pass

    class Client:
        def __init__(self) -> None:
            self.own = 1

        @cache
        async def get(self, x: int) -> Value:
            return Value()

    client = Client()
    values = [weakref.ref(await client.get(x)) for x in range(3)]
    gone = weakref.ref(client)
    gc.collect()
    assert all(value() is not None for value in values)
    await asyncio.sleep(0)  # the loop lets the last task go
    del client
    gc.collect()
    assert gone() is None
    assert all(value() is None for value in values)
    ledger = ledger_of(app)
    assert not [one for one in ledger.regions() if "Client" in one.namespace]


async def test_a_new_instance_at_the_old_address_starts_empty() -> None:
    """An address is used again soon after its instance has died; the entries are not."""
    seen: set[int] = set()
    for number in range(50):
        client = Service(number)
        assert await client.get(1) == [number, 1]
        seen.add(id(client))
        del client
        gc.collect(0)
    assert len(seen) < 50


async def test_cache_key_decides() -> None:
    """Where `__cache_key__` exists, equal keys share and others do not, owned or not."""

    class Tenant:
        def __init__(self, name: str) -> None:
            self.name = name

        def __cache_key__(self) -> str:
            return self.name

        @cache
        async def get(self, x: int = 1) -> object:
            return object()

        @cache
        async def all(self) -> object:
            return object()

    a, again, b = Tenant("a"), Tenant("a"), Tenant("b")
    assert await a.get() is await again.get()
    assert await a.get() is not await b.get()
    assert await a.all() is await again.all()
    assert a.get.key() == '"a",1'
    theirs = await b.all()
    ours = await a.all()
    await again.all.clear()
    assert await a.all() is not ours
    assert await b.all() is theirs
    async with App(a, clock=VirtualClock()) as running:
        owned = running.get(Tenant)
        first = await owned.get()
        owned.name = "b"
        assert await owned.get() is not first


async def test_slots() -> None:
    """With `__weakref__` they are like attributes; without, the error says what is missing."""

    class Empty:
        __slots__ = ()

        @cache
        async def get(self) -> object:
            return object()

    class Weak:
        __slots__ = ("__n", "__weakref__")

        def __init__(self, n: int) -> None:
            self.__n = n

        @cache
        async def get(self) -> list[int]:
            return [self.__n]

    class Strong:
        __slots__ = ("n",)

        @cache
        async def get(self) -> object:
            return object()

    assert await Empty().get() is await Empty().get()
    a, b = Weak(1), Weak(2)
    assert [await a.get(), await b.get()] == [[1], [2]]
    assert await Strong().get() is await Strong().get()  # nothing is in the slot yet
    strong = Strong()
    strong.n = 1
    with pytest.raises(UnstableArgument, match="'__weakref__'"):
        await strong.get()
    async with App(strong, clock=VirtualClock()):
        assert await strong.get() is await strong.get()


def test_what_cannot_be_referenced_weakly_is_told_what_its_kind_can_do() -> None:
    """A dataclass and a Struct have words of their own for it; a tuple cannot have it."""

    @dataclass(slots=True)
    class Data:
        n: int
        get = cache(lambda self: self.n)

    class Plan(Struct):
        n: int

        @cache
        def get(self) -> int:
            return self.n

    class Pair(NamedTuple):
        n: int

        @cache
        def get(self) -> int:
            return self.n

    for instance, advice in (
        (Data(1), "Write @dataclass(slots=True, weakref_slot=True), give it"),
        (Plan(1), "Write class Plan(Struct, weakref=True), give it"),
        (Pair(1), "Make it a dataclass, give it"),
    ):
        with pytest.raises(UnstableArgument) as caught:
            instance.get()
        assert advice in str(caught.value)


async def test_frozen_and_unhashable_instances() -> None:
    """They are told apart without being written to or hashed."""

    @dataclass(frozen=True)
    class Frozen:
        n: int

        @cache
        async def get(self) -> list[int]:
            return [self.n]

    @dataclass
    class Unhashable:
        n: int

        @cache
        async def get(self) -> list[int]:
            return [self.n]

    for kind in (Frozen, Unhashable):
        a, b = kind(1), kind(1)
        assert await a.get() is await a.get()
        assert await a.get() is not await b.get()
        async with App(kind(7), clock=VirtualClock()) as running:
            one = running.get(kind)
            assert await one.get() == [7]
            assert await one.get() is await one.get()
            assert one == kind(7)
            assert await replace(one, n=8).get() == [8]


class Bound:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bound)

    def __hash__(self) -> int:
        return 1

    @cache
    async def one(self) -> int:
        return 1

    @cache
    async def two(self) -> int:
        return 2

    @cache
    @classmethod
    def of_class(cls) -> str:
        return cls.__name__


class Heir(Bound):
    pass


def test_a_bound_cached_method_equals_itself_and_no_other() -> None:
    """As a plain method: by function and by identity of the instance, whatever that is equal to."""
    bound, other = Bound(), Bound()
    assert bound == other
    assert bound.one == bound.one
    assert hash(bound.one) == hash(bound.one)
    assert {bound.one: "found"}[bound.one] == "found"
    assert bound.one != bound.two
    assert bound.one != other.one
    assert bound.one != Bound.one
    assert bound.one != "one"
    assert Bound.of_class == Bound.of_class == bound.of_class
    assert hash(Bound.of_class) == hash(bound.of_class)
    assert Bound.of_class != Heir.of_class


async def test_a_bound_cached_method_knows_what_it_is_bound_to() -> None:
    """Free or owned by an app; a function has no `__self__`."""
    bound: Any = Bound()
    assert bound.one.__self__ is bound
    assert bound.of_class.__self__ is Bound
    assert not hasattr(Bound.one, "__self__")
    async with App(Bound) as running:
        service: Any = running.get(Bound)
        assert service.one.__self__ is service
        assert service.one == service.one
