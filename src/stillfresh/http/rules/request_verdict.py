"""
What a request may do: be answered from the cache, fill it, or go past it (http-rules.md A, E, J).

A verdict is one of a few constants, so a hit allocates nothing for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .fields import OWS, CacheControl, cache_control
from .key import normal_host
from .message import has_body, values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..policy import HttpCache
    from .message import Headers, Request


class Ask(NamedTuple):
    """The verdict on a request."""

    look: bool
    """It may be answered from what is stored."""
    store: bool
    """Its response may be stored, and shared with those who wait for the same."""
    reason: bytes = b""
    """Why not: the word for `fwd` in Cache-Status (RFC 9211 section 2.2)."""
    detail: str = ""
    open_only: bool = False
    """Only for responses that say themselves that they are for all (`ResponseVerdict.open`)."""


USUAL: Final = Ask(look=True, store=True)
HEAD: Final = Ask(look=True, store=False, reason=b"method", detail="HEAD fills nothing")
METHOD: Final = Ask(look=False, store=False, reason=b"method", detail="the method is not cached")
BODY: Final = Ask(look=False, store=False, reason=b"bypass", detail="the request has a body")
PRECONDITION: Final = Ask(
    look=False, store=False, reason=b"bypass", detail="the handler's to decide"
)
UNKNOWN_HOST: Final = Ask(look=False, store=False, reason=b"bypass", detail="an unknown host")
CREDENTIALS: Final = Ask(
    look=True, store=True, reason=b"bypass", detail="Authorization", open_only=True
)
LOOK_CREDENTIALS: Final = CREDENTIALS._replace(store=False)
COOKIE: Final = Ask(look=False, store=False, reason=b"bypass", detail="Cookie")
FORWARDED: Final = Ask(
    look=True, store=False, reason=b"bypass", detail="fields of a proxy that is not trusted"
)

_NOT_OURS: Final = frozenset({b"if-match", b"if-unmodified-since", b"expect", b"upgrade"})
_FORWARDING: Final = frozenset(
    {
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"forwarded",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-http-method-override",
    }
)
KEYED_FORWARDING: Final = tuple(sorted(_FORWARDING))
"""Where a proxy is trusted, what it says joins the key: the handler may answer by it."""
_BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding"})
_CREDENTIALS: Final = frozenset({b"authorization", b"cookie"})
_NOBODYS: Final = _CREDENTIALS | {b"proxy-authorization"}
_NOTABLE: Final = _NOT_OURS | _FORWARDING | _BODY_FIELDS | _CREDENTIALS


def ask(request: Request, policy: HttpCache, *, pure: bool = False) -> Ask:
    """
    Say what *request* may do under *policy*.

    *pure*: an action that can depend on nothing but its declared parameters (http-rules.md A6), so
    cookies and a proxy's fields cannot change its answer. Credentials cannot, either, and yet a
    shared cache stays away from them until somebody says so (A5).
    """
    method = request.method
    if method == "GET" or (method == "HEAD" and policy.head_fills):
        usual = USUAL
    elif method == "HEAD":
        usual = HEAD
    elif method in policy.methods:
        usual = USUAL
    else:
        return METHOD  # RFC 9110 9.3.2, 9111 4
    if policy.is_known_host and not policy.is_known_host(
        normal_host(request.scheme, request.host).encode("utf-8", "surrogatepass")
    ):
        return UNKNOWN_HOST
    names = _NOTABLE.intersection(dict(request.headers))
    if not names:
        return usual
    if not names.isdisjoint(_NOT_OURS):
        return PRECONDITION
    if not names.isdisjoint(_BODY_FIELDS) and method in _BODILESS and has_body(request.headers):
        return BODY  # "fat GET": what it says is not in the key
    if (
        not pure
        and policy.profile == "safe"
        and not policy.trust_forwarded
        and not names.isdisjoint(_FORWARDING)
    ):
        usual = FORWARDED  # whoever asks may write them, so public= and per= say nothing of them
    if policy.public or policy.per is not None:
        return usual
    wary = not pure and policy.profile == "safe"
    if wary and b"cookie" in names and cookie_counts(request.headers, policy):
        return COOKIE
    if b"authorization" in names:  # RFC 9111 3.5
        return CREDENTIALS if usual.store else LOOK_CREDENTIALS
    return usual


_BODILESS: Final = frozenset({"GET", "HEAD"})


# Cookies


def cookies(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the cookies of a request as (name, value), in order (RFC 6265 section 5.4)."""
    found: list[tuple[bytes, bytes]] = []
    for line in values(headers, b"cookie"):
        for pair in line.split(b";"):
            name, equals, value = pair.partition(b"=")
            if not equals:
                name, value = b"", pair  # a nameless one is a value
            found.append((name.strip(OWS), value.strip(OWS)))
    return found


def cookie_counts(headers: Headers, policy: HttpCache) -> bool:
    """Tell whether a request has a cookie that the policy says nothing about."""
    if policy.vary_cookies:
        return False  # the user has said what counts
    ignored = policy.is_ignored_cookie
    if ignored is None:
        return True
    return not all(ignored(name) for name, _ in cookies(headers))


def cookie_parts(headers: Headers, names: Iterable[bytes]) -> list[bytes]:
    """Return parts of a key: the values of the cookies *names*, and which of them are absent."""
    present = cookies(headers)
    parts: list[bytes] = []
    for name in names:
        found = [value for key, value in present if key == name]
        parts.append(b"%d" % len(found))
        parts += found
    return parts


def background(headers: Headers, policy: HttpCache) -> Headers:
    """
    Return the fields of a request that refreshes behind the one that asked (http-rules.md D2).

    No credentials, and no cookies but those that count.
    """
    kept = tuple([line for line in headers if line[0] not in _NOBODYS])
    counting = [
        name + b"=" + value for name, value in cookies(headers) if name in policy.vary_cookies
    ]
    return (*kept, (b"cookie", b"; ".join(counting))) if counting else kept


# Directives of requests (RFC 9111 section 5.2.1). Advisory: ignored unless the policy says whose
# count, because any client could force the handler with them.


def wishes(headers: Headers) -> CacheControl | None:
    """Return the directives of a request, None where it has none."""
    lines = values(headers, b"cache-control")
    if lines:
        return cache_control(lines)
    pragma = cache_control(values(headers, b"pragma"))
    return pragma if pragma.has(b"no-cache") else None  # RFC 9111 5.4


def satisfies(wished: CacheControl, age: float, lifetime: float) -> bool:
    """Tell whether a stored response of this *age* is what a request wishes, or allows."""
    if wished.has(b"no-cache") or wished.has(b"no-store"):
        return False
    oldest = wished.seconds(b"max-age")
    if oldest is not None and age > oldest:
        return False
    at_least = wished.seconds(b"min-fresh")
    if at_least is not None and lifetime - age < at_least:
        return False
    return age < lifetime or age < lifetime + tolerance(wished)


def tolerance(wished: CacheControl) -> float:
    """Return how long after its end a request takes a stale response (max-stale)."""
    given = wished.arguments.get(b"max-stale")
    if given is None:
        return 0.0
    return float("inf") if given == [None] else float(wished.seconds(b"max-stale") or 0)
