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
from .batch import Batch, Request
from .client import FAULTS, Refusal, pack, read_run, unavailable
from .sentinel import checked_role

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from .client import Command, Server
    from .frame import Markers
    from .listening import Listener

_NOTHING: Final = object()
_PUSH: Final = hiredis.PushNotification
_WIDEST: Final = 64
_LARGEST: Final = 1 << 18
"""Reads that travel as one command: so many, or so many bytes of replies as may be expected."""
_FIRST: Final = 32
"""The first ones of a turn do not wait for the others: so many are worth a piece of their own."""


class Link(asyncio.Protocol):
    """
    The connection of one event loop; made anew when it was lost.

    It ends with its loop: a suspended generator is closed by `asyncio.run`, and cuts it.
    """

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        """None where nothing can be sent."""
        self._kept: object = None
        """The library's side of the connection, which would close it when it is collected."""
        self._connecting: asyncio.Task[None] | None = None
        self._reader: hiredis.Reader = _reader()
        self._unanswered: deque[Request | Batch] = deque()
        self._unsent: list[bytes] = []
        self._due = False
        """What is not sent yet is sent at the end of this turn."""
        self._batch: Batch | None = None
        """Reads that may be joined by others: nothing was sent of them yet."""
        self._width = self._limit = _WIDEST
        """How many may travel as one command, and how many when the next one is ready."""
        self._fed = 0
        """Bytes that came since the last reply to a batch."""
        self._turn = 0.0
        """When the last turn began in which something was asked."""
        self._busy = False
        """Several were answered at once, and will ask again at once."""
        self._heard_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._spared: Request | Batch | None = None
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
        return self.transport is not None

    # Talking

    async def ready(self) -> None:
        """
        Return when there is a connection.

        Raises:
            ProviderUnavailable: There is none to be had.
        """
        if self.transport is not None:
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
        if self._batch is not None:  # who reads from now on reads after them
            self._seal(self._batch)
        return self._put(pack(commands), len(commands)).future

    def fetch(
        self, name: str, markers: Markers | None = None, *, life: bool = False
    ) -> asyncio.Future[Any]:
        """
        Read *name*, packed, on a connection that is ready; see `Batch` for what the future gets.

        It travels with what others ask in this turn of the loop; whoever asks the same shares the
        reply. Nobody joins what was handed to the transport: that may be older than whoever comes
        now.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.transport is None:  # a place in the line would get the reply to another question
            future.set_exception(self._server.lost())
            return future
        batch, alone = self._batch, False
        if batch is None:
            batch = Batch(self._turn if self._due else self._loop.time())
            alone = not (self._due or self._unanswered or self._busy)
            if not alone:
                self._batch = batch
                self._soon(batch.sent_at)
        asked = batch.asked
        if markers is None and not life and name not in asked:  # as most
            asked[name] = future
        else:
            batch.join(name, markers, future, life=life)
        if alone:
            self._turn = batch.sent_at
            self._unanswered.append(batch)
            self._write(batch.packed())
        elif len(asked) >= self._limit:
            self._seal(batch)
            if self._limit == _FIRST:  # the server works on them while others ask
                self._hand_over()
            self._limit = self._width
        return future

    def _put(self, data: bytes, count: int) -> Request:
        request = Request(self._loop.create_future(), count, self._turn)
        if self.transport is None:
            request.future.set_exception(self._server.lost())
            return request
        if self._due:
            self._unsent.append(data)
        else:
            request.sent_at = self._turn = self._loop.time()
            if self._unanswered or self._busy:
                self._unsent.append(data)
                self._soon(self._turn)
            else:
                self._write(data)
        self._unanswered.append(request)
        return request

    def _soon(self, now: float) -> None:
        """Send what was asked, with what others ask in this turn."""
        if not self._due:
            self._due, self._turn = True, now
            self._limit = min(_FIRST, self._width)
            self._loop.call_soon(self._flush)

    def _seal(self, batch: Batch) -> None:
        """Let nobody join *batch* any more."""
        self._batch = None
        self._unanswered.append(batch)
        self._unsent.append(batch.packed())

    def _flush(self) -> None:
        self._due = False
        if self._batch is not None:
            self._seal(self._batch)
        self._hand_over()

    def _hand_over(self) -> None:
        data, self._unsent = self._unsent, []
        if self.transport is not None and data:
            self._write(data[0] if len(data) == 1 else b"".join(data))

    def _write(self, data: bytes) -> None:
        if self._watch is None:
            self._watch = self._loop.call_at(self._turn + self._server.timeout, self._look_after)
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        """Cut the connection. Called on the thread of its loop."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self.transport is not None:
            transport, self.transport = self.transport, None
            transport.abort()
            self._drop(ProviderUnavailable("the provider was stopped"))

    def close_soon(self) -> None:
        """Cut the connection, from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and the connection with it
            self._loop.call_soon_threadsafe(self.close)

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
                raise unavailable(error, self._server) from error
            raise
        finally:
            self._connecting = None
        # What was made is ours from here on: the library gave no public way to take it over.
        writer = connection._writer  # noqa: SLF001  # there is no public way
        if writer is None:
            raise self._server.lost()
        connection._reader = connection._writer = None  # noqa: SLF001  # there is no public way
        self._kept = (connection, writer)
        self._reader = _reader()
        transport = cast("asyncio.Transport", writer.transport)
        transport.set_protocol(self)
        self.transport = transport
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
        unanswered, next_reply = self._unanswered, self._reader.gets
        self._fed += len(data)
        answered, pushes = 0, True
        try:
            self._reader.feed(data)
            while (reply := next_reply()) is not _NOTHING:
                if reply.__class__ is _PUSH:  # it answers nobody
                    if self.listener is not None:
                        self.listener.pushed(reply)
                    continue
                pushes = False
                request = unanswered[0]
                done = request.take(reply)
                if not done:
                    continue
                unanswered.popleft()
                answered += done
                if isinstance(request, Batch):
                    mean = self._fed // len(request.asked) + 1
                    self._width = min(_WIDEST, _LARGEST // mean + 1)
                    if reply.__class__ is Refusal:  # whoever asks again asks alone
                        self._width = 1
                    self._fed = 0
        except (hiredis.HiredisError, IndexError) as error:
            self._cut(ProviderUnavailable(f"the server talks garbage: {error}"))
        if not pushes or self._reader.has_data():  # a push says nothing of what was asked
            self._heard_at = self._loop.time()
        self._busy = answered > 1

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everybody who waits."""
        self.transport = self._kept = None
        error = exc or EOFError("the server closed the connection")
        self._drop(unavailable(error, self._server))

    def _look_after(self) -> None:
        watch, self._watch = self._watch, None
        if not self._unanswered:
            self._unsent_bytes = None
            return
        now = self._loop.time()
        late = watch is not None and now - watch.when() > self._server.timeout / 10
        if late and self._spared is not self._unanswered[0]:
            # The loop stood still, and could neither send nor hear: one more time-out, once.
            self._spared, self._heard_at = self._unanswered[0], now
        # A long reply takes its time, and so does a long command: what counts is that something
        # comes, or that the server takes what is sent.
        left = 0 if self.transport is None else self.transport.get_write_buffer_size()
        before, self._unsent_bytes = self._unsent_bytes, left
        if (left and before is None) or (before is not None and left < before):
            self._heard_at = now
        due = max(self._unanswered[0].sent_at, self._heard_at) + self._server.timeout
        if due <= now:
            self._cut(self._server.silent())
        else:
            self._watch = self._loop.call_at(due, self._look_after)

    def _cut(self, error: ProviderUnavailable) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()
        self._drop(error)

    def _drop(self, error: ProviderUnavailable) -> None:
        unanswered, self._unanswered = self._unanswered, deque()
        self._unsent, self._unsent_bytes = [], None
        self._busy = False
        batch, self._batch = self._batch, None
        if batch is not None:
            unanswered.append(batch)
        if self.listener is not None:
            self.listener.lost()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for request in unanswered:
            request.fail(error)


def _reader() -> hiredis.Reader:
    return hiredis.Reader(replyError=Refusal, notEnoughData=_NOTHING)


def retrieve(task: asyncio.Future[Any]) -> None:
    """Take in how *task* has ended: nobody else asks for it."""
    if not task.cancelled():
        task.exception()
