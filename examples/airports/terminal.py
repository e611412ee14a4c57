"""How the story is printed: plain text, and in colour on a terminal when rich is there."""

from __future__ import annotations

import inspect
import io
import linecache
import os
import sys
import textwrap
from collections.abc import Callable, Iterable
from itertools import takewhile
from time import perf_counter
from types import FrameType
from typing import Self

try:
    from rich.console import Console
except ImportError:
    Console = None  # type: ignore[assignment, misc]  # plain text then

MILLISECOND = 0.001


class Story:
    """Prints steps, the code that runs, and what came out of it."""

    def __init__(self) -> None:
        self.steps = 0
        self.failures = 0
        colour = Console is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._console = Console(highlight=False, markup=False) if colour else None

    def say(self, text: str = "", style: str = "") -> None:
        """Print a text; the style counts only in colour."""
        if self._console:
            self._console.print(text, style=style, soft_wrap=True)
        else:
            print(text, flush=True)

    def step(self, function: Callable[..., object]) -> None:
        """Begin the next step; the docstring of its function is what it claims."""
        self.steps += 1
        title, *text = (inspect.getdoc(function) or function.__name__).splitlines()
        self.say(f"\n{self.steps}. {title.removesuffix('.')}", "bold cyan")
        for line in filter(None, text):
            self.say(f"   {line}")

    def claim(self, text: str, *, holds: bool) -> None:
        """Print what was measured, and whether it is what stillfresh promises."""
        self.failures += not holds
        self.say(f"   {'ok' if holds else 'NOT AS PROMISED'}: {text}", "green" if holds else "red")

    def table(self, rows: Iterable[Iterable[object]]) -> None:
        """Print rows in columns, the first one to the left and the others to the right."""
        cells = [[str(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for first, *others in cells:
            right = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
            self.say("   " + "  ".join([first.ljust(widths[0]), *right]))

    def run(self) -> Run:
        """Show the lines of a `with` block, run them, and take the time."""
        return Run(self)


class Run:
    """The lines of one `with` block: what is printed is what runs."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._began = 0.0
        self.seconds = 0.0

    def __enter__(self) -> Self:
        frame = inspect.currentframe()
        if frame and frame.f_back:
            for line in block(frame.f_back):
                self._story.say(f"   >>> {line}", "yellow")
        self._began = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = perf_counter() - self._began

    def __str__(self) -> str:
        if self.seconds < MILLISECOND:
            return f"{self.seconds * 1e6:.1f} µs"
        return f"{self.seconds * 1e3:.1f} ms"


def block(frame: FrameType) -> list[str]:
    """The source lines of the `with` block that *frame* is about to enter."""
    head, *below = linecache.getlines(frame.f_code.co_filename)[frame.f_lineno - 1 :] or [""]
    indent = len(head) - len(head.lstrip())
    body = takewhile(lambda line: len(line) - len(line.lstrip()) > indent, below)
    return textwrap.dedent("".join(body)).splitlines()


def told(narrate: Callable[[Story], None]) -> int:
    """Tell a story; 0 if everything came out as promised, 1 if not."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # airports have names in all alphabets
    story = Story()
    try:
        narrate(story)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has left. Python still flushes at exit, so give it a place to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 1 if story.failures else 0
