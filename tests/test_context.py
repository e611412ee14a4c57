"""Context variables, threads and event loops: where a computation runs, and what it sees."""

import asyncio
import threading
from contextvars import ContextVar, copy_context

import pytest

from stillfresh import (
    Cache,
    CacheProvider,
    MemoryCacheProvider,
    cache,
    computation,
)
from stillfresh.services.current import default_app
from stillfresh.sources.ledger import ledger_of
from stillfresh.testing import ChaosProvider, isolated

PATIENCE = 10

user: ContextVar[str] = ContextVar("user", default="nobody")


@pytest.fixture(autouse=True)
def app():
    """A default app of its own for each test, without threads left at the end."""
    threads = threading.enumerate()
    with isolated() as app:
        yield app
    for thread in set(threading.enumerate()) - set(threads):
        thread.join(PATIENCE)
    assert set(threading.enumerate()) <= set(threads)


async def until(condition):
    """Let everything else happen until *condition* holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # nobody sets an event for it
            await asyncio.sleep(0)


async def turns(count=20):
    """Let everything happen that can."""
    for _ in range(count):
        await asyncio.sleep(0)


# Context variables


async def test_a_computation_runs_in_a_copy_of_the_first_callers_context():
    """It sees what the first caller set; who joined gets the value all the same."""
    gate = asyncio.Event()

    @cache
    async def who():
        await gate.wait()
        return user.get()

    async def ask(name):
        user.set(name)
        return await who()

    tasks = [asyncio.create_task(ask(name)) for name in ("ann", "bob")]
    await turns()
    gate.set()
    assert await asyncio.gather(*tasks) == ["ann", "ann"]


async def test_changes_do_not_come_back():
    """What a computation sets stays in it: a miss and a hit look the same to the caller."""

    @cache
    async def login():
        user.set("inside")
        return 1

    await login()
    assert user.get() == "nobody"
    await login.refresh()
    assert user.get() == "nobody"


@pytest.mark.parametrize("options", [{}, {"timeout": "1 minute"}], ids=["here", "in a worker"])
def test_sync_computations_run_in_a_copy_too(options):
    """They see the caller's context, and their changes do not come back."""
    seen = []

    @cache(**options)
    def login():
        seen.append(user.get())
        user.set("inside")
        return 1

    def call():
        user.set("ann")
        login()
        return user.get()

    assert copy_context().run(call) == "ann"
    assert seen == ["ann"]


async def test_a_background_refresh_runs_in_a_copy_of_the_context(app):
    """The refresh behind a stale answer sees the context of the call that caused it."""
    seen = []

    @cache(ttl=1, stale=10)
    async def f():
        seen.append(user.get())
        user.set("inside")
        return 1

    await f()
    app.advance("2 seconds")
    user.set("ann")
    await f()
    user.set("later")
    await app.settled()
    assert seen == ["nobody", "ann"]
    assert user.get() == "later"


async def test_key_and_vary_run_in_the_caller(app):
    """`vary` reads the context of the one who calls, in every call."""

    @cache(vary=user)
    async def who():
        return user.get()

    names = []
    for name in ("ann", "bob", "ann"):
        user.set(name)
        names.append(await who())
    assert names == ["ann", "bob", "ann"]
    assert who.stats.misses == 2


# Which thread


def where(**options):
    """A sync cached function that returns the thread in which it runs."""

    @cache(**options)
    def f():
        return threading.current_thread()

    return f


def test_sync_functions_run_in_the_callers_thread():
    """Nothing of the caller's thread is lost: a database session, a lock."""
    assert where()() is threading.current_thread()
    assert where(stale_if_error=10, jitter=0.1, tags=["t"])() is threading.current_thread()


async def test_sync_functions_run_in_the_callers_thread_on_a_loop_too():
    """Also when that is the thread of an event loop."""
    assert where()() is threading.current_thread()


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 5},
        {"soft_timeout": 5, "stale_if_error": 5},
        {"stale": 5},
        {"refresh_ahead": 0.5},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_may_outlive_the_caller_runs_in_a_worker_thread(options):
    """With these options the caller may be answered first; the thread ends with the work."""
    thread = where(**options)()
    assert thread is not threading.current_thread()
    thread.join(PATIENCE)
    assert not thread.is_alive()


async def test_when_errors_and_tags_run_where_the_function_ran():
    """Callables about the value run beside the function, `key` in the caller."""
    ran = {}

    def note(name, result):
        def run(*_):
            ran[name] = threading.current_thread()
            return result

        return run

    @cache(timeout=5, when=note("when", True), tags=note("tags", []), key=note("key", "k"))
    def f():
        return threading.current_thread()

    worker = f()
    assert ran == {"when": worker, "tags": worker, "key": threading.current_thread()}
    worker.join(PATIENCE)


# A sync call on the thread of a loop


async def test_a_sync_call_never_waits_for_the_loop_it_stands_on():
    """While get_or_set computes on this loop, its sync twin computes itself, once."""
    store = Cache[str](name="things")
    gate = asyncio.Event()

    async def slowly():
        await gate.wait()
        return "async"

    task = asyncio.create_task(store.get_or_set("k", slowly))
    await turns()
    assert store.sync.get_or_set("k", lambda: "sync") == "sync"
    assert store.sync.get("k") is None  # it was not stored: the other one is still at it
    gate.set()
    assert await task == "async"
    assert store.sync.get_or_set("k", lambda: "sync") == "async"


