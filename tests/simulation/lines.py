"""The blocking connections of a node: the same wires, for threads of the simulation."""

from __future__ import annotations

from typing import Any

import hiredis
import redis.exceptions
from redis._parsers.base import BaseParser

from .network import Wire
from .server import NOTHING
from .threads import here


class Blocking:
    """What the library uses of a connection of the client library that blocks."""

    def __init__(self, timeout: float, place: tuple[str, int]) -> None:
        self._timeout = timeout
        self._place = place
        self._reader = hiredis.Reader(notEnoughData=NOTHING, replyError=BaseParser.parse_error)
        self._replies: list[Any] = []
        self._wire: Wire | None = None
        self._thread: Any = None

    def connect(self) -> None:
        thread = here()
        network, loop = thread.world.network, thread.loop
        thread.wait(lambda: False, network.arrival(thread.world.now) - thread.world.now)
        server = network.reached(loop.node, self._place)
        if server is None:
            raise redis.exceptions.ConnectionError("refused: the simulation wants it so")
        self._wire = network.connected(server, loop, self)

    def disconnect(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def can_read(self, _: float) -> bool:
        return bool(self._replies) or self._wire is None

    def send_command(self, *words: str) -> None:
        self.send_packed_command([hiredis.pack_command(words)])

    def send_packed_command(self, data: list[bytes], **_: Any) -> None:
        self._checked().write(b"".join(data))

    def read_response(self, **_: Any) -> Any:
        self._thread = thread = here()
        try:
            if not thread.wait(lambda: self._replies or self._wire is None, self._timeout):
                raise redis.exceptions.TimeoutError("the simulation lets it wait")
        finally:
            self._thread = None
        if not self._replies:
            self._checked()
        reply = self._replies.pop(0)
        if isinstance(reply, redis.exceptions.ResponseError):
            raise reply
        return reply

    def _checked(self) -> Wire:
        if self._wire is None:
            raise redis.exceptions.ConnectionError("the simulation has cut it")
        return self._wire

    # What the wire tells, on the turn of the node

    def connection_made(self, _: Wire) -> None:
        """The wire is returned, too."""

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not NOTHING:
            self._replies.append(reply)
        self._wake()

    def connection_lost(self, _: Exception | None) -> None:
        self._wire = None
        self._wake()

    def _wake(self) -> None:
        if self._thread is not None:
            self._thread.wake()
