"""
Who carries out what is owed where nobody else comes by.

An operation that comes pays first what is owed (see `guarded`). A process that invalidates once and
then has nothing to do would leave the others with the old value:

    1. A  invalidates; the server does not hear of it, so that A owes it
    2.    the server is there again; A is idle
    3. B  is served the old value until its ttl ends

So whoever comes to owe something sees to it that it is tried once a second: by a timer of its event
loop, or, without one, in a thread. Both end when nothing is owed.

What is owed still when the process exits is said: an app that is never stopped, as the default app
mostly is, has nobody else who would.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from ..errors import StillfreshError
from ..forks import free_in_child
from .breaker import RETRY_SECONDS

if TYPE_CHECKING:
    from ..clock import Clock, Timer
    from .debts import Debts
    from .guarded import Operations


class Payer:
    """Tries to pay *debts*, by the operations that suspend or by those that block."""

    def __init__(
        self, name: str, clock: Clock, debts: Debts, waiting: Operations, blocking: Operations
    ) -> None:
        self._name = name
        self._clock = clock
        self._debts = debts
        self._waiting, self._blocking = waiting, blocking
        self._lock = free_in_child()
        self._timer: Timer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """On which a timer or a task tries, or None."""
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._over = False
        self._bell = threading.Event()
        """Wakes the thread: the clock sets it when its time has come."""
        self._process = os.getpid()
        _trying.add(self)

    def begin(self) -> None:
        """Try from now on, unless that is seen to already."""
        with self._lock:
            if self._over or self._is_busy():
                return
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                thread = threading.Thread(target=self._run, name="stillfresh-debts", daemon=True)
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:  # no room, or the end of the process
                    self._thread = None
            else:
                self._arm(loop)

    def end(self) -> None:
        """Stop trying."""
        self._over = True
        self._bell.set()
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None and self._is_here():
            timer.cancel()

    def say_at_exit(self) -> None:
        """Say what nobody will carry out any more; who was ended, or forked, has said it."""
        if not self._over and self._process == os.getpid():
            self._debts.tell(self._name)

    def _is_busy(self) -> bool:
        if self._process != os.getpid():  # a fork: whoever tried is the parent's
            self._process, self._loop, self._thread = os.getpid(), None, None
        return self._thread is not None or (self._loop is not None and not self._loop.is_closed())

    def _is_here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer = self._clock.call_later(loop, RETRY_SECONDS, partial(self._due, loop))

    def _due(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._over:  # it was ended from another thread
            return
        # Not in the context of who came to owe it: a call of a function, a request.
        self._task = loop.create_task(self._try(loop), context=Context())

    async def _try(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with suppress(StillfreshError):
                await self._waiting.pay_owed()
        finally:
            with self._lock:
                self._loop = self._task = None
                if self._debts and not self._over:
                    self._arm(loop)

    def _run(self) -> None:
        clock = self._clock
        while True:
            with self._lock:
                if not self._debts or self._over:
                    self._thread = None
                    return
            until = clock.now() + RETRY_SECONDS
            while (left := until - clock.now()) > 0 and not self._over:
                self._bell.clear()
                clock.wait(self._bell, left)
            if not self._over:
                with suppress(StillfreshError, StopIteration):
                    self._blocking.pay_owed().send(None)  # it blocks, and never suspends


_trying: Final[WeakSet[Payer]] = WeakSet()


def _say_at_exit() -> None:
    for payer in list(_trying):
        payer.say_at_exit()


atexit.register(_say_at_exit)
