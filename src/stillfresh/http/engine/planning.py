"""What a request asks of a route, and what a client is told of a response that is not stored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ...keys.canonical import encode
from ..rules import conditional, outgoing, request_verdict, response_verdict
from ..rules.key import digest
from ..rules.message import Response, first, has, joined, replaced, without
from ..rules.message import values as values_of
from .coding import may_be_coded
from .read_fields import named_fields
from .scope import watched_object
from .stored import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ...computing.computation import Computation
    from ...services.asgi import Scope
    from ..rules.message import Headers, Request
    from ..rules.request_verdict import Ask
    from ..rules.response_verdict import ResponseVerdict
    from .routes import CachedRoute


class Plan:
    """What a request asks of a route."""

    __slots__ = (
        "asked",
        "body",
        "by_url",
        "key",
        "keyed",
        "parts",
        "reads",
        "request",
        "route",
        "scope",
        "tags",
        "target",
        "text",
        "values",
        "whose",
    )

    def __init__(
        self,
        route: CachedRoute,
        request: Request,
        asked: Ask,
        text: str,
        values: Mapping[str, object],
        *,
        scope: Scope,
        extra: Sequence[bytes] = (),
        target: object = None,
    ) -> None:
        self.route, self.request, self.asked = route, request, asked
        self.scope = scope
        self.text, self.values = text, values
        self.body = b""
        """What goes inward with it."""
        self.target = target
        """What the request looks like before it is read: the short way of a hit."""
        cache = route.http_cache
        parts = [*extra]
        if not route.pure and has(request.headers, b"origin"):
            parts.append(b"origin")  # whoever speaks CORS says nothing of it to others (A10)
        if cache.vary_cookies:
            parts += request_verdict.cookie_parts(request.headers, cache.vary_cookies)
        if cache.trust_forwarded:
            for name in request_verdict.KEYED_FORWARDING:
                parts += [name, *values_of(request.headers, name)]
        self.whose = b""
        """The identity in the key."""
        self.reads: frozenset[str] = frozenset()
        """The fields that `per=` and `key=` have looked at: the response varies by them."""
        self.keyed: frozenset[str] = frozenset()
        """Those of them that the handler may look at, too: no two clients share what it makes."""
        if cache.per is not None:
            reads: set[str] = set()
            self.whose = _text(cache.per(watched_object(scope, reads)), "per")
            parts += [b"per", self.whose]
            self.reads = self.keyed = named_fields(reads)
        if cache.key is not None:
            reads = set()
            said = cache.key(watched_object(scope, reads))
            parts += [b"key", _text(said, "key")]
            read = named_fields(reads)
            self.reads |= read
            self.keyed |= {name for name in read if _is_whole(request, name, said)}
        self.parts = parts
        """What is in the key beside the URL and the arguments."""
        self.by_url = not parts
        """Nothing but the URL has made the key: another request for it has the same."""
        self.key = route.primary(request, text, parts)
        self.tags = route.tags(request, text, values)

    @property
    def key_now(self) -> str:
        """The key, by what responses have said of queries meanwhile (No-Vary-Search)."""
        return self.route.primary(self.request, self.text, self.parts)

    @property
    def path(self) -> str:
        """What its response is one of many for: the URL without its query, and whose it is."""
        target = self.route.target(self.request)
        return digest([self.route.title.encode(), target.encode(), self.whose])

    @property
    def behind(self) -> bool:
        """The response may be refreshed without the one who asks."""
        return self.route.early and self.request.method in {"GET", "HEAD"}


def _text(value: object, option: str) -> bytes:
    """Return what a user's function has said as a part of a key; None is nobody's."""
    if value is None and option == "per":
        raise Nobody
    return encode(value, f"what {option}= returned").encode("utf-8", "surrogatepass")


def _is_whole(request: Request, name: str, said: object) -> bool:
    """Tell whether *said* is all that the request says in the field, and not a part of it."""
    sent = values_of(request.headers, name.encode("latin-1", "replace"))
    if not sent:
        return said is None or said == ""
    return isinstance(said, str) and sent == [said.encode("latin-1", "replace")]


class Nobody(Exception):
    """`per=` does not know whose response it is, so it is nobody's to keep."""


