"""The short way of a hit to a server: what travels together, and what a reply may say alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from math import inf
from typing import Any

import pytest

from stillfresh import RedisCacheProvider
from stillfresh.clock import Clock
from stillfresh.entry import Entry, Windows
from stillfresh.errors import ProviderUnavailable
from stillfresh.providers.base import Address, Lease
from stillfresh.providers.redis import hits as module
from stillfresh.providers.redis.frame import Markers, fresh_value, lone_value, seal
from stillfresh.providers.redis.hits import Hits
from stillfresh.providers.redis.link import Link
from stillfresh.providers.redis.names import packed

SPACE = "space"
RUN = b"0123abcd"


def entry(value: bytes, *tags: str, fresh: float = 60.0, stale: float = 0.0) -> Entry:
    return Entry(value, Clock().now(), Windows(fresh, stale), frozenset(tags), len(value))


def at(key: object) -> Address:
    return Address(SPACE, str(key))


@pytest.fixture
async def provider(url: str, prefix: str) -> AsyncIterator[RedisCacheProvider]:
    made = RedisCacheProvider(url, prefix=prefix)
    await made.start(Clock())
    await made.look(at("connect"))
    yield made
    await made.stop()


@pytest.fixture
async def link(provider: RedisCacheProvider) -> Link:
    found = provider.link()
    assert found is not None
    return found


class Watched:
    """Stands between a link and its transport, and shows what goes over it."""

    def __init__(self, link: Link) -> None:
        self.transport = link.transport
        self.pieces: list[bytes] = []
        link.transport = self  # type: ignore[assignment]

    def write(self, data: bytes) -> None:
        self.pieces.append(data)
        self.transport.write(data)

    def commands(self) -> list[bytes]:
        return [line for line in b"".join(self.pieces).split(b"\r\n") if line.isupper()]

    def __getattr__(self, name: str) -> object:
        return getattr(self.transport, name)


async def test_tasks_that_read_at_once_ask_with_one_command(provider, link):
    """Fifty keys, some twice, some missing, some tagged: three commands, and each gets its own."""
    await provider.put(
        [(at(n), entry(b"%d" % n, *(("t", "u") if n % 3 == 0 else ()))) for n in range(40)]
    )
    plain = Hits(provider, SPACE, lone=True)
    for _ in range(2):  # the tags are known after the first time
        watched = Watched(link)
        keys = [*range(50), *range(10)]
        found = await asyncio.gather(*(plain.glance(str(key)) for key in keys))
        values = [one.value if isinstance(one, Entry) else one for one in found]
        assert values == [b"%d" % key if key < 40 else None for key in keys]
        link.transport = watched.transport
    assert watched.commands()[-2:] == [b"MGET", b"MGET"]  # the first ones do not wait
    assert len(watched.commands()) <= 3


async def test_who_wants_the_life_gets_it_and_the_others_need_not(provider, link):
    """One turn may ask for one key in every way there is."""
    await provider.put([(at("k"), entry(b"x", "t", stale=5.0))])
    await provider.look(at("k"))
    markers = provider.tags_seen[at("k")]
    name = packed(provider.names.value(at("k")))
    link.fetch(packed("nothing"))  # goes at once, so that the rest goes together
    bare, tagged, lived, whole = await asyncio.gather(
        link.fetch(name),
        link.fetch(name, markers),
        link.fetch(name, life=True),
        link.fetch(name, markers, life=True),
    )
    assert 60_000 < lived[0] <= 65_000
    assert lived[0] - 1_000 < whole[0] <= lived[0] + 1_000
    assert bare == lived[1] == tagged[0] == whole[1][0]
    assert tagged[1:] == whole[1][1:]
    assert len(tagged) == 3


async def test_who_reads_after_a_write_in_one_turn_sees_it(provider, link, raw):
    """A command of one turn goes before the reads that are asked after it, and behind the others."""
    raw.set("k", "old")
    first = link.fetch(packed("k"))
    second = link.fetch(packed("k"))
    written = link.send([("SET", "k", "new")])
    third = link.fetch(packed("k"))
    assert await asyncio.gather(first, second, third) == [b"old", b"old", b"new"]
    await written


async def test_one_of_fifty_goes_away(provider):
    """Whoever is cancelled leaves the others their replies, each its own."""
    await provider.put([(at(n), entry(b"%d" % n)) for n in range(50)])
    plain = Hits(provider, SPACE, lone=True)
    for gone in (0, 1, 25, 49):
        tasks = [asyncio.create_task(plain.glance(str(n))) for n in range(50)]
        await asyncio.sleep(0)
        tasks[gone].cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(ended.pop(gone), asyncio.CancelledError)
        assert ended == [b"%d" % n for n in range(50) if n != gone]


@pytest.mark.parametrize(
    "reply",
    [b"*1\r\n$1\r\nx\r\n", b"$1\r\nx\r\n", b":7\r\n", b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"],
)
async def test_an_answer_to_something_else_is_nobodys(link, reply, monkeypatch):
    """As many values as names, or the connection is cut: no value is shifted to another key."""
    watched = Watched(link)
    monkeypatch.setattr(Watched, "write", lambda *_: None)  # the replies are ours
    link.fetch(packed("first"))
    link.data_received(b"$-1\r\n")
    link.fetch(packed("alone"))
    together = [link.fetch(packed(name)) for name in ("a", "b")]
    for _ in range(2):
        await asyncio.sleep(0)
    link.data_received(b"$-1\r\n" + reply)
    ended = await asyncio.gather(*together, return_exceptions=True)
    assert [type(one) for one in ended] == [ProviderUnavailable] * 2
    assert link.transport is None
    assert watched.transport.is_closing()


async def test_a_connection_that_is_lost_fails_what_is_not_sent_yet(provider, link):
    """Nobody waits for a read that was joined in the turn in which the connection goes."""
    link.fetch(packed("alone"))
    waiting = [link.fetch(packed(name)) for name in ("a", "b", "a")]
    link.close()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in ended] == [ProviderUnavailable] * 3
    assert await Hits(provider, SPACE, lone=True).glance("a") is None  # by a new one


async def test_what_is_refused_for_all_is_asked_one_by_one(provider, url, prefix, raw):
    """A name that this user must not read fails alone, and not for those who asked with it."""
    await provider.put([(at(n), entry(b"%d" % n)) for n in range(4)])
    rights = f"reset on >pw ~{prefix}:v:*0}} ~{prefix}:v:*1}} ~{prefix}:v:*2}} +@all"
    raw.execute_command("ACL", "SETUSER", "few", *rights.split())
    few = RedisCacheProvider(url.replace("://", "://few:pw@"), prefix=prefix)
    await few.start(Clock())
    await few.look(at(0))
    plain = Hits(few, SPACE, lone=True)
    *found, refused = await asyncio.gather(
        *(plain.glance(str(n)) for n in range(4)), return_exceptions=True
    )
    assert found == [b"0", b"1", b"2"]
    assert isinstance(refused, ProviderUnavailable)
    await few.stop()
    raw.execute_command("ACL", "DELUSER", "few")


async def test_what_is_of_another_kind_is_nothing_of_ours(provider, raw):
    """A list that stands under the name of an entry reads as a miss, alone and among others."""
    raw.rpush(provider.names.value(at("k")), "x")
    await provider.put([(at("other"), entry(b"other"))])
    plain = Hits(provider, SPACE, lone=True)
    assert await plain.glance("k") is None
    found = await asyncio.gather(*(plain.glance(key) for key in ("k", "k", "other")))
    assert found == [None, None, b"other"]


async def test_large_values_do_not_travel_in_one_piece(provider, link):
    """A reply stays about as large as it may be: many small values go together, large ones do not."""
    await provider.put([(at(n), entry(bytes(100_000))) for n in range(20)])
    plain = Hits(provider, SPACE, lone=True)

    async def sizes() -> int:
        watched = Watched(link)
        await asyncio.gather(*(plain.glance(str(n)) for n in range(20)))
        link.transport = watched.transport
        return len(watched.commands())

    await sizes()
    assert await sizes() >= 7  # three at most in each
    await provider.put([(at(n), entry(b"small")) for n in range(20)])
    await sizes()
    assert await sizes() <= 2


# What a reply may say without the life that is left


def sealed(windows: Windows, *tags: str, key: str | None = None) -> bytes:
    made = Entry(b"value", 0.0, windows, frozenset(tags), 5)
    return seal(made, RUN, b"m" * 24, dict.fromkeys(tags, (b"a" * 25, b"b" * 25)), key)


@pytest.mark.parametrize(
    ("windows", "passed", "served"),
    [
        (Windows(60.0), 0.0, True),
        (Windows(60.0), 0.6, True),
        (Windows(60.0), 0.601, False),  # a hundredth of its life is over
        (Windows(inf), 1e9, True),
        (Windows(1.0), 0.01, True),
        (Windows(0.999), 0.0, False),  # too short for that
        (Windows(60.0, 1.0), 0.0, False),  # in which of its windows is it?
        (Windows(60.0, 0.0, 1.0), 0.0, False),
        (Windows(60.0, 0.0, 0.0, 30.0), 0.0, False),  # is a refresh due?
    ],
)
def test_an_entry_with_one_window_is_fresh_while_the_server_has_it(windows, passed, served):
    """And for a hundredth of that window afterwards, since its reply was under way for so long."""
    value = b"value" if served else None
    assert lone_value(sealed(windows), passed) == value
    assert fresh_value(None, sealed(windows), passed, None) == value
    markers = Markers(("t",), ["a", "b"])
    tagged = [sealed(windows, "t"), b"a" * 25, b"b" * 25]
    assert fresh_value(None, tagged, passed, markers) == value
    assert fresh_value(None, [*tagged[:2], b"c" * 25], passed, markers) is None
    assert lone_value(sealed(windows, "t"), passed) is None
    assert lone_value(sealed(windows, key="k"), passed) is None


@pytest.mark.parametrize("data", [b"", b"12", b"SF", sealed(Windows(60.0))[:73]])
def test_nothing_else_is_fresh(data):
    """Counters and garbage are for the long way; so is what was expired by hand."""
    assert lone_value(data, 0.0) is None
    expired = bytearray(sealed(Windows(60.0)))
    expired[3:4] = b"E"
    assert lone_value(bytes(expired), 0.0) is None


async def test_a_late_reply_is_not_believed(provider, monkeypatch):
    """A reply that was long under way is asked for again, with the life that is left."""
    await provider.put([(at("k"), entry(b"x", fresh=1_000.0))])
    plain = Hits(provider, SPACE, lone=True)
    asked: list[Address] = []
    glance = provider.glance

    async def watched(address: Address) -> Any:
        asked.append(address)
        return await glance(address)

    monkeypatch.setattr(provider, "glance", watched)
    assert await plain.glance("k") == b"x"
    assert asked == []
    clock = iter([0.0, 20.0])
    monkeypatch.setattr(module, "monotonic", lambda: next(clock))
    assert await plain.glance("k") == b"x"
    assert asked == [at("k")]


async def test_what_is_not_as_expected_is_not_asked_for_twice_each_time(provider, link):
    """A life of less than a second, or a window: from the second one on, a single trip again."""
    await provider.put([(at(1), entry(b"x", fresh=0.9)), (at(2), entry(b"x", stale=9.0))])
    await provider.put([(at(3), entry(b"x", "t"))])
    for key, expected in ((1, [b"PTTL", b"GET"]), (2, [b"PTTL", b"GET"]), (3, [b"MGET"])):
        plain = Hits(provider, SPACE, lone=True)
        assert await plain.glance(str(key)) == b"x" or key == 3
        watched = Watched(link)
        assert await plain.glance(str(key)) == b"x"
        link.transport = watched.transport
        assert watched.commands() == expected


async def test_a_tag_that_was_dropped_makes_a_miss_of_one_trip(provider, link):
    """Its age does not matter any more, and nobody takes it for what somebody has just stored."""
    await provider.put([(at("k"), entry(b"x", "t"))])
    lease = await provider.acquire(at("k"), take=True, tags=frozenset("t"))
    assert isinstance(lease, Lease)
    assert await provider.store(lease, entry(b"x", "t"))
    plain = Hits(provider, SPACE, lone=True)
    assert [await plain.glance("k") for _ in range(2)] == [b"x"] * 2
    await provider.invalidate_tags(None, ["t"])
    watched = Watched(link)
    assert await plain.glance("k") is None
    assert watched.commands() == [b"MGET"]
    assert isinstance(await provider.acquire(at("k"), tags=frozenset("t")), Lease)


async def test_windows_are_seen_where_none_were_expected(provider):
    """An entry of an older version of the function, with a window that is not over yet."""
    old = entry(b"x", fresh=1.0, stale=60.0)
    old.born -= 5.0
    await provider.put([(at("k"), old)])
    found = await Hits(provider, SPACE, lone=True).glance("k")
    assert isinstance(found, Entry)
    assert found.windows.stale == 60.0


async def test_a_provider_with_its_own_look_is_not_passed_by(url, prefix):
    """Who subclasses it to look in another way has all reads come that way."""

    class Own(RedisCacheProvider):
        async def look(self, address: Address) -> Entry | None:
            return await super().look(address)

    assert RedisCacheProvider(url, prefix=prefix).hits(SPACE, lone=True) is not None
    assert Own(url, prefix=prefix).hits(SPACE, lone=True) is None
    strict = RedisCacheProvider(url, prefix=prefix, after_restart="discard")
    assert strict.hits(SPACE, lone=True) is None
