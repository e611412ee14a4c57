"""
Three servers that share the slots: what a cluster says of names that are elsewhere.

A slot moves name by name, as MIGRATE does it: meanwhile some are here and some there, and the
servers say ASK, TRYAGAIN, and MOVED in the end. That one has a slot, the others learn later. What
a primary leaves when it dies, a replica of it has at another place.

What it says is compared with a real cluster, state by state (`test_model.py`).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from redis.crc import key_slot

from .lua import ServerError
from .server import Client, ServerModel

if TYPE_CHECKING:
    from .virtual import World

SLOTS = 16_384
SEVERAL = {b"MGET", b"UNLINK", b"DEL", b"EXISTS"}
ONE = {b"GET", b"SET", b"PTTL", b"PEXPIRE", b"PERSIST", b"GETRANGE", b"SETRANGE", b"INCRBY"}
Place = tuple[str, int]


def keys_of(command: list[bytes]) -> list[bytes]:
    """Return the names that a command is about."""
    name = command[0].upper()
    if name in SEVERAL:
        return command[1:]
    if name in ONE:
        return command[1:2]
    return command[3 : 3 + int(command[2])] if name in {b"EVAL", b"EVALSHA"} else []


class Shard(ServerModel):
    """One primary of a cluster."""

    mode = b"cluster"

    def __init__(self, cluster: ClusterModel, number: int, place: Place, **options: Any) -> None:
        super().__init__(cluster.world, **options)
        self.cluster = cluster
        self.number = number
        self.place = place
        self.epoch = number + 1
        self.knows: dict[int, int] = {}
        """Which slots it believes to have moved, and to whom."""

    def owner(self, slot: int) -> int:
        """Return who has *slot*, as far as this server knows."""
        return self.knows.get(slot, slot * len(self.cluster.shards) // SLOTS)

    def answer(self, client: Client, command: list[bytes]) -> bytes:
        asking, client.asking = client.asking, command[0].upper() == b"ASKING"
        if client.asking:
            return b"+OK\r\n"
        try:
            self.check(command, asking=asking)
        except ServerError as error:
            return b"-%s\r\n" % str(error).encode()
        return super().answer(client, command)

    def check(self, command: list[bytes], *, asking: bool) -> None:
        """
        See whether this server may carry out *command*.

        Raises:
            ServerError: It is another one's, or not now.
        """
        keys = keys_of(command)
        slots = {key_slot(key) for key in keys}
        if len(slots) > 1:
            raise ServerError("CROSSSLOT Keys in request don't hash to the same slot")
        if not keys:
            return
        [slot] = slots
        missing = [key for key in keys if self.keys.get(key) is None]
        source, target = self.cluster.moving.get(slot, (None, None))
        if self.owner(slot) == self.number:
            if source is self and missing:
                if len(missing) < len(keys):
                    raise ServerError("TRYAGAIN Multiple keys request during rehashing of slot")
                assert target is not None
                raise ServerError(f"ASK {slot} {target.place[0]}:{target.place[1]}")
        elif target is self and asking:
            if len(keys) > 1 and missing:
                raise ServerError("TRYAGAIN Multiple keys request during rehashing of slot")
        else:
            host, port = self.cluster.shards[self.owner(slot)].place
            raise ServerError(f"MOVED {slot} {host}:{port}")

    def do_cluster(self, what: bytes) -> Any:
        if what.upper() == b"SLOTS":
            return [
                [first, last, [shard.place[0].encode(), shard.place[1], shard.id()]]
                for first, last, shard in self._ranges()
            ]
        assert what.upper() == b"NODES"
        lines = []
        for shard in self.cluster.shards:
            mine = [
                f"{first}-{last}" if first != last else str(first)
                for first, last, one in self._ranges()
                if one is shard
            ]
            if shard is self:
                for slot, (source, target) in self.cluster.moving.items():
                    if source is self:
                        mine.append(f"[{slot}->-{target.id().decode()}]")
                    elif target is self:
                        mine.append(f"[{slot}-<-{source.id().decode()}]")
            host, port = shard.place
            flags = "myself,master" if shard is self else "master"
            lines.append(
                f"{shard.id().decode()} {host}:{port}@{port + 10_000} {flags} - 0 0 "
                f"{shard.epoch} connected {' '.join(mine)}"
            )
        return "\n".join(lines).encode()

    def id(self) -> bytes:
        """Return its name in the cluster; a replica that takes over has another one."""
        return b"%040x" % self.place[1]

    def _ranges(self) -> list[tuple[int, int, Shard]]:
        shards = self.cluster.shards
        count = len(shards)
        bounds = {-(-SLOTS * n // count) for n in range(count + 1)}
        for slot in self.knows:
            bounds |= {slot, slot + 1}
        edges = sorted(bounds)
        return [
            (first, end - 1, shards[self.owner(first)]) for first, end in itertools.pairwise(edges)
        ]


class ClusterModel:
    """All of them, and what moves between them."""

    def __init__(self, world: World | None, count: int = 3, **options: Any) -> None:
        self.world: Any = world
        self.moving: dict[int, tuple[Shard, Shard]] = {}
        self.dead: set[Place] = set()
        self.shards: list[Shard] = []
        self.shards += [Shard(self, n, ("far", 6379 + n), **options) for n in range(count)]

    def begin(self, slot: int, target: Shard) -> None:
        """Let *slot* be on its way."""
        source = next(one for one in self.shards if one.owner(slot) == one.number)
        if source is not target and slot not in self.moving:
            self.moving[slot] = source, target

    def names(self, slot: int) -> list[bytes]:
        """Return what is still to move."""
        source, _ = self.moving[slot]
        source.keys.expire_due()
        return sorted(name for name in source.keys.data if key_slot(name) == slot)

    def move(self, slot: int, name: bytes) -> None:
        """Move one name."""
        source, target = self.moving[slot]
        value, end = source.keys.get(name), source.keys.ends.get(name)
        if value is None:
            return
        target.keys.put(name, value)
        target.keys.ends.pop(name, None)
        if end is not None:
            target.keys.ends[name] = end
        source.keys.drop(name)
        for one in (target, source):
            one.tell_trackers(None)

    def end(self, slot: int) -> None:
        """Let *slot* be its new server's: source and target know it, others hear of it."""
        source, target = self.moving.pop(slot)
        target.epoch = max(one.epoch for one in self.shards) + 1
        for shard in self.shards:
            if shard in {source, target} or self.world is None:
                shard.knows[slot] = target.number
            else:
                self.world.call_later(
                    self.world.rng.uniform(0.0, 0.3), lambda one=shard: self._hear(one, slot)
                )

    def _hear(self, shard: Shard, slot: int) -> None:
        latest = max(
            (one for one in self.shards if one.owner(slot) == one.number),
            key=lambda one: one.epoch,
        )
        shard.knows[slot] = latest.number

    def fail_over(self, shard: Shard, saved: Any) -> Shard | None:
        """Let a primary die, and its replica, which has what was *saved*, take its place."""
        count = len(self.shards)
        host, port = shard.place
        away = port + count if port < 6379 + count else port - count
        if (host, away) in self.dead:
            return None  # it has not come back yet
        made = Shard(self, shard.number, (host, away))
        made.keys.data, made.keys.ends = dict(saved[0]), dict(saved[1])
        made.knows = dict(shard.knows)
        made.epoch = max(one.epoch for one in self.shards) + 1
        for slot, pair in list(self.moving.items()):
            if shard in pair:
                del self.moving[slot]  # whoever moved it has lost it, too
        self.shards[shard.number] = made
        self.dead.add(shard.place)
        return made

    def come_back(self, place: Place) -> Shard:
        """Let one that has died come back, as the replica of who took its place."""
        self.dead.discard(place)
        return Replica(self, -1, place)


class Replica(Shard):
    """One that serves nothing, and knows who does."""

    role = b"slave"

    def owner(self, slot: int) -> int:
        return next(one.number for one in self.cluster.shards if one.owner(slot) == one.number)
