"""Values that were stored as bytes, with serialize=True."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic
import pytest

from stillfresh import App, CacheProvider, MemoryCacheProvider, NotSerializable, cache
from stillfresh.testing import IsolatedApp, VirtualClock, isolated


@pytest.fixture(autouse=True)
def app() -> Iterator[IsolatedApp]:
    with isolated() as app:
        yield app


class Remote(MemoryCacheProvider):
    """Keeps bytes, and is as lenient with computed values as a provider in production."""

    def __init__(self) -> None:
        super().__init__(serialize=True)
        self.strict = False


@pytest.fixture
def strict(app: IsolatedApp) -> MemoryCacheProvider:
    provider = MemoryCacheProvider(serialize=True)
    app.provide(CacheProvider, provider)
    return provider


@pytest.fixture
def remote(app: IsolatedApp) -> Remote:
    provider = Remote()
    app.provide(CacheProvider, provider)
    return provider


@dataclass
class Node:
    value: int
    when: datetime
    children: list[Node] = field(default_factory=list)


@attrs.define
class Attrs:
    x: int
    tags: set[str]


class Struct(msgspec.Struct):
    x: int
    pair: tuple[int, str]


class Model(pydantic.BaseModel):
    x: int
    when: datetime | None = None


class Row(NamedTuple):
    x: int
    y: str


NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "dataclass": (Node, Node(1, NOW, [Node(2, NOW)])),
    "attrs": (Attrs, Attrs(1, {"a", "b"})),
    "msgspec": (Struct, Struct(1, (2, "x"))),
    "pydantic": (Model, Model(x=1, when=datetime(2024, 1, 1))),
    "named tuple": (Row, Row(1, "y")),
    "tuple": (tuple[int, str], (1, "a")),
    "set": (set[int], {1, 2}),
    "list of structs": (list[Struct], [Struct(1, (2, "x"))]),
    "dict": (dict[int, str], {1: "a"}),
    "optional": (Node | None, None),
    "union": (int | str, "1"),
}


@pytest.mark.parametrize("name", VALUES)
async def test_values_come_back_as_they_were(name: str, strict: MemoryCacheProvider) -> None:
    """Equal, of the same type, and not the same object where it can be changed."""
    annotation, value = VALUES[name]

    @cache(returns=annotation)
    async def get() -> Any:
        return value

    assert await get() is value
    again = await get()
    assert (type(again), again) == (type(value), value)
    assert await get.peek() == value
    assert get.stats.hits == 1


async def test_a_model_with_a_moment_in_utc(strict: MemoryCacheProvider) -> None:
    """A pydantic model with an aware datetime is stored, as a dataclass with one is."""

    @cache
    async def get() -> Model:
        return Model(x=1, when=NOW)

    await get()
    assert await get() == Model(x=1, when=NOW)


async def test_forward_references_are_resolved_at_first_use(strict: MemoryCacheProvider) -> None:
    """An annotation may name what is defined after the function."""

    @cache
    async def get() -> list[Later]:
        return [Later(1)]

    await get()
    assert await get() == [Later(1)]


@dataclass
class Later:
    x: int


async def test_methods_resolve_their_own_class(strict: MemoryCacheProvider) -> None:
    """A method may return instances of the class it is in."""
    assert await Self.make(1) == await Self.make(1) == Self(1)


@dataclass
class Self:
    x: int

    @cache
    @classmethod
    async def make(cls, x: int) -> Self:
        return cls(x)


async def test_returns_helps_where_the_annotation_cannot(strict: MemoryCacheProvider) -> None:
    """returns= wins over an annotation that cannot be resolved."""

    @cache(returns=list[Later])
    async def get() -> NeverDefined:  # noqa: F821  # it is not to be there
        return [Later(1)]

    @cache
    async def broken() -> NeverDefined:  # noqa: F821  # it is not to be there
        return [Later(1)]

    await get()
    assert await get() == [Later(1)]
    with pytest.raises(NotSerializable, match=r"NeverDefined.*returns="):
        await broken()


@pytest.mark.parametrize("provider", ["strict", "remote"])
async def test_an_impossible_type_raises_before_the_function_runs(
    provider: str, request: pytest.FixtureRequest
) -> None:
    """A return type that can never be stored is a mistake in the code."""
    request.getfixturevalue(provider)
    ran = []

    @cache
    async def get() -> ContextVar[int]:
        ran.append(1)
        return ContextVar("x")

    with pytest.raises(NotSerializable, match="can never be stored"):
        await get()
    with pytest.raises(NotSerializable):
        await get.refresh()
    assert ran == []


async def test_a_computed_value_that_does_not_fit_is_returned(
    app: IsolatedApp, remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not stored; one log line and an event say why."""
    events: list[Any] = []
    app.on("refused", events.append)

    @cache
    async def get(x: int) -> int:
        return typing.cast("int", "text")

    assert await get(1) == "text"
    assert await get.peek(1) is not "text"  # noqa: F632  # identity is the claim
    assert get.stats.entries == 0
    assert len([one for one in caplog.records if "not stored" in one.getMessage()]) == 1
    assert [(one.kind, one.key) for one in events] == [("refused", "1")]
    assert "return" in events[0].detail
    assert await get(1) == "text"
    assert get.stats.misses == 2


