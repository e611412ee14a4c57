"""Connections for threads: whoever talks takes one, and puts it back."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from ...forks import free_in_child
from .bells import ThreadBell
from .client import FAULTS, OneServer, Refusal, made, pack, pack_read, read_run, unavailable
from .sentinel import checked_role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .client import Command, OnRun, Server
    from .frame import Markers

_CODES: dict[type[ResponseError], str] = {
    NoScriptError: "NOSCRIPT",
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    MovedError: "MOVED",
    AskError: "ASK",
    TryAgainError: "TRYAGAIN",
    ClusterDownError: "CLUSTERDOWN",
}


class Line:
    """One connection, used by one thread at a time."""

    def __init__(self, server: Server) -> None:
        self._connection = server.reach_blocking()
        try:
            self._connection.connect()
            self._connection.send_command("INFO", "server")
            self.run = read_run(self._connection.read_response(disable_decoding=True), server)
            if server.finder is not None:
                self._connection.send_command("ROLE")
                checked_role(self._connection.read_response(disable_decoding=True))
        except BaseException:
            self.close()
            raise

    def talk(self, data: bytes, count: int) -> list[Any]:
        """Send *count* commands, packed, and wait for their replies."""
        self.send(data)
        return self.receive(count)

    def send(self, data: bytes) -> None:
        """Send commands, packed."""
        self._connection.send_packed_command([data], check_health=False)

    def receive(self, count: int) -> list[Any]:
        """Wait for *count* replies."""
        return [self._reply() for _ in range(count)]

    def _reply(self) -> Any:
        try:
            return self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            return Refusal(f"{_CODES.get(type(error), '')} {error}".lstrip())

    def is_good(self) -> bool:
        """Tell whether it is still connected: nothing is readable where nothing was asked."""
        try:
            return not self._connection.can_read(0)
        except FAULTS:
            return False

    def close(self) -> None:
        """Cut it."""
        with suppress(*FAULTS):
            self._connection.disconnect()


class Lines(OneServer):
    """The connections of the threads of this process, and how threads wait."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._idle: list[Line] = []
        self._closed = False
        self._lock = free_in_child()

    async def talk(self, commands: Sequence[Command]) -> list[Any]:
        """Send *commands* and wait for their replies; see `talk_as`."""
        return await self.talk_as(commands)

    async def talk_as(self, commands: Sequence[Command | OnRun]) -> list[Any]:
        """
        Send *commands* as they are for the run of the server, and wait. Never suspends.

        Raises:
            ProviderUnavailable: The server is away, or too slow.
        """

        def whole(line: Line) -> list[Any]:
            return line.talk(pack(made(commands, line.run)), len(commands))

        return self._with_line(whole)

    async def read(self, value: str, markers: Markers | None) -> list[Any]:
        """Read as `Links.read`. Never suspends."""
        return self._with_line(lambda line: line.talk(pack_read(value, markers), 2))

    def _with_line(self, work: Callable[[Line], list[Any]]) -> list[Any]:
        line = None
        try:
            line = self.take()
            replies = work(line)
        except BaseException as error:
            if line is not None:
                line.close()
            if isinstance(error, FAULTS):
                self.drop_idle()
                raise unavailable(error, self.server) from error
            raise
        self.put_back(line)
        return replies

    def post(self, command: Command) -> None:
        """Nothing is sent behind a caller's back here: whoever was interrupted cut its line."""

    def bell(self) -> ThreadBell:
        """Return something that a push can ring, for a thread that waits."""
        return ThreadBell()

    async def pause(self, seconds: float) -> None:
        """Block the thread for so long."""
        time.sleep(seconds)  # noqa: ASYNC251  # this face blocks

    def take(self) -> Line:
        """Return a connection that is good, made if there is none."""
        while True:
            with self._lock:
                line = self._idle.pop() if self._idle else None
            if line is None:
                return Line(self.server)
            if line.is_good():
                return line
            line.close()

    def put_back(self, line: Line) -> None:
        """Let others have *line*."""
        with self._lock:
            if not self._closed:
                self._idle.append(line)
                return
        line.close()

    def drop_idle(self) -> None:
        """
        Cut the idle ones: what one of them has met, the others may meet.

        Something in between may have forgotten them all, and tells nobody; tried one after the
        other, each would cost its caller a time-out.
        """
        with self._lock:
            lines, self._idle = self._idle, []
        for line in lines:
            line.close()

    def close(self) -> None:
        """Cut the idle ones; those in use are cut when they come back."""
        with self._lock:
            self._closed = True
        self.drop_idle()


def talk_all(asked: Sequence[tuple[Lines, Sequence[Command | OnRun]]]) -> list[list[Any]]:
    """
    Send to several servers, then wait for the replies of all.

    Raises:
        ProviderUnavailable: One of them is away, or too slow.
    """
    taken: list[tuple[Lines, Line]] = []
    replies: list[list[Any]] = []
    at: Lines | None = None
    try:
        for at, commands in asked:
            line = at.take()
            taken.append((at, line))
            line.send(pack(made(commands, line.run)))
        for (at, line), (_, commands) in zip(taken, asked, strict=True):  # noqa: B007  # below
            replies.append(line.receive(len(commands)))
    except BaseException as error:
        for _, line in taken:
            line.close()
        if isinstance(error, FAULTS):
            failed = asked[0][0] if at is None else at  # the others have done nothing
            failed.drop_idle()
            raise unavailable(error, failed.server) from error
        raise
    for lines, line in taken:
        lines.put_back(line)
    return replies
