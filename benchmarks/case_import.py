"""What `import stillfresh` costs, and that it brings in nothing that only some users need."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from frame import OURS, Case, compete

if TYPE_CHECKING:
    from collections.abc import Callable

    from run import Scale

FLOOR = "asyncio, msgspec, inspect, dataclasses"
LEFT_OUT = ("fastapi", "pydantic", "redis", "starlette")


def imports(scale: Scale) -> list[Case]:
    """A new interpreter, with compiled files at hand."""
    case = Case("import", "Import, in a new interpreter", "ms of CPU", measure=FLOOR)
    # Compiled files are written once, whatever the environment says, and used from then on.
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def start(program: str) -> Callable[[], float]:
            def play() -> float:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run([sys.executable, "-c", program], check=True, env=environment)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
                return (user + system) * 1e3

            return play

        plays = {FLOOR: start(f"import {FLOOR}"), OURS: start("import stillfresh")}
        for name in ("aiocache", "cashews", "fastapi_cache"):
            if (
                subprocess.run(
                    [sys.executable, "-c", f"import {name}"],
                    check=False,
                    env=environment,
                    stderr=subprocess.DEVNULL,
                ).returncode
                == 0
            ):
                plays[name] = start(f"import {name}")
        asyncio.run(compete(case, plays, scale.rounds))
        program = "import sys, stillfresh; print(*sys.modules)"
        loaded = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        ).stdout.split()
    ours = case.row(OURS)
    case.goal(f"times `import {FLOOR}`", 1.3, ours and ours.ratio)
    brought = [name for name in LEFT_OUT if name in loaded]
    case.goal("modules that only some users need", 0, len(brought))
    return [case]


CASES = {"import": imports}
