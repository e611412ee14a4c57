"""
One decorated function: its calls, and everything else that can be done with its entries.

The methods are coroutines with a driver. `Cached` awaits them on the loop, `SyncCached` steps
them in the thread; nothing is written twice.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from ..computing.calls import Call
from ..entries.shelf import refuse_unfit
from ..entry import MISSING
from ..keys.patterns import compile_pattern
from ..leading import past_the_cache
from ..services.current import only_one_app
from ..services.listed import Stats
from .ledger import ledger_of
from .report import Explanation, explain
from .route import Route
from .shortcuts import moment
from .site import UNBOUND, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..app import App
    from ..computing.calls import Answer, Counts
    from ..computing.drivers import Driver
    from ..entries.region import Region
    from ..readthrough import Reader
    from ..shape import Values
    from .shortcuts import Shortcut
    from .site import Place


class Definition(Site):
    """A decorated function."""

    # Calls

    def call_maker(self, place: Place) -> Callable[[Values, str], Call]:
        """
        Return what makes a call as the path needs to know it, of its arguments and its key.

        What is the same for all calls there is looked at once.
        """
        shape, first, instance, rule = self.shape, place.first, place.instance, self.tag_rule
        tags, tagged, run = rule.fixed, rule.any, shape.function
        by_position = shape.by_position
        quick = self.quick and not place.claim.local and (not first or self._unkeyed(place))
        quick_key_of, only = shape.quick_key, shape.only_type if quick else None

        def make(values: Values, key: str) -> Call:
            quick_key: object = None
            if only is not None and type(values[0]) is only:
                quick_key = values[0]  # what quick_key_of would say, as mostly
            elif quick:
                quick_key = quick_key_of(values)
            if tags is not None:
                early, late = tags, None
            else:
                early, late = rule.early(values, instance), rule.late(values)
            if by_position:
                args = (*first, *values) if first else values
                return Call(key, run, early, late, args, quick_key, tagged)
            return Call(key, shape.call, early, late, (values, first), quick_key, tagged)

        return make

    def _unkeyed(self, place: Place) -> bool:
        return not hasattr(type(place.instance), "__cache_key__") or self.kind == "class"

    async def answer(
        self, instance: object, values: Values, driver: Driver, shortcut: Shortcut | None = None
    ) -> tuple[object, Answer | None]:
        """Answer a call with a value, or with an answer for the caller to unwrap."""
        now = moment()
        place = self.place(instance)
        if not place.app.running or not self.policy.is_enabled():
            ledger_of(place.app).bypassed(self, place.claim)
            return None, await self._past(place, values, driver)
        route = Route(self.reader(place), self.key_maker(place), self.call_maker(place))
        found = await route.answer(values, driver)
        if shortcut is not None and self._stays_the_same(place, instance):
            shortcut.connect(route, now, quick=self._may_connect(place, route.reader))
        return found

    def _stays_the_same(self, place: Place, instance: object) -> bool:
        """The next call goes the same way, unless something starts, stops or changes."""
        return (
            self.policy.enabled is True
            and not place.claim.local
            and (not place.first or self._unkeyed(place))
            and (instance is not UNBOUND or only_one_app())
        )

    def _may_connect(self, place: Place, reader: Reader) -> bool:
        """The short cut may answer; only where the way there stays the same."""
        looks = reader.region.guard.down or place.app.listeners.wants("hit")
        return self.quick and reader.quick and not looks

    async def _past(self, place: Place, values: Values, driver: Driver) -> Answer:
        key, run = partial(self.key, place, values), partial(self.shape.call, values, place.first)
        return await past_the_cache(place.app, key, run, driver)

    # Controls

    def _where(
        self, instance: object, args: Values, kwargs: Mapping[str, object], change: str = ""
    ) -> tuple[Place, Values]:
        instance, args = self.receiver(instance, args)
        place = self.place(instance)
        values = self.shape.bind(args, kwargs)
        if change:
            place.app.must_run(f"{self.title}.{change}()")
        return place, values

    def receiver(self, instance: object, args: Values) -> tuple[object, Values]:
        """Take `self` or `cls` off the front of *args*, where no instance is bound."""
        if self.kind == "function" or instance is not UNBOUND:
            return instance, args
        if self.guessed and self.is_static(args):
            self.set_kind("function")
            return instance, args
        if not args and self.kind == "class":
            return UNBOUND, args
        if not args:
            msg = (
                f"{self.title}: expected the instance as the first argument. "
                "Call it on an instance, or pass one."
            )
            raise TypeError(msg)
        return args[0], args[1:]

    def key_of(self, instance: object, args: Values, kwargs: Mapping[str, object]) -> str:
        """Return the text of the key of a call."""
        place, values = self._where(instance, args, kwargs)
        return self.key(place, values)

    async def invalidate(
        self, instance: object, args: Values, kwargs: Mapping[str, object], driver: Driver
    ) -> None:
        """Drop the entry of a call."""
        place, values = self._where(instance, args, kwargs, "invalidate")
        region = self.reader(place).region
        await region.drop(driver.ops(region.guard), [self.key(place, values)])

    async def expire(
        self, instance: object, args: Values, kwargs: Mapping[str, object], driver: Driver
    ) -> None:
        """Make the entry of a call stale."""
        place, values = self._where(instance, args, kwargs, "expire")
        region = self.reader(place).region
        await region.expire(driver.ops(region.guard), self.key(place, values))

    async def refresh(
        self, instance: object, args: Values, kwargs: Mapping[str, object], driver: Driver
    ) -> Answer:
        """Compute now, and store."""
        place, values = self._where(instance, args, kwargs)
        if not place.app.running or not self.policy.is_enabled():
            return await self._past(place, values, driver)  # it is no call: not counted anywhere
        call = self.call_maker(place)(values, self.key(place, values))
        return await self.reader(place).refresh(call, driver)

    async def peek(
        self, instance: object, args: Values, kwargs: Mapping[str, object], driver: Driver
    ) -> object:
        """Return the cached value, or MISSING."""
        place, values = self._where(instance, args, kwargs)
        if not place.app.running:
            return MISSING
        return await self.reader(place).peek(self.key(place, values), driver)

    async def store(
        self,
        instance: object,
        value: object,
        args: Values,
        kwargs: Mapping[str, object],
        driver: Driver,
    ) -> None:
        """Write *value* as the result of a call."""
        place, values = self._where(instance, args, kwargs, "store")
        refuse_unfit(value, self.title)  # before a callable of tags gets it
        late = self.tag_rule.late(values)
        tags = self.tag_rule.early(values, place.instance)
        if late is not None:
            tags |= late(value)
        await self.reader(place).write({self.key(place, values): value}, driver, tags=tags)

    async def invalidate_matching(self, instance: object, pattern: str, driver: Driver) -> None:
        """Drop what matches *pattern*."""
        place = self.place(instance)
        place.app.must_run(f"{self.title}.invalidate_matching()")
        matches = compile_pattern(pattern)
        for region, head in self._regions(place, instance, place.head or place.claim.prefix):
            ops = driver.ops(region.guard)
            await region.invalidate_matching(ops, pattern, matches, head)

    async def clear(self, instance: object, driver: Driver) -> None:
        """Drop everything of this function."""
        place = self.place(instance)
        place.app.must_run(f"{self.title}.clear()")
        pattern = self.key_rule.pattern() if self.root is not None else None
        if pattern is not None and self.policy.vary:
            pattern += "*"
        for region, head in self._regions(place, instance, place.head):
            ops = driver.ops(region.guard)
            if pattern is None and not head:
                await region.clear(ops)
            else:
                every = pattern or "*"
                await region.invalidate_matching(ops, every, compile_pattern(every), head)

    def _regions(self, place: Place, instance: object, head: str) -> list[tuple[Region, str]]:
        """Return where to drop: on the class itself also what subclasses and instances have."""
        found = {(self.reader(place).region, head)}
        if instance is UNBOUND and self.kind == "method":
            for _, readers in ledger_of(place.app).seen(self, None):
                found |= {(reader.region, reader.prefix) for reader in readers}
        return list(found)

    async def explain(
        self, instance: object, args: Values, kwargs: Mapping[str, object], driver: Driver
    ) -> Explanation:
        """Say how a call would be answered now."""
        place, values = self._where(instance, args, kwargs)
        key = self.key(place, values)
        if not place.app.running:
            return Explanation("miss", key, place.namespace, f"{place.app!r} does not run")
        if not self.policy.is_enabled():
            return Explanation("miss", key, place.namespace, "enabled= says no")
        return await explain(self.reader(place), key, driver)

    def stats(self, instance: object, app: App | None = None) -> Stats:
        """Return live numbers: of one instance's class, or of all of them."""

        def seen() -> list[tuple[Counts, list[Reader]]]:
            place = self.place(instance, app)
            everywhere = self.kind != "function" and instance is UNBOUND
            return ledger_of(place.app).seen(self, None if everywhere else place.claim.name)

        def entries() -> int:
            place = self.place(instance, app)
            if not place.app.running:
                return 0
            readers = [reader for _, readers in seen() for reader in readers]
            head = "" if place.instance is None else place.head
            held = {(reader.region, head or reader.prefix) for reader in readers}
            return sum(region.guard.provider.count(region.namespace, head) for region, head in held)

        return Stats(seen, entries)


named_functions: WeakSet[Definition] = WeakSet()
"""Functions of modules that have a name of their own."""
