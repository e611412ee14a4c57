"""What clients are told: Cache-Status, Age, Vary, and Cache-Control where the handler set none."""

from math import inf

import http_sf
import pytest

from stillfresh.http.policy import HttpCache
from stillfresh.http.rules import outgoing
from stillfresh.http.rules.outgoing import control_fields
from stillfresh.http.rules.response_verdict import ResponseVerdict

STORED = ResponseVerdict(store=True, fresh=60, lifetime=60)
REFUSED = ResponseVerdict(store=False, private=True)
UNFIT = ResponseVerdict(store=False)


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (outgoing.hit(12.9), {"hit": True, "ttl": 12}),
        (outgoing.hit(-3.0), {"hit": True, "ttl": -3}),
        (outgoing.hit(inf), {"hit": True, "ttl": 2**31}),
        (outgoing.forwarded(b"uri-miss", stored=True), {"fwd": "uri-miss", "stored": True}),
        (
            outgoing.after(outgoing.forwarded(b"stale"), 304, 200),
            {"fwd": "stale", "fwd-status": 304},
        ),
        (outgoing.after(outgoing.forwarded(b"stale"), 200, 200), {"fwd": "stale"}),
        (outgoing.after(outgoing.forwarded(b"stale"), None, 200), {"fwd": "stale"}),
        (
            outgoing.forwarded(b"vary-miss", collapsed=True),
            {"fwd": "vary-miss", "collapsed": True},
        ),
        (
            outgoing.detailed(outgoing.hit(1), key='a"b', detail="nicht für alle"),
            {"hit": True, "ttl": 1, "key": 'a"b', "detail": "nicht f?r alle"},
        ),
    ],
)
def test_cache_status_is_a_structured_field(member, expected):
    """RFC 9211 2: a List whose members are named by their cache."""
    ((name, parameters),) = http_sf.parse(member, tltype="list")
    assert str(name) == "stillfresh"
    said = {
        key: value if isinstance(value, int) else str(value) for key, value in parameters.items()
    }
    assert said == expected


def test_members_stand_in_the_order_of_the_caches():
    """RFC 9211 2: the one nearest to the origin comes first, on one line."""
    origin = ((b"cache-status", b"Origin; hit"), (b"a", b"b"), (b"cache-status", b"Mid; hit"))
    assert outgoing.with_status(origin, b"stillfresh; hit") == (
        (b"cache-status", b"Origin; hit, Mid; hit, stillfresh; hit"),
        (b"a", b"b"),
    )
    assert outgoing.with_status((), b"x") == ((b"cache-status", b"x"),)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, b"0"), (2.99, b"2"), (-1.0, b"0"), (1e12, b"2147483648")]
)
def test_age_is_sent_in_whole_seconds(seconds, expected):
    """RFC 9111 5.1."""
    assert outgoing.age(seconds) == expected


def control(policy, verdict=STORED, code=200, headers=(), **more):
    return dict(control_fields(headers, code, verdict, policy, **more)).get(b"cache-control")


@pytest.mark.parametrize(
    ("options", "more", "expected"),
    [
        # http-rules.md B5
        (dict(public=True), {}, b"public, max-age=60"),
        ({}, dict(pure=True), b"public, max-age=60"),
        ({}, {}, b"private, max-age=60"),
        (dict(vary_cookies=["theme"]), {}, b"private, max-age=60"),
        (dict(vary_cookies=["theme"]), dict(pure=True), b"private, max-age=60"),
        (dict(per=lambda request: "me"), {}, b"private, max-age=60"),
        (dict(tags=["a"]), {}, b"private, no-cache"),
        (dict(tags=["a"], public=True), {}, b"no-cache"),
        (dict(tags=["a"]), dict(pure=True), b"no-cache"),
        ({}, dict(invalidated=True), b"private, no-cache"),
        (dict(tags=lambda product_id: ["a"]), {}, b"private, no-cache"),
        (dict(tags=["a"], client_max_age=5), {}, b"private, max-age=5"),
        (dict(public=True, client_max_age="10 seconds"), {}, b"public, max-age=10"),
        (dict(public=True, client_max_age=0), {}, b"public, max-age=0"),
        (dict(public=True, stale=30), {}, b"public, max-age=60, stale-while-revalidate=30"),
        (dict(stale=30), {}, b"private, max-age=60"),
        (dict(public=True, tags=["a"], stale=30), {}, b"no-cache"),
        (dict(public=True, immutable=True), {}, b"public, max-age=60, immutable"),
        (dict(public=True, must_revalidate=True), {}, b"public, max-age=60, must-revalidate"),
        (dict(no_transform=True), {}, b"private, max-age=60, no-transform"),
    ],
)
def test_what_clients_are_told(options, more, expected):
    """http-rules.md B5: public only if it is, and to ask where something can invalidate."""
    assert control(HttpCache(60, **options), **more) == expected


