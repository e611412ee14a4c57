"""`Cache[T]` by hand: get, set, delete, and everything else that needs no function."""

import asyncio
from dataclasses import dataclass

import pytest

from stillfresh import (
    MISSING,
    Cache,
    CacheProvider,
    InvalidDuration,
    InvalidOption,
    MemoryCacheProvider,
    NotSerializable,
    UnstableArgument,
    computation,
    invalidate_tags,
)
from stillfresh.testing import isolated

PATIENCE = 10


@dataclass(frozen=True)
class Session:
    user: str
    seats: tuple[int, ...] = ()


@pytest.fixture(params=["objects", "bytes"])
def app(request):
    """A default app of its own, once with objects and once with bytes."""
    with isolated() as app:
        app.provide(CacheProvider, MemoryCacheProvider(serialize=request.param == "bytes"))
        yield app


# Values


async def test_what_was_set_is_got(app):
    """A value comes back in type and value, and a key that is not there as None."""
    sessions = Cache[Session](name="sessions")
    await sessions.set("u1", Session("ann", (1, 2)))
    assert await sessions.get("u1") == Session("ann", (1, 2))
    assert await sessions.get("u2") is None


async def test_default_is_for_what_is_missing_only(app):
    """A stored None is a value; the default is for a key without one."""
    names = Cache[str | None](name="names")
    await names.set("nobody", None)
    assert await names.get("nobody", "default") is None
    assert await names.get("never set", "default") == "default"
    assert await names.get("never set", MISSING) is MISSING
    assert await names.contains("nobody")
    assert not await names.contains("never set")
    assert await names.get_many("nobody", "never set") == {"nobody": None}


@pytest.mark.parametrize("value", [0, False, "", [], {}, b""])
async def test_empty_values_are_values(app, value):
    """What is false in a condition is a hit like any other, with its type."""
    anything = Cache[type(value)](name="anything")
    await anything.set("k", value)
    found = await anything.get("k", MISSING)
    assert (found, type(found)) == (value, type(value))
    assert await anything.get_or_set("k", lambda: pytest.fail("it was there")) == value


async def test_values_that_do_not_fit_are_refused():
    """What would not come back as it was is an error for who writes it, and nothing changes."""
    with isolated() as app:
        app.provide(CacheProvider, MemoryCacheProvider(serialize=True))
        numbers = Cache[int](name="numbers")
        await numbers.set("k", 1)
        with pytest.raises(NotSerializable, match=r"numbers, key 'k': value: expected int.*Store"):
            await numbers.set("k", "one")
        lists = Cache[dict[str, list[int]]](name="lists")
        with pytest.raises(NotSerializable, match=r"^lists, key 'b': value\['x'\]\[0\]: expected"):
            await lists.set_many({"a": {"x": [1]}, "b": {"x": ["one"]}})
        assert not await lists.contains("a")
        with pytest.raises(UnstableArgument, match="key 3: the keys of a store are texts"):
            await numbers.get_many(3)
        with pytest.raises(NotSerializable):
            await numbers.set("k", (value for value in [1]))
        assert await numbers.get("k") == 1


async def test_a_generator_is_refused_on_memory_too(app):
    """What can be read only once is no value, wherever entries are kept."""
    anything = Cache[object](name="anything")
    with pytest.raises(NotSerializable):
        await anything.set("k", (value for value in [1]))
    assert not await anything.contains("k")


async def test_a_type_may_be_named_before_it_exists():
    """A forward reference is looked up at first use, in the module of the Cache."""
    with isolated() as app:
        app.provide(CacheProvider, MemoryCacheProvider(serialize=True))
        assert "Later" not in globals()
        laters = Cache["Later"](name="laters")
        try:
            globals()["Later"] = Session
            await laters.set("k", Session("ann"))
            assert await laters.get("k") == Session("ann")
        finally:
            del globals()["Later"]


async def test_without_a_type_only_plain_values_fit():
    """Where nothing says the type, a tuple is refused rather than turned into a list."""
    with isolated() as app:
        app.provide(CacheProvider, MemoryCacheProvider(serialize=True))
        bare = Cache(name="bare")
        await bare.set("k", {"a": [1, "x", None]})
        assert await bare.get("k") == {"a": [1, "x", None]}
        with pytest.raises(NotSerializable):
            await bare.set("k", (1, 2))


# Lifetimes


async def test_ttl_omitted_given_and_none(app):
    """Omitted is the cache's own, a duration is that long, None is for ever."""
    store = Cache[int](name="store", ttl="1 minute")
    await store.set("own", 1)
    await store.set("short", 2, ttl="1 second")
    await store.set("ever", 3, ttl=None)
    app.clock.advance("1 second")
    assert sorted(await store.get_many("own", "short", "ever")) == ["ever", "own"]
    app.clock.advance("59 seconds")
    assert sorted(await store.get_many("own", "short", "ever")) == ["ever"]
    app.clock.advance("1000 days")
    assert await store.get("ever") == 3


