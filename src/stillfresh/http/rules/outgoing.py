"""
What clients are told: Cache-Status (RFC 9211), Age, and Cache-Control where the handler set none.

The fields that say how long are made at the fill; a hit adds two numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .fields import cache_control, members, whole_seconds
from .message import has, joined, replaced, values
from .response_verdict import OWN_NAME
from .structured import write_strings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..policy import HttpCache
    from .message import Headers
    from .response_verdict import ResponseVerdict

HIT: Final = OWN_NAME + b"; hit; ttl=%d"
PERSONAL: Final = b"private, no-cache"


def hit(remaining: float) -> bytes:
    """Return the member of a hit. *remaining* seconds of freshness, negative when it is stale."""
    return HIT % _rounded(remaining)


def _rounded(seconds: float) -> int:
    return int(max(-_MOST, min(seconds, _MOST)))


_MOST: Final = 2.0**31


def forwarded(reason: bytes, *, stored: bool = False, collapsed: bool = False) -> bytes:
    """
    Return the member of a request that went inward.

    *reason* is one of uri-miss, vary-miss, stale, request, bypass, method, partial.
    """
    member = OWN_NAME + b"; fwd=" + reason
    if stored:
        member += b"; stored"
    if collapsed:
        member += b"; collapsed"
    return member


def after(member: bytes, inside: int | None, sent: int) -> bytes:
    """Return *member* with the status from *inside*, where another one is sent (section 2.4)."""
    if not member or inside is None or inside == sent:
        return member
    return member + b"; fwd-status=%d" % inside


def detailed(member: bytes, *, key: str = "", detail: str = "") -> bytes:
    """Return *member* with what helps to find a fault, and an attacker: for debugging only."""
    for name, text in ((b"key", key), (b"detail", detail)):
        if text:
            shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
            member += b"; " + name + b"=" + write_strings([shown])
    return member


def with_status(headers: Headers, member: bytes) -> Headers:
    """Return *headers* with *member* after what caches nearer to the origin said (section 2)."""
    said = joined(headers, b"cache-status")
    if said is None:
        return (*headers, (b"cache-status", member))
    return replaced(headers, b"cache-status", b"%s, %s" % (said, member))


def age(seconds: float) -> bytes:
    """Return the value of Age: whole seconds, rounded down (RFC 9111 section 5.1)."""
    return b"%d" % whole_seconds(seconds)


def control_fields(
    headers: Headers,
    status: int,
    verdict: ResponseVerdict,
    policy: HttpCache,
    *,
    pure: bool = False,
    invalidated: bool = False,
    skipped: bool = False,
) -> Headers:
    """
    Return the fields to add to a response, by the table of http-rules.md B5.

    A Cache-Control or Expires of the handler is neither overwritten nor widened; where `per=` or
    `private=True` has made the response one client's, and the handler has not said whose it is,
    `private` stands beside it. *pure*: an action that can depend on nothing but its parameters,
    so it is public. *invalidated*: something can drop its responses. *skipped*: the
    handler has said that it is not to be stored.
    """
    added: list[tuple[bytes, bytes]] = []
    wanted = (*verdict.vary, *selecting(policy))
    listed = unnamed(headers, wanted) if wanted else b""
    if listed:
        added.append((b"vary", listed))
    if has(headers, b"cache-control") or has(headers, b"expires"):
        if (policy.per is not None or policy.private) and not _says_whose(headers):
            added.append((b"cache-control", b"private"))
        return tuple(added)
    if policy.for_whole_app:
        return tuple(added)
    if not verdict.store:
        if verdict.private and (status in policy.statuses or status in policy.negative_ttl):
            added.append((b"cache-control", PERSONAL))
        return tuple(added)
    public = (policy.public or pure) and not (policy.personal or policy.private)
    if skipped:
        added.append((b"cache-control", b"no-cache" if public else PERSONAL))
        return tuple(added)
    added.append(
        (
            b"cache-control",
            _control(
                min(verdict.lifetime, policy.negative_ttl.get(status, policy.fresh)),
                policy,
                public=public,
                ask=invalidated or policy.must_ask,
            ),
        )
    )
    if policy.cdn_ttl is not None and public and not has(headers, b"cdn-cache-control"):
        added.append((b"cdn-cache-control", b"max-age=%d" % whole_seconds(policy.cdn_ttl)))
    return tuple(added)


def _says_whose(headers: Headers) -> bool:
    """Tell whether the handler has decided if caches in front may share the response."""
    said = cache_control(values(headers, b"cache-control"))
    return any(map(said.has, (b"private", b"no-store", b"public", b"s-maxage")))


def _control(lifetime: float, policy: HttpCache, *, public: bool, ask: bool) -> bytes:
    directives: list[bytes] = []
    longest = policy.client_max_age
    if longest is None and ask:
        directives += [b"no-cache"] if public else [b"private", b"no-cache"]
    else:
        length = lifetime if longest is None else longest
        directives += [b"public" if public else b"private", b"max-age=%d" % whole_seconds(length)]
        window = policy.stale_while_revalidate
        if window is None and public:
            window = policy.stale
        if window and length:
            directives.append(b"stale-while-revalidate=%d" % whole_seconds(window))
        if policy.immutable:
            directives.append(b"immutable")  # RFC 8246
    if policy.must_revalidate:
        directives.append(b"must-revalidate")
    if policy.no_transform:
        directives.append(b"no-transform")
    return b", ".join(directives)


def selecting(policy: HttpCache) -> tuple[bytes, ...]:
    """Return the fields of requests by which a route says itself that its responses differ."""
    if policy.per is not None:
        return (b"cookie", b"authorization")
    return (b"cookie",) if policy.vary_cookies else ()


def varied(headers: Headers, names: Iterable[bytes]) -> Headers:
    """Return *headers* with *names* in Vary, where they are not named in it yet."""
    listed = unnamed(headers, names)
    if not listed:
        return headers
    said = joined(headers, b"vary")
    return replaced(headers, b"vary", b"%s, %s" % (said, listed) if said else listed)


def unnamed(headers: Headers, names: Iterable[bytes]) -> bytes:
    """Return what of *names* Vary does not list yet, as it is added to it."""
    named = {name.lower() for name in members(joined(headers, b"vary") or b"")}
    if b"*" in named:
        return b""
    return b", ".join([name.title() for name in dict.fromkeys(names) if name not in named])


def cache_groups(
    tags: Iterable[str], *, emit: bool | Callable[[str], str | None]
) -> tuple[tuple[bytes, bytes], ...]:
    """Return the field by which caches in front learn the tags of a response (RFC 9875)."""
    if emit is False:
        return ()
    names = sorted(tags) if emit is True else [name for tag in sorted(tags) if (name := emit(tag))]
    value = write_strings(names)
    return ((b"cache-groups", value),) if value else ()
