"""
Dates and times as plain data; zone and fold are kept.

Times count microseconds of the wall clock, so that the zone, wherever its rules
go, cannot move them. A zone is its key, or an offset with or without a name.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any, Final, cast
from zoneinfo import ZoneInfo

from .node import Misfit, exact, name_of, shaped_list
from .plain import plain_text

if TYPE_CHECKING:
    from collections.abc import Callable

START: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - the wall clock has no zone
MICROSECOND: Final = timedelta(microseconds=1)


def _zone_down(zone: tzinfo | None) -> object:
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key:
        return zone.key
    if type(zone) is timezone:
        offset, *name = zone_parts(zone)
        return [_delta_down(offset), *map(plain_text, name)]
    raise Misfit(
        f"a time zone of {name_of(type(zone))} cannot be rebuilt. Use zoneinfo.ZoneInfo with a "
        "key, datetime.timezone, or UTC."
    )


def _zone_up(plain: object) -> tzinfo | None:
    if plain is None:
        return None
    if type(plain) is str:
        return ZoneInfo(plain)
    offset, *name = shaped_list(plain)
    # timezone() makes the one UTC object out of a bare zero offset.
    return timezone(_delta_up(offset), *(exact(str, part) for part in name))


def zone_parts(zone: timezone) -> tuple[Any, ...]:
    """Offset and, if it was given, name. `tzname()` cannot tell a given name from a made one."""
    # Any: typeshed does not know what timezone gives to pickle.
    anything: Any = zone
    return cast("tuple[Any, ...]", anything.__getinitargs__())


def _datetime_down(value: datetime) -> object:
    wall = value.replace(tzinfo=None, fold=0)
    return [(wall - START) // MICROSECOND, value.fold, _zone_down(value.tzinfo)]


def _datetime_up(plain: object) -> datetime:
    count, fold, zone = shaped_list(plain, 3)
    wall = START + exact(int, count) * MICROSECOND
    return wall.replace(tzinfo=_zone_up(zone), fold=exact(int, fold))


def _time_down(value: time) -> object:
    wall = datetime.combine(START, value.replace(tzinfo=None, fold=0))
    return [(wall - START) // MICROSECOND, value.fold, _zone_down(value.tzinfo)]


def _time_up(plain: object) -> time:
    count, fold, zone = shaped_list(plain, 3)
    wall = START + exact(int, count) * MICROSECOND
    return wall.time().replace(tzinfo=_zone_up(zone), fold=exact(int, fold))


def _date_up(plain: object) -> date:
    return date.fromordinal(exact(int, plain))


def _delta_down(value: timedelta) -> object:
    return [value.days, value.seconds, value.microseconds]


def _delta_up(plain: object) -> timedelta:
    days, seconds, microseconds = (exact(int, part) for part in shaped_list(plain, 3))
    return timedelta(days, seconds, microseconds)


# Any: each pair of functions is for the class in front of it.
TIMES: Final[tuple[tuple[type, Callable[[Any], object], Callable[[Any], object]], ...]] = (
    (datetime, _datetime_down, _datetime_up),
    (date, date.toordinal, _date_up),
    (time, _time_down, _time_up),
    (timedelta, _delta_down, _delta_up),
)
