"""What ends, stands still or cannot begin: stops, tasks, loops, threads, and a busy server."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time

import pytest
import redis

from stillfresh import App, Cache, CacheProvider, ProviderUnavailable, RedisCacheProvider, cache
from stillfresh.clock import Clock
from stillfresh.computing.drivers import drive
from stillfresh.entry import Entry, Windows
from stillfresh.events import Listeners
from stillfresh.providers.base import Address, Lease
from stillfresh.providers.debts import MOST_REMEMBERED
from stillfresh.providers.guard import Guard
from stillfresh.providers.redis.renewal import our_lease
from stillfresh.testing import VirtualClock

K = Address("space", "key")


def entry(value: bytes = b"x") -> Entry:
    return Entry(value, Clock().now(), Windows(60.0), frozenset(), len(value))


def connections(raw: redis.Redis, name: str) -> int:
    """How many connections of that name the server has: other tests may be closing theirs."""
    return [one["name"] for one in raw.client_list()].count(name)


@pytest.fixture
async def provider(url, prefix):
    made = RedisCacheProvider(url, prefix=prefix, lease=1.0)
    await made.start(Clock())
    yield made
    await made.stop()


async def test_a_connection_that_was_cancelled_before_it_began_is_made_by_the_next(provider):
    """Whoever cancels all tasks of a loop takes no connection from those who come later."""
    first = asyncio.create_task(provider.look(K))
    await asyncio.sleep(0)  # it has made the task that connects, which has not begun
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises((asyncio.CancelledError, ProviderUnavailable)):
        await first
    assert await provider.look(K) is None


async def test_a_loop_that_stood_still_cuts_nobody(url, prefix):
    """What the loop could not send or hear is not the server's silence."""
    provider = RedisCacheProvider(url, prefix=prefix, timeout=0.5)
    await provider.start(Clock())
    lease = await provider.acquire(K)
    storing = asyncio.create_task(provider.store(lease, entry(b"x" * 20_000_000)))
    await asyncio.sleep(0)
    time.sleep(0.6)  # noqa: ASYNC251  # with most of it unsent
    assert await storing
    await provider.stop()


async def test_a_loop_that_stands_still_again_and_again_waits_for_nobody(own, prefix):
    """A server that hangs is away, also for a loop that is always late."""
    provider = RedisCacheProvider(own.url, prefix=prefix, timeout=0.2)
    await provider.start(Clock())
    await provider.look(K)
    own.signal(signal.SIGSTOP)
    asking = asyncio.create_task(provider.look(K))
    for _ in range(25):
        await asyncio.sleep(0.001)
        time.sleep(0.03)  # noqa: ASYNC251  # longer than a tenth of the time-out
    own.signal(signal.SIGCONT)
    assert asking.done()
    with pytest.raises(ProviderUnavailable, match="no reply"):
        await asking
    await provider.stop()


async def test_the_thread_that_renews_connects_nobody_after_the_stop(url, prefix, raw):
    """A round that overlaps with the stop leaves no connection behind."""
    provider = RedisCacheProvider(f"{url}?client_name={prefix}", prefix=prefix, lease=0.05)
    await provider.start(Clock())
    inside, stopped = threading.Event(), threading.Event()

    def alive() -> bool:
        if threading.current_thread().name == "stillfresh-leases":
            inside.set()
            stopped.wait(10)
            return False
        return True

    await provider.acquire(K, alive=alive)
    assert connections(raw, prefix) > 0
    thread = provider.wires.renewals._thread
    assert await asyncio.to_thread(inside.wait, 10)
    await provider.stop()
    stopped.set()
    await asyncio.to_thread(thread.join, 10)
    with pytest.raises(ProviderUnavailable, match="stopped"):
        await provider.look(K)
    async with asyncio.timeout(10):
        while connections(raw, prefix):  # noqa: ASYNC110  # the server hears of it
            await asyncio.sleep(0.01)


def test_a_worker_that_outlives_the_app_stores_and_connects_nothing(url, prefix, raw):
    """An app that does not run stores nothing, also what was begun before it stopped."""
    began, end = threading.Event(), threading.Event()

    class Service:
        @cache(name="f", timeout="1 minute")
        def f(self) -> int:
            began.set()
            end.wait(30)
            return 1

    named = f"{url}?client_name={prefix}"
    app = App(Service).provide(CacheProvider, lambda: RedisCacheProvider(named, prefix=prefix))
    with app:
        caller = threading.Thread(target=app.get(Service).f)
        caller.start()
        assert began.wait(10)
    end.set()
    caller.join(10)
    for thread in threading.enumerate():
        if thread.name.startswith("stillfresh-"):
            thread.join(10)
    assert raw.keys(f"{prefix}:v:*") == []
    until = time.monotonic() + 10
    while connections(raw, prefix):  # the server hears of it
        assert time.monotonic() < until
        time.sleep(0.01)


