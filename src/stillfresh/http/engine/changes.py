"""
Requests that may change something: what a success makes old is dropped before it is told.

    1. the handler has committed; its response begins
    2. what the response makes old is invalidated, here and in every process; each part for
       itself, so that one that fails leaves none of the others out, and all of it although the
       client goes meanwhile
    3. the response leaves; a request that its client sends now finds nothing old
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from ...errors import NotRunning, ProviderUnavailable
from ...events import log
from ..rules.message import Response, lowered
from ..rules.unsafe import invalidated
from .capture import note_end, until
from .exchange import Desk, Exchange, exchange_here
from .scope import request_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ...app import App
    from ...services.asgi import AsgiApp, Message, Receive, Scope, Send


async def answer_unsafe(
    inner: AsgiApp, desk: Desk, scope: Scope, receive: Receive, send: Send
) -> None:
    """Let *inner* answer, and invalidate what its success makes old (RFC 9111 section 4.4)."""
    exchange = Exchange(desk, request_of(scope), scope)
    token = exchange_here.set(exchange)
    try:
        await inner(scope, receive, dropping(exchange, desk.find_app(), send))
    finally:
        exchange_here.reset(token)


def dropping(exchange: Exchange, app: App, send: Send) -> Send:
    """Return a way to the client before which old responses are dropped."""
    begun = False

    async def outward(message: Message) -> None:
        nonlocal begun
        if message["type"] == "http.response.start" and not begun:
            begun = True
            if exchange.route is None:  # else its response may be kept: it changes nothing
                await _invalidate(exchange, app, message)
        await send(message)

    return outward


async def _invalidate(exchange: Exchange, app: App, message: Message) -> None:
    if not app.running:
        return
    response = Response(message["status"], lowered(message.get("headers", ())))
    tags = {f"url:{tag}" for tag in invalidated(exchange.request, response)}
    drops: list[Callable[[], Awaitable[None]]] = []
    if tags:
        drops.append(partial(app.drop_tagged, tuple(sorted(tags)), blocking=False))
    if 200 <= response.status < 400:
        drops += exchange.drops
    if not drops:
        return
    # A task of its own: the handler has committed, and a client that goes takes nothing along.
    dropped = asyncio.create_task(_drop_all(drops, exchange))
    _dropping.add(dropped)
    dropped.add_done_callback(_dropping.discard)
    dropped.add_done_callback(note_end)
    await until(dropped)
    dropped.result()


_dropping: set[asyncio.Task[None]] = set()
"""Those that run: their loop alone would not keep them."""


async def _drop_all(drops: Iterable[Callable[[], Awaitable[None]]], exchange: Exchange) -> None:
    mistakes: list[Exception] = []
    for drop in drops:
        try:
            await drop()
        except (ProviderUnavailable, NotRunning) as error:
            # The guard of the provider remembers it, and nothing old is read before it is done.
            log.warning("%s %s: %s", exchange.request.method, exchange.scope["path"], error)
        except Exception as error:  # noqa: BLE001  # the first one is raised
            mistakes.append(error)
    if mistakes:
        raise mistakes[0]
