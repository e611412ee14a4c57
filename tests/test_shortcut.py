"""The short cut: what it answers, and that it never answers what the path would not."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from stillfresh import App, Cache, CacheProvider, MemoryCacheProvider, cache, computation
from stillfresh.entries.quick import QuickIndex
from stillfresh.entry import Entry, Windows
from stillfresh.readthrough import Reader
from stillfresh.sources.shortcuts import disconnect_all
from stillfresh.testing import ChaosProvider, IsolatedApp, VirtualClock, isolated


@pytest.fixture(autouse=True)
def app() -> Iterator[IsolatedApp]:
    with isolated() as app:
        yield app


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the calls that took the path."""
    taken: list[str] = []
    read = Reader.read

    async def watched(self: Reader, call: Any, *rest: Any) -> Any:
        taken.append(call.key)
        return await read(self, call, *rest)

    monkeypatch.setattr(Reader, "read", watched)
    return taken


class Service:
    @cache(tags=["all", "one:{x}"])
    async def get(self, x: int) -> object:
        return object()

    @cache
    def quick(self, x: int) -> object:
        return object()


def index_of(f: Any) -> QuickIndex:
    controls = f.__stillfresh__
    definition = controls.definition
    return definition.reader(definition.place(controls.instance)).index


# What it answers


async def test_a_warm_hit_does_not_enter_the_path(path: list[str]) -> None:
    """After one miss all forms of the call are answered in front of the path."""

    @cache
    async def get(x: int, lang: str = "en") -> object:
        return object()

    @cache
    def quick(x: int | None = None) -> object:
        return object()

    first, second = await get(1), quick()
    path.clear()
    for _ in range(3):
        assert await get(1) is await get(x=1) is await get(1, lang="en") is first
        assert quick() is quick(None) is second
    assert path == []


async def test_methods_of_owned_services_take_it(path: list[str]) -> None:
    """So does a cached method in the hands of an app, async or sync."""
    async with App(Service, clock=VirtualClock()) as running:
        service = running.get(Service)
        await service.get(1)
        service.quick(1)
        path.clear()
        assert await service.get(1) is await service.get(1)
        assert service.quick(1) is service.quick(1)
        assert path == []


async def test_what_does_not_depend_on_arguments_alone_takes_the_path(path: list[str]) -> None:
    """vary, copy, enabled, callable keys, attributes and stars are never guessed."""
    tenant: ContextVar[int] = ContextVar("tenant", default=1)
    on = True

    def plain(x: int) -> list[int]:
        return [x]

    def starred(*x: int) -> list[int]:
        return [*x]

    options: list[dict[str, Any]] = [
        {"vary": tenant},
        {"copy": True},
        {"enabled": lambda: on},
        {"key": lambda x: (x,)},
        {"key": "{x.real}"},
    ]
    functions = [cache(**option)(plain) for option in options] + [cache(starred)]
    for f in functions:
        f(1)
        path.clear()
        f(1)
        assert len(path) == 1
    first = functions[1](1)
    assert functions[1](1) is not first
    on = False
    assert functions[2](1) is not functions[2](1)


async def test_it_is_type_safe() -> None:
    """Equal arguments of other types are other calls, in one and in several parameters."""

    @cache
    async def one(x: int) -> object:
        return [type(x), x]

    @cache
    async def two(x, y: int) -> object:
        return [type(x), x, type(y), y]

    values = [1, True, 1.0]
    for _ in range(3):
        for x in values:
            assert await one(x) == [type(x), x]
            for y in values:
                assert await two(x, y) == [type(x), x, type(y), y]
    assert (one.stats.misses, two.stats.misses) == (3, 9)


async def test_hits_are_counted_once() -> None:
    """Through the short cut and around it, each call is one hit of one function."""
    users = Cache[object](name="users")

    @users(key="{x}")
    async def get(x: object) -> object:
        return object()

    @users(key="{x}")
    async def also(x: object) -> object:
        return object()

    assert await get(1) is await get("1") is await also(1) is await also(1)
    for _ in range(5):
        await get(1)
        await get("1")
    assert (get.stats.hits, get.stats.misses) == (11, 1)
    assert (also.stats.hits, also.stats.misses) == (2, 0)


async def test_hits_survive_a_change_of_provider() -> None:
    """What was counted before an override is counted once afterwards."""
    async with App(Service, clock=VirtualClock()) as running:
        get = running.get(Service).get
        for _ in range(4):
            await get(1)
        with running.override(CacheProvider, MemoryCacheProvider()):
            for _ in range(4):
                await get(1)
        for _ in range(4):
            await get(1)
        assert (get.stats.hits, get.stats.misses) == (10, 2)


# When it is disconnected


