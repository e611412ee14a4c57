"""The memory provider: the contract, and what only a memory has to keep."""

import asyncio
import gc
import itertools
import logging
import os
import subprocess
import sys
import threading
import weakref
from math import inf

import pytest

from stillfresh.clock import Clock
from stillfresh.computing.drivers import drive
from stillfresh.entry import Entry, Windows
from stillfresh.errors import InvalidOption
from stillfresh.providers.base import Address, Busy, CacheProvider, Found, Lease
from stillfresh.providers.memory import MemoryCacheProvider
from stillfresh.testing.bench import PATIENCE, in_threads
from stillfresh.testing.contract import ProviderContract

FOREVER = Windows(inf)


class SetClock(Clock):
    """A clock that stands until it is moved."""

    def __init__(self):
        self.seconds = 1000.0
        self.now = lambda: self.seconds

    def advance(self, seconds):
        self.seconds += seconds


class TestMemory(ProviderContract):
    virtual = True

    def make_clock(self):
        return SetClock()

    def make_provider(self) -> CacheProvider:
        return MemoryCacheProvider()


class TestSerializingMemory(TestMemory):
    def make_provider(self) -> CacheProvider:
        return MemoryCacheProvider(serialize=True)


def at(key, space="space"):
    return Address(space, str(key))


class Store:
    """A provider without a loop: what it should do, said shortly."""

    def __init__(self, *args, **options):
        self.provider = MemoryCacheProvider(*args, **options)
        self.clock = SetClock()
        drive(self.provider.start(self.clock))
        self.evicted = []
        self.provider.add_evict_listener(lambda address: self.evicted.append(address.key))

    def put(self, key, value=None, windows=FOREVER, size=0, tags=()):
        entry = Entry(value, self.clock.now(), windows, frozenset(tags), size)
        drive(self.provider.put([(at(key), entry)]))
        return entry

    def lease(self, key, **options):
        lease = drive(self.provider.acquire(at(key), **options))
        assert isinstance(lease, Lease)
        return lease

    def store(self, key, value=None, windows=FOREVER, size=0):
        entry = Entry(value, self.clock.now(), windows, frozenset(), size)
        return drive(self.provider.store(self.lease(key, take=True), entry))

    def look(self, key):
        return drive(self.provider.look(at(key)))

    def keys(self):
        return set(drive(self.provider.keys("space")))

    def held(self):
        """How many places there are in each queue, gaps included."""
        return [sum(c.fill - c.first for c in chunks(q)) for q in queues(self.provider)]


def queues(provider):
    return [provider._table._policy.small, provider._table._policy.main]


def chunks(queue):
    """The chain of a queue, and whether it is whole."""
    chain, chunk = [], queue.head
    while chunk is not None:
        assert chunk.prev is (chain[-1] if chain else None)
        assert chunk.queue is queue
        assert chunk.alive == len(chunk.entries())
        chain.append(chunk)
        chunk = chunk.next
    assert chain[-1] is queue.tail
    assert queue.alive == sum(chunk.alive for chunk in chain)
    return chain


def entries_of(provider):
    """All entries, after a look whether each waits in just one place."""
    spaces = provider._table.spaces
    there = [entry for space in spaces.values() for entry in space.values()]
    waiting = [e for q in queues(provider) for chunk in chunks(q) for e in chunk.entries()]
    assert {id(entry) for entry in there} == {id(entry) for entry in waiting}
    assert len(there) == len(waiting) == len(provider._table)
    assert sum(entry.size for entry in there) == provider._table.bytes
    for name, space in spaces.items():
        assert all((e.space, e.key) == (name, key) for key, e in space.items())
    return there


# Bounds


def test_options_are_checked():
    """A bound that is no whole number of at least 1 is named in the error."""
    for name in ("max_entries", "max_bytes"):
        for value in (0, -1, 1.5, True, "10", None):
            with pytest.raises(InvalidOption, match=f"{name}={value!r}: expected a whole number"):
                MemoryCacheProvider(**{name: value})
    with pytest.raises(InvalidOption, match="serialize='yes': expected True or False"):
        MemoryCacheProvider(serialize="yes")


