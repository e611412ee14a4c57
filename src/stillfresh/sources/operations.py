"""What can be done with the entries of a `Cache`, and where they are: its home."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from ..app import registry
from ..computing.calls import Call
from ..computing.computation import computation
from ..entry import MISSING
from ..errors import InvalidOption, UnstableArgument
from ..keys.patterns import compile_pattern
from ..leading import past_the_cache
from ..options import lifetime
from ..services.current import only_one_app, which_app
from ..services.listed import Stats
from ..tags import checked_tags
from .ledger import ledger_of
from .shortcuts import moment
from .site import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..app import App
    from ..computing.calls import Answer, Counts
    from ..computing.drivers import Driver
    from ..readthrough import Reader
    from .definition import Definition
    from .root import Root
    from .site import Place

UNSET: Final[Any] = MISSING


class StoreHome(Protocol):
    """Where the entries of a `Cache` are."""

    @property
    def title(self) -> str:
        """How messages call it."""
        ...

    @property
    def namespace(self) -> str:
        """What is in front of every key."""
        ...

    def what(self) -> tuple[object, ...]:
        """Return what it is over; who has the same is over the same entries."""
        ...

    @property
    def stays(self) -> bool:
        """Whoever calls gets the same app, unless something starts, stops or changes."""
        ...

    def app(self) -> App:
        """Return the app in force."""
        ...

    def reader(self, app: App) -> Reader:
        """Return the reader in that app."""
        ...

    def stats(self) -> Stats:
        """Return live numbers."""
        ...

    def count_bypass(self) -> None:
        """Note that a call went past the cache."""
        ...


class RootHome:
    """The home of a declared `Cache`, bound to the app of an instance or to none."""

    def __init__(self, root: Root, owner: App | None = None) -> None:
        self.root = root
        self._owner = owner

    @property
    def title(self) -> str:
        return self.root.name

    @property
    def namespace(self) -> str:
        return self.root.name

    def what(self) -> tuple[object, ...]:
        return (self.root, self._owner)

    @property
    def stays(self) -> bool:
        return self._owner is not None or only_one_app()

    def app(self) -> App:
        return self._owner or which_app(f"Cache {self.root.name!r}")

    def reader(self, app: App) -> Reader:
        return self.root.reader(app)

    def stats(self) -> Stats:
        """Return live numbers: of the store, and of the functions under it."""

        def seen() -> list[tuple[Counts, list[Reader]]]:
            ledger = ledger_of(self.app())
            found = ledger.seen(self.root, None)
            for source in ledger.sources():
                if isinstance(source, Site) and source.root is self.root:
                    found += ledger.seen(source, None)
            return found

        def count() -> int:
            app = self.app()
            if not app.running:
                return 0
            # Functions may have a provider of their own, and free instances a namespace.
            regions = {reader.region for _, readers in seen() for reader in readers}
            regions.add(self.reader(app).region)
            return sum(region.guard.provider.count(region.namespace) for region in regions)

        return Stats(seen, count)

    def count_bypass(self) -> None:
        ledger_of(self.app()).bypassed(self.root, self.root.own_claim)


class DefinitionHome:
    """The home of the entries of one function; *app* fixes the app, where it is known."""

    def __init__(self, definition: Definition, instance: object, app: App | None = None) -> None:
        self._definition = definition
        self._instance = instance
        self._app = app

    @property
    def title(self) -> str:
        return self._definition.title

    @property
    def namespace(self) -> str:
        return self._place().namespace

    def what(self) -> tuple[object, ...]:
        definition, instance, owner = self._definition, self._instance, self._app
        if definition.kind == "method":
            owner = registry.owner_of(instance) or owner
        if definition.is_in_store(instance, owner):
            return (definition.root, owner)
        return (definition, id(instance), owner)

    @property
    def stays(self) -> bool:
        return False

    def app(self) -> App:
        return self._place().app

    def reader(self, app: App) -> Reader:
        return self._definition.reader(self._place()._replace(app=app))

    def stats(self) -> Stats:
        return self._definition.stats(self._instance, self._app)

    def count_bypass(self) -> None:
        place = self._place()
        ledger_of(place.app).bypassed(self._definition, place.claim)

    def _place(self) -> Place:
        return self._definition.place(self._instance, self._app)


class StoreOperations:
    """What a `Cache` and its `sync` do; the driver makes the difference."""

    def __init__(self, home: StoreHome) -> None:
        self.home = home
        self._known: tuple[int, Reader] | None = None
        """The reader that was found last, and the moment when; see `shortcuts.moment`."""

    def _changing(self, what: str) -> Reader:
        reader = self._reading()
        if reader is not None:
            return reader
        app = self.home.app()
        app.must_run(f"Cache {self.home.title!r}.{what}()")
        return self.home.reader(app)

    def _reading(self) -> Reader | None:
        now, known = moment(), self._known
        if known is not None and known[0] == now and known[1].region.app.running:
            return known[1]
        app = self.home.app()
        if not app.running:
            return None
        reader = self.home.reader(app)
        if self.home.stays:
            self._known = now, reader
        return reader

    async def get(self, driver: Driver, key: str, default: object) -> object:
        name = checked_key(key)
        reader = self._reading()
        if reader is None:
            self.home.count_bypass()
            return default
        value = await reader.get(name, driver)
        return default if value is MISSING else value

    async def get_many(self, driver: Driver, keys: Iterable[str]) -> dict[str, object]:
        names = [checked_key(key) for key in keys]
        reader = self._reading()
        if reader is None:
            for _ in names:  # each is a question
                self.home.count_bypass()
            return {}
        return await reader.get_many(names, driver)

    async def set_many(
        self, driver: Driver, values: Mapping[str, object], ttl: object, tags: Iterable[str]
    ) -> None:
        fresh = None if ttl is UNSET else lifetime(ttl)
        names = checked_tags(tags, "tags")
        for key in values:
            checked_key(key)
        await self._changing("set").write(values, driver, fresh=fresh, tags=names)

    async def set(
        self, driver: Driver, key: str, value: object, ttl: object, tags: Iterable[str]
    ) -> None:
        if tags != () or ttl is not UNSET:
            await self.set_many(driver, {key: value}, ttl, tags)
        else:  # as mostly: as that does, with less to look at
            await self._changing("set").write({checked_key(key): value}, driver)

    async def delete(self, driver: Driver, keys: tuple[str, ...]) -> int:
        names = [checked_key(key) for key in keys]
        region = self._changing("delete").region
        return await region.delete(driver.ops(region.guard), names) if names else 0

    async def invalidate(self, driver: Driver, pattern: str) -> None:
        matches = compile_pattern(checked_key(pattern))
        region = self._changing("invalidate").region
        await region.invalidate_matching(driver.ops(region.guard), pattern, matches)

    async def invalidate_tags(self, driver: Driver, tags: tuple[str, ...]) -> None:
        names = checked_tags(tags, "invalidate_tags")
        region = self._changing("invalidate_tags").region
        await region.invalidate_tags(driver.ops(region.guard), names)

    async def clear(self, driver: Driver) -> None:
        region = self._changing("clear").region
        await region.clear(driver.ops(region.guard))

    async def keys(self, driver: Driver, pattern: str) -> list[str]:
        reader = self._reading()
        if reader is None:
            return []
        region = reader.region
        return await driver.ops(region.guard).keys(region.namespace, checked_key(pattern))

    async def incr(self, driver: Driver, key: str, amount: object) -> int:
        checked_key(key)
        if isinstance(amount, bool) or not isinstance(amount, int):
            msg = f"incr({key!r}, {amount!r}): expected a whole number."
            raise InvalidOption(msg)
        reader = self._changing("incr")
        reader.packer.check_counter(f"Cache {self.home.title!r}")
        ops = driver.ops(reader.region.guard)
        return await reader.region.incr(ops, key, amount, reader.policy.windows())

    async def get_or_set(
        self,
        driver: Driver,
        key: str,
        factory: Callable[[], object],
        ttl: object,
        tags: Iterable[str],
    ) -> Answer:
        if not callable(factory):
            msg = f"get_or_set({key!r}, {factory!r}): expected a function that makes the value."
            raise InvalidOption(msg)
        run = factory if ttl is UNSET else _living(factory, lifetime(ttl))
        call = Call(checked_key(key), run, checked_tags(tags, "tags"))
        reader = self._reading()
        if reader is None or not reader.policy.is_enabled():
            self.home.count_bypass()
            return await past_the_cache(self.home.app(), key, factory, driver)
        return await reader.read(call, driver)


def _living(factory: Callable[[], object], fresh: float) -> Callable[[], object]:
    """Return *factory*, which makes a value that is fresh for so long, if it says nothing else."""

    def made() -> object:
        computation().fresh = fresh
        return factory()

    return made


def checked_key(key: object) -> str:
    """
    Return *key* if it is a text.

    Raises:
        UnstableArgument: It is not.
    """
    if not isinstance(key, str):
        msg = f"key {key!r}: the keys of a store are texts. Write for example f'user:{{user_id}}'."
        raise UnstableArgument(msg, key)
    return key


def flat(keys: tuple[str | Iterable[str], ...]) -> list[str]:
    """Return keys that were given one by one or as one list."""
    first: object = keys[0] if len(keys) == 1 else None
    if isinstance(first, Iterable) and not isinstance(first, str):
        return list(first)
    return [cast("str", key) for key in keys]  # looked at one by one, where they are used
