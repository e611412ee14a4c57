"""The same nodes, the same deeds and the same oracle, over a real server and in real time."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable

import pytest
from redis.crc import key_slot
from simulation.conditions import DEEDS, Conditions
from simulation.nodes import KEYS, PATTERNS, WAYS
from simulation.real import FAULTS, RealFleet

DEEDS_OF_ONE = 150


@pytest.mark.parametrize("calm", [True, False], ids=["calm", "faults"])
@pytest.mark.parametrize("seed", range(8))
async def test_no_schedule_breaks_a_promise(seed: int, calm: bool, url: str, prefix: str) -> None:
    """What the simulation says of its model holds of a real server, too."""
    rng = random.Random(f"{seed} {calm}")
    conditions = Conditions(
        way=(2 * seed + calm) % len(WAYS),
        calm=calm,
        failing=rng.choice([0.0, 0.2]),
        lateness=rng.choice([0.0, 0.3]),
    )
    fleet = RealFleet(seed, conditions, url, prefix)
    await play(fleet, rng)


@pytest.mark.parametrize("seed", range(5))
async def test_no_schedule_breaks_a_promise_over_a_cluster(seed: int, cluster, prefix: str) -> None:
    """The same over three servers, while the slots of what is asked for move between them."""
    rng = random.Random(f"cluster {seed}")
    conditions = Conditions(
        way=(3 * seed + 1) % len(WAYS), cluster=True, failing=0.2, lateness=rng.choice([0.0, 0.3])
    )
    fleet = RealFleet(seed, conditions, cluster.url, prefix)
    over = threading.Event()
    moves = asyncio.create_task(asyncio.to_thread(move, cluster, prefix, rng.randrange(99), over))

    async def rest() -> None:
        over.set()
        assert await moves > 0

    try:
        await play(fleet, rng, rest)
    finally:
        over.set()


def move(cluster, prefix: str, seed: int, over: threading.Event) -> int:
    """Move one slot after the other, those of the entries and of their tags; return how many."""
    rng, moved = random.Random(seed), 0
    names = [f"{prefix}:v:{{sim|{key}}}" for key in KEYS] + [f"{prefix}:t:{{all}}"]
    while not over.is_set():
        slot = key_slot(rng.choice(names).encode())
        source = cluster.owner(slot)
        target = (source + rng.choice([1, 2])) % 3
        cluster.begin(slot, source, target)
        over.wait(0.02)
        cluster.move(slot, source, target)
        cluster.end(slot, target)
        moved += 1
        over.wait(0.1)
    return moved


async def play(
    fleet: RealFleet, rng: random.Random, rest: Callable[[], Awaitable[object]] | None = None
) -> None:
    """Do so many things to it, let everything come to *rest*, and see how it ends."""
    conditions = fleet.conditions
    await fleet.start()
    try:
        for _ in range(DEEDS_OF_ONE):
            node, key = rng.choice(fleet.nodes), rng.choice(conditions.keys)
            name = rng.choices(list(DEEDS), list(DEEDS.values()))[0]
            if not conditions.calm and rng.random() < 0.05:
                await fleet.fault(rng.choice(FAULTS), node)
            elif name != "time":
                pattern, threaded = rng.choice(list(PATTERNS)), rng.random() < 0.5
                fleet.deed(name, node, key, pattern, threaded=threaded)
            if rng.random() < 0.7:
                await asyncio.sleep(rng.expovariate(1 / 0.003))
        if rest is not None:
            await rest()
        await fleet.see_the_end()
    finally:
        await fleet.stop()
    assert fleet.history.problems == []
