"""
An entry as bytes.

    0   magic        "SF"
    2   version      1
    3   state        "F" as written, "E" expired by hand (the server changes this byte alone)
    4   run          which life of the server it was written in, 8 characters
    12  mark         24 characters, other ones for each attempt to write
    36  fresh        milliseconds, all ones for ever
    44  stale
    52  keep
    60  ahead
    68  tags         how many
    70  key          the length of the key; 0 unless it is too long for the name
    74  the tags, each: its length (2 bytes), its text, its version in the namespace, its version
        everywhere; then the key; then the value

Numbers are big-endian. There is no moment in it: the age follows from the life that the server
says is left, so no two clocks are compared. A counter is no frame but its decimal digits.

Whatever else stands there reads as nothing: `UnreadableEntry`.
"""

from __future__ import annotations

import hashlib
import struct
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...entry import Entry, Kind, Windows
from ...known import Known
from ..counters import is_counter
from .names import packed, written

if TYPE_CHECKING:
    from collections.abc import Mapping

MAGIC: Final = b"SF\x01"
WRITTEN: Final = b"F"
EXPIRED: Final = b"E"
TOKEN: Final = 25
"""Bytes of a version: 8 of the server's run, a colon, 16 of chance."""
MOST_TAGS: Final = 65_535
"""How many an entry may have: two bytes say it."""
ANY_RUN: Final = b"0" * 8
"""The run in what was put there by hand: it counts on every one."""

_FRONT: Final = struct.Struct(">3sc8s24s32sHI")
_LENGTHS: Final = struct.Struct(">QQQQ")
_COUNTS: Final = slice(68, 74)
"""Where it says how many tags there are, and how long the key is."""
_COUNTED: Final = struct.Struct(">HI")
_NEITHER: Final = _COUNTED.pack(0, 0)
_WINDOWS: Final = slice(36, 68)
"""Where the lengths of the windows are."""
_FRESH: Final = MAGIC + WRITTEN
_EVER: Final = (1 << 64) - 1
_LONGEST_MS: Final = 100 * 365 * 86_400_000
"""The server counts no longer than that: a hundred years."""

Versions = tuple[bytes, bytes]
"""The versions of one tag: in the namespace of the entry, and in all of them."""


class UnreadableEntry(Exception):
    """Bytes that are no entry: cut, damaged, or written by something else."""


class Frame(NamedTuple):
    """What the front of a frame says."""

    expired: bool
    run: bytes
    mark: bytes
    windows: Windows
    life: int | None
    """Milliseconds from its birth to its end; None is for ever."""
    tags: dict[str, Versions]
    key: str | None
    start: int
    """Where the value begins."""
    cut: bool = False
    """Not all of its tags were there to be read."""


class RemoteEntry(Entry):
    """An entry that was read: it knows what it was read from."""

    __slots__ = ("cut", "mark", "run", "versions")

    def __init__(  # pyright: ignore[reportMissingSuperCall]
        self,
        value: bytes,
        born: float,
        windows: Windows,
        mark: bytes,
        versions: dict[str, Versions],
        *,
        expired: bool,
        run: bytes = ANY_RUN,
        cut: bool = False,
    ) -> None:
        # One per hit: not what only counts in memory, such as touches for the eviction.
        self.value = value
        tags = frozenset(versions) if versions else _NO_TAGS
        self.kind = kind = Kind(windows, tags, len(value), shared=False)
        kind.born, kind.expired = born, expired
        self.run = run
        self.cut = cut
        """Not all of its tags were there to be read."""
        self.mark = mark
        """Other bytes there have another one."""
        self.versions = versions
        self.quick_until = -inf  # other processes may change it: no short cut


def seal(
    entry: Entry, run: bytes, mark: bytes, versions: Mapping[str, Versions], key: str | None
) -> bytes:
    """Return the bytes of *entry*; *versions* are those of its tags."""
    value = entry.value
    if not isinstance(value, bytes):
        raise TypeError(f"an entry of a shared provider holds bytes, not {type(value)!r}")
    parts = [b""]
    for tag in sorted(entry.tags):
        name = written(tag).encode("utf-8", "surrogatepass")
        parts += [len(name).to_bytes(2, "big"), name, *versions[tag]]
    full = b"" if key is None else key.encode("utf-8", "surrogatepass")
    lengths = _LENGTHS.pack(*(_milliseconds(seconds) for seconds in entry.windows))
    state = EXPIRED if entry.expired else WRITTEN
    parts[0] = _FRONT.pack(MAGIC, state, run, mark, lengths, len(entry.tags), len(full))
    return b"".join((*parts, full, value))


