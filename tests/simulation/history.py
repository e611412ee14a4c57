"""
What happened, and what it forbids: the oracle.

A value of the source is a number that tells when its computation was called, so whoever gets one
knows how old it is, whatever way it took. Moments are ticks of one counter for the whole world.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

STATUSES = ("hit", "miss", "stale", "coalesced", "fallback", "bypass")
NEW = 1 << 62
LEASE_SECONDS = 10.0
PUSH_SECONDS = 3.01
"""After which a node that hears nothing any more serves nothing from its near tier."""
CALM_PUSH_SECONDS = 0.05
CALL: ContextVar[CallRecord | None] = ContextVar("call", default=None)
"""The call in whose name this code runs; a computation inherits it from the call that began it."""


class Value:
    """One version of the source."""

    __slots__ = ("key", "tags", "tick", "time")

    def __init__(self, key: str, tick: int, time: float, tags: frozenset[str]) -> None:
        self.key = key
        self.tick = tick
        """
        When its computation was called. One that is written by hand counts as new until its
        write has ended: what goes on beside a write may have come before it.
        """
        self.time = time
        self.tags = tags


class Lives(NamedTuple):
    """How long a value may be served, and as what."""

    fresh: float
    stale: float = 0.0
    keep: float = 0.0
    timeout: float = float("inf")
    near: bool = False
    """There is a near tier: other nodes follow when they are told."""
    tagged: bool = True

    @property
    def life(self) -> float:
        """After which a value is of no use."""
        return self.fresh + max(self.stale, self.keep)

    def allows(self, status: str, age: float) -> bool:
        """Tell whether a value may be served so long after its computation was called."""
        match status:
            case "hit":
                return age < self.fresh
            case "stale":
                return age < self.fresh + self.stale
            case "fallback":
                return age < self.fresh + self.keep
            case _:
                return True


class CallRecord:
    """One call of a cached function."""

    __slots__ = ("expired", "floors", "key", "node", "start", "statuses", "time")

    def __init__(self, node: str, key: str, start: int, time: float) -> None:
        self.node = node
        self.key = key
        self.start = start
        self.time = time
        self.statuses: list[str] = []
        self.floors: dict[str, int] = {}
        """Per name that was invalidated: what is older must not come any more."""
        self.expired: dict[str, int] = {}


class Running:
    """One computation that has not ended."""

    __slots__ = ("asked", "excused", "key", "leaseless", "node", "tick", "time")

    def __init__(
        self, node: str, key: str, tick: int, time: float, *, asked: int, excused: bool
    ) -> None:
        self.node = node
        self.key = key
        self.tick = tick
        self.time = time
        self.asked = asked
        """When its lease cannot have been asked for yet."""
        self.excused = excused
        self.leaseless = False
        """It has no lease that counts: the provider is away, or its server gave the slot away."""


class History:
    """All values, all invalidations, and what was wrong."""

    def __init__(self, lives: Lives, keys: tuple[str, ...]) -> None:
        self.lives = lives
        self.keys = keys
        self.calm = True
        """No fault of the provider, and no node that stood still: one computes in the fleet."""
        self.preempting = False
        """A thread may stand still between the decision to compute and the computation."""
        self.problems: list[str] = []
        self.tell: Callable[[str], object] = lambda _: None
        self.values: list[Value] = []
        self.calls: dict[str, int] = defaultdict(int)
        self._ticks = itertools.count(1)
        self._floors: dict[str, int] = {}
        self._expired: dict[str, int] = {}
        self._owed: dict[str, dict[str, int]] = defaultdict(dict)
        self._owed_expired: dict[str, dict[str, int]] = defaultdict(dict)
        self._coming: deque[tuple[float, tuple[str, ...], int, bool]] = deque()
        self._running: dict[str, list[Running]] = defaultdict(list)
        self._changing: dict[str, int] = defaultdict(int)
        self._changed: dict[str, int] = defaultdict(int)
        self._failed: dict[str, int] = defaultdict(int)
        self._moved: dict[str, int] = defaultdict(int)

    def tick(self) -> int:
        """Return the next moment."""
        return next(self._ticks)

    def wrong(self, text: str) -> None:
        """Note a promise that was broken."""
        self.tell(f"WRONG {text}")
        self.problems.append(text)

    # The source

    def value(self, key: str, time: float, tags: frozenset[str]) -> int:
        """Make the version that a computation reads which is called now."""
        known = {"all", f"k:{key}"} if self.lives.tagged else set()
        value = Value(key, self.tick(), time, tags | known)
        self.values.append(value)
        return len(self.values) - 1

    def begin(self, node: str, key: str, time: float, *, leaseless: bool) -> Running:
        """Note that a computation is called; it may be the only one (b)."""
        tick, call = self.tick(), CALL.get()
        # A waiter whose holder ended without a value need not queue again.
        excused = call is not None and call.start < self._failed[key]
        mine = tick if call is None else call.start
        # A lease that was asked for before names moved may be of the server that they have left.
        leaseless = leaseless or mine <= self._moved[key]
        for other in self._running[key]:
            since = tick if self._changing[key] else self._changed[key]
            late = time - other.time >= self.lives.timeout
            here = other.node == node and not self.preempting
            # The lease of either may have been on its way when something was invalidated: whoever
            # came after that takes it over, and hears nothing of a computation that begins late.
            asked = other.tick if here else min(other.asked, tick if other.node == node else mine)
            if excused or other.excused or late or asked <= since:
                continue
            if other.node == node or (self.calm and not (other.leaseless or leaseless)):
                self.wrong(
                    f"(b) {key} is computed twice: by {other.node} since {other.tick}, "
                    f"by {node} from {tick}"
                )
        self.tell(f"    {tick}: {node} computes {key}")
        running = Running(node, key, tick, time, asked=mine, excused=excused)
        running.leaseless = leaseless
        self._running[key].append(running)
        return running

    def end(self, running: Running, *, failed: bool) -> None:
        """Note that a computation has ended."""
        running_now = self._running[running.key]
        if running not in running_now:
            return  # its node has died
        running_now.remove(running)
        self.tell(f"    {running.node} has computed {running.key} ({failed=})")
        if failed:
            self._failed[running.key] = self.tick()

    def moves(self, names: list[bytes], *, strict: bool) -> None:
        """
        Note that these names are on their way to another server: no lease counts there.

        To one that is *strict* the versions of tags are of another life there, and one tag is that
        of all keys.
        """
        for key in self.keys:
            if any(
                key.encode() in name or (strict and name.endswith((b"|all}", b"{all}")))
                for name in names
            ):
                self._moved[key] = self.tick()
                for one in self._running[key]:
                    one.leaseless = True

    def died(self, node: str) -> None:
        """Forget what a node was doing, and what it had not delivered."""
        for key, running in self._running.items():
            self._running[key] = [one for one in running if one.node != node]
        self._owed.pop(node, None)
        self._owed_expired.pop(node, None)

    @property
    def computing(self) -> bool:
        """Some computation has not ended."""
        return any(self._running.values())

    # Changes by hand

    def change_begins(self, keys: tuple[str, ...]) -> int:
        """Note that something is called that ends the leases of *keys*."""
        for key in keys:
            self._changing[key] += 1
        return self.tick()

    def change_ends(self, keys: tuple[str, ...]) -> None:
        """Note its end, whatever came of it."""
        now = self.tick()
        for key in keys:
            self._changing[key] -= 1
            self._changed[key] = now

    def changed_since(self, key: str, tick: int) -> bool:
        """Tell whether something ended the leases of *key* after *tick*, or is about to."""
        return bool(self._changing[key]) or self._changed[key] > tick

    def holds(
        self, names: tuple[str, ...], since: int, *, node: str, now: float, expire: bool = False
    ) -> None:
        """Note that an invalidation has returned which was called at *since*."""
        self.tell(f"    {names} holds from {since} on")
        if self.lives.near:  # here at once, elsewhere when they have been told
            self.holds_here(node, names, since, expire=expire)
            bound = CALM_PUSH_SECONDS if self.calm else PUSH_SECONDS
            self._coming.append((now + bound, names, since, expire))
            return
        self._hold(names, since, expire=expire)

    def _hold(self, names: tuple[str, ...], since: int, *, expire: bool) -> None:
        floors = self._expired if expire else self._floors
        for name in names:
            floors[name] = max(floors.get(name, 0), since)

    def holds_here(
        self, node: str, names: tuple[str, ...], since: int, *, expire: bool = False
    ) -> None:
        """Note one that raised: it holds in its own process at once."""
        self.tell(f"    {names} holds on {node} from {since} on")
        floors = (self._owed_expired if expire else self._owed)[node]
        for name in names:
            floors[name] = max(floors.get(name, 0), since)

    def replayed(self, node: str) -> None:
        """Note that *node* has made up for what it owed: it holds everywhere."""
        for name, since in self._owed.pop(node, {}).items():
            self._hold((name,), since, expire=False)
        for name, since in self._owed_expired.pop(node, {}).items():
            self._hold((name,), since, expire=True)

    # Calls

    def call(self, node: str, key: str, time: float) -> CallRecord:
        """Note that a function is called; what holds now must hold for its answer."""
        while self._coming and self._coming[0][0] <= time:
            _, names, since, expire = self._coming.popleft()
            self._hold(names, since, expire=expire)
        record = CallRecord(node, key, self.tick(), time)
        self.calls[node] += 1
        for target, everywhere, here in (
            (record.floors, self._floors, self._owed.get(node, {})),
            (record.expired, self._expired, self._owed_expired.get(node, {})),
        ):
            target.update(everywhere)
            for name, since in here.items():
                target[name] = max(target.get(name, 0), since)
        return record

    def answered(self, record: CallRecord, number: object) -> None:
        """Compare what a call got with what it may get (a), (c) and (f)."""
        where = f"a call of {record.key} at {record.start} on {record.node}"
        if not isinstance(number, int) or not 0 <= number < len(self.values):
            self.wrong(f"{where} got {number!r}, which nobody has computed")
            return
        value, statuses = self.values[number], record.statuses
        self.tell(f"    {where} gets {value.tick} as {statuses}")
        if value.key != record.key:
            self.wrong(f"(a) {where} got a value of {value.key}")
        if len(statuses) != 1 and not (
            self.lives.near and not statuses
        ):  # a short cut tells nobody
            self.wrong(f"(f) {where} counts as {statuses}")
        status = statuses[0] if statuses else "hit"
        names = {"*", f"key:{value.key}", *(f"tag:{tag}" for tag in value.tags)}
        for name in names:
            if value.tick < record.floors.get(name, 0):
                self.wrong(
                    f"(a) {where} got, as a {status}, what was computed at {value.tick}; "
                    f"{name} was invalidated at {record.floors[name]}"
                )
            if value.tick < record.expired.get(name, 0) and status not in {"stale", "fallback"}:
                self.wrong(
                    f"(a) {where} got, as a {status}, what was computed at {value.tick}; "
                    f"{name} was expired at {record.expired[name]}"
                )
        age = record.time - value.time
        # A life is counted by the server from the arrival of the value; what is on its way late is
        # accepted as long as its lease holds.
        slack = 0.02 if self.calm else LEASE_SECONDS + 2.0
        if not self.lives.allows(status, age - slack):
            self.wrong(f"(c) {where} got, as a {status}, what was {age:.3f} s old: {self.lives}")