async def test_get_or_set_takes_a_ttl_for_what_it_computes(app):
    """As `set` does; a factory that decides about its own entry has the last word."""
    store = Cache[int](name="store", ttl="1 minute")

    def decides() -> int:
        computation().ttl = "2 seconds"
        return 4

    async def later() -> int:
        return 3

    assert await store.get_or_set("own", lambda: 1) == 1
    assert await store.get_or_set("short", lambda: 2, ttl="1 second", tags=["t"]) == 2
    assert await store.get_or_set("ever", later, ttl=None) == 3
    assert await asyncio.to_thread(store.sync.get_or_set, "says", decides, ttl="1 day") == 4
    assert await store.get_or_set("own", lambda: 5, ttl="1 second") == 1  # it is there
    app.clock.advance("1 second")
    assert sorted(await store.keys()) == ["ever", "own", "says"]
    app.clock.advance("1 second")
    assert sorted(await store.keys()) == ["ever", "own"]
    app.clock.advance("1000 days")
    assert await store.keys() == ["ever"]
    with pytest.raises(InvalidDuration):
        await store.get_or_set("bad", later, ttl=0)


async def test_without_options_an_entry_lives_five_minutes(app):
    """The default ttl is that of `@cache`."""
    store = Cache[int](name="store")
    await store.set("k", 1)
    app.clock.advance(299)
    assert await store.contains("k")
    app.clock.advance(1)
    assert not await store.contains("k")


@pytest.mark.parametrize("ttl", [0, -1, True, float("nan"), "10m5"])
async def test_a_bad_ttl_changes_nothing(app, ttl):
    """A ttl that cannot be read is an error, and the old value stays."""
    store = Cache[int](name="store")
    await store.set("k", 1)
    with pytest.raises(InvalidDuration):
        await store.set("k", 2, ttl=ttl)
    with pytest.raises(InvalidDuration):
        await store.set_many({"k": 2, "l": 3}, ttl=ttl)
    assert await store.get_many("k", "l") == {"k": 1}


async def test_options_are_checked_at_once():
    """Mistakes in the options fail where the Cache is written."""
    with pytest.raises(InvalidDuration):
        Cache(name="x", ttl="soon")
    with pytest.raises(InvalidOption):
        Cache(name="")
    with pytest.raises(InvalidOption, match="unknown option 'tll'"):
        Cache(name="x", tll=5)
    with pytest.raises(InvalidOption, match=r"named. Write Cache\(name='sessions'\)"):
        Cache("sessions")


# Dropping


async def test_delete_drops_exact_keys(app):
    """Only the named keys go, the number of those that were there is returned."""
    store = Cache[int](name="store")
    await store.set_many({"a": 1, "b": 2, "c": 3})
    assert await store.delete("a", "b", "never set") == 2
    assert await store.delete() == 0
    assert await store.keys() == ["c"]


async def test_a_star_is_an_ordinary_key_except_in_patterns(app):
    """`delete("*")` drops the entry called `*`, nothing else."""
    store = Cache[int](name="store")
    await store.set_many({"*": 1, "a": 2, "u*": 3, "user": 4})
    assert await store.get("*") == 1
    assert await store.delete("*", "u*") == 2
    assert sorted(await store.keys()) == ["a", "user"]
    await store.invalidate("*")
    assert await store.keys() == []


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("user:*:sessions", {"user:1", "user:?", "user:[1]", "xuser:1:sessions"}),
        ("user:?", {"user:1", "user:1:sessions", "user:[1]", "xuser:1:sessions"}),
        ("user:[1]", {"user:1", "user:1:sessions", "user:?", "xuser:1:sessions"}),
        ("*:sessions", {"user:1", "user:?", "user:[1]"}),
        ("u*r:*1*", {"user:?", "xuser:1:sessions"}),
        ("user", {"user:1", "user:1:sessions", "user:?", "user:[1]", "xuser:1:sessions"}),
    ],
)
async def test_only_the_star_is_special_in_a_pattern(app, pattern, left):
    """`*` is any text anywhere; `?` and `[` are themselves; the whole key has to match."""
    store = Cache[int](name="store")
    everything = ["user:1", "user:1:sessions", "user:?", "user:[1]", "xuser:1:sessions"]
    await store.set_many(dict.fromkeys(everything, 1))
    assert set(await store.keys(pattern)) == set(everything) - left
    await store.invalidate(pattern)
    assert set(await store.keys()) == left


