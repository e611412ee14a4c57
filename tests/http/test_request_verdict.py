"""What a request may do: be answered from the cache, fill it, or go past it."""

import pytest

from stillfresh.http.policy import HttpCache
from stillfresh.http.rules import request_verdict
from stillfresh.http.rules.fields import cache_control
from stillfresh.http.rules.message import Request
from stillfresh.http.rules.request_verdict import ask

SAFE, RFC = HttpCache.for_app("safe"), HttpCache.for_app("rfc")
PUBLIC = HttpCache(public=True)
PER = HttpCache(per=lambda request: "me")
THEMED = HttpCache(vary_cookies=["theme"])
TOLERANT = HttpCache(ignore_cookies=["_ga*"])


def request(*lines, method="GET", host="example.com"):
    return Request(method, "http", host, b"/", b"", tuple(lines))


COOKIE = (b"cookie", b"a=b")
AUTH = (b"authorization", b"Bearer x")
FORWARDED = (b"x-forwarded-host", b"evil")


def verdict(found):
    """Name what is allowed: L to look, S to store, O for open responses only."""
    return "L" * found.look + "S" * found.store + "O" * found.open_only


@pytest.mark.parametrize(
    ("method", "policy", "expected"),
    [
        # A1, RFC 9110 9.3.2
        ("GET", SAFE, "LS"),
        ("HEAD", SAFE, "L"),
        ("HEAD", RFC, "L"),
        ("HEAD", HttpCache(head_fills=True), "LS"),
        ("POST", SAFE, ""),
        ("PUT", PUBLIC, ""),
        ("OPTIONS", SAFE, ""),
        ("get", SAFE, ""),
        ("FOO", RFC, ""),
        ("QUERY", SAFE, ""),
        ("QUERY", HttpCache(methods=["QUERY"]), "LS"),
        ("POST", HttpCache(methods=["POST"]), "LS"),
    ],
)
def test_methods(method, policy, expected):
    """http-rules.md A1: only GET is stored, HEAD is answered from it, the rest passes through."""
    assert verdict(ask(request(method=method), policy)) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # A2: a body that is not in the key
        ((b"content-length", b"1"), ""),
        ((b"content-length", b"0"), "LS"),
        ((b"transfer-encoding", b"chunked"), ""),
        # A14
        ((b"if-match", b"*"), ""),
        ((b"if-unmodified-since", b"x"), ""),
        ((b"expect", b"100-continue"), ""),
        ((b"upgrade", b"h2c"), ""),
        # conditions toward the cache are its own to answer
        ((b"if-none-match", b"*"), "LS"),
        ((b"if-modified-since", b"x"), "LS"),
        ((b"range", b"bytes=0-1"), "LS"),
        # E: advisory
        ((b"cache-control", b"no-cache, no-store, max-age=0"), "LS"),
        ((b"pragma", b"no-cache"), "LS"),
    ],
)
@pytest.mark.parametrize("policy", [SAFE, RFC, PUBLIC, PER], ids=["safe", "rfc", "public", "per"])
def test_fields_that_every_policy_treats_alike(line, expected, policy):
    """http-rules.md A2, A14, E."""
    assert verdict(ask(request(line), policy)) == expected


def test_a_keyed_body_may_be_there():
    """http-rules.md A1: a method that is named has its body in the key."""
    found = ask(request((b"content-length", b"9"), method="POST"), HttpCache(methods=["POST"]))
    assert verdict(found) == "LS"


@pytest.mark.parametrize(
    ("lines", "policy", "pure", "expected"),
    [
        # A5, RFC 9111 3.5: only what says itself that it is for everybody
        ([AUTH], SAFE, False, "LSO"),
        ([AUTH], RFC, False, "LSO"),
        ([AUTH], HttpCache(), False, "LSO"),
        ([AUTH], THEMED, False, "LSO"),
        ([AUTH], PUBLIC, False, "LS"),
        ([AUTH], PER, False, "LS"),
        ([AUTH], HttpCache(), True, "LSO"),
        ([AUTH], PUBLIC, True, "LS"),
        ([AUTH, COOKIE], HttpCache(), True, "LSO"),
        # A6
        ([COOKIE], SAFE, False, ""),
        ([COOKIE], HttpCache(), False, ""),
        ([COOKIE], RFC, False, "LS"),
        ([COOKIE], PUBLIC, False, "LS"),
        ([COOKIE], PER, False, "LS"),
        ([COOKIE], THEMED, False, "LS"),
        ([COOKIE], HttpCache(), True, "LS"),
        ([COOKIE], TOLERANT, False, ""),
        ([(b"cookie", b"_ga=1; _ga_X=2")], TOLERANT, False, "LS"),
        ([(b"cookie", b"_ga=1; csrftoken=2")], TOLERANT, False, ""),
        ([(b"cookie", b"_ga=1"), (b"cookie", b"session=2")], TOLERANT, False, ""),
        ([(b"cookie", b"")], SAFE, False, ""),
        ([COOKIE, AUTH], SAFE, False, ""),
        ([COOKIE, AUTH], RFC, False, "LSO"),
        # J: unkeyed fields of a proxy
        ([FORWARDED], SAFE, False, "L"),
        ([FORWARDED], HttpCache(), False, "L"),
        ([FORWARDED], RFC, False, "LS"),
        ([FORWARDED], HttpCache(trust_forwarded=True), False, "LS"),
        ([FORWARDED], HttpCache(), True, "LS"),
        ([FORWARDED, AUTH], SAFE, False, "LO"),
        ([FORWARDED, COOKIE], SAFE, False, ""),
    ],
)
def test_credentials_cookies_and_forwarding(lines, policy, pure, expected):
    """http-rules.md A5, A6, J."""
    assert verdict(ask(request(*lines), policy, pure=pure)) == expected


