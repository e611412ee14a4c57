"""Several processes on one server: one computes, a dead holder is replaced, changes win."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stillfresh import App, CacheProvider, RedisCacheProvider, cache
from stillfresh.clock import Clock
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address, Busy

WORKER = Path(__file__).parent / "redis_worker.py"
LEASE = 1.0


@contextmanager
def workers(url: str, prefix: str, *roles: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start one process for each role, and end those that are left."""
    started = [
        subprocess.Popen(
            [sys.executable, str(WORKER), role, url, prefix],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for role in roles
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def told(process: subprocess.Popen[str]) -> list[str]:
    """Return what a worker printed; it must have ended well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.splitlines()


def await_key(raw, key: str) -> None:
    """Return when another process has set *key*."""
    deadline = time.monotonic() + 20
    while not raw.exists(key):
        assert time.monotonic() < deadline, f"nobody set {key}"
        time.sleep(0.005)


class Twin:
    """The functions of the worker, in this process."""

    @cache(name="waits")
    async def waits(self) -> int:
        return -1

    @cache(name="blocks")
    async def blocks(self) -> int:
        return -1

    @cache(name="plain")
    def plain(self) -> int:
        return -1

    @cache(name="hangs")
    async def hangs(self) -> int:
        return 2

    @cache(name="source", tags=["source"], ttl="1 minute")
    async def source(self, late: bool) -> int:
        return -1

    @cache(name="late", tags=lambda value, late: ["late-source"], ttl="1 minute")
    async def late(self, late: bool) -> int:
        return -1


def twin(url: str, prefix: str) -> App:
    return App(Twin).provide(
        CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix, lease=LEASE)
    )


def test_one_computes_for_a_thousand_callers_in_four_processes(url, prefix, raw):
    """4 processes with 250 callers each: the function runs once in all, and all get its value."""
    with workers(url, prefix, *["crowd"] * 4) as processes:
        lines = [told(process) for process in processes]
    assert raw.get(f"{prefix}.computed") == b"1"
    assert lines == [["{1}"]] * 4


async def test_a_holder_that_is_killed_is_replaced_within_its_lease(url, prefix, raw):
    """SIGKILL gives nobody a chance to say so: the lease runs out, and the next one computes."""
    with workers(url, prefix, "hangs") as [process]:
        await asyncio.to_thread(await_key, raw, f"{prefix}.began")
        async with twin(url, prefix) as app:
            waiter = asyncio.create_task(app.get(Twin).hangs())
            await asyncio.sleep(0.05)
            assert not waiter.done()
            process.kill()
            begin = time.monotonic()
            assert await waiter == 2
            assert time.monotonic() - begin < LEASE + 0.5


@pytest.mark.parametrize("role", ["waits", "blocks", "plain"])
async def test_a_holder_that_works_for_two_leases_keeps_its_lease(url, prefix, raw, role):
    """Waiting, blocking its loop, or without a loop: whoever lives is not replaced."""
    with workers(url, prefix, role) as [process]:
        await asyncio.to_thread(await_key, raw, f"{prefix}.began")
        async with twin(url, prefix) as app:
            function = getattr(app.get(Twin), role)
            value = await asyncio.to_thread(function) if role == "plain" else await function()
            assert value == 1
        assert told(process) == ["1"]
    assert raw.get(f"{prefix}.computed") == b"1"


async def test_nobody_keeps_a_key_for_ever(url, prefix):
    """A holder that lives on and never ends is replaced after `max_hold`, and stores nothing."""
    options = {"prefix": prefix, "lease": "200 ms", "max_hold": "300 ms"}
    one, two = RedisCacheProvider(url, **options), RedisCacheProvider(url, **options)
    for provider in (one, two):
        await provider.start(Clock())
    address = Address("space", "key")
    first = await one.acquire(address)
    begin = time.monotonic()
    while isinstance(second := await two.acquire(address), Busy):
        await two.wait(address, 1.0)
    assert 0.25 < time.monotonic() - begin < 2.0
    assert not await one.store(first, Entry(b"late", Clock().now(), Windows(60.0)))
    assert await two.store(second, Entry(b"new", Clock().now(), Windows(60.0)))
    for provider in (one, two):
        await provider.stop()


async def test_nobody_sees_what_was_invalidated_in_another_process(url, prefix, raw):
    """
    1,000 rounds: write the source, invalidate, say so. Others read and compute all the while,
    and no call that starts after the word was given answers less than it.
    """
    rounds = 1_000
    async with twin(url, prefix) as app:
        service = app.get(Twin)
        changes = [
            lambda: asyncio.gather(service.source.invalidate(True), service.late.invalidate(True)),
            lambda: app.invalidate_tags("source", "late-source"),
            lambda: asyncio.gather(
                service.source.invalidate_matching("t*"), service.late.invalidate_matching("*")
            ),
            lambda: asyncio.gather(service.source.clear(), service.late.clear()),
        ]
        with workers(url, prefix, "read", "read") as processes:
            for number in range(1, rounds + 1):
                raw.set(f"{prefix}.source", number)
                await changes[number % len(changes)]()
                raw.set(f"{prefix}.least", number)
                await asyncio.sleep(0.002)
            raw.set(f"{prefix}.over", 1)
            lines = [line for process in processes for line in told(process)]
    wrong = [line for line in lines if not line.startswith("calls ")]
    assert not wrong, wrong[:5]
    assert sum(int(line.split()[1]) for line in lines) > rounds


def test_two_processes_that_wait_for_each_other_go_on(url, prefix):
    """
    Each computes what the other one needs: after one lease it is computed there, too.

    Who comes second to that may already find what the first one has stored.
    """
    ping, pong = "ping of ping with pong of ping", "pong of pong with ping of pong"
    with workers(url, prefix, "ping", "pong") as (one, other):
        told_by_both = (*told(one), *told(other))
    assert told_by_both in {
        (ping, pong),
        (f"ping of ping with {pong}", pong),
        (ping, f"pong of pong with {ping}"),
    }
