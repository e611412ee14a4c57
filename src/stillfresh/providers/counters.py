"""
What a counter looks like: a whole number, or its decimal digits where it is serialized.

Digits are counted by servers, so they have no more than 64 bits, wherever they are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .base import Address

SMALLEST: Final = -(2**63)
LARGEST: Final = 2**63 - 1
_LONGEST: Final = 20
_SHORT: Final = 18
"""So many digits always fit."""


def fits(number: int) -> bool:
    """Tell whether *number* can be a counter where it is serialized."""
    return SMALLEST <= number <= LARGEST


def is_counter(data: bytes) -> bool:
    """Tell whether *data* is a whole number, in decimal digits."""
    if len(data) > _LONGEST or not data.removeprefix(b"-").isdigit():
        return False
    return len(data) <= _SHORT or fits(int(data))


def number_in(value: object, address: Address, *, serialized: bool) -> int:
    """
    Return what a counter holds: an int, or its decimal digits where it is serialized.

    Raises:
        TypeError: It is no counter.
    """
    if type(value) is int and not serialized:
        return value
    if isinstance(value, bytes) and serialized and is_counter(value):
        return int(value)
    msg = (
        f"key {address.key!r} of {address.namespace!r} holds {type(value).__qualname__} that "
        "is no counter: expected a whole number. Delete it first, or use another key."
    )
    raise TypeError(msg)


def check_amount(amount: int) -> None:
    """
    Let *amount* be added to a counter that is serialized.

    Raises:
        TypeError: It has more than 64 bits.
    """
    if abs(amount) > LARGEST:
        raise TypeError(f"amount={amount!r}: a counter has 64 bits")


def digits_of(total: int, amount: int, address: Address) -> bytes:
    """
    Return what is kept of a counter that *amount* was added to.

    Raises:
        TypeError: One of the two has more than 64 bits.
    """
    check_amount(amount)
    if not fits(total):
        msg = (
            f"key {address.key!r} of {address.namespace!r}: {amount} more would take the counter "
            "beyond 64 bits. Delete it first, or use another key."
        )
        raise TypeError(msg)
    return b"%d" % total
