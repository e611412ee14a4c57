"""Values that come out of a cache, on memory: as objects, and as bytes with serialize=True."""

from __future__ import annotations

import asyncio
import logging
import typing
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from stillfresh import (
    MISSING,
    Cache,
    CacheProvider,
    MemoryCacheProvider,
    NotSerializable,
    cache,
    computation,
)
from stillfresh.testing import IsolatedApp, isolated


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


# The stored object itself


async def test_memory_hands_out_the_stored_object() -> None:
    """No copy, no conversion: every caller has the same object, whatever it is."""

    class Anything:
        pass

    @cache
    async def get() -> Anything:
        return Anything()

    first = await get()
    assert await get() is first
    assert await get.peek() is first
    assert await get.cache.get(get.key()) is first


async def test_copy_hands_out_copies() -> None:
    """With copy=True nobody changes what another caller gets, the first one included."""

    @cache(copy=True)
    async def get() -> list[list[int]]:
        return [[1]]

    for _ in range(3):
        mine = await get()
        mine[0].append(2)
        (await get.peek())[0].append(3)
        (await get.refresh())[0].append(4)
        assert await get() == [[1]]


async def test_what_was_stored_is_nobody_elses_under_copy() -> None:
    """With copy=True neither who writes a value by hand nor the function can change it later."""
    own = [[1]]

    @cache(copy=True)
    async def get() -> list[list[int]]:
        return own

    await get()
    own[0].append(2)
    assert await get() == [[1]]
    mine = [[3]]
    await get.store(mine)
    mine[0].append(4)
    assert await get() == [[3]]
    await get.cache.set(get.key(), mine)
    mine[0].append(5)
    assert await get() == [[3, 4]]


async def test_everybody_who_waits_gets_a_copy() -> None:
    """Those who share one computation do not share its value under copy=True."""
    go = asyncio.Event()

    @cache(copy=True)
    async def get() -> list[int]:
        await go.wait()
        return []

    tasks = [asyncio.create_task(get()) for _ in range(3)]
    await asyncio.sleep(0)
    go.set()
    values = await asyncio.gather(*tasks)
    assert len({id(value) for value in values}) == 3


@pytest.mark.parametrize("value", [None, False, 0, "", [], NotImplemented, ...])
async def test_every_value_is_a_value(value: object) -> None:
    """None and its empty like are results, computed once."""
    calls = 0

    @cache
    async def get() -> Any:
        nonlocal calls
        calls += 1
        return value

    assert await get() is value
    assert await get() is value
    assert calls == 1


async def test_none_is_a_value_as_bytes(strict: MemoryCacheProvider) -> None:
    """Also where it had to be stored as bytes."""
    calls = 0

    @cache
    async def get() -> int | None:
        nonlocal calls
        calls += 1

    assert await get() is None
    assert await get() is None
    assert calls == 1


# Results that can be read once


def test_generators_are_refused_when_the_decorator_runs() -> None:
    """The function, or its annotation, shows that the result can be read once."""

    def generator(x: int) -> Any:
        yield x

    async def async_generator(x: int) -> Any:
        yield x

    def iterator(x: int) -> Iterator[int]:
        return iter([x])

    async def deep() -> AsyncIterator[int]: ...

    def awaitable() -> Awaitable[int]: ...

    for function in (generator, async_generator, iterator, deep, awaitable):
        with pytest.raises(NotSerializable, match="read only once"):
            cache(function)
        with pytest.raises(NotSerializable, match="read only once"):
            cache(staticmethod(function))


@pytest.mark.parametrize(
    "make",
    [
        lambda: iter([1]),
        lambda: (x for x in [1]),
        lambda: map(str, [1]),
        lambda: zip([1], [2], strict=True),
        Future,
        lambda: asyncio.sleep(0),
    ],
)
async def test_iterators_are_refused_at_the_call(make: Any) -> None:
    """Nobody gets a result that the next caller would find empty, in no kind of function."""

    @cache
    def get() -> Any:
        return make()

    @cache
    async def wait() -> Any:
        return make()

    with pytest.raises(NotSerializable, match=r"<locals>\.get cannot be cached: .*read only once"):
        get()
    with pytest.raises(NotSerializable, match=r"<locals>\.wait cannot be cached: .*read only once"):
        await wait()
    with pytest.raises(NotSerializable, match="read only once"):
        get.refresh()
    assert get.stats.entries == wait.stats.entries == 0


async def test_iterators_are_refused_by_hand() -> None:
    """store() and set() refuse them as well."""

    @cache
    async def get() -> Any:
        return 1

    with pytest.raises(NotSerializable, match="read only once"):
        await get.store(iter([1]))
    with pytest.raises(NotSerializable, match="read only once"):
        await get.cache.set("", iter([1]))
    assert await get() == 1


