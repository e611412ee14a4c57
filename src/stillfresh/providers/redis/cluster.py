"""
A cluster behind the same face as one server: commands go to the servers that have their keys.

What names several keys is cut into what each slot can answer, and put together again. What a
server says it did not carry out, since the slot is another one's (MOVED, ASK) or on its way
(TRYAGAIN), is sent again; nothing else is.

One trip goes to all servers that it needs at the same time, and is over when all have answered.
There is no order between them: what needs one takes two trips.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from ...errors import ProviderUnavailable
from ...forks import free_in_child
from .bells import Bell, ThreadBell
from .client import Layout, OnRun, Refusal, key_of, text_of
from .hearing import Hearing
from .lines import Lines, talk_all
from .links import Links
from .slots import redirected, slot_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..ears import Ear
    from ..tier import Tier
    from .client import Command, Server
    from .frame import Markers
    from .link import Link
    from .slots import SlotMap
    from .urls import Place

Asked = list[tuple[Any, list["Command | OnRun"]]]
"""Connections to a server, and what to send over them."""

_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.1
_ASKING: Final = ("ASKING",)


class Part:
    """A command that one slot can answer, and its reply."""

    __slots__ = ("asking", "command", "place", "reply", "slot")

    def __init__(self, command: Command | OnRun, key: str) -> None:
        self.command = command
        self.slot = slot_of(key)
        self.place: Place | None = None
        """Where to ask this once, because its slot is on its way there."""
        self.reply: Any = None


class Cluster:
    """What is the same on a loop and in a thread."""

    def __init__(self, server: Server, slots: SlotMap) -> None:
        self.server = server._replace(in_cluster=True)
        self.slots = slots

    # Talking, as to one server

    async def talk(self, commands: Sequence[Command]) -> list[Any]:
        """
        Send *commands*, in one round trip if the map is right, and return their replies.

        Raises:
            ProviderUnavailable: A server that is needed is away or too slow, or none has the slot.
        """
        return await self.talk_as(commands)

    async def talk_as(self, commands: Sequence[Command | OnRun]) -> list[Any]:
        """Send *commands* as they are for the runs of their servers; else like `talk`."""
        parts = [_parts(command) for command in commands]
        await self._carry_out([part for some in parts for part in some])
        return [_joined(command, some) for command, some in zip(commands, parts, strict=True)]

    async def read(self, value: str, markers: Markers | None) -> list[Any]:
        """Read as `Links.read`."""
        names = () if markers is None else markers.names
        reads: list[Command] = [("PTTL", value), *(("GET", name) for name in (value, *names))]
        left, data, *versions = await self.talk_as(reads)
        return [left, data if markers is None else [data, *versions]]

    async def _carry_out(self, parts: list[Part]) -> None:
        until = time.monotonic() + self.server.timeout
        pause, first = _FIRST_PAUSE, True
        while True:
            await self._ask_for_map()
            by_place: dict[Place, list[Part]] = {}
            for part in parts:
                by_place.setdefault(part.place or self.slots.owner(part.slot), []).append(part)
            asked: Asked = [
                (self.node(place), [one for part in some for one in _sent(part)])
                for place, some in by_place.items()
            ]
            try:
                answered = await self.together(asked)
            except ProviderUnavailable:
                self.slots.stale = True  # another server may have taken its place
                raise
            parts, waits = [], False
            for (place, some), replies in zip(by_place.items(), answered, strict=True):
                left = iter(replies)
                for part in some:
                    if part.place is not None:
                        next(left)  # to ASKING
                    if not self._take(part, next(left), place):
                        parts.append(part)
                        waits = waits or part.reply.code == "TRYAGAIN"
            if waits:
                parts = await self._one_by_one(parts)
            if not parts:
                return
            if waits or not first:  # servers need a moment to agree who has a slot
                if time.monotonic() > until:
                    msg = f"the slot is on its way for too long: {parts[0].reply}"
                    raise ProviderUnavailable(msg)
                await self.pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            first = False

    def _take(self, part: Part, reply: Any, asked: Place) -> bool:
        """Keep the reply to *part*; answer whether it was carried out, or refused for good."""
        part.reply, part.place = reply, None
        if not isinstance(reply, Refusal):
            return True
        if reply.code == "MOVED":
            self.slots.moved(part.slot, redirected(str(reply), asked))
            return False
        if reply.code == "ASK":
            part.place = redirected(str(reply), asked)
            self.slots.unrest()
            return False
        if reply.code == "CLUSTERDOWN":
            self.slots.stale = True
            raise ProviderUnavailable(str(reply))
        return reply.code != "TRYAGAIN"

    async def _one_by_one(self, parts: list[Part]) -> list[Part]:
        """
        Drop an entry and its lease one after the other, where they are on two servers.

            1. the slot is on its way: the entry is here, the lease there or nowhere
            2. the lease is dropped: its holder cannot store any more
            3. the entry is dropped: whatever stands there now was begun after step 2
        """
        left: list[Part] = []
        for part in parts:
            command = part.command
            if isinstance(command, OnRun):
                command = command.plain or ("",)
            if part.reply.code != "TRYAGAIN" or command[0] != "UNLINK":
                left.append(part)
                continue
            dropped = 0
            for key in reversed(command[1:]):  # the entry is named first
                one = Part(("UNLINK", key), text_of(key))
                await self._carry_out([one])
                dropped += one.reply
            part.reply = dropped
        return left

    # The map

    async def _ask_for_map(self) -> None:
        if not self.slots.stale:
            return
        error: ProviderUnavailable | None = None
        until = time.monotonic() + self.server.connect_timeout
        for place in self.slots.candidates():
            self.slots.asking(place)
            try:
                [reply] = await self.node(place).talk([("CLUSTER", "SLOTS")])
                self.slots.read(reply, place)
            except ProviderUnavailable as unavailable:
                error = unavailable
                if time.monotonic() > until:
                    break
            else:
                return
        raise error or ProviderUnavailable("the cluster has no servers")

    async def layout(self) -> Layout:
        """
        Return which servers there are, and which slots each of them says it has.

        A slot on its way is on two servers, and a name in it may go from the second of them to
        the first one between the looks at both; but it goes there only once. So all are gone
        through twice then.
        """
        await self._ask_for_map()
        first = self.slots.candidates()[0]
        [found] = await self.node(first).talk([("CLUSTER", "NODES")])
        places: list[Place] = []
        for line in _lines(found):
            place = _address(line[1], first)
            if "master" not in line[2].split(",") or place is None:
                continue
            if "fail" in line[2].split(","):
                if line[8:]:
                    self.slots.stale = True
                    raise ProviderUnavailable(f"the server at {place} has slots, and is away")
                continue
            places.append(place)
        slots: list[object] = []
        moving = False
        for place in places:
            [found] = await self.node(place).talk([("CLUSTER", "NODES")])
            own = next(line for line in _lines(found) if "myself" in line[2].split(","))
            slots.append((own[0], own[2], own[6], *own[8:]))
            moving = moving or any(slot.startswith("[") for slot in own[8:])
        return Layout(tuple(places), tuple(slots), 2 if moving else 1)

    async def talk_to(self, place: Place | None, commands: Sequence[Command]) -> list[Any]:
        """Talk to the server at *place*."""
        if place is None:
            return await self.talk(commands)
        found: list[Any] = await self.node(place).talk(commands)
        return found

    # What differs

    def node(self, place: Place) -> Any:
        """Return the connections to one server."""
        raise NotImplementedError

    async def together(self, asked: Asked) -> list[list[Any]]:
        """Ask all at once, and return the replies of each."""
        raise NotImplementedError

    async def pause(self, seconds: float) -> None:
        """Wait."""
        raise NotImplementedError


class ClusterLinks(Cluster):
    """The connections of the event loops of this process: one to each server that is needed."""

    open: Final[dict[asyncio.AbstractEventLoop, Link]] = {}
    """None of them is to the only server there is."""

    def __init__(self, server: Server, slots: SlotMap, tier: Tier | None = None) -> None:
        super().__init__(server, slots)
        self._tier = tier
        self._hearings: dict[asyncio.AbstractEventLoop, Hearing] = {}
        self._nodes: dict[Place, Links] = {}
        self._lock = free_in_child()
        self._closed = False
        self._gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    def node(self, place: Place) -> Links:
        found = self._nodes.get(place)
        if found is None:
            with self._lock:
                found = self._nodes.setdefault(place, Links(self.server._replace(place=place)))
                if self._closed:
                    found.close()
        return found

    async def together(self, asked: Asked) -> list[list[Any]]:
        if len(asked) == 1:
            [(links, commands)] = asked
            return [await links.talk_as(commands)]
        answered = await asyncio.gather(
            *(links.talk_as(commands) for links, commands in asked), return_exceptions=True
        )
        replies: list[list[Any]] = []
        for one in answered:
            if isinstance(one, BaseException):
                raise one
            replies.append(one)
        return replies

    async def _ask_for_map(self) -> None:
        if not self.slots.stale:
            return
        loop = asyncio.get_running_loop()
        async with self._gates.setdefault(loop, asyncio.Lock()):  # one of all that wait asks
            try:
                async with asyncio.timeout(self.server.connect_timeout):
                    await super()._ask_for_map()
            except TimeoutError:
                raise ProviderUnavailable("no server of the cluster tells its slots") from None

    def bell(self) -> Bell:
        """As `Links.bell`; nobody rings it."""
        return Bell()

    def post(self, command: Command) -> asyncio.Future[list[Any]] | None:
        """As `Links.post`."""
        if self.slots.stale:
            return None
        return self.node(self.slots.owner(slot_of(key_of(command)))).post(command)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def ear(self) -> Ear | None:
        """Return who listens to all primaries, on the connections of this loop."""
        if self._tier is None:
            return None
        loop = asyncio.get_running_loop()
        hearing = self._hearings.get(loop)
        if hearing is None:
            hearing = Hearing(self._tier, self.slots, self.node)
            with self._lock:
                for other in [other for other in self._hearings if other.is_closed()]:
                    del self._hearings[other]
                self._hearings[loop] = hearing
        return hearing.want()

    def any_ear(self) -> Ear | None:
        """Return who listens to all primaries, also to new ones, on whatever loop; as `Links`."""
        hearings = list(self._hearings.values())
        for hearing in hearings:
            if hearing.hears():
                return hearing.ear
        for hearing in hearings:
            hearing.nudge()
        return None

    def close(self) -> None:
        """Cut all connections."""
        with self._lock:
            self._closed = True
            nodes, self._nodes = self._nodes, {}
            hearings = list(self._hearings.values())
        for hearing in hearings:
            hearing.closed = True
        for links in nodes.values():
            links.close()


class ClusterLines(Cluster):
    """The connections of the threads of this process."""

    def __init__(self, server: Server, slots: SlotMap) -> None:
        super().__init__(server, slots)
        self._nodes: dict[Place, Lines] = {}
        self._lock = free_in_child()
        self._closed = False

    def node(self, place: Place) -> Lines:
        with self._lock:
            if place not in self._nodes:
                self._nodes[place] = Lines(self.server._replace(place=place))
                if self._closed:
                    self._nodes[place].close()
            return self._nodes[place]

    async def together(self, asked: Asked) -> list[list[Any]]:
        return talk_all(asked)

    def bell(self) -> ThreadBell:
        """As `Lines.bell`; nobody rings it."""
        return ThreadBell()

    def post(self, command: Command) -> None:
        """As `Lines.post`: whoever was interrupted has cut its line."""

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # this face blocks

    def close(self) -> None:
        """Cut the idle ones; those in use are cut when they come back."""
        with self._lock:
            self._closed = True
            nodes = list(self._nodes.values())
        for lines in nodes:
            lines.close()


def _parts(command: Command | OnRun) -> list[Part]:
    if not isinstance(command, OnRun):
        name, *keys = command
        if name == "MGET":
            return [Part(("GET", key), text_of(key)) for key in keys]
        if name == "UNLINK" and len(keys) > 1:
            by_slot: dict[int, list[str | bytes | int]] = {}
            for key in keys:
                by_slot.setdefault(slot_of(text_of(key)), []).append(key)
            return [Part(("UNLINK", *some), text_of(some[0])) for some in by_slot.values()]
    return [Part(command, key_of(command))]


def _joined(command: Command | OnRun, parts: list[Part]) -> Any:
    replies = [part.reply for part in parts]
    if isinstance(command, OnRun) or command[0] not in {"MGET", "UNLINK"}:
        return replies[0]
    for reply in replies:
        if isinstance(reply, Refusal) and reply.code != "WRONGTYPE":
            return reply
    if command[0] == "UNLINK":
        return sum(replies)
    return [None if isinstance(reply, Refusal) else reply for reply in replies]


def _sent(part: Part) -> list[Command | OnRun]:
    return [part.command] if part.place is None else [_ASKING, part.command]


def _lines(found: Any) -> list[list[str]]:
    if not isinstance(found, bytes):
        raise ProviderUnavailable(f"no servers were understood in {found!r:.100}")
    return [line.split() for line in found.decode().splitlines() if line]


def _address(text: str, asked: Place) -> Place | None:
    """Return the place in `host:port@bus,name`; None where there is no address."""
    host, _, port = text.partition(",")[0].partition("@")[0].rpartition(":")
    return (host or asked[0], int(port)) if port.isdigit() and int(port) else None
