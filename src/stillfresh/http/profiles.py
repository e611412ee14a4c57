"""The two profiles of `HttpCache`, and what the one of RFC 9111 has otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from ..errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping

Profile = Literal["safe", "rfc"]

SAFE_STATUSES: Final = frozenset({200, 203, 204, 301, 308})
"""What a route's ttl goes for (http-rules.md A3)."""
ALL_STATUSES: Final = frozenset(range(200, 600)) - {206, 304}

_OF_PROFILE: Final[dict[Profile, dict[str, Any]]] = {
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


def of_profile(profile: Profile, options: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return *options*, and those of *profile* that they do not name.

    Raises:
        InvalidOption: They have a ttl.
    """
    if "ttl" in options:
        msg = (
            f"ttl={options['ttl']!r}: a whole application marks what is fresh itself, with "
            "Cache-Control. Write @http_cache on the routes that need a ttl."
        )
        raise InvalidOption(msg)
    return {**_OF_PROFILE[profile], **options}
