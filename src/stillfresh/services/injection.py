"""What a class declares to need."""

from __future__ import annotations

from inspect import getattr_static
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast, overload

from ..errors import InvalidOption
from ..names import attributes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

T = TypeVar("T")


class Injected:
    """A service that is looked up when it is read. Assigning to the attribute replaces it."""

    look_up: ClassVar[Callable[[Injected, object], object]]
    """Finds the service for an instance; set from above, where apps are known."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.name = f"inject({kind.__qualname__})"

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"{owner.__qualname__}.{name}"

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> object: ...
    def __get__(self, instance: object, owner: type) -> object:
        if instance is None:
            return self
        return type(self).look_up(self, instance)


def inject(kind: type[T]) -> T:
    """
    Declare that a service needs another one.

        products = inject(ProductService)

    It is looked up at each access, in the app that owns the instance, and may be assigned.

    Raises:
        InvalidOption: *kind* is not a class.
    """
    if not isinstance(kind, type):
        msg = f"inject({kind!r}): expected a class, as in inject(Database)."
        raise InvalidOption(msg)
    return cast("T", Injected(kind))


def injected(service: object) -> list[type]:
    """Return the classes that *service* declares to need; what was assigned is not needed."""
    found = attributes_of(type(service))
    found.update(getattr(service, "__dict__", {}))
    return [one.kind for one in found.values() if isinstance(one, Injected)]


def in_order(
    services: Iterable[object], get: Callable[[type], object], *, past: object
) -> list[object]:
    """Return *services* and what they need, that first; *past* is none of them."""
    ordered: list[object] = []
    seen = {id(past)}

    def visit(service: object) -> None:
        if id(service) in seen:
            return
        seen.add(id(service))
        for needed in injected(service):
            visit(get(needed))
        ordered.append(service)

    for service in services:
        visit(service)
    return ordered


def injected_in(kind: type) -> list[type]:
    """Return the classes that services of class *kind* declare to need."""
    return [one.kind for one in attributes_of(kind).values() if isinstance(one, Injected)]


def let_classes_answer(service: object) -> None:
    """
    Take declarations out of the instance: a dataclass gives each the default of a field.

    Raises:
        InvalidOption: The class has none under that name, so that nobody would look it up.
    """
    own: dict[str, object] = getattr(service, "__dict__", {})
    for name in [name for name, value in own.items() if isinstance(value, Injected)]:
        if not isinstance(getattr_static(type(service), name, None), Injected):
            msg = (
                f"{type(service).__qualname__}.{name} = inject(...): its class does not have it, "
                "so nobody looks it up. Write it in the class body, without an annotation."
            )
            raise InvalidOption(msg)
        del own[name]
