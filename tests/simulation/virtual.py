"""
A world whose time is a number, and event loops that run in it: one for each node.

Nothing waits for real. Time moves to the next thing that is due when no loop has anything to do.
Which loop has the next turn, and in which order it runs what is ready, is drawn from the seed;
so is everything else, and a seed replays.

A node that is paused gets no turns: its timers are late when it wakes, as after SIGSTOP. A node
that was killed gets none for ever.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from math import inf, nextafter
from typing import Any

from stillfresh.clock import Clock

TURNS = 200_000
"""More than any schedule needs: whoever gets there turns in a circle."""


HERE: list[NodeLoop] = []
"""Whose turn it is."""


_version = cache(metadata.version)


class Stuck(AssertionError):
    """Nothing is due any more, and something is still waited for; or it never ends."""


class NodeLoop(asyncio.BaseEventLoop):
    """The event loop of one node. The world gives it its turns."""

    def __init__(self, world: World, offset: float) -> None:
        super().__init__()
        self.world = world
        self.offset = offset
        """Where the clock of this node began to count."""
        self.paused_until = 0.0
        self.node: Any = None
        self._thread_id = threading.get_ident()

    def time(self) -> float:
        return self.world.now + self.offset

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector here."""

    def next_due(self) -> float | None:
        """Return the moment of the world at which the next timer is due."""
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        return self._scheduled[0]._when - self.offset if self._scheduled else None

    def turn(self, rng: random.Random, *, shuffled: bool) -> None:
        """Run what is ready."""
        now = self.time() + 1e-9
        while self._scheduled and self._scheduled[0]._when <= now:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                self._ready.append(handle)
                while self.time() < handle._when:  # whoever asks what time it is must not be early
                    self.world.now = nextafter(self.world.now, inf)
        ready = list(self._ready)
        self._ready.clear()
        if shuffled and len(ready) > 1:
            rng.shuffle(ready)
        asyncio._set_running_loop(self)
        HERE.append(self)
        try:
            for handle in ready:
                if not handle._cancelled:
                    handle._run()
        finally:
            HERE.pop()
            asyncio._set_running_loop(None)

    def end(self) -> None:
        """Close it."""
        self._thread_id = None
        self.close()

    async def create_connection(self, protocol_factory, host=None, port=None, **options):
        """Connect to a server of the world."""
        return await self.world.network.connect(self, protocol_factory, host, port)


class NodeClock(Clock):
    """The clock of one node: its origin is its own, as that of a process is."""

    def __init__(self, loop: NodeLoop) -> None:
        self.now = loop.time


class World:
    """Time, chance, and whoever lives in it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 1_000.0
        self.loops: list[NodeLoop] = []
        self.shuffled = self.rng.random() < 0.5
        self.network: Any = None
        self.preempting = 0.0
        """How often a thread lets others go first where it takes or gives back a lock."""
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._chance = random.Random(self.rng.random())
        self._state = random.Random(self.rng.random()).getstate()

    def loop(self) -> NodeLoop:
        """Make the loop of one more node."""
        made = NodeLoop(self, self.rng.uniform(0.0, 50_000.0))
        self.loops.append(made)
        return made

    def call_at(self, when: float, callback: Callable[[], object]) -> None:
        """Call *callback* at a moment; it belongs to no node."""
        heapq.heappush(self._due, (when, next(self._order), callback))

    def call_later(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call *callback* in so many seconds."""
        self.call_at(self.now + seconds, callback)

    def run(self, done: Callable[[], bool], *, until: float = float("inf")) -> None:
        """
        Let things happen until something is *done*, or that moment has come.

        Raises:
            Stuck: Nothing will happen any more, or things happen for ever.
        """
        loops, due = self.loops, self._due
        for _ in range(TURNS):
            if done():
                return
            now = self.now
            ready = [one for one in loops if one._ready and one.paused_until <= now]
            if ready:
                loop = ready[0] if len(ready) == 1 else self.rng.choice(ready)
                loop.turn(self.rng, shuffled=self.shuffled)
                continue
            soonest = due[0][0] if due else inf
            for one in loops:
                when = now if one._ready else one.next_due()
                if when is not None:
                    soonest = min(soonest, max(when, one.paused_until))
            if soonest == inf and until == inf:
                raise Stuck("nothing happens any more")
            if soonest > until:
                self.now = max(now, until)
                return
            now = self.now = max(now, soonest)
            while due and due[0][0] <= now:
                heapq.heappop(due)[2]()
            for one in loops:
                when = one.next_due()
                if when is not None and when <= now and one.paused_until <= now:
                    one.turn(self.rng, shuffled=self.shuffled)
        raise Stuck("it turns in a circle")

    def finish(self, loop: NodeLoop, coroutine: Any) -> Any:
        """Run a coroutine on *loop* to its end, and everything else meanwhile."""
        task = loop.create_task(coroutine)
        self.run(task.done)
        return task.result()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Replace the time and the chance of this process by those of the world, for a while."""
        kept = time.monotonic, os.urandom, random.getstate(), metadata.version
        time.monotonic = lambda: self.now
        os.urandom = self._chance.randbytes
        random.setstate(self._state)
        metadata.version = _version  # the client library asks for its own with each connection
        try:
            yield
        finally:
            self._state = random.getstate()
            time.monotonic, os.urandom, state, metadata.version = kept
            random.setstate(state)
