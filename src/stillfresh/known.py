"""What was learned about keys, up to a number of them."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Known(dict[K, V]):
    """What only saves work: it is forgotten when there are *most* of it, and learned anew."""

    __slots__ = ("most",)

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def note(self, key: K, value: V) -> V:
        """Remember *value*, and return it."""
        if len(self) >= self.most:
            self.clear()
        self[key] = value
        return value
