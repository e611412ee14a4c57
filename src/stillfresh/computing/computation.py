"""What a running function may decide about its own entry."""

from __future__ import annotations

from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING

from ..durations import seconds
from ..errors import NotRunning
from ..tags import checked_tags

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..durations import Duration
    from ..entry import Windows


class Computation:
    """
    The computation in which the code runs: `stillfresh.computation()`.

    What it says holds for this one result. `tags` is a set to add to; tags of the decorator
    cannot be taken away.
    """

    __slots__ = ("_key", "fresh", "skipped", "tags", "windows")

    def __init__(self, key: str | Callable[[], str]) -> None:
        self._key = key
        self.tags: set[str] = set()
        self.skipped = False
        self.windows: Windows | None = None
        """All lifetimes at once, for what decides them itself, as HTTP responses do."""
        self.fresh: float | None = None
        """The seconds that were decided here, if any were."""

    @property
    def key(self) -> str:
        """
        The text of the key of this call.

        Raises:
            UnstableArgument: The call went past the cache, and its arguments make no key.
        """
        return self._key if isinstance(self._key, str) else self._key()

    @property
    def ttl(self) -> float | None:
        """
        How long the result stays fresh; assign any duration, or None for ever. Reads as seconds.

        Raises:
            InvalidDuration: On assignment of what is no duration.
        """
        return None if self.fresh == inf else self.fresh

    @ttl.setter
    def ttl(self, value: Duration | None) -> None:
        self.fresh = inf if value is None else seconds(value, "ttl")

    def skip(self) -> None:
        """Hand the result to everybody who waits, and store nothing."""
        self.skipped = True

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
