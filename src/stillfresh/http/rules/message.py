"""
Heads of requests and responses as plain values, and the fields in them.

Names of fields are lower-case bytes, as ASGI has them; order and repetitions are kept. Nothing
here knows what a field means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Field lines as (name, value), names lower-case, in the order in which they came."""


@dataclass(frozen=True, slots=True)
class Request:
    """What of a request a cache decides by. The body is not part of it: see `has_body`."""

    method: str
    """Case-sensitive (RFC 9110 section 9.1)."""
    scheme: str
    host: str
    """The authority as the client wrote it, port included."""
    path: bytes
    """The path as it was sent, percent-encoding included."""
    query: bytes = b""
    """What follows the `?`, as it was sent."""
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response."""

    status: int
    headers: Headers = ()
    body: bytes = b""


def values(headers: Headers, name: bytes) -> list[bytes]:
    """Return the value of each line of the field *name*, in order."""
    return [value for key, value in headers if key == name]


def first(headers: Headers, name: bytes) -> bytes | None:
    """Return the value of the first line of the field *name*."""
    for key, value in headers:
        if key == name:
            return value
    return None


def joined(headers: Headers, name: bytes) -> bytes | None:
    """Return the lines of the field *name* as one value (RFC 9110 section 5.3)."""
    found = [value for key, value in headers if key == name]
    if not found:
        return None
    return found[0] if len(found) == 1 else b", ".join(found)


def has(headers: Headers, name: bytes) -> bool:
    """Tell whether there is a line of the field *name*."""
    return any(key == name for key, _ in headers)


def without(headers: Headers, names: Collection[bytes]) -> Headers:
    """Return *headers* without the lines of the fields *names*."""
    return tuple(line for line in headers if line[0] not in names)


def only(headers: Headers, names: Collection[bytes]) -> Headers:
    """Return the lines of the fields *names*."""
    return tuple(line for line in headers if line[0] in names)


def replaced(headers: Headers, name: bytes, value: bytes) -> Headers:
    """Return *headers* with one line of the field *name*, where the first one stood."""
    lines: list[tuple[bytes, bytes]] = []
    done = False
    for line in headers:
        if line[0] != name:
            lines.append(line)
        elif not done:
            done = True
            lines.append((name, value))
    if not done:
        lines.append((name, value))
    return tuple(lines)


def lowered(lines: Collection[tuple[bytes, bytes]]) -> Headers:
    """Return field lines with their names in lower case, as `Headers` have them."""
    return tuple([(bytes(name).lower(), bytes(value)) for name, value in lines])


def has_body(headers: Headers) -> bool:
    """Tell from the head whether a request has a body (RFC 9112 section 6.3)."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
            return True
    return False
