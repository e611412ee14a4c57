"""Reading, walking over many keys, counters, and bytes of others."""

from __future__ import annotations

import asyncio

import pytest

from stillfresh import App, Cache, CacheProvider, cache
from stillfresh.clock import Clock
from stillfresh.computing.drivers import drive
from stillfresh.entry import Entry, Verdict, Windows, judge
from stillfresh.providers.base import Address, Found, Lease
from stillfresh.providers.redis import RedisCacheProvider, storing
from stillfresh.providers.redis.bells import Bell

K = Address("space", "key")
ALL = frozenset


def entry(value: bytes = b"value", *tags: str, fresh: float = 60.0, stale: float = 0.0) -> Entry:
    return Entry(value, Clock().now(), Windows(fresh, stale), frozenset(tags), len(value))


async def leased(provider: CacheProvider, *tags: str) -> Lease:
    lease = await provider.acquire(K, tags=frozenset(tags))
    assert isinstance(lease, Lease)
    return lease


async def value(provider: CacheProvider) -> object:
    found = await provider.look(K)
    return None if found is None else found.value


async def test_a_hit_is_one_trip(two):
    """Once the tags of an entry are known, value and versions come together."""
    a, b = two
    await a.put([(K, entry(b"x", "t", "u", stale=5.0))])
    trips = 0

    async def count() -> None:
        nonlocal trips
        trips += 1

    b.gate = count
    assert await value(b) == b"x"
    assert trips == 2  # the tags were not known
    trips = 0
    for _ in range(5):
        assert await value(b) == b"x"
    assert trips == 5
    trips = 0
    assert isinstance(await b.acquire(Address("space", "new")), Lease)
    assert trips == 1


async def test_what_was_looked_at_and_is_of_no_use_is_not_sent_again(two):
    """A miss on an invalidated entry is two trips in all: look and acquire."""
    a, b = two
    await a.put([(K, entry(b"x", "t"))])
    assert await value(b) == b"x"
    await a.invalidate_tags(None, ["t"])
    trips = 0

    async def count() -> None:
        nonlocal trips
        trips += 1

    b.gate = count
    assert await value(b) is None
    await leased(b, "t")
    assert trips == 2


async def test_who_computes_while_a_pattern_walks_is_refused(two):
    """
    Leases are walked over before entries.

        1. a   acquire(user:1), calls the function
        2. b   invalidate_matching("user:*") returns
        3. a   store: the lease is gone
    """
    a, b = two
    for change in (
        lambda: b.invalidate_matching("space", "user:*"),
        lambda: b.clear("space"),
        lambda: b.invalidate_matching("space", "*", "user"),
    ):
        lease = await a.acquire(Address("space", "user:1"))
        long = await a.acquire(Address("space", "user:" + "x" * 1_000))
        await change()
        assert not await a.store(lease, entry(b"old"))
        assert not await a.store(long, entry(b"old"))


async def test_a_store_between_the_two_walks_is_found(two):
    """
    A holder that stores before its lease was reached is found by the second walk.

        1. b   walks over the leases, slowly
        2. a   stores under its lease, which b has not reached
        3. b   walks over the entries
    """
    a, b = two
    lease = await a.acquire(K)
    first = True

    async def gate() -> None:
        nonlocal first
        if first:
            first = False
            assert await a.store(lease, entry(b"old"))

    b.gate = gate
    await b.invalidate_matching("space", "k*")
    b.gate = None
    assert await value(a) is None


async def test_patterns_reach_into_long_keys(two):
    """A key that is shortened in its name is matched in full."""
    a, b = two
    one, two_, three = ("x" * 600 + tail for tail in (":1", ":2", "*:1"))
    for key in (one, two_, three):
        await a.put([(Address("space", key), entry())])
    assert sorted(await b.keys("space", "x*:1")) == sorted([one, three])
    await b.invalidate_matching("space", "*:1")
    assert await b.keys("space") == [two_]
    await b.invalidate_matching("space", "x" * 600 + "*")
    assert await b.keys("space") == []


