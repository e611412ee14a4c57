"""
A guard in front of every provider: faults become one error, and nothing is forgotten.

`ProviderUnavailable` is all that comes out of it, whatever the provider raised or answered.
After a fault the breaker is open: calls fail at once, and after a second one of them tries
again. A change that failed may have happened or not. It is remembered here, and carried out
before anything else reaches the provider again, so this process cannot read what it dropped:

    1. delete(k) is sent; no answer comes        -> raises, k is remembered, breaker opens
    2. a call reads k                            -> fails at once: the function computes
    3. a second later a call tries again         -> delete(k) first, and only then its read
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ProviderUnavailable
from .breaker import Breaker
from .guarded import Operations
from .memory import MemoryCacheProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..clock import Clock
    from ..events import Listeners
    from .base import CacheProvider
    from .debts import Change
    from .payer import Payer


class Guard(Breaker):
    """One provider, as the rest of the library sees it."""

    def __init__(self, provider: CacheProvider, clock: Clock, listeners: Listeners) -> None:
        super().__init__(provider, clock, listeners)
        self.waiting = Operations(self, provider, blocking=False)
        """The operations for coroutines."""
        self.blocking = Operations(self, provider.blocking, blocking=True)
        """The operations that never suspend."""
        self._payer: Payer | None = None
        self._deafen: Callable[[], None] | None = None
        """Ends the reports of evictions."""
        self._set(down=False)

    def _set(self, *, down: bool) -> None:
        # Our own memory takes no time and does not fail: nothing has to stand in front of what
        # reads it. But also there what is owed comes first: a change that was interrupted.
        super()._set(down=down)
        memory = None if down or type(self.provider) is not MemoryCacheProvider else self.provider
        self.memory = memory
        """The provider where it is our own memory and nothing is owed."""
        self.reads: Operations | MemoryCacheProvider = self.waiting if memory is None else memory
        """How coroutines read and compute, by the shortest way."""
        self.blocking_reads: Operations | MemoryCacheProvider = self.blocking
        if memory is not None:
            self.blocking_reads = memory.blocking

    def owe(self, change: Change) -> None:
        """Remember *change*, and see to it that it is made also where nobody comes by."""
        super().owe(change)
        if not self.provider.shared:  # nobody has it but who comes by
            return
        if self._payer is None:
            from .payer import Payer  # with the first debt

            self._payer = Payer(self.name, self.clock, self.debts, self.waiting, self.blocking)
        self._payer.begin()

    def hear_evictions(self) -> None:
        """
        Tell the app's listeners what has to leave for want of room; again and again is once.

        A report costs a good part of a store, so there is none until somebody listens. The app
        holds its lock meanwhile.
        """
        if self._deafen is None:
            self._deafen = self.provider.add_evict_listener(
                lambda address: self._listeners.emit("evict", *address)
            )

    async def stop(self, *, blocking: bool) -> None:
        """Let go of the provider. What is owed is tried once more, and said where that fails."""
        if self._deafen is not None:
            self._deafen()
        self.leave()
        if self._payer is not None:
            self._payer.end()
        ops = self.blocking if blocking else self.waiting
        if self.debts:
            with suppress(ProviderUnavailable, TimeoutError):
                await ops.pay_at_last()
        self.debts.tell(self.name)
        await (self.provider.blocking if blocking else self.provider).stop()
