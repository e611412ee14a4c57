"""Reading, and the right to compute: look, acquire, store, wait."""

from __future__ import annotations

import os
import random
import time
from base64 import urlsafe_b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ...entry import Entry, Verdict, judge
from ...errors import ProviderUnavailable
from ...events import log
from ..base import Busy, Found, Lease
from . import scripts
from .client import Refusal
from .frame import RemoteEntry, UnreadableEntry, life_ms, mark_of, read_entry, seal
from .names import Markers, fence_number, is_long
from .renewal import Grant
from .talking import Talking, call, expected, in_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..base import Address
    from .client import Command
    from .frame import Versions

HOLD_MS: Final = 3_600_000
"""How long a version lives at least, before the life of an entry is known."""
_SHORTEST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.1


class Leasing(Talking):
    """One computes, and whoever comes later is not given anything older."""

    # Reading

    async def look(self, address: Address) -> Entry | None:
        """
        Read an entry and the versions of its tags, in one round trip if the tags are known.

        The life that is left comes first: what is stored in between looks older than it is.
        """
        now = self._clock.now()
        markers = self._tags.get(address)
        left, data = await self.wire.read(self.names.value(address), markers)
        versions: list[bytes | None] = []
        if markers is not None and data.__class__ is list:
            data, *versions = data
        if data is None:
            return None
        if left.__class__ is not int or data.__class__ is not bytes:
            expected(left)
            expected(data)
        entry = self._read(address, data, left, now)
        holds = True
        if entry is not None and entry.versions:
            if markers is not None and markers.tags == tuple(entry.versions):  # all are here
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
            known = self._tags.get(address)
            if known is not None:
                markers.update(dict.fromkeys(known.names))
        *lives, found = await self.ask(
            *(("PTTL", value) for value in values), ("MGET", *values, *markers)
        )
        versions = dict(zip(markers, found[len(values) :], strict=True))
        entries = [
            self._read(address, data, left, now)
            for address, data, left in zip(addresses, found[: len(values)], lives, strict=True)
        ]
        held = await self.held(zip(addresses, entries, strict=True), versions)
        return [
            self._judged(address, entry, now, holds=holds)
            for address, entry, holds in zip(addresses, entries, held, strict=True)
        ]

    def _read(
        self, address: Address, data: bytes | None, left_ms: int, now: float
    ) -> RemoteEntry | None:
        if data is None:
            return None
        try:
            entry = read_entry(data, left_ms, now)
        except UnreadableEntry:
            self._useless.note(address, mark_of(data))
            return None
        known = self._tags.get(address)
        if known is not None or entry.versions:
            self._note_tags(address, tuple(entry.versions), known)
        return entry

    def _note_tags(self, address: Address, tags: tuple[str, ...], known: Markers | None) -> None:
        if known is not None and known.tags == tags:
            return
        if not tags:
            self._tags.pop(address, None)
            return
        together = (address.namespace, tags)
        markers = self._together.get(together)
        if markers is None:
            names = [marker for tag in tags for marker in self.markers(address, tag)]
            markers = Markers(tags, names)
            self._together.note(together, markers)
        self._tags.note(address, markers)

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
        missing = {name: None for pairs in wanted for name, _ in pairs if name not in versions}
        if missing:
            [found] = await self.ask(("MGET", *missing))
            versions.update(zip(missing, found, strict=True))
        return [all(versions[name] == version for name, version in pairs) for pairs in wanted]

    def markers(self, address: Address, tag: str) -> tuple[str, str]:
        """Return where the two versions of a tag are: of the namespace, and of all of them."""
        return self.names.marker(address.namespace, tag), self.names.marker(None, tag)

    # Computing

    async def acquire(
        self,
        address: Address,
        *,
        seen: Entry | None = None,
        take: bool = False,
        tags: frozenset[str] = frozenset(),
        alive: Callable[[], bool] = lambda: True,
    ) -> Found | Busy | Lease:
        mark = seen.mark if isinstance(seen, RemoteEntry) else self._useless.get(address, b"")
        mode = b"take" if take else b"miss"
        while True:
            attempt = Attempt(b"c")
            now = self._clock.now()
            since = time.monotonic()
            try:
                [reply] = await self.ask_as(
                    lambda run, attempt=attempt, mark=mark: [  # type: ignore[misc]
                        self.acquiring(attempt, run, address, tags, mode=mode, mark=mark)
                    ]
                )
            except BaseException:
                # The caller is gone, and the server may hand the lease out all the same.
                self._give_back(address, attempt.head)
                raise
            if isinstance(reply, Refusal) and reply.code == "OOM":
                self._note_full(reply)
                return Lease(address, tags, alive, None)
            kind, *rest = expected(reply)
            if kind == b"L":
                self._full = False
                return self._granted(Lease(address, tags, alive, None), attempt, rest[0], since)
            if kind == b"W":
                held = self.wires.renewals.at(address)
                if held is None or held.alive():
                    return Busy()
                await self.release(held)
                continue
            left, data, found = rest
            mark = mark_of(data)
            entry = self._read(address, data, left, now)
            [holds] = await self.held(
                [(address, entry)], dict(zip(self._markers(address, tags), found, strict=False))
            )
            if entry is not None and holds and judge(entry, now) is Verdict.FRESH:
                return Found(entry)

    def acquiring(
        self,
        attempt: Attempt,
        run: bytes,
        address: Address,
        tags: frozenset[str],
        *,
        mode: bytes,
        mark: bytes = b"",
        ms: int = 0,
    ) -> Command:
        """Return the command that asks for the lease."""
        attempt.run = run
        markers = self._markers(address, tags)
        keys = [self.names.value(address), self.names.lease(address), *markers]
        if mode != b"put":
            keys += self.names.fences()
        return call(
            scripts.ACQUIRE,
            keys,
            attempt.head,
            ms or self.lease_ms,
            mark,
            mode,
            len(markers),
            run + b":" + attempt.token[:16],
            HOLD_MS,
        )

    def _markers(self, address: Address, tags: frozenset[str]) -> list[str]:
        return [marker for tag in sorted(tags) for marker in self.markers(address, tag)]

    def _granted(
        self,
        lease: Lease,
        attempt: Attempt,
        found: list[bytes],
        since: float,
    ) -> Lease:
        versions = paired(lease.tags, found)
        fences = found[2 * len(lease.tags) :]
        lease.token = grant = Grant(attempt.head, attempt.run, versions, fences, since)
        self.wires.renewals.add(lease, grant)
        return lease

    async def store(self, lease: Lease, entry: Entry) -> bool:
        entry.quick_until = float("-inf")  # other processes may change it: no short cut
        grant = self._ending(lease)
        if grant is None:
            return False
        versions = dict(grant.versions)
        late = sorted(entry.tags - lease.tags)
        if late:
            markers = [name for tag in late for name in self.markers(lease.address, tag)]
            fresh = grant.run + b":" + _token()[:16]
            [found] = await self.ask(call(scripts.CAPTURE, markers, fresh, HOLD_MS))
            versions.update(paired(late, found))
        px = self.life_left(entry)
        if px == 0 or not lease.alive():
            await self._let_go_of(lease.address, grant)
            return False
        data = self.sealed(lease.address, entry, grant.run, versions)
        command = self.storing(lease.address, grant, versions, data=data, px=px)
        [reply] = await self.ask_as(lambda run: [_on_its_run(run, grant, command)])
        if isinstance(reply, Refusal) and reply.code == "OOM":
            self._note_full(reply)
            return False
        return bool(expected(reply) == 1)

    async def settle(self, lease: Lease, tags: frozenset[str]) -> bool:
        grant = self._ending(lease)
        if grant is None:
            return False
        versions = dict(grant.versions)
        # Of tags that are known only now nothing was noted but their fences.
        fences = {tag for tag in tags if tag not in versions}
        command = self.storing(lease.address, grant, versions, fences=fences)
        [reply] = await self.ask_as(lambda run: [_on_its_run(run, grant, command)])
        return bool(expected(reply) == 1) and lease.alive()

    def storing(
        self,
        address: Address,
        grant: Grant,
        versions: dict[str, Versions],
        *,
        data: bytes = b"",
        px: int | str = "settle",
        fences: set[str] | None = None,
    ) -> Command:
        """Return the command that ends the lease, and writes *data* if nothing was dropped."""
        markers: list[str] = []
        expect: list[bytes] = []
        for tag, pair in versions.items():
            markers += self.markers(address, tag)
            expect += pair
        late = {tag for tag in versions if tag not in grant.versions} if fences is None else fences
        numbers = sorted({fence_number(tag) for tag in late})
        every = self.names.fences()
        keys = [self.names.value(address), self.names.lease(address), *markers]
        keys += [every[number] for number in numbers]
        expect += [grant.fences[number] for number in numbers]
        return call(scripts.STORE, keys, grant.head, data, px, len(markers), HOLD_MS, *expect)

    def sealed(
        self, address: Address, entry: Entry, run: bytes, versions: dict[str, Versions]
    ) -> bytes:
        """Return the bytes of *entry*, under a mark of its own."""
        key = address.key if is_long(address.key) else None
        return seal(entry, run, _token(), versions, key)

    def life_left(self, entry: Entry) -> int | str:
        """Return how many milliseconds *entry* has to live: 0 when it is over, or 'ever'."""
        life = life_ms(entry.windows)
        if life is None:
            return "ever"
        return max(0, life - max(0, round((self._clock.now() - entry.born) * 1000)))

    async def release(self, lease: Lease) -> None:
        grant = self._ending(lease)
        if grant is not None:
            await self._let_go_of(lease.address, grant)

    def _ending(self, lease: Lease) -> Grant | None:
        """Stop to renew *lease*, whatever comes of it, and return what it carries."""
        grant: object = lease.token
        if not isinstance(grant, Grant):
            return None
        self.wires.renewals.drop(lease)
        return grant

    async def _let_go_of(self, address: Address, grant: Grant) -> None:
        await self.ask(call(scripts.RELEASE, [self.names.lease(address)], grant.head))

    def _give_back(self, address: Address, head: bytes) -> None:
        if head:
            command = call(scripts.RELEASE, [self.names.lease(address)], head)
            with suppress(ProviderUnavailable, RuntimeError):  # stopped, or the loop has ended
                self.wire.post([in_full(command)])  # nobody could send it again

    def _note_full(self, refusal: Refusal) -> None:
        if not self._full:
            self._full = True
            log.warning("%r has no room: %s. Functions compute, nothing is stored.", self, refusal)

    # Waiting

    async def wait(self, address: Address, seconds: float) -> None:
        """
        Return when the lease at *address* is another one, or none, or after *seconds*.

        It asks again and again, after pauses that grow with the time it has waited.
        """
        lease = self.names.lease(address)
        begin = time.monotonic()
        [first] = await self.ask(("GET", lease))
        there = first
        while there is not None and there == first:
            waited = time.monotonic() - begin
            if waited >= seconds:
                return
            pause = min(max(waited / 4, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            await self.wire.pause(min(pause * random.uniform(0.8, 1.2), seconds - waited))
            [there] = await self.ask(("GET", lease))


class Attempt:
    """One attempt to get a lease; no other one has its token."""

    __slots__ = ("kind", "run", "token")

    def __init__(self, kind: bytes) -> None:
        self.kind = kind
        self.token = _token()
        self.run = b""

    @property
    def head(self) -> bytes:
        """How the lease begins on the server; nothing before it was sent."""
        return self.kind + self.run + self.token if self.run else b""


def paired(tags: Iterable[str], found: Sequence[Any]) -> dict[str, Versions]:
    """Return the versions of *tags* by name, from a flat list in the order of the names."""
    return {
        tag: (found[2 * number], found[2 * number + 1]) for number, tag in enumerate(sorted(tags))
    }


def _on_its_run(run: bytes, grant: Grant, command: Command) -> Command:
    """
    Return *command*, or one that changes nothing on another run of the server.

    A server that comes back from its disk brings back leases that were ended:

        1. acquire(k) -> lease 1; the server saves
        2. delete(k) ends lease 1; the server dies and comes back with it
        3. store(lease 1) must not be written
    """
    return command if run == grant.run else ("GET", str(command[4]))


def _token() -> bytes:
    return urlsafe_b64encode(os.urandom(18))
