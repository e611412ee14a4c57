"""One test's view of a provider: a namespace of its own, and entries made to measure."""

# ruff: noqa: S101  # it ships, and its asserts are the claims

from __future__ import annotations

import asyncio
import threading
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from ..entry import Entry, Verdict, Windows, judge
from ..providers.base import Address, Busy, CacheProvider, Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..clock import Clock

T = TypeVar("T")

PATIENCE = 20.0
"""Real seconds after which what should have happened has failed to."""


class Bench:
    """
    A provider, or its blocking face, with what a test needs.

    Namespaces are new for each test, because a server may keep those of others.
    """

    def __init__(
        self, provider: CacheProvider, clock: Clock, pass_time: Callable[[float], None]
    ) -> None:
        self.provider = provider
        self.clock = clock
        self.space = f"contract.{uuid4().hex}"
        self._pass_time = pass_time

    def at(self, key: str = "key", space: str = "") -> Address:
        """Return the address of *key*, in a second namespace if *space* names one."""
        return Address(self.space + space, key)

    def value(self, number: int = 1) -> object:
        """Return a value that this provider takes, another one for each *number*."""
        return b"\x00\xff value %d" % number if self.provider.serialized else {"value": number}

    def entry(
        self,
        number: int = 1,
        fresh: float = 60.0,
        stale: float = 0.0,
        keep: float = 0.0,
        tags: tuple[str, ...] = (),
    ) -> Entry:
        """Return an entry that is born now."""
        value = self.value(number)
        size = len(value) if isinstance(value, bytes) else 0
        windows = Windows(fresh, stale, keep, inf)
        return Entry(value, self.clock.now(), windows, frozenset(tags), size)

    def tag(self, name: str = "tag") -> str:
        """Return a tag that no other test uses."""
        return f"{self.space}:{name}"

    async def put(self, *keys: str, tags: tuple[str, ...] = ()) -> None:
        """Write a fresh entry under each of *keys*."""
        await self.provider.put([(self.at(key), self.entry(tags=tags)) for key in keys])

    async def lease(self, address: Address | None = None, *tags: str) -> Lease:
        """Acquire the lease, which must be free."""
        answer = await self.provider.acquire(address or self.at(), tags=frozenset(tags))
        assert isinstance(answer, Lease), f"expected a lease, got {answer!r}"
        return answer

    async def busy(self, address: Address | None = None) -> bool:
        """Tell whether somebody holds the lease; if nobody does, it is left free."""
        answer = await self.provider.acquire(address or self.at(), take=True)
        if isinstance(answer, Lease):
            await self.provider.release(answer)
        return isinstance(answer, Busy)

    async def seen(self, key: str = "key", space: str = "") -> object:
        """Return the value that is there, or None."""
        entry = await self.provider.look(self.at(key, space))
        return None if entry is None else entry.value

    async def verdict(self, key: str = "key") -> Verdict:
        """Return what the entry is good for."""
        return judge(await self.provider.look(self.at(key)), self.clock.now())

    async def pass_time(self, seconds: float) -> None:
        """Let *seconds* go by."""
        self._pass_time(seconds)


def on_loop(operation: Coroutine[Any, Any, T]) -> T:
    """Run *operation* on an event loop of its own."""
    return asyncio.run(operation)


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Run *work* in so many threads, which start together; raise what the first one raised."""
    start = threading.Barrier(count)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            start.wait(PATIENCE)
            work(number)
        except BaseException as failure:  # noqa: BLE001  # it is raised again below
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    if failures:
        raise failures[0]
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
