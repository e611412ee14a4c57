"""The page of the rules, which code and tests name by its rows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/http-rules.md").read_text(encoding="utf-8")


def test_every_row_that_is_named_is_on_the_page():
    """Whoever looks up `http-rules.md A6` finds it."""
    rows = set(re.findall(r"^\| ([A-G]\d+) \|", PAGE, re.MULTILINE))
    rows |= set(re.findall(r"^### ([A-J])\.", PAGE, re.MULTILINE))
    named: set[str] = set()
    for folder in ("src", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            named |= set(re.findall(r"http-rules\.md ([A-J]\d*)", text))
    assert len(named) > 15
    assert named - rows == set()


def test_no_row_is_left_out():
    """Each letter counts from one."""
    for letter, most in zip("ABCDFG", (17, 6, 6, 4, 5, 6), strict=True):
        found = re.findall(rf"^\| {letter}(\d+) \|", PAGE, re.MULTILINE)
        assert [int(number) for number in found] == list(range(1, most + 1))
