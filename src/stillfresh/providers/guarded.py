"""
The operations of a provider, as they are let through by its breaker.

Each goes one way: admitted (the breaker is closed, or this one tries again), what is owed is paid,
the provider is asked, its answer is looked at. What an operation changes, the near tiers of this
process forget, whichever app they serve.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..entry import Entry
from ..errors import ProviderUnavailable, StillfreshError
from .base import Busy, Found, Lease, Refused
from .breaker import RETRY_SECONDS
from .deadlines import in_time
from .memory import MemoryCacheProvider
from .tier import Tiered

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from ..entry import Windows
    from ..tags import Scope
    from .base import Address, CacheProvider
    from .breaker import Breaker
    from .debts import Change
    from .ears import Ear

T = TypeVar("T")


class Operations:
    """The operations of a provider, guarded; one object for coroutines, one that blocks."""

    def __init__(self, breaker: Breaker, provider: CacheProvider, *, blocking: bool) -> None:
        self._breaker = breaker
        self._provider = provider
        self._blocks = blocking
        self._deadline = None if blocking else breaker.provider.deadline
        ours = type(breaker.provider) is MemoryCacheProvider
        self._memory = provider if ours and isinstance(provider, MemoryCacheProvider) else None

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
        if self._breaker.down or self._deadline is not None:
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
        change = ("drop", (lease.address,))
        return await self._run(self._provider.store(lease, entry), forgets=change) is True

    async def settle(self, lease: Lease, tags: frozenset[str]) -> bool:
        """End the lease; answer whether a store would have been accepted."""
        return await self._run(self._provider.settle(lease, tags)) is True

    async def release(self, lease: Lease) -> None:
        """Give the lease back."""
        await self._run(self._provider.release(lease))

    async def wait(self, address: Address, seconds: float) -> bool:
        """Wait for the end of a lease; answer whether a holder ended without a value."""
        self._breaker.admit()
        return await self._checked(self._provider.wait(address, seconds), None) is True

    async def put(self, entries: Sequence[tuple[Address, Entry]]) -> None:
        """Write by hand. Where that fails a drop is owed: the old value must not stay."""
        memory = self._memory
        if memory is None or self._breaker.down or len(entries) > 1:
            addresses = tuple([address for address, _ in entries])  # half as long as a generator
            await self._run(self._provider.put(entries), ("drop", addresses))
            return
        try:  # as that does, without its layers
            memory.write(entries)
        except Exception as error:  # noqa: BLE001  # raised again, as one kind of error
            self.fault(error, ("drop", (entries[0][0],)))
        except BaseException:  # interrupted: nobody knows how far it came
            self._breaker.owe(("drop", (entries[0][0],)))
            raise

    async def delete(self, addresses: Sequence[Address]) -> int:
        """Drop exact addresses, and answer how many usable entries there were."""
        change = ("drop", tuple(addresses))
        count: object = await self._run(self._provider.delete(addresses), change)
        if isinstance(count, int):
            return count
        raise self._garbage("delete", count, change)

    async def drop(self, addresses: Sequence[Address]) -> None:
        """Drop exact addresses."""
        await self._run(self._provider.drop(addresses), ("drop", tuple(addresses)))

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
            forgets=("drop", (address,)),
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
        """Carry out an operation: await it at once. Near tiers *forget* that, or *change*."""
        breaker = self._breaker
        # Another app may come to have a near tier of what is shared while this one is at it.
        if not breaker.down and (not breaker.provider.shared or (forgets or change) is None):
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
        Carry out an operation, and let near tiers forget what it changes: before and after.

            1. a reader    reads k: the server answers, the reply is on its way
            2. delete(k)   goes to the server, and returns
            3. a reader    keeps the reply: it has not seen what is noted after step 2

        Before, so that it holds in this process also when the server does not answer.
        """
        forgotten = forgets or change
        if forgotten is None:
            return await self._admitted(operation, change, counting=counting)
        self._breaker.forget(forgotten)
        try:
            return await self._admitted(operation, change, counting=counting)
        finally:
            self._breaker.forget(forgotten)

    async def _admitted(
        self,
        operation: Coroutine[Any, Any, T],
        change: Change | None,
        *,
        counting: bool,
    ) -> T:
        breaker = self._breaker
        try:
            retries = breaker.admit(changing=change is not None)
        except ProviderUnavailable:
            operation.close()
            if change is not None:  # not sent at all, and owed all the same
                breaker.owe(change)
            raise
        if not retries:
            return await self._checked(operation, change, counting=counting)
        try:
            await self._pay()
        except BaseException:
            operation.close()
            if change is not None:
                breaker.owe(change)  # not sent; what kept it from that is told where it happened
            raise
        answer = await self._checked(operation, change, counting=counting)
        breaker.answered()
        return answer

    async def pay_owed(self) -> None:
        """
        Carry out what is owed, if it is time to try again.

        Raises:
            ProviderUnavailable: It is not, or some of it could not be done.
        """
        if self._breaker.admit():
            await self._pay()
            self._breaker.answered()

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
        debts = self._breaker.debts
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
            breaker = self._breaker
            return await in_time(operation, self._deadline, breaker.clock, breaker.name)
        except Exception as error:
            if isinstance(error, TypeError) and counting:
                raise  # what is not a counter cannot be counted: the caller's mistake
            self.fault(error, change)
        except BaseException:  # the caller was cancelled: nobody knows how far it came
            if change is not None:
                self._breaker.owe(change)
            raise

    def fault(self, error: Exception, change: Change | None = None) -> NoReturn:
        """Note a fault of the provider, and raise a `ProviderUnavailable` for the caller."""
        if isinstance(error, Refused):  # it is there, and this one thing cannot be done
            raise error
        self._breaker.failed(error, change)
        if isinstance(error, ProviderUnavailable):
            raise error
        msg = f"{self._breaker.name} failed: {type(error).__name__}: {error}"
        raise ProviderUnavailable(msg) from error

    def _garbage(
        self, operation: str, answer: object, change: Change | None = None
    ) -> StillfreshError:
        error = ProviderUnavailable(
            f"{self._breaker.name} answered {type(answer).__name__!r} to {operation!r}: that is "
            f"not what CacheProvider.{operation} returns."
        )
        self._breaker.failed(error, change)
        return error
