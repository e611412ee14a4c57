"""
Changes that failed, or whose outcome is unknown: they are owed.

Not more than a bounded number is remembered one by one. Where there are more, whole namespaces are
owed instead; where these are too many, or tags of all namespaces, everything.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import Any, Final

MOST_REMEMBERED: Final = 10_000
_SHOWN: Final = 10

Change = tuple[Any, ...]
"""The name of an operation and its arguments, to be carried out again."""


class Debts:
    """What is owed, in the order in which it came."""

    def __init__(self, *, clears_all: bool) -> None:
        self._clears_all = clears_all
        """Everything can be dropped in one operation."""
        self._lock = threading.RLock()
        self._owed: dict[Change, object] = {}
        """Each with a mark of its own, so that one that is owed anew is not taken for paid."""

    def __len__(self) -> int:
        return len(self._owed)

    def __str__(self) -> str:
        with self._lock:
            shown = ", ".join(map(repr, islice(self._owed, _SHOWN)))
        return f"{shown} and more" if len(self) > _SHOWN else shown

    def after_fork(self) -> None:
        """Get ready for the child of a fork: who held the lock does not exist."""
        self._lock = threading.RLock()

    def marked(self) -> list[tuple[Change, object]]:
        """Return what is owed now, each with its mark."""
        with self._lock:
            return list(self._owed.items())

    def add(self, change: Change) -> None:
        """Owe *change*, anew if it was owed already."""
        with self._lock:
            self._owed[change] = object()
            if len(self._owed) > MOST_REMEMBERED:
                self._owed = {change: object() for change in self._summary()}

    def paid(self, change: Change, mark: object) -> None:
        """Forget *change*, unless it is owed anew."""
        with self._lock:
            if self._owed.get(change) is mark:
                del self._owed[change]

    def _summary(self) -> list[Change]:
        """Return fewer changes that drop as much, or more; never less."""
        changes: dict[Change, None] = {}
        for change in self._owed:
            match change:
                case ("delete", addresses):
                    for address in addresses:
                        changes["clear", address.namespace] = None
                case ("expire", address):
                    changes["clear", address.namespace] = None
                case ("invalidate_tags", str() as scope, _):
                    changes["clear", scope] = None
                case (("clear" | "invalidate_matching"), namespace, *_):
                    changes["clear", namespace] = None
                case _:
                    changes[change] = None
        if len(changes) > MOST_REMEMBERED and self._clears_all:
            return [("clear_all",)]
        return list(changes)
