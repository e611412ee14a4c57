"""The two profiles of `HttpCache`, and what the one of RFC 9111 has otherwise."""

from __future__ import annotations

from typing import Any, Final, Literal

Profile = Literal["safe", "rfc"]

SAFE_STATUSES: Final = frozenset({200, 203, 204, 301, 308})
"""What a route's ttl goes for (http-rules.md A3)."""
ALL_STATUSES: Final = frozenset(range(200, 600)) - {206, 304}

OF_PROFILE: Final[dict[Profile, dict[str, Any]]] = {
    "safe": {},
    "rfc": {
        "etag": "off",
        "ranges": True,
        "sort_query": False,
        "statuses": ALL_STATUSES,
        "store_nonces": True,
        # Such a cache stands where a CDN does.
        "targeted": ("Stillfresh-Cache-Control", "CDN-Cache-Control"),
        "trust_forwarded": True,
    },
}