async def test_nobody_is_connected_to_a_reader_that_is_being_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A call that comes in the middle of an override keeps no way to what was before it.

    1. override()   disconnects all short cuts
    2. a call       is answered, and connects its short cut again
    3. override()   returns
    4. invalidate() drops the entry of the provider that is in use now
    """
    source = 1

    @cache
    def f() -> int:
        return source

    def meanwhile() -> None:
        disconnect_all()
        f()
        f()

    async with App(clock=VirtualClock()) as app:
        assert f() == f() == 1
        monkeypatch.setattr("stillfresh.sources.ledger.disconnect_all", meanwhile)
        with app.override(CacheProvider, MemoryCacheProvider()):
            assert f() == 1
            source = 2
            f.invalidate()
            assert f() == 2
        source = 3
        f.invalidate()
        assert f() == 3


async def test_a_listener_for_hits_hears_every_one() -> None:
    """on("hit") disconnects it; when nobody listens any more it comes back."""
    async with App(Service, clock=VirtualClock()) as running:
        get = running.get(Service).get
        await get(1)
        await get(1)
        heard: list[str | None] = []
        end = running.on("hit", lambda event: heard.append(event.key))
        await get(1)
        await get(1)
        assert heard == ["1", "1"]
        end()
        await get(1)
        await get(1)
        assert heard == ["1", "1"]
        assert get.stats.hits == 5


async def test_an_override_is_asked_at_once() -> None:
    """During app.override() nothing of the old provider is served, and afterwards it is."""
    async with App(Service, clock=VirtualClock()) as running:
        service = running.get(Service)
        first, second = await service.get(1), service.quick(1)
        with running.override(CacheProvider, MemoryCacheProvider()):
            assert await service.get(1) is not first
            assert service.quick(1) is not second
        assert await service.get(1) is first
        assert service.quick(1) is second


async def test_starting_and_stopping_apps_moves_a_function(path: list[str]) -> None:
    """A module function follows the one app that runs, with that app's entries."""

    @cache
    async def get() -> object:
        return object()

    at_home = await get()
    assert await get() is at_home
    async with App(clock=VirtualClock()):
        away = await get()
        assert away is not at_home
        assert await get() is away
    again = await get()
    assert again is not away
    assert again is not at_home


async def test_a_stopped_app_serves_nothing() -> None:
    """After the stop a method passes through, and after a new start it computes first."""
    running = App(Service, clock=VirtualClock())
    service = running.get(Service)
    async with running:
        first = await service.get(1)
        assert await service.get(1) is first
    assert await service.get(1) is not first
    async with running:
        assert await service.get(1) is not first
        assert await service.get(1) is await service.get(1)


async def test_with_two_apps_a_module_function_has_no_short_cut() -> None:
    """A second app makes the function ambiguous, however warm it was."""

    @cache
    async def get() -> object:
        return object()

    async with App(clock=VirtualClock()):
        await get()
        await get()
        async with App(clock=VirtualClock()):
            with pytest.raises(Exception, match="2 apps run"):
                await get()
        assert await get() is await get()


async def test_faults_are_not_hidden() -> None:
    """A provider that may fail is asked at every call."""
    asked: list[object] = []

    class Watched(MemoryCacheProvider):
        async def look(self, address: Any) -> Entry | None:
            asked.append(address)
            return await super().look(address)

    chaos = ChaosProvider(Watched())
    async with App(Service, clock=VirtualClock()).provide(CacheProvider, chaos) as running:
        get = running.get(Service).get
        await get(1)
        asked.clear()
        assert await get(1) is await get(1)
        assert len(asked) == 2


async def test_serialized_values_are_asked_for() -> None:
    """A provider that keeps bytes hands out a new object each time."""
    provider = MemoryCacheProvider(serialize=True)
    with isolated() as app:
        app.provide(CacheProvider, provider)

        @cache
        async def get() -> list[int]:
            return [1]

        await get()
        assert await get() == await get() == [1]
        assert await get() is not await get()


# What is dropped is not served


DROPS: dict[str, Any] = {
    "key": lambda app, get: get.invalidate(1),
    "tag": lambda app, get: app.invalidate_tags("one:1"),
    "other tag": lambda app, get: app.invalidate_tags("all"),
    "pattern": lambda app, get: get.invalidate_matching("*"),
    "clear": lambda app, get: get.clear(),
    "expire": lambda app, get: get.expire(1),
    "store": lambda app, get: get.store(object(), 1),
    "refresh": lambda app, get: get.refresh(1),
    "delete": lambda app, get: get.cache.delete("1"),
    "tag of a store": lambda app, get: get.cache.invalidate_tags("one:1"),
    "pattern of a store": lambda app, get: get.cache.invalidate("1"),
    "set": lambda app, get: get.cache.set("1", object()),
}


@pytest.mark.parametrize("drop", DROPS)
async def test_what_was_dropped_is_not_served(drop: str) -> None:
    """Whatever way an entry goes, the next call does not get it."""
    async with App(Service, clock=VirtualClock()) as running:
        get = running.get(Service).get
        first = await get(1)
        assert await get(1) is first
        await DROPS[drop](running, get)
        second = await get(1)
        assert second is not first
        assert await get(1) is second


