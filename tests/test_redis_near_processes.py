"""Several processes with a near tier each: what one writes the others soon read, and keep."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from stillfresh import App, CacheProvider, RedisCacheProvider, cache

WORKER = Path(__file__).parent / "near_worker.py"
ROUNDS = 1_000


class Twin:
    """The function of the worker, in this process."""

    def __init__(self, source) -> None:
        self.source = source

    @cache(name="nearby", tags=["nearby"], ttl="1 minute", memory=True)
    async def nearby(self) -> int:
        return int(self.source())


async def test_a_thousand_writes_are_seen_by_all_and_nothing_old_comes_back(url, prefix, raw):
    """
    Write, then invalidate, a thousand times, by key and by tag.

    The writer's own process never answers anything older once that has returned. In the others
    each reader sees each step or a later one, soon, and never one before it.
    """
    app = App().provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))
    app.provide(Twin, Twin(lambda: raw.get(f"{prefix}.source")))
    workers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, str(WORKER), name, str(ROUNDS), url, prefix),
            stdout=asyncio.subprocess.PIPE,
        )
        for name in ("a", "b")
    ]
    readers = [f"{prefix}.seen.{name}.{number}" for name in ("a", "b") for number in range(2)]
    try:
        async with app:
            nearby = app.get(Twin).nearby
            for number in range(1, ROUNDS + 1):
                raw.set(f"{prefix}.source", number)
                await (nearby.invalidate() if number % 2 else app.invalidate_tags("nearby"))
                for _ in range(3):
                    assert await nearby() == number
                if number % 20 == 0 or number == 1:
                    while min(int(seen or 0) for seen in raw.mget(readers)) < number:  # noqa: ASYNC110  # there is no event between processes
                        await asyncio.sleep(0.001)  # others count
        told = [(await worker.communicate())[0].decode().splitlines() for worker in workers]
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
    for [line] in told:
        _, hits, _, misses = line.split()
        assert int(hits) > int(misses)