def test_entries_are_bounded_over_all_namespaces():
    """There are never more than `max_entries`, and each that left was reported once."""
    s = Store(max_entries=10)
    for n in range(100):
        drive(s.provider.put([(at(n, f"space{n % 3}"), Entry(n, 0.0, FOREVER))]))
        assert len(s.provider._table) <= 10
    total = sum(s.provider.count(f"space{n}") for n in range(3))
    assert total == 10
    assert len(s.evicted) == len(set(s.evicted)) == 90


@pytest.mark.parametrize("most", [1, 2, 3])
def test_tiny_bounds_work(most):
    """The newest entry is always kept, however little room there is."""
    s = Store(max_entries=most)
    for n in range(50):
        for _ in range(3):
            s.look(n - 1)
        assert s.store(n, n)
        assert s.look(n).value == n
        assert len(s.keys()) <= most


def test_bytes_are_bounded():
    """Sizes count together, and as many leave as a large one needs."""
    s = Store(max_bytes=100, serialize=True)
    for n in range(10):
        s.put(n, b"", size=10)
    assert s.evicted == []
    s.put("large", b"", size=35)
    assert s.evicted == ["0", "1", "2", "3"]
    assert s.provider._table.bytes == 95
    s.put("large", b"", size=5)
    assert s.provider._table.bytes == 65
    drive(s.provider.clear("space"))
    assert s.provider._table.bytes == 0


def test_growing_in_place_makes_room():
    """An entry that is replaced by a larger one pushes others out, and stays itself."""
    s = Store(max_bytes=100, serialize=True)
    for n in range(10):
        s.put(n, b"", size=10)
    for size in (50, 100, 1):
        s.put(9, b"", size=size)
        assert s.look(9).size == size
        assert s.provider._table.bytes <= 100
    assert s.keys() == {"9"}


def test_what_is_larger_than_all_the_room_is_not_kept(caplog):
    """Its store answers False, what was there is gone, it is reported, and one line says so."""
    s = Store(max_bytes=100, serialize=True)
    s.put("key", b"", size=10)
    s.put("other", b"", size=10)
    with caplog.at_level(logging.WARNING):
        assert s.store("key", b"", size=101) is False
        assert s.store("key", b"", size=102) is False
    assert s.keys() == {"other"}
    assert s.evicted == ["key", "key"]
    assert len(caplog.records) == 1
    assert "101 bytes are more than max_bytes" in caplog.text
    assert not isinstance(drive(s.provider.acquire(at("key"))), Busy)


def test_what_is_used_stays():
    """Keys that were read survive any number of keys that never are."""
    s = Store(max_entries=100)
    for n in range(50):
        s.put(f"used{n}")
    for n in range(10_000):
        s.put(f"once{n}")
        entry = s.look(f"used{n % 50}")
        assert entry is not None
        entry.visits += 1  # as the short cut does
    assert {f"used{n}" for n in range(50)} <= s.keys()


def test_the_same_entry_may_be_put_twice():
    """Writing what is there already leaves it alive, and counted once."""
    s = Store(serialize=True)
    entry = s.put("key", b"value", Windows(60.0), size=5)
    drive(s.provider.put([(at("key"), entry)]))
    assert s.look("key").value == b"value"
    assert entry.quick_until == s.clock.now() + 60.0
    assert s.provider._table.bytes == 5


def test_a_listener_that_raises_breaks_nothing(caplog):
    """It is logged, the next listener is told, and one that was removed is not."""
    s = Store(max_entries=1)
    told = []
    s.provider.add_evict_listener(lambda _: 1 / 0)
    remove = s.provider.add_evict_listener(told.append)
    s.put("a")
    s.put("b")
    assert told == [at("a")]
    assert "a listener of evictions failed" in caplog.text
    remove()
    remove()
    s.put("c")
    assert told == [at("a")]


def test_a_listener_runs_without_the_lock():
    """A listener may wait for another thread that uses the same provider."""
    s = Store(max_entries=1)
    found = []

    def listener(_):
        thread = threading.Thread(target=lambda: found.append(s.look("b")), daemon=True)
        thread.start()
        thread.join(PATIENCE)

    s.provider.add_evict_listener(listener)
    s.put("a")
    entry = s.put("b")
    assert found == [entry]


# What leaves, and what is left of it


