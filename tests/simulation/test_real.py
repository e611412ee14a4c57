"""The same nodes, the same deeds and the same oracle, over a real server and in real time."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
import redis.asyncio
from simulation.history import History
from simulation.nodes import KEYS, PATTERNS, WAYS, Node
from simulation.play import DEEDS

from stillfresh.providers.redis import RedisCacheProvider

FAULTS = ("CLIENT KILL", "SCRIPT FLUSH", "FLUSHALL", "lose", "cancel a change")
DEEDS_OF_ONE = 150


class RealWorld:
    """Chance, and the time of the clock."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.failing = self.rng.choice([0.0, 0.2])
        self.lateness = self.rng.choice([0.0, 0.3])

    @property
    def now(self) -> float:
        return time.monotonic()

    def takes(self) -> float:
        return self.rng.choice([0.0, 0.001, 0.01])


async def fault(name: str, node: Node, raw: redis.asyncio.Redis, prefix: str) -> None:
    """Let something break."""
    rng = node.world.rng
    match name:
        case "CLIENT KILL":
            await raw.client_kill_filter(_type="normal", skipme=True)
        case "SCRIPT FLUSH":
            await raw.script_flush()
        case "FLUSHALL":
            await raw.flushall()
        case "lose":
            if names := sorted(await raw.keys(f"{prefix}:*")):
                await raw.unlink(rng.choice(names))
        case _:
            if tasks := [task for task in node.tasks if not task.done()]:
                rng.choice(tasks).cancel()


async def finished(tasks: list[asyncio.Task[object]]) -> None:
    """Wait for what was begun; whoever was cancelled was so on purpose."""
    async with asyncio.timeout(20):
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(end, Exception):
                raise end


@pytest.mark.parametrize("calm", [True, False], ids=["calm", "faults"])
@pytest.mark.parametrize("seed", range(6))
async def test_no_schedule_breaks_a_promise(seed: int, calm: bool, url: str, prefix: str) -> None:
    """What the simulation says of its model holds of a real server, too."""
    world = RealWorld(seed)
    rng = world.rng
    way, lives = rng.choice(WAYS)
    history = History(lives, KEYS)
    history.calm = calm and not lives.near  # how long a push takes here nobody knows
    loop = asyncio.get_running_loop()
    nodes = [
        Node(f"n{number}", loop, history, world, way, RedisCacheProvider(url, prefix=prefix))
        for number in range(3)
    ]
    raw = redis.asyncio.Redis.from_url(url)
    for node in nodes:
        await node.start()
    try:
        for _ in range(DEEDS_OF_ONE):
            node, key = rng.choice(nodes), rng.choice(KEYS)
            name = rng.choices(list(DEEDS), list(DEEDS.values()))[0]
            if not calm and rng.random() < 0.05:
                await fault(rng.choice(FAULTS), node, raw, prefix)
            elif name == "call":
                node.do(node.call(key))
            elif name == "refresh":
                node.do(node.refresh(key))
            elif name == "cancel":
                calls = [one for one in node.tasks if one.get_coro().__name__ == "call"]
                if calls:
                    rng.choice(calls).cancel()
            elif name != "time":
                node.do(node.changes(key, rng.choice(list(PATTERNS)))[name]())
            if rng.random() < 0.7:
                await asyncio.sleep(rng.expovariate(1 / 0.003))
        await finished([task for node in nodes for task in node.tasks])
        world.failing = 0.0
        if not history.calm:
            await asyncio.sleep(1.5)  # a breaker tries again after a second
        for key in KEYS:
            for node in nodes:
                await node.do(node.call(key))
        for node in nodes:
            await node.app.settled()
            history.replayed(node.name)
        for key in KEYS:
            await nodes[0].do(nodes[0].changes(key, "*")["invalidate"]())
            if lives.near:
                await asyncio.sleep(0.3)
            seen = [await node.do(node.call(key)) for node in nodes]
            assert len(set(seen)) == 1, seen
    finally:
        await raw.aclose()
        for node in nodes:
            await node.stop()
    assert history.problems == []
