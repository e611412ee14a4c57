"""Schedules of three nodes over a simulated wire: whatever the order of events, no promise breaks."""

import logging
import os

import pytest
from simulation.play import Schedule, play

from stillfresh.services.current import registry

SCHEDULES = int(os.environ.get("STILLFRESH_SCHEDULES", "300"))
GROUPS = 10


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Faults are the rule here; their log lines are read elsewhere."""
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize("group", range(GROUPS))
def test_no_schedule_breaks_a_promise(group: int) -> None:
    """
    Calls, changes, faults and time in any order: (a) no call gets what is older than an
    invalidation that had returned, (b) one computes, (c) nothing past its window is served, (d)
    all nodes agree in the end, (e) nothing is left, (f) each call is counted once.

    What fails is named with its seed: `scripts/simulate 1 SEED` tells its story.
    """
    problems = []
    for seed in range(group, SCHEDULES, GROUPS):
        problems += play(seed)
    assert problems == []


@pytest.mark.parametrize("threaded", [False, True])
def test_a_seed_replays(threaded: bool) -> None:
    """The same seed makes the same history, to the last tick; also that of threads."""
    made = (Schedule(seed) for seed in range(100))
    seed = next(one.seed for one in made if hasattr(one.way, "read_in_thread") is threaded)
    stories = []
    for _ in range(2):
        schedule = Schedule(seed)
        story: list[str] = []
        schedule.tell = story.append
        schedule.history.tell = story.append
        assert schedule.play() == []
        stories.append(story)
    assert len(stories[0]) > 50
    assert stories[0] == stories[1]


def test_a_schedule_leaves_no_app() -> None:
    """Also nodes that were killed are none of this process's apps when it is over."""
    for seed in range(40):
        play(seed)
    assert registry.running == ()
