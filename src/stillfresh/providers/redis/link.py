"""
One connection for all tasks of an event loop.

Commands are handed to the transport in the order in which they come, those of one turn of the
loop in one piece; replies come back in that order. The client library connects, authorises and
speaks TLS; from then on this protocol reads, because a stream and a pool of connections cost
several times as much.

A caller who goes away leaves its place in the line, and its reply is dropped. When the oldest
command has waited too long the connection is cut, and everybody fails: a reply that comes after
that belongs to nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis

from ...errors import ProviderUnavailable
from .client import FAULTS, Refusal, pack, read_run, unavailable
from .sentinel import checked_role

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from .client import Command, Server
    from .listening import Listener

_NOTHING: Final = object()
_PUSH: Final = hiredis.PushNotification


class Request:
    """Some commands that were sent together, who waits, and the replies so far."""

    __slots__ = ("count", "future", "others", "replies", "sent_at")

    def __init__(self, future: asyncio.Future[list[Any]], count: int, sent_at: float) -> None:
        self.future = future
        self.others: list[asyncio.Future[list[Any]]] | None = None
        """Who asked the same before it was sent; a future each, since each may go away."""
        self.count = count
        self.replies: list[Any] = []
        self.sent_at = sent_at

    def fail(self, error: BaseException) -> None:
        """Let everybody who waits have *error*."""
        for future in (self.future, *(self.others or ())):
            if not future.done():
                future.set_exception(error)
                future.exception()  # nobody may be left to ask for it


class Link(asyncio.Protocol):
    """
    The connection of one event loop; made anew when it was lost.

    It ends with its loop: a suspended generator is closed by `asyncio.run`, and cuts it.
    """

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._kept: object = None
        """The library's side of the connection, which would close it when it is collected."""
        self._connecting: asyncio.Task[None] | None = None
        self._reader: hiredis.Reader = _reader()
        self._line: deque[Request] = deque()
        self._unsent: list[bytes] = []
        self._reads: dict[bytes, Request] = {}
        """Reads that nothing was sent of yet: who asks the same may share one."""
        self._turn = 0.0
        """When the last turn began in which something was asked."""
        self._busy = False
        """Several were answered at once, and will ask again at once."""
        self._heard_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._spared: Request | None = None
        self._unsent_bytes: int | None = None
        """What the transport had not sent yet when it was last looked after."""
        self._end: AsyncGenerator[None] | None = None
        self.run = b"0" * 8
        """Which life of the server it is connected to."""
        self.reason: type[ProviderUnavailable] = ProviderUnavailable
        """What those are told who wait for a connection when it is cut."""
        self.listener: Listener | None = None
        """Hears what the server pushes, for a near tier."""

    @property
    def connected(self) -> bool:
        """Something can be sent."""
        return self._transport is not None

    # Talking

    async def ready(self) -> None:
        """
        Return when there is a connection.

        Raises:
            ProviderUnavailable: There is none to be had.
        """
        if self._transport is not None:
            return
        connecting = self.connect()
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if connecting.cancelled() and not (task and task.cancelling()):
                raise self.reason("the provider was stopped") from None
            raise

    def connect(self) -> asyncio.Task[None]:
        """Begin to connect, if nobody has; what is returned ends when there is a connection."""
        if self._connecting is None or self._connecting.done():  # cancelled before its first step
            self._connecting = self._loop.create_task(self._connect())
            self._connecting.add_done_callback(retrieve)
        return self._connecting

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send *commands* on a connection that is ready; the future gets their replies."""
        self._reads = {}  # who reads from now on reads after them
        return self._put(pack(commands), len(commands)).future

    def read(self, data: bytes) -> asyncio.Future[list[Any]]:
        """
        Send a read, two commands as they go over the wire; the replies are only looked at.

        Whoever asks the same in one turn of the loop gets the same replies. Once it was handed
        to the transport nobody joins it: its reply may be older than who comes now.
        """
        request = self._reads.get(data)
        if request is not None:
            future: asyncio.Future[list[Any]] = self._loop.create_future()
            if request.others is None:
                request.others = []
            request.others.append(future)
            return future
        request = self._put(data, 2)
        if self._unsent:
            self._reads[data] = request
        return request.future

    def _put(self, data: bytes, count: int) -> Request:
        request = Request(self._loop.create_future(), count, self._turn)
        if self._transport is None:
            request.future.set_exception(ProviderUnavailable("the connection was lost"))
            return request
        if self._unsent:
            self._unsent.append(data)
        else:
            request.sent_at = self._turn = self._loop.time()
            if self._line or self._busy:  # with what others ask in this turn
                self._unsent.append(data)
                self._loop.call_soon(self._flush)
            else:
                self._transport.write(data)
            if self._watch is None:
                due = self._turn + self._server.timeout
                self._watch = self._loop.call_at(due, self._look_after)
        self._line.append(request)
        return request

    def close(self) -> None:
        """Cut the connection. Called on the thread of its loop."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()
            self._drop(ProviderUnavailable("the provider was stopped"))

    def close_soon(self) -> None:
        """Cut the connection, from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and the connection with it
            self._loop.call_soon_threadsafe(self.close)

    def _flush(self) -> None:
        data, self._unsent = self._unsent, []
        self._reads = {}
        if self._transport is not None and data:
            self._transport.write(b"".join(data))

    # Connecting

    async def _connect(self) -> None:
        connection = None
        try:
            async with asyncio.timeout(self._server.connect_timeout):
                connection = await self._server.reach()
                await self._greet(connection)
        except BaseException as error:
            if connection is not None:
                with suppress(*FAULTS):
                    await connection.disconnect(nowait=True)
            if isinstance(error, FAULTS):
                raise unavailable(error) from error
            raise
        finally:
            self._connecting = None
        # What was made is ours from here on: the library gave no public way to take it over.
        writer = connection._writer  # noqa: SLF001
        if writer is None:
            raise ProviderUnavailable("the connection was lost")
        connection._reader = connection._writer = None  # noqa: SLF001
        self._kept = (connection, writer)
        self._reader = _reader()
        transport = cast("asyncio.Transport", writer.transport)
        transport.set_protocol(self)
        self._transport = transport
        if self.listener is not None:
            self.listener.connected()
        if self._end is None:
            self._end = self._until_the_loop_ends()
            with suppress(StopIteration):
                self._end.asend(None).send(None)

    async def _greet(self, connection: Any) -> None:
        await connection.connect()
        await connection.send_command("INFO", "server")
        info = await connection.read_response(disable_decoding=True)
        if self._server.finder is not None:
            await connection.send_command("ROLE")
            checked_role(await connection.read_response(disable_decoding=True))
        self.run = read_run(info, self._server)
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # `wait_for` can lose that, up to 3.11
            raise asyncio.CancelledError

    async def _until_the_loop_ends(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._end = None
            self.close()

    # Listening: what the transport calls

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that have come."""
        line, next_reply = self._line, self._reader.gets
        self._heard_at = self._loop.time()
        answered = 0
        try:
            self._reader.feed(data)
            while (reply := next_reply()) is not _NOTHING:
                if reply.__class__ is _PUSH:  # it answers nobody
                    if self.listener is not None:
                        self.listener.pushed(reply)
                    continue
                request = line[0]
                replies = request.replies
                replies.append(reply)
                if len(replies) < request.count:
                    continue
                line.popleft()
                answered += 1
                if not request.future.done():
                    request.future.set_result(replies)
                if request.others is not None:
                    for future in request.others:
                        answered += 1
                        if not future.done():
                            future.set_result(replies)
        except (hiredis.HiredisError, IndexError) as error:
            self._cut(ProviderUnavailable(f"the server talks garbage: {error}"))
        self._busy = answered > 1

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everybody who waits."""
        self._transport = self._kept = None
        self._drop(unavailable(exc or EOFError("the server closed the connection")))

    def _look_after(self) -> None:
        watch, self._watch = self._watch, None
        if not self._line:
            self._unsent_bytes = None
            return
        now = self._loop.time()
        late = watch is not None and now - watch.when() > self._server.timeout / 10
        if late and self._spared is not self._line[0]:
            # The loop stood still, and could neither send nor hear: one more time-out, once.
            self._spared, self._heard_at = self._line[0], now
        # A long reply takes its time, and so does a long command: what counts is that something
        # comes, or that the server takes what is sent.
        left = 0 if self._transport is None else self._transport.get_write_buffer_size()
        before, self._unsent_bytes = self._unsent_bytes, left
        if (left and before is None) or (before is not None and left < before):
            self._heard_at = now
        due = max(self._line[0].sent_at, self._heard_at) + self._server.timeout
        if due <= now:
            self._cut(ProviderUnavailable(f"no reply within {self._server.timeout} s"))
        else:
            self._watch = self._loop.call_at(due, self._look_after)

    def _cut(self, error: ProviderUnavailable) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._drop(error)

    def _drop(self, error: ProviderUnavailable) -> None:
        line, self._line = self._line, deque()
        self._unsent, self._unsent_bytes = [], None
        self._reads = {}
        self._busy = False
        if self.listener is not None:
            self.listener.lost()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for request in line:
            request.fail(error)


def _reader() -> hiredis.Reader:
    return hiredis.Reader(replyError=Refusal, notEnoughData=_NOTHING)


def retrieve(task: asyncio.Future[Any]) -> None:
    """Take in how *task* has ended: nobody else asks for it."""
    if not task.cancelled():
        task.exception()
