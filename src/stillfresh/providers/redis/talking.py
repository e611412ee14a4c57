"""
What the provider is made of: its options, its connections, and how it asks the server.

The operations are written once, as coroutines. On a loop they suspend while the server
answers; for the blocking face the same coroutines talk over blocking connections, and never do.

Connections are made at first use and belong to a loop or a thread, and to a process: a fork
leaves the child without any.
"""

from __future__ import annotations

import os
from asyncio import get_running_loop
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from weakref import WeakSet

from ...clock import Clock
from ...computing.drivers import drive
from ...errors import InvalidOption, ProviderUnavailable
from ...forks import free_in_child
from ...known import Known
from ..base import Refused
from ..tier import Tiered
from . import scripts
from .client import ClusterNode, OnRun, Refusal, Server, key_of, refused
from .cluster import ClusterLines, ClusterLinks
from .lines import Lines
from .links import Links
from .names import Names, checked_prefix
from .renewal import Renewals, forget_our_leases
from .scripts import in_full
from .sentinel import Sentinels
from .slots import SlotMap
from .urls import address_of, read_url, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..base import Address
    from .client import Command
    from .frame import Markers
    from .link import Link
    from .urls import Target

BlockingWire: TypeAlias = "Lines | ClusterLines"

LEFT_BEHIND: Final[list[object]] = []
"""Connections of a parent process: closing them is not the child's to do."""
_MOST_REMEMBERED: Final = 10_000


class Wires(NamedTuple):
    """Everything that is tied to this process."""

    links: Links | ClusterLinks
    lines: BlockingWire
    renewals: Renewals

    def close(self) -> list[tuple[Address, bytes]]:
        """Cut all connections; return the leases that were held."""
        held = self.renewals.close()
        self.links.close()
        self.lines.close()
        return held