async def test_a_call_that_computes_alone_is_answered_and_counted_like_others():
    """The old value when its function fails, a miss when there is none; refresh is no call."""
    store = Cache[str](name="things", stale_if_error="1 hour")
    gate = asyncio.Event()

    async def slowly():
        await gate.wait()
        return "async"

    def failing():
        raise OSError

    home = store.sync

    @store(key="{k}")
    def refreshed(k: str) -> str:
        return k

    task = asyncio.create_task(store.get_or_set("none", slowly))
    await turns()
    with pytest.raises(OSError):
        home.get_or_set("none", failing)
    assert store.stats.misses == 1
    assert refreshed.refresh("none") == "none"
    assert refreshed.stats.misses == 0

    await store.set("old", "value")
    default_app().clock.advance("6 minutes")
    other = asyncio.create_task(store.get_or_set("old", slowly))
    await turns()
    assert home.get_or_set("old", failing) == "value"
    assert store.stats.fallbacks == 1
    gate.set()
    assert [await task, await other] == ["async", "async"]
    assert store.stats.misses == 3


async def test_a_call_past_the_cache_knows_its_key():
    """Where it is asked for, and only there: arguments that make none are fine without."""
    store = Cache[str](name="things", enabled=False)

    @cache(enabled=False)
    async def f(x: object) -> str:
        return computation().key if isinstance(x, str) else "never asked"

    assert await f("a") == f.key("a")
    assert await f(object()) == "never asked"
    assert await store.get_or_set("k", lambda: computation().key) == "k"


async def test_a_computation_alone_is_a_computation_too(app):
    """Its `computation()` is its own, and its changes of the context do not come back."""
    store = Cache[str](name="things")
    gate = asyncio.Event()
    keys = []

    def alone():
        keys.append(computation().key)
        computation().skip()
        user.set("inside")
        return "sync"

    @cache
    async def outer():
        assert store.sync.get_or_set("k", alone) == "sync"
        assert user.get() == "nobody"
        return computation().key

    task = asyncio.create_task(store.get_or_set("k", gate.wait))
    await turns()
    assert await outer() == ""
    assert keys == ["k"]
    assert outer.stats.entries == 1  # only the inner one was skipped
    gate.set()
    await task


@pytest.mark.parametrize("options", [{}, {"timeout": "1 minute"}], ids=["here", "in a worker"])
async def test_a_sync_call_never_waits_for_a_lease_of_its_loop(app, options):
    """A computation that has left its flight, and still writes, holds the lease."""
    app.provide(CacheProvider, chaos := ChaosProvider(MemoryCacheProvider()))
    store = Cache[str](name="things", **options)

    async def compute():
        chaos.delay = "1 second"  # from now on operations take their time
        return "async"

    task = asyncio.create_task(store.get_or_set("k", compute))
    await turns()
    chaos.delay = None
    assert not task.done()
    assert store.sync.get_or_set("k", lambda: "sync") == "sync"
    app.advance("1 second")
    assert await task == "async"


async def test_a_sync_call_does_not_wait_for_its_loop_through_a_thread():
    """A thread computes and waits for this loop; who stands on the loop must not wait for it."""
    store = Cache[str](name="things")
    gate, waits = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @cache
    def through():
        if threading.current_thread() is not threading.main_thread():
            loop.call_soon_threadsafe(waits.set)
            return store.sync.get_or_set("k", lambda: "thread")
        return "alone"

    async def slowly():
        await gate.wait()
        return "async"

    task = asyncio.create_task(store.get_or_set("k", slowly))
    await turns()
    thread = asyncio.create_task(asyncio.to_thread(through))
    await until(waits.is_set)
    await until(lambda: any(flight.waits_for for flight in app_flights()))
    assert through() == "alone"
    gate.set()
    assert await thread == "async"
    assert await task == "async"
    await loop.shutdown_default_executor()


async def test_a_worker_that_comes_to_need_the_loop_does_not_stop_it(app):
    """The caller stands on the loop and waits for a worker, until that one waits for the loop."""
    store = Cache[str](name="things")
    gate = asyncio.Event()

    @cache(timeout="1 minute")
    def f():
        return store.sync.get_or_set("k", lambda: "sync")

    async def slowly():
        await gate.wait()
        return "async"

    task = asyncio.create_task(store.get_or_set("k", slowly))
    await turns()
    assert f() == "sync"
    gate.set()
    assert await task == "async"
    await app.settled()
    assert f() == "async"


def app_flights():
    """What can be joined in the default app."""
    regions = ledger_of(default_app()).regions()
    return [one for region in regions for one in list(region.flights._by_key.values())]


async def test_a_sync_call_in_a_thread_waits_for_a_loop():
    """Elsewhere than on the loop's thread waiting is right: one computes."""
    store = Cache[str](name="things")
    gate, loop = asyncio.Event(), asyncio.get_running_loop()

    async def slowly():
        await gate.wait()
        return "async"

    task = asyncio.create_task(store.get_or_set("k", slowly))
    await turns()
    other = asyncio.create_task(asyncio.to_thread(store.sync.get_or_set, "k", lambda: "sync"))
    await until(waiters)
    gate.set()
    assert await asyncio.gather(task, other) == ["async", "async"]
    await loop.shutdown_default_executor()


def waiters():
    """Somebody waits for a flight, besides the one who leads it."""
    return any(len(flight._callbacks) > 1 for flight in app_flights())
