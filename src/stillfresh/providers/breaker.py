"""
The breaker of a provider: it opens at a fault, and is not closed before what is owed is paid.

While it is open, operations fail at once; after a second one of them tries again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import ProviderUnavailable
from ..events import log
from ..forks import free_in_child
from .debts import Debtor
from .tier import tier_of

if TYPE_CHECKING:
    from ..clock import Clock
    from ..events import Listeners
    from .base import CacheProvider
    from .debts import Change

RETRY_SECONDS: Final = 1.0


class Breaker(Debtor):
    """Whether operations of *provider* may pass. Its faults and its return are told."""

    down: bool
    """It is open, or something is owed: nothing passes without a look at it."""

    def __init__(self, provider: CacheProvider, clock: Clock, listeners: Listeners) -> None:
        super().__init__(provider)
        self.tier = tier_of(provider)
        """What the provider keeps decoded in this process."""
        self.clock = clock
        self._listeners = listeners
        self._lock = free_in_child()
        self._silent = False
        """It has failed, everybody was told so, and it has not answered since."""
        self._retry_at = 0.0

    @property
    def name(self) -> str:
        """How events and log lines call the provider."""
        return type(self.provider).__qualname__

    def _set(self, *, down: bool) -> None:
        self.down = down

    def admit(self, *, changing: bool = False) -> bool:
        """
        Let an operation pass, or fail at once; answer whether it is the one that tries again.

        What fails and is *changing* something is owed by who asked.

        Raises:
            ProviderUnavailable: The breaker is open.
        """
        if not self.down:
            return False
        with self._lock:
            now = self.clock.now()
            if now < self._retry_at:
                why = "did not answer" if self._silent else "is owed a change"
                then = "Function calls compute meanwhile."
                if changing:
                    then = "The change is remembered, and made before what it names is read again."
                left = self._retry_at - now
                raise ProviderUnavailable(f"{self.name} {why}; tried again in {left:.1f} s. {then}")
            self._retry_at = now + RETRY_SECONDS
            return True

    def note_debt(self, change: Change) -> None:
        """Remember *change*, and let the near tier forget what it is about."""
        super().note_debt(change)
        if self.tier is not None:
            self.tier.forget(change)

    def look_first(self) -> None:
        """Open the breaker, also where it was closed meanwhile: what is owed comes first."""
        with self._lock:
            self._set(down=True)

    def answered(self) -> None:
        """Close the breaker, if nothing is owed."""
        with self._lock:
            if self.debts or not self.down:
                return
            self._set(down=False)
            self._retry_at = 0.0
            silent, self._silent = self._silent, False
        if not silent:  # a change was interrupted, and is made up for: the provider was there
            return
        log.warning("%s answers again", self.name)
        self._listeners.emit("provider_up", "", None, self.name)

    def failed(self, error: BaseException, change: Change | None) -> None:
        """Open the breaker, and remember the *change* whose outcome is unknown."""
        with self._lock:
            self._retry_at = self.clock.now() + RETRY_SECONDS
            already, self._silent = self._silent, True
            self._set(down=True)
        if change is not None:
            self.owe(change)
        if not already:
            log.warning(
                "%s does not answer (%s: %s); functions compute, nothing is stored",
                self.name,
                type(error).__name__,
                error,
            )
            self._listeners.emit("provider_down", "", None, f"{type(error).__name__}: {error}")
