"""Forks for tests: a check in a child that ends, whatever happens there."""

from __future__ import annotations

import os
import signal
import traceback
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 10

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
many_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def in_child(check: Callable[[], object]) -> None:
    """
    Fork, run *check* in the child, and fail when it does not return True in time.

    It runs in the thread that forks. A new one may have the number of a thread that the parent
    has, and would be let in by a re-entrant lock which that one holds.
    """
    child = os.fork()
    if child == 0:  # pragma: no cover  # another process
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)  # ends who waits for ever
            code = 0 if check() is True else 1
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
