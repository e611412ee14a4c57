"""The sync twin of a `Cache`, its names, and the app that it belongs to."""

import asyncio
import threading

import pytest

from stillfresh import (
    AmbiguousApp,
    App,
    Cache,
    CacheProvider,
    InvalidOption,
    MemoryCacheProvider,
    NotRunning,
    UnstableArgument,
    sync,
)
from stillfresh.testing import VirtualClock, isolated

PATIENCE = 10


@pytest.fixture(params=["objects", "bytes"])
def app(request):
    """A default app of its own, once with objects and once with bytes."""
    with isolated() as app:
        app.provide(CacheProvider, MemoryCacheProvider(serialize=request.param == "bytes"))
        yield app


# Sync


def exercise(store):
    """Everything of the sync twin; returns nothing, and leaves nothing."""
    store.set("a", 1, ttl="1 minute", tags=["t"])
    store.set_many({"b": 2, "c": 3}, ttl=None, tags=["t"])
    assert store.get("a") == 1
    assert store.get("never set", "default") == "default"
    assert store.get_many(["a", "b", "never set"]) == {"a": 1, "b": 2}
    assert store.get_or_set("a", lambda: pytest.fail("it was there")) == 1
    assert store.get_or_set("d", lambda: 4) == 4
    assert store.contains("d")
    assert store.incr("n", 2) == 2
    assert sorted(store.keys()) == ["a", "b", "c", "d", "n"]
    assert store.keys("a*") == ["a"]
    assert store.delete("a", "never set") == 1
    store.invalidate_tags("t")
    assert sorted(store.keys()) == ["d", "n"]
    store.invalidate("d*")
    assert store.keys() == ["n"]
    store.clear()
    assert store.keys() == []


def test_sync_without_a_loop(app):
    """The twin does all of it where no loop runs."""
    exercise(Cache[int](name="store").sync)


async def test_sync_inside_a_loop_and_in_threads(app):
    """It does so on the loop's own thread, and in any other."""
    stores = [Cache[int](name=f"store {number}") for number in range(3)]
    exercise(stores[0].sync)
    await asyncio.gather(*(asyncio.to_thread(exercise, store.sync) for store in stores))


async def test_both_faces_are_one_store(app):
    """What one face writes the other one reads."""
    store = Cache[int](name="store")
    await store.set("a", 1)
    store.sync.set("b", 2)
    assert (store.sync.get("a"), await store.get("b")) == (1, 2)
    assert store.stats.hits == 2


def test_threads_compute_once(app):
    """Threads that ask for one key at a time wait for one factory."""
    store = Cache[int](name="store")
    called, gate = threading.Event(), threading.Event()
    calls, found = [], []

    def factory():
        calls.append(1)
        called.set()
        assert gate.wait(PATIENCE)
        return 1

    def ask():
        found.append(store.sync.get_or_set("k", factory))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    threads[0].start()
    assert called.wait(PATIENCE)
    for thread in threads[1:]:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert (found, calls) == ([1] * 8, [1])


def test_a_module_level_change_for_sync_programs(app):
    """`sync.invalidate_tags` reaches the store."""
    store = Cache[int](name="store")
    store.sync.set("k", 1, tags=["t"])
    sync.invalidate_tags("t")
    assert store.sync.get("k") is None


# Names


async def test_a_cache_of_a_module_needs_a_name(app):
    """Without one there is no namespace, and the error says what to write."""
    with pytest.raises(InvalidOption, match=r"has no name. Write Cache\(name="):
        await Cache[int]().set("k", 1)


async def test_an_attribute_is_named_after_its_class(app):
    """Two classes with an attribute of the same name do not share."""

    class One:
        store = Cache[int]()

    class Two:
        store = Cache[int]()

    await One.store.set("k", 1)
    await Two().store.set("k", 2)
    assert (await One().store.get("k"), await Two.store.get("k")) == (1, 2)
    assert One.store.name.endswith("One.store")


async def test_two_owners_of_one_name_are_an_error(app):
    """Each would be served the other's values."""

    class One:
        store = Cache[int](name="shared")

    class Two:
        store = Cache[str](name="shared")

    await One.store.set("k", 1)
    with pytest.raises(InvalidOption, match=r"belongs to .*One\.store"):
        await Two.store.get("k")


@pytest.mark.parametrize("key", [1, None, b"k", ("k",), 1.5])
async def test_keys_are_texts(app, key):
    """Every operation refuses another key, and says so."""
    store = Cache[int](name="store")
    for operation in (
        store.get(key),
        store.set(key, 1),
        store.set_many({key: 1}),
        store.delete("k", key),
        store.get_many([key]),
        store.get_or_set(key, lambda: 1),
        store.incr(key),
        store.contains(key),
        store.invalidate(key),
        store.keys(key),
    ):
        with pytest.raises(UnstableArgument, match="keys of a store are texts"):
            await operation
    assert await store.keys() == []


# Apps


class Sessions:
    store = Cache[int](ttl="1 minute")


