"""
The short way of a hit: a request that looks like one before is answered by two look-ups.

    scope ── scheme, host, raw path, query ──► which entry ── not late, no tag dropped ──► sent

Only for routes that the cache may answer before routing, on memory, and for requests that say
nothing else that counts. Everything else takes the long way, which knows all the rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from ...providers.memory import MemoryCacheProvider
from ..rules import status

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...entry import Entry
    from ...readthrough import Reader
    from ...services.asgi import Message, Scope
    from ...tags import TagBook
    from .frame import Stored
    from .planning import Plan

SLOW: Final = frozenset(
    {
        b"authorization",
        b"content-length",
        b"expect",
        b"if-match",
        b"if-modified-since",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that have to be looked at."""
MOST: Final = 10_000
Fields = list[tuple[bytes, bytes]]


class Shortcut:
    """How one kind of request is answered: from one entry, for as long as that is good."""

    __slots__ = (
        "_told",
        "age",
        "alone",
        "book",
        "entry",
        "full",
        "made",
        "now",
        "status",
        "tag",
        "unchanged",
        "wary",
    )

    def __init__(self, plan: Plan, reader: Reader, entry: Entry, book: TagBook) -> None:
        stored = cast("Stored", entry.value)
        self.entry = entry
        """Dead in place once it is dropped, and its value is gone then: see `Entry.kill`."""
        self.now: Callable[[], float] = reader.region.clock.now
        self.book = book
        self.made = entry.born - stored.age
        """When the response was made: its age counts from here."""
        self.status = stored.status
        self.tag = stored.tag if stored.status == 200 else None
        self.wary = plan.route.cache.fresh is None and plan.route.cache.profile == "safe"
        """The handler is not known, so a cookie may change its answer (http-rules.md A6)."""
        self.alone = plan.route.trusts_context
        """Good as long as nothing outside says by a context variable who asks."""
        self._told = bool(plan.route.cache.cache_status)
        self.age = -1
        self.full: Fields = []
        self.unchanged: Fields = []

    def renew(self, stored: Stored, age: int) -> None:
        """Make the fields for another second."""
        aged = (b"age", status.age(age))
        member = status.hit(stored.lifetime - age)
        for name, fields in (("full", stored.sent), ("unchanged", stored.sent_in_304)):
            lines = (*fields, aged)
            setattr(self, name, list(status.with_status(lines, member) if self._told else lines))
        self.age = age


class Shortcuts:
    """The short ways in front of one application."""

    def __init__(self) -> None:
        self._ways: dict[object, Shortcut] = {}
        self.set_outside: Callable[[], str] = str

    def clear(self) -> None:
        """Let every request take the long way once more."""
        self._ways.clear()

    def offer(self, plan: Plan, reader: Reader, entry: Entry) -> None:
        """Answer such requests from here from now on, if that can be done."""
        cache, provider = plan.route.cache, reader.region.guard.provider
        stored: Any = entry.value
        if (
            type(provider) is not MemoryCacheProvider
            or provider.serialized
            or not plan.route.early
            or plan.route.parameters.headers
            or reader.index.entries.get(plan.target) is not entry
            or reader.region.listeners.wants("hit")
            or cache.request_directives != "ignore"
            or cache.cache_status == "debug"
            or cache.is_known_host is not None
            or cache.trust_forwarded
            or cache.vary_cookies
            or cache.key is not None
            or stored.vary
        ):
            return
        if len(self._ways) >= MOST:
            self._ways.clear()
        request = plan.request
        host = request.host.encode("latin-1")
        scope = plan.scope
        seen = (request.scheme, host, request.path, scope["path"], request.query)
        self._ways[seen] = Shortcut(plan, reader, entry, provider.book)

    def ready(self, scope: Scope) -> tuple[Message, Message] | None:
        """Return the two messages that answer a request, None where the long way has to."""
        if not self._ways or scope["type"] != "http" or scope["method"] != "GET":
            return None
        fields = dict(scope["headers"])
        try:
            way = self._ways[
                scope["scheme"],
                fields[b"host"],
                scope["raw_path"],
                scope["path"],
                scope["query_string"],
            ]
        except KeyError:
            return None
        if not SLOW.isdisjoint(fields) or (way.wary and b"cookie" in fields):
            return None
        if way.alone and self.set_outside():
            return None
        entry, now = way.entry, way.now()
        if not (now < entry.quick_until and entry.epoch == way.book.epoch):
            return None
        try:
            stored: Any = entry.value
        except AttributeError:  # it was dropped in this moment
            return None
        age = int(now - way.made)
        if age != way.age:
            way.renew(stored, age)
        condition = fields.get(b"if-none-match")
        if condition is None:
            entry.visits += 1
            return (
                {
                    "type": "http.response.start",
                    "status": way.status,
                    "headers": way.full.copy(),  # who stands around may add to it
                },
                {"type": "http.response.body", "body": stored.body},
            )
        if condition != way.tag:
            return None
        entry.visits += 1
        return (
            {"type": "http.response.start", "status": 304, "headers": way.unchanged.copy()},
            {"type": "http.response.body", "body": b""},
        )
