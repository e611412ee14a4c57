"""The right to compute: acquire."""

from __future__ import annotations

import hashlib
import os
import time
from base64 import urlsafe_b64encode
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ...entry import Entry, Verdict, judge
from ...errors import ProviderUnavailable
from ...events import log
from ..base import Busy, Found, Lease, Refused
from . import scripts
from .client import OnRun, Refusal
from .frame import RemoteEntry, mark_of
from .reading import Reading
from .renewal import Grant, our_lease
from .talking import call, expected

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from ..base import Address
    from .client import Command
    from .frame import Versions
    from .renewal import Renewals

T = TypeVar("T")

HOLD_MS: Final = 3_600_000
"""How long a version lives at least, before the life of an entry is known."""


class Leasing(Reading):
    """One computes, and whoever comes later is not given anything older."""

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
        lease = Lease(address, tags, alive, None)
        while True:
            attempt = Attempt(b"c")
            now = self._clock.now()
            since = time.monotonic()
            try:
                noted = await self.noted(self.all_markers(address, tags))
                acquiring = self.acquiring(attempt, address, tags, noted, mode=mode, mark=mark)
                [reply] = await self.ask_as([acquiring])
                kind, *rest = expected(reply)
            except Refused as refusal:  # it has no room: this one computes, and does not store
                self.note_full(refusal)
                return lease
            except BaseException:
                # The caller is gone, and the server may hand the lease out all the same.
                self._give_back(address, attempt.head)
                raise
            if kind == b"L":
                self._full = False
                return self._granted(lease, attempt, noted or rest[0], since)
            if kind == b"W":
                self._busy.note(address, (rest[0], rest[1]))
                held = our_lease(rest[0])
                if held is None or held.alive():
                    return Busy(held, mark=rest[0])
                await self.release(held)
                continue
            left, data, found = rest
            mark = mark_of(data)
            entry = self._read(address, data, left, now, attempt.run)
            known: dict[str, bytes | None] = dict(
                zip(self.all_markers(address, tags), noted or found, strict=False)
            )
            [holds] = await self.held([(address, entry)], known)
            if entry is not None and holds and judge(entry, now) is Verdict.FRESH:
                return Found(entry)

    async def noted(self, markers: Sequence[str], *, fences: bool = True) -> list[bytes]:
        """
        Note the versions under *markers*, and the fences, where they are not beside the lease.

        In a cluster they are on other servers. That they are noted before the lease is handed
        out, and not in the same step, makes no difference to anybody:

            1. noted(t) -> version 1
            2. invalidate_tags(t): another version from here on
            3. acquire -> a lease with the digest of version 1; the function reads what is new
            4. store: written with version 1, which every reader finds to be another one
        """
        if not await self.is_clustered():
            return []
        names = self.names.fences() if fences else []
        wanted: list[Command | OnRun] = [
            self.versioning(marker, HOLD_MS // 2, HOLD_MS, discards=self.discards)
            for marker in markers
        ]
        wanted += [("GET", name) for name in names]
        replies = [expected(reply) for reply in await self.ask_as(wanted)]
        found = replies[len(markers) :]
        missing = [name for name, token in zip(names, found, strict=True) if token is None]
        if missing:
            # Before the function is called, so that it is seen when one of them is dropped.
            await self.ask(*(("SET", name, new_token(), "NX") for name in missing))
            [found] = await self.ask(("MGET", *names))
        return [version for [version] in replies[: len(markers)]] + [one or b"" for one in found]

    def versioning(self, marker: str, least: int | str, hold: int, *, discards: bool) -> OnRun:
        """Return the command that gets the version under *marker*, made if there is none."""
        chance = new_token()[:16]

        def make(run: bytes) -> Command:
            fresh = run + b":" + chance
            return call(scripts.CAPTURE, [marker], fresh, least, hold, int(discards))

        return OnRun(marker, make)

    def acquiring(
        self,
        attempt: Attempt,
        address: Address,
        tags: frozenset[str],
        noted: list[bytes],
        *,
        mode: bytes,
        mark: bytes = b"",
        ms: int = 0,
    ) -> OnRun:
        """Return the command that asks for the lease; *noted* is what is known of the tags."""
        markers = [] if noted else self.all_markers(address, tags)
        keys = [self.names.value(address), self.names.lease(address), *markers]
        if mode != b"put" and not noted:
            keys += self.names.fences()
        digest = digest_of(noted[: 2 * len(tags)]) if noted else ""

        def make(run: bytes) -> Command:
            attempt.run = run
            fresh = run + b":" + attempt.token[:16]
            options = (mark, mode, len(markers), fresh, HOLD_MS, int(self.discards), digest)
            return call(scripts.ACQUIRE, keys, attempt.head, ms or self.lease_ms, *options)

        return OnRun(keys[1], make)

    def all_markers(self, address: Address, tags: frozenset[str]) -> list[str]:
        """Return where the versions of all *tags* are, in the order of their names."""
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

    async def release(self, lease: Lease) -> None:
        grant: object = lease.token
        if isinstance(grant, Grant):
            await self._ended(lease, grant, self._let_go_of(lease.address, grant))

    async def _ended(self, lease: Lease, grant: Grant, ending: Coroutine[Any, Any, T]) -> T:
        """Await *ending*, after which the server has no such lease; else it is given back."""
        try:
            found = await ending
        except BaseException:
            self._give_back(lease.address, grant.head)
            raise
        wires = self._wires
        if wires is not None:
            wires.renewals.drop(grant)
        return found

    async def _let_go_of(self, address: Address, grant: Grant) -> None:
        await self.ask(call(scripts.RELEASE, [self.names.lease(address)], grant.head))

    def _give_back(self, address: Address, head: bytes) -> None:
        """
        See to it that the lease which begins with *head* ends, if the server has it.

        On the connection that asked for it nothing overtakes the question. Where that was lost,
        the thread of the leases goes on until the server has answered.
        """
        wires = self._wires
        if wires is None or not head:  # stopped: nothing can be sent; or nothing was
            return
        grant = wires.renewals.owe(address, head)
        # In full: nobody could send it again.
        command = ("EVAL", scripts.RELEASE.text, 1, self.names.lease(address), head)
        sent = None
        with suppress(ProviderUnavailable, RuntimeError):  # stopped, or the loop has ended
            sent = self.wire.post(command)
        if sent is None:
            wires.renewals.pay()
        else:
            sent.add_done_callback(partial(_given_back, wires.renewals, grant))

    def note_full(self, refusal: Exception) -> None:
        """Say once that the server takes nothing new."""
        if not self._full:
            self._full = True
            log.warning("%r has no room: %s. Functions compute, nothing is stored.", self, refusal)


def _given_back(renewals: Renewals, grant: Grant, sent: asyncio.Future[list[Any]]) -> None:
    if sent.cancelled() or sent.exception() is not None or isinstance(sent.result()[0], Refusal):
        renewals.pay()
    else:
        renewals.drop(grant)


class Attempt:
    """One attempt to get a lease; no other one has its token."""

    __slots__ = ("kind", "run", "token")

    def __init__(self, kind: bytes) -> None:
        self.kind = kind
        self.token = new_token()
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


def digest_of(versions: Sequence[bytes]) -> str:
    """Return what a lease says of the versions that it was handed out with."""
    return hashlib.sha1(b"".join(versions), usedforsecurity=False).hexdigest()


def new_token() -> bytes:
    """Return 24 characters of chance."""
    return urlsafe_b64encode(os.urandom(18))