async def test_many_keys_are_walked_in_pages(two):
    """Thousands of entries, with tags and without, are listed and dropped."""
    a, b = two
    for at in range(0, 3_000, 500):
        await a.put(
            [
                (Address("space", f"k{n}"), entry(b"x", *(["t"] if n % 2 else [])))
                for n in range(at, at + 500)
            ]
        )
    assert len(await b.keys("space")) == 3_000
    await b.invalidate_tags("space", ["t"])
    assert len(await b.keys("space", "k1*")) == 555
    await b.invalidate_matching("space", "k1*")
    assert len(await b.keys("space")) == 1_500 - 555
    await b.clear("space")
    assert await b.keys("space") == []


async def test_an_entry_with_very_many_tags(two):
    """Tags of more bytes than are read for a list are no tags less."""
    a, b = two
    tags = [f"{'tag' * 20}{n}" for n in range(200)]
    await a.put([(K, entry(b"x", *tags))])
    assert await value(b) == b"x"
    assert await b.keys("space") == ["key"]
    await b.invalidate_tags(None, [tags[7]])
    assert await a.keys("space") == []


async def test_what_is_stored_while_it_is_looked_at_is_not_computed_again(two):
    """
    What only looks too old is asked for once more.

    1. b   look: asks for the life that is left, and there is none
    2. a   stores
    3. b   look: the value, which looks too old without its life
    4. b   acquire: the value is new, and is not computed again
    """
    a, b = two
    await a.put([(K, entry(b"new"))])
    original = b.wire.read

    async def split(*asked):
        _, *rest = await original(*asked)
        return [-2, *rest]

    b.wire.read = split
    assert await b.look(K) is None
    del b.wire.read
    assert isinstance(await b.acquire(K), Found)


async def test_leases_of_another_process_are_waited_for(two):
    """A waiter polls until the lease is another one or none."""
    a, b = two
    lease = await leased(a)
    waiter = asyncio.create_task(b.wait(K, 20.0))
    await asyncio.sleep(0.02)
    assert not waiter.done()
    await a.store(lease, entry())
    await asyncio.wait_for(waiter, 5.0)
    found = await b.acquire(K)
    assert isinstance(found, Found)


async def test_nobody_sleeps_past_the_end_of_a_lease(two, raw, monkeypatch):
    """Whose holder died ends in 5 s: who has waited for long does not pause for 10."""
    a, b = two
    await leased(a)
    pauses: list[float] = []

    async def rings_within(_: Bell, seconds: float) -> bool:
        pauses.append(seconds)
        raw.delete(a.names.lease(K))
        return False

    monkeypatch.setattr(Bell, "rings_within", rings_within)
    monkeypatch.setattr(storing, "_SHORTEST_PAUSE", 10.0)
    monkeypatch.setattr(storing, "_LONGEST_PAUSE", 10.0)
    raw.pexpire(a.names.lease(K), 5_000)
    await b.wait(K, 20.0)
    [pause] = pauses
    assert pause <= 5.0


async def test_the_age_of_an_entry_is_the_same_for_all(two):
    """Who reads an entry sees its true age, by the server's count of what is left."""
    a, b = two
    old = entry(b"x", fresh=10.0, stale=60.0)
    old.born -= 12.0
    await a.put([(K, old)])
    found = await b.look(K)
    now = Clock().now()
    assert 12.0 <= now - found.born < 13.0
    assert judge(found, now) is Verdict.STALE


async def test_counters_keep_their_frames(two, raw):
    """Adding to a number that was written with tags and windows keeps both, and its life."""
    a, b = two
    await a.put([(K, Entry(b"9007199254740993", Clock().now(), Windows(50.0, 20.0), ALL("t")))])
    assert await b.incr(K, 1, Windows(5.0)) == 9007199254740994
    found = await a.look(K)
    assert (found.value, found.windows[:2], found.tags) == (
        b"9007199254740994",
        (50.0, 20.0),
        {"t"},
    )
    assert 69_000 < raw.pttl(a.names.value(K)) <= 70_000
    await b.invalidate_tags(None, ["t"])
    assert await a.incr(K, 2, Windows(5.0)) == 2
    await a.expire(K)
    assert await value(a) is None
    await a.incr(K, 2**63 - 1, Windows(5.0))
    with pytest.raises(TypeError, match="64 bits"):
        await a.incr(K, 1, Windows(5.0))
    assert await a.incr(K, -1, Windows(5.0)) == 2**63 - 2
    with pytest.raises(TypeError, match="64 bits"):
        await a.incr(K, 2**63, Windows(5.0))


