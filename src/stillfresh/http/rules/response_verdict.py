"""
What becomes of a response that came from inside: is it stored, for how long, who may have it.

The verdict is made once, at the fill, from the head alone (http-rules.md A3 to A10, A17, B, D; RFC
9111 sections 3 and 4.2). What a hit needs of it is kept with the response.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .conditional import has_validator
from .fields import OWS, members, vary
from .freshness import (
    Control,
    control,
    explicit_lifetime,
    heuristic_lifetime,
    initial_age,
)
from .key import coding_fits
from .message import first, has, joined, values
from .unsafe import MOST_GROUPS, groups

if TYPE_CHECKING:
    from ..policy import HttpCache
    from .message import Headers, Request, Response
    from .request_verdict import Ask

UNDERSTOOD: Final = frozenset(
    {
        *(200, 201, 202, 203, 204, 205),
        *(300, 301, 302, 303, 307, 308),
        *range(400, 418),
        *(421, 422, 426, 428, 429, 431, 451),
        *(500, 501, 502, 503, 504, 505, 511),
    }
)
"""Statuses whose meaning for caches is known here (RFC 9111 section 3, must-understand)."""

ERRORS: Final = frozenset({500, 502, 503, 504})
"""Statuses that say that the origin failed; a 404 or 410 is an answer (RFC 5861 section 4)."""

VALIDATED: Final = 86_400.0
"""How long a response with a validator is kept behind its end, to be asked about."""

_ASKED_FIRST: Final = (b"must-revalidate", b"proxy-revalidate", b"s-maxage", b"no-cache")
"""Never used stale, whatever else is said (RFC 9111 sections 4.2.4 and 5.2.2)."""


@dataclass(frozen=True, slots=True)
class ResponseVerdict:
    """What becomes of one response. Windows are seconds, as `Windows` in `entry` has them."""

    store: bool
    why: str = ""
    """Why it is not stored."""
    private: bool = False
    """It may be one client's alone: the caller told so by its fields, or its request did."""
    askable: bool = False
    """It is not stored for want of a validator: with a tag made here, clients can ask."""
    fresh: float = 0.0
    """From the call inward; 0: it is asked about before each use."""
    stale: float = 0.0
    """After `fresh`: served at once while a refresh runs (RFC 5861 section 3)."""
    error: float = 0.0
    """After `fresh`: served when the origin fails (RFC 5861 section 4)."""
    raised: float = 0.0
    """After `fresh`: served when the handler raises. At least `error`."""
    keep: float = 0.0
    """After `fresh`: kept, to be asked about or served on errors. At least `raised`."""
    lifetime: float = 0.0
    """The whole freshness lifetime, from when the response was made."""
    age: float = 0.0
    """How old it was at the call inward: what is sent as Age, plus the age of the entry."""
    open: bool = False
    """It says itself that requests with Authorization may have it (RFC 9111 section 3.5)."""
    explicit: bool = False
    """It says itself how long it is fresh."""
    vary: tuple[bytes, ...] = ()
    """The fields of the request that select it, lower-case and sorted."""
    headers: Headers = ()
    """The fields that are stored."""
    groups: tuple[str, ...] = ()
    """Its Cache-Groups (RFC 9875)."""


def failed(status: int) -> bool:
    """Tell whether a response says that the origin failed, so that an old one is better."""
    return status in ERRORS


def never_stale(headers: Headers, policy: HttpCache) -> bool:
    """Tell whether a response forbids that it is ever used stale."""
    said = control(headers, policy.targeted)
    return any(said.has(name) for name in _ASKED_FIRST)


def judge_response(
    request: Request,
    response: Response,
    asked: Ask,
    policy: HttpCache,
    *,
    received: float,
    delay: float,
) -> ResponseVerdict:
    """
    Say what becomes of *response*, of which only status and fields are looked at.

    *asked* is the verdict on the request, *received* the Unix time when the head came, *delay*
    the seconds that passed since the call inward.
    """
    status, headers = response.status, response.headers
    if not asked.store:
        return ResponseVerdict(store=False, why=asked.detail, private=asked.reason == b"bypass")
    said = control(headers, policy.targeted)
    why = _forbidden(status, said) or _endless(headers)
    if why:
        return ResponseVerdict(store=False, why=why, private=said.has(b"private"))
    is_open = said.has(b"public") or said.has(b"s-maxage") or said.has(b"must-revalidate")
    if asked.open_only and not is_open:
        return ResponseVerdict(store=False, why=asked.detail, private=True)
    names = vary(headers)
    if names is None:
        return ResponseVerdict(store=False, why="Vary: *")
    if policy.profile == "safe":
        why = _unsafe(headers, names, policy)
        if why:
            return ResponseVerdict(store=False, why=why, private=True)
    names = _with_origin(request, headers, names)
    if b"accept-encoding" in names and not coding_fits(
        request.headers, joined(headers, b"content-encoding")
    ):
        return ResponseVerdict(store=False, why="a coding that the client does not take")
    if sum(len(name) + len(value) for name, value in headers) > policy.max_header_bytes:
        why = f"a head of more than {policy.max_header_bytes} bytes"
        return ResponseVerdict(store=False, why=why)
    found = groups(response)
    if len(found) > MOST_GROUPS:
        return ResponseVerdict(store=False, why="too many Cache-Groups")
    lifetime, explicit = _lifetime(response, said, policy, received)
    if lifetime is None:
        askable = status == 200 and said.has(b"no-cache")
        return ResponseVerdict(store=False, why=f"a {status} without freshness", askable=askable)
    age = initial_age(headers, received, delay)
    end = lifetime - age
    must_ask = any(said.has(name) for name in _ASKED_FIRST)
    stale = 0.0 if must_ask else _window(said, b"stale-while-revalidate", policy.stale)
    error = 0.0 if must_ask else _window(said, b"stale-if-error", policy.stale_if_error)
    raised = 0.0 if must_ask else policy.stale_on_exception
    fresh = max(0.0, end)
    stale = max(0.0, end + stale) - fresh if policy.per is None else 0.0
    error = max(0.0, end + error) - fresh
    raised = max(error, max(0.0, end + raised) - fresh)
    keep = max(raised, VALIDATED if has_validator(headers) else 0.0)
    if not (fresh or stale or keep):
        return ResponseVerdict(store=False, why="stale when it came")
    return ResponseVerdict(
        store=True,
        fresh=fresh,
        stale=stale,
        error=error,
        raised=raised,
        keep=keep,
        lifetime=lifetime,
        age=age,
        open=is_open,
        explicit=explicit,
        vary=names,
        headers=storable(headers, policy),
        groups=found,
    )


