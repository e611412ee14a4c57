"""One process of the soak: callers, a writer, and a thread that calls a sync function."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from stillfresh import App, CacheProvider, RedisCacheProvider, cache
from stillfresh.errors import ComputeTimeout, ProviderUnavailable

from .board import GROUPS, KEYS, Board

CALLERS = 8
PAUSE = 0.03
NEAR_SECONDS = 3.2
"""After which no near tier of another process serves what was invalidated before."""
NEAR = range(32, 40)
SYNC = range(40, KEYS)
BUCKETS = 28


class Boom(Exception):
    """The function's own."""


class Source:
    """The functions that are cached."""

    board: Board
    rng: random.Random
    computed: Counter[str]

    @cache(name="soak", key="{key}", ttl="20 s", tags=["group:{group}"])
    async def plain(self, key: int, group: int) -> int:
        return await self._read(key)

    @cache(name="soak-stale", key="{key}", ttl="2 s", stale_if_error="60 s", timeout="3 s")
    async def careful(self, key: int) -> int:
        return await self._read(key)

    @cache(name="soak-near", key="{key}", ttl="20 s", memory=True)
    async def near(self, key: int) -> int:
        return await self._read(key)

    @cache(name="soak-sync", key="{key}", ttl="20 s")
    def sync(self, key: int) -> int:
        version = self.board.version(key)
        self.computed["computed"] += 1
        time.sleep(self.rng.expovariate(1 / 0.01))
        return version

    async def _read(self, key: int) -> int:
        version = self.board.version(key)
        self.computed["computed"] += 1
        await asyncio.sleep(self.rng.expovariate(1 / 0.02))
        if self.rng.random() < 0.02:
            raise Boom
        return version


