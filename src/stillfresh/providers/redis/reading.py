"""
Reading: what the server keeps under one name or many, and whether it is of use.

    look ── PTTL, GET (or MGET with the versions of the tags) ── cut the frame apart ── judge
    glance ── the same ── simply fresh: its bytes ──────────────────────────────► a hit
                            anything else ── cut the frame apart ── judge
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...entry import Entry, Verdict, judge
from .client import ClusterNode
from .frame import (
    ANY_RUN,
    Markers,
    RemoteEntry,
    UnreadableEntry,
    fresh_value,
    mark_of,
    read_entry,
    read_front,
)
from .talking import Talking, expected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..base import Address


class Reading(Talking):
    """Entries as they are on the server."""

    async def look(self, address: Address) -> Entry | None:
        """
        Read an entry and the versions of its tags, in one round trip if the tags are known.

        The life that is left comes first: what is stored in between looks older than it is.
        """
        if self.discards:
            [entry] = await self.look_many([address])
            return entry
        now = self._clock.now()
        markers = self.tags_seen.get(address)
        try:
            replies = await self.wire.read(self.names.value(address), markers)
        except ClusterNode:
            self.become_cluster()
            replies = await self.wire.read(self.names.value(address), markers)
        return await self.looked(address, markers, replies, now)

    async def glance(self, address: Address) -> bytes | Entry | None:
        """Look, and make no entry of what is simply fresh: this is what a hit costs."""
        if self.discards:
            return await self.look(address)
        now = self._clock.now()
        markers = self.tags_seen.get(address)
        try:
            left, found = replies = await self.wire.read(self.names.value(address), markers)
        except ClusterNode:
            return await self.look(address)
        value = fresh_value(left, found, self._clock.now() - now, markers)
        if value is not None:
            return value
        return await self.looked(address, markers, replies, now)

    async def looked(
        self, address: Address, markers: Markers | None, replies: Sequence[Any], now: float
    ) -> Entry | None:
        """
        Return the usable entry in *replies*, if there is one.

        They are the life that is left and the bytes, or with *markers* a list with the versions
        as well; they were asked for at *now*.
        """
        left, data = replies
        versions: list[bytes | None] = []
        if markers is not None and data.__class__ is list:
            data, *versions = data
        if data is None:
            return None
        if left.__class__ is not int or data.__class__ is not bytes:
            left, data = expected(left), expected(data)
            if data is None:
                return None
        entry = self._read(address, data, left, now)
        holds = True
        if entry is not None and entry.versions:
            known = () if markers is None or entry.run == ANY_RUN else markers.tags
            if known == tuple(entry.versions):  # as it was the last time: all are here
                holds = versions == [one for pair in entry.versions.values() for one in pair]
            else:
                asked = {} if markers is None else dict(zip(markers.names, versions, strict=True))
                [holds] = await self.held([(address, entry)], asked)
        return self._judged(address, entry, now, holds=holds)

    async def look_many(self, addresses: Sequence[Address]) -> list[Entry | None]:
        if not addresses:
            return []
        now = self._clock.now()
        values = [self.names.value(address) for address in addresses]
        markers: dict[str, None] = {}
        for address in addresses:
            known = self.tags_seen.get(address)
            if known is not None:
                markers.update(dict.fromkeys(known.names))
        if self.discards:
            return await self._look_on_runs(addresses, values, list(markers))
        *lives, found = await self.ask(
            *(("PTTL", value) for value in values), ("MGET", *values, *markers)
        )
        versions = dict(zip(markers, found[len(values) :], strict=True))
        entries = [
            self._read(address, data, left, now)
            for address, data, left in zip(addresses, found[: len(values)], lives, strict=True)
        ]
        return await self._all_judged(addresses, entries, versions, now)

    async def _look_on_runs(
        self, addresses: Sequence[Address], values: list[str], markers: list[str]
    ) -> list[Entry | None]:
        now, count = self._clock.now(), len(values)
        replies, runs = await self.ask_where(
            [("PTTL", value) for value in values] + [("GET", name) for name in (*values, *markers)]
        )
        versions = {
            marker: counted(version, run)
            for marker, version, run in zip(
                markers, replies[2 * count :], runs[2 * count :], strict=True
            )
        }
        entries = [
            self._read(address, replies[count + at], replies[at], now, runs[count + at])
            for at, address in enumerate(addresses)
        ]
        return await self._all_judged(addresses, entries, versions, now)

    async def _all_judged(
        self,
        addresses: Sequence[Address],
        entries: Sequence[RemoteEntry | None],
        versions: dict[str, bytes | None],
        now: float,
    ) -> list[Entry | None]:
        held = await self.held(zip(addresses, entries, strict=True), versions)
        return [
            self._judged(address, entry, now, holds=holds)
            for address, entry, holds in zip(addresses, entries, held, strict=True)
        ]

    def _read(
        self, address: Address, data: bytes | None, left_ms: int, now: float, run: bytes = b""
    ) -> RemoteEntry | None:
        if data is None:
            return None
        try:
            entry = read_entry(data, left_ms, now)
        except UnreadableEntry:
            self._useless.note(address, mark_of(data))
            return None
        if not self.counts(entry, run):
            self._useless.note(address, entry.mark)
            return None
        known = self.tags_seen.get(address)
        if known is not None or entry.versions:
            self._note_tags(address, tuple(entry.versions), known)
        return entry

    def counts(self, entry: RemoteEntry | None, run: bytes) -> bool:
        """Tell whether *entry* counts: perhaps it is of another *run* of the server."""
        return entry is None or not self.discards or entry.run in {run, ANY_RUN}

    def _note_tags(self, address: Address, tags: tuple[str, ...], known: Markers | None) -> None:
        if known is not None and known.tags == tags:
            return
        if not tags:
            self.tags_seen.pop(address, None)
            return
        together = (address.namespace, tags)
        markers = self._together.get(together)
        if markers is None:
            names = [marker for tag in tags for marker in self.markers(address, tag)]
            markers = Markers(tags, names)
            self._together.note(together, markers)
        self.tags_seen.note(address, markers)

    def dropped(self, address: Address, markers: Markers, found: list[Any]) -> bool:
        """
        Tell whether the tags of an entry do not hold; then it is gone, whatever its age.

        *found* are its bytes, and the versions that were read with them.
        """
        data, *versions = found
        entry = self._read(address, data, 0, 0.0) if isinstance(data, bytes) else None
        if entry is None or entry.run == ANY_RUN or markers.tags != tuple(entry.versions):
            return False
        holds = versions == [one for pair in entry.versions.values() for one in pair]
        if not holds:
            self._useless.note(address, entry.mark)
        return not holds

    def learn(self, address: Address, data: bytes, asked: Markers | None) -> bool:
        """
        Have the versions of the tags of what was read asked for with it the next time.

        The answer is whether it has other tags than those that were *asked* for.
        """
        with suppress(UnreadableEntry):
            tags = tuple(read_front(data).tags)
            self._note_tags(address, tags, self.tags_seen.get(address))
            return tags != (() if asked is None else asked.tags)
        return False

    def _judged(
        self, address: Address, entry: RemoteEntry | None, now: float, *, holds: bool
    ) -> RemoteEntry | None:
        if entry is None:
            return None
        if holds and judge(entry, now) is not Verdict.GONE:
            return entry
        if entry.expired or not holds:  # for good; one that only looks too old may be new
            self._useless.note(address, entry.mark)
        return None

    async def held(
        self,
        entries: Iterable[tuple[Address, RemoteEntry | None]],
        versions: dict[str, bytes | None],
    ) -> list[bool]:
        """Tell of each entry whether its tags hold; *versions* that were read are not asked for."""
        entries = list(entries)
        wanted: list[list[tuple[str, bytes]]] = [
            []
            if entry is None
            else [
                pair
                for tag, written in entry.versions.items()
                for pair in zip(self.markers(address, tag), written, strict=True)
            ]
            for address, entry in entries
        ]
        missing = list(
            {name: None for pairs in wanted for name, _ in pairs if name not in versions}
        )
        if missing and self.discards:
            found, runs = await self.ask_where([("GET", name) for name in missing])
            versions.update(zip(missing, map(counted, found, runs), strict=True))
        elif missing:
            [found] = await self.ask(("MGET", *missing))
            versions.update(zip(missing, found, strict=True))
        return [
            entry is None
            or all(versions[name] == version for name, version in pairs)
            or (entry.run == ANY_RUN and all(same(versions[name], one) for name, one in pairs))
            for (_, entry), pairs in zip(entries, wanted, strict=True)
        ]

    def markers(self, address: Address, tag: str) -> tuple[str, str]:
        """Return where the two versions of a tag are: of the namespace, and of all of them."""
        return self.names.marker(address.namespace, tag), self.names.marker(None, tag)


def counted(version: bytes | None, run: bytes) -> bytes | None:
    """Return a version as it counts for what was computed: not if another run has written it."""
    if version is None or version.startswith(run):
        return version
    return b"." * len(run) + version[len(run) :]


def same(version: bytes | None, written: bytes) -> bool:
    """Tell whether two versions are one, whatever run has written them."""
    return version is not None and version[8:] == written[8:]
