"""
Four processes, a real server, a bad network and real faults; what is served is compared.

scripts/soak [SECONDS] [--seed N] [--after-restart trust|discard] [--failover]

It ends with an error when somebody was served what was older than an invalidation, when something
came out of a cached function that was not its own, when a process is not back to normal in the
end, or when memory has grown beyond its bound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import redis

from .board import Board
from .stage import Pair, Single
from .worker import BUCKETS

PROCESSES = 4
CALM_SECONDS = 12.0
MOST_GROWTH = 40 * 2**20
"""Bytes that a process may grow between its fifth second and its end."""


FAULTS = (
    *("latency", "slow bytes", "reset", "refuse", "half open", "reset some"),
    *("kill -9 the server", "stop the server", "CLIENT KILL", "CLIENT PAUSE"),
    *("FLUSHALL", "SCRIPT FLUSH", "maxmemory", "kill -9 a worker", "pause a worker"),
)
SPARED, NOT_SPARED = "failover, nothing lost", "failover, something may be lost"


class Soak:
    """One run."""

    def __init__(self, folder: Path, seed: int, restart: str, *, failover: bool) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.restart = restart
        sync = "always" if restart == "trust" else "everysec"
        stage = Pair if failover else Single
        self.stage = stage(folder, self.rng, {"appendonly": "yes", "appendfsync": sync})
        self.kinds = list(FAULTS)
        if failover:
            self.kinds += [SPARED] * 3 + [NOT_SPARED] * 3 * (restart == "discard")
        self.board = folder / "board"
        Board.create(self.board)
        self.workers: dict[Path, asyncio.subprocess.Process] = {}
        self.began: dict[Path, int] = {}
        self.born = 0
        self.faults: Counter[str] = Counter()
        self.stuck: list[str] = []

    async def spawn(self) -> None:
        """Start one more process."""
        self.born += 1
        report = self.folder / f"report-{self.born}.json"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "soak.worker",
            str(self.board),
            self.stage.url,
            str(report),
            str(self.rng.randrange(2**32)),
            self.restart,
            stderr=(self.folder / f"log-{self.born}").open("wb"),
        )
        self.workers[report] = process

    def raw(self, *command: str | int) -> None:
        """Tell the server something, past the proxy."""
        with suppress(redis.RedisError), redis.Redis(port=self.stage.server.port) as client:
            client.execute_command(*command)

    async def fault(self) -> None:
        """Let something break for a while, and mend it."""
        rng, server, proxies = self.rng, self.stage.server, self.stage.proxies
        lasts = rng.choice([0.2, 0.7, 2.0, 4.0])
        kind = rng.choice(self.kinds)
        self.faults[kind] += 1
        match kind:
            case "latency":
                latency = rng.choice([0.02, 0.3, 0.8])
                for proxy in proxies:
                    proxy.latency = latency
            case "slow bytes":
                for proxy in proxies:
                    proxy.slow = True
            case "reset":
                for proxy in proxies:
                    proxy.cut()
            case "reset some":
                for proxy in proxies:
                    proxy.cut(0.5)
            case "refuse":
                for proxy in proxies:
                    proxy.refusing = True
                    proxy.cut()
            case "half open":
                for proxy in proxies:
                    proxy.half_open = True
            case "kill -9 the server":
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(lasts)
                await asyncio.to_thread(server.start)
            case "stop the server":
                server.signal(signal.SIGSTOP)
                await asyncio.sleep(lasts)
                server.signal(signal.SIGCONT)
            case "failover, nothing lost" | "failover, something may be lost":
                assert isinstance(self.stage, Pair)
                await asyncio.to_thread(self.stage.kill_primary, spared=kind == SPARED)
            case "CLIENT KILL":
                self.raw("CLIENT", "KILL", "TYPE", "normal")
            case "CLIENT PAUSE":
                self.raw("CLIENT", "PAUSE", int(lasts * 1000), "ALL")
            case "FLUSHALL":
                self.raw("FLUSHALL")
            case "SCRIPT FLUSH":
                self.raw("SCRIPT", "FLUSH")
            case "maxmemory":
                self.raw("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
                self.raw("CONFIG", "SET", "maxmemory", 1_200_000)
                await asyncio.sleep(lasts)
                self.raw("CONFIG", "SET", "maxmemory", 0)
            case "kill -9 a worker":
                report = rng.choice(list(self.workers))
                process = self.workers.pop(report)
                process.kill()
                await process.wait()
                await self.spawn()
            case _:
                process = rng.choice(list(self.workers.values()))
                process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(lasts)
                process.send_signal(signal.SIGCONT)
        await asyncio.sleep(lasts)
        for proxy in proxies:
            proxy.mend()
        self.raw("CLIENT", "UNPAUSE")

    async def run(self, seconds: float) -> list[str]:
        """Run it; return what was wrong."""
        await self.stage.start()
        if isinstance(self.stage, Pair):
            await asyncio.to_thread(self.stage.watch)
        for _ in range(PROCESSES):
            await self.spawn()
        await asyncio.sleep(3.0)
        used = self.memory()
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                await asyncio.sleep(self.rng.uniform(0.2, 1.5))
                await self.fault()
                for report in self.workers:
                    if report not in self.began and (told := self.read(report)):
                        self.began[report] = told["memory"]
            wrong = await self.back_to_normal()
        finally:
            for process in self.workers.values():
                with suppress(ProcessLookupError):
                    process.terminate()
            for process in self.workers.values():
                try:
                    await asyncio.wait_for(process.wait(), 15)
                except TimeoutError:
                    process.kill()
                    await process.wait()
                    self.stuck.append("a process did not end at SIGTERM")
            after = self.memory()
            await self.stage.stop()
            await asyncio.to_thread(self.stage.close)
        return [*wrong, *self.stuck, *self.tell(used, after)]

    async def back_to_normal(self) -> list[str]:
        """See that each process hits again, and goes past the cache no more."""
        for _ in range(120):
            if all(map(self.read, self.workers)):
                break
            await asyncio.sleep(0.5)  # one may have just been started
        await asyncio.sleep(CALM_SECONDS - 4.0)
        before = {report: self.read(report) for report in self.workers}
        await asyncio.sleep(4.0)
        wrong: list[str] = []
        for report, process in self.workers.items():
            was, now = before[report], self.read(report)
            if process.returncode is not None or not now:
                wrong.append(f"a process ended with {process.returncode}, or never began")
            elif now["counts"].get("bypass", 0) > was.get("counts", {}).get("bypass", 0):
                wrong.append("a process still goes past the cache, seconds after the last fault")
            elif now["counts"].get("hit", 0) <= was.get("counts", {}).get("hit", 0):
                wrong.append("a process has no hits, seconds after the last fault")
        return wrong

    def read(self, report: Path) -> dict:
        """Return what a process told last."""
        return json.loads(report.read_text()) if report.exists() else {}

    def memory(self) -> int:
        """Return what the server uses."""
        with suppress(redis.RedisError), redis.Redis(port=self.stage.server.port) as client:
            return int(client.info("memory")["used_memory"])
        return 0

    def tell(self, used: int, after: int) -> list[str]:
        """Print the figures; return what is wrong about them."""
        counts: Counter[str] = Counter()
        latencies = [0] * BUCKETS
        for report in self.folder.glob("report-*.json"):
            told = self.read(report)
            counts.update(told["counts"])
            latencies = [a + b for a, b in zip(latencies, told["latencies"], strict=True)]
        grown = {
            report: self.read(report)["memory"] - begin
            for report, begin in self.began.items()
            if report in self.workers
        }
        wrong = [
            line for path in self.folder.glob("*.wrong") for line in path.read_text().splitlines()
        ]
        for name in sorted(counts):
            print(f"{counts[name]:>9}  {name}")
        print(f"{counts['stale after invalidate']:>9}  stale after invalidate (must be 0)")
        print(
            f"     p50 {quantile(latencies, 0.5)}, p99 {quantile(latencies, 0.99)} (upper ends of buckets)"
        )
        print(f"     server {used / 2**20:.1f} MiB at the start, {after / 2**20:.1f} at the end")
        print(f"     processes grew by {[f'{one / 2**20:+.1f}' for one in grown.values()]} MiB")
        print(
            f"     faults: {', '.join(f'{count} {name}' for name, count in sorted(self.faults.items()))}"
        )
        wrong += [f"{counts[name]} times {name}" for name in counts if name.startswith("raised")]
        wrong += [f"a process grew by {one} bytes" for one in grown.values() if one > MOST_GROWTH]
        for log in self.folder.glob("log-*"):
            if "Traceback" in (text := log.read_text("utf-8", "replace")):
                wrong.append(f"a traceback: {text[-2000:]}")
        return wrong


def quantile(latencies: list[int], share: float) -> str:
    """Return the upper end of the bucket in which this share of the calls is over."""
    left = share * sum(latencies)
    for bits, count in enumerate(latencies):
        left -= count
        if left <= 0:
            return f"{2**bits / 1000:g} ms"
    return "?"


def main() -> int:
    """Soak."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=120.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--after-restart", choices=["trust", "discard"], default="discard")
    parser.add_argument(
        "--failover", action="store_true", help="a replica takes the place of its primary"
    )
    given = parser.parse_args()
    print(
        f"{given.seconds:g} s, seed {given.seed}, after_restart={given.after_restart}"
        f"{', with failover' if given.failover else ''}",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder), given.seed, given.after_restart, failover=given.failover)
        wrong = asyncio.run(soak.run(given.seconds))
    print("\n".join(wrong) or "nothing was wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
