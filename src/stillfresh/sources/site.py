"""
One decorated function as the owner of entries: what it is, and where they are.

    namespace   its name, or module and qualified name; `@Concrete` for a class that inherited
                it; `#17` for the seventeenth instance that has attributes of its own
    key         the arguments, as `rules` writes them
"""

from __future__ import annotations

import sys
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from ..app import registry
from ..codecs import UNGIVEN, one_shot_annotation, return_annotation
from ..entry import MISSING
from ..errors import InvalidOption, NotSerializable
from ..keys.canonical import SMALL, encode
from ..keys.patterns import literal_prefix
from ..keys.quoting import quoted
from ..keys.rules import KeyRule, TagRule, vary_text
from ..services.current import which_app
from ..shape import Shape
from .claims import Claim
from .instances import has_state, serial_of, warn_once
from .ledger import ledger_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import App
    from ..codecs import Codec
    from ..options import Policy
    from ..readthrough import Reader
    from ..shape import Values
    from .root import Root

UNBOUND: Final = object()
"""In the place of an instance, where there is none."""


class Place(NamedTuple):
    """Where the entries of one function are, for one instance."""

    app: App
    claim: Claim
    head: str = ""
    """What stands before the arguments in a key."""
    first: Values = ()
    """What `self` or `cls` is."""

    @property
    def namespace(self) -> str:
        """What stands in front of every key."""
        return self.claim.namespace

    @property
    def instance(self) -> object:
        """What `self` is in a template."""
        return self.first[0] if self.first else None


