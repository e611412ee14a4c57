"""
`HttpCache`: what is decided about the responses of one route, or of a whole application.

All options are checked when it is built, and what a request needs of them is prepared then.
Two profiles of the same rules: `safe` fails closed, `rfc` is a plain shared cache (RFC 9111).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final, Never

from ..errors import InvalidOption
from ..options import FIVE_MINUTES, a_bool, a_fraction, a_function, a_number, a_window, lifetime
from . import option_checks as checks
from .contradictions import contradiction
from .keyed_bodies import note_methods
from .profiles import SAFE_STATUSES, Profile, of_profile
from .rules.freshness import CDN_TARGET
from .rules.key import COMMON_NORMALIZERS, LOOSE_NORMALIZERS, name_matcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Unpack

    from ..durations import Duration
    from .options import HttpOptions

ONE_MIB: Final = 1_048_576


class HttpCache:
    """
    How the responses of a route are cached: `HttpCache("30 seconds", tags=["products"])`.

    It fails closed. Without an option that says otherwise a response is stored only if nothing
    shows that it is for one client alone: a request with Authorization or a Cookie goes past the
    cache, and a response with Set-Cookie, `private` or `no-store` is not kept. A Cache-Control
    that the handler sets is obeyed, and sent on as it is.

    Whose response it is:

    Args:
        ttl: How long a response is fresh: a duration, None for ever. What the handler says itself
            (s-maxage, max-age, Expires) goes before it.
        public: The response is the same for everybody, whatever their cookies and credentials.
            Browsers and CDNs are told so, and the cache answers before guards and dependencies.
        per: A function of the request that returns the verified identity of whoever asks, such as
            `lambda request: getattr(request.state, "user_id", None)`. It joins the key, and
            clients are told `private`. Where it returns None the request goes past the cache.
        vary_cookies: Names of the cookies that count. Their values join the key; other cookies do
            not keep a response from being shared.
        ignore_cookies: Names of cookies that never count, `*` for any text: `("_ga*",)`.
        key: A function of the request that returns further parts of the key.
        tags: Names or templates by which responses are dropped together, or a function of the
            action's arguments.

    How long:

    Args:
        stale: After `ttl`, this much longer a response is served at once while one refresh runs
            behind it. Clients are told, too (RFC 5861).
        stale_if_error: After `ttl`, this much longer the old response is served when the handler
            fails, or answers 500, 502, 503 or 504.
        stale_on_exception: After `ttl`, this much longer the old response is served when the
            handler raises, but not when it answers with an error itself.
        max_refreshes: How many responses of this route may be refreshed behind at once, in this
            process; more of them are refreshed by a later request.
        negative_ttl: Seconds by status for what is not there: `{404: 5}`. Not stored otherwise.
        statuses: The statuses that `ttl` goes for: 200, 203, 204, 301 and 308.
        jitter: A fraction by which `ttl` is shortened at random. Clients are not told.
        client_max_age: How long clients may use a response without asking, counted like `ttl`
            from when it was made; 0 makes them ask each time. Without it they get `ttl`, or ask
            each time where something can invalidate the response.
        stale_while_revalidate: How long clients may use it stale while they ask, where that is not
            what `stale` says.
        cdn_ttl: What a CDN in front is told (CDN-Cache-Control). Only for public responses.
        private: Tell every other cache that it is for one client, although it is shared here.
        must_revalidate: Tell clients never to use it stale.
        immutable: Tell clients that it never changes: only for URLs that carry a version.
        no_transform: Tell intermediaries to leave the bytes as they are.

    What clients may ask:

    Args:
        etag: `"weak"` (the default: a digest of the body that survives a compressor outside),
            `"strong"`, `"off"`, or a function of the action's arguments, plain or async, that
            knows the version without computing the response. It returns a text without spaces and
            quotes, such as `f"v{version}"`, or a whole entity tag; None for no tag.
        last_modified: A function of the action's arguments, plain or async, that knows when it
            last changed: a datetime (a naive one is local time), Unix seconds, or None.
        ranges: Answer requests for a part of a body (206). Needs a strong entity tag, and no
            compressor outside.
        head_fills: A HEAD that finds nothing runs the handler as GET, and stores.
        methods: Methods besides GET whose responses are stored. The body is part of the key. For a
            whole application QUERY alone, which changes nothing.
        request_directives: What Cache-Control in a request may do: nothing (`"ignore"`: else any
            client can force the handler), `"all"`, or `"trusted"` with the predicate `trusted`.
        trusted: A function of the request: does this client's Cache-Control count?
        directives_interval: How old a fresh response has to be before a request may ask for a new
            one, so that those whose directives count do not force the handler at will either.

    Many at once, and failures:

    Args:
        collapsed_forwarding: False lets every client run the handler while nothing is stored,
            instead of waiting for the one who runs it already.
        wait_limit: How long to wait for that one; then a client runs the handler itself.
        min_uses: Store a response when it is asked for so many times in this process: 2 keeps out
            what is asked for once.
        fail_closed: Answer 503 where the provider of the cache is away, instead of running the
            handler for every client.
        unsafe_drops: False if the success of a POST (or of any other unsafe method) does not
            drop what is stored for its URL.

    The rest:

    Args:
        precompress: Codings in which a response is kept as well, compressed once: `("gzip",)`.
            `"br"` and `"zstd"` need a library each: `stillfresh[compression]`.
        hop_by_hop: Names of further fields that are never stored.
        strip_set_cookie: Names of cookies that a response may set and be stored nevertheless,
            without them.
        host_in_key: False where all hosts get the same responses.
        hosts: The hosts that are known, `*` for any text. Requests for others go past the cache.
        ignore_query: Names of parameters that do not count, `*` for any text: `("utm_*",)`.
        sort_query: False if the order of different parameters counts.
        normalize: Functions by field name that reduce the value of a field in Vary (bytes) to
            what counts: `{"Accept-Language": lambda value: value[:2]}`.
        max_variants: How many variants of one URL are kept.
        max_entries: How many responses of one path are kept by this process, whatever their query;
            with `per=`, of one path for one client. Then the oldest leave.
        targeted: The fields by which a response may speak to this cache alone (RFC 9213), in
            order of precedence.
        max_body: Bytes of the longest body that is stored.
        max_header_bytes: Bytes of the longest head that is stored.
        stream: What happens to a body that is not known in one piece: `"tee"` sends it on while
            it is kept, `"never"` does not store it.
        trust_forwarded: A proxy in front sets X-Forwarded-Host and its kind, for every request.
            Otherwise a request that has them is not stored from.
        store_nonces: Store pages with a nonce in Content-Security-Policy, too.
        cache_status: Send Cache-Status (RFC 9211): True, False, or `"debug"` for more in it.
        emit_groups: Send the tags as Cache-Groups (RFC 9875): True, or a function of a tag that
            returns what is sent for it, or None.

    Raises:
        InvalidDuration: A length of time that cannot be read.
        InvalidOption: An option that is unknown, impossible, or contradicts another one.
    """

    __slots__ = (
        "__weakref__",
        "cache_status",
        "cdn_ttl",
        "client_max_age",
        "collapsed_forwarding",
        "directives_interval",
        "emit_groups",
        "etag",
        "fail_closed",
        "for_whole_app",
        "fresh",
        "head_fills",
        "heuristics",
        "hop_by_hop",
        "host_in_key",
        "immutable",
        "is_ignored_cookie",
        "is_ignored_parameter",
        "is_known_host",
        "jitter",
        "key",
        "last_modified",
        "max_body",
        "max_entries",
        "max_header_bytes",
        "max_refreshes",
        "max_variants",
        "methods",
        "min_uses",
        "must_revalidate",
        "negative_ttl",
        "no_transform",
        "normalize",
        "own_fields",
        "per",
        "precompress",
        "private",
        "profile",
        "public",
        "ranges",
        "request_directives",
        "sort_query",
        "stale",
        "stale_if_error",
        "stale_on_exception",
        "stale_while_revalidate",
        "statuses",
        "store_nonces",
        "stream",
        "strip_set_cookie",
        "tags",
        "targeted",
        "trust_forwarded",
        "trusted",
        "unsafe_drops",
        "vary_cookies",
        "wait_limit",
    )

    def __init__(  # noqa: PLR0915  # options are many, and each is checked
        self,
        ttl: Duration | None = FIVE_MINUTES,
        *unnamed: Never,
        public: bool = False,
        per: Callable[[Any], object] | None = None,
        tags: Iterable[str] | Callable[..., Iterable[str]] = (),
        stale: Duration | None = None,
        stale_if_error: Duration | None = None,
        client_max_age: Duration | None = None,
        private: bool = False,
        vary_cookies: Iterable[str] = (),
        ignore_cookies: Iterable[str] = (),
        key: Callable[..., object] | None = None,
        negative_ttl: Mapping[int, Duration] | None = None,
        statuses: Iterable[int] = SAFE_STATUSES,
        jitter: float | None = None,
        stale_on_exception: Duration | None = None,
        max_refreshes: int = 64,
        stale_while_revalidate: Duration | None = None,
        cdn_ttl: Duration | None = None,
        must_revalidate: bool = False,
        immutable: bool = False,
        no_transform: bool = False,
        etag: str | bool | Callable[..., object] = "weak",
        last_modified: Callable[..., object] | None = None,
        ranges: bool = False,
        head_fills: bool = False,
        methods: Iterable[str] = ("GET",),
        request_directives: str = "ignore",
        trusted: Callable[[Any], object] | None = None,
        directives_interval: Duration | None = None,
        collapsed_forwarding: bool = True,
        wait_limit: Duration | None = None,
        min_uses: int = 1,
        fail_closed: bool = False,
        unsafe_drops: bool = True,
        precompress: Iterable[str] = (),
        hop_by_hop: Iterable[str] = (),
        strip_set_cookie: Iterable[str] = (),
        host_in_key: bool = True,
        hosts: Iterable[str] = (),
        ignore_query: Iterable[str] = (),
        sort_query: bool = True,
        normalize: Mapping[str, Callable[[bytes], bytes]] | None = None,
        max_variants: int = 64,
        max_entries: int = 10_000,
        targeted: Iterable[str] = ("Stillfresh-Cache-Control",),
        max_body: int = ONE_MIB,
        max_header_bytes: int = 65_536,
        stream: str = "tee",
        trust_forwarded: bool = False,
        store_nonces: bool = False,
        cache_status: bool | str = True,
        emit_groups: bool | Callable[[str], str | None] = False,
        **unknown: Never,
    ) -> None:
        checks.nothing_else(type(self), unnamed, unknown)
        self.profile: Profile = "safe"
        self.for_whole_app = False
        """Nothing is fresh but what the application marks itself, and it is asked before guards."""
        self.fresh = lifetime(ttl)
        """Seconds; `inf` for ever."""
        self.heuristics = False
        self.public = a_bool(public, "public")
        self.per = a_function(per, "per", "lambda request: getattr(request.state, 'user_id', None)")
        self.tags = checks.some_tags(tags)
        self.stale = a_window(stale, "stale")
        self.stale_if_error = a_window(stale_if_error, "stale_if_error")
        self.stale_on_exception = a_window(stale_on_exception, "stale_on_exception")
        self.max_refreshes = a_number(max_refreshes, "max_refreshes")
        self.stale_while_revalidate = checks.a_lifetime(
            stale_while_revalidate, "stale_while_revalidate"
        )
        self.private = a_bool(private, "private")
        self.client_max_age = checks.a_lifetime(client_max_age, "client_max_age")
        self.vary_cookies = tuple(
            name.encode() for name in checks.some_texts(vary_cookies, "vary_cookies", "theme")
        )
        self.is_ignored_cookie = name_matcher(
            checks.some_texts(ignore_cookies, "ignore_cookies", "_ga*")
        )
        self.key = a_function(key, "key", "lambda request: request.headers.get('x-tenant', '')")
        self.negative_ttl = checks.some_negatives(negative_ttl)
        self.statuses = checks.some_statuses(statuses)
        self.jitter = a_fraction(jitter, "jitter")
        self.cdn_ttl = checks.a_lifetime(cdn_ttl, "cdn_ttl")
        self.must_revalidate = a_bool(must_revalidate, "must_revalidate")
        self.immutable = a_bool(immutable, "immutable")
        self.no_transform = a_bool(no_transform, "no_transform")
        self.etag = checks.an_entity_tag(etag)
        self.last_modified = checks.a_date_function(last_modified)
        self.ranges = a_bool(ranges, "ranges")
        self.head_fills = a_bool(head_fills, "head_fills")
        self.methods = checks.some_methods(methods)
        self.request_directives = checks.a_choice(
            request_directives, "request_directives", ("ignore", "trusted", "all")
        )
        self.trusted = a_function(
            trusted,
            "trusted",
            "lambda request: request.client is not None and request.client.host == '10.0.0.1'",
        )
        self.directives_interval = a_window(directives_interval, "directives_interval")
        self.collapsed_forwarding = a_bool(collapsed_forwarding, "collapsed_forwarding")
        self.wait_limit = None if wait_limit is None else a_window(wait_limit, "wait_limit")
        self.min_uses = a_number(min_uses, "min_uses")
        self.fail_closed = a_bool(fail_closed, "fail_closed")
        self.unsafe_drops = a_bool(unsafe_drops, "unsafe_drops")
        self.precompress = checks.some_codings(precompress)
        self.hop_by_hop = frozenset(checks.some_fields(hop_by_hop, "hop_by_hop", "X-Request-Id"))
        self.strip_set_cookie = frozenset(
            name.encode() for name in checks.some_texts(strip_set_cookie, "strip_set_cookie", "x")
        )
        self.host_in_key = a_bool(host_in_key, "host_in_key")
        known = checks.some_texts(hosts, "hosts", "example.com")
        self.is_known_host = name_matcher([name.lower() for name in known])
        self.is_ignored_parameter = name_matcher(
            checks.some_texts(ignore_query, "ignore_query", "utm_*")
        )
        self.sort_query = a_bool(sort_query, "sort_query")
        self.normalize = {**COMMON_NORMALIZERS, **checks.some_normalizers(normalize)}
        self.max_variants = a_number(max_variants, "max_variants")
        self.max_entries = a_number(max_entries, "max_entries")
        self.targeted = checks.some_fields(targeted, "targeted", "CDN-Cache-Control")
        self.own_fields = frozenset(self.targeted) - {CDN_TARGET}
        """Speak to this cache alone, and are not sent on."""
        self.max_body = a_number(max_body, "max_body", 0, "bytes")
        self.max_header_bytes = a_number(max_header_bytes, "max_header_bytes", 1, "bytes")
        self.stream = checks.a_choice(stream, "stream", ("tee", "never"))
        self.trust_forwarded = a_bool(trust_forwarded, "trust_forwarded")
        self.store_nonces = a_bool(store_nonces, "store_nonces")
        self.cache_status = checks.a_status_option(cache_status)
        self.emit_groups = checks.some_groups(emit_groups)
        why = contradiction(self)
        if why:
            raise InvalidOption(why)
        note_methods(self)

    def __repr__(self) -> str:
        if self.for_whole_app:
            return f"HttpCache(profile={self.profile!r})"
        return f"HttpCache(ttl={None if self.fresh == float('inf') else self.fresh!r})"

    @classmethod
    def for_app(
        cls, profile: Profile, *, heuristics: bool | None = None, **options: Unpack[HttpOptions]
    ) -> HttpCache:
        """
        Return what a whole application gets: nothing is fresh that it does not mark itself.

        *options* are those of a route, but for `ttl`. *heuristics* makes a response without
        freshness fresh for a tenth of the time since its Last-Modified (RFC 9111 section
        4.2.2): in the profile `rfc` unless it says otherwise.

        Raises:
            InvalidOption: There is no such profile, or it takes no `ttl`; else as `HttpCache`.
        """
        profile = checks.a_choice(profile, "profile", ("safe", "rfc"))
        policy = cls(**of_profile(profile, options))
        checks.only_safe(policy.methods)
        policy.for_whole_app, policy.fresh = True, 0.0
        policy.profile = profile
        policy.heuristics = (
            profile == "rfc" if heuristics is None else a_bool(heuristics, "heuristics")
        )
        if profile == "rfc":
            own = checks.some_normalizers(options.get("normalize"))
            policy.normalize = {**LOOSE_NORMALIZERS, **own}
        return policy

    @property
    def personal(self) -> bool:
        """Responses are for one client, or for some: shared caches must not keep them."""
        return self.per is not None or bool(self.vary_cookies)

    @property
    def longest_wait(self) -> float:
        """Seconds to wait for a response that somebody else is having made."""
        if not self.collapsed_forwarding:
            return 0.0
        return inf if self.wait_limit is None else self.wait_limit

    @property
    def must_ask(self) -> bool:
        """Something can invalidate a response: clients have to ask before they use it again."""
        return callable(self.tags) or bool(self.tags)
