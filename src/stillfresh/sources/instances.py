"""Instances that are part of a key: which ones are, and numbers that tell them apart."""

from __future__ import annotations

import itertools
import weakref
from types import FunctionType
from typing import TYPE_CHECKING

from msgspec import Struct

from ..errors import UnstableArgument
from ..events import log
from ..forks import free_in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_numbers = itertools.count(1)
_lock = free_in_child()
_serials: dict[int, tuple[int, weakref.ref[object]]] = {}
_warned: set[str] = set()
BINDING = "__stillfresh__"


def has_state(instance: object) -> bool:
    """Tell whether *instance* has attributes of its own, so that its methods may depend on it."""
    own = getattr(instance, "__dict__", None)
    if own and not all(is_binding(value, instance) for value in own.values()):
        return True
    if any(hasattr(instance, name) for name in _slots(type(instance))):
        return True
    return _value_base(type(instance))


def is_binding(value: object, instance: object) -> bool:
    """Tell whether *value* is a cached method that an app has bound to *instance*."""
    if type(value) is not FunctionType:  # anything else may answer to any name
        return False
    controls = value.__dict__.get(BINDING)
    return controls is not None and controls.instance is instance


def serial_of(instance: object) -> int:
    """
    Return a number that no other living or dead instance has.

    Raises:
        UnstableArgument: It cannot be referenced weakly, so nobody would know when it dies.
    """
    key = id(instance)
    with _lock:
        found = _serials.get(key)
        if found is not None and found[1]() is instance:
            return found[0]
        number = next(_numbers)
        try:
            reference: weakref.ref[object] = weakref.ref(instance, _forgetter(key, number))
        except TypeError:
            msg = (
                f"{type(instance).__qualname__} has attributes of its own and cannot be "
                f"referenced weakly, so it has no place in a key. {_how_weakly(type(instance))}"
                "give it __cache_key__(), or let an App own it."
            )
            raise UnstableArgument(msg, instance) from None
        _serials[key] = (number, reference)
        return number


def _how_weakly(kind: type) -> str:
    """Say how instances of *kind* can be referenced weakly, where they can."""
    if issubclass(kind, Struct):
        return f"Write class {kind.__name__}(Struct, weakref=True), "
    if hasattr(kind, "__dataclass_fields__"):
        return "Write @dataclass(slots=True, weakref_slot=True), "
    if kind.__itemsize__:  # a tuple, or an int, cannot be
        return "Make it a dataclass, "
    return "Add '__weakref__' to its __slots__, "


def warn_once(title: str, instance: object) -> None:
    """Say once per function that its entries are not shared."""
    if title in _warned:
        return
    _warned.add(title)
    log.warning(
        "%s: entries of each %s instance are kept apart, in this process only, because it has "
        "attributes of its own. To share them give it __cache_key__(), or let an App own it.",
        title,
        type(instance).__qualname__,
    )


def _forgetter(key: int, number: int) -> Callable[[object], None]:
    def forget(_: object) -> None:
        with _lock:
            found = _serials.get(key)
            if found is not None and found[0] == number:
                del _serials[key]

    return forget


def _slots(kind: type) -> Iterator[str]:
    for owner in kind.__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in {"__dict__", "__weakref__"}:
                continue
            private = name.startswith("__") and not name.endswith("__")
            yield f"_{owner.__name__.lstrip('_')}{name}" if private else name


def _value_base(kind: type) -> bool:
    # A subclass of a builtin such as str or tuple: its value is its state.
    return any(base.__module__ == "builtins" and base is not object for base in kind.__mro__)
