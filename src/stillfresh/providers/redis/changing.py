"""
Changes by hand, and the walks over many keys.

What drops something is a plain command, so that it works on a server without memory to spare.
Fences are dropped before versions, leases before entries:

    1. a pattern   walks over the leases: whoever computes from here on began after the call
    2. a holder    whose lease was not reached yet stores; its entry is there before step 3
    3. a pattern   walks over the entries, and finds it
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ...entry import Entry, Verdict, judge
from ...errors import ProviderUnavailable
from ...keys.patterns import compile_pattern, literal_prefix
from ..base import Address, Refused
from ..counters import check_amount
from . import scripts
from .frame import (
    MOST_TAGS,
    RemoteEntry,
    UnreadableEntry,
    mark_of,
    read_entry,
    read_front,
)
from .leasing import Attempt, paired
from .names import is_long, key_in
from .renewal import Grant
from .storing import Storing, too_many
from .talking import call, expected

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from ...entry import Windows
    from ...tags import Scope
    from .client import Command, OnRun
    from .urls import Place

_FRONT_BYTES: Final = 4_096
"""How much of an entry is read where its value is not wanted."""
_PUT_LEASE_MS: Final = 1_000
_PUT_SECONDS: Final = 6.0
_PAGE: Final = 1_000
_WALKS: Final = 3
Work: TypeAlias = "Callable[[list[bytes]], Coroutine[Any, Any, None]]"
"""What is done with the names on a page."""


class Changing(Storing):
    """Whoever changes by hand wins over who computes."""

    async def put(self, entries: Sequence[tuple[Address, Entry]]) -> None:
        """
        Write under leases that are taken from whoever computes.

        Two trips, on purpose: a single one that arrives late would land after a change that
        its caller did not wait for. The second one needs the lease whose grant has arrived.
        """
        missing = dict(entries)
        for address, entry in entries:
            if len(entry.tags) > MOST_TAGS:  # nothing has changed
                raise Refused(f"{address!r} cannot be stored: {too_many(entry)}")
        over = [address for address, entry in missing.items() if self.life_left(entry) == 0]
        if over:
            await self.drop(over)
            for address in over:
                del missing[address]
        until = time.monotonic() + _PUT_SECONDS
        pause = 0.001
        while missing:
            try:
                for address in await self._put_once(list(missing.items())):
                    del missing[address]
            except Refused:  # what was there before must not be served any more
                await self.drop([address for address, _ in entries])
                raise
            if not missing:
                return
            # Somebody else puts there, or has just changed it: after them.
            if time.monotonic() > until:
                raise ProviderUnavailable(f"too many write to {next(iter(missing))!r} at once")
            await self.wire.pause(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, 0.05)

    async def _put_once(self, entries: list[tuple[Address, Entry]]) -> list[Address]:
        attempts = [Attempt(b"p") for _ in entries]
        markers = [self.all_markers(address, entry.tags) for address, entry in entries]
        known = await self.noted([name for some in markers for name in some], fences=False)
        noted = [[known.pop(0) for _ in some] if known else [] for some in markers]
        acquiring = [
            self.acquiring(attempt, address, entry.tags, known, mode=b"put", ms=_PUT_LEASE_MS)
            for attempt, (address, entry), known in zip(attempts, entries, noted, strict=True)
        ]
        replies = await self.ask_as(acquiring)
        commands: list[Command | OnRun] = []
        granted: list[tuple[Address, slice, list[object]]] = []
        for attempt, (address, entry), known, reply in zip(
            attempts, entries, noted, replies, strict=True
        ):
            kind, *rest = expected(reply)
            if kind != b"L":
                continue
            versions = paired(entry.tags, known or rest[0])
            grant = Grant(attempt.head, attempt.run, versions, [], 0.0)
            data = self.sealed(address, entry, attempt.run, versions)
            px = self.life_left(entry) or 1
            one = self.deciding(address, grant, versions, data=data, px=px)
            at = slice(len(commands), len(commands) + len(one.commands))
            commands += one.commands
            granted.append((address, at, one.answers))
        written = [expected(reply) for reply in await self.ask_as(commands)]
        return [address for address, at, answers in granted if written[at][:1] == answers[:1]]

    async def delete(self, addresses: Sequence[Address]) -> int:
        if not addresses:
            return 0
        now = self._clock.now()
        commands: list[Command] = []
        for address in addresses:
            value = self.names.value(address)
            commands += [
                ("PTTL", value),
                ("GETRANGE", value, 0, _FRONT_BYTES - 1),
                ("UNLINK", value, self.names.lease(address)),
            ]
        replies, runs = await self.ask_where(commands)
        # Of one with so many tags that they are not all in it, the first ones say whether it holds.
        found = [
            self._read_start(data, left, now, run)
            for left, data, run in zip(replies[::3], replies[1::3], runs[::3], strict=True)
        ]
        gone = list(zip(addresses, found, strict=True))
        try:
            return sum(await self._usable(gone, now))
        except ProviderUnavailable:  # all is dropped; only whether their tags held is not known
            return sum(judge(entry, now) is not Verdict.GONE for entry in found)

    async def drop(self, addresses: Sequence[Address]) -> None:
        if addresses:
            names = self.names
            await self._done(*[("UNLINK", names.value(one), names.lease(one)) for one in addresses])

    async def _usable(
        self, entries: list[tuple[Address, RemoteEntry | None]], now: float
    ) -> list[bool]:
        held = await self.held(entries, {})
        return [
            entry is not None and holds and judge(entry, now) is not Verdict.GONE
            for (_, entry), holds in zip(entries, held, strict=True)
        ]

    async def expire(self, address: Address) -> None:
        keys = [self.names.value(address), self.names.lease(address)]
        try:
            await self._done(call(scripts.EXPIRE, keys))
        except Refused:  # no room to say that it is stale: then it goes
            await self._done(("UNLINK", *keys))

    async def invalidate_tags(self, scope: Scope, tags: Iterable[str]) -> None:
        names = sorted(set(tags))
        fences = sorted({self.names.fence(tag) for tag in names})
        markers = [self.names.marker(scope, tag) for tag in names]
        for at in range(0, len(markers), _PAGE):
            versions = ("UNLINK", *markers[at : at + _PAGE])
            if await self.is_clustered():  # on other servers: one after the other
                await self._done(("UNLINK", *fences))
                await self._done(versions)
            else:
                await self._done(("UNLINK", *fences), versions)

    async def _done(self, *commands: Command) -> None:
        """
        Send commands that answer how many names they have changed.

        Raises:
            ProviderUnavailable: They do not: the reply is not theirs, or they were not carried out.
        """
        for reply in await self.ask(*commands):
            if not isinstance(reply, int):
                raise ProviderUnavailable(f"the server answered {reply!r:.100} to a change")

    async def incr(self, address: Address, amount: int, windows: Windows) -> int:
        check_amount(amount)
        keys = [self.names.value(address), self.names.lease(address)]
        new = Entry(b"", self._clock.now(), windows)
        px, head = self.life_left(new), b""
        seen, verdict, start = b"", "", 0
        while True:
            mark = Attempt(b"").token
            # Digits alone say nothing of further windows, or of a key that is cut in its name.
            if windows.stale or windows.keep or is_long(address.key):
                head = self.sealed(address, new, b"0" * 8, {})
            [reply], [run] = await self.ask_where(
                [call(scripts.INCR, keys, amount, px, head, seen, verdict, start, mark)]
            )
            match reply:
                case [b"N", bytes() | int() as total]:
                    return int(total)
                case [b"T"]:
                    raise TypeError(
                        f"key {address.key!r} of {address.namespace!r} holds no counter, or one "
                        "that this would take beyond 64 bits: expected a whole number. Delete it "
                        "first, or use another key."
                    )
                case [b"F", int() as left, bytes() as data]:
                    pass
                case _:
                    raise ProviderUnavailable(f"the server answered {reply!r:.100} to a count")
            seen, verdict, start = mark_of(data), "over", 0
            now = self._clock.now()
            try:
                entry: RemoteEntry | None = read_entry(data, left, now)
                start = read_front(data).start
            except UnreadableEntry:
                continue
            [holds] = await self.held([(address, entry)], {})
            if holds and self.counts(entry, run) and judge(entry, now) is Verdict.FRESH:
                verdict = "add"

    # Many keys

    async def invalidate_matching(self, namespace: str, pattern: str, prefix: str = "") -> None:
        fits = compile_pattern(pattern)
        literal = literal_prefix(pattern)
        start = max(prefix, literal, key=len)
        if not start.startswith(prefix) or not start.startswith(literal):
            return  # no key begins like both

        async def drop_leases(names: list[bytes]) -> None:
            # A shortened key may be one that matches: who computes it begins again.
            await self._unlink(
                [
                    name
                    for name in names
                    if (key := key_in(name)) is None or (key.startswith(prefix) and fits(key))
                ]
            )

        async def drop_values(names: list[bytes]) -> None:
            keys = await self._keys_of(names)
            await self._unlink(
                [
                    one
                    for name, key in zip(names, keys, strict=True)
                    if key is None or (key.startswith(prefix) and fits(key))
                    for one in (name, self._lease_beside(name))
                ]
            )

        await self._walk_all(
            (self.names.glob(self.names.leases, namespace, start), drop_leases),
            (self.names.glob(self.names.values, namespace, start), drop_values),
        )

    async def clear(self, namespace: str) -> None:
        await self._walk_all(
            (self.names.glob(self.names.leases, namespace, ""), self._unlink),
            (self.names.glob(self.names.values, namespace, ""), self._unlink),
        )

    async def clear_all(self) -> None:
        # With the brace: a prefix may begin like this one, and go on with ":v".
        await self._walk_all(
            (f"{self.names.leases}{{*", self._unlink), (f"{self.names.values}{{*", self._unlink)
        )

    async def keys(self, namespace: str, pattern: str = "*") -> list[str]:
        fits = compile_pattern(pattern)
        found: dict[str, None] = {}

        async def look(names: list[bytes]) -> None:
            now = self._clock.now()
            keys = await self._keys_of(names)
            fitting = [
                (name, key)
                for name, key in zip(names, keys, strict=True)
                if key is not None and fits(key)
            ]
            if not fitting:
                return
            starts = await self._starts_of([name for name, _ in fitting], now)
            entries = [
                (Address(namespace, key), entry)
                for (_, key), entry in zip(fitting, starts, strict=True)
            ]
            for (address, _), usable in zip(entries, await self._usable(entries, now), strict=True):
                if usable:
                    found[address.key] = None

        start = literal_prefix(pattern)
        await self.is_clustered()
        layout = await self.wire.layout()
        for place in layout.places * layout.sweeps:
            await self._walk(self.names.glob(self.names.values, namespace, start), look, place)
        return list(found)

    async def _walk_all(self, *walks: tuple[str, Work]) -> None:
        """
        Do each of *walks* on all servers, one walk after the other.

        Slots of a cluster move meanwhile, and names with them:

            1. a walk    goes over server A
            2. a slot    moves from server B to A, with a name that matches
            3. the walk  goes over server B: the name is on neither

        So who has which slot is looked at before and after, and where it has changed all is done
        again. That works on names that are still there; what was dropped stays dropped.

        Raises:
            ProviderUnavailable: The slots have moved each time; nobody knows what was missed.
        """
        await self.is_clustered()
        for _ in range(_WALKS):
            before = await self.wire.layout()
            for glob, work in walks:
                for place in before.places * before.sweeps:
                    await self._walk(glob, work, place)
            if await self.wire.layout() == before:
                return
        raise ProviderUnavailable(f"the slots of the cluster moved, {_WALKS} times in a row")

    async def _walk(self, glob: str, work: Work, place: Place | None) -> None:
        """Do *work* on the names of a server that match, a page at a time; one may come twice."""
        cursor: bytes = b"0"
        while True:
            scan = ("SCAN", cursor, "MATCH", glob, "COUNT", _PAGE)
            [reply] = await self.wire.talk_to(place, [scan])
            cursor, names = expected(reply)
            if names:
                await work(names)
            if cursor == b"0":
                return

    async def _keys_of(self, names: list[bytes]) -> list[str | None]:
        """Return the keys in *names*; of shortened ones what the entries say, or None."""
        keys = [key_in(name) for name in names]
        long = [number for number, key in enumerate(keys) if key is None]
        if long:
            replies = await self.ask(*(("GET", names[number]) for number in long))
            for number, data in zip(long, replies, strict=True):
                try:
                    keys[number] = read_front(data or b"").key
                except UnreadableEntry:
                    continue
        return keys

    async def _starts_of(self, names: list[bytes], now: float) -> list[RemoteEntry | None]:
        """Read entries without their values."""
        commands: list[Command] = []
        for name in names:
            commands += [("PTTL", name), ("GETRANGE", name, 0, _FRONT_BYTES - 1)]
        replies, runs = await self.ask_where(commands)
        entries: list[RemoteEntry | None] = []
        for name, left, data, run in zip(
            names, replies[::2], replies[1::2], runs[::2], strict=True
        ):
            entry = self._read_start(data, left, now, run)
            if entry is not None and entry.cut:
                [data] = await self.ask(("GET", name))  # noqa: PLW2901  # all of the same
                entry = self._read_start(data, left, now, run)
            entries.append(entry)
        return entries

    def _read_start(
        self, data: bytes | None, left_ms: int, now: float, run: bytes
    ) -> RemoteEntry | None:
        """Make an entry, without its value, of the first bytes; None where nothing is usable."""
        if not data:
            return None
        try:
            entry = read_entry(data, left_ms, now, whole=len(data) != _FRONT_BYTES)
        except UnreadableEntry:
            return None
        return entry if self.counts(entry, run) else None

    def _lease_beside(self, value: bytes) -> bytes:
        return self.names.leases.encode() + value[len(self.names.values) :]

    async def _unlink(self, names: list[bytes]) -> None:
        if names:
            await self._done(("UNLINK", *names))
