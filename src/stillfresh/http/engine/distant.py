"""
The short way of a hit on a server: the key is known, so one question is enough.

    scope ── looks like one before ──► its key ── asked for, and fresh ──► sent
                                                └─ anything else ────────► the long way

It is the first step of the path, without the plan and the task that lead there: the answer comes
from a read that was sent after the request came. For the requests that `short_way` takes, too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ...computing.drivers import ON_LOOP
from ...entry import Verdict, judge
from ..rules import conditional, outgoing
from ..rules.key import best_coding
from .replies import Reply
from .stored import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...readthrough import Reader
    from .planning import Plan


class Distant:
    """Where the response to one kind of request is."""

    __slots__ = ("_key", "_reader", "_says_status", "long_way", "trusts_context")

    def __init__(self, plan: Plan, reader: Reader, long_way: frozenset[bytes]) -> None:
        self._key = plan.key
        self._reader = reader
        self._says_status = bool(plan.route.http_cache.cache_status)
        self.long_way = long_way
        self.trusts_context = plan.route.trusts_context

    async def reply(self, fields: Mapping[bytes, bytes]) -> Reply | None:
        """Answer a request with these fields, None where the long way has to."""
        reader = self._reader
        entry, stored = await reader.look_as("miss", self._key, ON_LOOP)
        now = reader.region.clock.now()
        if (
            entry is None
            or not isinstance(stored, Stored)
            or stored.vary
            or judge(entry, now) is not Verdict.FRESH
        ):
            return None
        reader.done("hit", self._key, None)
        accepted = fields.get(b"accept-encoding")
        coding = best_coding(accepted, stored.coding_names) if stored.codings else b""
        full, unchanged, body = stored.sent_as(coding)
        code, condition = stored.status, fields.get(b"if-none-match")
        if condition is not None and code == 200:
            conditions = ((b"if-none-match", condition),)
            if conditional.not_modified(conditions, stored.tag, None, None, time.time()):
                code, full, body = 304, unchanged, b""
        age = stored.age + max(0.0, now - entry.born)
        lines = (*full, (b"age", outgoing.age(age)))
        if self._says_status:
            lines = outgoing.with_status(lines, outgoing.hit(stored.lifetime - age))
        return Reply(code, lines, body)
