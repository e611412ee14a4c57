"""A provider that fails on purpose."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..clock import Clock
from ..durations import seconds
from ..errors import InvalidOption, ProviderUnavailable
from ..providers.base import CacheProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence

    from ..durations import Duration
    from ..entry import Entry, Windows
    from ..providers.base import Address, Busy, Found, Lease
    from ..tags import Scope

T = TypeVar("T")
_DEADLINE: Final = 1.0


class ChaosProvider(CacheProvider):
    """
    Another provider, and faults in front of it.

    *fail*, *hang* and *lie* are probabilities from 0 to 1 of each data operation; *delay* is a
    duration that each one takes longer. They can be assigned while it runs. A failing
    operation is not carried out. A hanging one never answers: it counts as failed after a
    second of the app's clock. A lying read answers nothing, a lying store says that it has
    stored, and a lying change is carried out and reported as failed.

    The faults are drawn from *seed*, so a run can be repeated.
    """

    def __init__(
        self,
        inner: CacheProvider,
        *,
        fail: float = 0.0,
        delay: Duration | None = None,
        hang: float = 0.0,
        lie: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not isinstance(inner, CacheProvider):
            msg = f"ChaosProvider({inner!r}): expected the provider to disturb."
            raise InvalidOption(msg)
        self.inner = inner
        self.serialized = inner.serialized
        self.strict = inner.strict
        self.shared = inner.shared
        self.clears_all = inner.clears_all
        self.lease_seconds = inner.lease_seconds
        self.most_entries = inner.most_entries
        self.deadline = _DEADLINE
        self._fail = _probability(fail, "fail")
        self._hang = _probability(hang, "hang")
        self._lie = _probability(lie, "lie")
        self._delay = 0.0 if delay is None else seconds(delay, "delay")
        self._random = random.Random(seed)
        self._clock = Clock()
        self._blocking: CacheProvider | None = None

    @property
    def fail(self) -> float:
        """The share of operations that fail."""
        return self._fail

    @fail.setter
    def fail(self, value: float) -> None:
        self._fail = _probability(value, "fail")

    @property
    def hang(self) -> float:
        """The share of operations that never answer."""
        return self._hang

    @hang.setter
    def hang(self, value: float) -> None:
        self._hang = _probability(value, "hang")

    @property
    def lie(self) -> float:
        """The share of operations that answer something wrong."""
        return self._lie

    @lie.setter
    def lie(self, value: float) -> None:
        self._lie = _probability(value, "lie")

    @property
    def delay(self) -> float:
        """Seconds that each operation takes longer."""
        return self._delay

    @delay.setter
    def delay(self, value: Duration | None) -> None:
        self._delay = 0.0 if value is None else seconds(value, "delay")

    @property
    def identity(self) -> Hashable:
        """That of the provider behind it."""
        return self.inner.identity

    @property
    def blocking(self) -> CacheProvider:
        """The same faults for sync callers."""
        if self._blocking is None:
            self._blocking = _BlockingChaos(self, self.inner.blocking)
        return self._blocking

    async def start(self, clock: Clock) -> None:
        self._clock = clock
        await self.inner.start(clock)

    async def stop(self) -> None:
        await self.inner.stop()

    async def look(self, address: Address) -> Entry | None:
        return await self._read(self.inner.look(address), None)

    async def look_many(self, addresses: Sequence[Address]) -> list[Entry | None]:
        return await self._read(self.inner.look_many(addresses), [None] * len(addresses))

    async def keys(self, namespace: str, pattern: str = "*") -> list[str]:
        return await self._read(self.inner.keys(namespace, pattern), [])

    async def acquire(
        self,
        address: Address,
        *,
        seen: Entry | None = None,
        take: bool = False,
        tags: frozenset[str] = frozenset(),
        alive: Callable[[], bool] = lambda: True,
    ) -> Found | Busy | Lease:
        return await self._disturb(
            self.inner.acquire(address, seen=seen, take=take, tags=tags, alive=alive)
        )

    async def store(self, lease: Lease, entry: Entry) -> bool:
        if self._draw(self._lie):
            # It says what a store would have said; nothing is there afterwards.
            return await self._disturb(self.inner.settle(lease, entry.tags))
        return await self._disturb(self.inner.store(lease, entry))

    async def settle(self, lease: Lease, tags: frozenset[str]) -> bool:
        return await self._disturb(self.inner.settle(lease, tags))

    async def release(self, lease: Lease) -> None:
        await self._disturb(self.inner.release(lease))

    async def wait(self, address: Address, seconds: float) -> bool | None:
        return await self.inner.wait(address, seconds)

    async def put(self, entries: Sequence[tuple[Address, Entry]]) -> None:
        await self._change(self.inner.put(entries))

    async def delete(self, addresses: Sequence[Address]) -> int:
        return await self._change(self.inner.delete(addresses))

    async def drop(self, addresses: Sequence[Address]) -> None:
        await self._change(self.inner.drop(addresses))

    async def expire(self, address: Address) -> None:
        await self._change(self.inner.expire(address))

    async def invalidate_matching(self, namespace: str, pattern: str, prefix: str = "") -> None:
        await self._change(self.inner.invalidate_matching(namespace, pattern, prefix))

    async def invalidate_tags(self, scope: Scope, tags: Iterable[str]) -> None:
        await self._change(self.inner.invalidate_tags(scope, tags))

    async def clear(self, namespace: str) -> None:
        await self._change(self.inner.clear(namespace))

    async def clear_all(self) -> None:
        await self._change(self.inner.clear_all())

    async def incr(self, address: Address, amount: int, windows: Windows) -> int:
        return await self._change(self.inner.incr(address, amount, windows))

    def count(self, namespace: str, prefix: str = "") -> int:
        return self.inner.count(namespace, prefix)

    def add_evict_listener(self, callback: Callable[[Address], object]) -> Callable[[], None]:
        return self.inner.add_evict_listener(callback)

    def _draw(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    async def _read(self, operation: Coroutine[Any, Any, T], nothing: T) -> T:
        if self._draw(self._lie):
            operation.close()
            return nothing
        return await self._disturb(operation)

    async def _change(self, operation: Coroutine[Any, Any, T]) -> T:
        if self._draw(self._lie):
            await operation
            msg = "ChaosProvider(lie=): carried out, and reported as failed"
            raise ProviderUnavailable(msg)
        return await self._disturb(operation)

    async def _disturb(self, operation: Coroutine[Any, Any, T]) -> T:
        try:
            if self._draw(self._hang):
                await self._pass(None)
            if self._delay:
                await self._pass(self._delay)
        except BaseException:
            operation.close()
            raise
        if self._draw(self._fail):
            operation.close()
            msg = "ChaosProvider(fail=): as asked"
            raise ProviderUnavailable(msg)
        return await operation

    async def _pass(self, length: float | None) -> None:
        """Let time pass; None is for ever."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        if length is None:
            await over
            return

        def end() -> None:
            if not over.done():
                over.set_result(None)

        timer = self._clock.call_later(loop, length, end)
        try:
            await over
        finally:
            timer.cancel()


