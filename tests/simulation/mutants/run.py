"""
Apply each mutant to a copy of the sources, and see that the test it names fails.

scripts/mutants [WORD ...]      only those whose name has one of the words

Each killer is also run on the unpatched copy: one that fails there proves nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import cache, fleet, http
from .mutant import SCHEDULES, DoesNotFit, patched

ROOT = Path(__file__).parents[3]
COPIED = ("src", "tests", "examples", "pyproject.toml", "conftest.py")
MANY = "400"
SECONDS = 240


def killed(copy: Path, killer: str) -> tuple[bool, str]:
    """Run a killer in *copy*; tell whether it failed, and the line that says so."""
    if killer == SCHEDULES:
        command = ["-m", "simulation.many", MANY, "--processes", "1", "--first"]
    else:
        command = ["-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", killer]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy / 'tests'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }
    try:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True, f"hangs for {SECONDS} s"
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "seed", "ER"))]
    last = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode != 0, (lines or last[-1:] or ["no output"])[0][:140]


def main() -> int:
    """Try all of them; say which survive."""
    words = sys.argv[1:]
    chosen = [
        mutant
        for mutant in (*cache.MUTANTS, *fleet.MUTANTS, *http.MUTANTS)
        if not words or any(word in mutant.name for word in words)
    ]
    survivors: list[str] = []
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        for name in COPIED:
            kind = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            kind(ROOT / name, copy / name)
        passing: set[str] = set()
        for mutant in chosen:
            path = copy / "src" / "stillfresh" / mutant.file
            source = path.read_text("utf-8")
            since = time.perf_counter()
            if mutant.killer not in passing:
                passing.add(mutant.killer)
                failed, line = killed(copy, mutant.killer)
                if failed:
                    survivors.append(f"{mutant.killer} fails without any patch: {line}")
            try:
                path.write_text(patched(source, mutant), "utf-8")
                dead, line = killed(copy, mutant.killer)
            except DoesNotFit as error:
                dead, line = False, str(error)
            finally:
                path.write_text(source, "utf-8")
            word = "killed  " if dead else "SURVIVES"
            print(f"{word} {time.perf_counter() - since:5.1f} s  {mutant.name}: {line}", flush=True)
            if not dead:
                survivors.append(f"{mutant.name}, which breaks: {mutant.promise}")
    print(f"{len(chosen)} mutants in {time.perf_counter() - begin:.0f} s: ", end="")
    print("\n  ".join(["these survive:", *survivors]) if survivors else "all killed")
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main())
