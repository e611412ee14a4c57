"""
The rules of the protocol, each with the interleaving that breaks a provider without it.

The fixture `two` is two provider objects that share nothing but the server, like two processes.
"""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from stillfresh import App, CacheProvider, ComputeTimeout, cache, computation
from stillfresh.clock import Clock
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address, Busy, Lease
from stillfresh.providers.redis import RedisCacheProvider

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


# R1: who may be answered by what


async def test_a_call_after_an_invalidation_elsewhere_is_not_given_the_running_result(url, prefix):
    """R1: a caller may join what runs, but gets it only if its store was accepted later."""
    source = ["old"]
    reads, go = asyncio.Event(), asyncio.Event()

    class Service:
        @cache(name="f")
        async def f(self) -> str:
            seen = source[0]
            reads.set()
            await go.wait()
            return seen

    def app() -> App:
        return App(Service).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))

    async with app() as one, app() as other:
        first = asyncio.create_task(one.get(Service).f())
        await reads.wait()
        source[0] = "new"
        await other.get(Service).f.invalidate()
        late = asyncio.create_task(one.get(Service).f())
        await asyncio.sleep(0.05)  # it finds nothing, and joins the first one
        go.set()
        assert await first == "old"  # it came before
        assert await late == "new"
        assert await other.get(Service).f() == "new"


# Leases before values


@pytest.mark.parametrize("how", ["pattern", "clear"])
@pytest.mark.parametrize("trip", range(6))
async def test_a_store_beside_a_walk_is_gone(two, monkeypatch, how: str, trip: int):
    """
    A walk ends the leases first, so whenever a store comes beside it, nothing is left of it.

    1. process A   holds a lease, and computes
    2. process B   drops by pattern; the values that there are have been looked through
    3. process A   stores: it must not be able to any more
    """
    a, b = two
    lease = await leased(a)
    links, trips = b.wires.links, []
    talk_to, talk = links.talk_to, links.talk

    def beside(way):
        async def wrapped(*args):
            if len(trips) == trip:
                trips.append(await a.store(lease, entry(b"old")))
            else:
                trips.append(None)
            return await way(*args)

        return wrapped

    monkeypatch.setattr(links, "talk_to", beside(talk_to))
    monkeypatch.setattr(links, "talk", beside(talk))
    await (b.invalidate_matching("space", "*") if how == "pattern" else b.clear("space"))
    assert await value(a) is None
    assert len(trips) >= 3  # two walks, and what the first one found
    if trip >= len(trips):
        assert not await a.store(lease, entry(b"old"))
        assert await value(a) is None


# R2: a lease counts from the reply


async def test_an_acquire_that_nobody_waits_for_leaves_no_lease(two):
    """R2: a caller that goes away before the answer gives back what it may have got."""
    a, b = two
    await a.look(K)  # connected
    task = asyncio.create_task(a.acquire(K))
    await asyncio.sleep(0)  # it is sent
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await a.look(K)  # the connection has carried out what was sent before
    await leased(b)


# R3: one token for each attempt


async def test_each_attempt_has_its_own_token(two, raw):
    """R3: no lease begins like another one, so no late command passes for a later one."""
    a, b = two
    heads = set()
    for provider in (a, b, a):
        lease = await leased(provider)
        heads.add(lease.token.head)
        assert raw.get(provider.names.lease(K)).startswith(lease.token.head)
        await provider.release(lease)
    assert len(heads) == 3


async def test_a_put_that_was_given_up_writes_nothing_later(two):
    """
    R3: a write by hand is two trips, and the second one needs the lease of the first.

        1. a   put(old): the first trip; its caller goes away
        2. b   put(new) returns
        3. a   whatever of put(old) is still on its way changes nothing
    """
    a, b = two
    trips = 0
    second, stuck = asyncio.Event(), asyncio.Event()

    async def gate() -> None:
        nonlocal trips
        trips += 1
        if trips == 2:
            second.set()
            await stuck.wait()

    a.gate = gate
    task = asyncio.create_task(a.put([(K, entry(b"old"))]))
    await second.wait()
    await b.delete([K])  # ends the lease of the one that is stuck
    await b.put([(K, entry(b"new"))])
    task.cancel()
    stuck.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    a.gate = None
    assert await value(a) == b"new"


async def test_puts_at_once_end_with_one_of_them(two):
    """Writers queue for the key: each one's value is there when it returns, or a later one's."""
    a, b = two
    writes = [
        (a if n % 2 else b).put([(K, entry(b"%d" % n)), (Address("s", str(n)), entry())])
        for n in range(40)
    ]
    await asyncio.gather(*writes)
    assert await value(a) in {b"%d" % n for n in range(40)}
    assert len(await a.keys("s")) == 40


async def test_a_put_takes_the_lease_of_who_computes(two):
    """What is being computed in another process is not stored over a value written by hand."""
    a, b = two
    lease = await leased(a)
    await b.put([(K, entry(b"by hand"))])
    assert not await a.store(lease, entry(b"computed"))
    assert await value(a) == b"by hand"


# R4: versions


async def test_a_lost_version_reads_as_invalidated(two, raw):
    """R4: an evicted marker takes its entries along, and a new one does not bring them back."""
    a, b = two
    await a.put([(K, entry(b"old", "t"))])
    assert await value(b) == b"old"
    raw.delete(b.names.marker(None, "t"))
    assert await value(b) is None
    await a.put([(Address("space", "other"), entry(b"x", "t"))])  # makes the marker anew
    assert await value(b) is None


