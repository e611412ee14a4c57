"""A signal handler that raises, as at Ctrl-C, may do so wherever a sync call just is."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import stillfresh
from stillfresh import App, cache
from stillfresh.entries.region import _all

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

PACKAGE = str(Path(stillfresh.__file__).parent)
PATIENCE = 10.0


class Interrupt(BaseException):
    """What the handler raises."""


class Service:
    @cache(ttl="1 hour", tags=["numbers"])
    def number(self, number: int) -> int:
        return number


def interrupted(work: Callable[[], object], after: int) -> bool:
    """
    Do *work*, and raise at the moment that comes *after* so many; answer whether there was one.

    The interpreter looks for signals where a function begins, and where a call has ended.
    """
    moments = 0

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal moments
        code = frame.f_code
        if event not in {"call", "c_return"} or not code.co_filename.startswith(PACKAGE):
            return
        moments += 1
        if moments > after:
            sys.setprofile(None)
            raise Interrupt

    sys.setprofile(look)
    with suppress(Interrupt):
        work()
    sys.setprofile(None)
    return moments > after


# A coroutine that is not begun yet is one of the things that an interrupt leaves.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("refresh", [False, True])
def test_an_interrupt_leaves_nothing_behind_that_others_wait_for(refresh: bool) -> None:
    """Neither a lock nor a flight: who calls the same next, in whatever thread, is answered."""
    with App(Service) as app:
        number = app.get(Service).number
        ask = number.refresh if refresh else number
        assert ask(-1) == number(-1) == -1  # what is made once, is made
        at = 0
        while interrupted(lambda: ask(at), at):  # noqa: B023  # called before it changes
            assert not any(len(region.flights) for region in _all if region.app is app)
            answers: list[int] = []
            other = threading.Thread(target=lambda: answers.append(number(at)), daemon=True)  # noqa: B023
            other.start()
            other.join(PATIENCE)
            assert answers == [at], f"interrupted after {at} moments"
            at += 1
        assert at > 50