def read_front(data: bytes, *, whole: bool = True) -> Frame:
    """
    Read everything but the value. If *data* is not the *whole* entry, its key may be missing,
    and some of its tags.

    Raises:
        UnreadableEntry: It is no frame, or it is cut.
    """
    try:
        magic, state, run, mark, lengths, count, length = _FRONT.unpack_from(data)
        if magic != MAGIC or state not in {WRITTEN, EXPIRED}:
            raise UnreadableEntry("the magic or the version is another one")
        at = _FRONT.size
        tags: dict[str, Versions] = {}
        cut = False
        for _ in range(count):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            after = end + 2 * TOKEN
            if after > len(data):
                if whole:
                    raise UnreadableEntry("it ends within its tags")
                at, cut = len(data), True
                break
            name = data[at + 2 : end].decode("utf-8", "surrogatepass")
            tags[name] = data[end : end + TOKEN], data[end + TOKEN : after]
            at = after
        start = at + length
        if whole and start > len(data):
            raise UnreadableEntry("it ends within its key")
        key = None
        if length and not cut and start <= len(data):
            key = data[at:start].decode("utf-8", "surrogatepass")
    except (struct.error, UnicodeDecodeError) as error:
        raise UnreadableEntry(str(error)) from error
    windows, life = _known.get(lengths) or _windows(lengths)
    return Frame(state == EXPIRED, run, mark, windows, life, tags, key, start, cut)


def _windows(lengths: bytes) -> tuple[Windows, int | None]:
    """Return the windows that *lengths* spell, and the life; all entries of a function share it."""
    fresh, stale, keep, ahead = _LENGTHS.unpack(lengths)
    windows = Windows(
        inf if fresh == _EVER else fresh / 1000,
        inf if stale == _EVER else stale / 1000,
        inf if keep == _EVER else keep / 1000,
        inf if ahead == _EVER else ahead / 1000,
    )
    life = None if fresh == _EVER else min(fresh + max(stale, keep), _LONGEST_MS)
    return _known.note(lengths, (windows, life))


_MOST_KNOWN: Final = 1_000  # with jitter= there is no end to them
_known: Known[bytes, tuple[Windows, int | None]] = Known(_MOST_KNOWN)
_NO_TAGS: Final[frozenset[str]] = frozenset()


def read_entry(data: bytes, left_ms: int, now: float, *, whole: bool = True) -> RemoteEntry:
    """
    Make an entry of what the server keeps, with so many milliseconds of life left.

    *left_ms* was asked for no later than *data*, and *now* is no later than either: what was
    written in between looks older than it is, never younger.

    Raises:
        UnreadableEntry: It is neither a frame nor a counter.
    """
    if is_counter(data):
        windows = Windows(inf if left_ms == -1 else max(0, left_ms) / 1000)
        return RemoteEntry(data, now, windows, mark_of(data), {}, expired=False)
    if data[: len(MAGIC)] == MAGIC and data[_COUNTS] == _NEITHER:
        # No tags and no long key, as most: there is nothing to cut apart.
        _, state, run, mark, lengths, _, _ = _FRONT.unpack_from(data)
        if state in {WRITTEN, EXPIRED}:
            windows, life = _known.get(lengths) or _windows(lengths)
            age = 0.0 if life is None else max(0, life - max(0, left_ms)) / 1000
            value, expired = data[_FRONT.size :], state == EXPIRED
            return RemoteEntry(value, now - age, windows, mark, {}, expired=expired, run=run)
    frame = read_front(data, whole=whole)
    life = frame.life
    age = 0.0 if life is None else max(0, life - max(0, left_ms)) / 1000
    return RemoteEntry(
        data[frame.start :],
        now - age,
        frame.windows,
        frame.mark,
        frame.tags,
        expired=frame.expired,
        run=frame.run,
        cut=frame.cut,
    )


