"""The same nodes over a real server, in real time, with real threads."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from functools import wraps
from typing import Any

import redis.asyncio

from .conditions import Conditions
from .fleet import SIZE
from .history import History
from .nodes import KEYS, WAYS, Node, OfOneProcess

FAULTS = ("CLIENT KILL", "SCRIPT FLUSH", "FLUSHALL", "lose", "cancel a change")


class SharedHistory(History):
    """A history that threads write, which may come in each other's way."""


def _locked(method: Any) -> Any:
    @wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        with _one:
            return method(self, *args, **options)

    return call


_one = threading.RLock()
for _name in ("value", "begin", "end", "change_begins", "change_ends", "holds", "holds_here",
              "replayed", "call", "answered"):  # fmt: skip
    setattr(SharedHistory, _name, _locked(getattr(History, _name)))


class RealFleet:
    """Chance, the time of the clock, and three nodes in one process that share a server."""

    def __init__(self, seed: int, conditions: Conditions, url: str, prefix: str) -> None:
        self.rng = random.Random(seed)
        self.conditions = conditions
        self.failing = conditions.failing
        self.lateness = conditions.lateness
        self.prefix = prefix
        self.way, lives = WAYS[conditions.way]
        self.history = SharedHistory(lives, KEYS)
        # How long a push takes here nobody knows.
        self.history.calm = conditions.calm and not lives.near
        loop = asyncio.get_running_loop()
        providers = [OfOneProcess(url, prefix=prefix) for _ in range(SIZE)]
        self.nodes = [
            Node(f"n{number}", loop, self.history, self, self.way, provider)
            for number, provider in enumerate(providers)
        ]
        self.raw = None if conditions.cluster else redis.asyncio.Redis.from_url(url)

    @property
    def now(self) -> float:
        return time.monotonic()

    def takes(self) -> float:
        """Draw how long a computation takes."""
        return self.rng.choice([0.0, 0.001, 0.01])

    async def start(self) -> None:
        """Start the nodes."""
        for node in self.nodes:
            await node.start()

    async def stop(self) -> None:
        """Stop them."""
        if self.raw is not None:
            await self.raw.aclose()
        for node in self.nodes:
            await node.stop()

    def deed(
        self, name: str, node: Node, key: str, pattern: str, *, threaded: bool = False
    ) -> None:
        """Begin something."""
        match name:
            case "call" | "refresh":
                node.begin(name, key, threaded=threaded)
            case "move a slot":
                return  # there is one server, or somebody else moves them
            case "cancel":
                if tasks := node.cancellable(calls_only=True):
                    self.rng.choice(tasks).cancel()
            case _:
                node.begin_change(name, key, pattern, threaded=threaded)

    async def fault(self, name: str, node: Node) -> None:
        """Let something break."""
        assert self.raw is not None
        match name:
            case "CLIENT KILL":
                await self.raw.client_kill_filter(_type="normal", skipme=True)
            case "SCRIPT FLUSH":
                await self.raw.script_flush()
            case "FLUSHALL":
                await self.raw.flushall()
            case "lose":
                if names := sorted(await self.raw.keys(f"{self.prefix}:*")):
                    await self.raw.unlink(self.rng.choice(names))
            case _:
                if tasks := node.cancellable(calls_only=False):
                    self.rng.choice(tasks).cancel()

    async def see_the_end(self) -> None:
        """Wait for everything that was begun, and see that all come to agree."""
        tasks = [task for node in self.nodes for task in node.tasks]
        async with asyncio.timeout(20):
            for end in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(end, Exception):
                    raise end
        self.failing = 0.0
        keys = self.conditions.keys
        if self.conditions.cluster or not self.history.calm:
            await asyncio.sleep(1.5)  # a breaker tries again after a second
        for key in keys:
            for node in self.nodes:
                await node.begin("call", key)
        for node in self.nodes:
            await node.app.settled()
            self.history.replayed(node.name)
        for key in keys:
            await self.nodes[0].begin_change("invalidate", key, "*")
            turns = 50 if self.history.lives.near else 1  # a push may be under way
            for _ in range(turns):
                seen = [await node.begin("call", key) for node in self.nodes]
                if len(set(seen)) == 1:
                    break
                await asyncio.sleep(0.1)
            else:
                self.history.wrong(f"(d) in the end the nodes see {seen} for {key}")
