"""
One decorated function: where its entries are, and everything that can be done with them.

The methods are coroutines with a driver. `Cached` awaits them on the loop, `SyncCached` steps
them in the thread; nothing is written twice.
"""

from __future__ import annotations

import weakref
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from .app import registry
from .codecs import UNGIVEN, codec_for, one_shot_annotation, return_annotation
from .computation import Computation, current_computation
from .current import only_one_app, which_app
from .durations import describe
from .entry import MISSING, Verdict, judge
from .errors import InvalidOption, NotSerializable
from .instances import has_state, serial_of, warn_once
from .keys import encode
from .ledger import ledger_of, moment
from .patterns import compile_pattern, literal_prefix
from .calls import Answer, Call
from .readthrough import Reader
from .report import Explanation, Stats
from .rules import KeyRule, TagRule, vary_text
from .shape import Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .app import App
    from .codecs import Codec
    from .drivers import Driver
    from .ledger import Shortcut
    from .options import Policy
    from .shape import Values

UNBOUND: Final = object()
"""In the place of an instance, where there is none."""


class Home(NamedTuple):
    """A namespace that several functions share: that of a `Cache`."""

    namespace: Callable[[], str]
    source: Any


class Place(NamedTuple):
    """Where the entries of one function are, for one instance."""

    app: App
    namespace: str
    claim: str
    """The name that must be this function's alone."""
    head: str = ""
    """What stands before the arguments in a key."""
    first: Values = ()
    """What `self` or `cls` is."""
    local: bool = False
    """The entries stay in this process's memory, and die with the instance."""

    @property
    def instance(self) -> object:
        """What `self` is in a template."""
        return self.first[0] if self.first else None


