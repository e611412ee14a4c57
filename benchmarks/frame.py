"""
What every case is made of: contestants that take turns, rows of figures, and goals.

Absolute times differ between machines, and on one machine from minute to minute. So contestants
take turns, A B C A B C, and what counts is the ratio within a round. A row keeps all rounds: the
median, and between which values the middle half of them lies. What happens in one thread
is timed by the processor time of that thread, so that other programs count less.
"""

from __future__ import annotations

import inspect
import statistics
import time
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

OURS = "stillfresh"

Turn = "Callable[[], Awaitable[float] | float]"
"""One turn of a contestant; answers what is measured, in the unit of the case."""


@dataclass
class Row:
    """One contestant in one case."""

    name: str
    values: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    """Of each round, to the contestant that is the measure of the case."""
    wrong: str = ""
    """What it did that a cache must not do; then its figure is not a figure."""
    note: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    def report(self) -> dict[str, Any]:
        """Return the row as JSON."""
        spread = quartiles(self.ratios or self.values)
        return {
            "name": self.name,
            "median": rounded(self.median),
            "ratio": rounded(self.ratio),
            "middle_half": [rounded(value) for value in spread],
            "rounds": len(self.values),
            **({"wrong": self.wrong} if self.wrong else {}),
            **({"note": self.note} if self.note else {}),
        }


@dataclass
class Case:
    """What was measured together, and what it should come to."""

    name: str
    title: str
    unit: str
    rows: list[Row] = field(default_factory=list)
    measure: str = ""
    """The row to which the ratios are; empty where there is none."""
    more_is_better: bool = False
    goals: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    def goal(self, what: str, limit: float, value: float | None, *, least: bool = False) -> None:
        """Note that *value* should be at most *limit*, or at *least* that."""
        met = None if value is None else (value >= limit if least else value <= limit)
        self.goals.append(
            {"what": what, "least" if least else "most": limit, "value": rounded(value), "met": met}
        )

    def times_ours(self, peer: str, limit: float) -> None:
        """Set the goal that *peer* takes at least *limit* times as long as we do."""
        ours, theirs = self.row(OURS), self.row(peer)
        if ours is None or theirs is None or theirs.wrong:
            return
        pairs = zip(theirs.values, ours.values, strict=True)
        value = statistics.median(a / b for a, b in pairs) if theirs.values else None
        self.goal(f"{peer} takes so many times as long", limit, value, least=True)

    def report(self) -> dict[str, Any]:
        """Return the case as JSON."""
        return {
            "title": self.title,
            "unit": self.unit,
            "measure": self.measure,
            "more_is_better": self.more_is_better,
            "rows": [row.report() for row in self.rows],
            "goals": self.goals,
            **({"note": self.note} if self.note else {}),
        }


async def compete(
    case: Case, contestants: Mapping[str, Callable[[], Awaitable[float] | float]], rounds: int
) -> Case:
    """Let *contestants* take turns for *rounds*, after one that warms up, and fill in the rows."""
    rows = {name: Row(name) for name in contestants}
    for number in range(rounds + 1):
        turn: dict[str, float] = {}
        for name, play in contestants.items():
            played = play()
            turn[name] = await played if inspect.isawaitable(played) else played
        if not number:
            continue
        for name, value in turn.items():
            rows[name].values.append(value)
            if case.measure:
                rows[name].ratios.append(value / turn[case.measure])
    case.rows += rows.values()
    return case


def loop_over(
    call: str, *, wait: bool, loops: int, setup: str = "pass", **names: object
) -> Callable[[], Any]:
    """
    Return a turn that runs the expression *call* so often; it answers nanoseconds for one.

    The loop is made of source, so that there is nothing in it but the call, as a user writes it.
    `number` counts the turns of the loop, and `turn` those of the contestant.
    """
    word, mark = ("async ", "await ") if wait else ("", "")
    source = (
        f"{word}def play():\n"
        f"    global turn\n"
        f"    turn += 1\n"
        f"    {setup}\n"
        f"    begin = _now()\n"
        f"    for number in range({loops}):\n"
        f"        {mark}{call}\n"
        f"    return (_now() - begin) / {loops} * 1e9\n"
    )
    scope: dict[str, Any] = {**names, "_now": time.thread_time, "turn": 0}
    exec(compile(source, f"<{call}>", "exec"), scope)  # noqa: S102  # the text is ours
    play: Callable[[], Any] = scope["play"]
    return play


def quartiles(values: list[float]) -> tuple[float, float]:
    """Return between which values the middle half lies."""
    if len(values) < 2:
        return (values[0], values[0]) if values else (0.0, 0.0)
    low, _, high = statistics.quantiles(values, n=4)
    return low, high


def rounded(value: float | None) -> float | None:
    """Keep three digits: there is no truth in more of them."""
    return None if value is None else float(f"{value:.3g}")


def version(distribution: str) -> str:
    """Return the version that is installed, or an empty text."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