async def test_a_store_drops_its_own_tags_only(app):
    """The store's `invalidate_tags` leaves other caches alone; the app's does not."""
    one, two = Cache[int](name="one"), Cache[int](name="two")
    for store in (one, two):
        await store.set("x", 1, tags=["t"])
        await store.set("y", 2, tags=["u", "t:2"])
        await store.set("z", 3)
    await one.invalidate_tags("t")
    assert [sorted(await store.keys()) for store in (one, two)] == [["y", "z"], ["x", "y", "z"]]
    await app.invalidate_tags("t:2", "nobody has this")
    assert [sorted(await store.keys()) for store in (one, two)] == [["z"], ["x", "z"]]
    await invalidate_tags("t")
    assert [sorted(await store.keys()) for store in (one, two)] == [["z"], ["z"]]


async def test_clear_drops_this_store(app):
    """Everything of it goes, and nothing of a store whose name begins alike."""
    one, two = Cache[int](name="one"), Cache[int](name="one:two")
    await one.set("two:k", 1)
    await two.set("k", 2)
    await one.clear()
    assert await one.keys() == []
    assert await two.get("k") == 2


# Computing


async def test_get_or_set_computes_once(app):
    """An async and a sync factory run for a missing key, and not for one that is there."""
    store = Cache[Session](name="store", ttl="1 minute")
    calls = []

    async def later():
        calls.append("async")
        return Session("ann")

    def now():
        calls.append("sync")
        return Session("bob")

    assert await store.get_or_set("a", later) == Session("ann")
    assert await store.get_or_set("a", now) == Session("ann")
    assert await store.get_or_set("b", now) == Session("bob")
    assert await store.get("b") == Session("bob")
    assert calls == ["async", "sync"]
    app.clock.advance("1 minute")
    assert await store.get_or_set("a", now) == Session("bob")


async def test_get_or_set_is_one_flight(app):
    """A hundred callers of one key wait for one factory; another key has its own."""
    store = Cache[int](name="store")
    gate, calls = asyncio.Event(), []

    def factory(key):
        async def compute():
            calls.append(key)
            await gate.wait()
            return len(calls)

        return compute

    callers = [asyncio.create_task(store.get_or_set("a", factory("a"))) for _ in range(100)]
    callers.append(asyncio.create_task(store.get_or_set("b", factory("b"))))
    for _ in range(5):
        await asyncio.sleep(0)
    gate.set()
    assert set(await asyncio.gather(*callers)) == {2}
    assert sorted(calls) == ["a", "b"]
    assert (store.stats.misses, store.stats.coalesced) == (2, 99)


async def test_an_error_of_the_factory_is_not_cached(app):
    """It reaches the caller, and the next one computes."""
    store = Cache[int](name="store")

    async def fail():
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await store.get_or_set("k", fail)
    assert await store.get_or_set("k", lambda: 1) == 1


@pytest.mark.parametrize("change", ["set", "delete", "invalidate", "invalidate_tags", "clear"])
async def test_a_change_beats_what_is_being_computed(app, change):
    """A factory that was called before a change does not bring its value back after it."""
    store = Cache[int](name="store")
    called, gate = asyncio.Event(), asyncio.Event()

    async def old():
        called.set()
        await gate.wait()
        return 1

    caller = asyncio.create_task(store.get_or_set("k", old, tags=["t"]))
    await called.wait()
    match change:
        case "set":
            await store.set("k", 2)
        case "delete":
            await store.delete("k")
        case "invalidate":
            await store.invalidate("*")
        case "invalidate_tags":
            await store.invalidate_tags("t")
        case _:
            await store.clear()
    assert await store.get_or_set("k", lambda: 2) == 2
    gate.set()
    await caller
    assert await store.get("k") == 2


# Many


async def test_many_at_once(app):
    """`set_many` writes them all, `get_many` returns those that are there, however named."""
    store = Cache[Session](name="store")
    await store.set_many({"a": Session("a"), "b": Session("b")}, ttl="1 second", tags=["t"])
    both = {"a": Session("a"), "b": Session("b")}
    assert await store.get_many("a", "never set", "b") == both
    assert await store.get_many(["b", "a"]) == both
    assert await store.get_many(key for key in "ab") == both
    assert await store.get_many() == {}
    await store.set_many({})
    await store.invalidate_tags("t")
    assert await store.get_many("a", "b") == {}


@pytest.mark.parametrize("bad", [{"b": "no number"}, {2: 2}])
async def test_set_many_is_all_or_none(bad):
    """One value or key that does not fit, and none of them is written."""
    with isolated() as app:
        app.provide(CacheProvider, MemoryCacheProvider(serialize=True))
        store = Cache[int](name="store")
        await store.set("a", 0)
        with pytest.raises((NotSerializable, UnstableArgument)):
            await store.set_many({"a": 1} | bad | {"c": 3})
        assert await store.get_many("a", "b", "c") == {"a": 0}