class Worker:
    """What one process does and counts."""

    def __init__(self, board: Board, url: str, report: Path, seed: int, restart: str) -> None:
        self.board = board
        self.report = report
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.latencies = [0] * BUCKETS
        self.here: dict[int, int] = {}
        """What holds in this process already."""
        self.owed: dict[int, int] = {}
        """What an invalidation that raised has promised; it holds elsewhere from its replay on."""
        provider = RedisCacheProvider(
            url, prefix="soak", timeout="500 ms", connect_timeout="500 ms", after_restart=restart
        )
        self.app = App(Source).provide(CacheProvider, provider)
        self.app.on("provider_up", self._replayed)
        for kind in ("hit", "miss", "stale", "coalesced", "fallback", "bypass"):
            self.app.on(kind, self._count)
        self.stopping = asyncio.Event()

    def _count(self, event: Any) -> None:
        self.counts[event.kind] += 1

    def _replayed(self, _: Any) -> None:
        owed, self.owed = self.owed, {}
        self.board.raise_floors(owed)

    async def run(self) -> None:
        """Work until SIGTERM."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopping.set)
        async with self.app:
            self.source = self.app.get(Source)
            self.source.board, self.source.rng = self.board, self.rng
            self.source.computed = self.counts
            thread = threading.Thread(target=self.call_from_a_thread, daemon=True)
            thread.start()
            tasks = [asyncio.create_task(self.keep_calling()) for _ in range(CALLERS)]
            tasks += [asyncio.create_task(self.keep_writing()), asyncio.create_task(self.tell())]
            await self.stopping.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(thread.join, 5)
        self.save()

    # Calls

    def least(self, key: int) -> int:
        """Return what a call that starts now must get."""
        return max(self.board.floor(key), self.here.get(key, 0))

    def check(self, key: int, least: int, got: int, since: float) -> None:
        """Compare an answer with what it must be."""
        self.counts["calls"] += 1
        micros = int((time.perf_counter() - since) * 1e6)
        self.latencies[min(micros.bit_length(), BUCKETS - 1)] += 1
        if got < least:
            self.counts["stale after invalidate"] += 1
            with self.report.with_suffix(".wrong").open("a") as file:
                file.write(f"{time.time():.3f} {os.getpid()} key {key}: {got}, must be {least}\n")

    async def keep_calling(self) -> None:
        """Call one function after the other."""
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / PAUSE))
            key = self.rng.randrange(SYNC.start)
            if key in NEAR:
                call = self.source.near(key)
            elif key % 3:
                call = self.source.plain(key, key % GROUPS)
            else:
                call = self.source.careful(key)
            least, since = self.least(key), time.perf_counter()
            try:
                if self.rng.random() < 0.03:
                    async with asyncio.timeout(0.005):
                        got = await call
                else:
                    got = await call
            except (Boom, TimeoutError, ComputeTimeout):  # its own, or this caller has gone away
                continue
            except asyncio.CancelledError:
                raise
            except Exception as error:  # nothing else may come out of a cached function
                self.counts[f"raised {type(error).__name__}"] += 1
                continue
            self.check(key, least, got, since)

    def call_from_a_thread(self) -> None:
        """Call the sync function."""
        rng = random.Random(self.rng.random())
        while not self.stopping.is_set():
            time.sleep(rng.expovariate(1 / (4 * PAUSE)))
            key = rng.choice(SYNC)
            least, since = self.least(key), time.perf_counter()
            try:
                got = self.source.sync(key)
            except Exception as error:  # nothing may come out of it
                self.counts[f"raised {type(error).__name__}"] += 1
                continue
            self.check(key, least, got, since)

    # Changes

    async def keep_writing(self) -> None:
        """Change the source, and invalidate."""
        source, rng = self.source, self.rng
        while True:
            await asyncio.sleep(rng.expovariate(1 / (5 * PAUSE)))
            key, way = rng.randrange(KEYS), rng.random()
            keys = [key]
            group, digit = rng.randrange(GROUPS), rng.randrange(1, 3)
            if key in NEAR:
                change = source.near.invalidate(key)
            elif key in SYNC:
                change = source.sync.cache.delete(str(key))
            elif way < 0.2:
                keys = [one for one in range(NEAR.start) if one % 3 and one % GROUPS == group]
                change = self.app.invalidate_tags(f"group:{group}")
            elif way < 0.3:
                keys = [one for one in range(NEAR.start) if one % 3 and f"{one}"[0] == f"{digit}"]
                change = source.plain.invalidate_matching(f"{digit}*")
            elif key % 3:
                change = source.plain.invalidate(key, key % GROUPS)
            else:
                change = source.careful.invalidate(key)
            written = self.board.write(keys)
            self.counts["invalidations"] += 1
            try:
                await change
            except ProviderUnavailable:
                self.counts["invalidations that raised"] += 1
                self.note(self.owed, written)
                self.note(self.here, written)
                continue
            except asyncio.CancelledError:
                raise
            self.note(self.here, written)
            if key in NEAR:
                loop = asyncio.get_running_loop()
                loop.call_later(NEAR_SECONDS, self.board.raise_floors, written)
            else:
                self.board.raise_floors(written)

    def note(self, floors: dict[int, int], versions: dict[int, int]) -> None:
        """Remember *versions* where they are higher."""
        for key, version in versions.items():
            floors[key] = max(floors.get(key, 0), version)

    # Telling

    async def tell(self) -> None:
        """Write down twice a second what was counted: a process may be killed."""
        while True:
            self.save()
            await asyncio.sleep(0.5)

    def save(self) -> None:
        """Write down what was counted."""
        pages = 0
        with suppress(OSError):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
        told = {
            "counts": dict(self.counts),
            "latencies": self.latencies,
            "memory": pages * resource.getpagesize(),
        }
        draft = self.report.with_suffix(".draft")
        draft.write_text(json.dumps(told))
        draft.replace(self.report)


def main() -> None:
    """Be a worker: board, url, report, seed, after_restart."""
    board, url, report, seed, restart = sys.argv[1:]
    worker = Worker(Board(Path(board)), url, Path(report), int(seed), restart)
    asyncio.run(worker.run())


if __name__ == "__main__":
    main()
