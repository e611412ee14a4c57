"""
One request on its way in, as the code at its end sees it.

The engine puts an exchange into the context. The endpoint finds it there, after routing, guards
and dependencies, and says what it is: which route, with which arguments.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from .read_fields import HARMLESS, NOTED, OF_ONE
from .rewritten import rewritten
from .scope import is_routed, lines_of
from .standins import answering, explained, is_page_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from ...app import App
    from ...computing.computation import Computation
    from ...services.asgi import Scope
    from ..policy import HttpCache
    from ..rules.message import Request, Response
    from .capture import Capture
    from .planning import Plan
    from .replies import Reply
    from .routes import CachedRoute


class Desk(Protocol):
    """What an endpoint asks."""

    @property
    def find_app(self) -> Callable[[], App]:
        """Returns the app whose provider keeps the responses."""
        ...

    async def ask(
        self, exchange: Exchange, route: CachedRoute, values: Mapping[str, object]
    ) -> Answered | Computation | None:
        """Say what the endpoint does with a request."""
        ...


class Answered:
    """In the place of a handler's result: the cache has the response."""


ANSWERED = Answered()


class Exchange:
    """One request."""

    def __init__(
        self,
        desk: Desk,
        request: Request,
        scope: Scope,
        *,
        outer: Scope | None = None,
        filling: Plan | None = None,
        keyed: int = 0,
    ) -> None:
        self.desk = desk
        """Where the endpoint asks."""
        self.request = request
        self.scope = scope
        """What was handed inward; routing writes into it."""
        self.outer = scope if outer is None else outer
        """What came from outside."""
        self.capture: Capture | None = None
        self.filling = filling
        """What this very request fills: the handler runs, whatever is stored."""
        self.may_change_hands = False
        """Its endpoint may take it over, if a policy of its own counts there."""
        self.changed_hands = False
        """It has: nothing is filled, and the request goes on as its endpoint says."""
        self.keyed = keyed
        """A body of up to so many bytes is part of the key, if its route says so."""
        self.reading: asyncio.Task[Any] | None = None
        """Waits until the response is stored."""
        self.reply: Reply | None = None
        """What the client gets, in the place of what the application sends."""
        self.finish: Callable[[Response], Reply] | None = None
        """Makes the reply of a response that is whole."""
        self.reads: set[str] = set()
        """What the handler has looked at; see `taint`."""
        self.selecting: frozenset[str] = frozenset()
        """What it may look at, since that is in the key: see `Plan.keyed`."""
        self.watched: set[str] = set()
        """The arguments that note it."""
        self.given: Scope | None = None
        """What the endpoint was given, None where nobody knows: a middleware hands on a copy."""
        self.is_shown = False
        """The endpoint is given the request itself, and can look at all that is in its scope."""
        self.url: list[bytes] = []
        """What that one has of a URL which is not the client's, as parts of a key."""
        self.own: dict[str, object] = {}
        """What the class of the endpoint keeps on `self` for this request."""
        self.error: Exception | None = None
        """What the handler has raised."""
        self.tainted = ""
        """Why the response may be for this client alone."""
        self.drops: list[Callable[[], Awaitable[None]]] = []
        """What a success invalidates."""
        self.passing = False
        """The handler runs, and nothing is kept."""
        self.route: CachedRoute | None = None

    def at(self, given: Scope | None) -> None:
        """
        Note which scope the endpoint was *given*, None if it was given no request.

        Then it is ours, unless some middleware has handed on a copy: ours has no route then.
        """
        self.is_shown = given is not None
        if given is None and is_routed(self.scope):
            given = self.scope
        self.given = given
        self.url = rewritten(self.outer, given)

    def raised(self, error: Exception, cache: HttpCache) -> None:
        """See that no page of the application's own for *error* is kept: nobody watches it."""
        if not cache.public:
            self.error = error
            self.tainted = self.tainted or explained(error, self.given)

    def answered(self, response: Response) -> None:
        """See that nothing is kept of a *response* that others have made of what was raised."""
        if self.error is not None and not self.tainted and not is_page_of(self.error, response):
            self.tainted = (
                f"the handler raised {type(self.error).__name__}, and what came is not the page "
                "for that. Say public=True if everybody gets the same"
            )

    def returned(self, result: object, cache: HttpCache, kinds: Collection[type] = ()) -> None:
        """See that nothing is kept of a response that looks at the request by itself."""
        if not cache.public:
            self.tainted = self.tainted or answering(result, self.given, kinds)

    def taint(self, vary: tuple[bytes, ...]) -> str:
        """Return why the response may be this client's alone, "" where nothing shows it."""
        route = self.route
        if self.tainted or not self.reads or route is None:
            return self.tainted
        cache = route.http_cache
        if cache.public:
            return ""
        allowed = HARMLESS | {name.decode("latin-1") for name in (*vary, *route.parameters.headers)}
        if cache.per is not None:
            allowed |= OF_ONE
        if self.request.method not in {"GET", "HEAD"}:  # beside a body that is in the key
            allowed |= {"content-type"}
        named = {name.decode("latin-1") for name in vary} | self.selecting
        for read in sorted(self.reads & named):
            if self._is_changed(read.encode("latin-1", "replace")):
                return f"the handler reads {read!r}, which something in front of it has changed"
        cookies = {f"cookie {name.decode('latin-1')}" for name in cache.vary_cookies}
        for read in sorted(self.reads - allowed - cookies - self.selecting):
            if read.startswith("cookie ") and (cache.per is not None or "cookie" in allowed):
                continue
            if read.startswith(NOTED) and cache.per is not None:
                continue
            return f"the handler reads {read!r} of the request, which is not in the key"
        return ""

    def _is_changed(self, name: bytes) -> bool:
        """Tell whether the endpoint sees another field than the one that is in the key."""
        given = self.given
        return given is not None and lines_of(given, name) != lines_of(self.outer, name)


exchange_here: ContextVar[Exchange | None] = ContextVar("stillfresh_exchange", default=None)
"""The request that this code answers."""
