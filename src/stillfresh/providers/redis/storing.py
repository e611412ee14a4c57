"""What ends a lease: a value, the news that there is none, or nothing. And waiting for that."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from ...events import log
from ..base import Refused
from . import scripts
from .client import OnRun
from .frame import ANY_RUN, MOST_TAGS, life_ms, seal
from .leasing import HOLD_MS, Leasing, new_token, paired
from .names import fence_number, is_long
from .renewal import Grant
from .talking import call, expected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...entry import Entry
    from ..base import Address, Lease
    from .bells import Bell, ThreadBell
    from .client import Command
    from .frame import Versions

_SHORTEST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.1
_HEAD: Final = 33
"""Bytes of a lease that say whose it is."""
_ENDED: Final = 73
"""Where a lease says which one has ended without a value before it."""
_UNKNOWN_RUN: Final = b"?" * 8


class Decision(NamedTuple):
    """Commands that end a lease and perhaps write, and what they answer if nothing was dropped."""

    commands: list[Command | OnRun]
    answers: list[object]


class Storing(Leasing):
    """What was computed is written under its lease, or not at all."""

    async def store(self, lease: Lease, entry: Entry) -> bool:
        entry.bar()  # other processes may change it
        grant: object = lease.token
        if not isinstance(grant, Grant):
            return False
        return await self._ended(lease, grant, self._stored(lease, grant, entry))

    async def _stored(self, lease: Lease, grant: Grant, entry: Entry) -> bool:
        address, versions = lease.address, dict(grant.versions)
        if len(entry.tags) > MOST_TAGS:
            log.warning("%s(%s) is not stored: %s", *address, too_many(entry))
            await self._let_go_of(address, grant)
            return False
        late = sorted(entry.tags - lease.tags)
        try:
            if late:
                versions.update(await self._captured(address, late))
            px = self.life_left(entry)
            if px == 0 or not lease.alive() or not await self._beforehand(grant, late):
                await self.ask_as(self.deciding(address, grant, {}).commands)
                return False
            data = self.sealed(address, entry, grant.run, versions)
            decision = self.deciding(address, grant, versions, late=late, data=data, px=px)
            return await self._decided(decision)
        except Refused as refusal:
            self.note_full(refusal)
            await self._let_go_of(address, grant)
            return False

    async def settle(self, lease: Lease, tags: frozenset[str]) -> bool:
        grant: object = lease.token
        if not isinstance(grant, Grant):
            return False
        # Of tags that are known only now nothing was noted but their fences.
        late = tags - grant.versions.keys()
        decision = self.deciding(lease.address, grant, grant.versions, late=late)
        return await self._ended(lease, grant, self._decided(decision)) and lease.alive()

    async def _captured(self, address: Address, tags: list[str]) -> dict[str, Versions]:
        """Get the versions of *tags*, which are known only now."""
        markers = [name for tag in tags for name in self.markers(address, tag)]
        commands = [
            self.versioning(name, HOLD_MS // 2, HOLD_MS, discards=self.discards) for name in markers
        ]
        found = [expected(reply) for reply in await self.ask_as(commands)]
        return paired(tags, [version for [version] in found])

    async def _beforehand(self, grant: Grant, late: Iterable[str]) -> bool:
        """
        Tell whether the fences of *late* tags stand, where the store cannot look at them.

        In a cluster the versions that were captured are on other nodes than the entry, and the
        fences on others still. So it takes one trip after the other:

            1. acquire: the fences are noted; the function reads the source
            2. invalidate_tags(t): drops the fence, waits for the reply, drops the version
            3. store: captures the version of t: if step 2 is over, it says nothing
            4. store: the fence is another one: refused. If it still stands here, its version
               was dropped after step 3, and what is written reads as invalidated.
        """
        fences = {self.names.fence(tag): grant.fences[fence_number(tag)] for tag in late}
        if not fences or not await self.is_clustered():
            return True
        [found] = await self.ask(("MGET", *fences))
        return bool(found == list(fences.values()))

    async def _decided(self, decision: Decision) -> bool:
        replies = await self.ask_as(decision.commands)
        return [expected(reply) for reply in replies] == decision.answers

    def deciding(
        self,
        address: Address,
        grant: Grant,
        versions: dict[str, Versions],
        *,
        late: Iterable[str] = (),
        data: bytes = b"",
        px: int | str = "settle",
    ) -> Decision:
        """
        Return what ends the lease, and writes *data* if nothing was dropped.

        In a cluster the lease alone decides whether it is written, since the versions are on other
        nodes. That is enough: readers compare them at every look. They are read beside, for those
        who wait: what they are given must be known to hold.

            1. a holder    store is sent, and the reading of the versions with it
            2. a writer    invalidate_tags(t): its version is dropped, before or after it is read
            3. a reader    finds the entry with a version that is another one: invalidated
        """
        markers = {
            name: version
            for tag, pair in versions.items()
            for name, version in zip(self.markers(address, tag), pair, strict=True)
        }
        fences = {self.names.fence(tag): grant.fences[fence_number(tag)] for tag in late}
        keys = [self.names.value(address), self.names.lease(address)]
        expect: list[bytes] = []
        beside: list[Command | OnRun] = []
        answers: list[object] = [1]
        if not self.clustered:
            keys += [*markers, *fences]
            expect += [*markers.values(), *fences.values()]
        elif px == "settle":
            beside += [("GET", name) for name in (*markers, *fences)]
            answers += [*markers.values(), *fences.values()]
        else:  # the fences were read before
            hold = HOLD_MS if px == "ever" else int(px) + HOLD_MS
            beside += [self.versioning(name, px, hold, discards=False) for name in markers]
            answers += [[version] for version in markers.values()]
        count = 0 if self.clustered else len(markers)
        script = call(scripts.STORE, keys, grant.head, data, px, count, HOLD_MS, *expect)

        # On another run of the server it changes nothing. One that comes back from its disk
        # brings back leases that were ended:
        #
        #     1. acquire(k) -> lease 1; the server saves
        #     2. delete(k) ends lease 1; the server dies and comes back with it
        #     3. store(lease 1) must not be written
        def make(run: bytes) -> Command:
            return script if run == grant.run else ("GET", keys[1])

        return Decision([OnRun(keys[1], make), *beside], answers)

    def sealed(
        self, address: Address, entry: Entry, run: bytes, versions: dict[str, Versions]
    ) -> bytes:
        """Return the bytes of *entry*, under a mark of its own."""
        key = address.key if is_long(address.key) else None
        if entry.lasting:
            run = ANY_RUN
        elif run == ANY_RUN:  # a server that does not say
            run = _UNKNOWN_RUN
        return seal(entry, run, new_token(), versions, key)

    def life_left(self, entry: Entry) -> int | str:
        """Return how many milliseconds *entry* has to live: 0 when it is over, or 'ever'."""
        life = life_ms(entry.windows)
        if life is None:
            return "ever"
        return max(0, life - max(0, round((self._clock.now() - entry.born) * 1000)))

    # Waiting

    async def wait(self, address: Address, seconds: float) -> bool:
        """
        Return when the lease at *address* is another one, or none, or after *seconds*.

        It asks again and again, after pauses that grow with the time it has waited; where the
        server pushes what changes, the entry that is stored ends them. The answer is whether a
        holder has ended without a value since `acquire` answered that one was busy.
        """
        bell = self.wire.bell()
        if self.tier is None:
            return await self._wait(address, seconds, bell)
        near, value = self.tier.near, self.names.value(address)
        near.watch(value, bell.ring)
        try:
            return await self._wait(address, seconds, bell)
        finally:
            near.unwatch(value, bell.ring)

    async def _wait(self, address: Address, seconds: float, bell: Bell | ThreadBell) -> bool:
        lease = self.names.lease(address)
        known = self._busy.get(address)
        begin = time.monotonic()
        while True:
            there, left = await self.ask(("GET", lease), ("PTTL", lease))
            if there is None:  # one that was dropped has left no news of its end
                return False
            if known is None:
                known = there[:_HEAD], there[_ENDED:]
            if there[:_HEAD] != known[0]:
                return there[_ENDED:] not in {b"", known[1]}
            waited = time.monotonic() - begin
            if waited >= seconds:
                return False
            pause = min(max(waited / 4, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            pause = min(pause * random.uniform(0.8, 1.2), seconds - waited)
            if left > 0:  # the holder may have died: not longer than its lease
                pause = min(pause, left / 1000)
            if await bell.rings_within(pause):
                return False


def too_many(entry: Entry) -> str:
    """Say that *entry* has more tags than can be kept with it, and what to do."""
    many = f"it has {len(entry.tags):,} tags, and may have {MOST_TAGS:,}"
    return f"{many}. Give it fewer, each of a larger group."
