"""
The short way of a hit: a request that looks like one before is answered by two look-ups.

    scope ── scheme, host, raw path, query ──► which entry ── not late, no tag dropped ──► sent

Only for routes that the cache may answer before routing, for entries in this process (on memory, or
in the near tier of a server), and for requests that say nothing else that counts. Everything else
takes the long way, which knows all the rules.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final, cast

from ...providers.memory import MemoryCacheProvider
from ...providers.near import NearEntry
from ..rules import outgoing
from ..rules.message import first, joined
from .distant import Distant
from .replies import coding_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...entry import Entry
    from ...readthrough import Reader
    from ...services.asgi import Message, Scope
    from ...tags import TagBook
    from .planning import Plan
    from .routes import CachedRoute
    from .stored import Stored

LONG_WAY: Final = frozenset(
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
"""Fields that have to be looked at: requests with one of them take the long way."""
MOST: Final = 10_000
MOST_ACCEPTED: Final = 100
Fields = list[tuple[bytes, bytes]]


class ShortWay:
    """How one kind of request is answered: from one entry, for as long as that is good."""

    __slots__ = (
        "_says_status",
        "book",
        "coding",
        "entry",
        "full",
        "long_way",
        "made",
        "near",
        "now",
        "status",
        "tag",
        "trusts_context",
        "turns",
        "unchanged",
    )

    def __init__(
        self, plan: Plan, reader: Reader, entry: Entry, book: TagBook, coding: bytes
    ) -> None:
        stored = cast("Stored", entry.value)
        self.entry = entry
        """Dead in place once it is dropped, and its value is gone then: see `Entry.kill`."""
        self.near = entry if isinstance(entry, NearEntry) else None
        """The same: whether it may be served on is to be asked now and then."""
        self.now: Callable[[], float] = reader.region.clock.now
        self.book = book
        self.made = entry.born - stored.age
        """When the response was made: its age counts from here."""
        self.coding = coding
        self.status = stored.status
        fields, _, _ = stored.sent_as(coding)
        self.tag = first(fields, b"etag") if stored.status == 200 else None
        self.long_way = long_way(plan.route)
        self.trusts_context = plan.route.trusts_context
        """Good as long as nothing outside says by a context variable who asks."""
        self._says_status = bool(plan.route.http_cache.cache_status)
        self.turns = -inf
        """When the next second of its age begins."""
        self.full: Fields = []
        self.unchanged: Fields = []

    def renew(self, stored: Stored, now: float) -> None:
        """Make the fields for another second."""
        age = int(now - self.made)
        aged = (b"age", outgoing.age(age))
        member = outgoing.hit(stored.lifetime - age)
        full, unchanged, _ = stored.sent_as(self.coding)
        for name, fields in (("full", full), ("unchanged", unchanged)):
            lines = (*fields, aged)
            if self._says_status:
                lines = outgoing.with_status(lines, member)
            setattr(self, name, list(lines))
        self.turns = self.made + age + 1


class ShortWays:
    """The short ways in front of one application."""

    def __init__(self) -> None:
        self._ways: dict[object, ShortWay | dict[bytes | None, ShortWay]] = {}
        """By what a request looks like, and then by what it says of codings, if there are any."""
        self._distant: dict[object, Distant] = {}
        self.set_outside: Callable[[], str] = lambda: ""
        """The engine's: which context variable somebody outside has set for this request."""

    def clear(self) -> None:
        """Let every request take the long way once more."""
        self._ways.clear()
        self._distant.clear()

    def offer(self, plan: Plan, reader: Reader, entry: Entry, stored: Stored) -> None:
        """Answer such requests from here from now on, if that can be done."""
        cache, book = plan.route.http_cache, book_of(reader, entry)
        if (
            not plan.route.early
            or plan.route.parameters.headers
            or reader.region.listeners.wants("hit")
            or cache.request_directives != "ignore"
            or cache.cache_status == "debug"
            or cache.is_known_host is not None
            or not plan.by_url
            or stored.vary
        ):
            return
        request = plan.request
        host = request.host.encode("latin-1")
        seen = (request.path, host, request.query, plan.scope["path"], request.scheme)
        if book is None and reader.region.serialized and not plan.route.knows_search(request):
            if len(self._distant) >= MOST:
                self._distant.clear()
            self._distant[seen] = Distant(plan, reader, long_way(plan.route))
        if book is None or reader.index.entries.get(plan.target) is not entry:
            return
        if len(self._ways) >= MOST:
            self._ways.clear()
        way = ShortWay(plan, reader, entry, book, coding_for(stored, request.headers))
        if not stored.codings:
            self._ways[seen] = way
            return
        ways = self._ways.get(seen)
        if not isinstance(ways, dict) or len(ways) >= MOST_ACCEPTED:
            ways = self._ways[seen] = {}
        ways[joined(request.headers, b"accept-encoding")] = way

    def distant(self, scope: Scope) -> tuple[Distant, dict[bytes, bytes]] | None:
        """Return where on a server the response to a request may be, and what it says."""
        if not self._distant or scope["method"] != "GET":
            return None
        try:
            # Of several lines the first counts, as in the key and in frameworks.
            fields: dict[bytes, bytes] = dict(reversed(scope["headers"]))
            way = self._distant[
                scope["raw_path"],
                fields[b"host"],
                scope["query_string"],
                scope["path"],
                scope["scheme"],
            ]
        except KeyError:
            return None
        if not way.long_way.isdisjoint(fields):
            return None
        return None if way.trusts_context and self.set_outside() else (way, fields)

    def ready(self, scope: Scope) -> tuple[Message, Message] | None:
        """Return the two messages that answer a request, None where the long way has to."""
        try:
            if not self._ways or scope["method"] != "GET":  # what is not HTTP has no method
                return None
            fields: dict[bytes, bytes] = dict(reversed(scope["headers"]))
            way = self._ways[
                scope["raw_path"],
                fields[b"host"],
                scope["query_string"],
                scope["path"],
                scope["scheme"],
            ]
        except KeyError:
            return None
        if isinstance(way, dict):
            found = way.get(fields.get(b"accept-encoding"))
            if found is None:
                return None
            way = found
        if not way.long_way.isdisjoint(fields):
            return None
        if way.trusts_context and self.set_outside():
            return None
        entry, now = way.entry, way.now()
        if entry.kind.epoch != way.book.epoch:
            return None
        if now >= entry.quick_until and (way.near is None or not way.near.may_serve(now)):
            return None
        try:
            stored: Any = entry.value
        except AttributeError:  # it was dropped in this moment
            return None
        if now >= way.turns:
            way.renew(stored, now)
        body = stored.body if not way.coding else stored.sent_as(way.coding)[2]
        condition = fields.get(b"if-none-match")
        if condition is None:
            entry.visits += 1
            return (
                {
                    "type": "http.response.start",
                    "status": way.status,
                    "headers": way.full.copy(),  # who stands around may add to it
                },
                {"type": "http.response.body", "body": body},
            )
        if condition != way.tag:
            return None
        entry.visits += 1
        return (
            {"type": "http.response.start", "status": 304, "headers": way.unchanged.copy()},
            {"type": "http.response.body", "body": b""},
        )


def long_way(route: CachedRoute) -> frozenset[bytes]:
    """Return the fields that have to be looked at, of requests to one route."""
    return _LONG_WAYS[route.is_wary, route.pure]


_LONG_WAYS: Final = {
    (wary, pure): LONG_WAY | ({b"cookie"} if wary else set()) | (set() if pure else {b"origin"})
    for wary in (False, True)
    for pure in (False, True)
}


def book_of(reader: Reader, entry: Entry) -> TagBook | None:
    """Return what knows which tags were dropped, None if *entry* must not be kept hold of."""
    guard = reader.region.guard
    if isinstance(entry, NearEntry):
        return None if guard.tier is None else guard.tier.book
    provider = guard.provider
    if type(provider) is MemoryCacheProvider and not provider.serialized:
        return provider.book
    return None
