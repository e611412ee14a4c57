"""What becomes of a response: stored or not and why, for how long, with which fields."""

import pytest

from stillfresh.http.policy import HttpCache
from stillfresh.http.rules import response_verdict
from stillfresh.http.rules.fields import format_date
from stillfresh.http.rules.message import Request, Response
from stillfresh.http.rules.request_verdict import CREDENTIALS, FORWARDED, HEAD, USUAL

NOW = 1_800_000_000.0
SAFE, RFC = HttpCache.for_app("safe"), HttpCache.for_app("rfc")
ROUTE = HttpCache("1 minute")
DATE = (b"date", format_date(NOW))
TAG = (b"etag", b'"a"')
MARKED = (b"cache-control", b"max-age=60")


def lines(*texts):
    return tuple(
        text if isinstance(text, tuple) else tuple(part.encode() for part in text.split(": ", 1))
        for text in texts
    )


def judge_response(*texts, policy=ROUTE, status=200, asked=USUAL, request=(), delay=0.0):
    return response_verdict.judge_response(
        Request("GET", "http", "h", b"/", b"", lines(*request)),
        Response(status, lines(*texts)),
        asked,
        policy,
        received=NOW,
        delay=delay,
    )


@pytest.mark.parametrize(
    ("texts", "safe", "route", "rfc"),
    [
        # A8, RFC 9111 5.2.2
        (["cache-control: max-age=60"], "", "", ""),
        (["cache-control: no-store, max-age=60"], "no-store", "no-store", "no-store"),
        (["cache-control: No-StOrE"], "no-store", "no-store", "no-store"),
        (["cache-control: max-age=60", "cache-control: no-store"], "no-store", "no-store", "no-store"),
        (["cache-control: private, max-age=60"], "private", "private", "private"),
        (['cache-control: private="x", max-age=60'], "private", "private", "private"),
        (['cache-control: x="private", max-age=60'], "", "", ""),
        (["cdn-cache-control: private", "cache-control: max-age=60"], "private", "private", "private"),
        # no-cache: kept to be asked about, if that can be
        (["cache-control: no-cache", 'etag: "a"'], "", "", ""),
        (["cache-control: no-cache, max-age=60"], "freshness", "freshness", "freshness"),
        # B1: marked, or the route's ttl
        ([], "freshness", "", "freshness"),
        (['etag: "a"'], "freshness", "", ""),
        (["cache-control: public"], "freshness", "", "freshness"),
        (["cache-control: max-age=0"], "stale when", "stale when", "stale when"),
        (["cache-control: max-age=0", 'etag: "a"'], "", "", ""),
        (['cache-control: x="open'], "stale when", "stale when", "stale when"),
        # A15
        (["content-type: text/event-stream; charset=utf-8", "cache-control: max-age=60"], "events", "events", "events"),
        # A7
        (["set-cookie: a=b", "cache-control: max-age=60"], "Set-Cookie", "Set-Cookie", ""),
        # A9, RFC 9111 4.1
        (["vary: *", "cache-control: max-age=60"], "Vary", "Vary", "Vary"),
        (["vary: a, *", "cache-control: max-age=60"], "Vary", "Vary", "Vary"),
        (["vary: Cookie", "cache-control: max-age=60"], "Vary: Cookie", "Vary: Cookie", ""),
        (["vary: x, authorization", "cache-control: max-age=60"], "Vary: Cookie", "Vary: Cookie", ""),
        (["vary: accept", "cache-control: max-age=60"], "", "", ""),
        # J: a nonce is for one response
        (["content-security-policy: script-src 'nonce-abc'", "cache-control: max-age=60"], "nonce", "nonce", ""),
        (["content-security-policy: script-src 'self'", "cache-control: max-age=60"], "", "", ""),
        (["content-security-policy-report-only: x 'NONCE-a'", "cache-control: max-age=60"], "nonce", "nonce", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("profile", ["safe", "route", "rfc"])
def test_what_is_stored_and_why_not(texts, safe, route, rfc, profile):
    """http-rules.md A7 to A9, B1, J; RFC 9111 section 3."""
    policy, why = {"safe": (SAFE, safe), "route": (ROUTE, route), "rfc": (RFC, rfc)}[profile]
    found = judge_response(*texts, policy=policy)
    assert found.store is not bool(why)
    assert why in found.why
    assert not found.store or found.fresh or found.keep


@pytest.mark.parametrize(
    ("status", "route", "rfc"),
    [
        (200, True, True), (203, True, True), (204, True, True), (301, True, True), (308, True, True),
        (201, False, True), (299, False, True), (302, False, True), (303, False, True), (307, False, True),
        (400, False, True), (404, False, True), (410, False, True), (499, False, True), (500, False, True),
        (503, False, True), (599, False, True),
        (100, False, False), (103, False, False), (206, False, False), (304, False, False), (999, False, False),
    ],
)  # fmt: skip
def test_statuses(status, route, rfc):
    """http-rules.md A3: a whole, final response; in `safe` of the statuses that mean the same to all."""
    assert judge_response(MARKED, status=status).store is route
    assert judge_response(MARKED, status=status, policy=RFC).store is rfc


def test_what_is_not_there_is_stored_only_on_request():
    """http-rules.md A3: negative_ttl, which the route's ttl does not touch."""
    policy = HttpCache("1 hour", negative_ttl={404: 5})
    assert judge_response(status=404, policy=policy).fresh == 5
    assert judge_response(MARKED, status=404, policy=policy).fresh == 60
    assert not judge_response(status=410, policy=policy).store
    assert judge_response(policy=policy).fresh == 3600
    assert not judge_response(status=404, policy=HttpCache("1 hour")).store
    assert judge_response(status=302, policy=HttpCache(5, statuses=[200, 302])).fresh == 5


@pytest.mark.parametrize(
    ("status", "expected"), [(200, True), (404, True), (503, True), (599, False), (299, False)]
)
def test_must_understand(status, expected):
    """RFC 9111 5.2.2.3: no-store is for those who do not know the status."""
    control = (b"cache-control", b"max-age=60, no-store, must-understand")
    assert judge_response(control, status=status, policy=RFC).store is expected


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        (b"max-age=60", False),
        (b"max-age=60, public", True),
        (b"s-maxage=60", True),
        (b"max-age=60, must-revalidate", True),
        (b"max-age=60, proxy-revalidate", False),
        (b"max-age=60, public, private", False),
    ],
)
@pytest.mark.parametrize("policy", [SAFE, RFC, ROUTE], ids=["safe", "rfc", "route"])
def test_responses_to_requests_with_credentials(control, expected, policy):
    """RFC 9111 3.5: the response itself says that it may go to others."""
    found = judge_response((b"cache-control", control), asked=CREDENTIALS, policy=policy)
    assert found.store is expected
    assert found.private is not expected
    assert judge_response((b"cache-control", b"max-age=9, public")).open


@pytest.mark.parametrize("asked", [HEAD, FORWARDED], ids=["head", "forwarded"])
def test_a_request_that_may_not_fill_stores_nothing(asked):
    """http-rules.md A1, J: whatever the response says."""
    found = judge_response((b"cache-control", b"public, max-age=60"), asked=asked, policy=RFC)
    assert not found.store
    assert found.why == asked.detail
    assert found.private is (asked is FORWARDED)


def test_a_cookie_that_is_named_is_left_out():
    """http-rules.md A7: strip_set_cookie stores the response without it; another cookie forbids."""
    policy = HttpCache(strip_set_cookie=["x"])
    found = judge_response("set-cookie: x=1; Path=/", "a: b", policy=policy)
    assert found.store
    assert found.headers == ((b"a", b"b"),)
    assert judge_response("set-cookie: x=1", "set-cookie: y=1", policy=policy).why == "Set-Cookie"
    assert judge_response("set-cookie: xx=1", policy=policy).why == "Set-Cookie"


def test_what_a_user_forces_is_stored():
    """http-rules.md J and A9: nonces, and Vary: Cookie where the identity is in the key."""
    nonce = "content-security-policy: script-src 'nonce-abc'"
    assert judge_response(nonce, policy=HttpCache(store_nonces=True)).store
    assert judge_response("vary: cookie", policy=HttpCache(per=lambda request: "me")).store


# Variants


@pytest.mark.parametrize(
    ("texts", "request_", "expected"),
    [
        ([], [], ()),
        (["vary: B, a", "vary: a"], [], (b"a", b"b")),
        # A10: who may read it depends on Origin
        (["access-control-allow-origin: https://a"], [], (b"origin",)),
        (["access-control-allow-origin: *"], ["origin: https://a"], ()),
        (["access-control-allow-origin: https://a", "vary: Origin"], [], (b"origin",)),
        (["access-control-allow-origin: null", "vary: x"], [], (b"origin", b"x")),
        ([], ["origin: https://a"], (b"origin",)),
    ],
)
def test_what_selects_a_response(texts, request_, expected):
    """http-rules.md A9, A10."""
    assert judge_response(*texts, request=request_).vary == expected


def test_a_coding_that_was_not_asked_for_is_not_stored():
    """http-rules.md I: else it would answer those who cannot read it."""
    texts = ["vary: accept-encoding", "content-encoding: gzip"]
    assert judge_response(*texts, request=["accept-encoding: gzip, br"]).store
    assert not judge_response(*texts, request=["accept-encoding: gzip;q=0"]).store
    assert not judge_response(*texts).store


# Windows


@pytest.mark.parametrize(
    ("texts", "policy", "expected"),
    [
        # fresh, stale, error, keep
        (["cache-control: max-age=60"], ROUTE, (60, 0, 0, 0)),
        ([], ROUTE, (60, 0, 0, 0)),
        ([], HttpCache(60, stale=10, stale_if_error=20), (60, 10, 20, 20)),
        (["cache-control: max-age=5"], HttpCache(60, stale=10), (5, 10, 0, 0)),
        (["cache-control: max-age=60", "age: 20"], ROUTE, (40, 0, 0, 0)),
        (["age: 20"], ROUTE, (40, 0, 0, 0)),
        # RFC 5861 3, 4: what the response says goes before the option
        (["cache-control: max-age=60, stale-while-revalidate=7"], HttpCache(60, stale=10), (60, 7, 0, 0)),
        (["cache-control: max-age=60, stale-if-error=7"], ROUTE, (60, 0, 7, 7)),
        (["cache-control: max-age=60, stale-while-revalidate=x"], ROUTE, (60, 0, 0, 0)),
        # counted from the end of the lifetime, which may be past
        (["cache-control: max-age=60, stale-while-revalidate=30", "age: 70"], ROUTE, (0, 20, 0, 0)),
        (["cache-control: max-age=60, stale-if-error=30", "age: 70"], ROUTE, (0, 0, 20, 20)),
        # RFC 9111 4.2.4: never stale
        (["cache-control: max-age=60, must-revalidate, stale-if-error=9"], ROUTE, (60, 0, 0, 0)),
        (["cache-control: max-age=60, must-revalidate"], HttpCache(60, stale=9, stale_if_error=9), (60, 0, 0, 0)),
        (["cache-control: max-age=60, proxy-revalidate"], HttpCache(60, stale=9, stale_if_error=9), (60, 0, 0, 0)),
        (["cache-control: s-maxage=60"], HttpCache(60, stale=9, stale_if_error=9), (60, 0, 0, 0)),
        (["cache-control: no-cache", 'etag: "a"'], HttpCache(60, stale=9, stale_if_error=9), (0, 0, 0, 86_400)),
        # kept to be asked about
        (["cache-control: max-age=60", 'etag: "a"'], ROUTE, (60, 0, 0, 86_400)),
        (["cache-control: max-age=60", "last-modified: x"], RFC, (60, 0, 0, 86_400)),
        (['etag: "a"'], HttpCache(60, stale_if_error=2 * 86_400), (60, 0, 2 * 86_400, 2 * 86_400)),
        # a refresh behind has nobody's credentials
        (["cache-control: max-age=60, stale-while-revalidate=9"], HttpCache(per=lambda request: "me"), (60, 0, 0, 0)),
    ],
)  # fmt: skip
def test_windows(texts, policy, expected):
    """http-rules.md B, D2, D3: each counts from the end of freshness; `error` is within `keep`."""
    found = judge_response(*texts, DATE, policy=policy)
    assert (found.fresh, found.stale, found.error, found.keep) == expected


def test_age_and_lifetime_are_kept_for_hits():
    """RFC 9111 4.2.3, 5.1: Age is the age at the fill plus that of the entry."""
    found = judge_response("cache-control: max-age=100", "age: 30", DATE, delay=5.0)
    assert (found.age, found.lifetime, found.fresh, found.explicit) == (30, 100, 70, True)
    assert judge_response(DATE).explicit is False


@pytest.mark.parametrize(
    ("status", "expected"),
    [(500, True), (502, True), (503, True), (504, True), (501, False), (404, False), (410, False), (429, False), (200, False)],
)  # fmt: skip
def test_what_counts_as_a_failing_origin(status, expected):
    """RFC 5861 4; a 404 or 410 is an answer (http-rules.md D3)."""
    assert response_verdict.failed(status) is expected


# Fields


@pytest.mark.parametrize(
    "name",
    ["connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization",
     "proxy-connection", "proxy-whatever", "te", "trailer", "transfer-encoding", "upgrade", "age", "stillfresh-cache-control"],
)  # fmt: skip
def test_fields_that_are_never_stored(name):
    """RFC 9111 3.1: between neighbours, or made anew at each hit, or for this cache alone."""
    found = judge_response((name.encode(), b"1"), "a: b", MARKED, policy=RFC)
    assert (b"a", b"b") in found.headers
    assert name.encode() not in dict(found.headers)


def test_fields_that_connection_lists_are_not_stored():
    """RFC 9110 7.6.1: in any case, on any line; also one that looks like a usual one."""
    found = judge_response(
        "connection: X-A, close", "connection: etag", "x-a: 1", TAG, "x-b: 1", MARKED, policy=RFC
    )
    assert found.headers == ((b"x-b", b"1"), MARKED)


def test_all_other_fields_are_stored_in_order():
    """RFC 9111 3.1: unknown ones included; profile `rfc` keeps cookies, too."""
    texts = [
        "x: 1",
        "content-md5: a",
        "x: 2",
        "set-cookie: a=b",
        "cdn-cache-control: max-age=5",
        "x: 3",
    ]
    assert judge_response(*texts, MARKED, policy=RFC).headers == lines(*texts, MARKED)


def test_what_this_cache_said_is_not_replayed():
    """RFC 9211 2: members of other caches stay, those of its own name go."""
    found = judge_response(
        'cache-status: Origin; hit, stillfresh; fwd=uri-miss, "stillfresh"; hit', MARKED
    )
    assert found.headers == ((b"cache-status", b"Origin; hit"), MARKED)
    assert judge_response("cache-status: stillfresh; hit", MARKED).headers == (MARKED,)


def test_more_groups_than_can_be_kept_forbid_storing():
    """RFC 9875: an invalidation must not get lost. 32 of 32 characters are kept."""
    value = ", ".join(f'"{number:032d}"' for number in range(32)).encode()
    assert len(judge_response((b"cache-groups", value)).groups) == 32
    many = ", ".join(f'"{number}"' for number in range(128)).encode()
    assert judge_response((b"cache-groups", many)).store
    assert not judge_response((b"cache-groups", many + b', "x"')).store
