"""How a call is served: the statuses, and for how long which value."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from stillfresh import MISSING, App, Cache, MemoryCacheProvider, cache, computation
from stillfresh.testing import VirtualClock, isolated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stillfresh.testing import IsolatedApp

PATIENCE = 10.0


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


@pytest.fixture
def app() -> Iterator[IsolatedApp]:
    with isolated() as one:
        yield one


class Source:
    """Counts its reads, and fails or waits when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def read(self) -> int:
        self.calls += 1
        number = self.calls
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return number


def numbers(stats: Any) -> dict[str, int]:
    names = ("hits", "misses", "stale", "coalesced", "fallbacks", "bypasses")
    return {name: getattr(stats, name) for name in names if getattr(stats, name)}


async def test_every_status_counts_once(app: IsolatedApp) -> None:
    """Each call has one status, and they add up to the calls."""
    source, on = Source(), True

    @cache(ttl=10, stale=10, stale_if_error=100, enabled=lambda: on)
    async def f() -> int:
        return await source.read()

    calls = 0

    async def call(count: int = 1) -> list[Any]:
        nonlocal calls
        calls += count
        return await soon(asyncio.gather(*(f() for _ in range(count)), return_exceptions=True))

    await call(3)
    assert numbers(f.stats) == {"misses": 1, "coalesced": 2}
    await call(2)
    assert numbers(f.stats) == {"misses": 1, "coalesced": 2, "hits": 2}
    app.advance(15)
    await call()
    await soon(app.settled())
    assert f.stats.stale == 1
    app.advance(30)
    source.error = OSError()
    assert await call(2) == [2, 2]
    assert f.stats.fallbacks == 2
    app.advance(300)
    assert [type(result) for result in await call()] == [OSError]
    assert f.stats.misses == 2
    on = False
    await call()
    stats = f.stats
    assert stats.bypasses == 1
    assert sum(numbers(stats).values()) == calls


async def test_a_call_of_an_app_that_does_not_run_is_a_bypass() -> None:
    """It computes, stores nothing, and counts."""

    class Service:
        @cache
        async def f(self) -> int:
            return 1

    app = App(Service, clock=VirtualClock())
    service = app.get(Service)
    assert await service.f() == 1
    assert numbers(service.f.stats) == {"bypasses": 1}
    async with app:
        assert await service.f.peek() is MISSING


async def test_fresh_ends_with_the_ttl(app: IsolatedApp) -> None:
    """An entry is fresh before its ttl is over, and gone at that very moment."""
    source = Source()

    @cache(ttl=10)
    async def f() -> int:
        return await source.read()

    await f()
    app.advance(9.999)
    assert await f() == 1
    app.advance(0.001)
    assert await f() == 2


async def test_no_ttl_is_for_ever(app: IsolatedApp) -> None:
    """`ttl=None` never expires."""
    source = Source()

    @cache(ttl=None)
    async def f() -> int:
        return await source.read()

    await f()
    app.advance("10000 days")
    assert await f() == 1


async def test_stale_is_served_at_once_while_one_refresh_runs(app: IsolatedApp) -> None:
    """Inside `stale` nobody waits, one refresh runs for all, and then its value is served."""
    source = Source()

    @cache(ttl=10, stale=20)
    async def f() -> int:
        return await source.read()

    await f()
    app.advance(10)
    source.gate = asyncio.Event()
    assert await soon(asyncio.gather(*(f() for _ in range(20)))) == [1] * 20
    await asyncio.sleep(0)
    assert await soon(f()) == 1
    assert source.calls == 2
    source.gate.set()
    await soon(app.settled())
    assert await f() == 2
    assert source.calls == 2
    app.advance(30)  # past both windows
    assert await f() == 3


async def test_a_refresh_that_fails_leaves_the_old_value(app: IsolatedApp) -> None:
    """Errors of a refresh reach nobody; the old value is served until its window ends."""
    source = Source()

    @cache(ttl=10, stale=20)
    async def f() -> int:
        return await source.read()

    await f()
    app.advance(15)
    source.error = OSError()
    for _ in range(3):
        assert await f() == 1
        await soon(app.settled())
    app.advance(15)
    with pytest.raises(OSError):
        await f()


