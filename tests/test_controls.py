"""The controls of a cached function, wherever the function lives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stillfresh import (
    MISSING,
    App,
    CacheProvider,
    InvalidOption,
    MemoryCacheProvider,
    NotRunning,
    NotSerializable,
    ProviderUnavailable,
    SyncCached,
    cache,
    computation,
)
from stillfresh.app import registry
from stillfresh.services.current import default_app
from stillfresh.testing import ChaosProvider, IsolatedApp, VirtualClock, isolated


@pytest.fixture(autouse=True)
def app() -> Iterator[IsolatedApp]:
    with isolated() as app:
        yield app


class Free:
    @cache(stale="1 minute", tags=["all", "one:{x}"])
    async def get(self, x: int, lang: str = "en") -> list[object]:
        return [x, lang]

    @cache(stale="1 minute", tags=["all", "one:{x}"])
    @classmethod
    async def of_class(cls, x: int, lang: str = "en") -> list[object]:
        return [x, lang]


class Unbound:
    """`Free.get` as it is on the class: the instance comes first."""

    def __init__(self) -> None:
        self.free = Free()

    def __getattr__(self, name: str) -> Any:
        control = getattr(Free.get, name)
        if name in {"clear", "invalidate_matching", "stats", "cache"}:
            return control
        if name == "store":
            return lambda value, *args, **kwargs: control(value, self.free, *args, **kwargs)
        return lambda *args, **kwargs: control(self.free, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return Free.get(self.free, *args, **kwargs)


def module_function() -> Any:
    @cache(stale="1 minute", tags=["all", "one:{x}"])
    async def get(x: int, lang: str = "en") -> list[object]:
        return [x, lang]

    return get


KINDS: dict[str, Any] = {
    "function": module_function,
    "owned": lambda: None,
    "free": lambda: Free().get,
    "unbound": Unbound,
    "class": lambda: Free.of_class,
}


@pytest.fixture(params=KINDS)
async def f(request: pytest.FixtureRequest) -> Any:
    if request.param != "owned":
        yield KINDS[request.param]()
        return
    async with App(Free, clock=VirtualClock()) as app:
        yield app.get(Free).get


async def test_invalidate_drops_one_call(f: Any) -> None:
    """The call computes again in all of its forms, another call does not."""
    first, other = await f(1), await f(2)
    await f.invalidate(x=1, lang="en")
    assert await f(1) is not first
    assert await f(2) is other


async def test_expire_makes_it_stale(f: Any) -> None:
    """The old value is still served while `stale` lasts, and refreshed behind."""
    first = await f(1)
    await f.expire(1)
    assert (await f.explain(1)).status == "stale"
    assert await f(1) is first
    for app in (*registry.running, default_app()):
        await app.settled()
    assert await f(1) is not first


async def test_expire_without_windows_drops() -> None:
    """Where nothing may be served stale, expiring is dropping."""

    @cache
    async def get() -> object:
        return object()

    first = await get()
    await get.expire()
    assert await get.peek() is MISSING
    assert await get() is not first


async def test_refresh_computes_and_stores(f: Any) -> None:
    """It computes although there is a fresh value, and later calls get the new one."""
    first = await f(1)
    second = await f.refresh(1)
    assert second is not first
    assert await f(1, lang="en") is second


async def test_refresh_raises_what_stops_it_from_computing() -> None:
    """A return type that cannot be stored fails a refresh, as it fails a call."""
    with isolated() as app:
        app.provide(CacheProvider, MemoryCacheProvider(serialize=True))

        @cache
        async def get() -> object:
            raise AssertionError

        @cache
        async def impossible() -> asyncio.Event:
            raise AssertionError

        with pytest.raises(AssertionError):
            await get.refresh()
        with pytest.raises(NotSerializable):
            await impossible.refresh()


async def test_peek_never_computes(f: Any) -> None:
    """It answers MISSING or the stored object."""
    assert await f.peek(1) is MISSING
    first = await f(1)
    assert await f.peek(1, "en") is first
    assert await f.peek(2) is MISSING


async def test_peek_sees_stale_and_no_more_than_that(app: IsolatedApp) -> None:
    """A value past its ttl is there as long as `stale` lasts."""
    f = module_function()
    first = await f(1)
    app.advance("5 minutes 30 seconds")
    assert await f.peek(1) is first
    app.advance("1 minute")
    assert await f.peek(1) is MISSING


async def test_store_writes_through(f: Any) -> None:
    """What was stored is what a call returns, under the tags of the function."""
    value = ["mine"]
    await f.store(value, 1)
    assert await f(1, "en") is value
    assert (await f.explain(1)).tags == {"all", "one:1"}


async def test_store_and_what_was_running() -> None:
    """A computation that was running when store() returned does not overwrite it."""
    began, go = asyncio.Event(), asyncio.Event()

    @cache
    async def get() -> str:
        began.set()
        await go.wait()
        return "computed"

    task = asyncio.create_task(get())
    await began.wait()
    await get.store("stored")
    assert await get() == "stored"
    go.set()
    assert await task == "computed"
    assert await get() == "stored"


async def test_key_is_text(f: Any) -> None:
    """All forms of a call have one key, and it reads like the arguments."""
    assert f.key(1) == f.key(x=1) == f.key(1, lang="en") == '1,"en"'


async def test_invalidate_matching_knows_one_star(f: Any) -> None:
    """`*` is any text in a pattern; other characters are themselves."""
    first, second, third = await f(1), await f(12), await f(2)
    await f.invalidate_matching('1*,"en"')
    assert await f.peek(1) is MISSING
    assert await f.peek(12) is MISSING
    assert await f.peek(2) is third
    await f.invalidate_matching("?,[a-z]")
    assert await f.peek(2) is third
    assert first != second


async def test_a_star_as_an_argument_is_no_pattern() -> None:
    """`invalidate("*")` drops the call with that argument and no other."""

    @cache(key="user:{user}")
    async def get(user: str) -> str:
        return user

    await get("*")
    await get("ada")
    await get.invalidate("*")
    assert await get.peek("*") is MISSING
    assert await get.peek("ada") == "ada"


async def test_clear_drops_all_of_it_and_nothing_else(f: Any) -> None:
    """After clear() nothing of the function is there; another function keeps its entries."""

    @cache
    async def other() -> object:
        return object()

    theirs = await other()
    await f(1)
    await f(2, "de")
    await f.clear()
    assert await f.peek(1) is MISSING
    assert await f.peek(2, "de") is MISSING
    assert await other() is theirs


async def test_explain_tells_a_story(f: Any) -> None:
    """status, age, tier, tags and why; and str() has all of it."""
    nothing = await f.explain(1)
    assert (nothing.status, nothing.age, nothing.tags) == ("miss", None, frozenset())
    assert "no usable entry" in str(nothing)
    await f(1)
    fresh = await f.explain(1)
    assert (fresh.status, fresh.age) == ("hit", 0)
    assert fresh.tags == {"all", "one:1"}
    story = str(fresh)
    for part in ("hit", f.key(1), "Fresh for 5m", "MemoryCacheProvider", "all, one:1"):
        assert part in story
    await f.expire(1)
    assert "expired by hand" in (await f.explain(1)).why


async def test_explain_follows_time(app: IsolatedApp) -> None:
    """Past ttl it is stale, past all windows a miss; and a fallback says why it is kept."""

    @cache(ttl="10 seconds", stale="10 seconds", stale_if_error="20 seconds")
    async def get() -> int:
        return 1

    await get()
    seen = []
    for _ in range(4):
        explained = await get.explain()
        seen.append((explained.status, explained.age))
        app.advance("10 seconds")
    assert seen == [("hit", 0), ("stale", 10), ("miss", 20), ("miss", None)]


async def test_explain_sees_a_running_computation() -> None:
    """It says so, and neither joins it nor disturbs it."""
    began, go = asyncio.Event(), asyncio.Event()

    @cache
    async def get() -> int:
        began.set()
        await go.wait()
        return 1

    task = asyncio.create_task(get())
    await began.wait()
    assert "A computation is running" in (await get.explain()).why
    go.set()
    assert await task == 1


async def test_explain_answers_also_while_the_provider_does_not() -> None:
    """It is asked just when something is wrong; `peek` is asked for a value, and raises."""
    chaos = ChaosProvider(MemoryCacheProvider())

    class Service:
        @cache
        async def f(self) -> int:
            return 1

        @cache
        def g(self) -> int:
            return 1

    async with App(Service).provide(CacheProvider, chaos) as app:
        service = app.get(Service)
        assert (await service.f(), service.g()) == (1, 1)
        chaos.fail = 1
        for _ in range(2):  # as the first one to notice, and when it is known
            for told in (await service.f.explain(), service.g.explain()):
                assert told.status == "miss"
                assert "cannot be read" in told.why
                assert "ChaosProvider" in told.why
        with pytest.raises(ProviderUnavailable):
            await service.f.peek()
        with pytest.raises(ProviderUnavailable):
            service.g.peek()


async def test_stats_count_each_call_once(app: IsolatedApp) -> None:
    """Each of the six ways of being answered has its number; they add up to the calls."""
    began, go, fails = asyncio.Event(), asyncio.Event(), False

    @cache(ttl=10, stale=10, stale_if_error=60)
    async def get(x: int) -> int:
        if fails:
            raise ValueError
        if x == 2:
            began.set()
            await go.wait()
        return x

    for _ in range(3):
        await get(1)
    tasks = [asyncio.create_task(get(2)) for _ in range(3)]
    await began.wait()
    go.set()
    await asyncio.gather(*tasks)
    app.advance(15)
    fails = True
    await get(1)
    await app.settled()
    app.advance(15)
    await get(1)
    stats = get.stats
    assert (stats.misses, stats.hits, stats.coalesced) == (2, 2, 2)
    assert (stats.stale, stats.fallbacks, stats.bypasses) == (1, 1, 0)
    assert stats.entries == 2
    assert repr(stats).startswith("Stats(hits=2, misses=2")


async def test_stats_of_a_bypass() -> None:
    """While enabled= says no, calls compute and are counted as bypasses."""
    on = False

    @cache(enabled=lambda: on)
    async def get() -> object:
        return object()

    first = await get()
    assert await get() is not first
    assert (get.stats.bypasses, get.stats.entries) == (2, 0)
    on = True
    assert await get() is await get()
    assert (get.stats.bypasses, get.stats.misses, get.stats.hits) == (2, 1, 1)


async def test_cache_is_the_store_of_the_entries(f: Any) -> None:
    """Through `f.cache` one sees the keys of f and reads, writes and drops by them."""
    first = await f(1)
    store, key = f.cache, f.key(1)
    assert await store.keys() == [key]
    assert await store.get(key) is first
    assert store.name.endswith(("get", "of_class"))
    await store.set(key, ["set"])
    assert await f(1) == ["set"]
    assert await store.delete(key) == 1
    assert await f.peek(1) is MISSING


async def test_changes_need_a_running_app() -> None:
    """Not running, a call passes through and looks find nothing, but no change is lost."""

    class Service:
        @cache
        async def get(self, x: int) -> object:
            return object()

    get = App(Service).get(Service).get
    assert await get(1) is not await get(1)
    assert await get.peek(1) is MISSING
    assert (await get.explain(1)).status == "miss"
    assert "does not run" in str(await get.explain(1))
    changes = [
        lambda: get.invalidate(1),
        lambda: get.expire(1),
        lambda: get.store(1, 1),
        lambda: get.invalidate_matching("*"),
        lambda: get.clear(),
    ]
    for change in changes:
        with pytest.raises(NotRunning, match=r"Service\.get\.\w+\(\).*does not run"):
            await change()


async def test_unbound_controls_want_the_instance() -> None:
    """On the class the instance comes first; without it the error says so."""
    with pytest.raises(TypeError, match="expected the instance as the first argument"):
        await Free.get.invalidate()
    with pytest.raises(InvalidOption, match="expected the class"):
        await vars(Free)["of_class"].clear()
    owned = App(Free, clock=VirtualClock())
    async with owned:
        service = owned.get(Free)
        first = await service.get(1)
        assert await Free.get.peek(service, 1) is first
        await Free.get.invalidate(service, 1)
        assert await service.get(1) is not first


def test_sync_twins_await_nothing(app: IsolatedApp) -> None:
    """All controls of a sync function work without a loop, and return plain values."""

    @cache(stale="1 minute", tags=["one:{x}"])
    def get(x: int) -> list[int]:
        return [x]

    assert isinstance(get, SyncCached)
    assert get.peek(1) is MISSING
    first = get(1)
    assert get.peek(1) is first
    assert get.key(1) == "1"
    assert get.invalidate(1) is None
    assert get(1) is not first
    assert get.refresh(1) == [1]
    assert get.store([5], 1) is None
    assert get(1) == [5]
    assert get.expire(1) is None
    assert get.explain(1).status == "stale"
    app.sync.invalidate_tags("one:1")
    assert get.peek(1) is MISSING
    get(2)
    assert get.invalidate_matching("2*") is None
    assert get.peek(2) is MISSING
    get(3)
    assert get.stats.entries == 1
    assert get.cache.sync.keys() == ["3"]
    assert get.clear() is None
    assert get.peek(3) is MISSING


def test_sync_invalidate_wins_over_a_running_thread() -> None:
    """What another thread was computing when invalidate() returned is not served later."""
    began, go = threading.Event(), threading.Event()
    values = iter(["old", "new"])

    @cache
    def get() -> str:
        value = next(values)
        if value == "old":
            began.set()
            assert go.wait(10)
        return value

    thread = threading.Thread(target=get)
    thread.start()
    assert began.wait(10)
    get.invalidate()
    assert get() == "new"
    go.set()
    thread.join(10)
    assert get() == "new"


async def test_controls_of_one_name_leave_the_computation_alone() -> None:
    """Inside a computation the function may speak about its own entry: ttl, tags, skip."""
    skip = False

    @cache
    async def get() -> object:
        computation().ttl = None
        computation().tags.add("late")
        if skip:
            computation().skip()
        return object()

    first = await get()
    assert (await get.explain()).tags == {"late"}
    assert (await get.explain()).why == "Fresh for ever."
    assert await get() is first
    skip = True
    assert await get.refresh() is not first


CONTROLS = ["__call__", "refresh", "invalidate", "expire", "peek", "key", "explain"]


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize("control", CONTROLS)
async def test_an_argument_may_be_called_self(
    app: IsolatedApp, control: str, *, owned: bool
) -> None:
    """Whatever the parameters of a function are called, it and its controls take them by name."""

    class Service:
        @cache
        async def get(this, self: int = 0, **more: int) -> tuple[int, dict[str, int]]:
            return self, more

        @cache
        def rest(self, /, **more: int) -> dict[str, int]:
            return more

    @cache
    async def function(self: int = 0, **more: int) -> tuple[int, dict[str, int]]:
        return self, more

    service = app.get(Service) if owned else Service()
    for cached in (service.get, function):
        await cached.store((7, {"value": 8}), self=7, value=8)
        assert await cached(self=7, value=8) == (7, {"value": 8})
        answer = getattr(cached, control)(self=7, value=8)
        if control != "key":
            answer = await answer
        if control in {"__call__", "refresh"}:
            assert answer == (7, {"value": 8})
    arguments = {"self": 7, "value": 8}
    assert service.rest(**arguments) == arguments
    service.rest.store({"self": 1}, **arguments)
    getattr(service.rest, control)(**arguments)