class Definition:
    """A function with its options. *home* is the `Cache` under which it was decorated."""

    def __init__(
        self,
        function: Callable[..., object],
        policy: Policy,
        *,
        name: str | None = None,
        key: object = None,
        tags: object = None,
        kind: str = "",
        home: Home | None = None,
    ) -> None:
        self.function = function
        self.policy = policy
        self.explicit_name = name
        self.home = home
        self.owner: type | None = None
        self._key_option, self._tags_option = key, tags
        self.set_kind(kind or _guessed_kind(function))
        reason = one_shot_annotation(function)
        if reason is not None:
            raise NotSerializable(f"{self.title} cannot be cached: {reason}", "return")

    def set_kind(self, kind: str, owner: type | None = None) -> None:
        """Say what it is: a `function`, a `method`, or a `class` method."""
        self.kind = kind
        self.owner = owner or self.owner
        self.shape = Shape(self.function, skip_first=kind != "function")
        parameters = [*([self.shape.first] if self.shape.first else []), *self.shape.names]
        self.key_rule = KeyRule(self._key_option, self.shape, parameters)
        self.tag_rule = TagRule(self._tags_option, self.shape, parameters)

    # As a source of entries

    @property
    def title(self) -> str:
        """How messages call it."""
        return ".".join(self.identity)

    @property
    def identity(self) -> tuple[str, str]:
        """Module and qualified name."""
        return (self.function.__module__, self.function.__qualname__)

    def codec(self) -> Callable[[], Codec]:
        """Return what makes the codec of the results."""
        function, policy = self.function, self.policy

        def make() -> Codec:
            returns = UNGIVEN if policy.returns is MISSING else policy.returns
            return codec_for(
                return_annotation(function, returns),
                compress=policy.compress,
                serializer=policy.serializer,
            )

        return make

    @property
    def quick(self) -> bool:
        """A short cut can stand in front of it."""
        policy = self.policy
        return (
            self.key_rule.quick
            and not policy.vary
            and not policy.copy
            and policy.enabled is True
            and self.shape.simple
        )

    # Where

    def place(self, instance: object) -> Place:
        """
        Say where the entries for *instance* are.

        Raises:
            AmbiguousApp: Several apps run, and nothing says which one is meant.
            InvalidOption: A class method needs its class, and got something else.
        """
        if self.kind == "class":
            return self._placed(which_app(self.title), self._suffix(instance), instance)
        if self.kind == "function" or instance is UNBOUND:
            return self._placed(which_app(self.title), "", UNBOUND)
        owner = registry.owner_of(instance)
        app = owner or which_app(self.title)
        place = self._placed(app, self._suffix(type(instance)), instance)
        if self.home is not None and self.key_rule.written:
            return place
        if hasattr(type(instance), "__cache_key__"):
            own = encode(cast("Any", instance).__cache_key__(), "self.__cache_key__()")
            return place._replace(head=f"{place.head}{own},")
        if owner is None and has_state(instance):
            return self._die_with(instance, place)
        return place

    def _placed(self, app: App, suffix: str, instance: object) -> Place:
        first = () if instance is UNBOUND else (instance,)
        if self.home is None:
            base = self.explicit_name or self.title
            return Place(app, base + suffix, base + suffix, "", first)
        namespace = self.home.namespace()
        if self.key_rule.written:
            return Place(app, namespace, f"{namespace}\n{self.title}{suffix}", "", first)
        head = f"{self.function.__name__}{suffix}:"
        return Place(app, namespace, f"{namespace}\n{head}", head, first)

    def _suffix(self, concrete: object) -> str:
        """Return what tells inherited functions of several classes apart."""
        if not isinstance(concrete, type):
            given = "nothing" if concrete is UNBOUND else repr(concrete)
            msg = (
                f"{self.title}: expected the class as the first argument, got {given}. "
                "Put @cache above @classmethod, so that its controls know the class."
            )
            raise InvalidOption(msg)
        module, qualname = self.identity
        if self.owner is not None:
            same = concrete is self.owner
        else:
            same = (concrete.__module__, concrete.__qualname__) == (
                module,
                qualname.rpartition(".")[0],
            )
        if same:
            return ""
        where = "" if concrete.__module__ == module else f"{concrete.__module__}."
        return f"@{where}{concrete.__qualname__}"

    def _die_with(self, instance: object, place: Place) -> Place:
        serial = serial_of(instance)
        namespace, claim = f"{place.namespace}#{serial}", f"{place.claim}#{serial}"
        ledger = ledger_of(place.app)
        if ledger.note_mortal(claim):
            warn_once(self.title, instance)
            finalizer = weakref.finalize(
                instance, _forget, weakref.ref(ledger), weakref.ref(self), namespace, claim
            )
            finalizer.atexit = False
        return place._replace(namespace=namespace, claim=claim, local=True)

    def reader(self, place: Place) -> Reader:
        """Return the reader for a place; the app must be running."""
        source = self
        if self.home is not None and not place.local:
            self.home.source.claim(place.app)
        reader = ledger_of(place.app).reader(
            source, place.namespace, place.claim, local=place.local
        )
        reader.head = self._shared_head(place)
        return reader

    def _shared_head(self, place: Place) -> str:
        """Return what tells the keys of this function from the others under its Cache."""
        if self.home is None:
            return ""
        if self.key_rule.written:
            return literal_prefix(self.key_rule.pattern() or "")
        return place.head[: place.head.index(":") + 1]

    def key(self, place: Place, values: Values) -> str:
        """Return the text of the key of a call."""
        text = self.key_rule.text(values, place.instance)
        return place.head + text + vary_text(self.policy.vary)

    # Calls

    def _call(self, place: Place, values: Values) -> Call:
        shape, first = self.shape, place.first
        quick = None
        if self.quick and not place.local and (not place.first or self._unkeyed(place)):
            quick = shape.quick_key(values)
        return Call(
            self.key(place, values),
            lambda: shape.call(values, first),
            self.tag_rule.early(values, place.instance),
            self.tag_rule.late(values),
            quick,
            tagged=self.tag_rule.any,
        )

    def _unkeyed(self, place: Place) -> bool:
        return not hasattr(type(place.instance), "__cache_key__") or self.kind == "class"

    async def answer(
        self, instance: object, values: Values, driver: Driver, shortcut: Shortcut | None = None
    ) -> Answer:
        """Answer a call; the caller unwraps it."""
        now = moment()
        place = self.place(instance)
        if not place.app.running or not self.policy.is_enabled():
            return await self._bypass(place, values, driver)
        reader = self.reader(place)
        answer = await reader.read(self._call(place, values), driver)
        if shortcut is not None and self._may_connect(place, reader, instance):
            shortcut.connect(reader, now)
        return answer

    def _may_connect(self, place: Place, reader: Reader, instance: object) -> bool:
        return (
            self.quick
            and not reader.region.serialized
            and not place.local
            and not place.app.listeners.wants("hit")
            and (instance is not UNBOUND or only_one_app())
            and hasattr(reader.region.guard.provider, "book")
        )

    async def _bypass(self, place: Place, values: Values, driver: Driver) -> Answer:
        ledger = ledger_of(place.app)
        ledger.counts(self, place.claim).bypass += 1
        place.app.listeners.emit("bypass", place.namespace)
        token = current_computation.set(Computation(self.title))
        try:
            value = self.shape.call(values, place.first)
            if driver.suspends and isawaitable(value):
                value = await value
        except Exception as error:  # noqa: BLE001  # raised outside, so that any error passes
            return Answer(None, error)
        finally:
            current_computation.reset(token)
        return Answer(value)

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
        if not args and self.kind == "class":
            return UNBOUND, args
        if not args:
            msg = f"{self.title}: expected the instance as the first argument."
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
        await region.delete(driver.ops(region.guard), [self.key(place, values)])

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
            return await self._bypass(place, values, driver)
        return await self.reader(place).refresh(self._call(place, values), driver)

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
        late = self.tag_rule.late(values)
        tags = self.tag_rule.early(values, place.instance)
        if late is not None:
            tags |= late(value)
        await self.reader(place).write({self.key(place, values): value}, driver, tags=tags)

    async def invalidate_matching(self, instance: object, pattern: str, driver: Driver) -> None:
        """Drop what matches *pattern*."""
        place = self.place(instance)
        place.app.must_run(f"{self.title}.invalidate_matching()")
        region = self.reader(place).region
        await region.invalidate_matching(
            driver.ops(region.guard), pattern, compile_pattern(pattern), place.head or self._shared_head(place)
        )

    async def clear(self, instance: object, driver: Driver) -> None:
        """Drop everything of this function."""
        place = self.place(instance)
        place.app.must_run(f"{self.title}.clear()")
        region = self.reader(place).region
        ops = driver.ops(region.guard)
        pattern = self.key_rule.pattern() if self.home is not None else None
        if pattern is not None and self.policy.vary:
            pattern += "*"
        if pattern is None and not place.head:
            await region.clear(ops)
        else:
            pattern = pattern or "*"
            await region.invalidate_matching(ops, pattern, compile_pattern(pattern), place.head)

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

    def stats(self, instance: object) -> Stats:
        """Return live numbers: of one instance's class, or of all of them."""

        def seen() -> list[tuple[Any, Reader | None]]:
            place = self.place(instance)
            everywhere = self.kind != "function" and instance is UNBOUND
            return ledger_of(place.app).seen(self, None if everywhere else place.claim)

        def entries() -> int:
            place = self.place(instance)
            if not place.app.running:
                return 0
            readers = [reader for _, reader in seen() if reader is not None]
            head = "" if place.instance is None else place.head
            held = {(reader.region, head or reader.head) for reader in readers}
            return sum(
                region.guard.provider.count(region.namespace, head) for region, head in held
            )

        return Stats(seen, entries)


