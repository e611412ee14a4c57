"""What users test with: the clock, the isolated default app, faults, and the contract."""

import asyncio
import threading

import pytest

from stillfresh import (
    App,
    Cache,
    CacheProvider,
    ComputeTimeout,
    InvalidDuration,
    InvalidOption,
    MemoryCacheProvider,
    ProviderUnavailable,
    cache,
    inject,
)
from stillfresh.providers.base import Address
from stillfresh.services.current import default_app
from stillfresh.testing import (
    ChaosProvider,
    ProviderContract,
    VirtualClock,
    isolated,
    stillfresh_isolated,  # noqa: F401  # a fixture, asked for by its name
)

PATIENCE = 10


def counting(**options):
    """A cached function that returns how often it was called."""
    calls = []

    @cache(**options)
    async def counted(x: int = 0) -> int:
        calls.append(x)
        return len(calls)

    return counted


# VirtualClock


def test_the_clock_stands_until_it_is_moved():
    """It takes durations as they are written everywhere, and never goes back."""
    clock = VirtualClock(start=100)
    assert [clock.now(), clock.now()] == [100, 100]
    clock.advance("1m 30s")
    clock.advance(10)
    assert clock.now() == 200
    for wrong in ("10m5", -1, 0, None):
        with pytest.raises(InvalidDuration):
            clock.advance(wrong)
    assert clock.now() == 200
    assert repr(clock) == "VirtualClock(200)"


async def test_freshness_follows_the_clock():
    """An entry is fresh to the last moment of its ttl, and not a moment longer."""
    clock = VirtualClock()
    f = counting(ttl="10 minutes")
    async with App(clock=clock):
        assert await f() == 1
        clock.advance(599.5)
        assert await f() == 1
        clock.advance(0.5)
        assert await f() == 2


async def test_deadlines_follow_the_clock():
    """A `timeout` passes when time is moved, and only then."""
    began = asyncio.Event()
    with isolated() as app:

        @cache(timeout="30 seconds")
        async def hangs():
            began.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(hangs())
        await began.wait()
        app.advance("29 seconds")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        app.advance("1 second")
        with pytest.raises(ComputeTimeout):
            await task


def test_deadlines_of_threads_follow_the_clock():
    """A blocked sync caller is woken when time is moved by another thread."""
    with isolated() as app:
        began, gate = threading.Event(), threading.Event()

        @cache(timeout="1 hour")
        def hangs():
            began.set()
            gate.wait(PATIENCE)

        def move():
            began.wait(PATIENCE)
            app.advance("1 hour")

        mover = threading.Thread(target=move)
        mover.start()
        with pytest.raises(ComputeTimeout):
            hangs()
        mover.join(PATIENCE)
        gate.set()
        app.sync.settled()


async def test_back_off_follows_the_clock():
    """After a failed refresh the next one waits a second of this clock."""
    calls = []
    with isolated() as app:

        @cache(ttl=10, stale=100)
        async def f():
            calls.append(app.clock.now())
            if len(calls) > 1:
                raise OSError
            return 1

        await f()
        app.advance("11 seconds")
        for advance in (0.25, 0.25, 0.5, 0.25):
            assert await f() == 1
            await app.settled()
            app.advance(advance)
        assert len(calls) == 3


async def test_timers_fire_in_their_order():
    """One step over several deadlines runs them as they came due, each at its own time."""
    clock, seen = VirtualClock(start=0), []
    loop = asyncio.get_running_loop()
    for at in (3, 1, 2, 9):
        clock.call_later(loop, at, lambda at=at: seen.append(at))
    cancelled = clock.call_later(loop, 2, lambda: seen.append("cancelled"))
    cancelled.cancel()
    clock.advance(5)
    await asyncio.sleep(0)
    assert seen == [1, 2, 3]


def test_a_timer_of_a_closed_loop_does_nothing():
    """Time may go on when the loop is gone."""
    clock = VirtualClock()
    loop = asyncio.new_event_loop()
    clock.call_later(loop, 1, lambda: pytest.fail("it ran"))
    loop.close()
    clock.advance(2)


# isolated


