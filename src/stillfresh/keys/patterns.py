"""
Patterns over keys: `*` is any run of characters, everything else is itself.

There is no escape and no other wildcard, so a pattern means the same on every
provider. Matching takes the leftmost place for each piece between two stars and
never goes back: a later place would only leave less room for the pieces that follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable

STAR = "*"


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """
    Return the test for *pattern*: does all of a text match it?

    Raises:
        InvalidOption: The pattern is no text.
    """
    if not isinstance(pattern, str):
        msg = f"pattern {pattern!r}: expected a text, in which * is any text, such as 'user:*'."
        raise InvalidOption(msg)
    head, *pieces = pattern.split(STAR)
    if not pieces:
        return lambda text: text == pattern
    tail = pieces.pop()
    middle = tuple(piece for piece in pieces if piece)
    shortest = len(head) + len(tail)

    def test(text: str) -> bool:
        if len(text) < shortest or not text.startswith(head) or not text.endswith(tail):
            return False
        at, end = len(head), len(text) - len(tail)
        for piece in middle:
            found = text.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    return test


def literal_prefix(pattern: str) -> str:
    """Return the text with which every match of *pattern* begins; all of it without a star."""
    return pattern.partition(STAR)[0]