class Talking(Tiered):
    """Options, connections, and questions."""

    serialized = True
    shared = True
    clears_all = True
    # Every connection and every reply has its own time-out here. A scan of many keys takes
    # many replies, and is not to fail for its length.
    deadline = None

    def __init__(
        self,
        url: str | None,
        prefix: str,
        *,
        connect_timeout: float,
        timeout: float,
        lease: float,
        max_hold: float,
        discards: bool,
    ) -> None:
        self.discards = discards
        """What an earlier life of the server wrote does not count."""
        self.names = Names(checked_prefix(prefix))
        self.prefix = prefix
        self._target = None if url is None else read_url(url)
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self.lease_seconds = lease
        self.lease_ms = max(1, round(lease * 1000))
        self._max_hold = max_hold
        self._clock = Clock()
        self._starts = 0
        self._lock = free_in_child()
        self._wires: Wires | None = None
        self._together: Known[tuple[str, tuple[str, ...]], Markers] = Known(_MOST_REMEMBERED)
        """The versions of tags that were asked for together."""
        self.tags_seen: Known[Address, Markers] = Known(_MOST_REMEMBERED)
        """Which tags an entry had when it was read: their versions are asked for with it."""
        self._useless: Known[Address, bytes] = Known(_MOST_REMEMBERED)
        """The mark of what was read and is of no use: it is what the next acquire has seen."""
        self._busy: Known[Address, tuple[bytes, bytes]] = Known(_MOST_REMEMBERED)
        """The lease that was in the way, and the one before it that had ended without a value."""
        self._full = False
        self.clustered = self._target is not None and self._target.kind == "cluster"
        """The names of different entries and tags may be on different servers."""
        self._known = self.clustered
        """Whether it is a cluster is known: some server has answered."""
        self._from_environment = url is None
        _living.add(self)

    @property
    def identity(self) -> tuple[Target | None, str]:
        """The server and the prefix."""
        return self._target, self.prefix

    def __repr__(self) -> str:
        place = shown(self._target.url) if self._target else "REDIS_URL"
        return f"<{type(self).__name__}: {place}, prefix {self.prefix!r}>"

    # Lifecycle

    async def start(self, clock: Clock) -> None:
        """
        Find out where the server is; it is asked for nothing yet.

        Raises:
            InvalidOption: Neither `url` nor the environment says where it is.
        """
        if self._from_environment:
            url = os.environ.get("REDIS_URL")
            if not url:
                raise InvalidOption(
                    "RedisCacheProvider does not know where the server is. Set the environment "
                    "variable REDIS_URL, such as redis://127.0.0.1:6379/0, or give it a url."
                )
            self._target = read_url(url)
            self.clustered = self._known = self._target.kind == "cluster"
        with self._lock:
            self._starts += 1
            self._clock = clock
            if self.tier is not None:
                self.tier.near.live_by(clock)

    async def stop(self) -> None:
        """Cut the connections when the last app stops; entries stay where they are."""
        with self._lock:
            self._starts = max(0, self._starts - 1)
            if self._starts or self._wires is None:
                return
            wires, self._wires = self._wires, None
            self._clock = Clock()
        held = wires.renewals.close()
        if held:  # nobody else need wait for them
            with suppress(ProviderUnavailable):
                await (wires.lines if self.wires_block else wires.links).talk(
                    [
                        ("EVAL", scripts.RELEASE.text, 1, self.names.lease(address), head)
                        for address, head in held
                    ]
                )
        wires.links.close()
        wires.lines.close()
        if self.tier is not None:
            self.tier.near.changed_all()

    def after_fork(self) -> None:
        """Get ready to work in the child of a fork: nothing of the parent's is touched."""
        LEFT_BEHIND.append(self._wires)
        forget_our_leases()
        self._wires = None
        if self.tier is not None:
            self.tier.near.after_fork()

    # Asking

    async def is_clustered(self) -> bool:
        """Find out whether it is a cluster."""
        if not self._known:  # nothing was asked yet
            await self.ask(("GET", self.names.fence("")))
        return self.clustered

    def become_cluster(self) -> None:
        """A server has said that it is one of several: talk to all of them from now on."""
        with self._lock:
            if self.clustered:
                return
            self.clustered = self._known = True
            wires, self._wires = self._wires, None
        if wires is not None:
            # Others may be in the middle of connecting: they learn it, too.
            if isinstance(wires.links, Links):
                wires.links.close(ClusterNode)
            wires.renewals.close()
            wires.lines.close()

    @property
    def wires(self) -> Wires:
        """The connections of this process."""
        found = self._wires
        if found is not None:
            return found
        with self._lock:
            if self._wires is None:
                if self._target is None or not self._starts:  # nobody would cut them
                    raise ProviderUnavailable(f"{self!r} was not started, or was stopped")
                self._wires = self._connected(self._target)
            return self._wires

    def _look_for_primary(self, asked: object) -> None:
        """Connect anew, to where sentinels or a name lead: the server *asked* is a replica now."""
        with self._lock:
            wires = self._wires
            # A replica in a cluster names its primary. Somebody else may have connected anew.
            if self.clustered or wires is None or asked not in wires[:2]:
                return
            self._wires = None
        wires.close()

    def _connected(self, target: Target) -> Wires:
        finder = Sentinels(target, self._connect_timeout) if target.sentinels else None
        server = Server(target.url, self._connect_timeout, self._timeout, finder=finder)
        links: Links | ClusterLinks
        lines: Lines | ClusterLines
        if self.clustered:
            slots = SlotMap(target.places or (address_of(target.url),))
            if self.tier is not None:
                slots.unrest = self.tier.near.changed_all
            lines = ClusterLines(server, slots)
            links = ClusterLinks(server, slots, self.tier)
        else:
            lines, links = Lines(server), Links(server, self.tier)
        renew, let_go = partial(self._renew, lines), partial(self._let_go, lines)
        return Wires(links, lines, Renewals(self.lease_seconds, self._max_hold, renew, let_go))

    def now(self) -> float:
        """Return the time of the app's clock."""
        return self._clock.now()

    def link(self) -> Link | None:
        """Return the connection of this loop, where there is one to the only server."""
        wires = self._wires
        if wires is None:
            return None
        found = wires.links.open.get(get_running_loop())
        return None if found is None or found.transport is None else found

    wires_block = False
    """This face talks over connections that block."""

    @property
    def wire(self) -> Links | Lines | ClusterLinks | ClusterLines:
        """How this face talks."""
        found = self._wires
        return self.wires.links if found is None else found.links

    async def ask(self, *commands: Command) -> list[Any]:
        """
        Send *commands* in one round trip, and return their replies.

        Raises:
            ProviderUnavailable: The server is away or too slow, or refused a command.
        """
        wire = self.wire
        try:
            replies = await wire.talk(commands)
        except ClusterNode:
            self.become_cluster()
            replies = await self.wire.talk(commands)
        self._known = True
        for reply in replies:
            if isinstance(reply, Refusal):
                return [expected(one) for one in await self._again(wire, commands, replies)]
        return replies

    async def ask_as(self, commands: Sequence[Command | OnRun]) -> list[Any]:
        """Send *commands*, some of them made for the run of the server. They may be refused."""
        if not commands:
            return []
        wire = self.wire
        try:
            replies = await wire.talk_as(commands)
        except ClusterNode:
            self.become_cluster()
            replies = await self.wire.talk_as(commands)
        self._known = True
        return await self._again(wire, commands, replies)

    async def ask_where(self, commands: Sequence[Command]) -> tuple[list[Any], list[bytes]]:
        """Send *commands*; return the replies, and for each the run of the server it is from."""
        runs = [b""] * len(commands)

        def note(number: int, run: bytes) -> Command:
            runs[number] = run
            return commands[number]

        noted = [
            OnRun(key_of(command), partial(note, number), command)
            for number, command in enumerate(commands)
        ]
        replies = await self.ask_as(noted)
        return [expected(reply) for reply in replies], runs

    async def _again(
        self, wire: object, sent: Sequence[Command | OnRun], replies: list[Any]
    ) -> list[Any]:
        """Send in full what the server did not know by name: it did not carry that out."""
        unknown = [
            number
            for number, reply in enumerate(replies)
            if isinstance(reply, Refusal) and reply.code == "NOSCRIPT"
        ]
        if any(isinstance(reply, Refusal) and reply.code == "READONLY" for reply in replies):
            self._look_for_primary(wire)
        if unknown:
            again = [in_full(sent[number]) for number in unknown]
            for number, reply in zip(unknown, await self.wire.talk_as(again), strict=True):
                replies[number] = reply
        return replies

    # Leases, from the thread that renews them

    def _renew(self, lines: BlockingWire, leases: list[tuple[Address, bytes]]) -> list[bool]:
        commands = [
            call(scripts.RENEW, [self.names.lease(address)], head, self.lease_ms)
            for address, head in leases
        ]
        # What was refused (the server is busy) says nothing about the lease.
        return [expected(reply) == 1 for reply in self._from_thread(lines, commands)]

    def _let_go(self, lines: BlockingWire, leases: list[tuple[Address, bytes]]) -> list[bool]:
        commands = [
            call(scripts.RELEASE, [self.names.lease(address)], head) for address, head in leases
        ]
        return [expected(reply) == 1 for reply in self._from_thread(lines, commands)]

    def _from_thread(self, lines: BlockingWire, commands: list[Command]) -> list[Any]:
        replies = drive(lines.talk(commands))
        if any(isinstance(reply, Refusal) and reply.code == "NOSCRIPT" for reply in replies):
            # Sent again all of them: the first ones change nothing the second time.
            replies = drive(lines.talk_as([in_full(command) for command in commands]))
        return replies


def call(script: scripts.Script, keys: Sequence[str], *arguments: str | bytes | int) -> Command:
    """Return the command that runs *script* by its name."""
    return ("EVALSHA", script.sha, len(keys), *keys, *arguments)


def expected(reply: Any) -> Any:
    """
    Return *reply*; None where what is there is of another kind, which is nothing of ours.

    Raises:
        Refused: The server has no room for this one command.
        ProviderUnavailable: It says that the command was refused.
    """
    if isinstance(reply, Refusal):
        if reply.code == "WRONGTYPE":
            return None
        if reply.code == "OOM":
            raise Refused(f"the server has no room: {reply}")
        raise refused(reply)
    return reply


_living: WeakSet[Talking] = WeakSet()


def _after_fork() -> None:
    for provider in list(_living):
        provider.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