async def test_isolated_is_a_fresh_default_app():
    """Inside nothing is there at first, and nothing gets out."""
    f, store = counting(), Cache[int](name="things")
    with isolated() as app:
        assert default_app() is app
        assert [await f(), await f()] == [1, 1]
        await store.set("k", 1)
        with isolated() as inner:
            assert default_app() is inner
            assert [await f(), await f()] == [2, 2]
            assert await store.get("k") is None
        assert await f() == 1
        assert await store.get("k") == 1
    assert default_app() is not app


async def test_isolated_ends_with_an_error_too():
    """The default app is the old one again."""
    before = default_app()
    with pytest.raises(KeyError), isolated():
        raise KeyError
    assert default_app() is before


async def test_isolated_has_its_own_services():
    """What was provided inside is not provided outside."""

    class Real:
        pass

    class Fake(Real):
        pass

    class Free:
        real = inject(Real)

    with isolated() as app:
        app.provide(Real, Fake)
        assert type(Free().real) is Fake
    with isolated():
        assert type(Free().real) is Real


async def test_isolated_leaves_no_work_behind():
    """What is still computed in the background at the end is cancelled."""
    ended = []
    with isolated() as app:

        @cache(ttl=1, stale=10)
        async def f():
            if ended:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append("refresh")
            ended.append("first")

        await f()
        app.advance("2 seconds")
        await f()
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert ended == ["first", "refresh"]


@pytest.mark.parametrize("again", [1, 2])
async def test_the_fixture_isolates_each_test(request, again):
    """`stillfresh_isolated` is the same as a fixture, to be asked for."""
    app = request.getfixturevalue("stillfresh_isolated")
    assert default_app() is app
    assert isinstance(app.clock, VirtualClock)
    assert await MODULE_LEVEL() == again  # entries are gone, the function is the same
    assert await MODULE_LEVEL() == again


MODULE_LEVEL = counting(name="module level")


def test_the_fixture_is_not_automatic():
    """Who did not ask for it gets the process-wide default app."""
    assert type(default_app()).__name__ == "DefaultApp"


# ChaosProvider


@pytest.mark.parametrize("option", ["fail", "hang", "lie"])
@pytest.mark.parametrize("wrong", [-0.1, 1.1, True, "0.5", None, float("nan")])
def test_faults_are_probabilities(option, wrong):
    """From 0 to 1, when it is made and when it is assigned."""
    with pytest.raises(InvalidOption, match=f"{option}=.*from 0 to 1"):
        ChaosProvider(MemoryCacheProvider(), **{option: wrong})
    chaos = ChaosProvider(MemoryCacheProvider())
    with pytest.raises(InvalidOption, match=f"{option}="):
        setattr(chaos, option, wrong)
    setattr(chaos, option, 1)
    assert getattr(chaos, option) == 1.0


def test_the_delay_is_a_duration():
    """In the grammar of all durations."""
    assert ChaosProvider(MemoryCacheProvider(), delay="2 seconds").delay == 2.0
    with pytest.raises(InvalidDuration):
        ChaosProvider(MemoryCacheProvider(), delay="soon")


@pytest.mark.parametrize("inner", [MemoryCacheProvider, None, "memory"])
def test_there_must_be_a_provider_to_disturb(inner):
    """An instance of one."""
    with pytest.raises(InvalidOption, match="expected the provider"):
        ChaosProvider(inner)


def chaotic(**faults):
    """The isolated app on a provider with faults."""
    app = default_app()
    app.provide(CacheProvider, chaos := ChaosProvider(MemoryCacheProvider(), **faults))
    return chaos


def test_faults_are_never_on_start_and_stop():
    """An app on a provider that always fails starts and stops."""
    for fault in ("fail", "hang", "lie"):
        app = App(clock=VirtualClock())
        app.provide(CacheProvider, ChaosProvider(MemoryCacheProvider(), **{fault: 1}))
        with app:
            pass

        async def run(app=app):
            async with app:
                pass

        asyncio.run(run())


@pytest.mark.usefixtures("stillfresh_isolated")
async def test_a_failing_provider_costs_the_store_only():
    """Functions compute, what is asked by hand raises, and it can be healed."""
    chaos = chaotic(fail=1)
    f = counting()
    assert [await f(), await f()] == [1, 2]
    with pytest.raises(ProviderUnavailable):
        await f.invalidate()
    chaos.fail = 0
    default_app().advance("2 seconds")
    assert [await f(), await f()] == [3, 3]


