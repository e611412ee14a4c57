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

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from ..entry import Entry
from ..errors import ProviderUnavailable, StillfreshError
from ..events import log
from ..forks import free_in_child
from .base import Address, Busy, CacheProvider, Found, Lease, Refused
from .deadlines import in_time
from .debts import Debtor
from .memory import MemoryCacheProvider
from .tier import Tiered, tier_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from ..clock import Clock
    from ..entry import Windows
    from ..events import Listeners
    from ..tags import Scope
    from .debts import Change
    from .ears import Ear

T = TypeVar("T")
RETRY_SECONDS: Final = 1.0


class Guard(Debtor):
    """One provider, as the rest of the library sees it."""

    def __init__(self, provider: CacheProvider, clock: Clock, listeners: Listeners) -> None:
        super().__init__(provider)
        self.tier = tier_of(provider)
        """What the provider keeps decoded in this process."""
        self.clock = clock
        self.on_stop: Callable[[], None] = lambda: None
        """Called when the app lets go of the provider."""
        self._listeners = listeners
        self._lock = free_in_child()
        self.down: bool
        """The breaker is open, or something is owed: nothing passes without a look at it."""
        self._silent = False
        """It has failed, everybody was told so, and it has not answered since."""
        self._retry_at = 0.0
        self.waiting = Operations(self, provider, blocking=False)
        """The operations for coroutines."""
        self.blocking = Operations(self, provider.blocking, blocking=True)
        """The operations that never suspend."""
        self._set(down=False)

    @property
    def name(self) -> str:
        """How events and log lines call the provider."""
        return type(self.provider).__qualname__

    def _set(self, *, down: bool) -> None:
        # Our own memory takes no time and does not fail: nothing has to stand in front of what
        # reads it. But also there what is owed comes first: a change that was interrupted.
        self.down = down
        memory = None if down or type(self.provider) is not MemoryCacheProvider else self.provider
        self.memory = memory
        """The provider where it is our own memory and nothing is owed."""
        self.reads: Operations | MemoryCacheProvider = self.waiting if memory is None else memory
        """How coroutines read and compute, by the shortest way."""
        self.blocking_reads: Operations | MemoryCacheProvider = self.blocking
        if memory is not None:
            self.blocking_reads = memory.blocking

    async def stop(self, *, blocking: bool) -> None:
        """Let go of the provider. What is owed is tried once more, and said where that fails."""
        self.on_stop()
        self.leave()
        ops = self.blocking if blocking else self.waiting
        if self.debts:
            with suppress(ProviderUnavailable, TimeoutError):
                await ops.pay_at_last()
        if self.debts:
            message = "%s did not carry out %d changes; others may serve what they drop: %s"
            log.error(message, self.name, len(self.debts), self.debts)
        await (self.provider.blocking if blocking else self.provider).stop()

    def admit(self) -> bool:
        """
        Let an operation pass, or fail at once; answer whether it is the one that tries again.

        Raises:
            ProviderUnavailable: The breaker is open.
        """
        if not self.down:
            return False
        with self._lock:
            now = self.clock.now()
            if now < self._retry_at:
                why = "did not answer" if self._silent else "is owed a change"
                msg = (
                    f"{self.name} {why}; tried again in "
                    f"{self._retry_at - now:.1f} s. Function calls compute meanwhile."
                )
                raise ProviderUnavailable(msg)
            self._retry_at = now + RETRY_SECONDS
            return True

    def owes(self, change: Change) -> None:
        """Remember *change*, and let the near tier forget what it is about."""
        super().owes(change)
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


