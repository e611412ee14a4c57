"""Bodies of requests that are part of a key (http-rules.md A1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..rules.message import joined

if TYPE_CHECKING:
    from ...services.asgi import Message, Receive
    from ..rules.message import Request

_DESCRIBING: Final = (b"content-type", b"content-encoding", b"content-language")


def body_parts(request: Request, body: bytes) -> list[bytes]:
    """Return the parts of a key that a body makes."""
    described = [joined(request.headers, name) or b"" for name in _DESCRIBING]
    return [b"body", request.method.encode(), *described, body]


async def read_ahead(receive: Receive, most: int) -> tuple[bytes | None, Receive]:
    """
    Return the body of a request, None if it is longer than *most* or its client has gone.

    And a way to receive it once more, for the application.
    """
    ahead: list[Message] = []
    pieces: list[bytes] = []
    more = True
    while more and sum(map(len, pieces)) <= most:
        message = await receive()
        ahead.append(message)
        if message["type"] != "http.request":
            break
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(pieces)
    whole = not more and len(body) <= most

    async def again() -> Message:
        return ahead.pop(0) if ahead else await receive()

    return body if whole else None, again