async def test_the_old_value_when_the_function_fails(app: IsolatedApp) -> None:
    """Inside `stale_if_error`, which counts from the end of the ttl; after it the error comes."""
    source = Source()

    @cache(ttl=10, stale_if_error=20)
    async def f() -> int:
        return await source.read()

    await f()
    source.error = OSError()
    app.advance(29)
    assert await f() == 1
    app.advance(1)
    with pytest.raises(OSError):
        await f()


async def test_a_predicate_of_errors_that_raises(app: IsolatedApp) -> None:
    """The mistake is raised, the call counts, and the key is free."""
    provider = MemoryCacheProvider()

    def predicate(error: BaseException) -> bool:
        raise KeyError("mistake") from error

    @cache(stale_if_error="1 hour", errors=predicate, provider=provider)
    async def f() -> int:
        raise OSError

    with pytest.raises(KeyError, match="mistake"):
        await f()
    assert f.stats.misses == 1
    assert "0 leases" in repr(provider)


async def test_which_errors_count_as_failing(app: IsolatedApp) -> None:
    """`errors=` says it: types or a predicate; any other error is an answer, and raised."""
    failing: Exception = OSError()

    @cache(ttl=10, stale_if_error="1 hour", errors=OSError)
    async def by_type(n: int) -> int:
        if app.clock.now() > 1_005:
            raise failing
        return n

    @cache(ttl=10, stale_if_error="1 hour", errors=lambda error: "later" in str(error))
    async def by_predicate(n: int) -> int:
        if app.clock.now() > 1_005:
            raise failing
        return n

    await by_type(1)
    await by_predicate(1)
    app.advance(20)
    assert await by_type(1) == 1
    with pytest.raises(OSError):
        await by_predicate(1)
    app.advance(20)
    failing = ValueError("try later")
    with pytest.raises(ValueError):
        await by_type(1)
    assert await by_predicate(1) == 1


async def test_failures_back_off(app: IsolatedApp) -> None:
    """After a failure the next try waits 1 s, doubling each time, at most the ttl."""
    source = Source()

    @cache(ttl=5, stale_if_error="1 day")
    async def f() -> int:
        return await source.read()

    await f()
    app.advance(10)
    source.error = OSError()
    for wait in (1, 2, 4, 5, 5):
        before = source.calls
        assert await f() == 1
        assert source.calls == before + 1
        app.advance(wait - 0.01)
        assert await f() == 1
        assert source.calls == before + 1
        app.advance(0.01)
    source.error = None
    assert await f() == 7
    source.error = OSError()
    app.advance(10)
    await f()
    app.advance(1)  # a success in between: it begins with 1 s again
    before = source.calls
    await f()
    assert source.calls == before + 1