def test_replacing_and_deleting_the_same_keys_leaves_nothing_behind():
    """After 100,000 changes the queues are as long as at the start."""
    s = Store(max_entries=1000)
    for n in range(50_000):
        s.put(n % 10)
    for n in range(50_000):
        s.put(n % 10)
        drive(s.provider.delete([at(n % 10)]))
    assert max(s.held()) <= 100
    assert len(s.provider._table) == 0
    assert s.provider._table.spaces == {}


def test_clearing_lets_go_of_everything():
    """Keys and values are freed by `clear` itself, not by later stores."""
    s = Store()
    for n in range(5000):
        s.put(n)
    drive(s.provider.clear("space"))
    assert max(s.held()) <= 200


def test_expired_entries_leave_as_others_are_stored():
    """Within as many stores as there were entries each of the expired ones is gone."""
    s = Store(max_entries=10_000)
    for n in range(1000):
        s.put(n, windows=Windows(10.0))
    s.clock.advance(10.0)
    for n in range(1000):
        s.put(f"new{n}")
    assert len(s.provider._table) == 1000
    assert s.evicted == []


def test_a_replaced_entry_leaves_at_its_own_time():
    """The sweep knows the life of the entry that is there, not of the one before."""
    s = Store()
    s.put("longer", windows=Windows(10.0))
    s.put("longer", windows=FOREVER)
    s.put("shorter", windows=FOREVER)
    s.put("shorter", windows=Windows(10.0))
    s.clock.advance(20.0)
    for n in range(10):
        s.put(n)
    assert len(s.provider._table) == 11
    assert s.look("longer") is not None


def test_what_is_over_takes_nobodys_place():
    """Writing an entry that is over already evicts nobody, and is no failure."""
    s = Store(max_entries=1)
    s.put("key")
    s.put("over", windows=Windows(0.0))
    assert s.store("over", windows=Windows(0.0)) is True
    assert s.evicted == []
    assert len(s.provider._table) == 1


def test_entries_with_a_dropped_tag_leave_as_others_are_stored():
    """What was invalidated by a tag does not take room for ever, though nobody asks for it."""
    s = Store()
    for n in range(100):
        s.put(n, tags=["tag"])
    drive(s.provider.invalidate_tags(None, ["tag"]))
    for n in range(100):
        s.put(f"new{n}")
    assert len(s.provider._table) == 100


def test_dropping_a_tag_touches_no_member():
    """One version dies, however many entries hold it; they are not looked at."""
    s = Store()
    entries = [s.put(n, tags=["tag"]) for n in range(10_000)]
    markers = {marker for entry in entries for marker in entry.markers}
    assert len(markers) == 2  # one for the namespace, one for all of them
    drive(s.provider.invalidate_tags(None, ["tag"]))
    assert sum(marker.dead for marker in markers) == 1
    assert all(entry.epoch == 0 and not entry.expired for entry in entries)
    assert len(s.provider._table) == 10_000
    assert s.provider.count("space") == 0


class Value:
    """An object to which there are weak references, and that may say when it dies."""

    def __init__(self, at_end=lambda: None):
        self.at_end = at_end

    def __del__(self):
        self.at_end()