async def test_a_thread_that_could_not_be_started_is_tried_again(provider, monkeypatch):
    """Where there is no room for a thread for a moment, later leases are renewed all the same."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert isinstance(await provider.acquire(K), Lease)
    assert isinstance(await provider.acquire(Address("space", "other")), Lease)
    assert provider.wires.renewals._thread.is_alive()


async def test_a_lease_that_was_overtaken_is_forgotten_at_its_end(provider):
    """An invalidation while a function runs leaves nothing behind, once both have ended."""
    first = await provider.acquire(K)
    await provider.delete([K])
    second = await provider.acquire(K)
    assert not await provider.store(first, entry())
    assert our_lease(first.token.head) is None
    assert our_lease(second.token.head) is second  # it is kept, and found by who waits for it
    assert await provider.store(second, entry())
    assert our_lease(second.token.head) is None


async def test_a_lease_that_was_overtaken_is_forgotten_at_the_stop(provider):
    """Also where its holder never came to an end."""
    first = await provider.acquire(K)
    await provider.delete([K])
    await provider.acquire(K)
    await provider.stop()
    assert our_lease(first.token.head) is None


async def test_a_busy_server_says_nothing_about_leases(own, prefix):
    """A refusal is no news that a lease was lost: the next round tries again."""
    provider = RedisCacheProvider(own.url, prefix=prefix)
    await provider.start(Clock())
    lease = await provider.acquire(K)
    drive(provider.blocking.look(K))  # there is a connection for threads
    with redis.Redis.from_url(own.url) as raw:
        raw.config_set("busy-reply-threshold", 1)
        running = threading.Thread(target=run_for_ever, args=(own.url,))
        running.start()
        refused = None
        while refused is None:
            try:
                raw.get("x")
            except redis.ResponseError as busy:
                refused = busy
        try:
            with pytest.raises(ProviderUnavailable, match="BUSY"):
                provider._renew(provider.wires.lines, [(K, lease.token.head)])
        finally:
            raw.script_kill()
            running.join(10)
    assert await provider.store(lease, entry())
    await provider.stop()


def run_for_ever(url: str) -> None:
    with (
        redis.Redis.from_url(url, socket_timeout=30) as raw,
        pytest.raises(redis.ResponseError),
    ):
        raw.eval("while true do end", 0)


async def test_few_rights_are_enough_after_a_restart(provider, url, prefix, raw):
    """A store on another run of the server is refused by reading, which everybody may."""
    rights = f"reset on >pw ~{prefix}:* +@read +@write +info +scan +eval +evalsha"
    raw.execute_command("ACL", "SETUSER", "few", *rights.split())
    few = RedisCacheProvider(url.replace("://", "://few:pw@"), prefix=prefix)
    await few.start(Clock())
    lease = await few.acquire(K)
    lease.token.run = b"another1"
    assert not await few.store(lease, entry())
    assert await few.store(await few.acquire(Address("space", "other")), entry())
    await few.stop()
    raw.execute_command("ACL", "DELUSER", "few")


async def test_a_counter_with_a_long_key_is_found_by_its_pattern_only(provider):
    """What is cut in its name stands in the entry, also in a counter's."""
    address = Address("space", "a" * 600)
    assert await provider.incr(address, 2, Windows(60.0)) == 2
    await provider.invalidate_matching("space", "a*z")
    assert await provider.incr(address, 3, Windows(60.0)) == 5
    assert await provider.keys("space", "a*") == [address.key]
    assert (await provider.look(address)).value == b"5"
    await provider.invalidate_matching("space", "*a")
    assert await provider.look(address) is None


async def test_a_tag_of_any_length_is_one(provider):
    """A tag may come from a user; one of 100 kB opens no breaker and drops what has it."""
    tag, other = "t" * 100_000, "t" * 100_001
    kept = Entry(b"x", Clock().now(), Windows(60.0), frozenset([tag]), 1)
    for tags in (frozenset([tag]), frozenset()):  # known early, known late
        lease = await provider.acquire(K, tags=tags)
        assert await provider.store(lease, kept)
        await provider.invalidate_tags(None, [other])
        assert (await provider.look(K)).value == b"x"
        await provider.invalidate_tags(None, [tag])
        assert await provider.look(K) is None
        lease = await provider.acquire(K, tags=tags)
        await provider.invalidate_tags("space", [tag])
        assert not await provider.store(lease, kept)


