"""Write the figures of `results.json` into the documents, between two marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from frame import OURS

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def write(report: dict[str, Any]) -> None:
    """Replace what stands between the marks of both documents."""
    cases = {name: case for name, case in report["cases"].items() if "rows" in case}
    fill(ROOT / "docs" / "performance.md", [*where(report), *goals(cases), *rows(cases)])
    fill(ROOT / "README.md", short(cases, report))


def fill(path: Path, lines: list[str]) -> None:
    before, mark, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if mark and end:
        path.write_text(before + "\n".join([BEGIN, "", *lines, "", END]) + after)


def where(report: dict[str, Any]) -> list[str]:
    """Say on what, when and beside whom it was measured."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    measured = (
        f"Measured on {report['date']} with {machine['implementation']} {machine['python']} on "
        f"{machine['system']}, {machine['cores']} cores ({machine['processor']})."
    )
    return [measured, f"Versions: {versions}.", ""]


def goals(cases: dict[str, Any]) -> list[str]:
    """Return every goal, and whether it is met."""
    lines = ["### Goals", "", "| case | goal | measured | |", "|---|---|---|---|"]
    for case in cases.values():
        for goal in case["goals"]:
            least = "least" in goal
            limit = f"{'at least' if least else 'at most'} {goal['least' if least else 'most']:g}"
            word = {None: "not measured", True: "met", False: "**missed**"}[goal["met"]]
            value = "" if goal["value"] is None else f"{goal['value']:g}"
            lines.append(f"| {case['title']} | {goal['what']}: {limit} | {value} | {word} |")
    return [*lines, ""]


def rows(cases: dict[str, Any]) -> list[str]:
    """Return a table for each case."""
    lines = ["### All figures", ""]
    for case in cases.values():
        unit = f", {case['unit']}" if case["unit"] else ""
        small = " (a quick run)" if case.get("quick") else ""
        lines += [f"**{case['title']}**{unit}{small}", "", "| | median | ratio | middle half | |"]
        lines.append("|---|---|---|---|---|")
        lines += [line(row) for row in case["rows"]]
        if case.get("note"):
            lines += ["", case["note"]]
        lines.append("")
    return lines


def line(row: dict[str, Any]) -> str:
    name = f"**{row['name']}**" if row["name"] == OURS else row["name"]
    if row.get("wrong"):
        return f"| {name} | wrong: {row['wrong']} | | | |"
    low, high = row["middle_half"]
    ratio = "" if row["ratio"] is None else f"{row['ratio']:g}"
    spread = "" if row["rounds"] < 2 else f"{low:g} to {high:g}"
    return f"| {name} | {row['median']:,g} | {ratio} | {spread} | {row.get('note', '')} |"


def short(cases: dict[str, Any], report: dict[str, Any]) -> list[str]:
    """Return the few rows that the front page shows: ours, and the others beside it."""
    wanted = (
        (
            "hit-async",
            "warm hit, async",
            ("bare await", "async-lru", "cachebox", "aiocache", "cashews"),
        ),
        ("hit-sync", "warm hit, sync", ("lru_cache", "cachetools", "dogpile.cache", "diskcache")),
        ("stampede", "1000 callers, one cold key", ("async-lru", "cashews", "aiocache")),
        ("server-50", "hit on a server, 50 tasks", ("bare redis-py", "aiocache", "cashews")),
    )
    lines = [
        "| | stillfresh | the others: times as long (below 1 is faster), or their hit ratio |",
        "|---|---|---|",
    ]
    for name, title, peers in wanted:
        case = cases.get(name)
        if case is None:
            continue
        found = {row["name"]: row for row in case["rows"]}
        ours = found[OURS]["median"]
        parts = []
        for peer in peers:
            row = found.get(peer)
            if row is None:
                continue
            times = f"wrong, {row['wrong']}" if row.get("wrong") else multiple(row["median"] / ours)
            parts.append(f"{peer} {times}")
        lines.append(f"| {title} | {ours:,g} {case['unit']} | {', '.join(parts)} |")
    traces = cases.get("trace-zipf-1.0-1")
    if traces is not None:
        found = {row["name"]: row["median"] for row in traces["rows"]}
        others = ", ".join(f"{name} {value:g} %" for name, value in found.items() if name != OURS)
        lines.append(f"| hit ratio, Zipf, room for 1 % | {found[OURS]:g} % | {others} |")
    machine = report["machine"]
    return [*lines, "", f"Python {machine['python']}, {machine['processor']}, {report['date']}."]


def multiple(times: float) -> str:
    return f"{times:.2g}" if times < 10 else f"{times:,.0f}"
