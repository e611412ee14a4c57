"""Cached methods and what is done to their instances: copies, pickles, mocks."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest import mock

import pytest

from stillfresh import App, cache, inject
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


# Copies, pickles, mocks


COPIES: dict[str, Any] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),
    "pickle 2": lambda one: pickle.loads(pickle.dumps(one, protocol=2)),
}


@pytest.mark.parametrize("how", COPIES)
async def test_a_copy_does_not_carry_the_binding(how: str, owned: Service) -> None:
    """The copy of an owned instance works, and is an instance of its own."""
    await owned.get(1)
    if how.startswith("pickle") and Service.__module__ not in __import__("sys").modules:
        pytest.skip("the tests are not importable")
    twin = COPIES[how](owned)
    assert "get" in vars(owned)
    assert vars(twin) == {"number": 0, "calls": 1}
    twin.number = 5
    assert await twin.get(1) == [5, 1]
    assert await owned.get(1) == [0, 1]
    assert (owned.calls, twin.calls) == (1, 2)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
async def test_a_way_of_copying_of_ones_own_does_not_carry_the_binding(how) -> None:
    """A class that copies its whole `__dict__` has copies that are asked for themselves."""

    class Tenants:
        def __init__(self, tenant: str) -> None:
            self.tenant = tenant

        def __copy__(self) -> Tenants:
            twin = object.__new__(type(self))
            twin.__dict__.update(self.__dict__)
            return twin

        def __deepcopy__(self, memo: dict[int, object]) -> Tenants:
            memo[id(self)] = twin = self.__copy__()
            return twin

        @cache
        async def name(self) -> str:
            return self.tenant

    owned = App(Tenants("a")).get(Tenants)
    assert "name" in vars(owned)
    twin = how(owned)
    twin.tenant = "b"
    assert await twin.name() == "b"
    assert await owned.name() == "a"


def test_a_copy_keeps_what_only_looks_like_a_binding() -> None:
    """An attribute that is a cached function is data, and is copied."""

    @cache
    def load() -> int:
        return 1

    class Holder:
        def __init__(self) -> None:
            self.load = load

        @cache
        def get(self) -> int:
            return self.load()

    twin = copy.copy(App(Holder()).get(Holder))
    assert vars(twin) == {"load": load}


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
def test_a_state_without_anything_is_a_state(how) -> None:
    """A class that leaves out what cannot be copied makes it anew in `__setstate__`, as when free."""

    class Locked:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __getstate__(self) -> dict[str, object]:
            return {name: value for name, value in vars(self).items() if name != "lock"}

        def __setstate__(self, state: dict[str, object]) -> None:
            vars(self).update(state)
            self.lock = threading.Lock()

        @cache
        def get(self) -> int:
            with self.lock:
                return 1

    assert how(App(Locked).get(Locked)).get() == 1


def test_a_state_of_ones_own_is_left_alone() -> None:
    """`__getstate__` and `__setstate__` of the class are asked as before."""

    class Holder:
        restored: object = None

        def __getstate__(self) -> dict[str, int]:
            return {}

        def __setstate__(self, state: object) -> None:
            self.restored = state

        @cache
        def get(self) -> int:
            return 1

    assert copy.copy(App(Holder).get(Holder)).restored == {}


async def test_mocks_take_the_place_of_a_method(owned: Service) -> None:
    """patch.object works on instances and on the class, and gives back what was there."""
    free = Plain()
    first, theirs = await free.get(1), await owned.get(1)
    for target in (free, owned, Plain):
        before = vars(target).get("get")
        with mock.patch.object(target, "get") as fake:
            assert isinstance(fake, mock.AsyncMock)
            fake.return_value = "fake"
            assert await target.get(1) == "fake"
        assert vars(target).get("get") is before
    with mock.patch.object(Plain, "get", return_value="fake"):
        assert await free.get(1) == "fake"
    assert await free.get(1) is first
    assert await owned.get(1) is theirs


async def test_a_class_that_was_patched_before_is_bound_as_it_is() -> None:
    """A fake that is on the class when an app adopts its instance is called."""
    with mock.patch.object(Plain, "get", return_value="fake"):
        async with App(Plain, clock=VirtualClock()) as running:
            assert await running.get(Plain).get(1) == "fake"


def test_autospec_sees_the_methods() -> None:
    """create_autospec of a class and of an instance has what the class has, and no more."""
    for fake in (mock.create_autospec(Service), mock.create_autospec(Service(), instance=True)):
        assert fake.get.invalidate is not None
        with pytest.raises(AttributeError):
            fake.nothing  # noqa: B018  # reading it is the claim


async def test_services_may_hold_each_other() -> None:
    """An injected service is cached by its own app, and a fake takes its place."""

    class User:
        plain = inject(Plain)

        @cache
        async def both(self) -> list[object]:
            return [await self.plain.get(1)]

    async with App(User, clock=VirtualClock()) as running:
        user = running.get(User)
        assert (await user.both())[0] is await running.get(Plain).get(1)
