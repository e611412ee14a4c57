"""A source whose calls end when a test says so."""

from __future__ import annotations

import asyncio
from typing import Any


class Boom(Exception):
    """What a source raises."""


class Source:
    """A source whose calls end when a test says so, and that may change meanwhile."""

    def __init__(self) -> None:
        self.value: Any = "old"
        self.calls = 0
        self.gates: list[asyncio.Event] = []
        self.open = True

    async def read(self) -> Any:
        self.calls += 1
        seen = self.value
        if not self.open:
            gate = asyncio.Event()
            self.gates.append(gate)
            await gate.wait()
        if isinstance(seen, Exception):
            raise seen
        return seen

    def close(self) -> None:
        """From now on calls wait."""
        self.open = False

    def release(self) -> None:
        """Let all calls end, and later ones too."""
        self.open = True
        for gate in self.gates:
            gate.set()


async def turns(count: int = 20) -> None:
    """Let everything happen that can."""
    for _ in range(count):
        await asyncio.sleep(0)