async def test_bytes_of_others_read_as_nothing(two, raw):
    """Whatever stands in the place of an entry is a miss, and is replaced."""
    a, _ = two
    for garbage in (
        b"",
        b"garbage",
        b"SF\x01",
        b"SF\x01F" + b"\xff" * 300,
        b"SF\x02F",
        b"\xff" * 9,
    ):
        raw.set(a.names.value(K), garbage)
        assert await a.look(K) is None
        assert await a.delete([K]) == 0
        raw.set(a.names.value(K), garbage)
        assert await a.keys("space") == []
        assert await a.store(await leased(a), entry(b"new"))
        assert await value(a) == b"new"


async def test_what_is_of_another_type_reads_as_nothing(two, raw):
    """A list in the place of an entry, a lease or a version is a miss, and is replaced."""
    a, b = two
    tag = frozenset(["t"])
    for name in (a.names.value(K), a.names.lease(K), a.names.marker(None, "t")):
        for provider in (a, b):
            raw.delete(name, a.names.value(K))
            raw.lpush(name, "x")
            assert await provider.look(K) is None
            assert await provider.look_many([K]) == [None]
            assert await provider.keys(K.namespace) == []
            lease = await provider.acquire(K, tags=tag)
            assert await provider.store(lease, entry(b"1", "t"))
            assert await value(provider) == b"1"
    raw.delete(a.names.value(K))
    raw.lpush(a.names.value(K), "x")
    await a.expire(K)
    assert raw.exists(a.names.value(K)) == 0
    raw.lpush(a.names.value(K), "x")
    assert await a.incr(K, 2, Windows(60.0)) == 2
    raw.delete(a.names.value(K))
    raw.lpush(a.names.value(K), "x")
    assert await a.delete([K]) == 0
    assert raw.exists(a.names.value(K)) == 0


async def test_a_delete_counts_an_entry_with_many_tags(two):
    """Also one whose tags are longer than what is read of it."""
    a, _ = two
    tags = [f"tag-{number}-{'x' * 50}" for number in range(200)]
    await a.put([(K, entry(b"1", *tags))])
    assert await a.keys(K.namespace) == [K.key]
    assert await a.delete([K]) == 1
    await a.put([(K, entry(b"1", *tags))])
    await a.invalidate_tags(None, ["tag-199-" + "x" * 50])  # it is not in the first bytes
    assert await a.keys(K.namespace) == []


def test_nothing_is_tied_to_a_loop(url, prefix):
    """`asyncio.run` twice, and threads without a loop, on one provider."""
    provider = RedisCacheProvider(url, prefix=prefix)
    drive(provider.start(Clock()))
    try:
        asyncio.run(provider.put([(K, entry(b"1"))]))
        assert asyncio.run(value(provider)) == b"1"
        assert drive(value(provider.blocking)) == b"1"
        assert asyncio.run(value(provider)) == b"1"
    finally:
        drive(provider.blocking.stop())


async def test_the_readable_keys_of_an_app(url, prefix, raw):
    """What an app writes can be read, found and understood with redis-cli."""

    class Service:
        store = Cache[int](name="numbers")

        @cache(name="shop.product", tags=["products"])
        async def product(self, product_id: int) -> str:
            return "x"

    app = App(Service).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))
    async with app:
        await app.get(Service).product(7)
        await app.get(Service).store.incr("visits")
    names = {name.decode().removeprefix(prefix) for name in raw.keys(f"{prefix}:[vt]:*")}
    assert names == {
        ":v:{shop.product|7}",
        ":v:{numbers|visits}",
        ":t:{products}",
        ":t:{shop.product|products}",
    }
    assert raw.get(f"{prefix}:v:{{numbers|visits}}") == b"1"
