"""
Many schedules, on all cores; or the story of one; or a search.

scripts/simulate [HOW MANY [FROM SEED]]     schedules that are drawn from seeds
scripts/simulate --search HOW MANY          examples of hypothesis, which shrinks what fails
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import sys
import time

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from .machine import Simulated, bounded
from .play import play

PIECE = 50


def some(seeds: tuple[int, int]) -> tuple[int, list[str]]:
    """Run the schedules of a range of seeds; what breaks one in itself is a problem, too."""
    logging.disable(logging.CRITICAL)
    problems: list[str] = []
    for seed in range(*seeds):
        try:
            problems += play(seed)
        except Exception as error:  # the next one is to run all the same
            problems.append(f"seed {seed}: {type(error).__name__}: {error}")
    return seeds[1] - seeds[0], problems


def searched(share: tuple[int, int]) -> str:
    """Search with one seed of hypothesis; return what was found."""
    logging.disable(logging.CRITICAL)
    chance, examples = share
    machine = hypothesis.seed(chance)(type("Play", (Simulated,), {}))
    try:
        run_state_machine_as_test(machine, settings=bounded(examples))
    except Exception as error:
        return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
    return ""


def search(examples: int, processes: int) -> int:
    """Let hypothesis decide what happens."""
    begin = time.perf_counter()
    chance = random.SystemRandom()
    shares = [(chance.randrange(2**32), examples // processes) for _ in range(processes)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        found = [one for one in pool.map(searched, shares) if one]
    print("\n\n".join(found) or "no promise was broken")
    print(f"{examples} examples in {(time.perf_counter() - begin) / 60:.1f} min")
    return bool(found)


def main() -> int:
    """Run them, and tell the seeds of those that broke a promise."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1_000)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--first", action="store_true", help="end at the first that breaks one")
    parser.add_argument("--search", type=int, metavar="HOW MANY")
    given = parser.parse_args()
    if given.search:
        return search(given.search, given.processes)
    if given.first:
        for seed in range(given.seed, given.seed + given.count):
            if found := some((seed, seed + 1))[1]:
                print(found[0])
                return 1
        return 0
    if given.count == 1:
        problems = play(given.seed, talk=True)
        print("\n".join(problems) or "no promise was broken")
        return bool(problems)
    end = given.seed + given.count
    pieces = [(at, min(at + PIECE, end)) for at in range(given.seed, end, PIECE)]
    begin, done, broken = time.perf_counter(), 0, 0
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for count, problems in pool.imap_unordered(some, pieces):
            done += count
            broken += len({problem.partition(":")[0] for problem in problems})
            for problem in problems:
                print(problem, flush=True)
            if done % 1_000 < count:
                print(f"{done} schedules, {broken} broke a promise", flush=True)
    minutes = (time.perf_counter() - begin) / 60
    print(f"{done} schedules in {minutes:.1f} min ({done / minutes:.0f} a minute): ", end="")
    print(f"{broken} broke a promise" if broken else "no promise was broken")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
