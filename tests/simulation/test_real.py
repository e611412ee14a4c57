"""The same nodes, the same deeds and the same oracle, over a real server and in real time."""

from __future__ import annotations

import asyncio
import random

import pytest
from simulation.conditions import DEEDS, Conditions
from simulation.nodes import PATTERNS, WAYS
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
    await fleet.start()
    try:
        for _ in range(DEEDS_OF_ONE):
            node, key = rng.choice(fleet.nodes), rng.choice(conditions.keys)
            name = rng.choices(list(DEEDS), list(DEEDS.values()))[0]
            if not calm and rng.random() < 0.05:
                await fleet.fault(rng.choice(FAULTS), node)
            elif name != "time":
                pattern, threaded = rng.choice(list(PATTERNS)), rng.random() < 0.5
                fleet.deed(name, node, key, pattern, threaded=threaded)
            if rng.random() < 0.7:
                await asyncio.sleep(rng.expovariate(1 / 0.003))
        await fleet.see_the_end()
    finally:
        await fleet.stop()
    assert fleet.history.problems == []
