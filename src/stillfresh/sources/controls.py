"""What a cached function wears, async or not: its name, its place in a class, its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .instances import BINDING
from .site import UNBOUND

if TYPE_CHECKING:
    from ..services.listed import Stats
    from ..shape import Values
    from .definition import Definition


class _Recognising(type):
    """Lets isinstance() see a `Cached` in a generated function."""

    def __instancecheck__(cls, instance: object) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        control = getattr(instance, "__dict__", {}).get(BINDING)
        return control is not None and type.__instancecheck__(cls, control)


class Controls(metaclass=_Recognising):
    """What both kinds have in common."""

    __wrapped__: Any
    __name__: str
    __qualname__: str

    def __init__(self, definition: Definition, instance: object = UNBOUND) -> None:
        self._definition = definition
        self._instance = instance
        function = definition.function
        vars(self).update(vars(function))  # what other decorators have left there
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(self, name, getattr(function, name, None))
        self.__wrapped__ = function
        self.__annotations__ = function.__annotations__
        if getattr(function, "__isabstractmethod__", False):
            self.__isabstractmethod__ = True
        if instance is not UNBOUND:
            self.__signature__ = definition.shape.signature
            self.__annotations__ = definition.shape.annotations()
            self.__wrapped__ = _bound(function, instance)

    def __set_name__(self, owner: type, name: str) -> None:
        definition = self._definition
        if definition.owner is None:
            # In a metaclass `cls` is what `self` is elsewhere, unless @classmethod was there.
            is_self = issubclass(owner, type) and not definition.is_classmethod
            kind = "class" if definition.kind == "class" and not is_self else "method"
            definition.set_kind(kind, owner, name)
            definition.check_options()

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        definition = self._definition
        if self._instance is not UNBOUND:
            return self
        if isinstance(instance, type) and owner is instance and definition.kind != "class":
            # @classmethod above @cache hands the class over as the instance, up to 3.12.
            definition.set_kind("class")
        if definition.kind == "function":
            return self
        if definition.kind == "class":
            return type(self)(definition, owner if owner is not None else type(instance))
        return self if instance is None else type(self)(definition, instance)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._definition.title}>"

    # One is made per access, so they compare as bound methods do: by function and instance.

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Controls) or type(other) is not type(self):
            return NotImplemented
        return self._definition is other._definition and self._instance is other._instance

    def __hash__(self) -> int:
        return hash((id(self._definition), id(self._instance)))

    @property
    def __self__(self) -> object:
        """What it is bound to, as of a method."""
        if self._instance is UNBOUND:
            msg = f"{self!r} is bound to nothing, so it has no __self__"
            raise AttributeError(msg)
        return self._instance

    def __reduce__(self) -> str | tuple[object, ...]:
        """Be pickled and copied as a method is: by name, on what it is bound to."""
        qualname = self._definition.identity[1]
        if self._instance is UNBOUND:
            return qualname
        return getattr, (self._instance, qualname.rpartition(".")[2])

    @property
    def definition(self) -> Definition:
        """What is behind it."""
        return self._definition

    @property
    def instance(self) -> object:
        """What `self` or `cls` is, if it is bound."""
        return self._instance

    @property
    def kind(self) -> str:
        """A `function`, a `method`, or a `class` method."""
        return self._definition.kind

    def _split(self, args: Values, kwargs: dict[str, Any]) -> tuple[object, Values]:
        instance, rest = self._definition.receiver(self._instance, args)
        return instance, self._definition.shape.bind(rest, kwargs)

    @property
    def stats(self) -> Stats:
        """How calls were answered, and how many entries there are; live numbers."""
        return self._definition.stats(self._instance)


def _bound(function: Any, instance: object) -> Any:
    return function.__get__(instance, type(instance))
