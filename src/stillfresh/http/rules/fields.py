"""
Values of fields, read strictly and in one pass.

What comes in is hostile: nothing here raises on it, and every parser is linear in its length. What
cannot be read counts as absent or as stale, whichever serves less from the cache.
"""

from __future__ import annotations

import re
from datetime import date
from math import inf
from time import gmtime
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from .message import first, values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .message import Headers

FOREVER: Final = 2**31
"""The longest time that is told apart: 68 years (RFC 9111 section 1.2.2)."""

OWS: Final = b" \t"
TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++")

_PIECE = re.compile(rb'[^",]++|"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def members(value: bytes) -> list[bytes]:
    """Return the members of a list, trimmed and without empty ones (RFC 9110 section 5.6.1)."""
    return _split(value)[0]


def _split(value: bytes) -> tuple[list[bytes], bool]:
    """Split at commas outside quotes; say whether each quote was closed."""
    if b'"' not in value:
        return _trimmed(value.split(b",")), True
    found: list[bytes] = []
    start = at = 0
    while at < len(value):
        piece = _PIECE.match(value, at)
        if piece:
            at = piece.end()
        elif value[at] == 0x2C:
            found.append(value[start:at])
            at = start = at + 1
        else:
            # A quote that is never closed hides nothing: what follows is read as if it were not
            # there, so that a no-store behind it is seen.
            return _trimmed(found + value[start:].split(b",")), False
    found.append(value[start:])
    return _trimmed(found), True


def _trimmed(pieces: list[bytes]) -> list[bytes]:
    return [member for piece in pieces if (member := piece.strip(OWS))]


def delta_seconds(text: bytes | None) -> int | None:
    """Return seconds, at most `FOREVER`; None unless all of it are digits (RFC 9111 1.2.2)."""
    if text is None or not text.isdigit():
        return None
    text = text.lstrip(b"0")
    return FOREVER if len(text) > 10 else min(int(text or b"0"), FOREVER)


class CacheControl(NamedTuple):
    """The directives of one Cache-Control field, all its lines together (RFC 9111 5.2)."""

    arguments: dict[bytes, list[bytes | None]]
    """By name in lower case: what stands behind the `=`, quotes included, once per mention."""
    broken: bool = False
    """It cannot be read for certain. Directives that forbid still count; it is never fresh."""

    def has(self, name: bytes) -> bool:
        """Tell whether the directive is there, with or without an argument."""
        return name in self.arguments

    def seconds(self, name: bytes) -> int | None:
        """Return the smallest of the times given, 0 for what is none, None without a mention."""
        given = self.arguments.get(name)
        if given is None:
            return None
        if self.broken:
            return 0
        return min(delta_seconds(text) or 0 for text in given)


NO_CONTROL: Final = CacheControl({})


def cache_control(lines: Iterable[bytes]) -> CacheControl:
    """Read the lines of a Cache-Control field. Names are case-insensitive."""
    arguments: dict[bytes, list[bytes | None]] = {}
    broken = False
    for line in lines:
        found, whole = _split(line)
        broken = broken or not whole
        for member in found:
            name, equals, argument = member.partition(b"=")
            # Space around the `=` is no syntax. The directive counts, its argument does not: it
            # keeps the space and is no number.
            bare = name.rstrip(OWS)
            given = (argument if bare == name else b" " + argument) if equals else None
            arguments.setdefault(bare.lower(), []).append(given)
    return CacheControl(arguments, broken)


def age(headers: Headers) -> int:
    """Return the value of Age: first line, first member, 0 unless digits (RFC 9111 5.1)."""
    line = first(headers, b"age")
    if line is None:
        return 0
    return delta_seconds(line.partition(b",")[0].strip(OWS)) or 0


def vary(headers: Headers) -> tuple[bytes, ...] | None:
    """
    Return the names in Vary, lower-case, sorted, once each; None if it says `*`.

    A member that is no field name counts as `*`: what the response depends on is unknown then
    (RFC 9110 section 12.5.5).
    """
    names: set[bytes] = set()
    for line in values(headers, b"vary"):
        for piece in line.split(b","):
            name = piece.strip(OWS).lower()
            if name == b"*" or (name and not TOKEN.fullmatch(name)):
                return None
            names.add(name)
    names.discard(b"")
    return tuple(sorted(names))


# Dates. Exactly the three forms of RFC 9110 section 5.6.7, names in any case.

_MONTHS = b"jan feb mar apr may jun jul aug sep oct nov dec".split()
_MONTH_OF = {name: number for number, name in enumerate(_MONTHS, 1)}
_DAYS = b"Mon Tue Wed Thu Fri Sat Sun".split()
_CLOCK = rb"(\d\d):(\d\d):(\d\d)"
_IMF = re.compile(
    rb"(?:mon|tue|wed|thu|fri|sat|sun), (\d\d) ([a-z]{3}) (\d{4}) " + _CLOCK + rb" gmt"
)
_RFC850 = re.compile(
    rb"(?:mon|tues|wednes|thurs|fri|satur|sun)day, (\d\d)-([a-z]{3})-(\d\d) " + _CLOCK + rb" gmt"
)
_ASCTIME = re.compile(
    rb"(?:mon|tue|wed|thu|fri|sat|sun) ([a-z]{3}) ((?: |\d)\d) " + _CLOCK + rb" (\d{4})"
)
_LONGEST_DATE = 40
_UNIX_DAY = date(1970, 1, 1).toordinal()
_DAY = 86_400


def http_date(text: bytes | None, now: float) -> int | None:
    """
    Return the Unix time that an HTTP date says, None unless it is one.

    *now* decides the century of a two-digit year: never more than 50 years ahead. The name of
    the day of the week is not compared with the date.
    """
    if text is None or len(text) > _LONGEST_DATE:
        return None
    text = text.strip(OWS).lower()
    if match := _IMF.fullmatch(text):
        day, month, year, *clock = match.groups()
    elif match := _RFC850.fullmatch(text):
        day, month, year, *clock = match.groups()
        current = gmtime(now).tm_year
        full = current - current % 100 + int(year)
        year = b"%d" % (full - 100 if full > current + 50 else full)
    elif match := _ASCTIME.fullmatch(text):
        month, day, *clock, year = match.groups()
    else:
        return None
    hour, minute, second = map(int, clock)
    if hour > 23 or minute > 59 or second > 60:  # 60: a leap second
        return None
    try:
        days = date(int(year), _MONTH_OF[month], int(day)).toordinal() - _UNIX_DAY
    except (KeyError, ValueError):
        return None
    return days * _DAY + hour * 3600 + minute * 60 + second


def format_date(moment: float) -> bytes:
    """Return the Unix time *moment* as IMF-fixdate, the one form that is sent."""
    at = gmtime(moment)
    return b"%s, %02d %s %04d %02d:%02d:%02d GMT" % (
        _DAYS[at.tm_wday],
        at.tm_mday,
        _MONTHS[at.tm_mon - 1].title(),
        at.tm_year,
        at.tm_hour,
        at.tm_min,
        at.tm_sec,
    )


def form_decoded(text: bytes) -> bytes:
    """Return a name or value of a query as it was before it was encoded as a form."""
    if b"+" in text:
        text = text.replace(b"+", b" ")
    return unquote_to_bytes(text) if b"%" in text else text


def whole_seconds(length: float) -> int:
    """Return *length* as delta-seconds are sent: rounded down, never negative, capped."""
    return FOREVER if length == inf else max(0, min(int(length), FOREVER))
