"""
What one app knows about caches: their regions, their readers, and how calls were answered.

A *source* is what owns entries: a decorated function or a `Cache`. The same source has one
reader per namespace, since an inherited method has a namespace for each concrete class.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary, WeakSet

from .app import App, Extension
from .current import default_app
from .drivers import drive
from .errors import InvalidOption, ProviderUnavailable
from .providers.base import CacheProvider
from .providers.memory import MemoryCacheProvider
from .calls import Counts
from .readthrough import Reader
from .region import Region, has_tag

if TYPE_CHECKING:
    from collections.abc import Callable

    from .codecs import Codec
    from .options import Policy


class Source(Protocol):
    """What owns entries."""

    @property
    def identity(self) -> tuple[str, str]:
        """Module and qualified name: the same ones written again replace the source."""
        ...

    @property
    def policy(self) -> Policy:
        """Its options."""
        ...

    def codec(self) -> Callable[[], Codec]:
        """Return what makes its codec; must not hold the source."""
        ...


class Ledger:
    """The caches of one app. It dies with the app."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._lock = threading.RLock()
        self._regions: dict[tuple[str, int], Region] = {}
        self._readers: WeakKeyDictionary[Source, dict[str, Reader]] = WeakKeyDictionary()
        self._counts: WeakKeyDictionary[Source, dict[str, Counts]] = WeakKeyDictionary()
        self._claims: dict[str, weakref.ref[Source]] = {}
        self._mortal: set[str] = set()
        self._local: MemoryCacheProvider | None = None

    def region(self, namespace: str, provider: object, *, local: bool = False) -> Region:
        """Return the region of *namespace* on *provider*, as the option was written."""
        with self._lock:
            guard = self.app.guard(self._local_provider() if local else self._provider(provider))
            key = (namespace, id(guard.provider))
            found = self._regions.get(key)
            if found is None or found.guard is not guard:
                found = self._regions[key] = Region(self.app, namespace, guard)
            return found

    def reader(
        self, source: Source, namespace: str, claim: str, *, local: bool = False
    ) -> Reader:
        """
        Return the reader of *source* in *namespace*.

        *claim* is the name that must be this source's alone. Functions that share a namespace
        have a reader per claim: short cuts look by the arguments, and those are the same.

        Raises:
            InvalidOption: Another function has it.
        """
        held = self._claims.get(claim)
        found = self._readers.get(source, _NONE).get(claim)
        if found is not None and held is not None and held() is source:
            return found
        self._provider(source.policy.provider)  # built before our lock: building takes the app's
        with self._lock:
            region = self.region(namespace, source.policy.provider, local=local)
            self._claim(claim, source, region)
            found = self._readers.get(source, _NONE).get(claim)
            if found is None or found.region is not region:
                found = Reader(region, source.policy, source.codec())
                found.counts = self.counts(source, claim)
                self._readers.setdefault(source, {})[claim] = found
            return found

    def counts(self, source: Source, claim: str) -> Counts:
        """Return how calls of *source* under *claim* were answered; survives a restart."""
        with self._lock:
            return self._counts.setdefault(source, {}).setdefault(claim, Counts())

    def seen(self, source: Source, claim: str | None) -> list[tuple[Counts, Reader | None]]:
        """Return counts and readers of one claim, or of all that *source* has here."""
        with self._lock:
            counts = self._counts.get(source, {})
            readers = self._readers.get(source, _NONE)
            names = list(counts) if claim is None else [claim]
            return [
                (counts[name], readers.get(name)) for name in names if name in counts
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
            for readers in self._readers.values():
                for reader in readers.values():
                    reader.counts.hit += reader.index.close()
            self._readers.clear()

    def forget_regions(self) -> None:
        """The app has stopped: nothing of what it computed is to be found again."""
        with self._lock:
            self.forget_readers()
            for region in self._regions.values():
                region.flights.drop(lambda _: True)
            self._regions.clear()
            self._claims.clear()

    def note_mortal(self, claim: str) -> bool:
        """Note that *claim* dies with an instance; False when that is known."""
        with self._lock:
            if claim in self._mortal:
                return False
            self._mortal.add(claim)
            return True

    def forget(self, source: Source | None, namespace: str, claim: str) -> None:
        """Drop a namespace whose instance has died."""
        with self._lock:
            self._mortal.discard(claim)
            self._claims.pop(claim, None)
            for one in [source] if source is not None else []:
                self._readers.get(one, {}).pop(claim, None)
                self._counts.get(one, {}).pop(claim, None)
            gone = [key for key in self._regions if key[0] == namespace]
            regions = [self._regions.pop(key) for key in gone]
        for region in regions:
            with contextlib.suppress(ProviderUnavailable):
                drive(region.clear(region.guard.blocking))

    def drop_memory(self) -> None:
        """Drop entries that only this process has."""
        for region in self.regions():
            if not region.guard.provider.shared:
                with contextlib.suppress(ProviderUnavailable):
                    drive(region.clear(region.guard.blocking))

    def _claim(self, claim: str, source: Source, region: Region) -> None:
        held = self._claims.get(claim)
        holder = held() if held is not None else None
        if holder is source:
            return
        if holder is not None and holder.identity != source.identity:
            del holder
            gc.collect()  # a function that nobody has any more may still wait for collection
            holder = held() if held is not None else None
            if holder is not None:
                raise name_taken(claim, holder, source)
        self._claims[claim] = weakref.ref(source)
        if held is not None and not region.guard.provider.shared:
            # Written again under the same name, or a new one of another life: what the old
            # function computed is not its value.
            drive(region.clear(region.guard.blocking))

    def _provider(self, written: object) -> CacheProvider:
        option = checked_provider(written)
        if option is None:
            return self.app.get(CacheProvider)
        if isinstance(option, str):
            return self._local_provider()
        return option if isinstance(option, CacheProvider) else self.app.get(option)

    def _local_provider(self) -> MemoryCacheProvider:
        with self._lock:
            if self._local is None:
                self._local = MemoryCacheProvider()
            return self._local


def checked_provider(option: object) -> CacheProvider | type[CacheProvider] | str | None:
    """
    Return the option `provider=`.

    Raises:
        InvalidOption: It is no provider.
    """
    if option is None or isinstance(option, CacheProvider):
        return option
    if option == "memory":
        return "memory"
    if isinstance(option, type) and issubclass(option, CacheProvider):
        return option
    msg = f"provider={option!r}: expected a CacheProvider, its class, or 'memory'."
    raise InvalidOption(msg)


_NONE: dict[str, Reader] = {}


def name_taken(claim: str, holder: Source, source: Source) -> InvalidOption:
    """Return the error of two owners of one name."""
    name = claim.replace("\n", " ")
    msg = (
        f"the name {name!r} belongs to {'.'.join(holder.identity)}, and "
        f"{'.'.join(source.identity)} wants it too: each would be served the other's values. "
        "Give one of them another name=, or declare one Cache and decorate both with it."
    )
    return InvalidOption(msg)


def ledger_of(app: App) -> Ledger:
    """Return the ledger of *app*."""
    found = app.extras.get("caches")
    if found is None:
        found = app.extras.setdefault("caches", Ledger(app))
    assert isinstance(found, Ledger)  # noqa: S101  # nobody else writes it
    return found


# Short cuts: which wrapper may answer from which index


class Shortcut:
    """
    The connection of one generated wrapper to the index of one reader.

    *scope* are the globals of the wrapper. A wrapper is connected when a slow call finds that
    it may be, and all are disconnected when an app starts, stops or changes how it answers.
    """

    __slots__ = ("__weakref__", "_names", "scope")

    def __init__(self, scope: dict[str, object], names: dict[str, str]) -> None:
        self.scope = scope
        self._names = names
        self._set({}, None)

    def connect(self, reader: Reader, moment: int) -> None:
        """Answer from *reader*, unless something changed since *moment*."""
        with _shortcuts_lock:
            if moment == _moment[0]:
                self._set(reader.index.entries, reader)
                _connected.add(self)

    def disconnect(self) -> None:
        """Answer nothing."""
        self._set({}, None)

    def _set(self, index: object, reader: Reader | None) -> None:
        names = self._names
        if reader is not None:
            self.scope[names["now"]] = reader.region.clock.now
            self.scope[names["book"]] = getattr(reader.region.guard.provider, "book", None)
        self.scope[names["index"]] = index


_shortcuts_lock = threading.RLock()  # garbage may be collected anywhere, and call back
_connected: WeakSet[Shortcut] = WeakSet()
_moment = [0]


def moment() -> int:
    """Return the number of the last change; see `Shortcut.connect`."""
    return _moment[0]


def disconnect_all() -> None:
    """Let every call take the long way once more."""
    with _shortcuts_lock:
        _moment[0] += 1
        for shortcut in list(_connected):
            shortcut.disconnect()
        _connected.clear()


class LedgerExtension(Extension):
    """Keeps the ledgers in step with the lives of their apps."""

    def opened(self, app: App) -> None:
        disconnect_all()
        _drop_default(app)

    def changed(self, app: App, *, provider: bool) -> None:
        disconnect_all()
        if provider:
            ledger_of(app).forget_readers()

    def closed(self, app: App) -> None:
        disconnect_all()
        ledger_of(app).forget_regions()
        _drop_default(app)

    async def invalidate_tags(self, app: App, tags: frozenset[str], *, blocking: bool) -> None:
        ledger = ledger_of(app)
        guards = {id(app.guard(app.get(CacheProvider))): app.guard(app.get(CacheProvider))}
        guards |= {id(guard): guard for guard in app.guards}
        problem: ProviderUnavailable | None = None
        try:
            for guard in guards.values():
                ops = guard.blocking if blocking else guard.waiting
                try:
                    await ops.invalidate_tags(None, tags)
                except ProviderUnavailable as error:
                    problem = error
        finally:
            for region in ledger.regions():
                region.flights.drop(lambda flight: has_tag(flight, tags))
        app.listeners.emit("invalidate", "", ", ".join(sorted(tags)))
        if problem is not None:
            raise problem


def _drop_default(app: App) -> None:
    # Who served the unbound caches so far does not serve them any more, or does again.
    if not app.is_default:
        ledger_of(default_app()).drop_memory()
