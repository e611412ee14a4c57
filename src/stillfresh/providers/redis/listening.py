"""
What a connection does for the near tier: it lets the server push, and asks whether it is there.

The questions go over the connection that all tasks share, so that a push comes in the order in
which things happened there. Nothing is asked before something wants to be kept, and nothing any
more when nothing is: an idle process has no timer.

    want ──► HELLO 3, CLIENT TRACKING ON BCAST, ROLE ──► each second ROLE, while there are entries
      ▲                                                                        │
      └───────────── the next read begins anew ◄──────────── nothing is kept ──┘

A server that refuses one of them has no near tier: one log line, and every hit asks. So has one
that is a replica: what it answers may be older than what its primary pushed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from .client import Refusal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from ..ears import Ear
    from ..tier import Tier
    from .client import Command

BEAT_SECONDS: Final = 1.0
_SWEPT_PER_BEAT: Final = 1_000
_REFUSED_SECONDS: Final = 15.0


class Connection(Protocol):
    """What it needs of the connection."""

    @property
    def connected(self) -> bool:
        """Something can be sent."""
        ...

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send *commands*; the future gets their replies."""
        ...


class Listener:
    """The part of one connection in an ear. All of it runs on the thread of its loop."""

    def __init__(
        self,
        link: Connection,
        loop: asyncio.AbstractEventLoop,
        tier: Tier,
        ear: Ear,
    ) -> None:
        self.ear = ear
        self._link = link
        self._loop = loop
        self._tier = tier
        self._wanted = False
        self._open = False
        self._refused_until = 0.0
        """When a server that refused is asked again; 0: it did not."""
        self._timer: asyncio.TimerHandle | None = None
        self._nudged = False
        tracking: list[str] = [part for prefix in tier.prefixes for part in ("PREFIX", prefix)]
        self._opening: list[Command] = [
            ("HELLO", "3"),
            ("CLIENT", "TRACKING", "ON", "BCAST", *tracking),
        ]
        self.questions: list[Command] = [("ROLE",)]
        """What is asked each second."""

    def want(self) -> Ear | None:
        """Return who listens for a read that is about to be sent over this connection, if any."""
        self._wanted, self._nudged = True, False
        if self.ear.closed or not self._link.connected:
            return None
        if self._refused_until and self._loop.time() < self._refused_until:
            return None
        if not self._open:
            self._begin()
        elif self._timer is None:
            self._beat()
        return self.ear

    def nudge(self) -> None:
        """Listen soon: a thread would like to. From any thread."""
        if not self._nudged:
            self._nudged = True
            with suppress(RuntimeError):  # the loop is closed, perhaps in this moment
                self._loop.call_soon_threadsafe(self.want)

    # What the connection tells

    def connected(self) -> None:
        """There is a connection, nothing was sent over it yet."""
        if self._wanted and not self.ear.closed:
            self._begin()

    def lost(self) -> None:
        """There is none any more."""
        self._open, self._refused_until = False, 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.ear.lost(self)

    def pushed(self, message: Sequence[Any]) -> None:
        """The server pushed *message*."""
        if len(message) == 2 and message[0] == b"invalidate":  # word and names
            near = self._tier.near
            if message[1] is None:
                near.changed_all()
            else:
                near.changed([name.decode("ascii", "replace") for name in message[1]])

    # Asking

    def _begin(self) -> None:
        self._open = True
        self.ear.opened(self)
        first, *others = self._opening
        # It may have been refused in the middle: what is tracked already is refused a second time.
        again = [("CLIENT", "TRACKING", "OFF")] if self._refused_until else []
        self._ask([first, *again, *others, *self.questions])

    def _beat(self) -> None:
        self._timer = None
        if self.ear.closed or not self._open:
            return
        self._tier.near.sweep(_SWEPT_PER_BEAT)
        if self._wanted or self.ear.entries:
            self._ask(self.questions)

    def _ask(self, commands: Sequence[Command]) -> None:
        self._wanted = False
        now: Callable[[], float] = self._tier.near.now
        sent_at = now()

        def answered(future: asyncio.Future[list[Any]]) -> None:
            if future.cancelled() or future.exception() is not None:
                return  # the connection was lost, and said so
            replies = future.result()
            refusal = next((one for one in replies if isinstance(one, Refusal)), None)
            if refusal is not None:
                self._refuse(f"the server refused to push ({refusal})")
            elif (
                self.is_good(replies[-len(self.questions) :])
                and now == self._tier.near.now  # else a moment of another clock
            ):
                self._refused_until = 0.0
                self.ear.heard(self, sent_at)
                self._tier.accept()

        self._link.send(commands).add_done_callback(answered)
        self._timer = self._loop.call_later(BEAT_SECONDS, self._beat)

    def is_good(self, answers: list[Any]) -> bool:
        """Tell whether the *answers* to the questions are those of who may be listened to."""
        [role] = answers
        if is_primary(role):
            return True
        self._refuse(f"the server is no primary ({role!r})")
        return False

    def _refuse(self, reason: str) -> None:
        self.lost()
        self._refused_until = self._loop.time() + _REFUSED_SECONDS
        self._tier.refuse(reason)


def is_primary(role: object) -> bool:
    """Tell what a reply to ROLE says."""
    return isinstance(role, list) and role[:1] == [b"master"]
