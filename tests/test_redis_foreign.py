"""Names of others on the server, next to ours or among them."""

from __future__ import annotations

import pytest

from stillfresh import RedisCacheProvider
from stillfresh.clock import Clock
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address

K = Address("space", "key")


async def started(url: str, prefix: str) -> RedisCacheProvider:
    provider = RedisCacheProvider(url, prefix=prefix)
    await provider.start(Clock())
    await provider.put([(K, Entry(b"x", Clock().now(), Windows(60.0), frozenset(), 1))])
    return provider


@pytest.mark.parametrize("kind", ["v", "l"])
async def test_a_name_that_no_key_has_keeps_nobody_from_a_pattern(url, prefix, raw, kind):
    """What stands under the prefix and is nothing of ours is no key, and goes with a pattern."""
    provider = await started(url, prefix)
    foreign = f"{prefix}:{kind}:{{space|%FF}}"
    raw.rpush(foreign, "junk")
    assert await provider.keys("space") == ["key"]
    await provider.invalidate_matching("space", "k*")
    assert await provider.look(K) is None
    await provider.invalidate_matching("space", "*")
    assert not raw.exists(foreign)
    await provider.stop()


@pytest.mark.parametrize("longer", [":v", ":l", ":x"])
async def test_all_of_one_prefix_is_nothing_of_a_longer_one(url, prefix, longer):
    """Also where the longer one goes on like our own names: `shop` and `shop:v`."""
    one, other = [await started(url, name) for name in (prefix, prefix + longer)]
    lease = await other.acquire(Address("space", "computed"))
    await one.clear_all()
    assert await one.look(K) is None
    assert await other.look(K) is not None
    assert await other.store(lease, Entry(b"x", Clock().now(), Windows(60.0), frozenset(), 1))
    for provider in (one, other):
        await provider.stop()