def _forbidden(status: int, said: Control) -> str:
    """Return why no shared cache stores it, "" if one may (RFC 9111 section 3)."""
    if not 200 <= status <= 599 or status in {206, 304}:
        return f"a {status} is no whole response"
    if said.has(b"must-understand"):
        if status not in UNDERSTOOD:
            return f"must-understand, and a {status} is not"
    elif said.has(b"no-store"):
        return "no-store"
    return "private" if said.has(b"private") else ""


def _endless(headers: Headers) -> str:
    """Return why a response is sent on live, and clients are told nothing of a lifetime (A15)."""
    kind = first(headers, b"content-type")
    if kind is not None and kind.strip(OWS).lower().startswith(b"text/event-stream"):
        return "a stream of events"
    return ""


def _unsafe(headers: Headers, names: tuple[bytes, ...], policy: HttpCache) -> str:
    """Return why the profile `safe` does not store it, "" if it does."""
    for line in values(headers, b"set-cookie"):  # A7
        if line.partition(b"=")[0].strip(OWS) not in policy.strip_set_cookie:
            return "Set-Cookie"
    if policy.per is None and not _PERSONAL.isdisjoint(names):  # A9
        return "Vary: Cookie or Authorization"
    if not policy.store_nonces:  # J: each copy of the page would have the same nonce
        for name in (b"content-security-policy", b"content-security-policy-report-only"):
            for line in values(headers, name):
                if b"'nonce-" in line.lower():
                    return "a nonce in Content-Security-Policy"
    return ""


_PERSONAL: Final = frozenset({b"cookie", b"authorization"})


def _with_origin(request: Request, headers: Headers, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Add Origin where the answer to a cross-origin request depends on it unsaid (A10)."""
    allowed = first(headers, b"access-control-allow-origin")
    unsaid = has(request.headers, b"origin") if allowed is None else allowed.strip(OWS) != b"*"
    return tuple(sorted({*names, b"origin"})) if unsaid else names


def _lifetime(
    response: Response, said: Control, policy: HttpCache, received: float
) -> tuple[float | None, bool]:
    """Return the freshness lifetime, None if it is not to be stored; and whether it says so."""
    status, headers = response.status, response.headers
    negative = policy.negative_ttl.get(status)
    if status not in policy.statuses and negative is None:
        return None, False
    if said.has(b"no-cache"):
        return (0.0, True) if has_validator(headers) else (None, True)
    explicit = explicit_lifetime(headers, said, received)
    if explicit is not None:
        return float(explicit), True
    if said.directives.broken:
        return 0.0, False
    if negative is not None:
        return negative, False
    if not policy.for_whole_app:
        return policy.fresh, False
    if not policy.heuristics:
        return None, False
    granted = heuristic_lifetime(status, headers, said, received)
    if granted is None and has_validator(headers):
        granted = 0.0  # asked about at each use, as if it said no-cache
    return granted, False


def _window(said: Control, name: bytes, option: float) -> float:
    given = said.directives.seconds(name)
    return option if given is None else float(given)


# Fields that are kept, and those that are sent on.

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Between two neighbours only (RFC 9111 section 3.1, RFC 9110 section 7.6.1)."""

_REMADE: Final = frozenset({b"age"})
OWN_NAME: Final = b"stillfresh"


def storable(headers: Headers, policy: HttpCache) -> Headers:
    """
    Return the fields of a response that are stored (RFC 9111 section 3.1).

    Without what is between two neighbours, what speaks to this cache alone, what is made anew
    at each hit, and in the profile `safe` what would hand on a cookie.
    """
    dropped = HOP_BY_HOP | _REMADE | connection_options(headers)
    dropped |= policy.own_fields | policy.hop_by_hop
    if policy.profile == "safe":
        dropped |= {b"set-cookie"}
    kept: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name in dropped or name.startswith(b"proxy-"):
            continue
        if name == b"cache-status":
            others = without_own_member(value)
            if others:
                kept.append((name, others))
        else:
            kept.append((name, value))
    return tuple(kept)


def connection_options(headers: Headers) -> frozenset[bytes]:
    """Return the names of fields that Connection lists."""
    listed = joined(headers, b"connection")
    return frozenset() if listed is None else frozenset(name.lower() for name in members(listed))


def without_own_member(value: bytes) -> bytes:
    """Return a Cache-Status without what this cache said in it."""
    return b", ".join(
        [
            member
            for member in members(value)
            if member.partition(b";")[0].strip(OWS).strip(b'"').lower() != OWN_NAME
        ]
    )