def test_for_ever_is_sent_as_68_years():
    """RFC 9111 1.2.2."""
    verdict = ResponseVerdict(store=True, fresh=inf, lifetime=inf)
    assert control(HttpCache(None, public=True), verdict) == b"public, max-age=2147483648"


@pytest.mark.parametrize("name", [b"cache-control", b"expires"])
def test_what_the_handler_says_is_never_changed(name):
    """http-rules.md B5: neither overwritten nor widened, stored or not."""
    headers = ((name, b"max-age=5"),)
    assert control_fields(headers, 200, STORED, HttpCache(public=True)) == ()
    assert control_fields(headers, 200, REFUSED, HttpCache()) == ()


@pytest.mark.parametrize(
    ("said", "narrowed"),
    [
        (b"max-age=5", True),
        (b"no-cache, max-age=5", True),
        (b"private, max-age=5", False),
        (b"no-store", False),
        (b"public, max-age=5", False),
        (b"s-maxage=5", False),
    ],
)
@pytest.mark.parametrize(
    "policy",
    [
        HttpCache(per=lambda request: "me"),
        HttpCache.for_app("safe", per=lambda request: "me"),
        HttpCache(private=True),
    ],
    ids=["per", "whole app", "private"],
)
def test_what_is_one_clients_is_private_beside_what_the_handler_says(policy, said, narrowed):
    """http-rules.md A5: a cache in front must not share what has a client's identity in its key."""
    added = control_fields(((b"cache-control", said),), 200, STORED, policy)
    assert ((b"cache-control", b"private") in added) is narrowed


@pytest.mark.parametrize(
    ("verdict", "code", "expected"),
    [
        (REFUSED, 200, b"private, no-cache"),
        (REFUSED, 404, None),
        (REFUSED, 500, None),
        (UNFIT, 200, None),
        (UNFIT, 500, None),
    ],
)
def test_what_was_not_stored(verdict, code, expected):
    """http-rules.md B5: one client's response is private to every cache; errors are left as they are."""
    assert control(HttpCache(), verdict, code) == expected


def test_a_shorter_lifetime_of_this_cache_is_told():
    """RFC 9213: a targeted field does not lengthen what others keep, but shortens it."""
    assert (
        control(HttpCache(60), ResponseVerdict(store=True, fresh=5, lifetime=5))
        == b"private, max-age=5"
    )
    assert (
        control(HttpCache(60), ResponseVerdict(store=True, fresh=900, lifetime=900))
        == b"private, max-age=60"
    )
    policy = HttpCache(60, negative_ttl={404: 5})
    assert (
        control(policy, ResponseVerdict(store=True, fresh=5, lifetime=5), 404)
        == b"private, max-age=5"
    )


@pytest.mark.parametrize("profile", ["safe", "rfc"])
def test_a_whole_app_gets_no_cache_control(profile):
    """http-rules.md B1: it marks its responses itself."""
    assert control_fields((), 200, STORED, HttpCache.for_app(profile)) == ()
    assert control_fields((), 200, REFUSED, HttpCache.for_app(profile)) == ()


def test_cdns_are_told_their_own():
    """RFC 9213: CDN-Cache-Control, where the response is public and the handler said none."""
    policy = HttpCache(60, public=True, cdn_ttl="1 hour")
    line = (b"cdn-cache-control", b"max-age=3600")
    assert line in control_fields((), 200, STORED, policy)
    said = ((b"cdn-cache-control", b"no-store"),)
    assert line not in control_fields(said, 200, STORED, policy)


@pytest.mark.parametrize(
    ("headers", "vary", "options", "expected"),
    [
        ((), (), {}, None),
        ((), (b"origin",), {}, b"Origin"),
        (((b"vary", b"Origin"),), (b"origin",), {}, None),
        (((b"vary", b"Accept"),), (b"accept", b"origin"), {}, b"Origin"),
        ((), (), dict(vary_cookies=["theme"]), b"Cookie"),
        ((), (), dict(per=lambda request: "me"), b"Cookie, Authorization"),
        (((b"vary", b"*"),), (), dict(vary_cookies=["theme"]), None),
    ],
)
def test_what_selects_a_response_is_in_vary(headers, vary, options, expected):
    """RFC 9110 12.5.5: also what this cache found out (http-rules.md A6, A10)."""
    verdict = ResponseVerdict(store=True, fresh=60, lifetime=60, vary=vary)
    assert (
        dict(control_fields(headers, 200, verdict, HttpCache(**options))).get(b"vary") == expected
    )


def test_tags_are_sent_as_groups_only_on_request():
    """RFC 9875, http-rules.md F3: names of tags may be internal."""
    tags = {"b", "a", "secret"}
    assert outgoing.cache_groups(tags, emit=False) == ()
    assert outgoing.cache_groups(tags, emit=True) == ((b"cache-groups", b'"a", "b", "secret"'),)
    mapped = outgoing.cache_groups(tags, emit=lambda tag: None if tag == "secret" else tag.upper())
    assert mapped == ((b"cache-groups", b'"A", "B"'),)
    assert outgoing.cache_groups((), emit=True) == ()
