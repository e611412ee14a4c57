"""
How long a response is fresh, and how old it was when it came (RFC 9111 section 4.2).

    called             received                                  now
      |----- delay -------|---------- resident time ---------------|
      born of the entry

An entry's age counts from the call inward, by the clock of whoever keeps it. So the age of a
response is `initial_age` plus the entry's age, and no two machines' clocks are compared after
the fill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .fields import NO_CONTROL, CacheControl, age, cache_control, http_date
from .message import first, values
from .structured import targeted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .message import Headers

OWN_TARGET: Final = b"stillfresh-cache-control"
"""Addresses this cache alone, and is not sent on."""
CDN_TARGET: Final = b"cdn-cache-control"

HEURISTIC: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that may be fresh without saying so (RFC 9110 section 15.1); 206 is never stored."""
_TENTH: Final = 0.1


class Control(NamedTuple):
    """What a response says to this cache: its directives, and whether Expires counts."""

    directives: CacheControl = NO_CONTROL
    targeted: bool = False
    """They come from a targeted field: Cache-Control and Expires say nothing (RFC 9213 2.2)."""

    def has(self, name: bytes) -> bool:
        """Tell whether the directive is there, with or without an argument."""
        return name in self.directives.arguments


def control(headers: Headers, targets: Iterable[bytes] = (OWN_TARGET,)) -> Control:
    """
    Return what counts: the first valid one of the fields *targets*, else Cache-Control.

    What CDN-Cache-Control forbids counts even where it is no target: a response that a CDN must
    not keep is none to be kept here. Its lifetimes do not: they are meant for a cache in front
    of this one.
    """
    found = targeted(headers, targets)
    is_targeted = found is not None
    if found is None:
        lines = values(headers, b"cache-control")
        found = cache_control(lines) if lines else NO_CONTROL
    if CDN_TARGET not in targets:
        cdn = targeted(headers, (CDN_TARGET,))
        if cdn is not None:
            forbidden = {name: cdn.arguments[name] for name in _FORBIDDING if name in cdn.arguments}
            if forbidden:
                found = found._replace(arguments={**found.arguments, **forbidden})
    return Control(found, is_targeted)


_FORBIDDING = (b"private", b"no-store", b"no-cache")


def explicit_lifetime(headers: Headers, said: Control, received: float) -> int | None:
    """
    Return the lifetime that the response states, None if it states none (RFC 9111 4.2.1).

    *received* is the Unix time when it came; it stands in for a missing or unreadable Date.
    """
    for name in (b"s-maxage", b"max-age"):
        lifetime = said.directives.seconds(name)
        if lifetime is not None:
            return lifetime
    if said.targeted:
        return None
    lines = values(headers, b"expires")
    if not lines:
        return None
    expires = http_date(lines[0], received) if len(lines) == 1 else None
    if expires is None:
        return 0  # several or a wrong one: expired (RFC 9111 5.3)
    return max(0, int(expires - date(headers, received)))


def date(headers: Headers, received: float) -> float:
    """Return the time in Date, *received* where it says none (RFC 9110 section 6.6.1)."""
    said = http_date(first(headers, b"date"), received)
    return received if said is None else said


def heuristic_lifetime(
    status: int, headers: Headers, said: Control, received: float
) -> float | None:
    """Return a tenth of the time since the last change (RFC 9111 section 4.2.2), None without."""
    if status not in HEURISTIC and not said.has(b"public"):
        return None
    modified = http_date(first(headers, b"last-modified"), received)
    if modified is None:
        return None
    return max(0.0, (date(headers, received) - modified) * _TENTH)


def initial_age(headers: Headers, received: float, delay: float) -> float:
    """
    Return how old a response was when it was asked for (RFC 9111 section 4.2.3).

    *received* is the Unix time when its head came, *delay* the seconds since the call inward.
    Both parts of the standard's corrected age, less the delay that the entry's age includes:
    `max(apparent age, Age + delay) - delay`.
    """
    apparent = max(0.0, received - date(headers, received))
    return max(apparent - delay, float(age(headers)))