CHANGES = {
    "delete": lambda p: p.delete([at("key")]),
    "clear": lambda p: p.clear("space"),
    "expire": lambda p: p.expire(at("key")),
    "matching": lambda p: p.invalidate_matching("space", "k*"),
    "put": lambda p: p.put([(at("key"), Entry(None, 0.0, FOREVER))]),
    "evict": lambda p: p.put([(at("other"), Entry(None, 0.0, FOREVER))]),
    "stop": lambda p: p.stop(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whoever_leaves_is_dead_in_place(change):
    """An index that still holds the entry finds it useless, and its value is not kept."""
    s = Store(max_entries=1)
    value = Value()
    alive = weakref.ref(value)
    entry = s.put("key", value)
    del value
    drive(CHANGES[change](s.provider))
    assert entry.quick_until == -inf
    assert not hasattr(entry, "value")
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("change", CHANGES)
def test_a_destructor_may_call_back_and_wait_for_another_thread(change):
    """Values end when the lock is free: no deadlock, whatever the destructor does."""
    s = Store(max_entries=1)
    answers = []

    def at_end():
        drive(s.provider.delete([at("mine")]))
        thread = threading.Thread(target=lambda: answers.append(s.look("none")), daemon=True)
        thread.start()
        thread.join(PATIENCE)

    s.put("key", Value(at_end))
    drive(CHANGES[change](s.provider))
    gc.collect()
    assert answers == [None]


def test_a_destructor_that_runs_under_the_lock_may_call_back():
    """A collection of garbage can happen anywhere, and its destructors use the cache, too."""
    s = Store(max_entries=50)
    ran, reads, entries = [], itertools.count(), []

    def at_end():
        n = len(ran)
        ran.append(s.provider._lock.acquire(blocking=False))
        s.provider._lock.release()
        s.clock.now = lambda: 1000.0
        entries.append(s.put(f"end{n % 60}", size=n % 3))
        entries.append(s.put(n % 40, size=n % 3))
        drive(s.provider.delete([at(n % 40)]))
        drive(s.provider.invalidate_tags(None, ["tag"]))
        s.clock.now = now

    def now():  # it is asked under the lock
        if next(reads) % 3 == 0:
            circle = Value(at_end)
            circle.itself = circle
        return 1000.0

    s.clock.now = now
    thresholds = gc.get_threshold()
    gc.set_threshold(1)  # collect at every chance
    try:
        for n in range(1000):
            entries.append(s.put(n % 40, [], tags=["tag"], size=n % 7))
            s.store(f"s{n % 40}", [], size=n % 5)
            s.look(n % 50)
    finally:
        gc.set_threshold(*thresholds)
        s.clock.now = lambda: 1000.0
    gc.collect()
    table = s.provider._table
    assert len(ran) > 100
    assert len(table) <= 50
    there = {id(entry) for entry in entries_of(s.provider)}
    assert all(e.quick_until == -inf for e in entries if id(e) not in there)
    drive(s.provider.clear("space"))
    assert (len(table), table.bytes, table.spaces) == (0, 0, {})


def test_stop_of_the_last_app_drops_everything():
    """A stopped provider keeps no entry and no lease, and starts again empty."""
    s = Store()
    drive(s.provider.start(s.clock))
    s.put("key")
    lease = s.lease("held")
    drive(s.provider.stop())
    assert s.keys() == {"key"}
    drive(s.provider.stop())
    assert s.keys() == set()
    assert not drive(s.provider.store(lease, Entry(1, s.clock.now(), FOREVER)))
    assert len(s.provider._leases) == 0


# Leases


def test_nothing_is_remembered_when_nobody_computes():
    """The dropped tags, the leases and the wake-ups are forgotten with the last lease."""
    s = Store()
    lease = s.lease("key")
    drive(s.provider.invalidate_tags(None, ["a", "b"]))
    assert s.provider.book._dropped
    drive(s.provider.release(lease))
    assert not s.provider.book._dropped
    drive(s.provider.invalidate_tags(None, ["a", "b"]))
    assert not s.provider.book._dropped


def test_leases_of_the_dead_do_not_pile_up():
    """Holders that vanished without a word are found when there are many leases."""
    s = Store()
    for n in range(20_000):
        s.lease(n, alive=lambda: False)
        assert len(s.provider._leases) <= 2001


def test_alive_is_asked_without_the_lock():
    """A holder that answers slowly, or from another thread, stops nobody."""
    s = Store()
    answers = []

    def alive():
        thread = threading.Thread(target=lambda: answers.append(s.look("none")), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        return True

    lease = s.lease("key", alive=alive)
    assert isinstance(drive(s.provider.acquire(at("key"))), Busy)
    assert drive(s.provider.store(lease, Entry(1, s.clock.now(), FOREVER)))
    assert answers == [None, None]


async def settle_down():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("change", ["release", "store", "settle", "delete", "clear", "tag", "stop"])
async def test_wait_ends_at_once_when_the_lease_does(change):
    """The waiter is woken by the end of the lease itself, not by a timer."""
    p = MemoryCacheProvider()
    await p.start(Clock())
    lease = await p.acquire(at("key"), tags=frozenset(["tag"]))
    assert isinstance(lease, Lease)
    waiters = [asyncio.create_task(p.wait(at("key"), 100.0)) for _ in range(3)]
    await settle_down()
    assert not any(waiter.done() for waiter in waiters)
    if change == "store":
        await p.store(lease, Entry(1, Clock.now(), FOREVER))
    elif change == "settle":
        await p.settle(lease, frozenset())
    elif change == "release":
        await p.release(lease)
    elif change == "tag":
        await p.invalidate_tags("space", ["tag"])
    elif change == "stop":
        await p.stop()
    else:
        await (p.delete([at("key")]) if change == "delete" else p.clear("space"))
    await settle_down()
    assert all(waiter.done() for waiter in waiters)
    assert p._leases._wakers == {}


async def test_a_cancelled_waiter_leaves_nothing():
    """Who stops waiting is not woken, and no timer is left on the loop."""
    p = MemoryCacheProvider()
    lease = await p.acquire(at("key"))
    waiter = asyncio.create_task(p.wait(at("key"), 100.0))
    await settle_down()
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert p._leases._wakers == {}
    assert isinstance(lease, Lease)
    await p.release(lease)


def test_wait_looks_up_from_time_to_time():
    """With a clock that stands still, both faces return after a moment of real time."""
    s = Store()
    s.lease("key")
    drive(s.provider.blocking.wait(at("key"), 1e9))

    async def both():
        await asyncio.wait_for(s.provider.wait(at("key"), 1e9), PATIENCE)

    asyncio.run(both())


def test_a_waiter_of_a_closed_loop_breaks_nothing():
    """The end of a lease for which a dead loop waited is an end like any other."""
    s = Store()
    lease = s.lease("key")
    loop = asyncio.new_event_loop()
    task = loop.create_task(s.provider.wait(at("key"), 100.0))
    loop.run_until_complete(settle_down())
    loop.close()
    assert drive(s.provider.store(lease, Entry(1, s.clock.now(), FOREVER)))
    task._log_destroy_pending = False


def test_the_blocking_face_is_the_same_provider():
    """It shares everything, is its own blocking face, and keeps its origin alive."""
    s = Store(serialize=True)
    face = s.provider.blocking
    s.put("key", b"1")
    assert drive(face.incr(at("key"), 1, FOREVER)) == 2
    assert (face.serialized, face.shared, face.book) == (True, False, s.provider.book)
    assert drive(face.blocking.look(at("key"))).value == b"2"
    assert face.count("space") == s.provider.count("space", "k") == 1
    assert face.count("space", "x") == 0
    assert repr(face) == repr(s.provider)
    assert "1 of 10000 entries, 1 of 268435456 bytes, 0 leases" in repr(face)


def test_a_listener_that_comes_as_another_one_goes_is_kept():
    """Who leaves looks for itself among the others; whoever comes meanwhile waits for that."""
    s = Store()
    told = []
    comes = threading.Thread(target=lambda: s.provider.add_evict_listener(told.append))

    class Listener:
        def __call__(self, address):
            pass

        def __eq__(self, other):
            if comes.ident is None:
                comes.start()
                comes.join(0.1)  # without a lock it is there before this one has left
            return False

        __hash__ = None

    s.provider.add_evict_listener(Listener())
    remove = s.provider.add_evict_listener(lambda _: None)
    remove()
    comes.join(PATIENCE)
    assert told.append in s.provider._reports.listeners


# Counters


@pytest.mark.parametrize("value", [True, "1", 1.0, None, b"1", [1]])
def test_only_an_int_is_a_counter(value):
    """What looks like a number is none; the error names the key and the type."""
    s = Store()
    s.put("key", value)
    lease = s.lease("key", take=True)
    with pytest.raises(TypeError, match=f"'key' of 'space' holds {type(value).__name__}"):
        drive(s.provider.incr(at("key"), 1, FOREVER))
    assert s.look("key").value is value
    assert s.provider._leases.holds(lease)


@pytest.mark.parametrize("value", [b"", b"-", b"--1", b"1 ", b"+1", b"1_0", b"\xb2", b"1.0"])
def test_only_digits_are_a_serialized_counter(value):
    """Bytes count when they are the decimal digits of a whole number, and nothing else."""
    s = Store(serialize=True)
    s.put("key", value)
    with pytest.raises(TypeError, match="no counter"):
        drive(s.provider.incr(at("key"), 1, FOREVER))


def test_a_counter_keeps_its_tags():
    """Adding changes neither the tags nor their versions."""
    s = Store()
    s.put("key", 1, tags=["tag"])
    assert drive(s.provider.incr(at("key"), 1, FOREVER)) == 2
    drive(s.provider.invalidate_tags(None, ["tag"]))
    assert drive(s.provider.incr(at("key"), 1, FOREVER)) == 1


def test_an_expired_counter_starts_anew():
    """What is only stale is not added to."""
    s = Store()
    s.put("key", 5, Windows(60.0, stale=60.0))
    drive(s.provider.expire(at("key")))
    assert drive(s.provider.incr(at("key"), 1, FOREVER)) == 1


# Threads and processes


def test_reads_are_touches():
    """`look` and `Found` count; listing, counting and deleting do not."""
    s = Store()
    entry = s.put("key")
    s.look("key")
    assert isinstance(drive(s.provider.acquire(at("key"))), Found)
    s.keys()
    s.provider.count("space")
    assert entry.looks == 2


def test_threads_leave_the_books_in_order():
    """Eight threads at everything at once: the bound holds, and all counts agree afterwards."""
    s = Store(max_entries=64, max_bytes=2000)
    p = s.provider

    def work(number):
        for n in range(400):
            key = (n * 7 + number) % 100
            lease = drive(p.acquire(at(key), tags=frozenset([f"t{key % 5}"]), take=n % 3 == 0))
            entry = Entry([n], s.clock.now(), FOREVER, frozenset([f"t{key % 5}"]), n % 60)
            if isinstance(lease, Lease):
                drive(p.store(lease, entry) if n % 5 else p.release(lease))
            if n % 4 == 0:
                drive(p.put([(at(key + 1), Entry([n], 0.0, FOREVER, size=n % 60))]))
            if n % 6 == 0:
                drive(p.delete([at(key + 2)]))
            if n % 50 == 0:
                drive(p.invalidate_tags(None, [f"t{number % 5}"]))
            if n % 90 == 0:
                drive(p.invalidate_matching("space", "*1"))
            drive(p.look(at(key)))
            drive(p.keys("space"))

    in_threads(work, 8)
    table = p._table
    assert len(entries_of(p)) <= 64
    assert table.bytes <= 2000
    assert len(p._leases) == 0
    drive(p.clear("space"))
    assert (len(table), table.bytes) == (0, 0)


async def test_nothing_runs_when_idle():
    """After use there is no task, no thread and no timer that was not there before."""
    threads = set(threading.enumerate())
    p = MemoryCacheProvider()
    await p.start(Clock())
    lease = await p.acquire(at("key"))
    assert isinstance(lease, Lease)
    await p.wait(at("key"), 0.001)
    await p.store(lease, Entry(1, Clock.now(), Windows(0.001)))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert set(threading.enumerate()) <= threads
    timers = asyncio.get_running_loop()._scheduled
    assert all(timer.cancelled() for timer in timers if "_finish" in repr(timer))


FORK = """
import os, signal, sys, threading
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address, Lease
from stillfresh.providers.memory import MemoryCacheProvider
from stillfresh.computing.drivers import drive

p = MemoryCacheProvider()
face = p.blocking
a = Address("space", "key")
entry = Entry(1, p._clock.now(), Windows(60.0))
drive(p.put([(a, entry)]))
lease = drive(p.acquire(a, take=True))
busy, done = threading.Event(), threading.Event()

def hold():
    with p._lock:
        busy.set()
        done.wait(20)

if sys.argv[1] == "held":
    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    busy.wait(20)
pid = os.fork()
if not pid:
    signal.alarm(20)  # ends who waits for ever
    there = drive(face.look(a))
    kept = there is entry if sys.argv[1] == "free" else there is None and entry.expired
    free = isinstance(drive(face.acquire(a, take=True)), Lease)
    late = drive(p.store(lease, Entry(2, p._clock.now(), Windows(60.0))))
    os._exit(0 if kept and free and not late else 1)
done.set()
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert drive(p.store(lease, Entry(2, p._clock.now(), Windows(60.0)))), "the parent lost its lease"
sys.exit(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("lock", ["free", "held"])
def test_a_child_of_a_fork_works(lock):
    """It has a lock of its own and no leases, and entries only if nobody was at work on them."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, lock]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=env, timeout=PATIENCE, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
