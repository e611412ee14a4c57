"""What an unsafe request invalidates (RFC 9111 section 4.4, RFC 9875)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from .key import VERSION, digest, normal_host, origin, target
from .message import first
from .structured import strings

if TYPE_CHECKING:
    from .message import Request, Response

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
"""The methods that change nothing. Every other one may, unknown ones included."""

MOST_GROUPS: Final = 128
"""More groups than this on one response, and it is not stored: one of them would get lost."""


def is_unsafe(method: str) -> bool:
    """Tell whether a request may have changed something (RFC 9110 section 9.2.1)."""
    return method not in SAFE_METHODS


def invalidated(request: Request, response: Response) -> list[str]:
    """
    Return the `key.target` tags and the `group` tags that *response* to *request* invalidates.

    After a success: the target itself, and what Location and Content-Location name on the same
    origin. Cache-Group-Invalidation counts whatever the status, as its section 3 has it.
    """
    if not is_unsafe(request.method):
        return []
    scheme, host = request.scheme, request.host
    tags = [group(scheme, host, name) for name in invalidated_groups(response)]
    if 200 <= response.status < 400:
        paths = [request.path]
        for name in (b"location", b"content-location"):
            value = first(response.headers, name)
            path = None if value is None else same_origin_path(request, value)
            if path is not None:
                paths.append(path)
        # Without a host: what routes with host_in_key=False have stored.
        tags += [target(scheme, name, path) for path in paths for name in (host, "")]
    return list(dict.fromkeys(tags))


def same_origin_path(request: Request, reference: bytes) -> bytes | None:
    """Return the raw path of a URI reference, None if it leaves the origin of *request*."""
    host = normal_host(request.scheme, request.host)
    base = f"{request.scheme}://{host}{request.path.decode('latin-1')}"
    try:
        parts = urlsplit(urljoin(base, reference.decode("latin-1").strip()))
    except ValueError:
        return None
    if parts.scheme != request.scheme or normal_host(parts.scheme, parts.netloc) != host:
        return None
    return parts.path.encode("latin-1") or b"/"


def groups(response: Response) -> tuple[str, ...]:
    """Return the groups that a response says it belongs to (Cache-Groups, RFC 9875 section 2)."""
    return strings(response.headers, b"cache-groups")


def invalidated_groups(response: Response) -> tuple[str, ...]:
    """Return the groups that a response says are out of date (RFC 9875 section 3)."""
    return strings(response.headers, b"cache-group-invalidation")


def group(scheme: str, host: str, name: str) -> str:
    """Return the tag of a group. Groups of two origins are two (RFC 9875 section 2.1)."""
    return digest((VERSION, b"group", *origin(scheme, host), name.encode()))
