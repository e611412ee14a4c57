"""The programs beside this one that measure by themselves: they print JSON when asked to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frame import Case, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from run import Scale

HERE = Path(__file__).resolve().parent
PROGRAMS = {
    "hot-path": ("hot_path.py", "Warm hit of ours, as a multiple of a bare await"),
    "redis-reads": ("redis_reads.py", "Reads on a server, times as fast as a bare client"),
    "near-tier": ("near.py", "The near tier, and what the server pushes"),
    "http-hits": ("http_hits.py", "HTTP hits in a real server"),
}


class Number(NamedTuple):
    what: str
    value: float
    most: float | None = None
    least: float | None = None


def flat(found: Any, name: str = "") -> list[Number]:
    """Return every number in *found*, with where it was and what is its goal."""
    if isinstance(found, bool) or found is None or isinstance(found, str):
        return []
    if isinstance(found, int | float):
        return [Number(name, float(found))]
    if isinstance(found, list):
        return [row for number, part in enumerate(found) for row in flat(part, f"{name} {number}")]
    if "ratio" in found:
        return [Number(name, float(found["ratio"]), found.get("goal"), found.get("least"))]
    return [row for key, part in found.items() for row in flat(part, f"{name}, {key}".strip(", "))]


def collected(name: str, program: str, title: str) -> Callable[[Scale], list[Case]]:
    """Return a case that runs *program*, and keeps what it prints."""

    def run(scale: Scale) -> list[Case]:
        case = Case(name, title, "")
        path = HERE / program
        rounds = ["--rounds", "3"] if scale.quick else []
        done = subprocess.run(
            [sys.executable, str(path), "--json", *rounds],
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stderr}")
        for number in flat(json.loads(done.stdout[done.stdout.index("{") :])):
            what = number.what.removeprefix("ratios, ")
            case.rows.append(Row(what, [number.value]))
            if number.most is not None:
                case.goal(what, number.most, number.value)
            if number.least is not None:
                case.goal(what, number.least, number.value, least=True)
        return [case]

    return run


CASES = {
    name: collected(name, program, title)
    for name, (program, title) in PROGRAMS.items()
    if (HERE / program).exists()
}
