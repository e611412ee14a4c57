"""A whole application behind the cache: who may have what, in both profiles."""

import asyncio

import pytest

FRESH = {"cache-control": "max-age=60"}


def answers(*bodies, **headers):
    """Make responses that differ in their bodies."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()} or FRESH
    return [(200, fields, body) for body in bodies]


async def bodies(get, *requests):
    """Ask, one after the other, and return the bodies."""
    return [(await get(target, headers)).body for target, headers in requests]


A, B, C = b"a", b"b", b"c"
BOTH = pytest.mark.parametrize("profile", ["safe", "rfc"])


@BOTH
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/x/a?b=1", "/x/ab=1", False),
        ("/x/a%2Fb", "/x/a/b", False),
        ("/x/a%3Fb=1", "/x/a?b=1", False),
        ("/x/a%2fb", "/x/a%2Fb", True),
        ("/%7Ex", "/~x", True),
        ("/x;a", "/x", False),
        ("/x//a", "/x/a", False),
        ("/x?a=1&a=2", "/x?a=2&a=1", False),
        ("/x?a", "/x?a=", False),
        ("/x?", "/x", True),
        ("/x?utm_source=1", "/x", False),
    ],
)
async def test_urls(behind, profile, one, other, same):
    """RFC 9111 2, http-rules.md A11: what differs for anybody is stored apart."""
    get, _, _ = behind(*answers(A, B), profile=profile)
    assert await bodies(get, (one, ()), (other, ())) == [A, A if same else B]


async def test_parameters_are_sorted_in_safe_only(behind):
    """http-rules.md A12: by name; the profile `rfc` takes a URL as it is."""
    for profile, expected in (("safe", A), ("rfc", B)):
        get, _, _ = behind(*answers(A, B), profile=profile)
        assert await bodies(get, ("/x?b=1&a=2", ()), ("/x?a=2&b=1", ())) == [A, expected]


@BOTH
async def test_hosts_and_schemes_are_stored_apart(behind, profile):
    """http-rules.md A11: the default port and the case of a host do not count."""
    get, _, _ = behind(*answers(A, B, C), profile=profile)
    assert (await get("/", {"host": "one"})).body == A
    assert (await get("/", {"host": "ONE:80"})).body == A
    assert (await get("/", {"host": "two"})).body == B
    assert (await get("/", {"host": "one"}, scheme="https")).body == C


@BOTH
async def test_credentials(behind, profile):
    """RFC 9111 3.5: only a response that says so is shared, to and from those who have some."""
    mine = {"authorization": "Bearer a"}
    get, _, _ = behind(*answers(A, B, C), profile=profile)
    assert await bodies(get, ("/", mine), ("/", ()), ("/", mine), ("/", ())) == [A, B, C, B]
    get, _, _ = behind(*answers(A, B, C, cache_control="public, max-age=60"), profile=profile)
    assert await bodies(get, ("/", mine), ("/", ()), ("/", mine)) == [A, A, A]


async def test_cookies(behind):
    """http-rules.md A6, A7: the profile `rfc` shares them, as the standard does."""
    mine = {"cookie": "session=1"}
    get, _, _ = behind(*answers(A, B, C), profile="safe")
    assert await bodies(get, ("/", ()), ("/", mine), ("/", mine), ("/", ())) == [A, B, C, A]
    get, _, _ = behind(*answers(A, B), profile="rfc")
    assert await bodies(get, ("/", ()), ("/", mine)) == [A, A]
    setting = {"cache_control": "max-age=60", "set_cookie": "a=b"}
    get, _, _ = behind(*answers(A, B, **setting), profile="safe")
    assert await bodies(get, ("/", ()), ("/", ())) == [A, B]
    get, _, _ = behind(*answers(A, B, **setting), profile="rfc")
    assert await bodies(get, ("/", ()), ("/", ())) == [A, A]


async def test_cookies_that_count_by_the_users_word(behind):
    """http-rules.md A6: named ones join the key, ignored ones are as if they were not there."""
    get, _, _ = behind(*answers(A, B, C), profile="safe", vary_cookies=["theme"])
    dark, light = {"cookie": "theme=dark; session=1"}, {"cookie": "session=2; theme=light"}
    again = {"cookie": "session=3; theme=dark"}
    assert await bodies(get, ("/", dark), ("/", light), ("/", again)) == [A, B, A]
    get, _, _ = behind(*answers(A, B), profile="safe", ignore_cookies=["_ga*"])
    assert await bodies(get, ("/", ()), ("/", {"cookie": "_ga=1"}), ("/", {"cookie": "x=1"})) == [
        A,
        A,
        B,
    ]


async def test_fields_of_a_proxy_that_is_not_trusted(behind):
    """http-rules.md J: such a request is answered from the cache, and fills nothing."""
    misled = {"x-forwarded-host": "evil"}
    get, _, _ = behind(*answers(A, B, C), profile="safe")
    assert await bodies(get, ("/", misled), ("/", ()), ("/", misled)) == [A, B, B]
    get, _, _ = behind(*answers(A, B, C), profile="safe", trust_forwarded=True)
    assert await bodies(get, ("/", misled), ("/", ()), ("/", misled)) == [A, B, A]


@BOTH
async def test_bodies_and_preconditions_go_past(behind, profile):
    """http-rules.md A2, A14: neither answered from the cache nor stored."""
    get, _, _ = behind(*answers(A, B, C), profile=profile)
    fat = {"content-length": "1"}
    assert (await get("/", fat, body=b"x")).body == A
    assert await bodies(get, ("/", ()), ("/", {"if-match": "*"}), ("/", ())) == [B, C, B]


@BOTH
async def test_clients_cannot_force_the_application(behind, profile):
    """http-rules.md E: their directives are ignored, unless the policy trusts them."""
    forced = [
        ("/", {"cache-control": "no-cache"}),
        ("/", {"pragma": "no-cache"}),
        ("/", {"cache-control": "no-store"}),
    ]
    get, _, _ = behind(*answers(A, B), profile=profile)
    assert await bodies(get, ("/", ()), *forced) == [A, A, A, A]
    get, _, _ = behind(*answers(A, B, C), profile=profile, request_directives="all")
    assert await bodies(get, ("/", ()), forced[0], ("/", ())) == [A, B, B]
    get, _, _ = behind(
        *answers(A, B, C),
        profile=profile,
        request_directives="trusted",
        trusted=lambda request: request.headers.get("x-staff") == "yes",
    )
    staff = ("/", {"cache-control": "no-cache", "x-staff": "yes"})
    assert await bodies(get, ("/", ()), forced[0], staff, ("/", ())) == [A, A, B, B]


async def test_only_if_cached(behind):
    """RFC 9111 5.2.1.7, for those whose directives count."""
    get, _, _ = behind(*answers(A), profile="rfc", request_directives="all")
    asked = {"cache-control": "only-if-cached"}
    assert (await get("/", asked)).status == 504
    await get("/")
    assert (await get("/", asked)).body == A


# Variants


@BOTH
async def test_variants(behind, profile):
    """RFC 9111 4.1: what Vary names selects; the union of what was ever named is looked at."""
    get, _, _ = behind(*answers(A, B, C, cache_control="max-age=60", vary="x"), profile=profile)
    one, two = {"x": "1"}, {"x": "2"}
    asked = [("/", one), ("/", two), ("/", ()), ("/", one), ("/", two), ("/", ())]
    assert await bodies(get, *asked) == [A, B, C, A, B, C]


@BOTH
async def test_variants_are_bounded(behind, profile):
    """http-rules.md A9: nobody fills the cache with values of a field."""
    get, origin, _ = behind(
        *answers(*[b"%d" % n for n in range(50)], cache_control="max-age=60", vary="x"),
        profile=profile,
        max_variants=3,
    )
    for number in range(6):
        await get("/", {"x": str(number)})
    seen = len(origin.seen)
    for number in range(6):
        await get("/", {"x": str(number)})
    assert len(origin.seen) - seen in {3, 4}


async def test_an_origin_is_a_variant(behind):
    """http-rules.md A10: what one site may read is not told to another."""
    allowed = {"cache_control": "max-age=60", "access_control_allow_origin": "https://a"}
    get, _, _ = behind(*answers(A, B, **allowed), profile="safe")
    got = await get("/", {"origin": "https://a"})
    assert "Origin" in got.get("vary")
    assert await bodies(get, ("/", {"origin": "https://a"}), ("/", {"origin": "https://b"})) == [
        A,
        B,
    ]


@BOTH
async def test_codings_are_kept_apart(behind, profile):
    """http-rules.md I: who takes the same codings shares, and nobody gets one that was not asked for."""
    fields = {"cache_control": "max-age=60", "vary": "Accept-Encoding", "content_encoding": "gzip"}
    get, _, _ = behind(*answers(A, B, C, **fields), profile=profile)
    takes, same, none = (
        {"accept-encoding": "gzip, br"},
        {"accept-encoding": "br;q=0.5,gzip"},
        {"accept-encoding": "gzip;q=0"},
    )
    assert await bodies(get, ("/", takes), ("/", same), ("/", none), ("/", ())) == [A, A, B, C]


# Methods


@BOTH
async def test_head_is_answered_from_get(behind, profile):
    """RFC 9110 9.3.2: the same fields, no body; a HEAD that finds nothing fills nothing."""
    get, origin, _ = behind(
        *answers(A, B, cache_control="max-age=60", content_length="1"), profile=profile
    )
    await get("/", method="HEAD")
    assert (await get("/")).body == B
    got = await get("/", method="HEAD")
    assert got.hit
    assert (got.body, got.get("content-length")) == (b"", "1")
    assert len(origin.seen) == 2


@BOTH
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"])
async def test_a_change_drops_all_of_its_url(behind, profile, method):
    """RFC 9111 4.4: every query and variant, and nothing of other URLs."""
    get, _, _ = behind(*answers(*[b"%d" % n for n in range(9)]), profile=profile)
    urls = [("/a", ()), ("/a?x=1", ()), ("/b", ())]
    assert await bodies(get, *urls) == [b"0", b"1", b"2"]
    await get("/%61", method=method)
    assert await bodies(get, *urls) == [b"4", b"5", b"2"]


@BOTH
async def test_a_failed_change_drops_nothing(behind, profile):
    """RFC 9111 4.4: 4xx and 5xx, and what only looks like a change."""
    get, _, _ = behind(
        (200, FRESH, A), (500, {}, b""), (404, {}, b""), (200, {}, B), profile=profile
    )
    await get("/")
    for method in ("POST", "PUT", "OPTIONS"):
        await get("/", method=method)
    assert (await get("/")).body == A


@BOTH
async def test_a_change_drops_what_it_points_to(behind, profile):
    """RFC 9111 4.4: Location and Content-Location of the same origin; RFC 9875: groups."""
    for fields in (
        {"location": "/a"},
        {"content-location": "http://test/a"},
        {"cache-group-invalidation": '"g"'},
    ):
        grouped = {"cache-control": "max-age=60", "cache-groups": '"x", "g"'}
        get, _, app = behind(
            (200, grouped, A), (201, fields, b""), (200, grouped, B), profile=profile
        )
        await get("/a")
        await get("/elsewhere", method="POST")
        assert (await get("/a")).body == B, fields
        await app.invalidate_tags("nothing")


@BOTH
async def test_a_change_of_another_origin_is_not_believed(behind, profile):
    """RFC 9111 4.4, RFC 9875 2.1."""
    fields = {"location": "http://other/a", "cache-group-invalidation": '"G"'}
    grouped = {"cache-control": "max-age=60", "cache-groups": '"g"'}
    get, _, _ = behind((200, grouped, A), (201, fields, b""), (200, grouped, B), profile=profile)
    await get("/a")
    await get("/elsewhere", method="POST")
    await get("/elsewhere", {"host": "other"}, method="POST")
    assert (await get("/a")).body == A


# Fields


@BOTH
async def test_fields_between_neighbours_are_not_stored(behind, profile):
    """RFC 9111 3.1, RFC 9110 7.6.1: nor those that Connection lists."""
    fields = {
        **FRESH, "connection": "x-mine, close", "x-mine": "1", "keep-alive": "1", "proxy-authenticate": "1",
        "proxy-connection": "1", "upgrade": "x", "x-kept": "1", "cache-status": "stillfresh; hit, Other; hit",
    }  # fmt: skip
    get, _, _ = behind((200, fields, A), profile=profile)
    await get("/")
    got = await get("/")
    assert got.get("x-kept") == "1"
    assert got.get("cache-status").startswith("Other; hit, stillfresh; hit")
    for name in (
        "connection",
        "x-mine",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "upgrade",
    ):
        assert got.get(name) is None, name


@BOTH
async def test_conditions_are_answered(behind, profile):
    """RFC 9110 13: also on a miss; If-None-Match goes before If-Modified-Since."""
    fields = {
        **FRESH,
        "etag": '"a"',
        "last-modified": "Sun, 06 Nov 1994 08:49:37 GMT",
        "content-type": "a/b",
    }
    get, origin, _ = behind((200, fields, A), profile=profile)
    for conditions, status in (
        ({"if-none-match": '"x", W/"a"'}, 304),
        ({"if-none-match": '"a"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": "a"}, 200),
        ({"if-none-match": '"b"', "if-modified-since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
        ({"if-modified-since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 304),
        ({"if-modified-since": "Sun, 06 Nov 1994 08:49:36 GMT"}, 200),
        ({"if-modified-since": "1994-11-06"}, 200),
    ):
        got = await get("/", conditions)
        assert got.status == status, conditions
        assert got.get("etag") == '"a"'
        assert got.body == (b"" if status == 304 else A)
        assert (got.get("content-type") is None) is (status == 304)
    assert len(origin.seen) == 1
    assert "if-none-match" not in origin.seen[0]


async def test_parts_of_a_body(behind):
    """RFC 9110 14: one range of a stored response; without `ranges` the whole."""
    get, _, _ = behind((200, {**FRESH, "etag": '"a"'}, b"0123456789"), profile="rfc")
    await get("/")
    for fields, status, body, part in (
        ({"range": "bytes=2-4"}, 206, b"234", "bytes 2-4/10"),
        ({"range": "bytes=-1"}, 206, b"9", "bytes 9-9/10"),
        ({"range": "bytes=8-"}, 206, b"89", "bytes 8-9/10"),
        ({"range": "bytes=10-"}, 416, b"", "bytes */10"),
        ({"range": "bytes=0-1,3-4"}, 200, b"0123456789", None),
        ({"range": "bytes=2-4", "if-range": '"a"'}, 206, b"234", "bytes 2-4/10"),
        ({"range": "bytes=2-4", "if-range": 'W/"a"'}, 200, b"0123456789", None),
        ({"range": "bytes=2-4", "if-range": '"b"'}, 200, b"0123456789", None),
        ({"range": "bytes=2-4", "if-none-match": '"a"'}, 304, b"", None),
    ):
        got = await get("/", fields)
        assert (got.status, got.body, got.get("content-range")) == (status, body, part), fields
        if status == 206:
            assert got.get("content-length") == str(len(body))
    get, _, _ = behind((200, {**FRESH, "etag": '"a"'}, b"0123456789"), profile="safe")
    assert (await get("/", {"range": "bytes=2-4"})).status == 200
    assert (await get("/", {"range": "bytes=2-4"})).body == b"0123456789"


@BOTH
async def test_what_differs_is_never_shared_by_those_who_wait(behind, profile):
    """http-rules.md G2: twenty at once, and each has its own response where it may not be stored."""
    private = [(200, {"cache-control": "private"}, b"%d" % n) for n in range(20)]
    get, _, _ = behind(*private, profile=profile)
    found = await asyncio.gather(*[get("/") for _ in range(20)])
    assert sorted(int(got.body) for got in found) == list(range(20))


@BOTH
async def test_those_who_wait_share_what_is_stored(behind, profile):
    """http-rules.md G1: twenty at once, and the application runs once."""
    get, origin, _ = behind(*answers(A, B), profile=profile)
    found = await asyncio.gather(*[get("/") for _ in range(20)])
    assert {got.body for got in found} == {A}
    assert len(origin.seen) == 1


async def test_cache_status_says_why_the_application_ran(behind):
    """RFC 9211 2.2: nothing stored, nothing for this variant, stale, unwanted, or not to be asked."""
    vary = {"cache-control": "max-age=60", "vary": "x", "etag": '"a"'}
    get, _, app = behind(*[(200, vary, b"%d" % n) for n in range(9)], request_directives="all")
    assert (await get("/", {"x": "1"})).cache == "fwd=uri-miss; stored"
    assert (await get("/", {"x": "2"})).cache == "fwd=vary-miss; stored"
    assert (await get("/", {"x": "1"})).cache == "hit; ttl=60"
    assert (await get("/", {"x": "1", "cache-control": "no-cache"})).cache == "fwd=request"
    app.clock.advance(61)
    assert (await get("/", {"x": "1"})).cache == "fwd=stale; stored"
    assert (await get("/", {"if-match": "*"})).cache == "fwd=bypass"


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("max-age=10", A),
        ("max-age=10, must-revalidate", B),
        ("s-maxage=10", B),
        ("max-age=10, proxy-revalidate", B),
    ],
)
async def test_a_request_takes_a_stale_response_where_that_forbids_nothing(
    behind, control, expected
):
    """RFC 9111 5.2.1.2, 5.2.2.2: max-stale, for those whose directives count."""
    fields = {"cache-control": control, "etag": '"a"'}
    get, _, app = behind((200, fields, A), (200, fields, B), request_directives="all")
    await get("/")
    app.clock.advance(15)
    assert (await get("/", {"cache-control": "max-stale=100"})).body == expected


async def test_no_cache_without_a_validator_has_a_tag_made_here(behind):
    """http-rules.md A8, C2: the application runs each time, and who has the bytes gets a 304."""
    get, origin, _ = behind((200, {"cache-control": "no-cache"}, A), profile="safe")
    one = await get("/")
    two = await get("/", {"if-none-match": one.get("etag")})
    assert (one.status, one.body, two.status, two.body) == (200, A, 304, b"")
    assert two.get("cache-control") == "no-cache"
    origin.responses = [(200, {"cache-control": "no-cache"}, B)]
    three = await get("/", {"if-none-match": one.get("etag")})
    assert (three.status, three.body) == (200, B)
    assert len(origin.seen) == 3
