"""
The way of the calls of a function to one of its places.

It is made where the app runs, and kept by a generated wrapper until something starts, stops or
changes (see `shortcuts`). A hit on a provider that other processes share ends here: one read,
sent after the caller came, and the entry is simply fresh. Whatever else was found is handed to
the path, which decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..entry import MISSING
from ..errors import ProviderUnavailable
from ..singleflight import tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..computing.calls import Answer, Call
    from ..computing.drivers import Driver
    from ..entry import Entry
    from ..readthrough import Reader
    from ..shape import Values


class Route:
    """
    Where calls go, as long as nothing changes that.

    *key* makes the text of the key from the arguments of a call; *call* makes what the path
    needs to know, from them and that text.
    """

    __slots__ = ("_call", "_key", "reader")

    def __init__(
        self,
        reader: Reader,
        key: Callable[[Values], str],
        call: Callable[[Values, str], Call],
    ) -> None:
        self.reader = reader
        self._key = key
        self._call = call

    async def answer(self, values: Values, driver: Driver) -> tuple[object, Answer | None]:
        """Answer a call with a value, or with an answer for the caller to unwrap."""
        reader, key = self.reader, self._key(values)
        came = tick()
        region = reader.region
        entry: Entry | None = None
        value: object = MISSING
        try:
            if not reader.glances:
                entry, value = await reader.look(key, driver)
            else:
                ops = region.guard.waiting if driver.suspends else region.guard.blocking
                found = await ops.glance(region.address(key))
                if not isinstance(found, bytes):
                    entry, value = reader.open(found)
                elif (value := reader.packer.read(found)) is not MISSING:
                    reader.counts.hit += 1
                    region.listeners.emit("hit", region.namespace, key)
                    return reader.packer.hand_out(value), None
        except ProviderUnavailable:
            pass
        except BaseException:  # cancelled: it was a call all the same
            reader.done("miss", key, None)
            raise
        return None, await reader.read(self._call(values, key), driver, (came, entry, value))
