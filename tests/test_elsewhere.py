"""A module's function with a provider of its own, and an app that never called it."""

from __future__ import annotations

import pytest

import stillfresh
from stillfresh import App, InvalidOption, RedisCacheProvider
from stillfresh.testing import isolated

SHOP = """
from stillfresh import Cache, cache

calls = []

@cache(ttl="1 minute", tags=["prices"], provider=provider)
async def price(number: int) -> int:
    calls.append(number)
    return len(calls)

names = Cache[str](name="names", ttl="1 minute", provider=provider)

class Free:
    @cache(ttl="1 minute", tags=["prices"], provider=provider)
    @staticmethod
    def discount(number: int) -> int:
        calls.append(number)
        return len(calls)
"""


class Shop:
    """The module `shop`, as a process imports it."""

    def __init__(self, provider: object) -> None:
        self.module = {"__name__": "shop", "provider": provider}
        exec(SHOP, self.module)

    def __getattr__(self, name: str):
        return self.module[name]


async def test_a_tag_reaches_the_provider_of_a_function_that_this_app_never_called(url, prefix):
    """Another process has stored there; `app.invalidate_tags` drops it from here all the same."""
    shop = Shop(RedisCacheProvider(url, prefix=prefix))
    async with App():
        assert await shop.price(1) == 1
        assert shop.Free.discount(1) == 2
        await shop.names.set("k", "v", tags=["prices"])
    async with App() as other:
        await other.invalidate_tags("prices")
    async with App():
        assert await shop.names.get("k") is None
        assert await shop.price(1) == 3
        assert shop.Free.discount(1) == 4


async def test_the_default_app_holds_on_to_nothing_that_another_one_uses(url, prefix):
    """A tag that is dropped for all apps is dropped there; the connections end with the app."""
    provider = RedisCacheProvider(url, prefix=prefix)
    shop = Shop(provider)
    async with App():
        assert await shop.price(1) == 1
        await stillfresh.invalidate_tags("prices")
        assert await shop.price(1) == 2
    assert provider._wires is None


async def test_a_provider_that_cannot_be_made_keeps_no_other_from_a_tag(monkeypatch):
    """The error says what is missing, after all that could be reached was dropped."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    shop = Shop(RedisCacheProvider)
    near = Shop("memory")
    async with App() as app:
        assert await near.price(1) == 1
        with pytest.raises(InvalidOption, match="REDIS_URL"):
            await app.invalidate_tags("prices")
        assert await near.price(1) == 2
    del shop


async def test_a_provider_that_cannot_be_made_keeps_no_other_app_from_a_tag(monkeypatch):
    """For the whole process as well: each app drops what it can reach, and the error is said."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    shop, near = Shop(RedisCacheProvider), Shop("memory")
    async with App():
        assert await near.price(1) == 1
        with pytest.raises(InvalidOption, match="REDIS_URL"):
            await stillfresh.invalidate_tags("prices")
        assert await near.price(1) == 2
    with isolated():
        assert await near.price(1) == 3
        with pytest.raises(InvalidOption, match="REDIS_URL"):
            await stillfresh.invalidate_tags("prices")
        assert await near.price(1) == 4
    del shop
