"""What two options of `HttpCache` say that cannot both be."""

from __future__ import annotations

from typing import Any


def contradiction(one: Any) -> str:
    """Return which options of an `HttpCache` contradict each other, and a way out; "" for none."""
    for clash, why in (
        (one.public and one.per, _PUBLIC_PER),
        (one.public and one.vary_cookies, _PUBLIC_COOKIES),
        (one.stale and one.per, _STALE_PER),
        (one.stale and len(one.methods) > 1, _STALE_BODY),
        (one.request_directives == "trusted" and not one.trusted, _TRUSTED_WHO),
        (one.trusted and one.request_directives != "trusted", _TRUSTED_WHY),
        (one.directives_interval and one.request_directives == "ignore", _INTERVAL_IGNORED),
        (one.ranges and one.etag == "weak", _RANGES_WEAK),
        (one.ranges and one.precompress, _RANGES_CODED),
        (one.cdn_ttl is not None and not one.public, _CDN_PRIVATE),
        (one.cdn_ttl is not None and one.private, _CDN_TWO),
        (one.wait_limit is not None and not one.collapsed_forwarding, _WAIT_ALONE),
        (one.immutable and one.client_max_age == 0, _IMMUTABLE_ASKING),
        (one.immutable and one.must_ask and one.client_max_age is None, _IMMUTABLE_TAGS),
    ):
        if clash:
            return why
    return ""


_PUBLIC_PER = (
    "public=True says that everybody gets the same response, and per= that everybody gets their "
    "own. Leave one out."
)
_PUBLIC_COOKIES = (
    "public=True says that no cookie changes the response, and vary_cookies= that some do. "
    "Leave one out."
)
_STALE_PER = (
    "stale= refreshes a response behind the request, without anybody's credentials, and per= "
    "needs them. Use stale_if_error=, or leave stale= out."
)
_STALE_BODY = (
    "stale= refreshes a response behind the request, without its body, and methods= has the body "
    "in the key. Use stale_if_error=, or leave one out."
)
_TRUSTED_WHO = (
    "request_directives='trusted': expected trusted=, a function of the request that says whose "
    "directives count."
)
_TRUSTED_WHY = "trusted= is asked only with request_directives='trusted'. Write that, too."
_RANGES_WEAK = (
    "ranges=True: a part of a body needs a strong entity tag. Add etag='strong', and let no "
    "compressor run outside of the cache."
)
_CDN_PRIVATE = (
    "cdn_ttl= lets CDNs keep the response for everybody. Add public=True, or leave it out."
)
_CDN_TWO = (
    "cdn_ttl= lets CDNs keep the response, and private=True tells them not to. Leave one out."
)
_IMMUTABLE_ASKING = (
    "immutable=True tells clients never to ask, client_max_age=0 to ask each time. Leave one out."
)
_IMMUTABLE_TAGS = (
    "immutable=True and tags=: a client that never asks does not see an invalidation. Say how "
    "long it may go without with client_max_age=, or leave one out."
)
_INTERVAL_IGNORED = (
    "directives_interval= says how often requests may ask for a new response, and by "
    "request_directives='ignore' none may. Write request_directives='trusted' or 'all'."
)
_RANGES_CODED = (
    "ranges=True counts the bytes of one body, and precompress= has several. Leave one out."
)
_WAIT_ALONE = (
    "collapsed_forwarding=False says that nobody waits for another one, and wait_limit= how long. "
    "Leave one out."
)
