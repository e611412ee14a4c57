"""
One run of the application behind the cache: its response is collected, or goes live to a client.

    start ── nobody wants to keep it ─────────────────────────────────► DIRECT
      │
      ├── the body comes in one piece, or with a Content-Length ──────► HELD, until it is whole
      └── anything else ──► TEE: sent on as it comes, and kept ── too long, unknown ──► DIRECT

The run is a task of its own. Who asked may go: a response that is being kept is finished for
those who wait for it, and any other one is cut off.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ..rules.fields import members
from ..rules.message import Response, first, joined, lowered, replaced

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import ContextVar

    from ...services.asgi import AsgiApp, Message, Receive, Scope, Send
    from ..rules.message import Headers

BUFFER_BREAKERS = ("http.response.pathsend", "http.response.zerocopysend")
"""Extensions by which a body goes past whoever wants to see it."""
LONGEST_NUMBER = 18


class Incomplete(Exception):  # internal, and named for what happened
    """The application returned before its response was whole, or *came* has another length."""

    def __init__(self, why: str, came: Response | None = None) -> None:
        super().__init__(why)
        self.came = came


class Capture:
    """A run of *app*. Nothing is kept unless `keep` says so by the time the response begins."""

    def __init__(self, app: AsgiApp, scope: Scope, receive: Receive | None, send: Send) -> None:
        self._app, self._scope = app, scope
        self._receive, self._send = receive, send
        self.keep: Callable[[int, Headers], bool] | None = None
        """Says from the head of a response whether it is worth keeping."""
        self.dress: Callable[[int, Headers], Headers] | None = None
        """Makes of the fields of a response what a client gets, where it goes live."""
        self.spares: Callable[[int, Headers], Headers | None] | None = None
        """Makes the head of a 304 of that which a client gets live, if it has the response."""
        self._spared = False
        """It does: what comes after the head is not for it."""
        self.limit = 0
        """Bytes of the longest body that is kept."""
        self.tee = True
        """A body that comes in pieces may be kept, too."""
        self.given = b""
        """The body of a request that nobody sends."""
        self.ear: Receive | None = None
        """Where the client of such a request is heard to go, once its response goes live."""
        self.status = 0
        self.headers: Headers = ()
        self.live = False
        """Something has gone to the client, or will without anybody's help."""
        self.keyed = 0
        """Bytes of a request that are kept when the application reads them, for a key."""
        self.gone = False
        """There is no client, or not any more."""
        loop = asyncio.get_running_loop()
        self.decided: asyncio.Future[None] = loop.create_future()
        """Done when the response is whole, is to be streamed, has gone by itself, or failed."""
        self.whole: asyncio.Future[Response | None] = loop.create_future()
        """The whole response; None as soon as it is clear that it is not kept."""
        self._loop = loop
        self._held: list[Message] = []
        self._body: list[bytes] = []
        self._length = 0
        self._queue: asyncio.Queue[Message | None] | None = None
        self._over = asyncio.Event()
        self._began = self._direct = self._misfit = False
        self.task: asyncio.Task[None] | None = None
        self.context = copy_context()
        self._sent: list[bytes] = []
        self._sent_length = 0
        self._asked = False
        self._ahead: list[Message] = []

    # Running

    def start(self) -> None:
        """Begin."""
        self.task = self._loop.create_task(self._run(), context=self.context)
        self.task.add_done_callback(note_end)

    async def _run(self) -> None:
        error: BaseException | None = None
        try:
            await self._app(self._scope, self._receive_inward, self._send_outward)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._over.set()
            if self._queue is not None:
                self._queue.put_nowait(None)
            if not self.whole.done():
                if error is None and not self._direct:
                    error = Incomplete("the response ended before it was whole")
                self._fail(error)
            self._decide()

    def _fail(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self.whole.set_exception(error)
            self.whole.exception()  # seen, even if nobody waits for it
        elif error is not None:
            self.whole.cancel()
        else:
            self.whole.set_result(None)

    def _decide(self) -> None:
        if not self.decided.done():
            self.decided.set_result(None)

    async def _receive_inward(self) -> Message:
        """Hand on what the client says, but not that it has gone, where others wait, too."""
        if self._receive is None:
            if not self._began:
                self._began = True
                return {"type": "http.request", "body": self.given, "more_body": False}
            await self._client_has_gone()
            return {"type": "http.disconnect"}
        message = self._ahead.pop(0) if self._ahead else await self._received(self._receive)
        if message["type"] == "http.disconnect" and self.keep is not None:
            if not self.whole.done():
                await until(self.whole)
            if not self._direct:
                await self._over.wait()
        return message

    async def _client_has_gone(self) -> None:
        """Wait for the end of the run; of a client, only where nobody else waits for the same."""
        while not self.whole.done():  # it may change hands meanwhile
            await until(self.whole)
        if self.ear is None or not self._direct:
            await self._over.wait()
            return
        ends = [self._loop.create_task(one) for one in (self._over.wait(), hung_up(self.ear))]
        for one in ends:
            one.add_done_callback(note_end)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in ends:
                one.cancel()

    async def _received(self, receive: Receive) -> Message:
        message = await receive()
        if self.keyed and message["type"] == "http.request":
            piece = message.get("body", b"")
            self._sent.append(piece)
            self._sent_length += len(piece)
            self._asked = not message.get("more_body", False)
            if self._sent_length > self.keyed:
                self.keyed = 0  # too long for every route
                self._sent.clear()
        return message

    async def request_body(self, limit: int) -> bytes | None:
        """
        Return the whole body of the request, None if it is longer than *limit*.

        The application gets it, too, whether it has read it before or reads it later.
        """
        while not self._asked and self._receive is not None:
            if not self.keyed or self._sent_length > limit:
                return None
            message = await self._received(self._receive)
            self._ahead.append(message)
            if message["type"] == "http.disconnect":
                return None
        body = b"".join(self._sent)
        return body if self.keyed and len(body) <= limit else None

    # What the application sends

    async def _send_outward(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.debug":  # of test clients, beside the response
            await self._send(message)
        elif self._direct:
            await self._to_client(message)
        elif kind == "http.response.start":
            await self._starts(message)
        elif kind == "http.response.body" and self.status:
            await self._grows(message)
        else:  # trailers, files by path, whatever comes next: not ours to understand
            await self._go_direct(message)

    async def _starts(self, message: Message) -> None:
        self.status = message["status"]
        self.headers = lowered(message.get("headers", ()))
        length = first(self.headers, b"content-length")
        self._held.append(message)
        known = length is not None and length.isdigit() and len(length) <= LONGEST_NUMBER
        if (
            self.keep is None
            or message.get("trailers")
            or (known and int(length or b"") > self.limit)
            or not self.keep(self.status, self.headers)
        ):
            await self._go_direct(None)

    async def _grows(self, message: Message) -> None:
        piece, more = message.get("body", b""), message.get("more_body", False)
        self._body.append(piece)
        self._length += len(piece)
        if self._length > self.limit:
            await self._go_direct(message)
            return
        if more and self._queue is None and first(self.headers, b"content-length") is None:
            if not self.tee:
                await self._go_direct(message)
                return
            self._queue = asyncio.Queue()
            for one in [one for held in self._held for one in self._for_client(held)]:
                self._queue.put_nowait(one)
            self._held.clear()
            self.live = True
            self._decide()
        if self._queue is None:
            self._held.append(message)
        elif not (self.gone or self._spared):
            self._queue.put_nowait(message)
        if not more:
            self._completed()

    def _completed(self) -> None:
        body, headers = b"".join(self._body), self.headers
        length = joined(headers, b"content-length")
        if length is not None and self.status != 304 and self._scope["method"] != "HEAD":
            said = {member.lstrip(b"0") or b"0" for member in members(length)}
            if said != {b"%d" % len(body)}:
                self._misfit = True
                why = "its Content-Length is not the length of its body"
                self._fail(Incomplete(why, Response(self.status, headers, body)))
            elif b"," in length:  # the same once more (RFC 9110 section 8.6)
                headers = replaced(headers, b"content-length", *said)
        if not self.whole.done():
            self.whole.set_result(Response(self.status, headers, body))
        self._decide()

    async def release(self) -> None:
        """Send what was held, if nothing but its length is wrong: it is the client's to judge."""
        if self._misfit and not self.live:
            await self._go_direct(None)

    async def _go_direct(self, message: Message | None) -> None:
        """Keep nothing from now on; who waits for it hears so at once."""
        self._direct = self.live = True
        if not self.whole.done():
            self.whole.set_result(None)
        self._body.clear()
        if self._queue is not None and not self.gone:
            await self._queue.join()  # first what came before
        held, self._held = self._held, []
        for one in held:
            await self._to_client(one)
        if message is not None:
            await self._to_client(message)

    async def _to_client(self, message: Message) -> None:
        if self.gone:
            if self.task is not None:
                self.task.cancel()
            return
        for one in self._for_client(message):
            await self._send(one)

    def _for_client(self, message: Message) -> list[Message]:
        """Return what the client is sent in the place of a message."""
        if self._spared:
            return []
        if message["type"] != "http.response.start":
            return [message]
        headers = self.headers if self.dress is None else self.dress(self.status, self.headers)
        unchanged = None if self.spares is None else self.spares(self.status, headers)
        if unchanged is None:
            return [message if self.dress is None else {**message, "headers": list(headers)}]
        self._spared = True
        return [
            {"type": "http.response.start", "status": 304, "headers": list(unchanged)},
            {"type": "http.response.body", "body": b""},
        ]

    # The client's side

    async def stream(self) -> None:
        """Send on what comes, until it is over."""
        queue = self._queue
        if queue is not None:
            while (message := await queue.get()) is not None:
                await self._send(message)
                queue.task_done()

    def change_hands(self) -> None:
        """Tell who waits that nothing is kept for them: what comes is for somebody else."""
        self.whole.set_result(None)
        self.whole = self._loop.create_future()
        self.keep = self.dress = self.spares = None
        self.limit, self.tee = 0, True

    def leave(self) -> None:
        """The client has gone. What is not kept ends; the rest is finished for others."""
        self.gone = True
        if self._queue is not None:  # nobody reads it any more
            while not self._queue.empty():
                self._queue.get_nowait()
                self._queue.task_done()
        kept = self.keep is not None and not self._direct
        if self.task is not None and not kept:
            self.task.cancel()

    def restore(self, *but: ContextVar[Any]) -> None:
        """Take over what the run has changed in context variables, as if it had run here."""
        for variable, value in self.context.items():
            if variable not in but and _value(variable) is not value:
                variable.set(value)


async def hung_up(receive: Receive) -> None:
    """Wait until a client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def until(future: asyncio.Future[Any]) -> None:
    """
    Wait until *future* is done. A cancellation ends the waiting, and not the future.

    `asyncio.wait([future])` does the same with two hundred instructions more, and each request
    that no short cut answers waits here two to four times.
    """
    if future.done():
        return
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake(_: object) -> None:
        if not woken.done():
            woken.set_result(None)

    future.add_done_callback(wake)
    try:
        await woken
    finally:
        future.remove_done_callback(wake)


def note_end(task: asyncio.Task[Any]) -> None:
    """Look at the end of a task: who waits for it raises it, and there may be nobody."""
    if not task.cancelled():
        task.exception()


_NOTHING = object()


def _value(variable: Any) -> object:
    return variable.get(_NOTHING)
