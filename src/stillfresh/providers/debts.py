"""
Changes that failed, or whose outcome is unknown: they are owed.

Not more than a bounded number is remembered one by one. Where there are more, whole namespaces are
owed instead; where these are too many, or tags of all namespaces, everything.

A process owes, not an app:

    1. app A    invalidates k; the server does not hear of it; the call raises
    2. app B    has the same entries, and reads k: it must not get what A dropped

For the same reason what one app changes is forgotten by the near tiers of all of them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet, ref

from ..errors import InvalidOption
from ..events import log
from ..forks import free_in_child
from .tier import Tier, tier_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .base import CacheProvider

MOST_REMEMBERED: Final = 10_000
_SHOWN: Final = 10

Change = tuple[Any, ...]
"""The name of an operation and its arguments, to be carried out again."""


class Debts:
    """What is owed, in the order in which it came."""

    def __init__(self, *, clears_all: bool) -> None:
        self._clears_all = clears_all
        """Everything can be dropped in one operation."""
        self._lock = free_in_child()
        self._owed: dict[Change, object] = {}
        """Each with a mark of its own, so that one that is owed anew is not taken for paid."""

    def __len__(self) -> int:
        return len(self._owed)

    def __str__(self) -> str:
        """Name operations and caches, and no key: in one there may be what is no log's affair."""
        with self._lock:
            counted = Counter(place for change in self._owed for place in _places(change))
        shown = [f"{count} {where}" for where, count in counted.most_common(_SHOWN)]
        return ", ".join(shown) + (" and more" if len(counted) > _SHOWN else "")

    def tell(self, name: str) -> None:
        """Say that the provider *name* is owed this for good, if anything is owed."""
        if self._owed:
            message = "%s did not carry out %d changes; others may serve what they drop: %s"
            log.error(message, name, len(self), self)

    def marked(self) -> list[tuple[Change, object]]:
        """Return what is owed now, each with its mark."""
        with self._lock:
            return list(self._owed.items())

    def add(self, change: Change) -> None:
        """Owe *change*, anew if it was owed already."""
        with self._lock:
            self._owed[change] = object()
            if len(self._owed) > MOST_REMEMBERED:
                self._owed = {change: object() for change in self._summary()}

    def paid(self, change: Change, mark: object) -> None:
        """Forget *change*, unless it is owed anew."""
        with self._lock:
            if self._owed.get(change) is mark:
                del self._owed[change]

    def _summary(self) -> list[Change]:
        """Return fewer changes that drop as much, or more; never less."""
        changes: dict[Change, None] = {}
        for change in self._owed:
            match change:
                case ("drop", addresses):
                    for address in addresses:
                        changes["clear", address.namespace] = None
                case ("expire", address):
                    changes["clear", address.namespace] = None
                case ("invalidate_tags", str() as scope, _):
                    changes["clear", scope] = None
                case (("clear" | "invalidate_matching"), namespace, *_):
                    changes["clear", namespace] = None
                case _:
                    changes[change] = None
        if len(changes) > MOST_REMEMBERED and self._clears_all:
            return [("clear_all",)]
        return list(changes)


def _places(change: Change) -> set[str]:
    match change:
        case ("drop", addresses):
            return {f"drop in {address.namespace!r}" for address in addresses}
        case ("expire", address):
            return {f"expire in {address.namespace!r}"}
        case (name, str() as namespace, *_):
            return {f"{name} in {namespace!r}"}
        case (name, *_):
            return {f"{name} in all caches"}
        case _:
            return set()


class Debtor:
    """What stands in front of *provider*, and owes it changes: what one owes, all owe."""

    def __init__(self, provider: CacheProvider) -> None:
        self.provider = provider
        self.debts = Debts(clears_all=provider.clears_all)
        """Changes that failed, or whose outcome is unknown; they come before any read."""
        self.tiers: tuple[ref[Tier], ...] = ()
        """Where this process keeps the same entries decoded: its own near tier, and others'."""
        self._on_debt: Callable[[], object] = int
        self.identity: Hashable = None
        """What the provider said when this one joined: it may be others' code."""

    def join(self, on_debt: Callable[[], object]) -> None:
        """
        Owe what others owe to the same entries, now and from now on, until `leave`.

        In memory a short cut looks at no guard: *on_debt* is called when it has to.

        Raises:
            InvalidOption: The identity of the provider is not hashable.
        """
        identity = self.provider.identity
        try:
            hash(identity)
        except TypeError as error:
            msg = (
                f"{self.provider!r}.identity is {identity!r}: expected something hashable, equal "
                "for providers with the same entries. Return a str, or a tuple of texts."
            )
            raise InvalidOption(msg) from error
        self.identity = identity
        if not self.provider.shared:
            self._on_debt = on_debt
        with _joining:
            _joined.add(self)
            _introduce()
        for other in self._others():
            for change, _ in other.debts.marked():
                self.note_debt(change)

    def leave(self) -> None:
        """Owe alone from now on."""
        with _joining:
            _joined.discard(self)
            _introduce()

    def forget(self, change: Change) -> None:
        """
        Let the near tiers of this process drop what *change* is about.

            1. app A    invalidates k: it goes from the server
            2. app B    has k near, and has not heard of it yet; it must not be served there
        """
        for found in self.tiers:
            tier = found()
            if tier is not None:
                tier.forget(change)

    def owe(self, change: Change) -> None:
        """Remember a change that failed, or whose outcome is unknown."""
        self.note_debt(change)
        for other in self._others():
            other.note_debt(change)

    def note_debt(self, change: Change) -> None:
        """Remember *change*, whoever made it; carried out twice it drops no more than once."""
        self.debts.add(change)
        self.look_first()
        self._on_debt()

    def look_first(self) -> None:
        """Let nothing pass any more before what is owed."""

    def _others(self) -> list[Debtor]:
        with _joining:
            joined = list(_joined)
        return [one for one in joined if one is not self and one.identity == self.identity]


_joining: Final = free_in_child()
_joined: Final[WeakSet[Debtor]] = WeakSet()


def _introduce() -> None:
    """Tell all who have joined which near tiers there are; others may be gone by now."""
    joined = [(one, one.identity) for one in _joined]
    tiers: dict[Hashable, dict[ref[Tier], None]] = {}
    for one, identity in joined:
        tier = tier_of(one.provider)
        found = tiers.setdefault(identity, {})
        if tier is not None:
            found[ref(tier)] = None
    for one, identity in joined:
        one.tiers = tuple(tiers[identity])
