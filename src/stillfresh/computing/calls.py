"""One call on its way through the path: what is asked, what is answered, and how it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..events import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..entry import Entry
    from ..singleflight import Outcome


class Call:
    """One call of a cached function, as far as the path needs to know it."""

    __slots__ = ("args", "behind", "key", "late_tags", "quick_key", "run", "seen", "tagged", "tags")

    def __init__(  # noqa: PLR0917  # names cost half as much again
        self,
        key: str,
        run: Callable[..., object],
        tags: frozenset[str] = frozenset(),
        late_tags: Callable[[object], frozenset[str]] | None = None,
        args: tuple[object, ...] = (),
        quick_key: object = None,
        tagged: bool = False,  # noqa: FBT001, FBT002  # names cost half as much again
    ) -> None:
        self.key = key
        self.run = run
        """The function, to be called with `args`; the result may be awaitable on a loop."""
        self.args = args
        self.tags = tags
        self.late_tags = late_tags
        """Tags that depend on the value."""
        self.quick_key = quick_key
        """The key in the short-cut index, or None where the call has none."""
        self.tagged = tagged
        """The short cut looks whether tags were dropped."""
        self.seen: Entry | None = None
        """The entry that a computation is to replace."""
        self.behind = False
        """The computation is a refresh: nobody waits for it."""


class Answer(NamedTuple):
    """What a caller gets: a value, or an error to raise."""

    value: object
    error: BaseException | None = None
    outcome: Outcome | None = None
    status: str = ""
    """How the call was answered: `hit`, `miss`..."""
    entry: Entry | None = None
    """Where the value is kept, if it is."""

    def unwrap(self) -> object:
        """Return the value, or raise; outside of the path, so that any error passes."""
        if self.error is None:
            return self.value
        if self.outcome is not None:
            # Many callers raise the same object: each from where the function raised it.
            self.error.__traceback__ = self.outcome.traceback
        try:
            raise self.error
        finally:
            if self.outcome is not None:  # what one caller was handling is not the others' affair
                self.error.__context__ = self.outcome.context
            del self


class Counts:
    """How calls were answered. One number per status; each call is counted once."""

    __slots__ = ("bypass", "coalesced", "fallback", "hit", "miss", "stale")

    def __init__(self) -> None:
        self.hit = self.miss = self.stale = self.coalesced = self.fallback = self.bypass = 0

    def take(self, other: Counts) -> None:
        """Count the calls of *other* as well."""
        for status in self.__slots__:
            setattr(self, status, getattr(self, status) + getattr(other, status))

    def add(self, status: str) -> None:
        """Count one call; with no call between reading and writing, so that threads lose none."""
        match status:
            case "miss":
                self.miss += 1
            case "hit":
                self.hit += 1
            case "stale":
                self.stale += 1
            case "coalesced":
                self.coalesced += 1
            case "fallback":
                self.fallback += 1
            case _:
                self.bypass += 1


class Told(Exception):  # internal, and named for what happened
    """A failure that was logged where it happened."""


def tell(title: str, what: str, error: BaseException) -> None:
    """Log a failure that no caller hears of. There are few: after each the key rests."""
    if not isinstance(error, Told):
        # As a text: a handler that keeps records would keep frames, and what is in them.
        log.warning("%s: %s: %s", title, what, repr(error))