# No value


@pytest.mark.parametrize("kept", ["as it is", "as bytes"])
async def test_missing_is_returned_and_not_stored(
    kept: str, app: IsolatedApp, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that answers MISSING, for what it asked has no value, runs once per call."""
    if kept == "as bytes":
        app.provide(CacheProvider, Remote())
    refused: list[str | None] = []
    app.on("refused", lambda event: refused.append(event.key))
    calls: list[str] = []

    @cache(key="inner")
    async def inner() -> int:
        return 1

    @cache(key="async", tags=lambda value: [f"of {value + 1}"])
    async def look() -> Any:
        calls.append("async")
        await asyncio.sleep(0)
        return await inner.peek()

    @cache(key="sync", when=lambda value: value + 1)
    def sync() -> Any:
        calls.append("sync")
        return MISSING

    @cache(key="worker", timeout=5)
    def worker() -> Any:
        calls.append("worker")
        return MISSING

    assert await asyncio.gather(look(), look()) == [MISSING, MISSING]
    assert (await look(), await look.refresh()) == (MISSING, MISSING)
    assert (sync(), sync(), sync.refresh()) == (MISSING, MISSING, MISSING)
    assert (worker(), worker.refresh()) == (MISSING, MISSING)
    assert calls == ["async"] * 3 + ["sync"] * 3 + ["worker"] * 2
    assert refused == calls
    assert [one.message for one in caplog.records] == [
        f"{__name__}.test_missing_is_returned_and_not_stored.<locals>.{name}: {key} is not "
        "stored: MISSING means that there is no value. Return None where None is the value."
        for key, name in zip(calls, ["look"] * 3 + ["sync"] * 3 + ["worker"] * 2, strict=True)
    ]
    assert look.stats.entries == sync.stats.entries == worker.stats.entries == 0
    stats = look.stats
    assert (stats.misses, stats.coalesced) == (2, 1)
    await inner()
    assert await look() == 1
    assert await look.peek() == 1


async def test_missing_that_was_to_be_skipped_is_no_news(
    app: IsolatedApp, caplog: pytest.LogCaptureFixture
) -> None:
    """Who says `skip` knows that nothing is stored."""
    refused: list[str | None] = []
    app.on("refused", lambda event: refused.append(event.key))

    @cache
    async def f() -> Any:
        computation().skip()
        return MISSING

    assert await f() is MISSING
    assert (refused, caplog.records) == ([], [])


async def test_a_strict_provider_raises_for_missing(strict: MemoryCacheProvider) -> None:
    """It says of every value that could not be stored."""

    @cache
    async def f() -> Any:
        return MISSING

    for _ in range(2):
        with pytest.raises(NotSerializable, match="MISSING means that there is no value"):
            await f()


async def test_missing_is_refused_by_hand() -> None:
    """store(), set() and set_many() would write what no read can tell from nothing."""
    store = Cache[Any](name="s")

    @cache(tags=lambda value: [f"of {value + 1}"])
    async def f() -> Any:
        return 1

    await store.set("a", 1)
    for write in (
        lambda: f.store(MISSING),
        lambda: store.set("a", MISSING),
        lambda: store.set_many({"b": 1, "a": MISSING}),
    ):
        with pytest.raises(NotSerializable, match="Store None, or delete the key"):
            await write()
    assert await store.get_many("a", "b") == {"a": 1}
    assert await store.get_or_set("c", lambda: MISSING) is MISSING
    assert not await store.contains("c")


# What production would do


async def test_the_first_value_is_tried_once(caplog: pytest.LogCaptureFixture) -> None:
    """On memory a function that a shared provider could not serve warns, once."""

    class Opaque:
        pass

    @cache
    async def get(x: int) -> Opaque:
        return Opaque()

    @cache
    async def fine(x: int) -> list[int]:
        return [x]

    for x in range(3):
        assert await get(x) is await get(x)
        await fine(x)
    records = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert len(records) == 1
    assert "a shared provider could not store this" in records[0].getMessage()
    assert "get" in records[0].getMessage()


async def test_what_never_leaves_the_process_is_not_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Entries of a free instance with attributes, or said to stay in memory, are not shared."""

    class Client:
        def __init__(self) -> None:
            self.n = 1

        @cache
        async def get(self) -> object:
            return object()

    @cache(provider="memory")
    async def said() -> object:
        return object()

    for _ in range(3):
        await Client().get()
        await said()
    assert not [one for one in caplog.records if "could not store" in one.getMessage()]


async def test_a_log_line_keeps_no_value_alive(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that keeps records has texts, not an error with all of its frames."""

    @cache
    async def get() -> int:
        return typing.cast("int", "text")

    await get()
    for record in caplog.records:
        assert all(type(each) in {str, int} for each in record.args or ())
