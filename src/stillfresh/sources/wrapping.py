"""The function with the short cut in front, which users get in place of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..computing.drivers import IN_THREAD, ON_LOOP, drive
from ..shape import dress
from .cached import Cached, SyncCached
from .instances import BINDING
from .shortcuts import Shortcut
from .site import UNBOUND

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FunctionType

    from ..computing.calls import Answer
    from ..computing.drivers import Driver
    from ..shape import Values
    from .definition import Definition

_CONTROLS: Final = (
    "invalidate",
    "expire",
    "refresh",
    "peek",
    "store",
    "key",
    "invalidate_matching",
    "clear",
    "explain",
    "stats",
    "cache",
)


def controls_of(
    definition: Definition, instance: object = UNBOUND
) -> Cached[Any, Any] | SyncCached[Any, Any]:
    """Return a `Cached` or `SyncCached`, as the function is async or not."""
    kind = Cached if definition.shape.is_async else SyncCached
    return kind(definition, instance)


def generated(definition: Definition, instance: object = UNBOUND) -> FunctionType:
    """Return the function with the short cut in front, wearing the controls."""
    shape = definition.shape
    controls = controls_of(definition, instance)
    scope: dict[str, object] = {"__builtins__": __builtins__}

    def answer(
        values: Values, driver: Driver = ON_LOOP
    ) -> Coroutine[Any, Any, tuple[object, Answer | None]]:
        route = shortcut.route
        if route is None:
            return definition.answer(instance, values, driver, shortcut)
        return route.answer(values, driver)

    def step(values: Values) -> object:
        value, found = drive(answer(values, IN_THREAD))
        return value if found is None else found.unwrap()

    slow = answer if shape.is_async else step
    wrapper = shape.wrapper(scope, quick=definition.quick, tagged=definition.tag_rule.any)
    names = {word: shape.name(word) for word in ("index", "now", "book", "slow", "shortcut")}
    shortcut = Shortcut(scope, names, shape.guards(), slow, waits=shape.is_async)
    dress(wrapper, shape, controls.__wrapped__)
    for name in _CONTROLS:
        wrapper.__dict__[name] = getattr(controls, name)
    wrapper.__dict__[BINDING] = controls
    if instance is not UNBOUND:
        wrapper.__dict__["__self__"] = instance
    return wrapper
