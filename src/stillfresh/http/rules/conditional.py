"""Conditions of requests: toward the client (304, 206), and inward (validation)."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from .fields import OWS, http_date
from .freshness import date
from .message import first, has, joined, values

if TYPE_CHECKING:
    from .message import Headers

# Entity tags (RFC 9110 section 8.8.3). No escapes: what stands between the quotes is the tag.
_TAG = re.compile(rb'(?:W/)?+"[\x21\x23-\x7e\x80-\xff]*+"')
_ENTITY_TAG_FIELDS = (b"content-type", b"content-encoding", b"content-language")

PRECONDITIONS: Final = frozenset(
    {
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"if-range",
        b"range",
    }
)
"""What a fill does not send inward, so that a whole 200 comes back (C6)."""


def has_any(request: Headers) -> bool:
    """Tell whether a request has a condition, or asks for a part."""
    return not PRECONDITIONS.isdisjoint(dict(request))


def entity_tag(headers: Headers, body: bytes, *, strong: bool = False) -> bytes:
    """
    Return an entity tag for *body* under *headers*, the same in every process.

    It is weak unless *strong*: a compressor outside may change the bytes that are sent, and
    leave the tag as it is.
    """
    digest = blake2b(b"%d:" % len(body), digest_size=16)
    digest.update(body)
    for name in _ENTITY_TAG_FIELDS:
        value = joined(headers, name)
        digest.update(b"-" if value is None else b"%d:%s" % (len(value), value))
    text = digest.hexdigest().encode()
    return b'"%s"' % text if strong else b'W/"%s"' % text


def is_entity_tag(text: bytes) -> bool:
    """Tell whether *text* is one, weak or strong."""
    return _TAG.fullmatch(text) is not None


def opaque(tag: bytes) -> bytes:
    """Return what two tags are compared by when weakness does not count (RFC 9110 8.8.3.2)."""
    return tag[2:] if tag[:2] == b"W/" else tag


def names_tag(condition: bytes, tag: bytes | None) -> bool:
    """
    Tell whether the value *condition* of If-None-Match names *tag*, or any (`*`).

    Weak comparison. What is no entity tag in the list is passed over (RFC 9110 section 13.1.2).
    """
    if condition == tag:
        return is_entity_tag(condition)
    condition = condition.strip(OWS)
    if condition == b"*":
        return True
    if tag is None or not is_entity_tag(tag):
        return False
    wanted = opaque(tag)
    if wanted not in condition:  # one fast search spares the reading of most lists
        return False
    at = 0
    while at < len(condition):
        while condition[at : at + 1] in (b" ", b"\t"):
            at += 1
        found = _TAG.match(condition, at)
        end = found.end() if found else at
        comma = condition.find(b",", end)
        comma = len(condition) if comma < 0 else comma
        if found and opaque(found.group()) == wanted and not condition[end:comma].strip(OWS):
            return True
        at = comma + 1
    return False


def not_modified(
    request: Headers,
    tag: bytes | None,
    last_modified: bytes | None,
    stored_date: bytes | None,
    now: float,
) -> bool:
    """
    Tell whether a 200 answers the conditions of a GET or HEAD with a 304.

    If-None-Match decides alone where it is there, matching or not (RFC 9110 section 13.2.2). A
    stored response without Last-Modified is as old as its Date (RFC 9111 section 4.3.2).
    """
    condition = joined(request, b"if-none-match")
    if condition is not None:
        return names_tag(condition, tag)
    lines = values(request, b"if-modified-since")
    if len(lines) != 1:
        return False
    since = http_date(lines[0], now)
    changed = http_date(stored_date if last_modified is None else last_modified, now)
    return since is not None and changed is not None and changed <= since


_NOT_IN_304 = frozenset(
    {
        b"set-cookie",
        b"set-cookie2",
        b"trailer",
        b"transfer-encoding",
        b"accept-ranges",
    }
)
_CONTENT_IN_304 = (b"content-location", b"content-security-policy")


def fields_of_304(headers: Headers) -> Headers:
    """Return the fields of a 200 that a 304 in its place carries (RFC 9110 section 15.4.5)."""
    return tuple(
        [
            line
            for line in headers
            if line[0] not in _NOT_IN_304
            and (not line[0].startswith(b"content-") or line[0].startswith(_CONTENT_IN_304))
        ]
    )


# Validation: what is asked inward, and what a 304 changes.


def validators(stored: Headers) -> Headers:
    """
    Return the conditions by which the stored response is validated (RFC 9111 section 4.3.1).

    A tag is sent as it was received, whatever it looks like: its own server wrote it.
    """
    conditions: list[tuple[bytes, bytes]] = []
    tag = first(stored, b"etag")
    if tag:
        conditions.append((b"if-none-match", tag))
    modified = first(stored, b"last-modified")
    if modified:
        conditions.append((b"if-modified-since", modified))
    return tuple(conditions)


def has_validator(headers: Headers) -> bool:
    """Tell whether the response can be validated later."""
    return bool(first(headers, b"etag") or first(headers, b"last-modified"))


def inward(request: Headers) -> Headers:
    """
    Return the fields of a request that fills the cache.

    The client's own conditions and ranges are left out (C6). All other fields go along, and with
    them those that the response varies by (RFC 9111 section 4.3.1).
    """
    return tuple([line for line in request if line[0] not in PRECONDITIONS])


_NOT_UPDATED = frozenset(
    {
        b"content-length",
        b"content-encoding",
        b"content-md5",
        b"content-range",
        b"content-type",
        b"transfer-encoding",
        b"trailer",
        b"connection",
        b"keep-alive",
        b"te",
        b"upgrade",
        b"age",
    }
)


def confirms(stored: Headers, fresh: Headers) -> bool:
    """
    Tell whether a 304 with the fields *fresh* speaks of the stored response (RFC 9111 4.3.4).

    If it names another tag, or without a tag another date, it does not, and nothing may be
    updated from it: the request goes inward again, without conditions.
    """
    tag, named = first(stored, b"etag"), first(fresh, b"etag")
    if named is not None:
        return tag is not None and opaque(tag) == opaque(named)
    modified = first(fresh, b"last-modified")
    return tag is not None or modified is None or modified == first(stored, b"last-modified")


def freshened(stored: Headers, fresh: Headers) -> Headers:
    """
    Return the fields of the stored response, updated by those of a 304 (RFC 9111 section 3.2).

    What describes the stored bytes stays, and so does what the 304 does not mention. Age is
    dropped: the age begins anew with the 304's own.
    """
    coming = [line for line in fresh if line[0] not in _NOT_UPDATED]
    updated = {name for name, _ in coming} | {b"age"}
    return (*[line for line in stored if line[0] not in updated], *coming)


# Parts of a body (RFC 9110 section 14).

_RANGE = re.compile(rb"bytes=[ \t]*+(\d*+)-(\d*+)[ \t]*+", re.IGNORECASE)
_LONGEST_NUMBER = 18


class Unsatisfiable:
    """The range begins behind the end of the body: a 416 says how long that is."""


UNSATISFIABLE: Final = Unsatisfiable()


def byte_range(value: bytes, size: int) -> tuple[int, int] | Unsatisfiable | None:
    """
    Return the one range that the field Range asks for, as (first, one behind the last) byte.

    None for whatever is not a single range of bytes: it is answered with the whole.
    """
    match = _RANGE.fullmatch(value.strip(OWS))
    if match is None:
        return None
    start, end = match.groups()
    if max(len(start), len(end)) > _LONGEST_NUMBER:
        return None
    if not start:
        if not end:
            return None
        length = int(end)  # the last so many bytes
        return (max(0, size - length), size) if length and size else UNSATISFIABLE
    begin, stop = int(start), int(end) + 1 if end else size
    if end and stop <= begin:
        return None  # no valid range, so no range at all (14.1.2)
    return (begin, min(stop, size)) if begin < size else UNSATISFIABLE


def range_applies(request: Headers, stored: Headers, now: float) -> bool:
    """
    Tell whether the ranges of a request go for this response (RFC 9110 section 13.1.5).

    Without If-Range they do. It has to name the strong tag, or exactly the date of the last
    change where that is strong: at least a minute before Date.
    """
    lines = values(request, b"if-range")
    if not lines:
        return True
    if len(lines) != 1:
        return False
    condition = lines[0].strip(OWS)
    if condition.endswith(b'"'):
        return condition == first(stored, b"etag") and _is_strong(condition)
    modified = first(stored, b"last-modified")
    if modified is None or not has(stored, b"date"):
        return False
    moment = http_date(modified, now)
    wanted = http_date(condition, now)
    return moment is not None and moment == wanted and date(stored, now) - moment >= 60


def _is_strong(tag: bytes) -> bool:
    return tag[:1] == b'"' and is_entity_tag(tag)


def content_range(part: tuple[int, int] | Unsatisfiable, size: int) -> bytes:
    """Return the value of Content-Range for a 206, or for a 416."""
    if isinstance(part, Unsatisfiable):
        return b"bytes */%d" % size
    return b"bytes %d-%d/%d" % (part[0], part[1] - 1, size)
