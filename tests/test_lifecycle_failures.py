"""Starts and stops that fail: what was started is stopped, and nothing is lost."""

import asyncio
import threading

import pytest

from stillfresh import App, CacheProvider, CannotBuild, MemoryCacheProvider, hook, inject


class Recorder:
    """Notes its hooks in the `log` of its class; subclasses have their own names."""

    log: list

    @hook("start")
    async def on_start(self):
        self.log.append(f"{type(self).__name__} start")

    @hook("ready")
    def on_ready(self):
        self.log.append(f"{type(self).__name__} ready")

    @hook("stop")
    async def on_stop(self):
        self.log.append(f"{type(self).__name__} stop")


@pytest.fixture
def services():
    """A service, what it needs, and what that needs; with their common log."""
    log = []

    class Database(Recorder):
        pass

    class Products(Recorder):
        database = inject(Database)

    class Api(Recorder):
        products = inject(Products)

    for kind in (Database, Products, Api):
        kind.log = log
    return [Api, Products, Database], log


AND_BACK = ["Api stop", "Products stop", "Database stop"]


def failing(moment, kind=RuntimeError):
    class Broken:
        @hook("start")
        def start(self):
            self.log.append("start")
            if moment == "start":
                raise kind(moment)

        @hook("ready")
        async def ready(self):
            if moment == "ready":
                raise kind(moment)

        @hook("stop")
        async def stop(self):
            self.log.append("stop")
            if moment == "stop":
                raise kind(moment)

    Broken.log = []
    return Broken


@pytest.mark.parametrize("moment", ["start", "ready"])
@pytest.mark.parametrize("way", ["async with", "with", "with on a loop"])
def test_a_failing_start_stops_what_started(services, moment, way):
    """The error comes through; services that came earlier are stopped, in reverse."""
    before = set(threading.enumerate())  # of other libraries, in other tests
    kinds, log = services
    broken = failing(moment)
    kinds[0].broken = inject(broken)
    provider = MemoryCacheProvider()
    app = App(*kinds).provide(CacheProvider, provider)

    def enter():
        with app:
            pytest.fail("it started")

    async def run():
        if way == "with on a loop":
            enter()
        async with app:
            pytest.fail("it started")

    with pytest.raises(RuntimeError, match=moment):
        enter() if way == "with" else asyncio.run(run())
    assert not app.running
    # Api needs it, so it was not started; Products and Database were.
    stopped = [line for line in log if line.endswith("stop")]
    if moment == "start":
        assert stopped == ["Products stop", "Database stop"]
    else:
        assert stopped == AND_BACK
    assert broken.log == ["start", "stop"]
    assert app.guards == []
    assert set(threading.enumerate()) <= before
    assert provider._starts == 0


def test_an_app_may_be_started_after_a_failing_start():
    """Nothing of the attempt is in the way."""
    broken = failing("ready")
    app = App(broken)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ready"), app:
            pass
    assert broken.log == ["start", "stop"] * 2


def test_a_service_that_cannot_be_built_fails_the_start():
    """Before any hook has run."""

    class Needy:
        def __init__(self, url):
            pass

    class User:
        needy = inject(Needy)

    app = App(User)
    with pytest.raises(CannotBuild, match="Needy"), app:
        pass
    app.provide(Needy, lambda: Needy("db://"))
    with app:
        assert app.running


async def test_a_failing_stop_hook_stops_the_others_all_the_same(services):
    """What it raised comes out at the end, when nothing runs any more."""
    kinds, log = services
    broken = failing("stop")
    kinds[2].broken = inject(broken)
    kinds[0].broken = inject(broken)
    app = App(*kinds)
    with pytest.raises(RuntimeError, match="stop"):
        async with app:
            log.clear()
    assert log == AND_BACK
    assert not app.running


async def test_a_failing_stop_hook_does_not_end_its_service():
    """The other hooks of the same service run all the same: each frees something of its own."""
    log = []

    class Service:
        @hook("stop")
        async def first(self):
            log.append("first")
            raise OSError

        @hook("stop")
        def second(self):
            log.append("second")

    with pytest.raises(OSError):
        async with App(Service):
            pass
    assert log == ["first", "second"]


async def test_a_second_failure_of_the_stop_is_logged(caplog):
    """One error can be raised; none is lost."""
    one, two = failing("stop", OSError), failing("stop", KeyError)
    with pytest.raises(KeyError):
        async with App(one, two):
            pass
    assert "OSError: stop" in caplog.text


async def test_a_cancelled_stop_still_stops_everything(services):
    """Cancelled in the middle of a hook, the rest is stopped, and then it is cancelled."""
    kinds, log = services
    entered = asyncio.Event()

    class Slow:
        @hook("stop")
        async def stop(self):
            entered.set()
            await asyncio.Event().wait()

    provider = MemoryCacheProvider()
    app = App(*kinds, Slow).provide(CacheProvider, provider)

    async def run():
        async with app:
            log.clear()

    task = asyncio.create_task(run())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == AND_BACK
    assert not app.running
    assert provider._starts == 0


async def test_what_was_not_started_is_not_stopped():
    """A service that somebody asked for while the app ran gets no `stop` without `start`."""
    broken = failing("stop")
    async with App() as app:
        app.get(broken)
    assert broken.log == []