@pytest.mark.usefixtures("stillfresh_isolated")
async def test_a_hanging_provider_counts_as_failed_after_a_second():
    """Of the app's clock: the call waits until then, and computes."""
    chaotic(hang=1)
    f = counting()
    task = asyncio.create_task(f())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    default_app().advance("1 second")
    assert await task == 1


@pytest.mark.usefixtures("stillfresh_isolated")
async def test_a_delay_passes_in_virtual_time():
    """The operation is carried out afterwards."""
    chaos = chaotic(delay=0.5)
    store = Cache[int](name="things")
    task = asyncio.create_task(store.set("k", 1))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    default_app().advance(0.5)
    await task
    chaos.delay = None
    assert await store.get("k") == 1


@pytest.mark.usefixtures("stillfresh_isolated")
async def test_a_lying_provider():
    """Reads find nothing, stores store nothing, changes happen and are reported as failed."""
    chaos = chaotic()
    store, f = Cache[int](name="things"), counting()
    await store.set("k", 1)
    chaos.lie = 1
    assert await store.get("k") is None
    assert [await f(), await f()] == [1, 2]
    with pytest.raises(ProviderUnavailable, match="carried out"):
        await store.delete("k")
    chaos.lie = 0
    default_app().advance("2 seconds")
    assert await store.get("k") is None
    assert await f() == 3


@pytest.mark.usefixtures("stillfresh_isolated")
def test_faults_reach_sync_callers():
    """The blocking face draws from the same faults."""
    chaos = chaotic(fail=1)
    store = Cache[int](name="things")
    with pytest.raises(ProviderUnavailable):
        store.sync.set("k", 1)
    chaos.fail = 0
    default_app().advance("2 seconds")
    store.sync.set("k", 1)
    assert store.sync.get("k") == 1


def test_faults_can_be_repeated():
    """One seed, one sequence."""

    async def outcomes(seed):
        chaos = ChaosProvider(MemoryCacheProvider(), fail=0.5, seed=seed)
        seen = []
        for _ in range(64):
            try:
                await chaos.clear("space")
                seen.append(True)
            except ProviderUnavailable:
                seen.append(False)
        return seen

    first, again, other = (asyncio.run(outcomes(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert set(first) == {True, False}


class Unusual(MemoryCacheProvider):
    """Says of itself what memory does not; somebody else's computation fails, again and again."""

    clears_all = True
    lease_seconds = 0.25
    cleared = False

    @property
    def blocking(self):
        return self

    async def wait(self, address, seconds):
        del address, seconds
        return True

    async def clear_all(self):
        self.cleared = True


async def test_what_the_provider_says_comes_through():
    """How it describes itself, and the news that who was waited for has ended without a value."""
    inner = Unusual(max_entries=20)
    inner.shared = True
    chaos = ChaosProvider(inner)
    for face in (chaos, chaos.blocking):
        assert (face.shared, face.clears_all, face.lease_seconds) == (True, True, 0.25)
        assert face.most_entries == 20
        assert await face.wait(Address("space", "k"), 1.0) is True
    chaos.fail = 1
    with pytest.raises(ProviderUnavailable):
        await chaos.clear_all()
    assert not inner.cleared
    chaos.fail = 0
    await chaos.clear_all()
    assert inner.cleared


async def test_what_leaves_the_provider_is_told():
    """Evictions are events, as without faults in front of it."""
    told = []
    app = App().provide(CacheProvider, ChaosProvider(MemoryCacheProvider(max_entries=20)))
    app.on("evict", told.append)
    store = Cache[int](name="things")
    async with app:
        for number in range(24):
            await store.set(str(number), number)
    assert len(told) == 4


class TestChaosWithoutFaults(ProviderContract):
    """With no faults it is the provider behind it."""

    virtual = True

    def make_provider(self) -> CacheProvider:
        return ChaosProvider(MemoryCacheProvider())


class TestSerializingChaos(TestChaosWithoutFaults):
    def make_provider(self) -> CacheProvider:
        return ChaosProvider(MemoryCacheProvider(serialize=True))
