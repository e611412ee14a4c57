"""Names: which one was meant, and those that a class has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def meant(word: object, known: Iterable[str], otherwise: str = "") -> str:
    """Return the question whether the closest of *known* was meant, or *otherwise*."""
    from difflib import get_close_matches  # few mistake a name

    close = get_close_matches(str(word), list(known), 1)
    return f" Did you mean {close[0]!r}?" if close else otherwise


def attributes_of(kind: type) -> dict[str, Any]:
    """
    Return what a class has under each name, as the MRO resolves it, without asking descriptors.

    In the order in which the names were first written, those of base classes before its own.
    """
    found: dict[str, Any] = {}
    for owner in reversed(kind.__mro__):
        found.update(vars(owner))
    return found