class Operations:
    """The operations of a provider, guarded; one object for coroutines, one that blocks."""

    def __init__(self, guard: Guard, provider: CacheProvider, *, blocking: bool) -> None:
        self._guard = guard
        self._provider = provider
        self._blocks = blocking
        self._deadline = None if blocking else guard.provider.deadline

    def ear(self) -> Ear | None:
        """Return who listens for a read that is about to be sent; None: it must not be kept."""
        return self._provider.ear() if isinstance(self._provider, Tiered) else None

    async def look(self, address: Address) -> Entry | None:
        """Return the usable entry."""
        found: object = await self._run(self._provider.look(address))
        if found is None or isinstance(found, Entry):
            return found
        raise self._garbage("look", found)

    async def glance(self, address: Address) -> bytes | Entry | None:
        """Return the usable entry, or the bytes of one that is simply fresh."""
        found: object
        if self._guard.down or self._deadline is not None:
            found = await self._run(self._provider.glance(address))
        else:  # as that does, without its layers: this is what a hit waits for
            try:
                found = await self._provider.glance(address)
            except Exception as error:  # noqa: BLE001  # raised again, as one kind of error
                self.fault(error)
        if isinstance(found, bytes) or found is None or isinstance(found, Entry):
            return found
        raise self._garbage("glance", found)

    async def look_many(self, addresses: Sequence[Address]) -> list[Entry | None]:
        """Return the usable entries, in the order of *addresses*."""
        found: object = await self._run(self._provider.look_many(addresses))
        if isinstance(found, list) and len(found) == len(addresses):
            entries = [one for one in found if one is None or isinstance(one, Entry)]
            if len(entries) == len(found):
                return entries
        raise self._garbage("look_many", found)

    async def acquire(
        self,
        address: Address,
        *,
        seen: Entry | None,
        take: bool,
        tags: frozenset[str],
        alive: Callable[[], bool],
    ) -> Found | Busy | Lease:
        """Ask for the right to compute."""
        answer: object = await self._run(
            self._provider.acquire(address, seen=seen, take=take, tags=tags, alive=alive)
        )
        if isinstance(answer, Lease) or isinstance(answer, Found | Busy):  # noqa: SIM101  # mostly
            return answer
        raise self._garbage("acquire", answer)

    async def store(self, lease: Lease, entry: Entry) -> bool:
        """Write under the lease, if it holds."""
        change = ("delete", (lease.address,))
        return await self._run(self._provider.store(lease, entry), forgets=change) is True

    async def settle(self, lease: Lease, tags: frozenset[str]) -> bool:
        """End the lease; answer whether a store would have been accepted."""
        return await self._run(self._provider.settle(lease, tags)) is True

    async def release(self, lease: Lease) -> None:
        """Give the lease back."""
        await self._run(self._provider.release(lease))

    async def wait(self, address: Address, seconds: float) -> bool:
        """Wait for the end of a lease; answer whether a holder ended without a value."""
        self._guard.admit()
        return await self._checked(self._provider.wait(address, seconds), None) is True

    async def put(self, entries: Sequence[tuple[Address, Entry]]) -> None:
        """Write by hand. What fails is remembered as a delete: the old value must not stay."""
        addresses = tuple(address for address, _ in entries)
        await self._run(self._provider.put(entries), ("delete", addresses))

    async def delete(self, addresses: Sequence[Address]) -> int:
        """Drop exact addresses."""
        change = ("delete", tuple(addresses))
        count: object = await self._run(self._provider.delete(addresses), change)
        if isinstance(count, int):
            return count
        raise self._garbage("delete", count, change)

    async def expire(self, address: Address) -> None:
        """Make the entry stale."""
        await self._run(self._provider.expire(address), ("expire", address))

    async def invalidate_matching(self, namespace: str, pattern: str, prefix: str = "") -> None:
        """Drop keys by pattern."""
        await self._run(
            self._provider.invalidate_matching(namespace, pattern, prefix),
            ("invalidate_matching", namespace, pattern, prefix),
        )

    async def invalidate_tags(self, scope: Scope, tags: Iterable[str]) -> None:
        """Drop by tag."""
        names = frozenset(tags)
        await self._run(
            self._provider.invalidate_tags(scope, names), ("invalidate_tags", scope, names)
        )

    async def clear(self, namespace: str) -> None:
        """Drop a namespace."""
        await self._run(self._provider.clear(namespace), ("clear", namespace))

    async def incr(self, address: Address, amount: int, windows: Windows) -> int:
        """Add to a counter."""
        total: object = await self._run(
            self._provider.incr(address, amount, windows),
            counting=True,
            forgets=("delete", (address,)),
        )
        if isinstance(total, int):
            return total
        raise self._garbage("incr", total)

    async def keys(self, namespace: str, pattern: str) -> list[str]:
        """Return the matching keys."""
        found: object = await self._run(self._provider.keys(namespace, pattern))
        if isinstance(found, list):
            return [str(key) for key in found]
        raise self._garbage("keys", found)

    def _run(
        self,
        operation: Coroutine[Any, Any, T],
        change: Change | None = None,
        *,
        counting: bool = False,
        forgets: Change | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Carry out an operation: await it at once. The near tier *forgets* that, or *change*."""
        guard = self._guard
        if not guard.down and (guard.tier is None or (forgets or change) is None):
            return self._checked(operation, change, counting=counting)  # as nearly always
        return self._with_care(operation, change, counting=counting, forgets=forgets)

    async def _with_care(
        self,
        operation: Coroutine[Any, Any, T],
        change: Change | None,
        *,
        counting: bool,
        forgets: Change | None,
    ) -> T:
        """
        Carry out an operation, and let the near tier forget what it changes: before and after.

            1. a reader    reads k: the server answers, the reply is on its way
            2. delete(k)   goes to the server, and returns
            3. a reader    keeps the reply: it has not seen what is noted after step 2

        Before, so that it holds in this process also when the server does not answer.
        """
        tier = self._guard.tier
        forgotten = forgets or change
        if tier is None or forgotten is None:
            return await self._admitted(operation, change, counting=counting)
        tier.forget(forgotten)
        try:
            return await self._admitted(operation, change, counting=counting)
        finally:
            tier.forget(forgotten)

    async def _admitted(
        self,
        operation: Coroutine[Any, Any, T],
        change: Change | None,
        *,
        counting: bool,
    ) -> T:
        guard = self._guard
        try:
            retries = guard.admit()
        except ProviderUnavailable:
            operation.close()
            if change is not None:  # not sent at all, and owed all the same
                guard.owe(change)
            raise
        if not retries:
            return await self._checked(operation, change, counting=counting)
        try:
            await self._pay()
        except BaseException:
            operation.close()
            if change is not None:
                guard.owe(change)  # not sent; what kept it from that is told where it happened
            raise
        answer = await self._checked(operation, change, counting=counting)
        guard.answered()
        return answer

    async def pay_at_last(self) -> None:
        """
        Carry out what is owed, in the last moment.

        Raises:
            ProviderUnavailable, TimeoutError: Some of it could not be done.
        """
        if self._blocks:
            await self._pay()
        else:
            async with asyncio.timeout(RETRY_SECONDS):
                await self._pay()

    async def _pay(self) -> None:
        # Each is forgotten as soon as it is done: where there are many, and callers who do not
        # wait so long, the next one goes on from there.
        debts = self._guard.debts
        for debt, mark in debts.marked():
            name, *arguments = debt
            await self._checked(getattr(self._provider, name)(*arguments), None)
            debts.paid(debt, mark)

    async def _checked(
        self, operation: Coroutine[Any, Any, T], change: Change | None, *, counting: bool = False
    ) -> T:
        try:
            if self._deadline is None:
                return await operation
            guard = self._guard
            return await in_time(operation, self._deadline, guard.clock, guard.name)
        except Exception as error:
            if isinstance(error, TypeError) and counting:
                raise  # what is not a counter cannot be counted: the caller's mistake
            self.fault(error, change)
        except BaseException:  # the caller was cancelled: nobody knows how far it came
            if change is not None:
                self._guard.owe(change)
            raise

    def fault(self, error: Exception, change: Change | None = None) -> NoReturn:
        """Note a fault of the provider, and raise a `ProviderUnavailable` for the caller."""
        if isinstance(error, Refused):  # it is there, and this one thing cannot be done
            raise error
        self._guard.failed(error, change)
        if isinstance(error, ProviderUnavailable):
            raise error
        msg = f"{self._guard.name} failed: {type(error).__name__}: {error}"
        raise ProviderUnavailable(msg) from error

    def _garbage(
        self, operation: str, answer: object, change: Change | None = None
    ) -> StillfreshError:
        error = ProviderUnavailable(
            f"{self._guard.name} answered {type(answer).__name__!r} to {operation!r}"
        )
        self._guard.failed(error, change)
        return error
