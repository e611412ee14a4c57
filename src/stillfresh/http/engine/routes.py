"""
What keeps the responses of one route in one app: namespace, keys, tags, and every control.

    namespace   http:module.qualified_name
    key         arguments|digest of scheme, host, path, query and what else counts
                arguments|digest|digest of the fields in Vary, from the second variant on
    tags        the user's; one for the URL, so that a POST to it drops it; one for the arguments
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Final, cast

from ...computing.calls import Told
from ...computing.drivers import ON_LOOP
from ...events import log
from ...keys.canonical import encode_all
from ...keys.patterns import compile_pattern
from ...keys.templates import TagTemplate
from ...known import Known
from ...options import Policy
from ...services.listed import Stats
from ...sources.claims import Claim
from ...sources.ledger import ledger_of
from ...tags import checked_tags
from ..rules import key as keys
from ..rules.message import has, joined
from ..rules.structured import WHOLE_QUERY, no_vary_search
from .crowd import Refreshes
from .stored import FRAMES, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextvars import Context

    from ...app import App
    from ...codecs import Codec
    from ...readthrough import Reader
    from ..policy import HttpCache
    from ..rules.message import Headers, Request
    from ..rules.structured import SearchVariance
    from .replies import Reply

MOST_URLS: Final = 1_000
"""For so many it is remembered what their responses have said of queries, or in Vary."""
LONGEST_TEXT: Final = 400
"""Characters of the arguments in a key; longer ones keep their beginning and a digest."""


class Failure(Told):  # internal, and named for what happened
    """The handler failed. `usable`: an old response is there, and may be served instead."""

    def __init__(
        self, cause: BaseException | None, reply: Reply | None = None, *, usable: bool
    ) -> None:
        super().__init__()
        self.cause, self.reply, self.usable = cause, reply, usable


def _may_serve_old(error: BaseException) -> bool:
    return isinstance(error, Failure) and error.usable


class Parameters:
    """The arguments of a route that are part of its key, and how they are given by hand."""

    def __init__(
        self,
        names: Sequence[str] = (),
        *,
        complete: Callable[[Mapping[str, object]], dict[str, object]] | None = None,
        headers: tuple[bytes, ...] = (),
        behind: tuple[bytes, ...] = (),
        whole_query: bool = True,
        pure: bool = False,
        known: Sequence[str] | None = None,
        results: tuple[tuple[str, bool], ...] = (),
        writes: bool = False,
        needs: frozenset[object] = frozenset(),
    ) -> None:
        self.names = tuple(names)
        self.known = self.names if known is None else tuple(known)
        """All that templates of tags may name."""
        self.results = results
        """The arguments that dependencies give, and whether those see the request."""
        self.writes = writes
        """A dependency, or a class of routes, that sees the request may write into the response."""
        self.needs = needs
        """The dependencies, which an application may override."""
        self._complete = complete
        self.headers = headers
        """The fields of requests from which arguments come."""
        self.behind = behind
        """Those that dependencies are told: what they give is in the key, and Vary names them."""
        self.whole_query = whole_query
        """What the handler sees of a query is not known, so all of it counts."""
        self.pure = pure
        """The handler can depend on nothing else."""

    def add(self, other: Parameters) -> None:
        """Count what stands around the same endpoint elsewhere, too."""
        strict = dict(other.results)
        ours = {name: sees or strict.get(name, False) for name, sees in self.results}
        self.results = tuple((strict | ours).items())
        self.writes = self.writes or other.writes
        self.needs |= other.needs
        self.headers = tuple(dict.fromkeys((*self.headers, *other.headers)))
        self.behind = tuple(dict.fromkeys((*self.behind, *other.behind)))

    def text(self, values: Mapping[str, object]) -> str:
        """
        Return the arguments as a key shows them.

        Raises:
            UnstableArgument: One has no stable place in a key.
        """
        return encode_all([values[name] for name in self.names], self.names)

    def given(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """
        Return all arguments, those that were left out with their defaults.

        Raises:
            TypeError: There is no such argument, or one is missing.
        """
        return dict(arguments) if self._complete is None else self._complete(arguments)


class CachedRoute:
    """A route whose responses are kept."""

    def __init__(
        self,
        app: Callable[[], App],
        function: Any,
        policy: HttpCache,
        parameters: Parameters | None = None,
    ) -> None:
        self.find_app = app
        self.identity: tuple[str, str] = (function.__module__, function.__qualname__)
        self.http_cache = policy
        self.parameters = parameters or Parameters()
        self.dependants: deque[object] = deque(maxlen=100)
        """What FastAPI knows of the endpoint, for each path at which it was asked."""
        self.marked: Callable[[], bool] = lambda: False
        """Something names it as what it invalidates, so clients have to ask."""
        self.contexts: list[Context] = []
        """That in which the endpoint was decorated."""
        self.closed: Callable[[], bool] = lambda: True
        """Nothing of the user's stands around the application."""
        self.heads = True
        """The application answers HEAD there; else it says so itself, and the cache does not."""
        self.kept = True
        """False for a route that only answers conditions."""
        # How the path sees it; what the user wrote is `cache`.
        self.policy = Policy(
            fresh=max(1.0, policy.fresh),
            keep=inf,
            patience=policy.longest_wait,
            errors=_may_serve_old,
            returns=Stored,
        )
        self.refreshes = Refreshes()
        names = self.parameters.known
        given = policy.tags
        self._tags = [] if callable(given) else [TagTemplate(tag, names) for tag in sorted(given)]
        self.warned: set[str] = set()
        self._searches: Known[tuple[str, bytes], SearchVariance] = Known(MOST_URLS)
        self._varies: Known[str, bytes | None] = Known(MOST_URLS)

    def tell_once(self, what: str) -> None:
        """Write one log line about this route and *what* is the matter."""
        if what not in self.warned:
            self.warned.add(what)
            log.warning("%s: %s", self.title, what)

    def tell_of_credentials(self) -> None:
        """Say what to write where requests with Authorization are to be cached (A5)."""
        if not self.http_cache.for_whole_app:
            self.tell_once(
                "requests with Authorization go past the cache. Say public=True if everybody gets "
                "the same, or per= whose response it is"
            )

    # As a source of entries

    @property
    def title(self) -> str:
        """How messages call it."""
        return ".".join(self.identity)

    @property
    def namespace(self) -> str:
        """What stands in front of every key."""
        return f"http:{self.title}"

    @property
    def computes(self) -> bool:
        """The entries are responses of this code."""
        return True

    @property
    def lasting(self) -> bool:
        """Never: they can be made again."""
        return False

    def goes_with(self, other: object) -> bool:
        """The same module and qualified name: one is the other, written again."""
        return isinstance(other, CachedRoute) and other.identity == self.identity

    def codec(self) -> Callable[[], Codec]:
        """Return what makes the codec of responses."""
        return lambda: cast("Codec", FRAMES)

    def reader(self) -> Reader:
        """Return the reader; the app must be running."""
        claim = Claim(self.namespace, self.namespace, self)
        reader = ledger_of(self.find_app()).reader(self, claim)
        reader.packer.measure = _size
        return reader

    @property
    def pure(self) -> bool:
        """Nothing but the declared parameters can change the response."""
        return self.parameters.pure and self.closed()

    @property
    def invalidated(self) -> bool:
        """Something can drop its responses, so clients have to ask."""
        return self.marked()

    @property
    def early(self) -> bool:
        """The cache may answer before routing, guards and dependencies."""
        if self.http_cache.for_whole_app:
            return True
        return self.http_cache.public or (self.pure and self.http_cache.per is None)

    @property
    def is_wary(self) -> bool:
        """The handler is not known, so a cookie may change its answer (http-rules.md A6)."""
        return self.http_cache.for_whole_app and self.http_cache.profile == "safe"

    @property
    def trusts_context(self) -> bool:
        """It is answered early as long as nothing around the application knows who asks."""
        return not self.http_cache.for_whole_app and not self.http_cache.public

    # Keys and tags

    def primary(self, request: Request, text: str, extra: Sequence[bytes] = ()) -> str:
        """Return the key of what *request* asks for."""
        cache = self.http_cache
        query = b""
        if self.parameters.whole_query:
            query = keys.normal_query(
                request.query, ignored=cache.is_ignored_parameter, ordered=not cache.sort_query
            )
            variance = self._searches.get((request.host, request.path))
            if variance is not None:
                query = keys.searched(query, variance)
        host = keys.normal_host(request.scheme, request.host) if cache.host_in_key else ""
        digest = keys.primary(
            request.scheme,
            host,
            keys.normal_escapes(request.path),
            query,
            action=self.title,
            extra=[text.encode("utf-8", "surrogatepass"), *extra],
        )
        return f"{short(text)}|{digest}"

    def knows_search(self, request: Request) -> bool:
        """Tell whether the key of a request may be another one, once a response says so."""
        return (request.host, request.path) in self._searches

    def learn_search(self, request: Request, headers: Headers) -> None:
        """
        Remember what of a query counts for a path, as a response has said (No-Vary-Search).

        Experimental, like the field. The next requests are answered by it.
        """
        if not has(headers, b"no-vary-search"):
            return
        variance = no_vary_search(headers)
        if variance == WHOLE_QUERY:
            self._searches.pop((request.host, request.path), None)
        else:
            self._searches.note((request.host, request.path), variance)

    def learn_vary(self, name: str, code: int, headers: Headers) -> None:
        """
        Remember what a 200 has said in Vary, under the key of its URL.

        For the 304 that is sent without another one being made (RFC 9110 section 15.4.5).
        """
        asks = callable(self.http_cache.etag) or self.http_cache.last_modified is not None
        if code != 200 or not asks:
            return
        self._varies.note(name, joined(headers, b"vary"))

    def said_in_vary(self, name: str) -> bytes | None:
        """Return what the last response under a key has said in Vary."""
        return self._varies.get(name)

    def tags(self, request: Request, text: str, values: Mapping[str, object]) -> frozenset[str]:
        """Return what drops the responses to a request."""
        given = self.http_cache.tags
        if callable(given):
            own = checked_tags(given(**values), "what tags= returned")
        else:
            own = frozenset(tag.render(values) for tag in self._tags)
        if self.parameters.names:
            own |= {arguments_tag(text)}
        if not self.http_cache.unsafe_drops:
            return own
        return own | {f"url:{self.target(request)}"}

    def target(self, request: Request) -> str:
        """Return what stands for the URL of a request, whatever its query."""
        host = request.host if self.http_cache.host_in_key else ""
        return keys.target(request.scheme, host, request.path)

    def lasting_values(self, values: Mapping[str, object]) -> dict[str, object] | None:
        """
        Return the arguments that may be remembered with a request, None where more is needed.

        Never the request itself, or what a dependency has made for it, such as a session.
        """
        cache, names = self.http_cache, self.parameters.names
        asks = callable(cache.tags) or callable(cache.etag) or cache.last_modified is not None
        needed = set(self.parameters.known) if asks else set[str]()
        for tag in self._tags:
            needed |= tag.names
        if not needed <= set(names):
            return None
        return {name: values[name] for name in names}

    def own_tags(self, tags: frozenset[str]) -> frozenset[str]:
        """Return which of *tags* the user has written."""
        return frozenset(tag for tag in tags if not tag.startswith(("url:", "args:")))

    # Controls

    def key_of(self, arguments: Mapping[str, object]) -> str:
        """Return the text of a call, as `invalidate_matching` sees it."""
        return short(self.parameters.text(self.parameters.given(arguments)))

    async def invalidate(self, arguments: Mapping[str, object]) -> None:
        """Drop the responses to one call, of every host and in every variant."""
        text = self.parameters.text(self.parameters.given(arguments))
        region = self.reader().region
        ops = ON_LOOP.ops(region.guard)
        if self.parameters.names:
            await region.invalidate_tags(ops, frozenset({arguments_tag(text)}))
        else:
            await region.clear(ops)

    async def invalidate_matching(self, pattern: str) -> None:
        """Drop the responses to calls whose text matches."""
        compile_pattern(pattern)  # a number would be one of the text
        whole = f"{pattern}|*"
        region = self.reader().region
        ops = ON_LOOP.ops(region.guard)
        await region.invalidate_matching(ops, whole, compile_pattern(whole))

    async def clear(self) -> None:
        """Drop all responses."""
        region = self.reader().region
        await region.clear(ON_LOOP.ops(region.guard))

    @property
    def stats(self) -> Stats:
        """How requests were answered; live numbers."""

        def count() -> int:
            if not self.find_app().running:
                return 0
            region = self.reader().region
            return region.guard.provider.count(region.namespace)

        return Stats(lambda: ledger_of(self.find_app()).seen(self, self.namespace), count)


def _size(value: object) -> int:
    return value.size if isinstance(value, Stored) else 0


def short(text: str) -> str:
    """Return *text*, or its beginning and a digest where it is long."""
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}~{keys.digest([text.encode('utf-8', 'surrogatepass')])}"


def arguments_tag(text: str) -> str:
    """Return the tag of the responses to one call."""
    return f"args:{short(text)}"