def added(
    plan: Plan,
    code: int,
    headers: Headers,
    verdict: ResponseVerdict,
    said: Computation | None = None,
) -> Headers:
    """
    Return the fields that a client gets besides those of the response.

    *said* is what its handler has decided about it: with a tag of its own something can drop it,
    and what is not to be stored here is not for clients to keep, either.
    """
    route = plan.route
    tags = said.late_tags() if said is not None else frozenset[str]()
    fields = outgoing.control_fields(
        headers,
        code,
        verdict,
        route.http_cache,
        pure=route.pure,
        invalidated=bool(tags) or route.invalidated,
        skipped=said is not None and said.skipped,
    )
    read = sorted({name.partition(" ")[0].encode("latin-1") for name in plan.reads})
    wanted = [*route.parameters.headers, *read]
    if not route.early:  # else everybody gets the same, whatever a dependency is told
        wanted += route.parameters.behind
    if may_be_coded(route.http_cache, headers, verdict):
        wanted.append(b"accept-encoding")
    listed = outgoing.unnamed((*headers, *fields), wanted)
    policy = route.http_cache
    if listed and (code in policy.statuses or code in policy.negative_ttl):
        fields = merged(fields, ((b"vary", listed),))
    if verdict.store and not has(headers, b"cache-groups"):
        own = route.own_tags(plan.tags | tags)
        fields = (*fields, *outgoing.cache_groups(own, emit=route.http_cache.emit_groups))
    return fields


def dressed(
    plan: Plan,
    code: int,
    headers: Headers,
    verdict: ResponseVerdict,
    said: Computation | None = None,
    *,
    stale: bool = False,
    inside: int | None = None,
) -> Headers:
    """
    Return the fields of a response that was not stored.

    *stale*: an old one was there. *inside* is the status that the application has answered with.
    """
    headers = without(headers, plan.route.http_cache.own_fields)
    headers = merged(headers, added(plan, code, headers, verdict, said))
    reason = plan.asked.reason or (b"stale" if stale else b"uri-miss")
    member = outgoing.after(outgoing.forwarded(reason), inside, code)
    member = member_of(plan, member, verdict.why)
    return outgoing.with_status(headers, member) if member else headers


def dresser(plan: Plan) -> Callable[[int, Headers], Headers]:
    """Return what makes the fields of a response that goes past the cache."""

    def dress(code: int, headers: Headers) -> Headers:
        verdict = response_verdict.judge_response(
            plan.request,
            Response(code, headers),
            plan.asked,
            plan.route.http_cache,
            received=0.0,
            delay=0.0,
        )
        return dressed(plan, code, headers, verdict)

    return dress


def spared_head(plan: Plan, code: int, headers: Headers) -> Headers | None:
    """Return the fields of a 304 if the client has this response already (http-rules.md C2)."""
    request = plan.request
    if code != 200 or request.method not in {"GET", "HEAD"}:
        return None
    tag, modified = first(headers, b"etag"), first(headers, b"last-modified")
    if not conditional.not_modified(request.headers, tag, modified, None, time.time()):
        return None
    headers = conditional.fields_of_304(headers)
    said = joined(headers, b"cache-status")
    if said is None or not plan.route.http_cache.cache_status:
        return headers
    confirmed = b"; fwd-status=304"  # then it is what is sent
    member = said.replace(confirmed, b"") if confirmed in said else said + b"; fwd-status=200"
    return replaced(headers, b"cache-status", member)


def undressed(route: CachedRoute) -> Callable[[int, Headers], Headers]:
    """Return what makes the fields of a response that may be one client's alone."""
    policy = route.http_cache
    verdict = response_verdict.ResponseVerdict(store=False, private=True)

    def dress(code: int, headers: Headers) -> Headers:
        headers = without(headers, policy.own_fields)
        headers = merged(headers, outgoing.control_fields(headers, code, verdict, policy))
        if not policy.cache_status:
            return headers
        return outgoing.with_status(headers, outgoing.forwarded(b"bypass"))

    return dress


def member_of(plan: Plan, member: bytes, detail: str = "") -> bytes:
    """Return what Cache-Status says, nothing where it is switched off."""
    said = plan.route.http_cache.cache_status
    if said == "debug":
        return outgoing.detailed(member, key=plan.key, detail=detail or plan.asked.detail)
    return member if said else b""
