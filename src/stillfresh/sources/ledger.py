"""
What one app knows about caches: their regions, their readers, and how calls were answered.

The same source has one reader per namespace, since an inherited method has a namespace for each
concrete class.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..app import App, Extension, registry
from ..computing.calls import Counts
from ..computing.drivers import drive
from ..entries.region import Region
from ..errors import ProviderUnavailable, StillfreshError
from ..events import log
from ..forks import free_in_child
from ..providers.base import CacheProvider
from ..providers.memory import MemoryCacheProvider
from ..readthrough import Reader
from ..services.current import default_app
from .claims import elsewhere, name_taken
from .shortcuts import disconnect_all

if TYPE_CHECKING:
    from ..providers.base import ProviderOption
    from .claims import Claim, Source


class Holder:
    """Somebody who has a name."""

    __slots__ = ("number", "reference", "source")

    def __init__(self, holder: object, source: Source, number: int) -> None:
        self.reference: weakref.ref[Any] = weakref.ref(holder)
        self.source = weakref.ref(source)
        self.number = number


class Ledger:
    """
    The caches of one app. It dies with the app.

    A name belongs to one function. When it is written again (a reload, a notebook, a function
    that makes functions), the new one is another holder of the same name. As long as the old
    one lives, the entries in this process are kept apart by a number behind the namespace:
    nobody is served what another function has computed.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self._lock = free_in_child()
        self._regions: dict[tuple[str, int], Region] = {}
        self._readers: WeakKeyDictionary[Source, dict[Held, Reader]] = WeakKeyDictionary()
        self._counts: WeakKeyDictionary[Source, dict[str, Counts]] = WeakKeyDictionary()
        self._holders: dict[str, list[Holder]] = {}
        self._taken: set[str] = set()
        """Names that get another holder at this moment."""
        self._mortal: set[str] = set()
        self._warned: set[str] = set()
        self._dying: deque[tuple[Source | None, Claim]] = deque()
        self._local: MemoryCacheProvider | None = None
        self.stores: dict[Source, Any] = {}
        """The stores that were declared, as this app has them and its services see them."""

    def reader(self, source: Source, claim: Claim) -> Reader:
        """
        Return the reader of *source* under its *claim*.

        Raises:
            InvalidOption: Another function has the name.
        """
        found = self._readers.get(source, _NONE).get((claim.name, self._number(claim)))
        if found is not None:
            return found
        if self._dying:
            with self._lock:
                while self._dying:
                    self.forget(*self._dying.popleft())
        by = f"the first use of {'.'.join(source.identity)}"
        self._provider(source.policy.provider, by)  # before our lock: building takes the app's
        with self._lock:
            number = self._hold(claim, source)
            found = self._readers.get(source, _NONE).get((claim.name, number))
            if found is None:
                region = self._region(claim, number, source.policy.provider)
                found = reader_for(region, source, local=claim.local)
                found.packer.lasting = source.lasting
                found.prefix = claim.prefix
                found.counts = self.counts(source, claim.name)
                self._readers.setdefault(source, {})[claim.name, number] = found
            return found

    def bypassed(self, source: Source, claim: Claim) -> None:
        """Count a call that goes past the cache, and tell the listeners."""
        self.counts(source, claim.name).add("bypass")
        self.app.listeners.emit("bypass", claim.namespace)

    def start_provider(self, option: ProviderOption | None) -> None:
        """
        Start a provider that is named with `provider=`.

        Also before its first entry is asked for here: what other processes have stored on it
        must be reached when a tag is dropped.
        """
        if option is not None:
            self.app.guard(self._provider(option, "a cache with provider="))

    def counts(self, source: Source, name: str) -> Counts:
        """Return how calls of *source* under *name* were answered; survives a restart."""
        with self._lock:
            return self._counts.setdefault(source, {}).setdefault(name, Counts())

    def seen(self, source: Source, name: str | None) -> list[tuple[Counts, list[Reader]]]:
        """Return counts and readers under one name, or under all that *source* has here."""
        with self._lock:
            counts = self._counts.get(source, {})
            readers = self._readers.get(source, _NONE)
            # Copies: a collection of garbage in between may end in `forget`.
            return [
                (counted, [reader for held, reader in list(readers.items()) if held[0] == one])
                for one, counted in list(counts.items())
                if name in {None, one}
            ]

    def sources(self) -> list[Source]:
        """Return whatever was used here."""
        with self._lock:
            return list(self._counts)

    def regions(self) -> list[Region]:
        """Return the regions that were used here."""
        with self._lock:
            return list(self._regions.values())

    def forget_readers(self) -> None:
        """Resolve providers anew from now on, and let no short cut answer."""
        with self._lock:
            # Copies: a collection of garbage in between may end in `forget`.
            for readers in list(self._readers.values()):
                for reader in list(readers.values()):
                    reader.forgotten = True
                    reader.counts.hit += reader.index.close()
            self._readers.clear()

    def forget_regions(self) -> None:
        """The app has stopped: nothing of what it computed is to be found again."""
        with self._lock:
            self.forget_readers()
            for region in list(self._regions.values()):
                region.flights.drop(lambda _: True)
            self._regions.clear()
            self._holders.clear()

    def note_mortal(self, name: str) -> bool:
        """Note that *name* dies with an instance; False when that is known."""
        with self._lock:
            if name in self._mortal:
                return False
            self._mortal.add(name)
            return True

    def forget(self, source: Source | None, claim: Claim) -> None:
        """
        Drop a claim whose instance has died.

        A collection of garbage may call this anywhere, also where a lock of a provider is
        held. So it never waits for ours:

            1. thread A    holds the provider's lock; garbage is collected, forget() comes
            2. thread B    holds our lock, and waits for the provider's
        """
        if not self._lock.acquire(blocking=False):
            self._dying.append((source, claim))
            return
        try:
            self._mortal.discard(claim.name)
            self._holders.pop(claim.name, None)
            if source is not None:
                counts = self._counts.get(source, {})
                if claim.name in counts:  # the sum over all instances goes on
                    counts.setdefault("", Counts()).take(counts.pop(claim.name))
                readers = self._readers.get(source, {})
                for held in [held for held in readers if held[0] == claim.name]:
                    del readers[held]
            gone = [key for key in self._regions if key[0] == claim.namespace]
            regions = [self._regions.pop(key) for key in gone]
        finally:
            self._lock.release()
        for region in regions:
            self._clear(region)

    def drop_memory(self) -> None:
        """Drop entries that only this process has."""
        for region in self.regions():
            if not region.guard.provider.shared:
                self._clear(region)

    @staticmethod
    def _clear(region: Region, prefix: str = "") -> None:
        ops = region.guard.blocking
        with contextlib.suppress(ProviderUnavailable):
            if prefix:
                drive(region.invalidate_matching(ops, "*", lambda _: True, prefix))
            else:
                drive(region.clear(ops))

    def _region(self, claim: Claim, number: int, provider: ProviderOption | None) -> Region:
        # Whoever comes first has it resolved before.
        guard = self.app.guard(
            self._local_provider() if claim.local else self._provider(provider, claim.name)
        )
        namespace = claim.namespace
        if claim.own_space and not guard.provider.shared:
            namespace = _numbered(namespace, number)
        elif claim.own_space and number and namespace not in self._warned:
            self._warned.add(namespace)
            log.warning(
                "%s: two functions that are both in use have this name, as lambdas and functions "
                "made by a function have. On a shared provider each is served what the other one "
                "has stored: give each of them a name=.",
                namespace,
            )
        key = (namespace, id(guard.provider))
        found = self._regions.get(key)
        if found is None or found.guard is not guard:
            found = self._regions[key] = Region(self.app, namespace, guard)
        return found

    def _number(self, claim: Claim) -> int:
        """Return the number under which the holder has the name, -1 if it does not have it."""
        if claim.name in self._taken:
            return -1
        for holder in self._holders.get(claim.name, ()):
            if holder.reference() is claim.holder:
                return holder.number
        return -1

    def _hold(self, claim: Claim, source: Source) -> int:
        """Give the holder the name, and return its number: 0 if no other one lives."""
        number = self._number(claim)
        if number >= 0:
            return number
        had = self._holders.get(claim.name, [])
        if _stranger(had, source) is not None:
            gc.collect()  # a function that nobody has any more may still wait for collection
            stranger = _stranger(had, source)
            if stranger is not None:
                raise name_taken(claim.name, stranger, source)
        living = [one for one in had if one.reference() is not None]
        number = max((one.number for one in living), default=-1) + 1
        if not claim.own_space:  # the store's namespace cannot be left: one after the other
            living, number = [], 0
        mine = Holder(claim.holder, source, number)
        try:
            if had:
                self._taken.add(claim.name)  # all who had it ask again, and wait for our lock
                disconnect_all()
                if source.computes:
                    self._clear_away(claim, number)
            self._holders[claim.name] = [*living, mine]
        finally:
            self._taken.discard(claim.name)
        return number

    def _clear_away(self, claim: Claim, number: int) -> None:
        """Drop the entries that whoever had the number before has left."""
        mine = _numbered(claim.namespace, number)
        for (namespace, _), region in list(self._regions.items()):
            if namespace == mine and not region.guard.provider.shared:
                self._clear(region, "" if claim.own_space else claim.prefix)

    def _provider(self, option: ProviderOption | None, by: str) -> CacheProvider:
        if option is None:
            return self.app.get(CacheProvider, by=by)
        if isinstance(option, str):
            return self._local_provider()
        return option if isinstance(option, CacheProvider) else self.app.get(option, by=by)

    def _local_provider(self) -> MemoryCacheProvider:
        with self._lock:
            if self._local is None:
                self._local = MemoryCacheProvider()
            return self._local


