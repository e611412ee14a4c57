"""The names of what a handler, or a function of the user's, has looked at in a request."""

from __future__ import annotations

from typing import Final

HARMLESS: Final = frozenset({"host", "content-length"})
OF_ONE: Final = frozenset({"authorization", "cookie", "session", "user", "auth", "state"})
"""What says who asks; where an identity is in the key, it may be read."""
NOTED: Final = "scope key "
"""In front of the name of what a middleware has noted in the scope: that may say it as well."""


def named_fields(reads: set[str]) -> frozenset[str]:
    """
    Return which of *reads* are single fields or cookies of a request.

    Who has looked at all of them, or at what a middleware has noted, has not named what counts.
    """
    if "all fields" in reads:
        return frozenset()
    return frozenset(
        name for name in reads - OF_ONE - HARMLESS - {"client"} if not name.startswith(NOTED)
    )
