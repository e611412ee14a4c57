"""A plain reverse proxy as an ASGI application: what stands between the cache and the origin."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Fields = list[tuple[bytes, bytes]]

_BETWEEN_NEIGHBOURS = frozenset(
    {
        *(
            b"connection",
            b"keep-alive",
            b"proxy-connection",
            b"te",
            b"transfer-encoding",
            b"upgrade",
        ),
        b"content-length",
    }
)
_PART = 65_536


class Proxy:
    """
    Sends each request to one origin, and streams the answer back as it came.

    Each request has a connection of its own: the origin closes idle ones when it likes, and a
    request that meets that fails at random. An origin that closes without an answer is a 502.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        body = await read_request(receive)
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            await self._fail(send)
            return
        try:
            writer.write(head_of(scope, body) + body)
            try:
                status, fields = await read_head(reader)
            except (OSError, EOFError):
                await self._fail(send)
                return
            kept = [
                line
                for line in fields
                if line[0] not in {b"transfer-encoding", b"keep-alive"}
                and line != (b"connection", b"close")
            ]
            await send({"type": "http.response.start", "status": status, "headers": kept})
            if scope["method"] != "HEAD" and status not in {204, 304}:
                async for part in read_body(reader, dict(fields)):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            writer.close()

    async def _fail(self, send: Callable[[Message], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 502, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def read_request(receive: Callable[[], Awaitable[Message]]) -> bytes:
    """Read the body of a request."""
    parts: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(parts)


def head_of(scope: Message, body: bytes) -> bytes:
    """Return the head of the request to the origin."""
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    fields: Fields = [line for line in scope["headers"] if line[0] not in _BETWEEN_NEIGHBOURS]
    fields.append((b"connection", b"close"))
    if body or scope["method"] not in {"GET", "HEAD"}:
        fields.append((b"content-length", b"%d" % len(body)))
    lines = [b"%s: %s\r\n" % (name, value.strip()) for name, value in fields]
    return b"%s %s HTTP/1.1\r\n%s\r\n" % (scope["method"].encode(), target, b"".join(lines))


async def read_head(reader: asyncio.StreamReader) -> tuple[int, Fields]:
    """Read the head of the final response; interim ones have no place in ASGI."""
    while True:
        first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        status = int(first.split(b" ", 2)[1])
        if status >= 200:
            pairs = [line.split(b":", 1) for line in lines]
            return status, [(name.lower(), value.strip()) for name, value in pairs]


async def read_body(
    reader: asyncio.StreamReader, fields: dict[bytes, bytes]
) -> AsyncIterator[bytes]:
    """Read a body by its length, by its chunks, or else to the end of the connection."""
    if fields.get(b"transfer-encoding") == b"chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readline()
    elif b"content-length" in fields:
        yield await reader.readexactly(int(fields[b"content-length"]))
    else:
        while part := await reader.read(_PART):
            yield part
