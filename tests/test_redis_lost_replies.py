"""
A reply that is lost is no reason for anybody to wait: the lease goes back.

Leases are so long here that whoever waited for the end of one would run into the time limit.
"""

from __future__ import annotations

import asyncio
import threading

import pytest

from stillfresh import ProviderUnavailable, RedisCacheProvider
from stillfresh.clock import Clock
from stillfresh.computing.drivers import drive
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address, Busy, Lease
from stillfresh.providers.redis.renewal import our_lease

K = Address("space", "key")
NO_TAGS: frozenset[str] = frozenset()


def entry() -> Entry:
    return Entry(b"x", Clock().now(), Windows(60.0), frozenset(), 1)


@pytest.fixture
async def far(proxy, prefix):
    """A provider behind the proxy."""
    provider = RedisCacheProvider(proxy.url, prefix=prefix, timeout="2 seconds", lease="1 hour")
    await provider.start(Clock())
    await provider.release(await provider.acquire(K))  # connected; the server knows the scripts
    yield provider
    await provider.stop()


@pytest.fixture
async def near(url, prefix):
    """Another process, on a good network."""
    provider = RedisCacheProvider(url, prefix=prefix, lease="1 hour")
    await provider.start(Clock())
    yield provider
    await provider.stop()


@pytest.fixture
def alone(monkeypatch):
    """No thread gives anything back; named before `far`, which would have one already."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "stillfresh-leases":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


async def granted(provider: RedisCacheProvider) -> Lease:
    """Return the lease, when whoever has it has given it back."""
    while not isinstance(answer := await provider.acquire(K), Lease):
        await provider.wait(K, 60)
    return answer


def hold_connected(proxy) -> asyncio.Event:
    """Hold what the connections that are open send, and only that, until the event is set."""
    held = proxy.requests
    held.clear()
    proxy.requests = asyncio.Event()
    proxy.requests.set()
    return held


def end(provider: RedisCacheProvider, lease: Lease, how: str) -> asyncio.Task[object]:
    ends = {
        "store": lambda: provider.store(lease, entry()),
        "settle": lambda: provider.settle(lease, NO_TAGS),
        "release": lambda: provider.release(lease),
    }
    return asyncio.create_task(ends[how]())


async def lose(proxy, provider: RedisCacheProvider, lease: Lease, how: str) -> None:
    """Send what ends *lease*, and have the connection reset before it arrives."""
    proxy.requests.clear()
    before = proxy.seen
    ending = end(provider, lease, how)
    while proxy.seen == before:  # noqa: ASYNC110  # it is the test's own loop
        await asyncio.sleep(0.001)
    proxy.close_connections()
    proxy.requests.set()
    with pytest.raises(ProviderUnavailable):
        await ending


@pytest.mark.parametrize("how", ["store", "settle", "release"])
async def test_another_process_gets_a_lease_whose_end_was_lost(far, near, proxy, how):
    """The thread gives it back as soon as the server can be reached."""
    lease = await far.acquire(K)
    await lose(proxy, far, lease, how)
    assert await near.store(await granted(near), entry())


@pytest.mark.parametrize("how", ["store", "settle", "release"])
async def test_a_lease_whose_end_was_lost_is_given_back_by_who_meets_it(alone, far, proxy, how):
    """The next caller of this process knows that nobody has a use for it, and does not wait."""
    lease = await far.acquire(K)
    await lose(proxy, far, lease, how)
    assert isinstance(second := await far.acquire(K), Lease)
    assert await far.store(second, entry())
    assert not await far.store(lease, entry())
    assert our_lease(lease.token.head) is None


async def test_another_process_gets_a_lease_whose_grant_was_lost(far, near, proxy):
    """The server has handed it out, and whoever asked never heard of it."""
    proxy.replies.clear()
    with pytest.raises(ProviderUnavailable, match="no reply"):
        await far.acquire(K)
    proxy.replies.set()
    assert await near.store(await granted(near), entry())


async def test_a_request_that_arrives_late_keeps_nobody_waiting(far, proxy, raw, prefix):
    """It may arrive after the thread was told that there is no such lease: who meets it knows."""
    told = threading.Event()
    renewals = far.wires.renewals
    release = renewals._release

    def heard(leases: list[tuple[Address, bytes]]) -> list[bool]:
        answers = release(leases)
        assert answers == [False]
        told.set()
        return answers

    renewals._release = heard
    held = hold_connected(proxy)
    with pytest.raises(ProviderUnavailable, match="no reply"):
        await far.acquire(K)
    assert await asyncio.to_thread(told.wait, 20)
    assert not raw.keys(f"{prefix}:l:*")
    held.set()
    while not raw.keys(f"{prefix}:l:*"):  # noqa: ASYNC110  # there is no event between processes
        await asyncio.sleep(0.001)
    assert isinstance(await far.acquire(K), Lease)


async def test_who_meets_a_lease_leaves_a_store_alone_that_is_on_its_way(far, proxy):
    """Its holder has not ended: a thread of this process waits for it, and takes nothing away."""
    lease = await far.acquire(K)
    held = hold_connected(proxy)
    storing = end(far, lease, "store")
    met = await asyncio.to_thread(lambda: drive(far.blocking.acquire(K)))
    assert isinstance(met, Busy)
    assert met.lease is lease
    held.set()
    assert await storing
    assert our_lease(lease.token.head) is None


async def test_a_caller_that_is_cancelled_gives_back_on_its_own_connection(alone, far, near):
    """Nothing overtakes the question there, and no thread is needed."""
    asking = asyncio.create_task(far.acquire(K))
    await asyncio.sleep(0)  # sent
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await far.look(K)  # answered after it
    assert not far.wires.renewals._held
    assert isinstance(await near.acquire(K), Lease)


async def test_what_cannot_be_given_back_is_not_kept_for_ever(own, prefix):
    """A server that never comes back costs no memory after the longest time of a lease."""
    provider = RedisCacheProvider(own.url, prefix=prefix, lease="50 ms", max_hold="100 ms")
    await provider.start(Clock())
    lease = await provider.acquire(K)
    own.kill()
    with pytest.raises(ProviderUnavailable):
        await provider.store(lease, entry())
    while our_lease(lease.token.head) is not None:  # noqa: ASYNC110  # there is no event between processes
        await asyncio.sleep(0.001)
    assert not provider.wires.renewals._held
    await provider.stop()