async def test_a_tag_that_came_late_is_not_overlooked(app: IsolatedApp) -> None:
    """A function without tags= may add one to its result, and is dropped by it."""

    @cache
    async def get() -> object:
        computation().tags.add("late")
        return object()

    first = await get()
    assert await get() is first
    await app.invalidate_tags("late")
    assert await get() is not first


async def test_time_ends_it(app: IsolatedApp) -> None:
    """At the end of the ttl, and where a refresh ahead is due, the path decides."""

    @cache(ttl="10 seconds")
    async def get() -> object:
        return object()

    @cache(ttl="10 seconds", refresh_ahead=0.5)
    async def ahead() -> object:
        return object()

    first, second = await get(), await ahead()
    app.advance(4.999)
    assert await get() is first
    assert await ahead() is second
    app.advance(1)
    assert await ahead() is second
    await app.settled()
    assert await ahead() is not second
    app.advance(4.001)
    assert await get() is not first


async def test_eviction_ends_it() -> None:
    """An entry that left for want of room is computed again."""
    provider = MemoryCacheProvider(max_entries=4)
    async with App(Service, clock=VirtualClock()).provide(CacheProvider, provider) as running:
        get = running.get(Service).get
        values = [await get(x) for x in range(40)]
        left = {int(key) for key in await get.cache.keys()}
        assert len(left) == 4
        for x in range(40):
            if x not in left:
                assert await get.peek(x) is not values[x]
        x = next(x for x in range(40) if x not in left)
        assert await get(x) is not values[x]


def test_a_dead_entry_is_not_served_half_dead() -> None:
    """Between the two steps of its death an entry has no value, and the path is asked."""

    @cache
    def get(x: int) -> object:
        return object()

    first = get(1)
    entry = index_of(get).entries[1]
    del entry.value  # the second step, as another thread sees it that read the first too early
    second = get(1)
    assert second is not first


# The index


async def test_the_index_does_not_grow_with_calls() -> None:
    """Calls without number that have one entry, and dead entries, do not fill it."""

    @cache
    async def number(x: float) -> float:
        return x

    @cache(key="user:{user}")
    async def user(user: int, trace: str) -> int:
        return user

    @cache
    async def changing(x: int) -> int:
        return x

    for turn in range(1_000):
        await number(float("nan"))
        await user(1, f"trace {turn}")
        await changing(turn)
        await changing.invalidate(turn)
    assert len(index_of(number).entries) == 1
    assert len(index_of(user).entries) == 1
    assert len(index_of(changing).entries) <= 130


async def test_the_index_is_bounded_by_the_provider() -> None:
    """What was evicted leaves the index as well, and its hits are remembered."""
    provider = MemoryCacheProvider(max_entries=10)
    async with App(Service, clock=VirtualClock()).provide(CacheProvider, provider) as running:
        get = running.get(Service).get
        for x in range(2_000):
            await get(x)
            await get(x)
        assert len(index_of(get).entries) <= 2 * 10 + 130
        assert get.stats.hits == 2_000


def entry() -> Entry:
    return Entry(object(), 0.0, Windows(10.0))


def test_an_entry_is_in_one_index_under_one_key() -> None:
    """So that its hits are nobody else's."""
    one, other, it = QuickIndex(), QuickIndex(), entry()
    one.remember(1, it)
    one.remember(2, it)
    other.remember(1, it)
    assert one.entries == {1: it}
    assert other.entries == {}
    it.visits = 5
    assert (one.hits(), other.hits()) == (5, 0)
    assert one.close() == 5
    other.remember(1, it)
    it.visits += 1
    assert (one.hits(), other.hits(), it.looks) == (0, 1, 5)


def test_hits_of_the_dead_are_kept() -> None:
    """An entry that was replaced, or swept, has been of use."""
    index = QuickIndex()
    for number in range(200):
        it = entry()
        index.remember(number % 150, it)
        it.visits = 1
        it.kill()
    assert index.hits() == 200
    assert len(index.entries) < 150


def test_the_dead_leave_as_others_come() -> None:
    """Each newcomer looks at two: at most about half of the index is dead, those who stay too."""
    index, living = QuickIndex(), deque(maxlen=100)
    stays = entry()
    index.remember("stays", stays)
    for number in range(5_000):
        if len(living) == living.maxlen:
            living[0].kill()
        living.append(entry())
        index.remember(number, living[-1])
    assert len(index.entries) < 2 * (len(living) + 1) + 64
    assert index.entries["stays"] is stays
    assert all(it in index.entries.values() for it in living)


def test_a_destructor_may_call_back() -> None:
    """A value that dies while the index is at work may lead to another call."""
    index = QuickIndex()

    class Caller:
        def __del__(self) -> None:
            index.remember("called back", entry())

    index.remember(1, Entry(Caller(), 0.0, Windows(10.0)))
    thread = threading.Thread(target=index.close, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert index.entries == {}
