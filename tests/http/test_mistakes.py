"""What cannot be meant is refused where it is written, not obeyed, and not ignored."""

from typing import Any

import pytest

from stillfresh import HttpCache, HttpCacheMiddleware, InvalidOption, action, http_cache


async def site(scope, receive, send):
    """An application that nobody asks."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": HttpCache("1 minute")}, r"HttpCache\(ttl=60.0\): .* Write HttpCache.for_app"),
        ({"policy": HttpCache(None)}, r"a ttl is for routes, with @http_cache"),
        ({"policy": "safe"}, r"policy='safe': expected .* Write HttpCache.for_app\('safe', ...\)"),
        ({"policy": ""}, r"policy='': expected"),
        ({"profile": "safe", "policy": HttpCache.for_app("rfc")}, r"profile='safe' beside policy="),
        ({"profile": "fast"}, r"profile='fast': expected one of 'safe', 'rfc'"),
        ({"cache_app": 3}, r"cache_app=3: expected the App whose provider keeps the responses"),
    ],
)
def test_a_whole_application_has_no_ttl(options, message):
    """With the policy of a route everything that the guards let pass once would be for everybody."""
    with pytest.raises(InvalidOption, match=message):
        HttpCacheMiddleware(site, **options)


@pytest.mark.parametrize(
    "decorate", [http_cache, lambda policy: action("/", cache=policy)], ids=["http_cache", "action"]
)
def test_a_route_has_no_policy_of_a_whole_application(decorate: Any):
    """It would be answered before its guards."""
    with pytest.raises(InvalidOption, match=r"profile='safe'\): this is for HttpCacheMiddleware"):
        decorate(HttpCache.for_app("safe"))
