"""
One schedule: three nodes, one server, four keys, and a seed that decides everything else.

    PYTHONPATH=tests python -m simulation.play SEED     replays one and tells what happened
"""

from __future__ import annotations

import gc
import random
import sys

from .conditions import DEEDS, FAULTS, LASTING, Conditions
from .fleet import SIZE, Fleet
from .nodes import KEYS, PATTERNS, WAYS
from .virtual import Stuck


class Schedule(Fleet):
    """A fleet whose fate is drawn from a seed."""

    def __init__(self, seed: int, *, talk: bool = False) -> None:
        rng = random.Random(f"fate {seed}")
        # Each schedule has some of all deeds: two that never meet in a crowd meet in one of those.
        self.deeds = {
            name: weight for name, weight in DEEDS.items() if name == "call" or rng.random() < 0.5
        }
        strict = rng.random() < 0.3
        faults: dict[str, int] = {}
        if rng.random() < 0.6:
            faults = {name: weight for name, weight in FAULTS.items() if rng.random() < 0.35}
            if not strict:  # what a server brings back is trusted
                faults.pop("bring old data back", None)
        self.deeds |= faults
        self.pause = rng.choice([0.0005, 0.002, 0.01, 0.2])
        conditions = Conditions(
            way=rng.randrange(len(WAYS)),
            calm=not faults,
            strict=strict,
            cluster=rng.random() < 0.15,
            failing=rng.choice([0.0, 0.0, 0.2]),
            lateness=rng.choice([0.0, 0.3]),
            longest=rng.choice([0.0, 0.004, 0.03, 2.0]),
            hanging=rng.choice([0.0, 0.0, 0.05]),
            preempting=rng.choice([0.0, 0.05, 0.3]),
            keys=rng.choice([KEYS, KEYS[:1], KEYS[:2]]),
        )
        super().__init__(seed, conditions, talk=talk)

    def next(self) -> None:
        """Let something happen."""
        rng = self.rng
        if rng.random() < 0.1:
            self.save()
        name = rng.choices(list(self.deeds), list(self.deeds.values()))[0]
        node, key = rng.choice(self.nodes), rng.choice(self.conditions.keys)
        if name in FAULTS:
            self.fault(name, node, rng.choice(LASTING))
        elif name == "time":
            self.wait(rng.choice([0.5, 2.0, 6.0, 11.0, 25.0]))
        else:
            pattern, threaded = rng.choice(list(PATTERNS)), rng.random() < 0.5
            self.deed(name, node, key, pattern, threaded=threaded)

    def play(self) -> list[str]:
        """Run it; return what went wrong."""
        with self.at_work():
            try:
                for _ in range(SIZE):
                    self.add_node()
                for _ in range(self.rng.randint(10, 60)):
                    self.next()
                    if self.rng.random() < 0.8:
                        self.wait(self.rng.expovariate(1 / self.pause))
                self.see_the_end()
            except Stuck as stuck:
                self.history.wrong(f"(e) {stuck}")
            finally:
                self.bury()
        return self.history.problems


def play(seed: int, *, talk: bool = False) -> list[str]:
    """Run the schedule of a seed; return what went wrong."""
    return [f"seed {seed}: {problem}" for problem in Schedule(seed, talk=talk).play()]


def main(arguments: list[str]) -> int:
    """Replay."""
    problems: list[str] = []
    for seed in arguments:
        problems += play(int(seed), talk=True)
    gc.collect()
    print("\n".join(problems) or "no promise was broken")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
