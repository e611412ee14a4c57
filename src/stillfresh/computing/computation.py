"""What a running function may decide about its own entry."""

from __future__ import annotations

from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING

from ..durations import seconds
from ..errors import NotRunning
from ..tags import checked_tags

if TYPE_CHECKING:
    from ..durations import Duration
    from ..entry import Windows


class Computation:
    """
    The computation in which the code runs: `stillfresh.computing.computation()`.

    What it says holds for this one result. `tags` is a set to add to; tags of the decorator
    cannot be taken away.
    """

    __slots__ = ("_fresh", "key", "skipped", "tags", "windows")

    def __init__(self, key: str, tags: set[str] | None = None) -> None:
        self.key = key
        self.tags: set[str] = set() if tags is None else tags
        self.skipped = False
        self.windows: Windows | None = None
        """All lifetimes at once, for what decides them itself, as HTTP responses do."""
        self._fresh: float | None = None

    @property
    def ttl(self) -> float | None:
        """
        How long the result stays fresh; assign any duration, or None for ever. Reads as seconds.

        Raises:
            InvalidDuration: On assignment of what is no duration.
        """
        return None if self._fresh == inf else self._fresh

    @ttl.setter
    def ttl(self, value: Duration | None) -> None:
        self._fresh = inf if value is None else seconds(value, "ttl")

    def skip(self) -> None:
        """Hand the result to everybody who waits, and store nothing."""
        self.skipped = True

    def fresh_or(self, default: float) -> float:
        """Return the seconds that were decided here, else *default*."""
        return default if self._fresh is None else self._fresh

    def late_tags(self) -> frozenset[str]:
        """Return the tags that were added so far."""
        return checked_tags(self.tags, "computation().tags")


current_computation: ContextVar[Computation | None] = ContextVar(
    "stillfresh_computation", default=None
)


def computation() -> Computation:
    """
    Return the computation in which this code runs.

    Raises:
        NotRunning: No cached function is being computed here.
    """
    found = current_computation.get()
    if found is None:
        msg = (
            "computation(): no cached function is being computed here. Call it inside a "
            "function under @cache, or in what such a function calls."
        )
        raise NotRunning(msg)
    return found
