"""A signal handler that raises, as at Ctrl-C, may do so wherever a sync call just is."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import stillfresh
from stillfresh import App, CacheProvider, ComputeCancelled, MemoryCacheProvider, cache
from stillfresh.entries.region import _all
from stillfresh.testing import isolated

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
            other = threading.Thread(target=lambda: answers.append(number(at)), daemon=True)  # noqa: B023  # called before it changes
            other.start()
            other.join(PATIENCE)
            assert answers == [at], f"interrupted after {at} moments"
            at += 1
        assert at > 50


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("serialize", [False, True])
def test_what_ends_a_program_reaches_the_callers_of_a_worker_thread(
    error: type[BaseException], serialize: bool
) -> None:
    """It is the answer of that one run, also to who waits for it; nobody computes again."""
    calls: list[int] = []
    entered, go_on = threading.Event(), threading.Event()

    @cache(timeout=PATIENCE)
    def leave() -> int:
        calls.append(1)
        entered.set()
        assert go_on.wait(PATIENCE)
        raise error(3)

    with isolated() as app:
        app.provide(CacheProvider, MemoryCacheProvider(serialize=serialize))
        raised: list[BaseException] = []

        def call() -> None:
            try:
                leave()
            except BaseException as one:  # that is what this is about
                raised.append(one)

        callers = [threading.Thread(target=call) for _ in range(2)]
        callers[0].start()
        assert entered.wait(PATIENCE)
        callers[1].start()
        flight = next(iter(app.background._running))
        while len(flight._callbacks) < 2:
            callers[1].join(0)
        go_on.set()
        for caller in callers:
            caller.join(PATIENCE)
        assert [(type(one), one.args) for one in raised] == [(error, (3,))] * 2
        assert len(calls) == 1
        assert (leave.stats.misses, leave.stats.coalesced) == (1, 1)
        with pytest.raises(error):  # it is not stored, and its lease has ended
            leave()
        assert len(calls) == 2


def test_a_refresh_that_wants_to_end_the_program_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody waits for it. Its callers got the old value, and the log says what happened."""
    broken = False

    @cache(ttl=10, stale=100)
    def old() -> int:
        if broken:
            sys.exit(3)
        return 1

    with isolated() as app:
        old()
        broken = True
        app.advance(11)
        assert old() == 1
        app.sync.settled()
        assert [one.message for one in caplog.records if "a refresh failed" in one.message] == [
            f"{old.__module__}.{old.__qualname__}(): a refresh failed: SystemExit(3)"
        ]


def test_a_sync_function_that_cancels_itself_in_a_worker_thread() -> None:
    """It has no answer, as if it had been cancelled from outside; the thread ends in silence."""
    calls: list[int] = []

    @cache(timeout=PATIENCE)
    def cancel() -> int:
        calls.append(1)
        raise asyncio.CancelledError

    with isolated(), pytest.raises(ComputeCancelled, match="twice"):
        cancel()
    assert len(calls) == 2  # once more, as promised
