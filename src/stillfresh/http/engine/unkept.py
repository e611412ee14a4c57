"""What a fill ends with where nothing is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .planning import Plan
    from .replies import Reply


class Filling(Protocol):
    """The fill of one request."""

    plan: Plan


class Unkept:
    """A response that is not stored, and was for the one who led alone."""

    def __init__(
        self, fill: Filling, reply: Reply | None = None, *, lost: bool = False, shared: bool = False
    ) -> None:
        self.fill = fill
        self.shared = shared
        """All who wait get it: it is nobody's response."""
        self.reply = reply
        """What the client gets; None where it gets it from inside, as it comes."""
        self.lost = lost
        """The client has got nothing: the handler has to answer once more."""

    def is_anothers(self, fill: Filling) -> bool:
        """It was for somebody's credentials, which says nothing of those who have none (A5)."""
        return self.fill is not fill and self.fill.plan.asked.open_only
