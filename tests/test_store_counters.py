"""Counters of a `Cache`: `incr`."""

import asyncio
import threading
from typing import Any

import pytest

from stillfresh import Cache, CacheProvider, InvalidOption, MemoryCacheProvider
from stillfresh.testing import isolated

PATIENCE = 10


@pytest.fixture(params=["objects", "bytes"])
def app(request):
    """A default app of its own, once with objects and once with bytes."""
    with isolated() as app:
        app.provide(CacheProvider, MemoryCacheProvider(serialize=request.param == "bytes"))
        yield app


async def test_incr_counts(app):
    """It starts at nothing, returns the sum, goes down too, and `get` reads the counter."""
    hits = Cache[int](name="hits")
    assert await hits.incr("k") == 1
    assert await hits.incr("k", 5) == 6
    assert await hits.incr("k", -10) == -4
    assert await hits.get("k") == -4
    await hits.delete("k")
    assert await hits.incr("k", 0) == 0


async def test_a_number_that_was_set_can_be_counted_on(app):
    """A counter may start from a value that was written by hand."""
    hits = Cache[int](name="hits")
    await hits.set("k", 40)
    assert await hits.incr("k", 2) == 42
    assert await hits.get("k") == 42


async def test_the_ttl_of_a_counter_is_set_once(app):
    """Counting on does not prolong its life: a limit per minute is one per minute."""
    hits = Cache[int](name="hits", ttl="1 minute")
    for _ in range(3):
        await hits.incr("k")
        app.clock.advance("19 seconds")
    assert await hits.get("k") == 3
    app.clock.advance("3 seconds")
    assert await hits.incr("k") == 1


@pytest.mark.parametrize("amount", [1.0, "1", None, True])
async def test_incr_takes_whole_numbers(app, amount):
    """Anything else is a mistake in the code, and nothing changes."""
    hits = Cache[int](name="hits")
    with pytest.raises(InvalidOption, match="whole number"):
        await hits.incr("k", amount)
    assert not await hits.contains("k")


@pytest.mark.parametrize("kind", [str, bool, list[int]])
async def test_incr_needs_a_type_that_has_whole_numbers(app, kind):
    """`get` would not find the counter on a server, so it is refused on memory as well."""
    names = Cache[kind](name="names")
    with pytest.raises(TypeError, match=r"Cache 'names'\.incr\(\).*Declare a Cache\[int\]"):
        await names.incr("k")
    assert not await names.contains("k")


@pytest.mark.parametrize("kind", [int, float, int | None, int | str, object, Any])
async def test_incr_where_whole_numbers_are_among_the_values(app, kind):
    """A union, or a type that says nothing, may have counters."""
    mixed = Cache[kind](name="mixed")
    assert await mixed.incr("k", 2) == await mixed.get("k") == 2
    untyped = Cache(name="untyped")
    assert await untyped.incr("k", 2) == await untyped.get("k") == 2


async def test_a_counter_has_64_bits_where_it_is_kept_as_bytes(app):
    """It ends there with the error that a server has, and stays what it was."""
    hits = Cache[int](name="hits")
    await hits.incr("k", 2**63 - 1)
    if not app.get(CacheProvider).serialized:
        assert await hits.incr("k") == await hits.get("k") == 2**63
        return
    for amount in (1, 2**63, -(2**63)):
        with pytest.raises(TypeError, match="64 bits"):
            await hits.incr("k", amount)
    assert await hits.get("k") == 2**63 - 1
    await hits.incr("low", -(2**63) + 1)
    assert await hits.incr("low", -1) == await hits.get("low") == -(2**63)
    with pytest.raises(TypeError, match="64 bits"):
        await hits.incr("low", -1)
    await hits.set("large", 2**63)  # a value may be larger: it is no counter then
    with pytest.raises(TypeError, match="no counter"):
        await hits.incr("large", -1)
    assert await hits.get("large") == 2**63


@pytest.mark.parametrize("value", ["7", 1.5, True, None, [1]])
async def test_incr_of_something_else_is_a_type_error(app, value):
    """What is no counter stays as it was."""
    store = Cache[object](name="store")
    await store.set("k", value)
    with pytest.raises(TypeError):
        await store.incr("k")
    assert await store.get("k") == value


async def test_incr_from_many_tasks_and_threads(app):
    """No addition is lost."""
    hits = Cache[int](name="hits")
    barrier = threading.Barrier(4)

    def count():
        barrier.wait(PATIENCE)
        for _ in range(50):
            hits.sync.incr("k")

    threads = [asyncio.to_thread(count) for _ in range(4)]
    await asyncio.gather(*threads, *(hits.incr("k") for _ in range(100)))
    assert await hits.get("k") == 300