async def test_an_attribute_belongs_to_the_app_of_its_instance():
    """Each app's service has entries and time of its own, whichever app runs the code."""
    clock = VirtualClock()
    one, two = App(Sessions, clock=clock), App(Sessions)
    async with one, two:
        await one.get(Sessions).store.set("k", 1)
        await two.get(Sessions).store.set("k", 2)
        clock.advance("1 minute")
        assert await one.get(Sessions).store.get("k") is None
        assert await two.get(Sessions).store.get("k") == 2
        await two.invalidate_tags("nobody has this")
        assert [cache.name for cache in two.caches] == [Sessions.store.name]


async def test_a_module_level_cache_is_on_the_only_app():
    """Without an app it is on the default one; what was there is dropped when one starts."""
    with isolated():
        store = Cache[int](name="store")
        await store.set("k", 1)
        async with App():
            assert await store.get("k") is None
            await store.set("k", 2)
            assert await store.get("k") == 2
        assert await store.get("k") is None


async def test_a_store_follows_its_app_wherever_it_goes():
    """An app that starts, stops, is joined by another, or gets another provider: each counts."""
    numbers = Cache[int](name="numbers")

    class Service:
        own = Cache[int]()

    app = App(Service)
    assert await numbers.get("k") is None  # the default app's
    await numbers.set("k", 0)
    async with app:
        own = app.get(Service).own
        for store in (numbers, own):
            assert await store.get("k") is None
            await store.set("k", 1)
            assert await store.get("k") == 1
            with app.override(CacheProvider, MemoryCacheProvider()):
                assert await store.get("k") is None
                await store.set("k", 2)
            assert await store.get("k") == 1
        async with App():
            with pytest.raises(AmbiguousApp):
                await numbers.get("k")
            assert await own.get("k") == 1
        assert await numbers.get("k") == 1
    assert await own.get("k") is None
    with pytest.raises(NotRunning):
        await own.set("k", 3)
    assert await numbers.get("k") is None  # the default app's once more, dropped at the start


async def test_a_store_is_the_same_whenever_a_service_asks():
    """`self.sessions` is one object per app, and another one in another app."""

    class Service:
        own = Cache[int]()

    async with App(Service) as one, App(Service) as other:
        assert one.get(Service).own is one.get(Service).own
        assert one.get(Service).own is not other.get(Service).own
        await one.get(Service).own.set("k", 1)
        assert await other.get(Service).own.get("k") is None


async def test_changes_need_a_running_app():
    """Reads answer that nothing is there; changes raise, so that none is lost in silence."""
    app = App(Sessions)
    store = app.get(Sessions).store
    for change in (
        store.set("k", 1),
        store.set_many({"k": 1}),
        store.delete("k"),
        store.invalidate("*"),
        store.invalidate_tags("t"),
        store.clear(),
        store.incr("k"),
    ):
        with pytest.raises(NotRunning):
            await change
    with pytest.raises(NotRunning):
        store.sync.set("k", 1)
    assert await store.get("k", "default") == "default"
    assert await store.get_many("k") == {}
    assert await store.keys() == []
    assert await store.get_or_set("k", lambda: 1) == 1
    assert not await store.contains("k")
    assert store.stats.entries == 0


async def test_a_stopped_app_keeps_nothing():
    """After another start the store is empty, and works."""
    app = App(Sessions)
    for _ in range(2):
        async with app:
            store = app.get(Sessions).store
            assert await store.get("k") is None
            await store.set("k", 1)
            assert await store.get("k") == 1


async def test_stats_count_each_question(app):
    """Every `get` is a hit or a miss, `entries` are those that are there."""
    store = Cache[int](name="store")
    await store.set_many({"a": 1, "b": 2})
    await store.get("a")
    await store.get_many("a", "b", "c")
    await store.get_or_set("d", lambda: 4)
    assert (store.stats.hits, store.stats.misses, store.stats.entries) == (3, 2, 3)
    assert "hits=3" in repr(store.stats)


async def test_going_past_the_cache_is_counted():
    """`get_or_set` on an app that does not run is a bypass, like a call of a function."""
    store = App(Sessions).get(Sessions).store
    assert await store.get_or_set("k", lambda: 1) == 1
    assert store.stats.bypasses == 1


def test_going_past_the_cache_tells_and_raises_like_a_function():
    """The listeners hear of it, and a factory may raise whatever it likes, StopIteration too."""
    stopped = App(Sessions)
    heard = []
    stopped.on("bypass", heard.append)

    def factory():
        raise StopIteration("from the factory")

    with pytest.raises(StopIteration, match="from the factory"):
        stopped.get(Sessions).store.sync.get_or_set("k", factory)
    assert [event.kind for event in heard] == ["bypass"]


async def test_two_stores_of_one_module_and_name(app):
    """Two that live and are used in turn are an error, and do not drop each other's entries."""
    one, two = Cache[int](name="shared"), Cache[int](name="shared")
    await one.set("k", 1)
    with pytest.raises(InvalidOption):
        await two.get("k")
