"""
The suite that every provider passes, ours and yours.

    class TestMine(ProviderContract):
        def make_provider(self) -> CacheProvider:
            return MyProvider()

Each test is a claim of `stillfresh.providers.base`, made of both faces of the provider: of the
coroutines on an event loop, and of `blocking` without one, where nothing may suspend. Any
runner will do that collects classes whose name starts with `Test`.
"""

# ruff: noqa: S101  # it ships, and its asserts are the claims

from __future__ import annotations

import asyncio
import threading
import time

from ..computing.drivers import drive
from ..entry import Verdict
from ..providers.base import Busy, Found, Lease
from .bench import PATIENCE, Bench, in_threads, on_loop
from .contract_base import on_both_faces
from .contract_changes import ChangesContract


class ProviderContract(ChangesContract):
    """
    Override `make_provider`, and nothing else unless time is yours to move.

    A provider that takes its time from the clock that it is started with sets `virtual`: then
    no test about time waits. Others wait for real, up to a second.
    """

    # What is there

    @on_both_faces
    async def test_nothing_is_there_at_first(self, b: Bench) -> None:
        """Where nothing was written there is nothing, and asking creates nothing."""
        assert await b.provider.look(b.at()) is None
        assert await b.provider.look_many([b.at(), b.at("other")]) == [None, None]
        assert await b.provider.look_many([]) == []
        assert await b.provider.keys(b.space) == []

    @on_both_faces
    async def test_an_entry_comes_back_as_it_was_put(self, b: Bench) -> None:
        """Value, windows and tags survive the way in and out."""
        tags = (b.tag("a"), b.tag("b"))
        await b.provider.put([(b.at(), b.entry(1, 50.0, 20.0, 30.0, tags))])
        entry = await b.provider.look(b.at())
        assert entry is not None
        assert entry.value == b.value(1)
        assert type(entry.value) is type(b.value(1))
        assert entry.tags == frozenset(tags)
        for kept, given in zip(entry.windows[:3], (50.0, 20.0, 30.0), strict=True):
            assert abs(kept - given) < 0.1
        assert await b.verdict() is Verdict.FRESH

    @on_both_faces
    async def test_empty_and_none_are_values(self, b: Bench) -> None:
        """An entry may hold nothing; that is not the same as no entry."""
        empty: object = b"" if b.provider.serialized else None
        entry = b.entry()
        entry.value = empty
        await b.provider.put([(b.at(), entry)])
        found = await b.provider.look(b.at())
        assert found is not None
        assert found.value == empty

    @on_both_faces
    async def test_put_replaces(self, b: Bench) -> None:
        """The last one written is there."""
        await b.provider.put([(b.at(), b.entry(1)), (b.at("other"), b.entry(2))])
        await b.provider.put([(b.at(), b.entry(3))])
        entries = await b.provider.look_many([b.at("other"), b.at("none"), b.at(), b.at()])
        values = [entry and entry.value for entry in entries]
        assert values == [b.value(2), None, b.value(3), b.value(3)]

    @on_both_faces
    async def test_put_of_what_is_over_deletes(self, b: Bench) -> None:
        """An entry whose last window is over is not written, and the old one leaves."""
        await b.put("key")
        over = b.entry(2, 5.0, 5.0)
        over.born -= 30.0
        await b.provider.put([(b.at(), over)])
        assert await b.seen() is None

    @on_both_faces
    async def test_delete_counts_usable_entries(self, b: Bench) -> None:
        """`delete` drops exact keys, each once, and answers how many there were."""
        await b.put("one", "two", "*")
        assert await b.provider.delete([b.at("one"), b.at("none"), b.at("one")]) == 1
        assert await b.provider.delete([b.at("*")]) == 1
        assert await b.provider.keys(b.space) == ["two"]
        assert await b.provider.delete([]) == 0

    @on_both_faces
    async def test_drop_is_a_delete_that_counts_nothing(self, b: Bench) -> None:
        """`drop` drops exact keys, and ends what is being computed for them."""
        await b.put("one", "two", "*")
        lease = await b.provider.acquire(b.at("one"), take=True)
        assert isinstance(lease, Lease)
        await b.provider.drop([b.at("one"), b.at("none"), b.at("*")])
        assert not await b.provider.store(lease, b.entry(1))
        assert await b.provider.keys(b.space) == ["two"]
        await b.provider.drop([])

    # Time

    @on_both_faces
    async def test_windows_follow_each_other(self, b: Bench) -> None:
        """Fresh, then stale, then a fallback, then gone; both windows count from `fresh`."""
        await b.provider.put([(b.at(), b.entry(1, 0.8, 0.8, 1.6))])
        assert await b.verdict() is Verdict.FRESH
        for expected in (Verdict.STALE, Verdict.FALLBACK, Verdict.GONE):
            await b.pass_time(0.95)
            assert await b.verdict() is expected
        assert await b.seen() is None
        assert await b.provider.keys(b.space) == []
        assert await b.provider.delete([b.at()]) == 0

    @on_both_faces
    async def test_age_counts_from_the_birth(self, b: Bench) -> None:
        """An entry that was born long before it was written is as old as that."""
        entry = b.entry(1, 5.0, 60.0)
        entry.born -= 10.0
        await b.provider.put([(b.at(), entry)])
        assert await b.verdict() is Verdict.STALE

    @on_both_faces
    async def test_an_entry_without_end_stays(self, b: Bench) -> None:
        """`inf` means for ever."""
        await b.provider.put([(b.at(), b.entry(1, float("inf")))])
        await b.pass_time(0.1)
        assert await b.verdict() is Verdict.FRESH

    @on_both_faces
    async def test_expire_leaves_the_windows(self, b: Bench) -> None:
        """What was expired by hand is good for its windows, and without any it is gone."""
        await b.provider.put([(b.at("stale"), b.entry(1, 60.0, 60.0))])
        await b.provider.put([(b.at("keep"), b.entry(1, 60.0, 0.0, 60.0))])
        await b.put("plain")
        for key in ("stale", "keep", "plain", "none"):
            await b.provider.expire(b.at(key))
        assert await b.verdict("stale") is Verdict.STALE
        assert await b.verdict("keep") is Verdict.FALLBACK
        assert sorted(await b.provider.keys(b.space)) == ["keep", "stale"]
        assert await b.seen("plain") is None
        assert await b.seen("none") is None

    # Leases

    @on_both_faces
    async def test_one_lease_at_a_time(self, b: Bench) -> None:
        """While somebody holds the lease everybody else is told so, also who wants to take."""
        lease = await b.lease()
        assert isinstance(await b.provider.acquire(b.at()), Busy)
        assert isinstance(await b.provider.acquire(b.at(), take=True), Busy)
        assert isinstance(await b.provider.acquire(b.at("other")), Lease)
        assert isinstance(await b.provider.acquire(b.at(space="x")), Lease)
        await b.provider.release(lease)
        assert not await b.busy()

    @on_both_faces
    async def test_found_only_what_is_fresh_and_new(self, b: Bench) -> None:
        """`acquire` answers a fresh entry, unless it is the one seen or is to be replaced."""
        await b.provider.put([(b.at(), b.entry(1, 60.0, 60.0))])
        found = await b.provider.acquire(b.at())
        assert isinstance(found, Found)
        assert found.entry.value == b.value(1)
        seen = await b.provider.look(b.at())
        lease = await b.provider.acquire(b.at(), seen=seen)
        assert isinstance(lease, Lease)
        await b.provider.release(lease)
        lease = await b.provider.acquire(b.at(), take=True)
        assert isinstance(lease, Lease)
        assert await b.seen() == b.value(1)
        await b.provider.store(lease, b.entry(2))
        assert isinstance(await b.provider.acquire(b.at(), seen=seen), Found)
        await b.provider.put([(b.at("old"), b.entry(1, 60.0, 60.0))])
        await b.provider.expire(b.at("old"))
        assert isinstance(await b.provider.acquire(b.at("old")), Lease)

    @on_both_faces
    async def test_store_writes_once_and_ends_the_lease(self, b: Bench) -> None:
        """A lease is good for one store, settle or release."""
        lease = await b.lease()
        assert await b.provider.store(lease, b.entry(1))
        assert await b.seen() == b.value(1)
        assert not await b.busy()
        assert not await b.provider.store(lease, b.entry(2))
        assert not await b.provider.settle(lease, frozenset())
        await b.provider.release(lease)
        assert await b.seen() == b.value(1)
        lease = await b.lease(b.at("other"))
        await b.provider.release(lease)
        assert not await b.provider.store(lease, b.entry(2))
        assert await b.seen("other") is None

    @on_both_faces
    async def test_settle_answers_whether_a_store_would_be_written(self, b: Bench) -> None:
        """`settle` ends the lease, writes nothing, and answers what `store` would have."""
        lease = await b.lease()
        assert await b.provider.settle(lease, frozenset([b.tag()]))
        assert await b.seen() is None
        assert not await b.busy()
        lease = await b.lease()
        await b.provider.delete([b.at()])
        assert not await b.provider.settle(lease, frozenset())
        lease = await b.lease()
        await b.provider.invalidate_tags(None, [b.tag("late")])
        assert not await b.provider.settle(lease, frozenset([b.tag("late")]))

    @on_both_faces
    async def test_an_ended_lease_ends_no_other(self, b: Bench) -> None:
        """Who lost the lease writes nothing, and does not take it from the next holder."""
        first = await b.lease()
        await b.provider.delete([b.at()])
        second = await b.lease()
        assert not await b.provider.store(first, b.entry(1))
        assert not await b.provider.settle(first, frozenset())
        await b.provider.release(first)
        assert await b.busy()
        assert await b.provider.store(second, b.entry(2))
        assert await b.seen() == b.value(2)

    @on_both_faces
    async def test_release_leaves_the_entry(self, b: Bench) -> None:
        """A computation that failed takes nothing away."""
        await b.provider.put([(b.at(), b.entry(1, 60.0, 60.0))])
        await b.provider.expire(b.at())
        await b.provider.release(await b.lease())
        assert await b.verdict() is Verdict.STALE

    @on_both_faces
    async def test_the_lease_of_a_dead_holder_counts_as_ended(self, b: Bench) -> None:
        """When `alive` says no, the next one gets the lease, and the dead one stores nothing."""
        living = [True]
        first = await b.provider.acquire(b.at(), alive=lambda: living[0])
        assert isinstance(first, Lease)
        assert await b.busy()
        living.clear()
        living.append(False)
        second = await b.lease()
        assert not await b.provider.store(first, b.entry(1))
        assert await b.provider.store(second, b.entry(2))

    # Waiting

    @on_both_faces
    async def test_wait_ends_by_itself(self, b: Bench) -> None:
        """`wait` returns when there is nothing to wait for, and after its time."""
        await b.provider.wait(b.at(), PATIENCE)
        lease = await b.lease()
        start = time.monotonic()
        await b.provider.wait(b.at(), 0.05)
        assert time.monotonic() - start < PATIENCE
        await b.provider.release(lease)

    def test_who_waits_goes_on_when_the_lease_ends(self) -> None:
        """A waiter gets its turn after a release, a store and an invalidation."""

        async def turn(b: Bench) -> Found | Lease:
            while isinstance(answer := await b.provider.acquire(b.at()), Busy):
                await b.provider.wait(b.at(), PATIENCE)
            return answer

        async def check() -> None:
            async with self.started() as b:
                lease = await b.lease()
                waiter = asyncio.create_task(turn(b))
                await asyncio.sleep(0)
                await b.provider.release(lease)
                answer = await asyncio.wait_for(waiter, PATIENCE)
                assert isinstance(answer, Lease)
                waiter = asyncio.create_task(turn(b))
                await asyncio.sleep(0)
                await b.provider.store(answer, b.entry(1))
                assert isinstance(await asyncio.wait_for(waiter, PATIENCE), Found)
                await b.provider.delete([b.at()])
                await b.lease()
                waiter = asyncio.create_task(turn(b))
                await asyncio.sleep(0)
                await b.provider.delete([b.at()])
                assert isinstance(await asyncio.wait_for(waiter, PATIENCE), Lease)

        on_loop(check())

    def test_a_thread_that_waits_goes_on_when_the_lease_ends(self) -> None:
        """The blocking `wait` lets its thread go on when another one stores."""
        with self.started_blocking() as b:
            lease = drive(b.lease())
            told = threading.Event()

            def work(number: int) -> None:
                if number == 0:
                    told.wait(PATIENCE)
                    assert drive(b.provider.store(lease, b.entry(1)))
                    return
                while isinstance(answer := drive(b.provider.acquire(b.at())), Busy):
                    told.set()
                    drive(b.provider.wait(b.at(), PATIENCE))
                assert isinstance(answer, Found)

            in_threads(work, 3)

    # Threads, loops, lives

    def test_threads_get_one_lease(self) -> None:
        """Of many threads that ask at once, one computes."""
        with self.started_blocking() as b:
            answers: list[object] = []
            in_threads(lambda _: answers.append(drive(b.provider.acquire(b.at()))), 8)
            assert sum(isinstance(answer, Lease) for answer in answers) == 1
            assert sum(isinstance(answer, Busy) for answer in answers) == 7

    def test_threads_count_together(self) -> None:
        """No addition is lost between threads."""
        with self.started_blocking() as b:
            windows = b.entry().windows

            def work(_: int) -> None:
                for _ in range(25):
                    drive(b.provider.incr(b.at(), 1, windows))

            in_threads(work, 4)
            assert drive(b.provider.incr(b.at(), 0, windows)) == 100

    def test_both_faces_and_all_loops_see_the_same(self) -> None:
        """What one loop wrote, the next loop and the blocking face read."""
        with self.started_blocking() as b:
            open_face = Bench(self.provider, b.clock, self.pass_time)
            open_face.space = b.space
            on_loop(open_face.put("key"))
            assert on_loop(open_face.seen()) == b.value(1)
            assert drive(b.seen()) == b.value(1)
            lease = on_loop(open_face.lease(b.at("held")))
            assert drive(b.busy(b.at("held")))
            assert drive(b.provider.store(lease, b.entry(2)))
            assert on_loop(open_face.seen("held")) == b.value(2)
            drive(b.provider.clear(b.space))
            assert on_loop(open_face.seen()) is None

    @on_both_faces
    async def test_it_may_be_started_again(self, b: Bench) -> None:
        """`start` counts: it works between the first one and the last `stop`, and after both."""
        await b.provider.start(b.clock)
        await b.put("key")
        await b.provider.stop()
        assert await b.seen() == b.value(1)
        await b.provider.stop()
        await b.provider.start(b.clock)
        await b.put("key")
        assert await b.seen() == b.value(1)