class Markers:
    """The tags of an entry: their versions' names, how to ask for them, where a frame has them."""

    __slots__ = ("end", "form", "front", "names", "packed", "tags")

    def __init__(self, tags: tuple[str, ...], names: list[str]) -> None:
        self.tags = tags
        self.names = names
        spelled = [written(tag).encode("utf-8", "surrogatepass") for tag in tags]
        whole = [len(name).to_bytes(2, "big") + name for name in spelled]
        self.form = b"".join(
            [
                _COUNTED.pack(len(tags), 0),
                *(name.replace(b"%", b"%%") + b"%b%b" for name in whole),
            ]
        )
        """What a frame says of its tags, with room for their versions; a long key is not there."""
        self.end = _FRONT.size + sum(len(name) + 2 * TOKEN for name in whole)
        """Where its value begins."""
        self.front = f"*{len(names) + 2}\r\n$4\r\nMGET\r\n"
        """What stands before the value's name in a command that reads it with them."""
        self.packed = [packed(name) for name in names]
        """How a command asks for the versions."""


def fresh_value(left_ms: Any, found: Any, passed: float, markers: Markers | None) -> bytes | None:
    """
    Return the value of a frame that is simply fresh: no refresh is due, and its tags hold.

    *found* are the bytes, or with *markers* a list of them and of the versions. *passed* are the
    seconds since before they were asked for. The life that is left is None where nobody asked for
    it: then it has to have one window. None as the answer says nothing: `read_entry` tells.
    """
    if markers is None:
        data, start, tags = found, _FRONT.size, _NEITHER
    elif found.__class__ is list:
        data, *versions = found
        start = markers.end
        try:
            tags = markers.form % tuple(versions)
        except TypeError:  # one of them is not there
            return None
    else:
        return None
    if data.__class__ is not bytes or data[:4] != _FRESH or data[_COUNTS.start : start] != tags:
        return None
    if markers is not None and data[4:12] == ANY_RUN:
        return None
    lengths = data[_WINDOWS]
    if left_ms is None:
        late = _late.get(lengths + _NEITHER)
        soon = passed <= (_lateness(lengths + _NEITHER) if late is None else late)
        return data[start:] if soon else None
    if left_ms.__class__ is not int:
        return None
    windows, life = _known.get(lengths) or _windows(lengths)
    age = passed
    if life is not None and left_ms < life:
        age += (life - left_ms if left_ms > 0 else life) / 1000
    if age >= windows.fresh or age >= windows.ahead:
        return None
    return data[start:]


def lone_value(data: bytes, passed: float) -> bytes | None:
    """
    Return the value of a frame with one window and without tags, which the server had until then.

    *passed* are the seconds since before it was asked for. None says nothing, as above.
    """
    lengths = data[36:74]
    late = _late.get(lengths)
    if late is None:
        late = _lateness(lengths)
    return data[74:] if data[:4] == _FRESH and passed <= late else None


def _lateness(lengths: bytes) -> float:
    """
    Return for how long a reply may be under way that says nothing of the life that is left.

    *lengths* are those of the windows, and then how many tags there are, and the length of the
    key. Less than nothing: there are several windows, or tags, or a key, or it is no frame.
    """
    if len(lengths) != _FRONT.size - _WINDOWS.start:
        return -1.0
    windows, _ = _known.get(lengths[:32]) or _windows(lengths[:32])
    fresh, *others = windows
    one = lengths[32:] == _NEITHER and others == [0.0, 0.0, inf]
    return _late.note(lengths, fresh / 100 if one and fresh >= _SHORT else -1.0)


_late: Known[bytes, float] = Known(_MOST_KNOWN)
_SHORT: Final = 1.0


def mark_of(data: bytes) -> bytes:
    """Return what tells these bytes from others that stood, or will stand, in their place."""
    if data[:3] == MAGIC:
        return data[12:36]
    return hashlib.sha1(data, usedforsecurity=False).hexdigest().encode()


def life_ms(windows: Windows) -> int | None:
    """Return how long the server keeps an entry, from its birth; None is for ever."""
    if windows.fresh == inf:
        return None
    fresh, stale, keep, _ = map(_milliseconds, windows)
    return min(fresh + max(stale, keep), _LONGEST_MS)


def _milliseconds(seconds: float) -> int:
    if seconds == inf:
        return _EVER
    return min(max(round(seconds * 1000), 1 if seconds > 0 else 0), _LONGEST_MS)
