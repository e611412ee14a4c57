"""
What was asked over a connection and is not answered yet: commands, and reads that go together.

The reads that tasks ask in one turn of the loop travel as one command, and their replies come
back in one piece:

    task 1   read a ┐                                     ┌► the future of task 1
    task 2   read b ├─► MGET a b c ─► one list of values ─┼► ... of task 2, who may be gone
    task 3   read a │                                     └► ... of task 3: the same as task 1
    task 4   read c ┘

Whoever asks for the life that is left has a PTTL in front of it: what is stored in between then
looks older than it is. The versions of tags are read by the same command as the values.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from .client import Refusal

if TYPE_CHECKING:
    from .frame import Markers

Answer: TypeAlias = "asyncio.Future[Any]"


class Request:
    """Some commands that were sent together, who waits, and the replies so far."""

    __slots__ = ("_count", "_replies", "future", "sent_at")

    def __init__(self, future: Answer, count: int, sent_at: float) -> None:
        self.future = future
        self.sent_at = sent_at
        self._count = count
        self._replies: list[Any] = []

    def take(self, reply: Any) -> int:
        """Keep *reply*; when it was the last one, answer to how many it was handed out."""
        self._replies.append(reply)
        if len(self._replies) < self._count:
            return 0
        if not self.future.done():
            self.future.set_result(self._replies)
        return 1

    def fail(self, error: BaseException) -> None:
        """Let who waits have *error*."""
        _fail([self.future], error)


class Batch:
    """
    Reads that travel together, each with the future of who waits for it.

    The result of one is what stands under its name: bytes, or None; with tags it is a list of that
    and the versions. Who asked for the life that is left gets a pair of it and of the same. A
    `Refusal` instead of the bytes is the server's word about all of them.
    """

    __slots__ = ("_lives", "_more", "_replies", "_shared", "asked", "sent_at")

    def __init__(self, sent_at: float) -> None:
        self.sent_at = sent_at
        self.asked: dict[str, Answer | None] = {}
        """The names, packed, in the order in which they are asked; most have one who waits."""
        self._lives: dict[str, None] = {}
        """Those whose life is asked for."""
        self._more: list[tuple[str, bool, Markers | None, Answer]] = []
        """Who asks for what another one asks as well, or for more than the bytes."""
        self._replies: list[Any] = []
        self._shared = 0
        """How many names nobody asked for by themselves: who wants them is among `_more`."""

    def join(self, name: str, markers: Markers | None, future: Answer, *, life: bool) -> None:
        """Read *name* as well, packed, for *future*: as anybody may want it."""
        asked = self.asked
        before = len(asked)
        asked.setdefault(name)
        if markers is not None:
            for marker in markers.packed:
                asked.setdefault(marker)
        self._shared += len(asked) - before
        if life:
            self._lives[name] = None
        self._more.append((name, life, markers, future))

    def packed(self) -> bytes:
        """Return it as it goes over the wire."""
        count = len(self.asked)
        lives = "".join([f"*2\r\n$4\r\nPTTL\r\n{name}" for name in self._lives])
        front = "*2\r\n$3\r\nGET\r\n" if count == 1 else f"*{count + 1}\r\n$4\r\nMGET\r\n"
        return f"{lives}{front}{''.join(self.asked)}".encode("ascii")

    def take(self, reply: Any) -> int:
        """
        Keep *reply*; when it was the last one, answer to how many it was handed out.

        Raises:
            IndexError: It is no answer to what was asked.
        """
        if len(self._replies) < len(self._lives):
            self._replies.append(reply)
            return 0
        asked = self.asked
        if reply.__class__ is Refusal or len(asked) == 1:
            found = [reply] * len(asked)
        elif reply.__class__ is list and len(reply) == len(asked):
            found = reply
        else:
            raise IndexError("the server answered something else than was asked")
        for future, value in zip(asked.values(), found, strict=True):
            if future is not None:
                try:
                    future.set_result(value)
                except asyncio.InvalidStateError:  # who asked is gone
                    continue
        if self._more:
            self._hand_out_more(dict(zip(asked, found, strict=True)))
        return len(asked) - self._shared + len(self._more)

    def _hand_out_more(self, found: dict[str, Any]) -> None:
        lives = dict(zip(self._lives, self._replies, strict=True))
        for name, life, markers, future in self._more:
            if future.done():
                continue
            value = found[name]
            if markers is not None:
                value = [value, *map(found.__getitem__, markers.packed)]
            future.set_result((lives[name], value) if life else value)

    def fail(self, error: BaseException) -> None:
        """Let everybody who waits have *error*."""
        _fail([one for one in self.asked.values() if one is not None], error)
        _fail([future for *_, future in self._more], error)


def _fail(waiting: list[Answer], error: BaseException) -> None:
    for future in waiting:
        if not future.done():
            future.set_exception(error)
            future.exception()  # nobody may be left to ask for it