class _BlockingChaos(ChaosProvider):
    """Blocks where the other one suspends; it draws from the same faults."""

    def __init__(self, outer: ChaosProvider, inner: CacheProvider) -> None:
        super().__init__(inner)
        self._outer = outer
        self._random = outer._random  # noqa: SLF001  # one sequence of faults

    @property
    def blocking(self) -> CacheProvider:
        return self

    async def _read(self, operation: Coroutine[Any, Any, T], nothing: T) -> T:
        self._follow()
        return await super()._read(operation, nothing)

    async def _change(self, operation: Coroutine[Any, Any, T]) -> T:
        self._follow()
        return await super()._change(operation)

    async def _disturb(self, operation: Coroutine[Any, Any, T]) -> T:
        self._follow()
        return await super()._disturb(operation)

    async def store(self, lease: Lease, entry: Entry) -> bool:
        self._follow()
        return await super().store(lease, entry)

    def _follow(self) -> None:
        outer = self._outer
        self.fail, self.hang, self.lie = outer.fail, outer.hang, outer.lie
        self._delay = outer.delay
        self._clock = outer._clock  # noqa: SLF001  # its own twin

    async def _pass(self, length: float | None) -> None:
        never = threading.Event()
        end = self._clock.now() + (_DEADLINE if length is None else length)
        while (left := end - self._clock.now()) > 0:
            self._clock.wait(never, left)
            never.clear()
        if length is None:
            msg = "ChaosProvider(hang=): no answer"
            raise ProviderUnavailable(msg)


def _probability(value: object, option: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        msg = f"{option}={value!r}: expected a probability from 0 to 1."
        raise InvalidOption(msg)
    return float(value)
