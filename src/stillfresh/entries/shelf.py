"""
The entries of one function or store, as hands reach them: looked at, written, counted.

What decides to compute is on the floor above, in `readthrough`, and what computes in `leading`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ..codecs import one_shot_value
from ..computing.calls import Answer, Counts
from ..entry import MISSING, Entry, Verdict, judge
from ..errors import NotSerializable, ProviderUnavailable
from ..providers.base import Address
from .packing import Packer
from .quick import QuickIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..codecs import Codec
    from ..computing.drivers import Driver
    from ..events import Kind
    from ..options import Policy
    from .region import Region


_new = tuple.__new__


class Shelf:
    """The entries of one function or store in a region, with its policy and its codec."""

    def __init__(
        self, region: Region, policy: Policy, codec: Callable[[], Codec], *, local: bool = False
    ) -> None:
        self.region = region
        self.policy = policy
        self.counts = Counts()
        self.index = QuickIndex()
        self.forgotten = False
        """Others are asked from now on: what it still finds is for calls that came before."""
        self.prefix = ""
        """What all keys begin with, where functions share the namespace."""
        self.packer = Packer(
            codec,
            serialized=region.serialized,
            copy=policy.copy,
            # What stays here, or is to, is never stored elsewhere.
            trial=not (region.serialized or local or policy.provider == "memory"),
        )

    async def look(self, key: str, driver: Driver) -> tuple[Entry | None, object]:
        """Return the usable entry and its value; (None, MISSING) also when nobody answers."""
        region, guard = self.region, self.region.guard
        ops = driver.reads(guard)
        try:
            entry = await ops.look(_new(Address, (region.namespace, key)))
        except ProviderUnavailable:
            return None, MISSING
        return (None, MISSING) if entry is None else self.open(entry)

    def near(self, key: str) -> Entry | None:
        """Return what a near tier may serve without asking."""
        del key
        return None

    async def look_many(self, keys: list[str], driver: Driver) -> list[tuple[Entry | None, object]]:
        """
        Return the usable entries and their values, in the order of *keys*.

        Raises:
            ProviderUnavailable: The provider did not answer.
        """
        addresses = [self.region.address(key) for key in keys]
        return [
            self.open(entry) for entry in await driver.ops(self.region.guard).look_many(addresses)
        ]

    async def look_as(self, status: Kind, key: str, driver: Driver) -> tuple[Entry | None, object]:
        """Look; who is cancelled meanwhile was a call all the same, with that *status*."""
        try:
            return await self.look(key, driver)
        except BaseException:
            self.done(status, key, None)
            raise

    async def peek(self, key: str, driver: Driver) -> object:
        """
        Return the value that a call would be answered with at once, or MISSING.

        Raises:
            ProviderUnavailable: The provider did not answer.
        """
        region = self.region
        entry, value = self.open(await driver.ops(region.guard).look(region.address(key)))
        usable = judge(entry, region.clock.now()) in {Verdict.FRESH, Verdict.STALE}
        return self.hand_out(value) if usable else MISSING

    async def get(self, key: str, driver: Driver) -> object:
        """
        Return the value that is there, or MISSING; it counts as a call.

        Raises:
            ProviderUnavailable: The provider did not answer.
        """
        memory = self.region.guard.memory
        if memory is None:
            [(entry, value)] = await self.look_many([key], driver)
        else:  # as that does, without a coroutine
            entry, value = self.open(memory.find(self.region.address(key)))
        return self._got(key, entry, value)

    async def get_many(self, keys: list[str], driver: Driver) -> dict[str, object]:
        """
        Return the values that are there, by key; each key counts as a call.

        Raises:
            ProviderUnavailable: The provider did not answer.
        """
        found: dict[str, object] = {}
        for key, (entry, value) in zip(keys, await self.look_many(keys, driver), strict=True):
            got = self._got(key, entry, value)
            if got is not MISSING:
                found[key] = got
        return found

    def _got(self, key: str, entry: Entry | None, value: object) -> object:
        verdict = judge(entry, self.region.clock.now())
        if verdict is Verdict.FRESH:
            return self.done("hit", key, value).value
        if verdict is Verdict.STALE:
            return self.done("stale", key, value).value
        self.done("miss", key, None)
        return MISSING

    def hand_out(self, value: object) -> object:
        """Return what a caller gets of a stored value."""
        return self.packer.hand_out(value)

    def open(self, entry: Entry | None) -> tuple[Entry | None, object]:
        """Return an entry with its value, or (None, MISSING) where it is of no use."""
        if entry is None or judge(entry, self.region.clock.now()) is Verdict.GONE:
            return None, MISSING
        value = self.packer.open(entry)
        return (None, MISSING) if value is MISSING else (entry, value)

    # Writing by hand

    async def write(
        self,
        values: Mapping[str, object],
        driver: Driver,
        *,
        fresh: float | None = None,
        tags: frozenset[str] = frozenset(),
    ) -> None:
        """
        Store *values* by key, over what is there and what is being computed.

        Raises:
            NotSerializable: A value does not come back as it is; nothing was written.
            ProviderUnavailable: Nobody knows what is there now.
        """
        region = self.region
        born = region.clock.now()
        entries: list[tuple[str, Entry]] = []
        for key, value in values.items():
            refuse_unfit(value, region.namespace)
            self.packer.try_once(value, region.namespace)
            windows = self.policy.windows(fresh)
            try:
                entry = self.packer.pack(value, born, windows, tags)
            except NotSerializable as error:
                raise _by_hand(error, region.namespace, key) from error.__cause__
            entries.append((key, entry))
        await region.put(driver.ops(region.guard), entries)

    # Answering

    def done(self, status: Kind, key: str, value: object, entry: Entry | None = None) -> Answer:
        """Count a call and tell the listeners; return what its caller gets."""
        if status == "miss":
            self.counts.miss += 1
        else:
            self.counts.add(status)
        if self.region.heard:
            self.region.emit(status, key)
        if self.packer.copies:
            value = self.packer.hand_out(value)
        # In half the time that its constructor takes.
        return _new(Answer, (value, None, None, status, entry))


def refuse_unfit(value: object, title: str) -> None:
    """
    Let a value pass that may be written by hand for *title*.

    Raises:
        NotSerializable: As `refuse_one_shot`, or there is no value at all.
    """
    if value is MISSING:
        error = no_value("Store None, or delete the key.")
        raise NotSerializable(f"{title}: {error}")
    refuse_one_shot(value, title)


def no_value(advice: str) -> NotSerializable:
    """Return what is wrong with MISSING as a value."""
    return NotSerializable(f"MISSING means that there is no value. {advice}")


def refuse_one_shot(value: object, title: str) -> None:
    """
    Let a value of *title* pass that can be read more than once.

    Raises:
        NotSerializable: A generator, an iterator, something to await.
    """
    reason = one_shot_value(value)
    if reason is None:
        return
    close = getattr(value, "close", None)
    if close is not None:
        with contextlib.suppress(Exception):
            close()
    raise NotSerializable(f"{title} cannot be cached: {reason}", "return")


def _by_hand(error: NotSerializable, namespace: str, key: str) -> NotSerializable:
    """Say of what the codec refuses as a function's result that it was written by hand."""
    text, path = str(error), error.path
    if path.startswith("return") and text.startswith(path):
        text = text.replace("return", "value", 1).replace(". Return ", ". Store ", 1)
    return NotSerializable(f"{namespace}, key {key!r}: {text}", path)