async def test_a_failure_that_no_caller_hears_of_is_logged(
    app: IsolatedApp, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind an old value a function cannot fail in silence: one line says so."""
    source = Source()

    @cache(ttl=10, stale=10, stale_if_error=100, name="f")
    async def f() -> int:
        return await source.read()

    def told() -> list[str]:
        lines = [one.getMessage() for one in caplog.records]
        caplog.clear()
        return lines

    await f()
    source.error = OSError("the source is away")
    app.advance(15)
    for _ in range(3):  # the second one and the third let the key rest
        assert await f() == 1
        await app.settled()
    assert told() == ["f(): a refresh failed: OSError('the source is away')"]
    app.advance(50)
    assert await asyncio.gather(*(f() for _ in range(5))) == [1] * 5
    assert told() == ["f(): it failed, and the old value is served: OSError('the source is away')"]
    app.advance(100)
    with pytest.raises(OSError, match="away"):
        await f()
    assert told() == []  # the caller knows


async def test_refresh_ahead(app: IsolatedApp) -> None:
    """After that fraction of the ttl a read starts one refresh, and is answered at once."""
    source = Source()

    @cache(ttl=10, refresh_ahead=0.8)
    async def f() -> int:
        return await source.read()

    await f()
    app.advance(7.9)
    assert await f() == 1
    await soon(app.settled())
    assert source.calls == 1
    app.advance(0.1)
    assert await soon(asyncio.gather(f(), f(), f())) == [1, 1, 1]
    await soon(app.settled())
    assert source.calls == 2
    assert await f() == 2
    assert numbers(f.stats) == {"misses": 1, "hits": 5}
    app.advance(9.9)  # it lives on from the refresh
    assert await f() == 2


async def test_jitter_shortens_within_its_fraction(app: IsolatedApp) -> None:
    """Lifetimes are between `ttl * (1 - jitter)` and `ttl`, and not all the same."""
    alive = Cache[int](name="jitter", ttl=100, jitter=0.5)
    for n in range(200):
        await alive.set(str(n), n)
    app.advance(49.9)
    assert len(await alive.keys()) == 200
    app.advance(25)
    assert 20 < len(await alive.keys()) < 180
    app.advance(25.2)
    assert await alive.keys() == []


@pytest.mark.parametrize(
    ("options", "after"),
    [({}, 2), ({"stale": 50}, 1), ({"stale_if_error": 50}, 2)],
    ids=["plain", "stale", "stale_if_error"],
)
async def test_expire(app: IsolatedApp, options: dict[str, Any], after: int) -> None:
    """It makes the entry not fresh, and leaves the windows that it had."""
    source = Source()

    @cache(ttl=10, **options)
    async def f() -> int:
        return await source.read()

    await f()
    await f.expire()
    assert await soon(f()) == after
    await soon(app.settled())
    assert await f() == 2


@pytest.mark.parametrize("window", ["stale", "stale_if_error"])
async def test_an_expired_entry_ends_when_it_would_have_ended(
    app: IsolatedApp, window: str
) -> None:
    """`expire` does not move the end of the windows, to neither side."""
    source = Source()

    @cache(ttl=10, **{window: 20})
    async def f() -> int:
        return await source.read()

    await f()
    await f.expire()
    source.error = OSError()
    app.advance(29)
    assert await f() == 1
    await soon(app.settled())
    app.advance(1)
    with pytest.raises(OSError):
        await f()


async def test_lifetimes_count_from_the_call_of_the_computation(app: IsolatedApp) -> None:
    """A computation that takes 4 of 10 seconds is fresh for 6 more."""
    source = Source()
    source.gate = asyncio.Event()

    @cache(ttl=10)
    async def f() -> int:
        return await source.read()

    call = asyncio.create_task(f())
    while not source.calls:  # noqa: ASYNC110  # no event tells
        await asyncio.sleep(0)
    app.advance(4)
    source.gate.set()
    assert await soon(call) == 1
    app.advance(5.9)
    assert await f() == 1
    app.advance(0.1)
    assert await f() == 2


async def test_a_computation_longer_than_its_lifetime(app: IsolatedApp) -> None:
    """All who wait get the value, and nothing is stored."""
    source = Source()
    source.gate = asyncio.Event()

    @cache(ttl=10)
    async def f() -> int:
        return await source.read()

    calls = [asyncio.create_task(f()) for _ in range(3)]
    while not source.calls:  # noqa: ASYNC110  # no event tells
        await asyncio.sleep(0)
    app.advance(10)
    source.gate.set()
    assert await soon(asyncio.gather(*calls)) == [1, 1, 1]
    assert await f.peek() is MISSING
    assert f.stats.entries == 0


async def test_when_says_what_is_stored(app: IsolatedApp) -> None:
    """A value that `when` refuses is handed to all who wait, and not stored."""

    @cache(when=lambda value: value is not None)
    async def f(n: int) -> int | None:
        await asyncio.sleep(0)
        return n or None

    assert await soon(asyncio.gather(*(f(0) for _ in range(3)))) == [None] * 3
    assert f.stats.misses == 1
    assert await f.peek(0) is MISSING
    assert await f(1) == await f.peek(1) == 1


async def test_the_function_decides_about_its_own_entry(app: IsolatedApp) -> None:
    """`computation()` sets the ttl of this one result, or says that it is not stored."""

    @cache(ttl=100)
    async def f(n: int) -> float:
        if n == 0:
            computation().skip()
        elif n == 1:
            computation().ttl = "5 seconds"
        elif n == 2:
            computation().ttl = None
        return app.clock.now()

    for n in range(4):
        await f(n)
    assert await f.peek(0) is MISSING
    app.advance(5)
    assert [await f.peek(n) is MISSING for n in (1, 2, 3)] == [True, False, False]
    app.advance(100)
    assert [await f.peek(n) is MISSING for n in (1, 2, 3)] == [True, False, True]