@pytest.mark.parametrize(
    "name",
    ["x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-prefix", "forwarded",
     "x-original-url", "x-rewrite-url", "x-http-method-override"],
)  # fmt: skip
def test_each_field_by_which_a_handler_may_be_misled(name):
    """http-rules.md J: a response that may depend on an unkeyed field is not stored."""
    assert verdict(ask(request((name.encode(), b"x")), SAFE)) == "L"


def test_unknown_hosts_go_past():
    """http-rules.md J: the Host field is the client's to write."""
    policy = HttpCache(hosts=["example.com", "*.example.org"])
    assert verdict(ask(request(host="Example.com:80"), policy)) == "LS"
    assert verdict(ask(request(host="a.example.org"), policy)) == "LS"
    assert verdict(ask(request(host="example.org"), policy)) == ""
    assert verdict(ask(request(host="example.com:8080"), policy)) == ""
    assert verdict(ask(request(host="xexample.com"), policy)) == ""


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (request(), b""),
        (request(method="HEAD"), b"method"),
        (request(method="POST"), b"method"),
        (request((b"content-length", b"1")), b"bypass"),
        (request((b"if-match", b"*")), b"bypass"),
        (request(host="other"), b"bypass"),
        (request(AUTH), b"bypass"),
        (request(COOKIE), b"bypass"),
        (request(FORWARDED), b"bypass"),
    ],
)
def test_a_verdict_says_why(sent, reason):
    """RFC 9211 2.2: the word for `fwd`, and a text for whoever looks for a fault."""
    found = ask(sent, HttpCache(hosts=["example.com"]))
    assert found.reason == reason
    assert bool(found.detail) is bool(reason)


# Cookies


def test_cookies_are_read_as_servers_read_them():
    """RFC 6265 5.4."""
    lines = ((b"cookie", b"a=1; b=2;c = 3 ;d"), (b"cookie", b"a=4=5"))
    assert request_verdict.cookies(lines) == [
        (b"a", b"1"),
        (b"b", b"2"),
        (b"c", b"3"),
        (b"", b"d"),
        (b"a", b"4=5"),
    ]


def test_named_cookies_join_the_key():
    """http-rules.md A6: their values and their absence count, other cookies do not."""
    names = (b"theme", b"lang")
    parts = {
        tuple(request_verdict.cookie_parts(((b"cookie", cookie),), names))
        for cookie in (
            b"",
            b"theme=a",
            b"lang=a",
            b"theme=a; lang=",
            b"theme=a; theme=b",
            b"theme=",
        )
    }
    assert len(parts) == 6
    with_more = request_verdict.cookie_parts(((b"cookie", b"x=1; theme=a"),), names)
    assert with_more == request_verdict.cookie_parts(((b"cookie", b"theme=a; y=2"),), names)


def test_a_refresh_behind_has_nobodys_credentials():
    """http-rules.md D2: only the cookies that count go along."""
    proxy = (b"proxy-authorization", b"Basic x")
    lines = ((b"accept", b"x"), AUTH, proxy, (b"cookie", b"session=1; theme=a"))
    assert request_verdict.background(lines, SAFE) == ((b"accept", b"x"),)
    assert request_verdict.background(lines, THEMED) == ((b"accept", b"x"), (b"cookie", b"theme=a"))


# Directives of requests


@pytest.mark.parametrize(
    ("directives", "age", "lifetime", "expected"),
    [
        (b"", 10, 60, True),
        (b"", 60, 60, False),
        (b"no-cache", 10, 60, False),
        (b"No-Store", 10, 60, False),
        (b"max-age=0", 10, 60, False),
        (b"max-age=0", 0, 60, True),
        (b"max-age=10", 10, 60, True),
        (b"max-age=9", 10, 60, False),
        (b"max-age=x", 10, 60, False),
        (b"min-fresh=50", 10, 60, True),
        (b"min-fresh=51", 10, 60, False),
        (b"max-stale", 900, 60, True),
        (b"max-stale=10", 69, 60, True),
        (b"max-stale=10", 70, 60, False),
        (b"max-stale=x", 61, 60, False),
        (b"max-stale=10, no-cache", 10, 60, False),
    ],
)
def test_what_a_request_wishes(directives, age, lifetime, expected):
    """RFC 9111 5.2.1, for those whose directives count."""
    assert request_verdict.satisfies(cache_control([directives]), age, lifetime) is expected


def test_pragma_counts_without_cache_control():
    """RFC 9111 5.4."""
    pragma, control = (b"pragma", b"No-Cache"), (b"cache-control", b"max-age=5")
    assert request_verdict.wishes((pragma,)).has(b"no-cache")
    assert not request_verdict.wishes((pragma, control)).has(b"no-cache")
    assert request_verdict.wishes(((b"pragma", b"x"),)) is None
    assert request_verdict.wishes(()) is None
