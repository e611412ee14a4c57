"""What a run of the public suite must show: which tests may fail and why, and how many must pass."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ALLOWED = Path(__file__).with_name("allowed.toml")
KINDS = ("required", "optimal")


@dataclass(frozen=True)
class Gate:
    """What is expected of one profile under one state of the suite."""

    least: dict[str, int]
    """How many tests of each kind must pass."""
    allowed: dict[str, str]
    """Reasons, by the name of the test that may fail."""


def gate(profile: str, suite: str, path: Path = ALLOWED) -> Gate:
    """Read what `allowed.toml` says of a profile, under "newest" or the version of the package."""
    stated = tomllib.loads(path.read_text("utf-8"))
    least = dict(zip(KINDS, stated["least"][profile][suite], strict=True))
    allowed: dict[str, str] = {}
    for entry in stated["allowed"]:
        if profile in entry["profiles"] and suite in entry.get("suites", [suite]):
            allowed |= dict.fromkeys(entry["tests"], entry["reason"])
    return Gate(least, allowed)


def passes(report: Mapping[str, Any], test: str) -> bool:
    """Tell whether a test passed, and all that it depends on: as the suite's own tables count."""
    entry = report.get(test)
    return (
        entry is not None
        and entry["failed"] is None
        and all(passes(report, needed) for needed in entry["needs"])
    )


def counts(report: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return how many passed of how many, by kind."""
    found: dict[str, tuple[int, int]] = {}
    for kind in KINDS:
        tests = [test for test, entry in report.items() if entry["kind"] == kind]
        found[kind] = (sum(passes(report, test) for test in tests), len(tests))
    return found


def why(report: Mapping[str, Any], test: str) -> str:
    """Return what made a test fail."""
    entry = report[test]
    missing = [needed for needed in entry["needs"] if not passes(report, needed)]
    return entry["failed"] or f"it depends on {', '.join(missing)}, which failed"


def faults(report: Mapping[str, Any], expected: Gate) -> list[str]:
    """Return what is wrong with a run, nothing if it is as good as it must be."""
    wrong: list[str] = []
    for kind, (passed, total) in counts(report).items():
        if passed < expected.least[kind]:
            wrong.append(f"{passed} of {total} {kind} pass, expected {expected.least[kind]}")
    for test, entry in report.items():
        if entry["kind"] in KINDS and not passes(report, test) and test not in expected.allowed:
            wrong.append(f"{test} ({entry['kind']}) fails: {why(report, test)}")
    return wrong


def unexpected(report: Mapping[str, Any], expected: Gate) -> set[str]:
    """Return the tests that failed themselves and bring down one that may not fail."""
    fatal: set[str] = set()
    looking = [
        test
        for test, entry in report.items()
        if entry["kind"] in KINDS and not passes(report, test) and test not in expected.allowed
    ]
    while looking:
        test = looking.pop()
        entry = report.get(test)
        if entry is not None and test not in fatal and not passes(report, test):
            looking += entry["needs"]
            if entry["failed"] is not None:
                fatal.add(test)
    return fatal


def needless(report: Mapping[str, Any], expected: Gate) -> list[str]:
    """Return the tests that may fail and passed: they can leave the list."""
    return [test for test in expected.allowed if passes(report, test)]
