"""
The source of the soak, and what must hold of it: a piece of memory that all processes map.

For each key its version, and its floor: the version that a call which starts now must at least
get, because an invalidation that was made after it had been written has returned.
"""

from __future__ import annotations

import fcntl
import mmap
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

KEYS = 48
GROUPS = 4
_PAIR = struct.Struct("<QQ")


class Board:
    """Versions and floors, outside of the cache."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), KEYS * _PAIR.size)

    @staticmethod
    def create(path: Path) -> None:
        """Make it, with all versions at 0."""
        path.write_bytes(bytes(KEYS * _PAIR.size))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def version(self, key: int) -> int:
        """Return what the source says now."""
        return int(_PAIR.unpack_from(self._map, key * _PAIR.size)[0])

    def floor(self, key: int) -> int:
        """Return what must at least be served from now on."""
        return int(_PAIR.unpack_from(self._map, key * _PAIR.size)[1])

    def write(self, keys: Iterable[int]) -> dict[int, int]:
        """Change the source; return the new versions."""
        written: dict[int, int] = {}
        with self._locked():
            for key in keys:
                version, floor = _PAIR.unpack_from(self._map, key * _PAIR.size)
                written[key] = version + 1
                _PAIR.pack_into(self._map, key * _PAIR.size, version + 1, floor)
        return written

    def raise_floors(self, versions: dict[int, int]) -> None:
        """Note that an invalidation has returned that was made after these were written."""
        with self._locked():
            for key, least in versions.items():
                version, floor = _PAIR.unpack_from(self._map, key * _PAIR.size)
                _PAIR.pack_into(self._map, key * _PAIR.size, version, max(floor, least))
