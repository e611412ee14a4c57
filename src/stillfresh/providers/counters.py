"""What a counter looks like: a whole number, or its decimal digits where it is serialized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .base import Address

LONGEST_COUNTER: Final = 20


def is_counter(data: bytes) -> bool:
    """Tell whether *data* is a whole number, in decimal digits."""
    return len(data) <= LONGEST_COUNTER and data.removeprefix(b"-").isdigit()


def number_in(value: object, address: Address, *, serialized: bool) -> int:
    """
    Return what a counter holds: an int, or its decimal digits where it is serialized.

    Raises:
        TypeError: It is no counter.
    """
    if type(value) is int and not serialized:
        return value
    if isinstance(value, bytes) and serialized and value.removeprefix(b"-").isdigit():
        return int(value)
    msg = (
        f"key {address.key!r} of {address.namespace!r} holds {type(value).__qualname__} that "
        "is no counter: expected a whole number. Delete it first, or use another key."
    )
    raise TypeError(msg)
