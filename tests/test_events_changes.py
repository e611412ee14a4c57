"""What listeners are told of changes by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stillfresh import App, Cache, CacheProvider, MemoryCacheProvider, ProviderUnavailable, cache
from stillfresh.testing import ChaosProvider, isolated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from stillfresh.testing import IsolatedApp


@pytest.fixture
def app() -> Iterator[IsolatedApp]:
    with isolated() as one:
        yield one


def listen(app: App) -> list[tuple[str, str, str | None]]:
    told: list[tuple[str, str, str | None]] = []
    for kind in ("store", "refused", "invalidate", "evict", "expire"):
        app.on(kind, lambda event: told.append((event.kind, event.cache, event.key)))
    return told


async def test_events_of_changing(app: IsolatedApp) -> None:
    """Each change by hand has its event, told before the change returns."""
    told = listen(app)
    store = Cache[int](name="s")
    await store.set("k", 1)
    await store.incr("n")
    await store.delete("k")
    await store.invalidate("u*")
    await store.invalidate_tags("t")
    await store.clear()

    @cache(name="f", key="x")
    async def f() -> int:
        return 1

    await f.store(1)
    await f.expire()
    await f.invalidate()
    await app.invalidate_tags("a", "b")
    assert told == [
        ("store", "s", "k"),
        ("store", "s", "n"),
        ("invalidate", "s", "k"),
        ("invalidate", "s", "u*"),
        ("invalidate", "s", "t"),
        ("invalidate", "s", "*"),
        ("store", "f", "x"),
        ("expire", "f", "x"),
        ("invalidate", "f", "x"),
        ("invalidate", "", "a, b"),
    ]


async def test_a_change_that_fails_tells_nothing(app: IsolatedApp) -> None:
    """What is no counter is not counted, so nothing was stored."""
    store = Cache[object](name="s")
    await store.set("k", "text")
    told = listen(app)
    with pytest.raises(TypeError):
        await store.incr("k")
    assert told == []


async def test_keys_are_told_in_the_order_in_which_they_were_given(app: IsolatedApp) -> None:
    """Many at a time, and one that is named twice once."""
    store = Cache[int](name="s")
    keys = [f"{n}" for n in range(20)]
    told = listen(app)
    await store.set_many(dict.fromkeys(keys, 1))
    await store.delete(*keys, keys[0])
    assert told == [(kind, "s", key) for kind in ("store", "invalidate") for key in keys]


@pytest.mark.parametrize("how", ["app", "store", "key", "pattern", "everything"])
async def test_an_invalidation_that_failed_is_not_told(how: str) -> None:
    """Nobody knows what has become of it; whoever asked for it was told so."""

    class Service:
        store = Cache[int](name="s")

    chaos = ChaosProvider(MemoryCacheProvider())
    async with App(Service).provide(CacheProvider, chaos) as app:
        store = app.get(Service).store
        await store.set("k", 1, tags=["t"])
        told: list[str | None] = []
        app.on("invalidate", lambda event: told.append(event.key))
        changes: dict[str, Callable[[], Awaitable[object]]] = {
            "app": lambda: app.invalidate_tags("t"),
            "store": lambda: store.invalidate_tags("t"),
            "key": lambda: store.delete("k"),
            "pattern": lambda: store.invalidate("k*"),
            "everything": store.clear,
        }
        chaos.fail = 1
        with pytest.raises(ProviderUnavailable):
            await changes[how]()
        assert told == []
        chaos.fail = 0
