"""What a counter in memory holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Address


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
