"""
Cheap validators: the user's functions, plain or async, say whether anything has changed, before a
response is made.

A client that has the response then gets a 304 that no 200 stands behind. What that would have said
in Vary is known as far as the route says it itself, and as the last response to the URL has said.
"""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, Any

from ..rules import conditional, outgoing
from .planning import member_of
from .replies import Reply, as_date, as_tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .planning import Plan
    from .routes import CachedRoute


async def asked_validators(
    route: CachedRoute, values: Mapping[str, object]
) -> tuple[bytes | None, bytes | None]:
    """Return the entity tag and the date that the user's functions give for a call."""
    policy = route.http_cache
    arguments: dict[str, Any] = {
        name: values[name] for name in route.parameters.known if name in values
    }
    tag = modified = None
    if callable(policy.etag):
        tag = as_tag(await _said(policy.etag(**arguments)), route.title)
    if policy.last_modified is not None:
        modified = as_date(await _said(policy.last_modified(**arguments)), route.title)
    return tag, modified


async def _said(answer: object) -> object:
    return await answer if inspect.isawaitable(answer) else answer


def spared(plan: Plan, tag: bytes | None, modified: bytes | None) -> Reply | None:
    """Return the 304 of a response that need not even be made, if the client has it."""
    if not conditional.not_modified(plan.request.headers, tag, modified, None, time.time()):
        return None
    route = plan.route
    fields = ((b"etag", tag), (b"last-modified", modified), (b"vary", route.said_in_vary(plan.key)))
    headers = tuple((name, value) for name, value in fields if value is not None)
    if route.kept:  # what is not kept is sent as the handler makes it
        coded = (b"accept-encoding",) if route.http_cache.precompress else ()
        names = (*outgoing.selecting(route.http_cache), *route.parameters.headers, *coded)
        headers = outgoing.varied(headers, names)
    member = member_of(plan, outgoing.forwarded(b"uri-miss"))
    return Reply(304, outgoing.with_status(headers, member) if member else headers, b"")
