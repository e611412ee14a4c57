"""
Locks that the child of a fork finds free.

    1. thread A    holds a lock
    2. thread B    forks: of the threads only B goes on in the child
    3. the child   wants the lock, which nobody will ever let go of

What was half done under it stays so: whoever uses one keeps what it guards usable at every step.
"""

from __future__ import annotations

import os
import threading
from operator import methodcaller
from weakref import WeakSet

_locks: WeakSet[threading.RLock] = WeakSet()
_set_free = methodcaller("_at_fork_reinit")  # as the standard library does with its own locks


def free_in_child() -> threading.RLock:
    """Return a lock that its holder may take again: a collection of garbage may call back."""
    made = threading.RLock()
    _locks.add(made)
    return made


def _free_all() -> None:
    for one in list(_locks):
        _set_free(one)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)
