"""From a response to what is stored of it, and from there to what a client is sent. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from ...entry import Windows
from ...errors import InvalidOption
from ..rules import conditional, key, outgoing
from ..rules.fields import format_date
from ..rules.message import Headers, Response, first, has, joined, only, replaced, without
from ..rules.response_verdict import VALIDATED
from ..rules.unsafe import group
from .stored import Stored

if TYPE_CHECKING:
    from ..policy import HttpCache
    from ..rules.message import Request
    from ..rules.response_verdict import ResponseVerdict

FIRST_HAND: Final = frozenset({"miss", "coalesced", "bypass"})
"""Ways to be answered that are no use of the cache: no Age is sent."""


class Reply(NamedTuple):
    """What a client is sent."""

    status: int
    headers: Headers
    body: bytes


class Kept(NamedTuple):
    """A response that is to be stored: with its lifetimes, and the tags that came with it."""

    stored: Stored
    windows: Windows
    tags: frozenset[str]


def keep(
    request: Request,
    response: Response,
    verdict: ResponseVerdict,
    policy: HttpCache,
    *,
    added: Headers,
    tag: bytes | None,
    modified: bytes | None,
    behind: bool,
    shortened: float = 0.0,
    codings: tuple[tuple[bytes, bytes], ...] = (),
) -> Kept:
    """
    Make of a response what is stored.

    *added* are the fields that clients get besides. *tag* and *modified* are what the user's
    functions said. *behind*: it may be refreshed without the one who asks. *shortened* is the
    part of the lifetime that jitter takes, *codings* the body in further ones.
    """
    headers = verdict.headers
    own = False
    if tag is not None:
        headers = replaced(headers, b"etag", tag)
    elif policy.etag in {"weak", "strong"} and not has(headers, b"etag"):
        strong = policy.etag == "strong"
        made = conditional.entity_tag(headers, response.body, strong=strong)
        headers, own = (*headers, (b"etag", made)), True
    if modified is not None:
        headers = replaced(headers, b"last-modified", modified)
    if policy.ranges and response.status == 200 and not has(headers, b"accept-ranges"):
        headers = (*headers, (b"accept-ranges", b"bytes"))
    if first(headers, b"content-length") is None and response.status not in {204, 304}:
        headers = (*headers, (b"content-length", b"%d" % len(response.body)))
    stored = Stored(
        status=response.status,
        headers=headers,
        body=response.body,
        added=added,
        age=verdict.age,
        lifetime=verdict.lifetime,
        after_error=verdict.error,
        open=verdict.open,
        vary=verdict.vary,
        variant=key.variant(verdict.vary, request.headers, policy.normalize),
        own_tag=own,
        after_raise=verdict.raised,
        codings=codings,
    )
    windows = lifetimes(verdict, behind=behind, shortened=shortened)
    if tag is not None or modified is not None:
        windows = windows._replace(keep=max(windows.keep, VALIDATED))
    return Kept(stored, windows, group_tags(request, verdict))


def group_tags(request: Request, verdict: ResponseVerdict) -> frozenset[str]:
    """Return the tags of a response that its Cache-Groups are (RFC 9875)."""
    return frozenset(f"url:{group(request.scheme, request.host, name)}" for name in verdict.groups)


def lifetimes(verdict: ResponseVerdict, *, behind: bool, shortened: float = 0.0) -> Windows:
    """Return how long a response lives, as entries count it."""
    factor = 1.0 if verdict.explicit else 1.0 - shortened
    stale = verdict.stale if behind else 0.0
    return Windows(verdict.fresh * factor, stale, max(verdict.keep, verdict.error))


def lived_on(stored: Stored, verdict: ResponseVerdict, headers: Headers) -> Stored:
    """Return a stored response whose life begins anew, under *headers*."""
    return msgspec.structs.replace(
        stored,
        headers=headers,
        age=verdict.age,
        lifetime=verdict.lifetime,
        after_error=verdict.error,
        after_raise=verdict.raised,
        open=verdict.open,
    )


def answer(
    stored: Stored,
    request: Request,
    policy: HttpCache,
    *,
    resident: float,
    how: str,
    member: bytes,
    now: float,
    inside: int | None = None,
) -> Reply:
    """
    Answer *request* from a stored response.

    *resident* is the age of its entry, *how* the way it was found, *member* what Cache-Status
    says, *now* the Unix time. *inside* is the status that the application has answered with, if it
    was asked.
    """
    age = stored.age + resident
    made: list[tuple[bytes, bytes]] = []
    if how not in FIRST_HAND or age >= 1:
        made.append((b"age", outgoing.age(age)))
    coding = coding_for(stored, request.headers)
    (headers, unchanged, body), code = stored.sent_as(coding), stored.status
    if code == 200 and request.method in _CONDITIONAL:
        modified = first(headers, b"last-modified")
        if conditional.not_modified(
            request.headers, stored.tag, modified, first(headers, b"date"), now
        ):
            return _reply_with(304, unchanged, b"", made, outgoing.after(member, inside, 304))
        if policy.ranges and request.method == "GET":
            part = ranged(request.headers, headers, body, now)
            if part is not None:
                member = outgoing.after(member, inside, part.status)
                return _reply_with(part.status, part.headers, part.body, made, member)
    body = b"" if request.method == "HEAD" else body
    return _reply_with(code, headers, body, made, outgoing.after(member, inside, code))


def unkept_cookies(policy: HttpCache, headers: Headers) -> Headers:
    """Return the fields that set cookies, where they are not stored with the rest (A7)."""
    return only(headers, {b"set-cookie"}) if policy.profile == "safe" else ()


def for_one(headers: Headers, *, ours: bool) -> Headers:
    """Return *headers* as of one client's response; *ours*: Cache-Control is not the handler's."""
    if ours and has(headers, b"cache-control"):
        return replaced(headers, b"cache-control", outgoing.PERSONAL)
    return headers


def with_cookies(reply: Reply, stored: Stored, cookies: Headers) -> Reply:
    """Return the reply to the one for whom the handler has set *cookies*."""
    if reply.status == 304:  # never has them (C4)
        return reply
    headers = for_one(reply.headers, ours=has(stored.added, b"cache-control"))
    return reply._replace(headers=(*headers, *cookies))


def coding_for(stored: Stored, request: Headers) -> bytes:
    """Return the coding in which a client gets a stored response, b"" for as it came."""
    if not stored.codings:
        return b""
    return key.best_coding(joined(request, b"accept-encoding"), stored.coding_names)


_CONDITIONAL: Final = frozenset({"GET", "HEAD"})


def ranged(request: Headers, headers: Headers, body: bytes, now: float) -> Reply | None:
    """Return the part of a body that a request asks for, None for the whole."""
    wanted = first(request, b"range")
    if wanted is None or not conditional.range_applies(request, headers, now):
        return None
    part = conditional.byte_range(wanted, len(body))
    if part is None:
        return None
    described = without(headers, {b"content-length", b"content-range"})
    described = (*described, (b"content-range", conditional.content_range(part, len(body))))
    if isinstance(part, conditional.Unsatisfiable):
        described = without(described, {b"etag", b"last-modified", b"content-type"})
        return Reply(416, (*described, (b"content-length", b"0")), b"")
    piece = body[part[0] : part[1]]
    return Reply(206, (*described, (b"content-length", b"%d" % len(piece))), piece)


def _reply_with(
    code: int, headers: Headers, body: bytes, made: list[tuple[bytes, bytes]], member: bytes
) -> Reply:
    headers = (*headers, *made)
    return Reply(code, outgoing.with_status(headers, member) if member else headers, body)


def as_tag(value: object, title: str) -> bytes | None:
    """
    Return what a user's `etag=` function said as an entity tag; a bare text becomes a weak one.

    Raises:
        InvalidOption: It is no text.
    """
    if value is None:
        return None
    text = value.encode() if isinstance(value, str) else str(value).encode()
    if isinstance(value, bytes):
        text = value
    if conditional.is_entity_tag(text):
        return text
    tag = b'W/"%s"' % text
    if not conditional.is_entity_tag(tag):
        msg = (
            f"{title}: etag= returned {value!r}, which cannot stand in an ETag. Return text "
            "without spaces and quotes, such as f'v{version}'."
        )
        raise InvalidOption(msg)
    return tag


def as_date(value: object, title: str) -> bytes | None:
    """
    Return what a user's `last_modified=` function said as an HTTP date.

    Raises:
        InvalidOption: It is neither a datetime nor seconds since 1970.
    """
    if value is None:
        return None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return format_date(datetime.fromtimestamp(value, UTC).timestamp())
        if isinstance(value, datetime):
            return format_date(value.timestamp())
    except (OverflowError, OSError, ValueError):
        pass  # milliseconds, say: no such year
    msg = f"{title}: last_modified= returned {value!r}. Return a datetime, or Unix seconds."
    raise InvalidOption(msg)


def with_ttl(verdict: ResponseVerdict, seconds: float) -> ResponseVerdict:
    """Return the verdict on a response whose computation has set its own `ttl`."""
    return replace(verdict, lifetime=seconds, fresh=max(0.0, seconds - verdict.age))
