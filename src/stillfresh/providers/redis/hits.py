"""
The short way of a hit: a function is called, one read goes out, its reply is simply fresh.

It is `Reading.glance` without its layers, for a loop on which there is a connection. The rare
cases (no connection yet, a cluster, tags that were not known) are left to `Reading.glance`.

An entry with one window is read without the life that it has left: the server drops it when the
window is over. But the server cannot tell how long its reply is under way. That may be a hundredth
of the window, and an entry that lives for less than a second is read with its life. After an entry
that was not as expected, the next reads ask for the life at once.
See docs/decisions/0100.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

from ..base import Address
from .frame import fresh_value, lone_value

if TYPE_CHECKING:
    from ...entry import Entry
    from .reading import Reading

_new = tuple.__new__
_AGAIN: Final = 1_000


class Hits:
    """Reads of one namespace. *lone* says that its entries have one window, as a rule."""

    __slots__ = ("_ask_life", "_head", "_namespace", "_provider")

    def __init__(self, provider: Reading, namespace: str, *, lone: bool) -> None:
        self._provider = provider
        self._namespace = namespace
        self._head = provider.names.head(namespace)
        self._ask_life = 0 if lone else inf
        """For how many more reads the life is asked for at once."""

    async def glance(self, key: str) -> bytes | Entry | None:
        """As `CacheProvider.glance`."""
        provider = self._provider
        link = provider.link()
        if link is None:
            return await provider.glance(Address(self._namespace, key))
        tags, markers = provider.tags_seen, None
        if tags:
            markers = tags.get(_new(Address, (self._namespace, key)))
        name = self._head.packed(key)
        if self._ask_life:
            self._ask_life -= 1
            now = provider.now()
            left, found = replies = await link.fetch(name, markers, life=True)
            value = fresh_value(left, found, provider.now() - now, markers)
            if value is not None:
                return value
            return await provider.looked(Address(self._namespace, key), markers, replies, now)
        asked = monotonic()
        found = await link.fetch(name, markers)
        value = None
        if markers is not None:
            value = fresh_value(None, found, monotonic() - asked, markers)
            if value is None and provider.dropped(Address(self._namespace, key), markers, found):
                return None
            found = found[0]
        elif found.__class__ is bytes:
            value = lone_value(found, monotonic() - asked)
        if value is not None or found is None:
            return value
        address = Address(self._namespace, key)
        if found.__class__ is bytes and not provider.learn(address, found, markers):
            self._ask_life = (
                _AGAIN  # there are more like this one, and each would be asked for twice
            )
        return await provider.glance(address)
