"""
Locks that the child of a fork finds free.

    1. thread A    holds a lock
    2. thread B    forks: of the threads only B goes on in the child
    3. the child   wants the lock, which nobody will ever let go of

A half-made change is not undone, so code under such a lock leaves its data usable after every step.
"""

from __future__ import annotations

import os
import threading
from operator import methodcaller
from weakref import WeakSet

_locks: WeakSet[threading.RLock] = WeakSet()
_set_free = methodcaller("_at_fork_reinit")  # as the standard library does with its own locks


def free_in_child() -> threading.RLock:
    """
    Return a re-entrant lock that the child of a fork finds free.

    Re-entrant, since garbage that is collected under it may call back.
    """
    made = threading.RLock()
    _locks.add(made)
    return made


def _free_all() -> None:
    for one in list(_locks):
        _set_free(one)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)
