"""
Keys: which stored response may answer a request (http-rules.md A9 to A12; RFC 9111 sections 2
and 4.1).

Two requests share a key only if they ask for the same: every part is written with its length in
front, so no part runs into the next, and what is read of a URL is only what says the same in every
server (hex case and unreserved characters, RFC 3986 section 6.2.2).
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from .fields import OWS, form_decoded, members
from .message import joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .message import Headers
    from .structured import SearchVariance

VERSION: Final = b"1"
"""Goes into each key: another way to make keys reads none of the old entries."""

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def digest(parts: Iterable[bytes]) -> str:
    """Return a fingerprint of *parts*; another split of the same bytes has another one."""
    made = blake2b(digest_size=16)
    for part in parts:
        made.update(b"%d:%s" % (len(part), part))
    return made.hexdigest()


def normal_host(scheme: str, host: str) -> str:
    """Return *host* in lower case, without the default port of *scheme*."""
    return host.lower().removesuffix(_DEFAULT_PORTS.get(scheme, "\0"))


def origin(scheme: str, host: str) -> tuple[bytes, bytes]:
    """Return the two parts of a key that say whose URL it is."""
    return scheme.encode(), normal_host(scheme, host).encode("utf-8", "surrogatepass")


def normal_escapes(text: bytes) -> bytes:
    """
    Return *text* with percent-escapes in upper case, those of unreserved characters undone.

    `%2F` stays apart from `/`, and `%3F` from `?`. Doing it twice changes nothing: what comes
    out of an escape is never a `%`.
    """
    return _ESCAPE.sub(_escape, text) if b"%" in text else text


def _escape(match: re.Match[bytes]) -> bytes:
    code = int(match[1], 16)
    return bytes((code,)) if code in _UNRESERVED else match[0].upper()


def normal_query(
    query: bytes, *, ignored: Callable[[bytes], bool] | None = None, ordered: bool = False
) -> bytes:
    """
    Return *query* with its parameters sorted by name, and without those that are *ignored*.

    Repeated ones keep their order, and `a` stays apart from `a=`. *ordered* leaves all as it is.
    """
    query = normal_escapes(query)
    if ignored is None and (ordered or b"&" not in query):
        return query
    pieces = query.split(b"&")
    if ignored is not None:
        pieces = [piece for piece in pieces if not ignored(_name(piece))]
    if not ordered:
        pieces.sort(key=_name)
    return b"&".join(pieces)


def _name(piece: bytes) -> bytes:
    """Return a name as applications read it: `a+b` and `a%20b` are one that is repeated."""
    return form_decoded(piece.partition(b"=")[0])


def name_matcher(patterns: Sequence[str]) -> Callable[[bytes], bool] | None:
    """Return a test for names of parameters or cookies; `*` in a pattern stands for any text."""
    if not patterns:
        return None
    quoted = [pattern.replace("[", "[[]").replace("?", "[?]") for pattern in patterns]
    match = re.compile("|".join(map(translate, quoted)).encode()).match
    return lambda name: match(name) is not None


def searched(query: bytes, variance: SearchVariance) -> bytes:
    """Return what of *query* counts under No-Vary-Search, so that equal results are one URL."""
    pairs: list[tuple[bytes, bytes]] = []
    for piece in query.split(b"&"):
        if not piece:
            continue
        name, _, value = piece.partition(b"=")
        name = form_decoded(name)
        if name in variance.ignore or (variance.only is not None and name not in variance.only):
            continue
        pairs.append((name, form_decoded(value)))
    if not variance.ordered:
        pairs.sort(key=lambda pair: pair[0])  # stable: repeated names keep their order
    return digest([text for pair in pairs for text in pair]).encode()


def primary(
    scheme: str,
    host: str,
    path: bytes,
    query: bytes,
    *,
    action: str = "",
    extra: Sequence[bytes] = (),
) -> str:
    """
    Return the key of a URL: of what `target` and the query name, for one *action*.

    Path and query are the normal forms. *extra* are further parts: an identity, the values
    of cookies, the digest of a request's body.
    """
    return digest(
        (
            VERSION,
            action.encode(),
            scheme.encode(),
            host.encode("utf-8", "surrogateescape"),
            path,
            query,
            *extra,
        )
    )


def target(scheme: str, host: str, path: bytes) -> str:
    """Return the tag of all that is stored for a URL, whatever its query (RFC 9111 section 4.4)."""
    host = normal_host(scheme, host)
    return digest(
        (
            VERSION,
            b"target",
            scheme.encode(),
            host.encode("utf-8", "surrogateescape"),
            normal_escapes(path),
        )
    )


# Variants: the fields that a response varies by (RFC 9111 section 4.1).

_CODINGS: Final = (b"br", b"deflate", b"gzip", b"zstd")
_ALIASES: Final = {b"x-gzip": b"gzip"}


def variant(
    names: Iterable[bytes],
    request: Headers,
    normalizers: dict[bytes, Callable[[bytes], bytes]],
) -> str:
    """
    Return the fingerprint of what *request* says in the fields *names*, "" where there are none.

    A field that is absent stands apart from an empty one. Lines are joined, and space around
    commas does not count; *normalizers* may reduce a field further.
    """
    parts: list[bytes] = []
    for name in names:
        value = joined(request, name)
        parts.append(name)
        normalize = normalizers.get(name, plain_value)
        parts.append(b"-" if value is None else b"+" + normalize(value))
    return digest(parts) if parts else ""


def plain_value(value: bytes) -> bytes:
    """Return a list without the space around its commas; any field may be a list."""
    return b",".join(members(value))


def weighted(value: bytes) -> dict[bytes, float]:
    """Return what a list of preferences names, lower-case, with its weight (RFC 9110 12.4.2)."""
    found: dict[bytes, float] = {}
    for member in members(value):
        name, *parameters = member.split(b";")
        weight = 1.0
        for parameter in parameters:
            key, _, number = parameter.partition(b"=")
            if key.strip(OWS).lower() == b"q":
                weight = _weight(number.strip(OWS))
        found[name.strip(OWS).lower()] = weight
    return found


_WEIGHT = re.compile(rb"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")


def _weight(text: bytes) -> float:
    return float(text) if _WEIGHT.fullmatch(text) else 0.0


def accepted_codings(value: bytes) -> bytes:
    """
    Return Accept-Encoding reduced to the codings that servers know, sorted (RFC 9110 12.5.3).

    Two clients that take the same codings get the same bytes, whatever they prefer.
    """
    weights = weighted(value)
    anything = weights.get(b"*", 0.0)
    known = {_ALIASES.get(name, name): weight for name, weight in weights.items()}
    accepted = [name for name in _CODINGS if known.get(name, anything) > 0]
    if known.get(b"identity", 1.0 if b"*" not in weights else anything) <= 0:
        accepted.append(b"no-identity")
    return b",".join(accepted)


@lru_cache(512)  # clients are many, and kinds of them few
def best_coding(accepted: bytes | None, codings: tuple[bytes, ...]) -> bytes:
    """Return which of *codings* a client likes best, b"" if none (RFC 9110 section 12.5.3)."""
    if accepted is None:
        return b""
    weights = weighted(accepted)
    known = {_ALIASES.get(name, name): weight for name, weight in weights.items()}
    anything = known.get(b"*", 0.0)
    best = max(codings, key=lambda name: known.get(name, anything))  # of equals the first
    weight = known.get(best, anything)
    return best if weight > 0 and weight >= known.get(b"identity", 0.0) else b""


def coding_fits(request: Headers, coding: bytes | None) -> bool:
    """
    Tell whether a response in *coding* may go to everybody who asks as *request* does.

    An application that compresses what its client refuses must not fill the variant of all
    clients that refuse it.
    """
    if coding is None:
        return True
    names = [_ALIASES.get(name.lower(), name.lower()) for name in members(coding)]
    accepted = accepted_codings(joined(request, b"accept-encoding") or b"").split(b",")
    return all(name in accepted or name == b"identity" for name in names)


def languages(value: bytes) -> bytes:
    """Return Accept-Language in lower case, in its order."""
    return plain_value(value).replace(b" ", b"").replace(b"\t", b"").lower()


def unordered_languages(value: bytes) -> bytes:
    """Return Accept-Language by weight alone: the order of equals does not count (12.5.4)."""
    weights = weighted(value)
    return b",".join(
        [
            b"%s;q=%.3f" % (name, weight)
            for name, weight in sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))
        ]
    )


COMMON_NORMALIZERS: Final = {b"accept-encoding": accepted_codings, b"accept-language": languages}
LOOSE_NORMALIZERS: Final = {**COMMON_NORMALIZERS, b"accept-language": unordered_languages}
"""Of the profile `rfc`: whoever writes `en, de` there may be answered like `de, en`."""
