"""
The same play as a search: hypothesis decides what happens, and shrinks what fails.

What it draws are the conditions and the deeds, and with each deed the luck of what happens until the
next one (what is late, who has a turn). So a deed that is left out changes nothing else, and what
fails ends as a short list.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from . import real
from .conditions import CHANGES, FAULTS, LASTING, Conditions
from .fleet import SIZE, Fleet
from .nodes import KEYS, PATTERNS, WAYS

NODES = st.integers(0, SIZE - 1)


class Then(NamedTuple):
    """What comes behind a deed."""

    seconds: float
    """Until the next one."""
    luck: int
    """The seed of all chance until then."""


THENS = st.builds(Then, st.sampled_from([0.0, 0.0005, 0.002, 0.01, 0.2]), st.integers(0, 2**16))
STEPS = 40


def bounded(examples: int, *, shrink: bool = True, **options: Any) -> settings:
    """Return the settings for so many examples: time is virtual, and no measure of anything."""
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        **options,
    )


class Play(RuleBasedStateMachine):
    """What may be done to a fleet, whichever it is."""

    fleet: Any = None

    @initialize(
        luck=st.integers(0, 2**16),
        way=st.sampled_from(range(len(WAYS))),
        faults=st.booleans(),
        strict=st.booleans(),
        cluster=st.booleans(),
        failing=st.sampled_from([0.0, 0.2]),
        lateness=st.sampled_from([0.0, 0.3]),
        longest=st.sampled_from([0.0, 0.004, 0.03, 2.0]),
        hanging=st.sampled_from([0.0, 0.05]),
        preempting=st.sampled_from([0.0, 0.05, 0.3]),
        keys=st.sampled_from([KEYS[:1], KEYS[:2], KEYS]),
    )
    def begin(self, *, luck: int, faults: bool, **conditions: Any) -> None:
        self.set_up(luck, Conditions(calm=not faults, **conditions))

    @rule(
        nodes=st.lists(NODES, min_size=1, max_size=4),
        key=st.sampled_from(KEYS),
        threaded=st.booleans(),
        then=THENS,
    )
    def call(self, nodes: list[int], key: str, threaded: bool, then: Then) -> None:
        """Call at the same time, here and there."""
        for node in nodes:
            self.do("call", node, key, threaded=threaded, then=Then(0.0, then.luck))
        self.wait(then.seconds)

    @rule(node=NODES, key=st.sampled_from(KEYS), threaded=st.booleans(), then=THENS)
    def refresh(self, node: int, key: str, threaded: bool, then: Then) -> None:
        self.do("refresh", node, key, threaded=threaded, then=then)

    @rule(
        name=st.sampled_from(list(CHANGES)),
        node=NODES,
        key=st.sampled_from(KEYS),
        pattern=st.sampled_from(list(PATTERNS)),
        threaded=st.booleans(),
        then=THENS,
    )
    def change(
        self, *, name: str, node: int, key: str, pattern: str, threaded: bool, then: Then
    ) -> None:
        self.do(name, node, key, pattern, threaded=threaded, then=then)

    @rule(node=NODES, then=THENS)
    def cancel(self, node: int, then: Then) -> None:
        self.do("cancel", node, KEYS[0], threaded=False, then=then)

    def do(
        self, name: str, node: int, key: str, pattern: str = "*", *, threaded: bool, then: Then
    ) -> None:
        keys = self.fleet.conditions.keys
        key = keys[KEYS.index(key) % len(keys)]
        self.fleet.rng.seed(then.luck)
        with self.at_work():
            self.fleet.deed(name, self.fleet.nodes[node], key, pattern, threaded=threaded)
        self.wait(then.seconds)

    @invariant()
    def no_promise_is_broken(self) -> None:
        problems = [] if self.fleet is None else self.fleet.history.problems
        assert not problems, "\n".join(problems)


class Simulated(Play):
    """The fleet of the simulation."""

    fleet: Fleet | None

    def set_up(self, seed: int, conditions: Conditions) -> None:
        self.fleet = Fleet(seed, conditions)
        with self.at_work():
            for _ in range(SIZE):
                self.fleet.add_node()

    def at_work(self) -> Any:
        return self.fleet.at_work()

    def wait(self, seconds: float) -> None:
        with self.at_work():
            self.fleet.wait(seconds)

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0, 11.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.wait(seconds)

    @precondition(lambda self: not self.fleet.history.calm)
    @rule(
        name=st.sampled_from(list(FAULTS)),
        node=NODES,
        lasts=st.sampled_from(LASTING),
        then=THENS,
    )
    def fault(self, name: str, node: int, lasts: float, then: Then) -> None:
        if name == "bring old data back" and not self.fleet.conditions.strict:
            name = "restart server"  # what it brings back would be trusted
        self.fleet.rng.seed(then.luck)
        with self.at_work():
            self.fleet.fault(name, self.fleet.nodes[node], lasts)
        self.wait(then.seconds)

    @precondition(lambda self: self.fleet.conditions.cluster)
    @rule(then=THENS)
    def move_a_slot(self, then: Then) -> None:
        self.do("move a slot", 0, KEYS[0], threaded=False, then=then)

    @rule()
    def save(self) -> None:
        self.fleet.save()

    def teardown(self) -> None:
        fleet = self.fleet
        if fleet is None:
            return
        fleet.rng.seed(0)
        with fleet.at_work():
            try:
                if not fleet.history.problems:
                    fleet.see_the_end()
            finally:
                fleet.bury()
        self.no_promise_is_broken()


class Real(Play):
    """A fleet over a real server."""

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__()
        self._url, self._prefix = url, prefix
        self._runner = asyncio.Runner()

    def set_up(self, seed: int, conditions: Conditions) -> None:
        self._runner.run(self._made(seed, conditions))

    async def _made(self, seed: int, conditions: Conditions) -> None:
        alone = conditions._replace(cluster=False)  # there is one server
        self.fleet = real.RealFleet(seed, alone, self._url, f"{self._prefix}:{id(self)}")
        await self.fleet.start()

    def at_work(self) -> Any:
        return nullcontext()

    def wait(self, seconds: float) -> None:
        self._runner.run(asyncio.sleep(min(seconds, 0.01)))

    @precondition(lambda self: not self.fleet.conditions.calm)
    @rule(name=st.sampled_from(real.FAULTS), node=NODES, then=THENS)
    def fault(self, name: str, node: int, then: Then) -> None:
        self.fleet.rng.seed(then.luck)
        self._runner.run(self.fleet.fault(name, self.fleet.nodes[node]))
        self.wait(then.seconds)

    def teardown(self) -> None:
        try:
            if self.fleet is not None:
                try:
                    if not self.fleet.history.problems:
                        self._runner.run(self.fleet.see_the_end())
                finally:
                    self._runner.run(self.fleet.stop())
                self.no_promise_is_broken()
        finally:
            self._runner.close()
