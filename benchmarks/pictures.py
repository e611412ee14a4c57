"""
Draw the results as SVG: bars, one picture for each question that a reader has.

No library: a picture is rectangles and text. Who is wrong in a case gets no bar, only the reason.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from frame import OURS

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"
WIDTH, LEFT, RIGHT, TOP, STEP, BAR = 760, 205, 135, 64, 26, 17
INK, SOFT, PAPER = "#1f2328", "#59636e", "#ffffff"
MINE, LIMIT, OTHER, GRID = "#0969da", "#8c959f", "#c8d1da", "#e6eaef"
PER_GROUP = 4
FONT = 'font-family="system-ui, sans-serif" role="img"'

PICTURES: dict[str, tuple[str, str]] = {
    "hit-async": ("hit-async", "A warm hit of an async function, in nanoseconds (logarithmic)"),
    "hit-sync": ("hit-sync", "A warm hit of a sync function, in nanoseconds (logarithmic)"),
    "stampede": ("stampede", "1000 callers on a cold key: milliseconds of processor time"),
    "server-50": ("server-50", "A hit on a server, 50 tasks at once: microseconds each"),
    "http-hit": ("http-hit", "A cached response, called over ASGI: microseconds (logarithmic)"),
}
LIMITS = {"bare await", "bare ASGI", "lru_cache", "bare redis-py"}


def draw(report: dict[str, Any]) -> None:
    """Write all pictures of which the report has the figures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    cases = {name: case for name, case in report["cases"].items() if "rows" in case}
    machine, versions = report["machine"], report["versions"]
    foot = (
        f"stillfresh {versions.get('stillfresh', '')}, Python {machine['python']}, "
        f"{machine['processor'] or machine['system']}, {report['date']}. "
        "Medians; shorter is better."
    )
    for name, (case, title) in PICTURES.items():
        if case in cases:
            logarithmic = "logarithmic" in title
            if case == "stampede":
                mark_leavers(cases)
            picture = bars(title, cases[case], foot, versions, logarithmic=logarithmic)
            (FOLDER / f"{name}.svg").write_text(picture)
    for share in (1, 10):
        traces = {
            case["title"].split(", room")[0].removeprefix("Hit ratio, "): case
            for name, case in cases.items()
            if name.startswith("trace-") and name.endswith(f"-{share}")
        }
        if traces:
            title = f"Calls that hit, in per cent: room for {share} % of the keys"
            better = foot.replace("Medians; shorter", "Longer")
            (FOLDER / f"traces-{share}.svg").write_text(groups(title, traces, better))


def bars(
    title: str, case: dict[str, Any], foot: str, versions: dict[str, str], *, logarithmic: bool
) -> str:
    """Return one bar for each contestant, the shortest on top."""
    rows = sorted(case["rows"], key=lambda row: (bool(row.get("wrong")), row["median"] or math.inf))
    right = [row["median"] for row in rows if row["median"] is not None and not row.get("wrong")]
    most = max(right)
    least = min(right) / 2 if logarithmic else 0.0
    room = WIDTH - LEFT - RIGHT

    def length(value: float) -> float:
        if logarithmic:
            return room * math.log(value / least) / math.log(most / least)
        return room * value / most

    parts = []
    for number, row in enumerate(rows):
        y = TOP + number * STEP
        ours = row["name"] == OURS
        known = versions.get(row["name"].lower().split(" ")[0].rstrip(","), "") if not ours else ""
        label = f"{row['name']} {known}".strip()
        parts.append(text(LEFT - 10, y + 13, label, end=True, bold=ours))
        if row.get("wrong"):
            parts.append(text(LEFT, y + 13, f"wrong: {row['wrong']}", fill="#b42318"))
            continue
        if row["median"] is None:
            continue
        colour = MINE if ours else LIMIT if row["name"] in LIMITS else OTHER
        wide = max(2.0, length(row["median"]))
        parts.append(rectangle(LEFT, y, wide, BAR, colour))
        figure = f"{row['median']:,.4g}" if row["median"] < 1e4 else f"{row['median']:,.0f}"
        ratio = f" (x {row['ratio']:g})" if row.get("ratio") else row.get("mark", "")
        parts.append(text(LEFT + wide + 6, y + 13, figure + ratio, bold=ours))
    return whole(title, foot, parts, TOP + len(rows) * STEP)


def mark_leavers(cases: dict[str, Any]) -> None:
    """Say beside the figures of a stampede whose callers all fail when the first one leaves."""
    leavers = cases.get("one-leaves", {"rows": ()})["rows"]
    wrong = {row["name"]: row["wrong"] for row in leavers if "cancelled" in row.get("wrong", "")}
    for row in cases["stampede"]["rows"]:
        if row["name"] in wrong:
            row["mark"] = ", but when one is cancelled, all are"


def groups(title: str, cases: dict[str, Any], foot: str) -> str:
    """Return a group of bars for each trace."""
    room = WIDTH - LEFT - RIGHT
    thin, gap = 13, 16
    parts, y = [], TOP
    for trace, case in cases.items():
        parts.append(text(LEFT - 10, y + 2 * thin, trace, end=True, bold=True))
        for row in case["rows"][:PER_GROUP]:
            ours = row["name"] == OURS
            colour = MINE if ours else LIMIT if row["name"] == "LRU" else OTHER
            wide = room * row["median"] / 100
            parts.append(rectangle(LEFT, y, wide, thin - 2, colour))
            label = f"{row['median']:.3g}  {row['name']}"
            parts.append(text(LEFT + wide + 6, y + 10, label, bold=ours, size=11))
            y += thin
        y += gap
    return whole(title, foot, parts, y)


def whole(title: str, foot: str, parts: list[str], bottom: float) -> str:
    height = bottom + 40
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" {FONT}>',
            f"<title>{escape(title)}</title>",
            rectangle(0, 0, WIDTH, height, PAPER),
            text(20, 32, title, bold=True, size=16),
            f'<line x1="{LEFT}" y1="{TOP - 8}" x2="{LEFT}" y2="{bottom:g}" stroke="{GRID}"/>',
            *parts,
            text(20, height - 14, foot, fill=SOFT, size=11),
            "</svg>",
            "",
        ]
    )


def rectangle(x: float, y: float, wide: float, high: float, fill: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{wide:.1f}" height="{high:g}" fill="{fill}"/>'


def text(
    x: float,
    y: float,
    words: str,
    *,
    end: bool = False,
    bold: bool = False,
    fill: str = INK,
    size: int = 13,
) -> str:
    anchor = ' text-anchor="end"' if end else ""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:g}" font-size="{size}" fill="{fill}"{anchor}{weight}>'
        f"{escape(words)}</text>"
    )
