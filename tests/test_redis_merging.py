"""Reads that go to the server together: who shares one, and who must not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stillfresh import RedisCacheProvider
from stillfresh.clock import Clock
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address
from stillfresh.providers.redis.hits import Hits

K = Address("space", "key")


def entry(value: bytes, *tags: str) -> Entry:
    return Entry(value, Clock().now(), Windows(60.0), frozenset(tags), len(value))


async def by_look(provider: RedisCacheProvider, address: Address = K) -> object:
    found = await provider.look(address)
    return None if found is None else found.value


async def by_hit(provider: RedisCacheProvider, address: Address = K) -> object:
    """As a hit of a function with one window; without the life that is left, where it may be."""
    found = await Hits(provider, address.namespace, lone=True).glance(address.key)
    return found.value if isinstance(found, Entry) else found


@pytest.fixture(params=[by_look, by_hit])
def value(request: pytest.FixtureRequest) -> Any:
    return request.param


class Held:
    """Stands between a link and its transport: shows what was handed over, and when."""

    def __init__(self, provider: RedisCacheProvider) -> None:
        self.link = provider.wires.links.here()
        self.transport = self.link.transport
        self.pieces: list[bytes] = []
        self.open = False
        self.link.transport = self

    def write(self, data: bytes) -> None:
        self.pieces.append(data)
        if self.open:
            self.transport.write(data)

    def release(self) -> None:
        self.open = True
        for data in self.pieces:
            self.transport.write(data)
        self.pieces = []

    async def handed_over(self, count: int) -> None:
        """Return when so many reads were handed over; turns of the loop, no time."""
        for _ in range(100):
            if reads(self.pieces) >= count:
                return
            await asyncio.sleep(0)
        raise AssertionError(self.pieces)

    def __getattr__(self, name: str) -> object:
        return getattr(self.transport, name)


def reads(pieces: list[bytes]) -> int:
    return sum(piece.count(b":v:{") - piece.count(b"PTTL") for piece in pieces)


@pytest.fixture
async def held(two) -> Held:
    """The link of the first of two providers; the second one stands for another process."""
    a, _ = two
    await a.look(K)  # connected
    return Held(a)


@pytest.mark.parametrize("tags", [(), ("t", "u")])
async def test_reads_of_one_key_in_one_turn_are_one_read(two, held, value, tags):
    """Twenty tasks that ask for one key in one turn of the loop ask once, and all are answered."""
    a, b = two
    held.open = True
    await b.put([(K, entry(b"x", *tags))])
    await value(a)
    held.pieces = []
    assert await asyncio.gather(*(value(a) for _ in range(20))) == [b"x"] * 20
    assert reads(held.pieces) <= 2  # the first one goes at once, the others together
    assert len(held.pieces) <= 2


async def test_reads_of_many_keys_in_one_turn_are_one_piece(two, held, value):
    """Fifty keys go to the transport in three pieces at most, and each caller gets its own."""
    a, b = two
    held.open = True
    addresses = [Address("space", f"k{number}") for number in range(50)]
    await b.put([(one, entry(b"%d" % n + b"x")) for n, one in enumerate(addresses)])
    for _ in range(2):
        held.pieces = []
        found = await asyncio.gather(*(value(a, one) for one in addresses))
        assert found == [b"%dx" % n for n in range(50)]
        assert len(held.pieces) <= 3


async def test_nobody_joins_a_read_that_was_handed_over(two, held, value):
    """
    Once it is on its way, a read answers nobody who comes later.

    1. five tasks   ask for the key; their reads are handed to the transport
    2. b            writes another value; the write has returned
    3. a sixth task asks: it gets a read of its own, sent after it came, and the new value
    """
    a, b = two
    await b.put([(K, entry(b"old"))])
    early = [asyncio.create_task(value(a)) for _ in range(5)]
    await held.handed_over(2)
    before = reads(held.pieces)
    await b.put([(K, entry(b"new"))])
    late = asyncio.create_task(value(a))
    await held.handed_over(before + 1)
    held.release()
    assert await late == b"new"
    assert set(await asyncio.gather(*early)) <= {b"old", b"new"}


async def test_an_invalidation_between_two_turns_is_seen_by_the_second(two, held, value):
    """Merged callers of the second turn share a read among them, and none with the first."""
    a, b = two
    await b.put([(K, entry(b"old", "t"))])
    held.open = True
    assert await asyncio.gather(*(value(a) for _ in range(5))) == [b"old"] * 5
    first = [asyncio.create_task(value(a)) for _ in range(5)]
    for _ in range(3):
        await asyncio.sleep(0)  # sent, and not answered for all we know
    await b.invalidate_tags(None, ["t"])
    assert await asyncio.gather(*(value(a) for _ in range(5))) == [None] * 5
    await asyncio.gather(*first)


async def test_who_goes_away_does_not_hurt_those_who_share(two, held, value):
    """Whichever of the callers is cancelled, whoever sent the read too, the others are answered."""
    a, b = two
    await b.put([(K, entry(b"x"))])
    for gone in range(4):
        tasks = [asyncio.create_task(value(a)) for _ in range(4)]
        await held.handed_over(1)  # the others are with it, or go in the next turn
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks[gone].cancel()
        await asyncio.sleep(0)
        held.release()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in ended] == [
            number == gone for number in range(4)
        ]
        assert [one for number, one in enumerate(ended) if number != gone] == [b"x"] * 3
        held.open = False


async def test_all_who_share_fail_together(two, held, value):
    """When the connection is lost, everybody is told, and the next call has a new one."""
    a, b = two
    await b.put([(K, entry(b"x"))])
    tasks = [asyncio.create_task(value(a)) for _ in range(4)]
    await held.handed_over(2)
    held.transport.abort()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one).__name__ for one in ended] == ["ProviderUnavailable"] * 4
    assert await value(a) == b"x"
