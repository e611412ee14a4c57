"""Several servers that share the slots: tags elsewhere than entries, slots that move, a server gone."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from contextlib import suppress

import pytest
import redis

from stillfresh import App, Cache, CacheProvider, ProviderUnavailable, RedisCacheProvider, cache
from stillfresh.clock import Clock
from stillfresh.computing.drivers import drive
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address, Busy, Found, Lease
from stillfresh.providers.redis.slots import slot_of
from stillfresh.testing import VirtualClock

K = Address("space", "key")
MANY = [Address("space", f"key-{number}") for number in range(30)]


def entry(value: bytes = b"x", *tags: str) -> Entry:
    return Entry(value, Clock().now(), Windows(60.0), frozenset(tags), len(value))


class Walking(RedisCacheProvider):
    """A provider that calls `before` ahead of each walk over a server."""

    before = None

    async def _walk(self, glob, work, place):
        if self.before is not None:
            await self.before(glob, place)
        await super()._walk(glob, work, place)


@pytest.fixture
async def two(cluster, prefix):
    """Two providers, like two processes."""
    a, b = (Walking(cluster.url, prefix=prefix) for _ in range(2))
    for one in (a, b):
        await one.start(Clock())
    yield a, b
    for one in (a, b):
        await one.stop()


async def filled(provider, *tags: str) -> None:
    """Put something into all the servers."""
    await provider.put([(address, entry(address.key.encode(), *tags)) for address in MANY])


async def there(provider) -> list[str]:
    found = await provider.look_many(MANY)
    return [address.key for address, one in zip(MANY, found, strict=True) if one is not None]


# Where things are


async def test_an_entry_and_its_lease_are_together_and_tags_are_elsewhere(two, cluster):
    """All of one entry is in one slot; entries, tags and fences are spread over the servers."""
    names = two[0].names
    assert slot_of("foo{bar}baz") == slot_of("bar") == 5061  # as the server counts
    assert slot_of("123456789") == 0x31C3
    for address in MANY:
        assert slot_of(names.value(address)) == slot_of(names.lease(address))
    owners = {cluster.owner(slot_of(names.value(address))) for address in MANY}
    assert owners == {cluster.owner(slot_of(fence)) for fence in names.fences()} == {0, 1, 2}


@pytest.mark.parametrize(
    "first", ["look", "look_many", "acquire", "put", "tags", "clear", "incr", "keys"]
)
@pytest.mark.parametrize("blocking", [False, True])
async def test_a_plain_url_of_a_node_is_used_as_a_cluster(cluster, prefix, first, blocking):
    """A server that says that it is one of several leads to all of them, whatever is asked first."""
    provider = RedisCacheProvider(cluster.nodes[1].url, prefix=prefix)
    await provider.start(Clock())
    face = provider.blocking if blocking else provider
    tags = frozenset(["a", "b", "c"])
    ask = {
        "look": lambda: face.look(K),
        "look_many": lambda: face.look_many(MANY),
        "acquire": lambda: face.acquire(K, tags=tags),
        "put": lambda: face.put([(one, entry(b"x", "a", "b")) for one in MANY]),
        "tags": lambda: face.invalidate_tags(None, ["a", "b", "c"]),
        "clear": lambda: face.clear("space"),
        "incr": lambda: face.incr(K, 1, Windows(60.0)),
        "keys": lambda: face.keys("space"),
    }[first]
    found = drive(ask()) if blocking else await ask()
    if first == "acquire":
        assert isinstance(found, Lease)
        assert await face.store(found, entry(b"1", *tags))
        assert (await face.look(K)).value == b"1"
        assert isinstance(await face.acquire(K, tags=tags), Found)
    assert provider.clustered
    await provider.stop()


# Tags


async def test_tags_on_other_servers_are_seen_by_every_reader(two):
    """One tag of many entries, on whatever server each of them is."""
    a, b = two
    await filled(a, "all", "even")
    assert len(await there(b)) == len(MANY)
    await b.invalidate_tags(None, ["all"])
    assert await there(a) == []
    assert [await a.look(address) for address in MANY[:3]] == [None] * 3
    await filled(a, "all")
    await b.invalidate_tags("space", ["all"])
    assert await there(a) == []


async def test_a_tag_that_is_dropped_during_the_computation(two):
    """The store answers that it is not to be had, and every reader finds another version."""
    a, b = two
    for scope in (None, "space"):
        lease = await a.acquire(K, tags=frozenset(["t", "u"]))
        assert isinstance(await b.acquire(K, tags=frozenset(["t", "u"])), Busy)
        await b.invalidate_tags(scope, ["u"])
        other = await b.acquire(K, tags=frozenset(["t", "u"]))
        assert isinstance(other, Lease)  # nobody waits for what was begun before
        assert not await a.store(lease, entry(b"old", "t", "u"))
        assert await a.look(K) is None
        assert await b.store(other, entry(b"new", "t", "u"))
        assert (await a.look(K)).value == b"new"
        await b.delete([K])


async def test_an_old_entry_under_its_lease_reads_as_invalidated(two, cluster):
    """In a cluster the lease alone decides that it is written: who reads compares the versions."""
    a, b = two
    lease = await a.acquire(K, tags=frozenset(["t"]))
    await b.invalidate_tags(None, ["t"])
    assert not await a.store(lease, entry(b"old", "t"))
    slot = slot_of(a.names.value(K))
    assert cluster.say(cluster.owner(slot), "EXISTS", a.names.value(K)) == 1  # it was written
    for provider in (a, b, a.blocking):
        assert await provider.look(K) is None
        assert await provider.look_many([K]) == [None]
        assert await provider.keys("space") == []
    assert await b.delete([K]) == 0


@pytest.mark.parametrize("settled", [False, True])
async def test_late_tags_have_fences_on_servers_of_their_own(two, settled):
    """A tag that only the result shows, dropped meanwhile: nothing is stored, nobody gets it."""
    a, b = two
    for number in range(8):  # on whatever servers
        tag = f"late-{number}"
        lease = await a.acquire(K)
        await b.invalidate_tags(None, [tag])
        if settled:
            assert not await a.settle(lease, frozenset([tag]))
        else:
            assert not await a.store(lease, entry(b"old", tag))
        assert await b.look(K) is None
        lease = await a.acquire(K)
        if settled:
            assert await a.settle(lease, frozenset([tag]))
        else:
            assert await a.store(lease, entry(b"new", tag))
            assert (await b.look(K)).value == b"new"
        await b.delete([K])


async def test_the_version_of_a_tag_outlives_its_entries(two, cluster):
    """On the servers of the tags it is prolonged by the store; for ever where the entry is."""
    a, _ = two
    marker = a.names.marker(None, "t")
    owner = cluster.owner(slot_of(marker))
    lease = await a.acquire(K, tags=frozenset(["t"]))
    kept = Entry(b"x", Clock().now(), Windows(30 * 86_400.0), frozenset(["t"]), 1)
    assert await a.store(lease, kept)
    assert cluster.say(owner, "PTTL", marker) > 30 * 86_400_000
    lease = await a.acquire(K, take=True, tags=frozenset(["t"]))
    kept = Entry(b"x", Clock().now(), Windows(float("inf")), frozenset(["t"]), 1)
    assert await a.store(lease, kept)
    assert cluster.say(owner, "PTTL", marker) == -1
    assert (await a.look(K)).value == b"x"


# Many keys


async def test_patterns_reach_all_servers(two):
    """Keys are matched, listed and dropped wherever they are."""
    a, b = two
    await filled(a)
    assert sorted(await b.keys("space")) == sorted(address.key for address in MANY)
    assert sorted(await b.keys("space", "key-1*")) == ["key-1", *(f"key-1{n}" for n in range(10))]
    lease = await a.acquire(Address("space", "key-99"))
    await b.invalidate_matching("space", "*9")
    assert not await a.store(lease, entry())
    assert [key for key in await there(a) if key.endswith("9")] == []
    await a.put([(Address("other", "key"), entry())])
    await b.clear("space")
    assert await there(a) == []
    assert await a.look(Address("other", "key")) is not None
    await b.clear_all()
    assert await a.look(Address("other", "key")) is None


def moving(cluster, names, addresses, source: int):
    """Return some of *addresses* that are on one server, by slot."""
    return [one for one in addresses if cluster.owner(slot_of(names.value(one))) == source]


@pytest.mark.parametrize("finished", [True, False])
async def test_a_slot_that_moves_while_a_pattern_walks(two, cluster, finished):
    """
    A key that goes to a server that was walked over already is found all the same.

    1. the walk   goes over the first servers
    2. the slot   moves from the last one to the first one, or is half on its way
    3. the walk   goes over the last one: the key is not there any more
    """
    a, b = two
    await filled(a)
    walked = []
    address = None

    async def before(glob: str, place) -> None:
        nonlocal address
        walked.append(place)
        if address is not None or not glob.startswith(a.names.values) or len(walked) < 6:
            return
        ports = [node.port for node in cluster.nodes]
        source, to = ports.index(place[1]), ports.index(walked[0][1])
        address = moving(cluster, a.names, MANY, source)[0]
        slot = slot_of(a.names.value(address))
        if finished:
            cluster.begin(slot, source, to)
        cluster.move(slot, source, to)
        if finished:
            cluster.end(slot, to)

    slots = {}
    if not finished:  # it is on its way before and after; its keys go meanwhile
        for one in MANY:
            slot = slot_of(a.names.value(one))
            source = cluster.owner(slot)
            to = (source + 1) % 3
            slots[slot] = (source, to)
        # Each goes to one server: which one the walk meets first is not ours to say.
        for slot, (source, to) in slots.items():
            cluster.begin(slot, source, to)

        async def halfway(glob: str, place) -> None:
            walked.append(place)
            if glob.startswith(a.names.values) and len(walked) % 3 == 2:
                for slot, (source, to) in slots.items():
                    cluster.move(slot, source, to)

        a.before = halfway
    else:
        a.before = before
    try:
        await a.invalidate_matching("space", "key-*")
        a.before = None
        assert await there(b) == []
        assert await b.keys("space") == []
    finally:
        for slot, (_, to) in slots.items():
            cluster.end(slot, to)
    assert walked


async def test_slots_that_never_rest_are_an_error(two, cluster):
    """Three walks during each of which a slot moved: nobody knows what was missed, so it raises."""
    a, b = two
    await filled(a)
    slot, turns = 16_000, 0

    async def before(glob: str, place) -> None:
        nonlocal turns
        if glob.startswith(a.names.values):
            source = cluster.owner(slot)
            to = (source + 1) % 3
            cluster.begin(slot, source, to)
            cluster.end(slot, to)
            turns += 1

    a.before = before
    with pytest.raises(ProviderUnavailable, match="moved, 3 times"):
        await a.invalidate_matching("space", "key-*")
    assert turns >= 9
    a.before = None
    await a.invalidate_matching("space", "key-*")
    assert await there(b) == []


# One key whose slot moves


@pytest.mark.parametrize("step", ["begun", "moved", "ended"])
async def test_a_computation_whose_slot_moves(two, cluster, step):
    """
    A lease counts on the server that handed it out: what was computed is not stored elsewhere.

    Nothing is done twice, nobody waits for it, and whoever comes then computes and stores. While
    entry and lease are on two servers nobody can decide, and it waits until one has both.
    """
    a, b = two
    lease = await a.acquire(K)
    slot = slot_of(a.names.value(K))
    source = cluster.owner(slot)
    to = (source + 1) % 3
    cluster.begin(slot, source, to)
    try:
        if step != "begun":
            cluster.move(slot, source, to)
        if step == "ended":
            cluster.end(slot, to)
        storing = asyncio.create_task(a.store(lease, entry(b"old")))
        if step == "begun":  # and it stays where it is
            await asyncio.sleep(0.1)
            assert not storing.done()
            for number in (source, to):
                cluster.say(number, "CLUSTER", "SETSLOT", slot, "STABLE")
        assert await storing == (step == "begun")
    finally:
        if step != "begun":
            cluster.end(slot, to)
    if step == "begun":
        assert (await b.look(K)).value == b"old"
    else:
        assert await b.look(K) is None
        other = await b.acquire(K)
        assert isinstance(other, Lease)
        assert await b.store(other, entry(b"new"))
        assert (await a.look(K)).value == b"new"


@pytest.mark.parametrize("step", ["begun", "moved", "ended"])
@pytest.mark.parametrize("after_restart", ["trust", "discard"])
async def test_a_computation_the_slot_of_whose_tag_moves(cluster, prefix, after_restart, step):
    """
    One that comes then waits, or takes the lease over, and then the first result is refused.

    The version of the tag moves as it is. To "discard" it is of another life where it has arrived, so
    there is a new one, and nobody waits for what was begun under another.
    """
    a, b = (
        RedisCacheProvider(cluster.url, prefix=prefix, after_restart=after_restart) for _ in "ab"
    )
    for provider in (a, b):
        await provider.start(Clock())
    tags = frozenset(["t"])
    lease = await a.acquire(K, tags=tags)
    slot = slot_of(a.markers(K, "t")[0])
    assert slot != slot_of(a.names.value(K))
    source = cluster.owner(slot)
    to = (source + 1) % 3
    await asyncio.to_thread(cluster.begin, slot, source, to)
    if step != "begun":
        await asyncio.to_thread(cluster.move, slot, source, to)
    if step == "ended":
        await asyncio.to_thread(cluster.end, slot, to)
    other = await b.acquire(K, tags=tags)
    if after_restart == "trust" or step == "begun":
        assert isinstance(other, Busy)
        assert await a.store(lease, entry(b"one", "t"))
    else:
        assert isinstance(other, Lease)
        assert not await a.store(lease, entry(b"one", "t"))
        assert await b.look(K) is None
        assert await b.store(other, entry(b"two", "t"))
    if step != "ended":
        await asyncio.to_thread(cluster.move, slot, source, to)
        await asyncio.to_thread(cluster.end, slot, to)
    # To "discard" what has the version of the other server is invalidated, once that has moved.
    kept = {"trust": b"one", "discard": None if step == "begun" else b"two"}[after_restart]
    for provider in (a, b):
        found = await provider.look(K)
        assert (found.value if found else None) == kept
        await provider.stop()


@pytest.mark.parametrize("gone", ["lease", "entry"])
async def test_an_invalidation_wins_while_the_slot_is_on_its_way(two, cluster, gone):
    """Entry and lease on two servers are dropped one after the other; then the slot stays."""
    a, b = two
    await a.put([(K, entry(b"old"))])
    lease = await a.acquire(K, take=True)
    slot = slot_of(a.names.value(K))
    source = cluster.owner(slot)
    to = (source + 1) % 3
    address = ("127.0.0.1", cluster.nodes[to].port)
    name = a.names.lease(K) if gone == "lease" else a.names.value(K)
    cluster.begin(slot, source, to)
    try:
        cluster.say(source, "MIGRATE", *address, name, 0, 5000)
        assert (await b.look(K)).value == b"old"  # it is read where it is
        await b.delete([K])
        assert await a.look(K) is None
    finally:
        for number in (source, to):
            cluster.say(number, "CLUSTER", "SETSLOT", slot, "STABLE")
    assert not await a.store(lease, entry(b"old"))
    assert await b.look(K) is None
    assert isinstance(await b.acquire(K), Lease)


# Apps


class Service:
    source = 0
    store = Cache[int](name="store")

    def __init__(self) -> None:
        self.calls = 0

    @cache(name="f", tags=["t", "f:{key}"], ttl="1 hour")
    async def f(self, key: int) -> int:
        self.calls += 1
        found = Service.source
        await asyncio.sleep(0.002 * random.random())
        return found

    @cache(name="late", tags=lambda value, key: ["late"], ttl="1 hour")
    async def late(self, key: int) -> int:
        found = Service.source
        await asyncio.sleep(0.002 * random.random())
        return found

    @cache(name="plain", tags=["t"], ttl="1 hour")
    def plain(self, key: int) -> int:
        self.calls += 1
        return Service.source


def app_at(url: str, prefix: str, **options) -> App:
    provide = lambda: RedisCacheProvider(url, prefix=prefix, **options)  # noqa: E731  # one line, used below
    return App(Service, clock=VirtualClock()).provide(CacheProvider, provide)


async def test_no_invalidation_loses_while_slots_move(cluster, prefix):
    """Two apps; one writes and invalidates, both read, slots go round: nobody gets what is older."""
    Service.source = least = 0
    over = False
    wrong: list[str] = []
    calls = 0

    async def read(service: Service, key: int) -> None:
        nonlocal calls
        while not over:
            for function in (service.f, service.late):
                bound = least
                found = await function(key)
                calls += 1
                if found < bound:
                    wrong.append(f"{function.__name__}({key}): {found} after {bound}")

    async with app_at(cluster.url, prefix) as here, app_at(cluster.url, prefix) as other:
        services = [app.get(Service) for app in (here, other)]
        readers = [asyncio.create_task(read(one, key)) for one in services for key in range(4)]
        names = here.guards[0].provider.names
        for number in range(1, 120):
            Service.source = number
            if number % 3 == 0:
                await here.invalidate_tags("t", "late")
            elif number % 3 == 1:
                await services[0].f.clear()
                await services[0].late.clear()
            else:
                await here.invalidate_tags("late", *(f"f:{key}" for key in range(4)))
            least = number
            if number % 8 == 0:
                slot = slot_of(names.value(Address("f", str(number // 8 % 4))))
                source = cluster.owner(slot)
                to = (source + 1) % 3
                await asyncio.to_thread(cluster.begin, slot, source, to)
                await asyncio.sleep(0.002)
                await asyncio.to_thread(cluster.move, slot, source, to)
                await asyncio.to_thread(cluster.end, slot, to)
        over = True
        await asyncio.gather(*readers)
        assert wrong == []
        assert services[0].f.stats.hits + services[1].f.stats.hits > 0
        assert not [guard for app in (here, other) for guard in app.guards if guard.down]
    assert calls > 100


async def test_one_computes_for_all(cluster, prefix):
    """Two apps, async and sync callers, one computation; also for values by hand."""
    async with app_at(cluster.url, prefix) as here, app_at(cluster.nodes[0].url, prefix) as other:
        one, two = here.get(Service), other.get(Service)
        await asyncio.gather(*(service.f(1) for service in (one, two) for _ in range(50)))
        assert one.calls + two.calls == 1
        await asyncio.gather(*(asyncio.to_thread(one.plain, 1) for _ in range(5)))
        assert await asyncio.to_thread(two.plain, 1) == one.plain(1)
        assert one.calls + two.calls == 2
        await one.store.set_many({f"k{number}": number for number in range(50)}, tags=["x"])
        assert await two.store.get_many([f"k{number}" for number in range(50)]) == {
            f"k{number}": number for number in range(50)
        }
        await asyncio.gather(*(one.store.incr("n") for _ in range(20)))
        assert two.store.sync.incr("n") == 21
        await other.invalidate_tags("x")
        assert sorted(await one.store.keys()) == ["n"]


async def test_a_server_that_was_killed(own_cluster, prefix, caplog):
    """Its keys are computed, those of others still served; it comes back by itself."""
    cluster = own_cluster
    async with app_at(cluster.url, prefix, timeout="500 ms", connect_timeout="500 ms") as app:
        service = app.get(Service)
        names = app.guards[0].provider.names
        keys: dict[int, int] = {}
        for key in range(100):
            keys.setdefault(cluster.owner(slot_of(names.value(Address("plain", str(key))))), key)
        for key in keys.values():
            assert await asyncio.to_thread(service.plain, key) == Service.source
        calls = service.calls
        cluster.nodes[2].kill()
        for _ in range(3):
            service.plain(keys[2])
        assert service.calls == calls + 3
        assert len([r for r in caplog.records if "does not answer" in r.message]) == 1
        with pytest.raises(ProviderUnavailable):
            await service.plain.cache.invalidate("*")
        cluster.nodes[2].start()
        cluster.wait(lambda: cluster.agreed(cluster.clients[2]))
        for _ in range(20):
            app.clock.advance("2 seconds")
            service.plain(keys[2])
            if not app.guards[0].down:
                break
        calls = service.calls
        assert service.plain(keys[2]) == service.plain(keys[2])
        assert service.calls <= calls + 1


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_server_that_hangs_does_not_hide_the_others(own_cluster, prefix, blocking):
    """The one that is asked first for the slots is silent: the next time another one is asked."""
    cluster = own_cluster
    provider = RedisCacheProvider(
        cluster.url, prefix=prefix, timeout="300 ms", connect_timeout="300 ms"
    )
    await provider.start(Clock())
    face = provider.blocking if blocking else provider
    where = {cluster.owner(slot_of(provider.names.value(one))): one for one in MANY}
    cluster.nodes[0].signal(signal.SIGSTOP)  # the first of the URL
    try:
        for _ in range(2):
            with suppress(ProviderUnavailable):
                await face.look(where[1])
        with pytest.raises(ProviderUnavailable):
            await face.look(where[0])
        with suppress(ProviderUnavailable):
            await face.look(where[2])
        assert await face.look(where[1]) is None
        assert await face.look(where[2]) is None
    finally:
        cluster.nodes[0].signal(signal.SIGCONT)
    await provider.stop()


async def test_a_replica_takes_the_place_of_a_server(own_cluster, restartable, prefix):
    """After the failover of one server the app is back to normal by itself, with all its slots."""
    cluster = own_cluster
    spare = restartable(**{"cluster-enabled": "yes", "cluster-node-timeout": "1000"})
    with redis.Redis.from_url(spare.url) as raw:
        raw.execute_command("CLUSTER", "MEET", "127.0.0.1", cluster.nodes[0].port)
        cluster.wait(lambda: len(raw.execute_command("CLUSTER", "SLOTS")) == 3)
        raw.execute_command("CLUSTER", "REPLICATE", cluster.ids[2])
        cluster.wait(lambda: raw.info()["master_link_status"] == "up")
        async with app_at(cluster.url, prefix) as app:
            service = app.get(Service)
            for key in range(20):
                await service.f(key)
            guard = app.guards[0]
            await asyncio.to_thread(cluster.nodes[2].kill)
            await asyncio.to_thread(
                cluster.wait, lambda: raw.execute_command("ROLE")[0] == b"master"
            )
            until = time.monotonic() + 20
            calls = -1
            while calls != service.calls or guard.down:
                assert time.monotonic() < until
                app.clock.advance("2 seconds")
                calls = service.calls
                for key in range(20):
                    await service.f(key)
            await app.invalidate_tags("t")
            for key in range(20):
                await service.f(key)
            assert service.calls == calls + 20
            await service.f.clear()
            assert await service.f.cache.keys() == []
            assert not guard.down


async def test_to_discard_what_moved_is_of_another_life(cluster, prefix):
    """An entry keeps the mark of the server that wrote it; "trust" takes it where it is now."""
    trusting = RedisCacheProvider(cluster.url, prefix=prefix)
    strict = RedisCacheProvider(cluster.url, prefix=prefix, after_restart="discard")
    for provider in (trusting, strict):
        await provider.start(Clock())
    lease = await strict.acquire(K)
    assert isinstance(lease, Lease)
    assert await strict.store(lease, entry())
    assert await strict.look(K) is not None
    slot = slot_of(strict.names.value(K))
    source = cluster.owner(slot)
    to = (source + 1) % 3
    for here, there in ((source, to), (to, source)):
        await asyncio.to_thread(cluster.begin, slot, here, there)
        await asyncio.to_thread(cluster.move, slot, here, there)
        await asyncio.to_thread(cluster.end, slot, there)
        assert await trusting.look(K) is not None
        assert (await strict.look(K) is None) == (there == to)
    for provider in (trusting, strict):
        await provider.stop()


async def test_those_who_find_a_cluster_at_once_do_not_fail_each_other(cluster, prefix):
    """The first one to learn it cuts the connections on which others wait; they begin again."""
    for number in range(10):
        provider = RedisCacheProvider(cluster.nodes[0].url, prefix=f"{prefix}{number}")
        await provider.start(Clock())
        await asyncio.gather(
            *(provider.look(address) for address in MANY[:3]),
            *(asyncio.to_thread(drive, provider.blocking.look(address)) for address in MANY[:3]),
            provider.delete([K]),
            provider.keys("space"),
        )
        await provider.stop()
