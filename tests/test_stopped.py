"""An app that does not run: what calls and changes do, and what it leaves behind."""

import asyncio
import threading

import pytest

from stillfresh import (
    MISSING,
    App,
    Cache,
    NotRunning,
    cache,
    hook,
)
from stillfresh.computing import background
from stillfresh.testing import VirtualClock

PATIENCE = 10


async def until(condition):
    """Let everything else happen until *condition* holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # nobody sets an event for it
            await asyncio.sleep(0)


class Service:
    def __init__(self):
        self.calls = 0

    store = Cache[int](name="store")

    @cache
    async def f(self, x: int) -> int:
        self.calls += 1
        return self.calls

    @cache
    def g(self, x: int) -> int:
        self.calls += 1
        return self.calls


@pytest.fixture(params=["never started", "stopped"])
def app(request):
    app = App(Service)
    if request.param == "stopped":
        with app:
            app.get(Service).g(1)
            app.get(Service).calls = 0
    return app


async def test_calls_pass_straight_through(app):
    """Each call is one of the function; nothing is stored, and nothing found."""
    s = app.get(Service)
    assert [await s.f(1), await s.f(1), s.g(1), s.g(1)] == [1, 2, 3, 4]
    assert [await s.f.refresh(1), s.g.refresh(1)] == [5, 6]
    assert await s.f.peek(1) is MISSING
    assert s.f.stats.bypasses >= 2
    assert s.f.stats.entries == 0
    assert await s.store.get("k", 7) == 7
    assert await s.store.get_or_set("k", lambda: 8) == 8
    assert await s.store.contains("k") is False
    assert await s.store.keys() == []
    assert (await s.f.explain(1)).status == "miss"
    async with app:
        assert await s.f(1) == 7


async def test_bypass_is_an_event(app):
    """Whoever listens learns that nothing is cached."""
    heard = []
    app.on("bypass", heard.append)
    await app.get(Service).f(1)
    app.get(Service).g(1)
    assert [event.cache for event in heard] == [f"{__name__}.Service.{n}" for n in "fg"]


CHANGES = {
    "invalidate": lambda s: s.f.invalidate(1),
    "expire": lambda s: s.f.expire(1),
    "store": lambda s: s.f.store(5, 1),
    "invalidate_matching": lambda s: s.f.invalidate_matching("*"),
    "clear": lambda s: s.f.clear(),
    "sync invalidate": lambda s: s.g.invalidate(1),
    "sync expire": lambda s: s.g.expire(1),
    "sync store": lambda s: s.g.store(5, 1),
    "sync invalidate_matching": lambda s: s.g.invalidate_matching("*"),
    "sync clear": lambda s: s.g.clear(),
    "store.set": lambda s: s.store.set("k", 1),
    "store.set_many": lambda s: s.store.set_many({"k": 1}),
    "store.set_many of nothing": lambda s: s.store.set_many({}),
    "store.delete": lambda s: s.store.delete("k"),
    "store.delete of nothing": lambda s: s.store.delete(),
    "store.invalidate": lambda s: s.store.invalidate("*"),
    "store.invalidate_tags": lambda s: s.store.invalidate_tags("t"),
    "store.incr": lambda s: s.store.incr("n"),
    "store.clear": lambda s: s.store.clear(),
    "store.sync.set": lambda s: s.store.sync.set("k", 1),
    "store.sync.delete": lambda s: s.store.sync.delete("k"),
    "store.sync.incr": lambda s: s.store.sync.incr("n"),
    "store.sync.clear": lambda s: s.store.sync.clear(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_changes_raise(app, change):
    """No invalidation and no write is lost in silence; the error says what to do."""
    with pytest.raises(NotRunning, match=r"does not run.*async with app"):
        await change(app.get(Service))


async def test_invalidating_tags_raises(app):
    """On the app as well."""
    with pytest.raises(NotRunning):
        await app.invalidate_tags("t")
    with pytest.raises(NotRunning):
        app.sync.invalidate_tags("t")


async def test_changes_in_a_start_hook_raise():
    """Before `ready` there is nothing to change yet."""

    class Eager(Service):
        @hook("start")
        async def start(self):
            await self.f.invalidate(1)

    with pytest.raises(NotRunning):
        async with App(Eager):
            pass


# Background work


class Refreshing:
    """One slow function with a stale window; each run waits for the gate."""

    def __init__(self):
        self.gate = None
        self.began = asyncio.Event()
        self.ends = []

    @cache(ttl=1, stale=100)
    async def f(self) -> int:
        self.began.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # it takes its time to clean up
            self.ends.append("cancelled")
            raise
        self.ends.append("done")
        return 1


async def refreshing(app, clock):
    """Leave a refresh running behind a stale answer."""
    service = app.get(Refreshing)
    await service.f()
    clock.advance("2 seconds")
    service.gate, service.began = asyncio.Event(), asyncio.Event()
    assert await service.f() == 1
    await service.began.wait()
    return service


async def test_background_work_gets_a_grace_at_stop():
    """A refresh that ends in time is not cancelled."""
    clock = VirtualClock()
    app = App(Refreshing, clock=clock)
    inside, leave = asyncio.Event(), asyncio.Event()

    async def run():
        async with app:
            inside.set()
            await leave.wait()

    task = asyncio.create_task(run())
    await inside.wait()
    service = await refreshing(app, clock)
    leave.set()
    await until(lambda: not app.running)
    assert not task.done()
    service.gate.set()
    await task
    assert service.ends == ["done", "done"]


async def test_after_the_grace_background_work_is_cancelled(monkeypatch):
    """When the app has stopped, the refresh has ended, its own cleaning up included."""
    monkeypatch.setattr(background, "GRACE_SECONDS", 0.01)
    clock = VirtualClock()
    before = asyncio.all_tasks()
    async with App(Refreshing, clock=clock) as app:
        service = await refreshing(app, clock)
    assert service.ends == ["done", "cancelled"]
    assert asyncio.all_tasks() == before


async def test_a_stop_that_is_cancelled_in_the_grace_cancels_the_work():
    """Whoever has no time for the grace leaves nothing running either."""
    clock = VirtualClock()
    app = App(Refreshing, clock=clock)

    async def run():
        async with app:
            return await refreshing(app, clock)

    task = asyncio.create_task(run())
    await until(lambda: app.running)
    service = app.get(Refreshing)
    await until(lambda: not app.running)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(5):
        await asyncio.sleep(0)
    assert service.ends == ["done", "cancelled"]


async def test_who_waits_when_the_app_stops_gets_an_answer(monkeypatch):
    """A caller whose computation was cancelled is not left hanging."""
    monkeypatch.setattr(background, "GRACE_SECONDS", 0.01)
    service = Refreshing()
    service.gate = asyncio.Event()
    async with App(service):
        task = asyncio.create_task(service.f())
        await service.began.wait()
    service.gate.set()
    async with asyncio.timeout(10):
        (result,) = await asyncio.gather(task, return_exceptions=True)
    assert result == 1


def test_a_thread_that_hangs_at_stop_is_left_behind(monkeypatch):
    """It cannot be cancelled: after the grace the app stops, and its result is dropped."""
    monkeypatch.setattr(background, "GRACE_SECONDS", 0.01)
    gate, began, ended = threading.Event(), threading.Event(), threading.Event()
    clock = VirtualClock()

    class Hanging:
        calls = 0

        @cache(ttl=1, stale=100)
        def f(self) -> int:
            self.calls += 1
            if self.calls == 2:
                began.set()
                assert gate.wait(10)
                ended.set()
            return self.calls

    app = App(Hanging, clock=clock)
    with app:
        f = app.get(Hanging).f
        assert f() == 1
        clock.advance("2 seconds")
        assert f() == 1
        assert began.wait(10)
    with app:
        gate.set()
        assert ended.wait(10)
        assert f() == 3


# Nothing is left


async def test_nothing_runs_when_idle():
    """Memory alone keeps no task and no thread, while the app runs and after it."""
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    async with App(Service) as app:
        s = app.get(Service)
        await s.f(1)
        s.g(1)
        await app.settled()
        assert asyncio.all_tasks() == tasks
        assert set(threading.enumerate()) <= threads
    assert asyncio.all_tasks() == tasks
    assert set(threading.enumerate()) <= threads


def test_no_thread_is_left_under_with():
    """The private loop is made when an async hook comes, and ends with the app."""

    class Hooked(Service):
        @hook("ready")
        async def ready(self):
            await self.f(1)

    threads = set(threading.enumerate())
    with App(Service) as app:
        app.get(Service).g(1)
        assert set(threading.enumerate()) <= threads
    with App(Hooked):
        assert len(set(threading.enumerate()) - threads) == 1
    assert set(threading.enumerate()) <= threads


def test_a_task_that_a_hook_left_on_the_private_loop_ends_with_it():
    """It is cancelled, and may clean up."""
    ended = []

    class Poller:
        @hook("start")
        async def start(self):
            self.task = asyncio.create_task(self.poll())
            await asyncio.sleep(0)

        async def poll(self):
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

    with App(Poller):
        assert ended == []
    assert ended == [True]