async def test_a_version_that_is_lost_while_somebody_computes_refuses_the_store(two, raw):
    """R4: who was handed a version stores only while that one stands."""
    a, _ = two
    for scope in (None, "space"):
        lease = await leased(a, "t")
        raw.delete(a.names.marker(scope, "t"))
        assert not await a.store(lease, entry(b"old", "t"))
        lease = await leased(a, "t")
        raw.set(a.names.marker(scope, "t"), lease.token.versions["t"][0][:-1] + b"!")
        assert not await a.store(lease, entry(b"old", "t"))
        raw.delete(a.names.marker(scope, "t"))


async def test_everything_lost_reads_as_nothing(two, raw):
    """A flushed server has no entries, leases or fences, and takes no old result."""
    a, b = two
    await a.put([(K, entry(b"old", "t"))])
    lease = await b.acquire(Address("space", "two"))
    late = await b.acquire(Address("space", "three"))
    raw.flushall()
    assert await value(b) is None
    assert not await b.store(lease, entry())
    assert not await b.settle(late, frozenset(["late"]))
    assert await b.store(await leased(b, "t"), entry(b"new", "t"))
    assert await value(a) == b"new"


async def test_a_tag_that_is_dropped_while_two_compute_frees_the_key(two):
    """Whoever asks after the invalidation computes, although the old lease still stands."""
    a, b = two
    first = await leased(a, "t")
    assert isinstance(await b.acquire(K, tags=ALL(["t"])), Busy)
    await b.invalidate_tags(None, ["t"])
    second = await leased(b, "t")
    assert not await a.store(first, entry(b"old", "t"))
    assert await b.store(second, entry(b"new", "t"))
    assert await value(a) == b"new"


async def test_a_late_tag_is_fenced(two):
    """
    A tag that only the result shows was not noted with the lease; its fence was.

        1. a   acquire: notes the fences; calls the function
        2. b   invalidate_tags(late) returns
        3. a   the result has the tag "late": its fence is another one -> refused
    """
    a, b = two
    lease = await leased(a)
    await b.invalidate_tags(None, ["late"])
    assert not await a.store(lease, entry(b"old", "late"))
    assert await value(b) is None
    lease = await leased(a)
    assert await a.store(lease, entry(b"new", "late"))
    assert await value(b) == b"new"
    await b.invalidate_tags("space", ["late"])
    assert await value(a) is None


async def test_a_late_tag_that_is_dropped_between_its_two_trips_refuses_the_store(two):
    """The version of a late tag is fetched first; the store looks at it, and at the fence."""
    a, b = two
    lease = await leased(a)

    # The first trip fetches the version; before the second one the tag is dropped.
    trips = 0

    async def count() -> None:
        nonlocal trips
        trips += 1
        if trips == 2:
            await b.invalidate_tags(None, ["late"])

    a.gate = count
    assert not await a.store(lease, entry(b"old", "late"))
    assert trips == 2
    a.gate = None
    assert await value(a) is None


async def test_versions_outlive_their_entries(two, raw):
    """A marker lives at least as long as the longest entry that holds it."""
    a, _ = two
    names = [a.names.marker(scope, "t") for scope in ("space", None)]
    await a.put([(K, entry(b"x", "t", fresh=10.0))])
    first = [raw.pttl(name) for name in names]
    assert all(3_500_000 < left <= 3_600_000 for left in first)
    await a.put([(K, entry(b"x", "t", fresh=80_000.0))])
    assert all(raw.pttl(name) > 80_000_000 for name in names)
    await a.put([(K, entry(b"x", "t", fresh=5.0))])
    assert all(raw.pttl(name) > 79_000_000 for name in names)
    await a.put([(K, entry(b"x", "t", fresh=inf))])
    assert [raw.pttl(name) for name in names] == [-1, -1]


# R5 (another life of the server) and R6 (unknown outcomes) are in test_redis_faults.py


# R7: every end gives the lease back


async def test_a_holder_that_is_no_more_stores_nothing(two):
    """A result that comes from beyond its end is not written, and its key is free at once."""
    a, b = two
    living = [True]
    lease = await a.acquire(K, alive=lambda: bool(living))
    living.clear()
    assert not await a.store(lease, entry(b"late"))
    assert await value(b) is None
    assert isinstance(await b.acquire(K), Lease)


async def test_every_end_of_a_computation_gives_the_lease_back(url, prefix, raw):
    """R7: raised, skipped, refused, timed out or cancelled: the key is free at once."""
    never = asyncio.Event()
    began = asyncio.Event()

    class Service:
        @cache(name="raises")
        async def raises(self) -> str:
            raise ValueError

        @cache(name="skips")
        async def skips(self) -> str:
            computation().skip()
            return "x"

        @cache(name="when", when=lambda value: False)
        async def refuses(self) -> str:
            return "x"

        @cache(name="late", timeout="50 ms")
        async def is_late(self) -> str:
            await never.wait()
            return "x"

        @cache(name="cancelled")
        async def is_cancelled(self) -> str:
            began.set()
            await never.wait()
            return "x"

        @cache(name="sync")
        def blocks(self) -> str:
            raise ValueError

    app = App(Service).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))
    async with app:
        service = app.get(Service)
        with pytest.raises(ValueError):
            await service.raises()
        with pytest.raises(ValueError):
            service.blocks()
        assert await service.skips() == await service.refuses() == "x"
        with pytest.raises(ComputeTimeout):
            await service.is_late()
        caller = asyncio.create_task(service.is_cancelled())
        await began.wait()
        caller.cancel()
    assert raw.keys(f"{prefix}:[lv]:*") == []
