"""S3-FIFO: what is used stays, what was asked for once leaves first."""

import itertools
import random
from collections import OrderedDict
from math import inf

import pytest

from stillfresh.entry import Entry, Windows
from stillfresh.providers.aftermath import Aftermath, Reports
from stillfresh.providers.base import Address
from stillfresh.providers.eviction import CHUNK, Chunk
from stillfresh.providers.table import Table
from stillfresh.tags import TagBook

FOREVER = Windows(inf)
BIG = 10**9


class Cache:
    """A table, and no provider around it."""

    def __init__(self, most):
        self.table = Table(most, BIG, TagBook(), Reports())
        self.policy = self.table._policy

    @property
    def there(self):
        return self.table.spaces.get("space", {})

    def get(self, key):
        """Read *key*, or store it; answer whether it was there."""
        entry = self.table.at("space", key)
        if entry is not None:
            entry.visits += 1
            return True
        self.add(key)
        return False

    def add(self, key):
        entry = Entry(None, 0.0, FOREVER)
        self.table.place(Address("space", key), entry, 1.0, self.after())
        return entry

    def after(self):
        return Aftermath(self.table.reports)

    def evict(self):
        entry = self.policy.evict()
        if entry is None:
            return None
        self.table.remove(entry, self.after())
        return entry.key

    def remove(self, key):
        self.table.remove(self.there[key], self.after())

    def hit_ratio(self, trace):
        return sum(self.get(key) for key in trace) / len(trace)


def lru_hit_ratio(trace, most):
    there, hits = OrderedDict(), 0
    for key in trace:
        if key in there:
            hits += 1
            there.move_to_end(key)
        else:
            if len(there) >= most:
                there.popitem(last=False)
            there[key] = True
    return hits / len(trace)


def zipf(seed, count, universe=5000, skew=1.0):
    weights = itertools.accumulate(1 / rank**skew for rank in range(1, universe + 1))
    numbers = random.Random(seed).choices(range(universe), cum_weights=list(weights), k=count)
    return [f"key{number}" for number in numbers]


def with_scans(trace, seed):
    """Between the reads of *trace*, now and then a run over keys that never come again."""
    rng, fresh = random.Random(seed), itertools.count()
    for key in trace:
        if rng.random() < 0.002:
            yield from (f"scan{next(fresh)}" for _ in range(200))
        yield key


@pytest.mark.parametrize("most", [10, 50, 500])
def test_more_hits_than_lru(most):
    """On a Zipf trace it finds more than LRU does, at any size."""
    trace = zipf(1, 40_000)
    assert Cache(most).hit_ratio(trace) > lru_hit_ratio(trace, most) + 0.03


@pytest.mark.parametrize("most", [50, 500])
def test_scans_do_little_harm(most):
    """With scans through it, it finds a good deal more than LRU does."""
    trace = list(with_scans(zipf(2, 40_000), 2))
    assert Cache(most).hit_ratio(trace) > lru_hit_ratio(trace, most) + 0.04


def test_popularity_may_change():
    """When other keys become popular, the old ones leave: no worse than LRU."""
    trace = zipf(3, 30_000) + [f"other{key}" for key in zipf(4, 30_000)]
    assert Cache(100).hit_ratio(trace) > lru_hit_ratio(trace, 100)


def test_one_hit_wonders_leave_first():
    """Of a hundred keys, those that were read again outlive those that were not."""
    cache = Cache(100)
    for n in range(100):
        cache.get(n)
    for n in range(0, 100, 2):
        cache.get(n)
    evicted = [cache.evict() for _ in range(40)]
    assert evicted == list(range(1, 80, 2))


def test_first_in_first_out_without_reads():
    """Nobody was touched: the oldest leaves."""
    cache = Cache(10)
    for n in range(10):
        cache.get(n)
    assert [cache.evict() for _ in range(10)] == list(range(10))
    assert cache.evict() is None


def test_who_comes_back_soon_goes_to_main():
    """A key that is stored again after it left is remembered, once."""
    cache = Cache(10)
    for n in range(12):
        cache.get(n)
    cache.get(0)
    assert cache.there[0].chunk.queue is cache.policy.main
    cache.remove(0)
    cache.add(0)
    assert cache.there[0].chunk.queue is cache.policy.small


def test_to_be_stored_again_is_a_touch():
    """What is written over another entry gets its chance, though it has no reads itself."""
    cache = Cache(3)
    for n in range(3):
        cache.get(n)
    cache.add(0)
    assert cache.evict() == 1


