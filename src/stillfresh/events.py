"""What happens in a cache, told to whoever wants to know."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from msgspec import Struct

from .errors import InvalidOption
from .forks import free_in_child
from .names import meant

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("stillfresh")

Kind: TypeAlias = Literal[
    "hit",
    "stale",
    "miss",
    "coalesced",
    "fallback",
    "bypass",
    "store",
    "refused",
    "invalidate",
    "evict",
    "expire",
    "provider_down",
    "provider_up",
]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Event(Struct, frozen=True):
    """One thing that happened."""

    kind: Kind
    cache: str
    """The name of the cache; empty where it concerns all of a provider."""
    key: str | None = None
    """The key, or the pattern or the tags of an invalidation; None where it is about all."""
    detail: str = ""
    """Why, for a person: `refused` says what was wrong with the value."""


class Listeners:
    """
    Who wants to hear what.

    A listener is called in the thread in which it happens, before the call returns. What it
    raises is logged: a broken listener never breaks a call.
    """

    def __init__(self) -> None:
        self._lock = free_in_child()
        self.by_kind: dict[str, tuple[Callable[[Event], object], ...]] = {}
        """Empty until somebody listens."""

    def add(self, kind: str, listener: Callable[[Event], object]) -> Callable[[], None]:
        """
        Tell *listener* about each event of *kind*; what is returned ends it.

        Raises:
            InvalidOption: There is no such event, or the listener cannot be called.
        """
        if kind not in KINDS:
            hint = meant(kind, KINDS)
            msg = f"event {kind!r} does not exist.{hint} There are: {', '.join(KINDS)}."
            raise InvalidOption(msg)
        if not callable(listener):
            msg = f"listener {listener!r}: expected a function of one event."
            raise InvalidOption(msg)
        if inspect.iscoroutinefunction(listener):
            msg = (
                f"listener {listener!r}: expected a plain function, this one is async and nobody "
                "would await it. Let a plain one start a task."
            )
            raise InvalidOption(msg)
        with self._lock:
            self.by_kind[kind] = (*self.by_kind.get(kind, ()), listener)

        def remove() -> None:
            with self._lock:
                left = list(self.by_kind.get(kind, ()))
                if listener in left:
                    left.remove(listener)
                self.by_kind[kind] = tuple(left)

        return remove

    def wants(self, kind: str) -> bool:
        """Tell whether anybody listens to *kind*."""
        return bool(self.by_kind.get(kind))

    def emit(self, kind: Kind, cache: str, key: str | None = None, detail: str = "") -> None:
        """Tell everybody who listens to *kind*."""
        listeners = self.by_kind.get(kind)
        if not listeners:
            return
        event = Event(kind, cache, key, detail)
        for listener in listeners:
            try:
                listener(event)
            except Exception:
                log.exception("a listener of %r failed", kind)
