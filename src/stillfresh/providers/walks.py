"""
What goes over many entries of a memory: dropping by pattern, clearing, listing.

A walk is done in slices. Between two of them the lock is free, and an event loop goes on with
other work, so that a million keys stop nobody for long. What others write meanwhile is noted,
and the walk ends only when it is gone as well:

    1. clear()     notes all keys, and asks to be told of those that are written from now on
    2. others      write: before their slice is reached, after it, under new keys
    3. clear()     is through with its slices: what was written is the next round
    4. clear()     has no more than a slice left: drops that, and with it ends all leases
    5. a holder    who was called before 4 stores: too late, its lease has ended
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

from ..clock import Clock
from ..keys.patterns import compile_pattern
from .aftermath import Aftermath
from .base import Address, CacheProvider
from .leases import Leases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .table import Table

SLICE: Final = 1_000
"""Keys between two breaths: about two milliseconds."""
_MOST_ROUNDS: Final = 4
"""Rounds after which the rest is dropped at once: others write faster than one can drop."""


class Walks(CacheProvider):
    """What a memory is made of, and the operations that walk through it."""

    def __init__(self, table: Table) -> None:
        self.book = table.book
        """The versions of the tags; short cuts read its `epoch` without the lock."""
        self._table = table
        self._lock = threading.RLock()
        self._clock = Clock()
        self._reports = table.reports
        self._leases = Leases(table.book)

    async def invalidate_matching(self, namespace: str, pattern: str, prefix: str = "") -> None:
        fits = compile_pattern(pattern)
        await self._drop(namespace, lambda key: key.startswith(prefix) and fits(key))

    async def clear(self, namespace: str) -> None:
        await self._drop(namespace, lambda _: True)

    async def keys(self, namespace: str, pattern: str = "*") -> list[str]:
        fits = compile_pattern(pattern)
        found: list[str] = []
        cancelled = False
        for number, some in enumerate(self._slices(namespace)):
            if number:
                cancelled |= await self._breathe()
            found += self._usable(namespace, some, fits)
        if cancelled:
            _cancel_again()
        return found

    def count(self, namespace: str, prefix: str = "") -> int:
        return sum(
            len(self._usable(namespace, some, lambda key: key.startswith(prefix)))
            for some in self._slices(namespace)
        )

    # Underneath

    async def _drop(self, namespace: str, fits: Callable[[str], bool]) -> None:
        """Drop the entries and end the leases whose keys fit; nothing of it is left after."""
        written: list[str] = []
        table, cancelled = self._table, False
        with self._lock:
            table.watchers[namespace] = [*table.watchers.get(namespace, ()), written]
            keys = table.keys(namespace)
        try:
            for _ in range(_MOST_ROUNDS):
                if len(keys) <= SLICE:
                    break
                while keys:
                    some = keys[-SLICE:]
                    del keys[-SLICE:]  # a key ends with its slice, not all of them at the end
                    with Aftermath(self._reports) as after, self._lock:
                        self._drop_keys(namespace, some, fits, after)
                    cancelled |= await self._breathe()
                with self._lock:
                    keys, written[:] = list(dict.fromkeys(written)), []
            with Aftermath(self._reports) as after, self._lock:
                keys += written + self._leases.keys(namespace)
                self._drop_keys(namespace, keys, fits, after)
        finally:
            with self._lock:
                others = [one for one in table.watchers[namespace] if one is not written]
                table.watchers[namespace] = others
                if not others:
                    del table.watchers[namespace]
        if cancelled:
            _cancel_again()

    def _drop_keys(
        self, namespace: str, keys: list[str], fits: Callable[[str], bool], after: Aftermath
    ) -> None:
        for key in keys:
            if fits(key):
                address = Address(namespace, key)
                self._leases.end(address, after)
                self._table.drop(address, after)

    def _slices(self, namespace: str) -> Iterator[list[str]]:
        with self._lock:
            keys = self._table.keys(namespace)
        return _sliced(keys)

    def _usable(self, namespace: str, keys: list[str], fits: Callable[[str], bool]) -> list[str]:
        with Aftermath(self._reports) as after, self._lock:
            return self._table.usable_keys(namespace, filter(fits, keys), self._clock.now(), after)

    async def _breathe(self) -> bool:
        """
        Let an event loop that runs here go on; answer whether the caller was cancelled.

        The walk goes on all the same: half an invalidation would be none.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            return True
        return False


def _cancel_again() -> None:
    """Let the caller find out, at its next step, that it was cancelled during the walk."""
    task = asyncio.current_task()
    if task is not None:
        task.cancel()


def _sliced(keys: list[str]) -> Iterator[list[str]]:
    return (keys[at : at + SLICE] for at in range(0, len(keys), SLICE))
