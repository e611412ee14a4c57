"""
Whether two values are the same in type and in value.

`==` is too mild for a round trip: 1 == True, 0.0 == -0.0, Decimal("1.0") ==
Decimal("1.00"), two datetimes in different zones are equal, dicts forget their
order, and a class may compare as it likes. Here two values are identical when
nothing that they hold tells them apart. A nan is identical to a nan.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from functools import cache
from math import copysign, isnan
from pathlib import PurePath
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from .node import derives, key_step
from .times import zone_parts

if TYPE_CHECKING:
    from collections.abc import Hashable
    from collections.abc import Set as AbstractSet

# Typing leaves this on what `Box[int](...)` builds; it says nothing about the value.
RESIDUE: Final = "__orig_class__"

RECORD_MARKS: Final = (
    "__dataclass_fields__",
    "__attrs_attrs__",
    "__struct_fields__",
    "__pydantic_fields__",
)


def identical(one: object, two: object) -> bool:
    """Whether nothing tells two values apart."""
    return difference(one, two) is None


def difference(one: object, two: object) -> str | None:
    """The path to the first place where two values differ, "" for the top; None if nowhere."""
    return _differ(one, two, set())


def held_by(value: object) -> dict[str, object]:
    """Every attribute that an instance holds itself: its `__dict__` and its filled slots."""
    held: dict[str, object] = dict(getattr(value, "__dict__", ()))
    held.pop(RESIDUE, None)
    for name, slot in slots_of(cast("Hashable", type(value))):
        try:
            held.setdefault(name, slot.__get__(value))
        except AttributeError:
            continue
    return held


@cache
def slots_of(cls: Hashable) -> tuple[tuple[str, MemberDescriptorType], ...]:
    """Return the names and the members of all slots of a class, from its bases as well."""
    return tuple(
        (name, member)
        for base in cast("type", cls).__mro__
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType)
    )


def _differ(one: object, two: object, seen: set[tuple[int, int]]) -> str | None:
    if one is two:
        return None
    if type(one) is not type(two):
        return ""
    compare = ATOMS.get(type(one))
    if compare is not None:
        return None if compare(one, two) else ""
    if isinstance(one, type):
        return ""
    if isinstance(one, Enum):
        return None if one == two else ""
    if isinstance(one, PurePath):
        # Its slots remember what it has computed so far.
        return None if _same_text(one, two) else ""
    pair = (id(one), id(two))
    if pair in seen:
        # A circle, or a pair that is being compared: it adds nothing new.
        return None
    seen.add(pair)
    return _differ_inside(one, two, seen)


def _differ_inside(one: object, two: object, seen: set[tuple[int, int]]) -> str | None:
    held, other = held_by(one), held_by(two)
    if held.keys() != other.keys():
        name = min(held.keys() ^ other.keys())
        return f".{name}"
    for name, value in held.items():
        path = _differ(value, other[name], seen)
        if path is not None:
            return f".{name}{path}"
    # Any: what they hold is compared as it comes.
    left, right, kind = cast("Any", one), cast("Any", two), type(one)
    if derives(kind, list) or derives(kind, tuple) or derives(kind, deque):
        return _differ_items(left, right, seen)
    if derives(kind, dict):
        return _differ_dicts(left, right, seen)
    if derives(kind, set) or derives(kind, frozenset):
        return _differ_sets(left, right, seen)
    if any(hasattr(kind, mark) for mark in RECORD_MARKS):
        return None
    # Something opaque: its own word, and its looks, since either alone may be too mild.
    return None if held or (one == two and repr(one) == repr(two)) else ""


def _differ_items(one: Any, two: Any, seen: set[tuple[int, int]]) -> str | None:
    if len(one) != len(two) or getattr(one, "maxlen", None) != getattr(two, "maxlen", None):
        return ""
    for place, (left, right) in enumerate(zip(one, two, strict=True)):
        path = _differ(left, right, seen)
        if path is not None:
            return f"[{place}]{path}"
    return None


def _differ_dicts(
    one: dict[Any, Any], two: dict[Any, Any], seen: set[tuple[int, int]]
) -> str | None:
    if len(one) != len(two):
        return ""
    for (key, left), (other, right) in zip(one.items(), two.items(), strict=True):
        if _differ(key, other, seen) is not None:
            return ""
        path = _differ(left, right, seen)
        if path is not None:
            return f"{key_step(key)}{path}"
    return None


def _differ_sets(
    one: AbstractSet[Any], two: AbstractSet[Any], seen: set[tuple[int, int]]
) -> str | None:
    if len(one) != len(two):
        return ""
    twins = {item: item for item in two}
    alone: list[object] = []
    for item in one:
        if item not in twins:
            alone.append(item)
        elif _differ(item, twins.pop(item), seen) is not None:
            return ""
    # What is left compares by identity, or is a nan: look for a twin one by one.
    # Each trial has a copy of what was seen, since what it assumed may turn out wrong.
    for item in alone:
        trials = (each for each in twins.values() if _differ(item, each, set(seen)) is None)
        twin = next(trials, None)
        if twin is None:
            return ""
        twins = {key: each for key, each in twins.items() if each is not twin}
    return None


def _same(one: object, two: object) -> bool:
    return one == two


def _same_float(one: float, two: float) -> bool:
    if isnan(one) or isnan(two):
        return isnan(one) and isnan(two)
    return one == two and copysign(1, one) == copysign(1, two)


def _same_complex(one: complex, two: complex) -> bool:
    return _same_float(one.real, two.real) and _same_float(one.imag, two.imag)


def _same_text(one: object, two: object) -> bool:
    return str(one) == str(two)


def _same_uuid(one: UUID, two: UUID) -> bool:
    return one == two and one.is_safe is two.is_safe


def _same_moment(one: datetime | time, two: datetime | time) -> bool:
    return (
        one.replace(tzinfo=None, fold=0) == two.replace(tzinfo=None, fold=0)
        and one.fold == two.fold
        and _same_zone(one.tzinfo, two.tzinfo)
    )


def _same_zone(one: tzinfo | None, two: tzinfo | None) -> bool:
    if type(one) is not type(two):
        # pydantic reads every fixed offset into a class of its own.
        return one is not None and two is not None and _fixed(one) == _fixed(two) is not None
    if isinstance(one, ZoneInfo) and isinstance(two, ZoneInfo):
        return one.key == two.key
    if isinstance(one, timezone) and isinstance(two, timezone):
        return zone_parts(one) == zone_parts(two)
    return one == two


def _fixed(zone: tzinfo) -> timedelta | None:
    """Return the offset of a zone that has only one and is named after it."""
    offset = zone.utcoffset(None)
    if isinstance(zone, ZoneInfo) or offset is None:
        return None
    plain = timezone(offset).tzname(None)
    return offset if zone.tzname(None) in {plain, plain.removeprefix("UTC")} else None


# Any: each function takes two values of the class in front of it.
ATOMS: Final[dict[type, Any]] = {
    bool: _same,
    int: _same,
    str: _same,
    bytes: _same,
    bytearray: _same,
    float: _same_float,
    complex: _same_complex,
    Decimal: _same_text,
    UUID: _same_uuid,
    datetime: _same_moment,
    time: _same_moment,
}