async def test_serialize_is_strict(strict: MemoryCacheProvider) -> None:
    """In development such a value raises, so that it is seen."""

    @cache
    async def get() -> int:
        return typing.cast("int", "text")

    with pytest.raises(NotSerializable, match="return"):
        await get()


@pytest.mark.parametrize("provider", ["strict", "remote"])
async def test_by_hand_a_value_that_does_not_fit_raises(
    provider: str, request: pytest.FixtureRequest
) -> None:
    """store() and set() raise, and what was there stays."""
    request.getfixturevalue(provider)

    @cache
    async def get(x: int) -> list[int]:
        return [x]

    await get(1)
    wrong: Any = ["text"]
    with pytest.raises(NotSerializable, match=r"return.*\[0\]|\[0\]"):
        await get.store(wrong, 1)
    with pytest.raises(NotSerializable):
        await get.cache.set("1", wrong)
    assert await get.peek(1) == [1]


async def test_where_the_annotation_says_nothing(remote: Remote) -> None:
    """What would come back as something else is not stored; what comes back is."""

    @cache
    async def get(x: str):
        return {"tuple": (1,), "set": {1}, "date": datetime(2024, 1, 1), "list": [1, "a", None]}[x]

    for name in ("tuple", "set", "date", "list"):
        first = await get(name)
        again = await get(name)
        assert (type(again), again) == (type(first), first)
    assert get.stats.entries == 1


async def test_a_subclass_is_not_cut_down(remote: Remote) -> None:
    """A Dog under `-> Animal` is returned as it is, every time."""

    @dataclass
    class Animal:
        name: str

    @dataclass
    class Dog(Animal):
        tricks: int

    @cache(returns=Animal)
    async def get() -> Any:
        return Dog("rex", 3)

    for _ in range(2):
        assert await get() == Dog("rex", 3)
    assert get.stats.misses == 2


async def test_a_changed_return_type_is_a_miss() -> None:
    """Bytes that another version of the function has written are not read as another type."""
    shared = MemoryCacheProvider(serialize=True)

    def version(annotation: Any, value: Any) -> type:
        class Service:
            @cache(name="things", returns=annotation)
            async def get(self) -> Any:
                return value

        return Service

    old, new = version(list[str], ["1"]), version(list[int], [1])
    first = App(old, clock=VirtualClock()).provide(CacheProvider, shared)
    second = App(new, clock=VirtualClock()).provide(CacheProvider, shared)
    async with first, second:
        assert await first.get(old).get() == ["1"]
        assert await second.get(new).get() == [1]
        assert await first.get(old).get() == ["1"]
