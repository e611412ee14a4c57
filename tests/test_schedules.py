"""Random schedules with a fixed seed: whatever the order of events, no promise breaks."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from stillfresh import App, CacheProvider, MemoryCacheProvider, cache, computation
from stillfresh.errors import ComputeCancelled, ComputeTimeout
from stillfresh.testing import VirtualClock

KEYS = "abc"
SCHEDULES = 100


class Source:
    """A source of versions, and a service that caches it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.version = dict.fromkeys(KEYS, 0)
        self.least = dict.fromkeys(KEYS, 0)
        """What a call that starts now must at least see."""
        self.gates: list[asyncio.Event] = []
        self.problems: list[str] = []
        source = self

        class Service:
            @cache(
                ttl="10 s",
                stale="10 s",
                stale_if_error="20 s",
                timeout="30 s",
                tags=["key:{key}", "all"],
            )
            async def read(self, key: str) -> int:
                return await source.compute(key)

        self.service = Service

    async def compute(self, key: str) -> int:
        version = self.version[key]
        if self.rng.random() < 0.3:
            computation().tags.add("late")
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        if self.rng.random() < 0.2:
            raise ValueError(key)
        return version

    def open_gates(self, count: int | None = None) -> None:
        for _ in range(len(self.gates) if count is None else count):
            if self.gates:
                self.gates.pop(self.rng.randrange(len(self.gates))).set()


async def play(seed: int, *, serialize: bool) -> list[str]:
    """Run one schedule and return what went wrong."""
    rng = random.Random(seed)
    source = Source(rng)
    clock = VirtualClock()
    app = App(source.service, clock=clock)
    app.provide(CacheProvider, MemoryCacheProvider(serialize=serialize))
    tasks: list[asyncio.Task[None]] = []
    async with app:
        read = app.get(source.service).read

        async def call(key: str) -> None:
            least = source.least[key]
            try:
                seen = await read(key)
            except (ValueError, ComputeTimeout, ComputeCancelled):
                return
            if seen < least:
                source.problems.append(f"seed {seed}: {key} is {seen}, must be {least} or more")

        async def refresh(key: str) -> None:
            try:
                await read.refresh(key)
            except (ValueError, ComputeTimeout, ComputeCancelled):
                return

        async def change(keys: str, tell: Callable[[], Awaitable[object]]) -> None:
            for key in keys:
                source.version[key] += 1
            expected = dict(source.version)
            await tell()
            for key in keys:
                source.least[key] = max(source.least[key], expected[key])

        for _ in range(60):
            key = rng.choice(KEYS)
            changes: list[tuple[str, Callable[[], Awaitable[object]]]] = [
                (key, lambda key=key: read.invalidate(key)),
                (key, lambda key=key: app.invalidate_tags(f"key:{key}")),
                (key, lambda key=key: read.invalidate_matching(f'"{key}*')),
                (key, lambda key=key: read.store(source.version[key], key)),
                (key, lambda key=key: read.cache.delete(read.key(key))),
                (KEYS, lambda: app.invalidate_tags("all")),
                (KEYS, read.clear),
            ]
            match rng.randrange(20):
                case 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7:
                    tasks.append(asyncio.create_task(call(key)))
                case 8 | 9 | 10 | 11:
                    source.open_gates(1)
                case 12 | 13 | 14 | 15:
                    await change(*rng.choice(changes))
                case 16:
                    clock.advance(rng.choice([1, 5, 11, 25]))
                case 17 if tasks:
                    rng.choice(tasks).cancel()
                case 18:
                    tasks.append(asyncio.create_task(refresh(key)))
                case 19:
                    await read.expire(key)
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)

        for _ in range(500):
            source.open_gates()
            await asyncio.sleep(0)
        source.problems += [
            f"seed {seed}: {task} waits for ever" for task in tasks if not task.done()
        ]
        await asyncio.gather(*tasks, return_exceptions=True)
        await app.settled()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        source.problems += [f"seed {seed}: {task} is left" for task in left]
    return source.problems


@pytest.mark.parametrize("serialize", [False, True], ids=["objects", "bytes"])
async def test_no_schedule_serves_what_is_older_than_an_invalidation(serialize: bool) -> None:
    """
    Calls, cancellations, refreshes, expiry, failures and time in any order: a call that starts
    after an invalidation has returned never sees an older version, nobody waits for ever, and
    no task is left.
    """
    problems: list[str] = []
    for seed in range(SCHEDULES):
        problems += await play(seed, serialize=serialize)
    assert problems == []