def reader_for(region: Region, source: Source, *, local: bool) -> Reader:
    """Return a reader, with a near tier where there is to be one."""
    policy, tier = source.policy, region.guard.tier
    if tier is not None:
        memory = tier.default if policy.memory is None else policy.memory
        if memory:
            from ..nearby import NearReader  # with the first near tier

            return NearReader(region, policy, source.codec(), tier, memory)
    return Reader(region, policy, source.codec(), local=local)


Held = tuple[str, int]
"""A name, and the number of its holder."""

_NONE: dict[Held, Reader] = {}


def _numbered(namespace: str, number: int) -> str:
    return f"{namespace}~{number}" if number else namespace


def _stranger(holders: list[Holder], source: Source) -> Source | None:
    """Return somebody who lives, has the name, and is not an older version of *source*."""
    for holder in holders:
        other = holder.source() if holder.reference() is not None else None
        if other is not None and not source.goes_with(other):
            return other
    return None


def ledger_of(app: App) -> Ledger:
    """Return the ledger of *app*."""
    found = app.extras.get("caches")
    if found is None:
        found = app.extras.setdefault("caches", Ledger(app))
    assert isinstance(found, Ledger)  # noqa: S101  # nobody else writes it
    return found


class LedgerExtension(Extension):
    """Keeps the ledgers in step with the lives of their apps."""

    def opened(self, app: App) -> None:
        ledger_of(app).forget_regions()  # a call that was let in before the stop may have made one
        disconnect_all()
        _drop_default(app)

    def changed(self, app: App, *, provider: bool) -> None:
        # In this order. The other way round:
        #     1. override()   disconnects all short cuts
        #     2. a call       finds the old reader, and connects its short cut to it
        #     3. override()   forgets the old reader, and returns; the short cut stays
        if provider:
            ledger_of(app).forget_readers()
        disconnect_all()

    def closed(self, app: App) -> None:
        disconnect_all()
        ledger_of(app).forget_regions()
        _drop_default(app)

    async def invalidate_tags(self, app: App, tags: frozenset[str], *, blocking: bool) -> None:
        ledger = ledger_of(app)
        problem: Exception | None = None
        app.guard(
            app.get(CacheProvider, by="invalidate_tags()")
        )  # also where nothing was asked of it yet
        # Beside apps that run the default app serves none of them, and would never let go again.
        for source in [] if app.is_default and registry.running else list(elsewhere):
            try:
                ledger.start_provider(source.policy.provider)
            except StillfreshError as error:
                problem = error  # what can be reached is dropped all the same
        for guard in app.guards:
            ops = guard.blocking if blocking else guard.waiting
            try:
                await ops.invalidate_tags(None, tags)
            except ProviderUnavailable as error:
                problem = error
            finally:
                for region in ledger.regions():
                    if region.guard is guard:
                        await region.leave_tagged(ops, tags)
        if problem is not None:
            raise problem
        app.listeners.emit("invalidate", "", ", ".join(sorted(tags)))


def _drop_default(app: App) -> None:
    # Who served the unbound caches so far does not serve them any more, or does again.
    if not app.is_default:
        ledger_of(default_app()).drop_memory()
