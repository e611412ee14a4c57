"""S3-FIFO: what is used stays, what was asked for once leaves first."""

import itertools
import random
from collections import OrderedDict, deque
from math import inf

import pytest

from stillfresh.entry import Entry, Windows
from stillfresh.providers.eviction import Resident, S3Fifo, close_gaps


class Cache:
    """The policy with a dictionary, and no provider around it."""

    def __init__(self, most):
        self.most = most
        self.policy = S3Fifo()
        self.there = {}

    def get(self, key):
        """Read *key*, or store it; answer whether it was there."""
        resident = self.there.get(key)
        if resident is not None:
            resident.entry.visits += 1
            return True
        while len(self.there) >= self.most:
            del self.there[self.policy.evict().key]
        self.add(key)
        return False

    def add(self, key):
        self.there[key] = Resident("space", key, Entry(None, 0.0, Windows(inf)))
        self.policy.enter(self.there[key])

    def remove(self, key):
        resident = self.there.pop(key)
        resident.present = False
        self.policy.leave(resident)

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
    evicted = [cache.policy.evict().key for _ in range(40)]
    assert evicted == list(range(1, 80, 2))


def test_first_in_first_out_without_reads():
    """Nobody was touched: the oldest leaves."""
    cache = Cache(10)
    for n in range(10):
        cache.get(n)
    assert [cache.policy.evict().key for _ in range(10)] == list(range(10))
    assert cache.policy.evict() is None


def test_who_comes_back_soon_goes_to_main():
    """A key that is stored again after it left is remembered, once."""
    cache = Cache(10)
    for n in range(12):
        cache.get(n)
    cache.get(0)
    assert cache.there[0].queue is cache.policy.main
    cache.remove(0)
    cache.add(0)
    assert cache.there[0].queue is cache.policy.small


def test_to_be_stored_again_is_a_touch():
    """A replaced entry keeps its place and gets its chance, though the new one has no reads."""
    cache = Cache(3)
    for n in range(3):
        cache.get(n)
    cache.there[0].entry.visits = 7
    for resident in (cache.there[0], cache.there[2]):
        resident.touched()
        resident.entry = Entry(None, 0.0, Windows(inf))
        resident.counted = -1
    assert cache.policy.evict().key == 1


def test_credit_runs_out():
    """Who was read a thousand times long ago leaves, a few rounds after the others."""
    cache = Cache(20)
    cache.get("hot")
    cache.policy.main.append(cache.policy.small.popleft())
    cache.there["hot"].entry.visits = 1000
    left_after = None
    for n in range(200):
        cache.get(n)
        cache.get(n)  # everybody is read again, so main is full of them
        if left_after is None and "hot" not in cache.there:
            left_after = n
    assert 40 < left_after < 120


def test_one_eviction_is_bounded():
    """When everybody in main was touched, a victim is found without going all the way round."""
    cache = Cache(10_000)
    for n in range(10_000):
        cache.add(n)
        cache.there[n].entry.visits = 9
    cache.policy.evict()
    for resident in cache.there.values():
        resident.entry.visits += 9
    before = {key: r.counted for key, r in cache.there.items()}
    cache.policy.small.line.clear()
    cache.policy.small.alive = 0
    cache.policy.evict()
    looked_at = sum(before[key] != r.counted for key, r in cache.there.items())
    assert looked_at <= 101


def test_who_left_is_remembered_in_bounds():
    """The memory of who left is never larger than about as many as there are."""
    cache = Cache(100)
    for n in range(10_000):
        cache.get(n)
        assert len(cache.policy._ghosts) + len(cache.policy._older_ghosts) <= 104


def test_gaps_are_closed():
    """Queues are at most about twice as long as what is in them."""
    cache = Cache(10_000)
    for n in range(1000):
        cache.add(n)
    for n in range(100_000):
        cache.remove(n)
        cache.add(n + 1000)
        assert len(cache.policy.small.line) <= 2200
    assert len(cache.policy) == 1000


def test_leaving_twice_is_leaving_once():
    """Who was evicted, or left already, is not counted again."""
    cache = Cache(10)
    cache.get("a")
    cache.get("b")
    victim = cache.policy.evict()
    cache.policy.leave(victim)
    cache.policy.leave(victim)
    assert len(cache.policy) == 1


def test_closing_gaps_keeps_the_order():
    """Who is left stands as before."""
    cache = Cache(10)
    for n in range(6):
        cache.get(n)
    for n in (0, 3, 5):
        cache.remove(n)
    line = cache.policy.small.line
    close_gaps(line)
    assert [resident.key for resident in line] == [1, 2, 4]
    empty = deque()
    close_gaps(empty)
    assert not empty