def test_what_is_stored_again_waits_in_the_same_queue():
    """At its end; so a key that is only written, never read, does not get into main by that."""
    cache = Cache(10)
    for n in range(12):
        cache.get(n)
    cache.get(0)
    for n in (0, 11):
        before = cache.there[n].chunk.queue
        cache.add(n)
        assert cache.there[n].chunk.queue is before
    assert cache.policy.small.tail.entries()[-1].key == 11


def test_credit_runs_out():
    """Who was read a thousand times long ago leaves, a few rounds after the others."""
    cache = Cache(20)
    cache.get("hot")
    cache.get("hot")
    for n in range(-20, 0):
        cache.get(n)
    assert cache.there["hot"].chunk.queue is cache.policy.main
    cache.there["hot"].visits = 1000
    left_after = None
    for n in range(200):
        cache.get(n)
        cache.get(n)  # everybody is read again, so main is full of them
        if left_after is None and "hot" not in cache.there:
            left_after = n
    assert 40 < left_after < 120


def test_one_eviction_is_bounded():
    """When everybody in main was touched, a victim is found without going all the way round."""
    cache = Cache(20_000)
    for n in range(10_000):
        cache.add(n).visits = 9
    cache.evict()  # most go to main
    assert cache.policy.small.alive * 10 < len(cache.policy)
    for entry in cache.there.values():
        entry.visits += 9
    before = {key: entry.looks for key, entry in cache.there.items()}
    cache.evict()
    looked_at = sum(before[key] != entry.looks for key, entry in cache.there.items())
    assert looked_at <= 101


def test_who_left_is_remembered_in_bounds():
    """The memory of who left is never larger than about as many as there are."""
    cache = Cache(100)
    for n in range(10_000):
        cache.get(n)
        assert len(cache.policy.ghosts) + len(cache.policy.older_ghosts) <= 104


def places(queue):
    """How many places the chunks of *queue* have, and how many chunks there are."""
    lengths, chunk = [], queue.head
    while chunk is not None:
        lengths.append(len(chunk.line))
        chunk = chunk.next
    return sum(lengths), len(lengths)


def test_gaps_are_closed():
    """A queue has about twice as many places as there is in it, wherever somebody leaves."""
    cache = Cache(100_000)
    for n in range(1000):
        cache.add(n)
    for n in range(100_000):
        cache.remove(n)
        cache.add(n + 1000)
        if n % 1000 == 0:
            assert places(cache.policy.small)[0] <= 2 * 1000 + 3 * CHUNK
    assert len(cache.table) == 1000


def test_one_who_stays_keeps_nothing_of_the_others():
    """The chunks behind one old entry go when they are empty, and shrink when they are not."""
    cache = Cache(100_000)
    for n in range(100 * CHUNK):
        cache.add(n)
    for n in range(100 * CHUNK):
        if n % 1000:
            cache.remove(n)
    assert places(cache.policy.small)[0] <= 100 * 24 + CHUNK
    cache = Cache(100_000)
    cache.add("old")
    for n in range(100 * CHUNK):
        cache.add(n)
        cache.remove(n)
    assert places(cache.policy.small)[1] <= 3


def test_leaving_is_never_a_long_walk(monkeypatch):
    """To close gaps costs the length of one chunk, however many entries there are."""
    lengths = []
    close_gaps = Chunk.close_gaps
    monkeypatch.setattr(
        Chunk, "close_gaps", lambda chunk: (lengths.append(len(chunk.line)), close_gaps(chunk))
    )
    cache = Cache(100_000)
    for n in range(50_000):
        cache.add(n)
    for n in random.Random(1).sample(range(50_000), 50_000):
        cache.remove(n)
    assert max(lengths) <= CHUNK
    assert sum(lengths) < 3 * 50_000


def test_leaving_twice_is_leaving_once():
    """Who was evicted, or left already, is not counted again."""
    cache = Cache(10)
    cache.get("a")
    cache.get("b")
    victim = cache.there["a"]
    assert cache.evict() == "a"
    for _ in range(2):
        cache.policy.leave(victim)
        cache.table.remove(victim, cache.after())
    assert len(cache.table) == cache.policy.small.alive == 1


def test_closing_gaps_keeps_the_order():
    """Who is left stands as before."""
    cache = Cache(100)
    for n in range(60):
        cache.get(n)
    for n in range(60):
        if n % 10 != 3:
            cache.remove(n)
    assert [cache.evict() for _ in range(7)] == [3, 13, 23, 33, 43, 53, None]
