"""A primary that is demoted and lives on, behind a name that leads to the new one by then."""

from __future__ import annotations

import asyncio

import pytest
from conftest import Proxy

from stillfresh import ProviderUnavailable, RedisCacheProvider
from stillfresh.clock import Clock
from stillfresh.computing.drivers import drive
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address

K = Address("space", "key")


@pytest.fixture
async def named(own):
    """A name: what connects goes where its `port` says; what is connected stays where it is."""
    proxy = Proxy(own.url)
    proxy.url = await proxy.start()
    yield proxy
    await proxy.stop()


async def blocking(provider: RedisCacheProvider) -> int:
    """Drop K over a connection of a thread."""
    return await asyncio.to_thread(lambda: drive(provider.blocking.delete([K])))


async def test_a_server_that_refuses_to_be_written_to_is_left(named, own, valkey, prefix, raw):
    """
    One refusal, and the name is looked up again, also where nobody has cut the connection.

    1. a provider  has connections to the primary, of its loop and of threads
    2. the primary is demoted, and serves on as a replica; the name leads to another server
    3. delete(k)   is refused
    4. delete(k)   reaches the other server, whoever asks
    """
    provider = RedisCacheProvider(named.url, prefix=prefix)
    await provider.start(Clock())
    await provider.delete([K])
    await blocking(provider)
    refusing = provider.wire
    with own.client() as demoted:
        demoted.execute_command("REPLICAOF", "127.0.0.1", "1")
    named.port = valkey.port
    with pytest.raises(ProviderUnavailable, match="READONLY"):
        await provider.delete([K])
    entry = Entry(b"x", Clock().now(), Windows(60.0), frozenset(), 1)
    await provider.put([(K, entry)])
    assert raw.exists(provider.names.value(K))
    assert await blocking(provider) == 1
    found = provider.wire
    provider._look_for_primary(refusing)  # as who was refused as well, and comes late
    assert provider.wire is found
    await provider.stop()


async def test_a_thread_that_is_refused_leaves_the_server_for_all(named, own, valkey, prefix):
    """The same where the first refusal comes to a thread."""
    provider = RedisCacheProvider(named.url, prefix=prefix)
    await provider.start(Clock())
    await provider.delete([K])
    await blocking(provider)
    with own.client() as demoted:
        demoted.execute_command("REPLICAOF", "127.0.0.1", "1")
    named.port = valkey.port
    with pytest.raises(ProviderUnavailable, match="READONLY"):
        await blocking(provider)
    assert await provider.delete([K]) == await blocking(provider) == 0
    await provider.stop()
