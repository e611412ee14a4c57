"""
What a warm hit costs, as a multiple of awaiting a bare `async def`.

Absolute times differ between machines and runs; ratios hold. So both sides are timed in turn,
A B A B, and each round gives one ratio. The table shows their median, and how far the middle
half of them spreads. `--json` prints one line for programs, `--rounds` says how many.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import platform
import statistics
import sys
import time
from typing import TYPE_CHECKING

from stillfresh import App, cache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

LOOPS = 4_000
OLD = sys.version_info < (3, 12)
ONE = 2.2 if OLD else 2.5


async def bare(user_id: str) -> str:
    return user_id


@functools.lru_cache
def remembered(user_id: str) -> str:
    return user_id


@cache(ttl=None)
async def one(user_id: str) -> str:
    return user_id


@cache(ttl=None, tags=["users"])
async def tagged(user_id: str) -> str:
    return user_id


@cache(ttl=None)
async def three(user_id: str, lang: str = "en", page: int = 1) -> str:
    return f"{user_id}{lang}{page}"


@cache(ttl=None)
def sync(user_id: str) -> str:
    return user_id


class Users:
    """A service with methods that are cached."""

    @cache(ttl=None)
    async def method(self, user_id: str) -> str:
        return user_id

    @cache(ttl=None, tags=["user:{user_id}"])
    async def tagged_method(self, user_id: str) -> str:
        return user_id


class Ratios:
    """One row of the table: a name, its goal, and the ratio of each round."""

    def __init__(self, name: str, goal: float | None, base: str = "await") -> None:
        self.name = name
        self.goal = goal
        self.base = base
        self.seen: list[float] = []

    @property
    def median(self) -> float:
        return statistics.median(self.seen)

    @property
    def spread(self) -> tuple[float, float]:
        low, _, high = statistics.quantiles(self.seen, n=4)
        return low, high

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.median <= self.goal


async def run(rounds: int) -> list[Ratios]:
    app = App(Users)
    rows: list[tuple[Ratios, Callable[[int], Coroutine[object, object, float]]]] = []
    async with app:
        users = app.get(Users)

        async def floor(loops: int) -> float:
            begin = time.perf_counter()
            for _ in range(loops):
                await bare("user-123")
            return time.perf_counter() - begin

        async def of_one(loops: int) -> float:
            begin = time.perf_counter()
            for _ in range(loops):
                await one("user-123")
            return time.perf_counter() - begin

        async def of_keyword(loops: int) -> float:
            begin = time.perf_counter()
            for _ in range(loops):
                await one(user_id="user-123")
            return time.perf_counter() - begin

        async def of_tagged(loops: int) -> float:
            begin = time.perf_counter()
            for _ in range(loops):
                await tagged("user-123")
            return time.perf_counter() - begin

        async def of_three(loops: int) -> float:
            begin = time.perf_counter()
            for _ in range(loops):
                await three("user-123", page=7)
            return time.perf_counter() - begin

        async def of_method(loops: int) -> float:
            begin = time.perf_counter()
            for _ in range(loops):
                await users.method("user-123")
            return time.perf_counter() - begin

        async def of_tagged_method(loops: int) -> float:
            begin = time.perf_counter()
            for _ in range(loops):
                await users.tagged_method("user-123")
            return time.perf_counter() - begin

        async def of_miss(loops: int) -> float:
            fewer = loops // 20
            begin = time.perf_counter()
            for number in range(fewer):
                await one(f"new {number}")
            passed = time.perf_counter() - begin
            await one.clear()
            return passed * loops / fewer

        async def of_sync(loops: int) -> float:
            begin = time.perf_counter()
            for _ in range(loops):
                sync("user-123")
            return time.perf_counter() - begin

        async def lru(loops: int) -> float:
            begin = time.perf_counter()
            for _ in range(loops):
                remembered("user-123")
            return time.perf_counter() - begin

        rows = [
            (Ratios("one argument", ONE), of_one),
            (Ratios("keyword call", ONE), of_keyword),
            (Ratios("method of a service", ONE), of_method),
            (Ratios("tagged", None), of_tagged),
            (Ratios("tagged method", None), of_tagged_method),
            (Ratios("three parameters", 3.5), of_three),
            (Ratios("sync, x lru_cache", 2.8, "lru"), of_sync),
            (Ratios("miss", None), of_miss),
        ]
        floors = {"await": floor, "lru": lru}
        for number in range(rounds + 1):
            for row, measured in rows:
                below = floors[row.base]
                if row.name != "miss":
                    await measured(2)  # warm again, after the miss has cleared
                before = await below(LOOPS)
                passed = await measured(LOOPS)
                after = await below(LOOPS)
                if number:  # the first round warms the interpreter
                    row.seen.append(2 * passed / (before + after))
        for warm in (one, tagged, three, sync, users.method, users.tagged_method):
            assert warm.stats.hits > rounds * LOOPS
    return [row for row, _ in rows]


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    rows = asyncio.run(run(arguments.rounds))
    if arguments.json:
        ratios = {
            row.name: {"ratio": round(row.median, 2), "goal": row.goal, "met": row.met}
            for row in rows
        }
        print(json.dumps({"python": platform.python_version(), "ratios": ratios}))
        return
    print(f"Python {platform.python_version()}, {arguments.rounds} rounds of {LOOPS} calls")
    print(f"{'warm hit':22}{'ratio':>7}  {'middle half':15}{'goal':>6}")
    for row in rows:
        low, high = row.spread
        goal = "" if row.goal is None else f"{row.goal:.1f}"
        verdict = {None: "", True: "met", False: "missed"}[row.met]
        middle = f"{low:.2f} to {high:.2f}"
        print(f"{row.name:22}{row.median:7.2f}  {middle:15}{goal:>6}  {verdict}".rstrip())


if __name__ == "__main__":
    main()