async def explain(reader: Reader, key: str, driver: Driver) -> Explanation:
    """Say how a call for *key* would be answered now."""
    region = reader.region
    entry = await driver.ops(region.guard).look(region.address(key))
    if entry is None:
        running = " A computation is running." if region.flights.get(key) else ""
        return Explanation("miss", key, region.namespace, f"There is no usable entry.{running}")
    now = region.clock.now()
    age = now - entry.born
    verdict = judge(entry, now)
    past = describe(round(max(0.0, age - entry.windows.fresh), 3))
    if verdict is Verdict.FRESH:
        left = describe(round(entry.windows.fresh - age, 3))
        status, why = "hit", f"Fresh for {left} more." if left != "never" else "Fresh for ever."
    elif entry.expired:
        status = "stale" if verdict is Verdict.STALE else "miss"
        why = "It was expired by hand."
    elif verdict is Verdict.STALE:
        status, why = "stale", f"Its ttl ended {past} ago; a call refreshes it behind the answer."
    else:
        status, why = "miss", f"Its ttl ended {past} ago; kept in case the function fails."
    if region.rest.rests(key, now):
        why += " The last computation failed; the next one waits."
    return Explanation(
        status, key, region.namespace, why, age, region.guard.name, entry.tags
    )


def _guessed_kind(function: Callable[..., object]) -> str:
    in_class = "." in function.__qualname__ and not function.__qualname__.rpartition(".")[
        0
    ].endswith("<locals>")
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    if not in_class or not names:
        return "function"
    return {"self": "method", "cls": "class"}.get(names[0], "function")


def _forget(
    ledger: weakref.ref[Any], definition: weakref.ref[Definition], namespace: str, claim: str
) -> None:
    found = ledger()
    if found is not None:
        found.forget(definition(), namespace, claim)
