"""
Structured fields (RFC 9651): the ones that a cache reads and writes.

A field that breaks the syntax is ignored as a whole. `http_sf` does the parsing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

try:
    import http_sf
except ModuleNotFoundError as error:
    raise ImportError(
        "action, http_cache, HttpCache and HttpCacheMiddleware need the library http-sf. "
        "Install it: pip install 'stillfresh[http]'"
    ) from error

from .fields import CacheControl, form_decoded
from .message import values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .message import Headers

LONGEST = 65_536
"""Longer fields are ignored. The standard's minima, and CDNs' limits, are far below."""


def _parse(lines: list[bytes], kind: str) -> object:
    """Return the structure, or None for what is absent or broken (RFC 9651 section 4.2)."""
    if not lines or sum(map(len, lines)) > LONGEST:
        return None
    try:
        return http_sf.parse(b", ".join(lines), tltype=kind)
    except (http_sf.StructuredFieldError, ValueError):
        return None


def targeted(headers: Headers, names: Iterable[bytes]) -> CacheControl | None:
    """
    Return the first of the targeted fields *names* that is there, valid and not empty.

    It takes the place of Cache-Control and Expires (RFC 9213 section 2.2). Known directives of
    a wrong type make the whole field invalid.
    """
    for name in names:
        found = _parse(values(headers, name), "dictionary")
        if isinstance(found, dict) and found:
            control = _as_control(cast("dict[str, object]", found))
            if control is not None:
                return control
    return None


_TIMES = {"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"}


def _as_control(found: dict[str, object]) -> CacheControl | None:
    arguments: dict[bytes, list[bytes | None]] = {}
    for key, member in found.items():
        value = member[0] if isinstance(member, tuple) else member
        if value is False:
            continue
        text: bytes | None = None
        if key in _TIMES:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                return None
            text = b"%d" % value
        elif isinstance(value, str):
            text = value.encode()
        arguments[key.encode()] = [text]
    return CacheControl(arguments)


def strings(headers: Headers, name: bytes) -> tuple[str, ...]:
    """Return a List of Strings, parameters left out; nothing if a member is no String."""
    found = _parse(values(headers, name), "list")
    if not isinstance(found, list):
        return ()
    texts: list[str] = []
    for member in cast("list[object]", found):
        value = member[0] if isinstance(member, tuple) else member
        if type(value) is not str:  # a Token is a class of its own
            return ()
        texts.append(value)
    return tuple(texts)


def write_strings(texts: Iterable[str]) -> bytes:
    """Return a List of Strings as it is sent. Texts that are not printable ASCII are left out."""
    escaped = [
        '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for text in texts
        if text.isascii() and text.isprintable()
    ]
    return ", ".join(escaped).encode()


class SearchVariance(NamedTuple):
    """What of a query counts (No-Vary-Search). The default: all of it, in its order."""

    ignore: frozenset[bytes] = frozenset()
    """Names that do not count."""
    only: frozenset[bytes] | None = None
    """The only names that count; None for all but `ignore`."""
    ordered: bool = True
    """The order of different names counts."""


WHOLE_QUERY = SearchVariance()


def no_vary_search(headers: Headers) -> SearchVariance:
    """
    Read No-Vary-Search. What is wrong in any part gives the default, so that all counts.

    Experimental: the specification is an approved draft.
    """
    found = _parse(values(headers, b"no-vary-search"), "dictionary")
    if not isinstance(found, dict):
        return WHOLE_QUERY
    parts: dict[str, object] = {
        key: member[0] if isinstance(member, tuple) else member for key, member in found.items()
    }
    unordered = parts.get("key-order", False)
    params = parts.get("params", False)
    kept = parts.get("except")
    if not isinstance(unordered, bool):
        return WHOLE_QUERY
    if isinstance(params, bool):
        if kept is None:
            return SearchVariance(only=frozenset() if params else None, ordered=not unordered)
        names = _names(kept)
        if not params or names is None:
            return WHOLE_QUERY
        return SearchVariance(only=names, ordered=not unordered)
    names = _names(params)
    if names is None or kept is not None:
        return WHOLE_QUERY
    return SearchVariance(ignore=names, ordered=not unordered)


def _names(member: object) -> frozenset[bytes] | None:
    """Return the Strings of an inner list, decoded as names in a query are."""
    if not isinstance(member, list):
        return None
    names: set[bytes] = set()
    for item in cast("list[object]", member):
        value = item[0] if isinstance(item, tuple) else item
        if type(value) is not str:
            return None
        names.add(form_decoded(value.encode()))
    return frozenset(names)