async def test_more_tags_than_can_be_kept_are_no_fault_of_the_server(url, prefix, raw, caplog):
    """The value is returned and a log line says why it is not stored; no breaker opens."""
    many = [f"t{number}" for number in range(65_536)]
    down = []

    class Service:
        store = Cache[int](name="store")

        @cache(name="f", tags=lambda _: many)
        async def f(self) -> int:
            return 1

    app = App(Service).provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))
    app.on("provider_down", down.append)
    async with app:
        service = app.get(Service)
        assert await service.f() == 1
        [said] = [one.getMessage() for one in caplog.records]
        assert "f() is not stored: it has 65,536 tags, and may have 65,535" in said
        with pytest.raises(ProviderUnavailable, match="may have 65,535"):
            await service.store.set("key", 1, tags=many)
        await service.store.set("key", 2, tags=many[:3])
        assert await service.store.get("key") == 2
        assert not raw.keys(f"{prefix}:l:*")
    assert not down


async def test_a_counter_that_cannot_be_written_is_no_mistake_of_the_caller(own, prefix):
    """Full, or a replica: that is the server's state, and says nothing about what is there."""
    provider = RedisCacheProvider(own.url, prefix=prefix)
    await provider.start(Clock())
    windows = Windows(60.0)
    assert await provider.incr(K, 1, windows) == 1
    with redis.Redis.from_url(own.url) as raw:
        raw.config_set("maxmemory", 1)
        with pytest.raises(ProviderUnavailable, match="OOM"):
            await provider.incr(K, 1, windows)
        raw.config_set("maxmemory", 0)
        raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(ProviderUnavailable, match="READONLY"):
            await provider.incr(K, 1, windows)
        raw.execute_command("REPLICAOF", "NO", "ONE")
    assert await provider.incr(K, 2**63 - 2, windows) == 2**63 - 1
    with pytest.raises(TypeError, match="64 bits"):
        await provider.incr(K, 1, windows)
    await provider.put([(K, entry(b"text"))])
    with pytest.raises(TypeError, match="no counter"):
        await provider.incr(K, 1, windows)
    await provider.stop()


async def test_more_than_can_be_remembered_becomes_one_clear(own, prefix):
    """What is owed is bounded: too many tags of all namespaces drop everything under the prefix."""
    provider = RedisCacheProvider(own.url, prefix=prefix)
    guard = Guard(provider, clock := VirtualClock(), Listeners())
    await provider.start(clock)
    await guard.waiting.put([(K, entry())])
    with redis.Redis.from_url(own.url) as raw:
        raw.set("another", 1)
        own.signal(signal.SIGSTOP)
        guard.failed(ProviderUnavailable("away"), None)
        for number in range(MOST_REMEMBERED + 2):
            with pytest.raises(ProviderUnavailable):
                await guard.waiting.invalidate_tags(None, [f"tag{number}"])
            assert len(guard.debts) <= MOST_REMEMBERED
        own.signal(signal.SIGCONT)
        clock.advance("2 seconds")
        assert await guard.waiting.look(K) is None
        assert raw.keys() == [b"another"]
    assert not guard.debts
    await guard.stop(blocking=False)


EXITS = """
import logging
import os
import stillfresh

logging.basicConfig()
provider = stillfresh.RedisCacheProvider("redis://127.0.0.1:1")
stillfresh.provide(stillfresh.CacheProvider, lambda: provider)

@stillfresh.cache(name="prices")
def price(number: int) -> int:
    return number

try:
    price.invalidate(1)
except stillfresh.ProviderUnavailable:
    print("raised", flush=True)
if hasattr(os, "fork") and (child := os.fork()):
    os.waitpid(child, 0)  # it owes nothing: its parent may still pay
"""


def test_what_could_not_be_delivered_is_said_at_the_exit_of_who_stops_nothing():
    """The default app needs no stop; its process says what it takes along."""
    done = subprocess.run(
        [sys.executable, "-c", EXITS], check=True, capture_output=True, text=True, timeout=25
    )
    assert done.stdout == "raised\n"
    [said] = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    assert said.endswith("others may serve what they drop: 1 drop in 'prices'")


@pytest.mark.parametrize("blocking", [False, True])
async def test_what_could_not_be_delivered_is_said_at_the_stop(own, prefix, caplog, blocking):
    """The stop tries once more; what is left is an error in the log, for people to act on."""
    provider = RedisCacheProvider(own.url, prefix=prefix, timeout=0.2)
    guard = Guard(provider, VirtualClock(), Listeners())
    await provider.start(Clock())
    await guard.waiting.put([(K, entry())])
    own.kill()
    with pytest.raises(ProviderUnavailable):
        await guard.waiting.drop([K])
    await guard.stop(blocking=blocking)
    [said] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "did not carry out 1 changes" in said.getMessage()
    assert said.getMessage().endswith("others may serve what they drop: 1 drop in 'space'")
    caplog.clear()
    own.start()
    await provider.start(Clock())
    await guard.stop(blocking=blocking)
    assert not caplog.records
    assert not guard.debts
