"""
A near tier in the words of the cache: addresses, tags, and changes by hand.

`near` knows names only. What a change means for them is said here, for every provider that has
names on a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from ..events import log
from ..keys.patterns import compile_pattern
from ..tags import TagBook
from .base import CacheProvider

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..events import Listeners
    from ..options import MemoryTier
    from ..tags import Scope
    from .base import Address
    from .ears import Ear
    from .near import Near


class Namer(Protocol):
    """What things are called on the server."""

    def value(self, address: Address) -> str:
        """Return where an entry is."""
        ...

    def marker(self, scope: Scope, tag: str) -> str:
        """Return where the version of a tag is."""
        ...


class Tier:
    """
    The near tier of one provider in this process.

    *default* is for functions and stores that say nothing of their own; None: they have none.
    *prefixes* are what all names begin with on which an entry may depend.
    """

    def __init__(
        self, names: Namer, prefixes: tuple[str, ...], default: MemoryTier | None = None
    ) -> None:
        from .near import Near  # with the first server

        self.prefixes = prefixes
        self.near: Near = Near()
        self.default = default
        self.book = TagBook()
        """No tag is ever dropped in it: entries of a tag go at once. Short cuts look at it."""
        self._names = names
        self._refusal = ""
        self._told: WeakSet[Listeners] = WeakSet()

    def names_of(self, address: Address, tags: Iterable[str] = ()) -> list[str]:
        """Return what an entry depends on, its own name first."""
        names, (namespace, _) = self._names, address
        found = [names.value(address)]
        for tag in tags:
            found += (names.marker(namespace, tag), names.marker(None, tag))
        return found

    def forget(self, change: tuple[Any, ...]) -> None:
        """
        Drop what *change* concerns: the name of an operation and its arguments.

        To be called before the operation and after it: what is read in between may be kept in
        between.
        """
        near, names = self.near, self._names
        match change:
            case ("drop", addresses):
                near.changed([names.value(address) for address in addresses])
            case ("expire", address):
                near.changed([names.value(address)])
            case ("invalidate_tags", scope, tags):
                near.changed([names.marker(scope, tag) for tag in tags])
            case ("invalidate_matching", namespace, pattern, prefix):
                fits = compile_pattern(pattern)
                near.changed_keys(namespace, lambda key: key.startswith(prefix) and fits(key))
            case ("clear", namespace):
                near.changed_keys(namespace)
            case _:  # one that is not known here may be about anything
                near.changed_all()

    # Where the server does not push

    def refuse(self, reason: str) -> None:
        """Note that the server does not push; one log line says so."""
        if not self._refusal:
            self._refusal = f"the near tier is off, every hit asks the server: {reason}"
            log.warning("%s", self._refusal)

    def accept(self) -> None:
        """Note that a server pushes, after one that did not: the next refusal is said anew."""
        if self._refusal:
            self._refusal = ""
            self._told = WeakSet()
            log.warning("the near tier is on again: the server pushes")

    def tell_refusal(self, listeners: Listeners) -> None:
        """Tell the listeners of an app once that there is no near tier."""
        if self._refusal and listeners not in self._told:
            self._told.add(listeners)
            listeners.emit("refused", "", None, self._refusal)


class Tiered(CacheProvider):
    """A provider that may have a near tier."""

    tier: Tier | None = None

    def ear(self) -> Ear | None:
        """Return who listens for a read that is about to be sent; None: it must not be kept."""
        return None


def tier_of(provider: CacheProvider) -> Tier | None:
    """Return the near tier of *provider*, if it has one."""
    return provider.tier if isinstance(provider, Tiered) else None