class Site:
    """A function with its options. *root* is the `Cache` under which it was decorated."""

    def __init__(
        self,
        function: Callable[..., object],
        policy: Policy,
        *,
        name: str | None = None,
        key: object = None,
        tags: object = None,
        kind: str = "",
        root: Root | None = None,
    ) -> None:
        self.function = function
        self.policy = policy
        self.explicit_name = name
        self.root = root
        self.owner: type | None = None
        self.is_classmethod = kind == "class"
        """It was given as one, and not only because its parameter is called `cls`."""
        self._key_option, self._tags_option = key, tags
        self.identity = (function.__module__ or "__main__", function.__qualname__)
        """
        Module and qualified name. exec() without a __name__ makes functions of no module.

        A function from elsewhere, or a lambda, that a class has taken for a method is named after
        the class and the attribute.
        """
        self.set_kind(kind or _guessed_kind(function))
        self.guessed = not kind
        """Nobody has said yet what it is."""
        reason = one_shot_annotation(function, _returns(policy))
        if reason is not None:
            raise NotSerializable(f"{self.title} cannot be cached: {reason}", "return")

    def set_kind(self, kind: str, owner: type | None = None, attribute: str = "") -> None:
        """
        Say what it is: a `function`, a `method`, or a `class` method.

        *owner* is the class that has it, under the name *attribute*.
        """
        self.kind = kind
        self.guessed = False
        if owner is not None:
            self.owner = owner
            nameless = self.function.__name__ == "<lambda>"
            if nameless or self._home() != (owner.__module__, owner.__qualname__):
                self.identity = (owner.__module__, f"{owner.__qualname__}.{attribute}")
        self.shape = Shape(self.function, skip_first=kind != "function")
        parameters = [*([self.shape.first] if self.shape.first else []), *self.shape.names]
        self.key_rule = KeyRule(self._key_option, self.shape, parameters)
        self.tag_rule = TagRule(self._tags_option, self.shape, parameters)
        self.quick = self._is_quick()
        """A short cut can stand in front of it."""

    def check_options(self, *, settled: bool = True) -> None:
        """
        Look whether `key=` and `tags=` fit the function, as what it is, or may turn out to be.

        Raises:
            InvalidOption: One of them cannot be called with its arguments.
        """
        try:
            self.key_rule.check(self.title)
            self.tag_rule.check(self.title)
        except InvalidOption:
            if settled or not self._fits_otherwise():
                raise

    def _fits_otherwise(self) -> bool:
        guess, guessed = self.kind, self.guessed
        self.set_kind("method" if guess == "function" else "function")
        try:
            self.check_options()
        except InvalidOption:
            return False
        else:
            return True
        finally:
            self.set_kind(guess)
            self.guessed = guessed

    def is_static(self, args: Values) -> bool:
        """
        Tell whether a staticmethod is around it, by its first call on the class, with *args*.

        Otherwise the first of them is the instance, or the class: it comes from there, and has
        the class in which this stands above it.
        """
        # Any: an instance, or a class, or an argument.
        first: Any = args[0] if args else None
        home = self._home()
        classes: list[type] = list(first.__mro__) if issubclass(type(first), type) else []
        for cls in (*classes, *type(first).__mro__):
            if (cls.__module__, cls.__qualname__) == home:
                break
        else:
            found: Any = sys.modules.get(home[0])
            for part in home[1].split("."):
                found = getattr(found, "__dict__", {}).get(part)
            if not isinstance(found, type):
                # The class of a function, which nobody finds. From 3.13 on the controls of a
                # class method have no class there, either.
                return bool(args) and self.kind == "method"
            cls = found
        return isinstance(vars(cls).get(self.function.__name__), staticmethod)

    def _home(self) -> tuple[str, str]:
        module, qualname = self.identity
        return module, qualname.rpartition(".")[0]

    # As a source of entries

    @property
    def title(self) -> str:
        """How messages call it."""
        return ".".join(self.identity)

    @property
    def computes(self) -> bool:
        """The entries are results of this code."""
        return not self.key_rule.written or self.root is None

    @property
    def lasting(self) -> bool:
        """Never: they can be computed again."""
        return False

    def goes_with(self, other: object) -> bool:
        """The same module and qualified name: one is the other, written again."""
        return isinstance(other, Site) and other.identity == self.identity

    def codec(self) -> Callable[[], Codec]:
        """Return what makes the codec of the results."""
        function, policy = self.function, self.policy

        def make() -> Codec:
            from ..codecs import codec_for  # with the first codec, the compiler

            return codec_for(
                return_annotation(function, _returns(policy)),
                compress=policy.compress,
                serializer=policy.serializer,
            )

        return make

    def _is_quick(self) -> bool:
        policy = self.policy
        return (
            self.key_rule.quick
            and not policy.vary
            and not policy.copy
            and policy.enabled is True
            and self.shape.simple
        )

    # Where

    def place(self, instance: object, app: App | None = None) -> Place:
        """
        Say where the entries for *instance* are; *app* is for where no instance belongs to one.

        Raises:
            AmbiguousApp: Several apps run, and nothing says which one is meant.
            InvalidOption: A class method needs its class, and got something else.
        """
        if self.kind == "class":
            app = app or which_app(self.title)
            return self._placed(app, self._suffix(instance), instance)
        if self.kind == "function" or instance is UNBOUND:
            return self._placed(app or which_app(self.title), "", UNBOUND)
        owner = registry.owner_of(instance)
        app = owner or app or which_app(self.title)
        place = self._placed(app, self._suffix(type(instance)), instance)
        if self.root is not None and self.key_rule.written:
            return place
        if hasattr(type(instance), "__cache_key__"):
            own = encode(cast("Any", instance).__cache_key__(), "self.__cache_key__()")
            return place._replace(head=f"{place.head}{own},")
        if owner is None and has_state(instance):
            return self._die_with(instance, place)
        return place

    def is_in_store(self, instance: object, owner: App | None) -> bool:
        """Tell whether the entries for *instance* are among those of a `Cache`; see `place`."""
        root = self.root
        if root is None or self.policy.provider is not root.policy.provider:
            return False
        free = self.kind == "method" and instance is not UNBOUND and owner is None
        keyed = self.key_rule.written or hasattr(type(instance), "__cache_key__")
        return keyed or not (free and has_state(instance))

    def _placed(self, app: App, suffix: str, instance: object) -> Place:
        first = () if instance is UNBOUND else (instance,)
        holder = self if not suffix else instance if self.kind == "class" else type(instance)
        if self.root is None:
            namespace = (self.explicit_name or self.title) + suffix
            return Place(app, Claim(namespace, namespace, holder), "", first)
        namespace = self.root.name
        if self.key_rule.written:
            name, head = f"{namespace}\n{self.title}{suffix}", ""
            prefix = literal_prefix(self.key_rule.pattern() or "")
        else:
            prefix = head = f"{self.function.__name__}{suffix}:"
            name = f"{namespace}\n{head}"
        return Place(app, Claim(name, namespace, holder, prefix, own_space=False), head, first)

    def _suffix(self, concrete: object) -> str:
        """Return what tells inherited functions of several classes apart."""
        if not isinstance(concrete, type):
            given = "nothing" if concrete is UNBOUND else repr(concrete)
            msg = (
                f"{self.title}: expected the class as the first argument, got {given}. "
                "Put @cache above @classmethod, so that its controls know the class."
            )
            raise InvalidOption(msg)
        home = self._home()
        if self.owner is not None:
            same = concrete is self.owner
        else:
            same = (concrete.__module__, concrete.__qualname__) == home
        if same:
            return ""
        where = "" if concrete.__module__ == home[0] else f"{concrete.__module__}:"
        return f"@{where}{concrete.__qualname__}"

    def _die_with(self, instance: object, place: Place) -> Place:
        mark = f"#{serial_of(instance)}"
        claim = place.claim._replace(
            name=place.claim.name + mark,
            namespace=place.namespace + mark,
            holder=self,
            own_space=True,
            local=True,
        )
        ledger = ledger_of(place.app)
        if ledger.note_mortal(claim.name):
            warn_once(self.title, instance)
            claimed = claim._replace(holder=None)
            finalizer = weakref.finalize(
                instance, _forget, weakref.ref(ledger), weakref.ref(self), claimed
            )
            finalizer.atexit = False
        return place._replace(claim=claim)

    def reader(self, place: Place) -> Reader:
        """Return the reader for a place; the app must be running."""
        if self.root is not None and not place.claim.local:
            self.root.reader(place.app)
        return ledger_of(place.app).reader(self, place.claim)

    def key_maker(self, place: Place) -> Callable[[Values], str]:
        """Return what makes the keys there: as `key`, without what is the same each time."""
        if self.policy.vary or not self.key_rule.plain:
            return partial(self.key, place)
        head, names = place.head, self.shape.names
        if len(names) == 1:
            [name] = names

            def one(values: Values) -> str:
                value = values[0]
                if type(value) is int and -SMALL < value < SMALL:  # as `encode` would
                    return f"{head}{value}"
                return head + (quoted(value) if type(value) is str else encode(value, name))

            return one
        return lambda values: head + ",".join(map(encode, values, names))

    def key(self, place: Place, values: Values) -> str:
        """Return the text of the key of a call."""
        text = place.head + self.key_rule.text(values, place.instance)
        return text + vary_text(self.policy.vary) if self.policy.vary else text


def _guessed_kind(function: Callable[..., object]) -> str:
    in_class = "." in function.__qualname__ and not function.__qualname__.rpartition(".")[
        0
    ].endswith("<locals>")
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    if not in_class or not names:
        return "function"
    return {"self": "method", "cls": "class"}.get(names[0], "function")


def _returns(policy: Policy) -> object:
    return UNGIVEN if policy.returns is MISSING else policy.returns


def _forget(ledger: weakref.ref[Any], site: weakref.ref[Site], claim: Claim) -> None:
    found = ledger()
    if found is not None:
        found.forget(site(), claim)
