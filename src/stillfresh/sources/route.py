"""
The way of the calls of a function to one of its places.

It is made where the app runs, and kept by a generated wrapper until something starts, stops or
changes (see `shortcuts`). A hit on a provider that other processes share ends here: one read,
sent after the caller came, and the entry is simply fresh. Whatever else was found is handed to
the path, which decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..computing.drivers import ON_LOOP
from ..entry import MISSING, Entry
from ..errors import ProviderUnavailable
from ..singleflight import tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..computing.calls import Answer, Call
    from ..computing.drivers import Driver
    from ..providers.base import Hits
    from ..readthrough import Reader
    from ..shape import Values


class Route:
    """
    Where calls go, as long as nothing changes that.

    *key* makes the text of the key from the arguments of a call; *call* makes what the path
    needs to know, from them and that text.
    """

    __slots__ = ("_call", "_hits", "_key", "reader")

    def __init__(
        self,
        reader: Reader,
        key: Callable[[Values], str],
        call: Callable[[Values, str], Call],
    ) -> None:
        self.reader = reader
        self._hits = _hits(reader)
        self._key = key
        self._call = call

    async def answer(
        self, values: Values, driver: Driver = ON_LOOP
    ) -> tuple[object, Answer | None]:
        """Answer a call with a value, or with an answer for the caller to unwrap."""
        reader, key = self.reader, self._key(values)
        came = tick()
        region = reader.region
        guard = region.guard
        entry: Entry | None = None
        value: object = MISSING
        try:
            found: object = None
            memory = guard.memory
            if memory is not None:  # as `look` does, without a coroutine
                entry = memory.find(region.address(key))
                if entry is not None:
                    entry, value = reader.open(entry)
            elif self._hits is not None and driver.suspends and not guard.down:
                try:
                    found = await self._hits.glance(key)
                except Exception as error:  # noqa: BLE001  # raised again, as one kind of error
                    guard.waiting.fault(error)
            elif reader.glances:
                ops = guard.waiting if driver.suspends else guard.blocking
                found = await ops.glance(region.address(key))
            else:
                entry, value = await reader.look(key, driver)
            if isinstance(found, bytes):
                value = reader.packer.read(found)
                if value is not MISSING:
                    reader.counts.hit += 1
                    if region.listeners.by_kind.get("hit"):
                        region.listeners.emit("hit", region.namespace, key)
                    return value, None
            elif isinstance(found, Entry):
                entry, value = reader.open(found)
        except ProviderUnavailable:
            pass
        except BaseException:  # cancelled: it was a call all the same
            reader.done("miss", key, None)
            raise
        return None, await reader.read(self._call(values, key), driver, (came, entry, value))


def _hits(reader: Reader) -> Hits | None:
    """Return the shortest way to the entries, for as long as the guard lets all pass."""
    policy, region = reader.policy, reader.region
    provider = region.guard.provider
    if not reader.glances or provider.deadline is not None:
        return None
    lone = not (policy.stale or policy.keep or policy.ahead < 1)
    return provider.hits(region.namespace, lone=lone)
