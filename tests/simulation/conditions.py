"""What may happen to a fleet, and under which conditions it lives."""

from __future__ import annotations

from typing import NamedTuple

from .nodes import KEYS

CHANGES = {
    "invalidate": 3,
    "delete": 1,
    "store": 3,
    "tag": 3,
    "tag here": 1,
    "late tag": 3,
    "all tag": 1,
    "pattern": 3,
    "clear": 1,
    "expire": 2,
}
"""What is changed by hand how often, against each other."""
DEEDS = {"call": 30, "refresh": 2, "cancel": 4, "time": 3, "move a slot": 3, **CHANGES}
"""What is done how often."""
FAULTS = {
    "cut": 3,
    "stall": 2,
    "part": 2,
    "slow": 2,
    "hold server": 2,
    "restart server": 1,
    "bring old data back": 4,
    "flush": 1,
    "forget scripts": 1,
    "lose": 4,
    "full": 1,
    "pause": 2,
    "kill": 1,
    "fail over": 2,
}
LASTING = (0.01, 0.3, 1.5, 12.0)
"""Seconds after which a fault is mended."""


class Conditions(NamedTuple):
    """Under which a fleet lives."""

    way: int = 0
    """In which of the `WAYS` the function is cached."""
    calm: bool = True
    """Nothing breaks: what is promised of a fleet without faults must hold."""
    strict: bool = False
    """What a server brings back is not trusted."""
    cluster: bool = False
    """Three servers share the slots."""
    failing: float = 0.0
    """The share of computations that raise."""
    lateness: float = 0.0
    """The share of computations that add a tag to their own result."""
    longest: float = 0.0
    """Seconds that a computation takes at most, but for those that seem to hang."""
    hanging: float = 0.0
    """The share of those."""
    preempting: float = 0.0
    """How often a thread lets others go first in front of a lock, and behind one."""
    keys: tuple[str, ...] = KEYS
    """What is asked for."""
