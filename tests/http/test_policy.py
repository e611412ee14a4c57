"""HttpCache: every option is checked when it is built, and says what to write instead."""

import inspect
from datetime import timedelta
from math import inf

import pytest

from stillfresh.errors import InvalidDuration, InvalidOption
from stillfresh.http.options import HttpOptions
from stillfresh.http.policy import HttpCache


async def asynchronous(request):
    return request


def nothing(request):
    return None


def test_without_options_it_is_five_minutes_and_fails_closed():
    """http-rules.md A: the defaults."""
    policy = HttpCache()
    assert policy.fresh == 300
    assert policy.profile == "safe"
    assert policy.statuses == {200, 203, 204, 301, 308}
    assert policy.methods == {"GET"}
    assert policy.etag == "weak"
    assert policy.request_directives == "ignore"
    assert policy.targeted == (b"stillfresh-cache-control",)
    assert policy.max_variants == 64
    assert policy.max_body == 1024**2
    assert not any((policy.public, policy.ranges, policy.stale, policy.stale_if_error))
    assert not any((policy.head_fills, policy.heuristics, policy.negative_ttl, policy.personal))


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [("30 seconds", 30), ((5, "minutes"), 300), (timedelta(hours=1), 3600), (10, 10), (None, inf)],
)
def test_lengths_of_time_are_those_of_functions(ttl, seconds):
    """One grammar everywhere; None is for ever."""
    assert HttpCache(ttl).fresh == seconds


def test_options_are_prepared_for_requests():
    """What a hit needs is made when the policy is built."""
    policy = HttpCache(
        "1 minute",
        vary_cookies=("theme",),
        ignore_cookies=["_ga*"],
        hosts=("*.Example.com",),
        ignore_query=("utm_*",),
        negative_ttl={404: 5, 410: "1 minute"},
        methods=("QUERY",),
        targeted=("CDN-Cache-Control",),
        client_max_age=0,
        normalize={"Accept-Language": bytes.lower},
        strip_set_cookie=("x",),
        etag=True,
        tags=["products", "product:{product_id}"],
    )
    assert policy.vary_cookies == (b"theme",)
    assert policy.personal
    assert policy.is_ignored_cookie(b"_ga_x")
    assert not policy.is_ignored_cookie(b"csrftoken")
    assert policy.is_known_host(b"a.example.com")
    assert not policy.is_known_host(b"a.example.org")
    assert policy.is_ignored_parameter(b"utm_x")
    assert policy.negative_ttl == {404: 5, 410: 60}
    assert policy.methods == {"GET", "QUERY"}
    assert policy.targeted == (b"cdn-cache-control",)
    assert policy.client_max_age == 0
    assert policy.normalize[b"accept-language"](b"EN") == b"en"
    assert policy.strip_set_cookie == {b"x"}
    assert policy.etag == "weak"
    assert policy.must_ask


def test_a_whole_app_has_no_lifetime_of_its_own():
    """http-rules.md B1: only what the application marks is fresh."""
    safe, rfc = HttpCache.for_app("safe"), HttpCache.for_app("rfc")
    assert all((safe.for_whole_app, rfc.for_whole_app, not HttpCache(None).for_whole_app))
    assert (safe.heuristics, rfc.heuristics) == (False, True)
    assert 302 in rfc.statuses
    assert not {206, 304} & rfc.statuses
    with pytest.raises(InvalidOption, match=r"profile='fast'.*'safe', 'rfc'"):
        HttpCache.for_app("fast")


def test_a_whole_app_takes_the_options_of_routes():
    """What is given goes before what the profile says; a ttl is a route's."""
    policy = HttpCache.for_app("rfc", targeted=["X"], heuristics=False, ranges=False)
    assert policy.targeted == (b"x",)
    assert not policy.heuristics
    assert not policy.ranges
    assert policy.etag == "off"
    assert HttpCache.for_app("safe", heuristics=True).heuristics
    with pytest.raises(InvalidOption, match=r"ttl=5: a whole application marks.*@http_cache"):
        HttpCache.for_app("safe", ttl=5)


def test_it_shows_what_it_is():
    """Short, for logs."""
    assert repr(HttpCache("30 seconds")) == "HttpCache(ttl=30.0)"
    assert repr(HttpCache(None)) == "HttpCache(ttl=None)"
    assert repr(HttpCache.for_app("rfc")) == "HttpCache(profile='rfc')"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(public=1), r"public=1: expected True or False"),
        (dict(per="user"), r"per='user': .* per=lambda request: getattr\(request.state, 'user_id', None\)"),
        (dict(per=asynchronous), r"per=.*this one is async"),
        (dict(key=5), r"key=5: expected a function"),
        (dict(tags="products"), r"tags='products': expected a list of tags\. Write \['products'\]"),
        (dict(tags=[""]), r"'' is not a tag"),
        (dict(vary_cookies="theme"), r"vary_cookies='theme': expected a list\. Write vary_cookies=\('theme',\)"),
        (dict(vary_cookies=5), r"vary_cookies=5: expected a list of texts"),
        (dict(ignore_cookies=[5]), r"ignore_cookies: 5 is no name"),
        (dict(negative_ttl=5), r"negative_ttl=5: .*Write \{404: 5\}"),
        (dict(negative_ttl={500: 5}), r"500 is no answer that there is nothing"),
        (dict(negative_ttl={"404": 5}), r"'404' is no final status"),
        (dict(statuses=200), r"statuses=200: expected a list.*Write statuses=\(200,\)"),
        (dict(statuses=404), r"Write statuses=\(200, 404,\)"),
        (dict(statuses=[206]), r"a 206 is never stored"),
        (dict(statuses=[100]), r"100 is no final status"),
        (dict(statuses=[True]), r"True is no final status"),
        (dict(jitter=1), r"jitter=1: expected a fraction"),
        (dict(etag="best"), r"etag='best': expected 'weak', 'strong', 'off'"),
        (dict(last_modified="now"), r"last_modified='now': expected a function"),
        (dict(methods=["DELETE"]), r"responses to DELETE cannot be stored"),
        (dict(methods=["post"]), r"'post' is no method"),
        (dict(methods="POST"), r"Write methods=\('POST',\)"),
        (dict(request_directives="yes"), r"expected one of 'ignore', 'trusted', 'all'"),
        (dict(request_directives="trusted"), r"expected trusted=, a function"),
        (dict(trusted=nothing), r"Write that, too"),
        (dict(hosts="example.com"), r"Write hosts=\('example\.com',\)"),
        (dict(normalize=5), r"normalize=5: expected functions by field"),
        (dict(normalize={"a b": bytes.lower}), r"'a b' is not the name of a field"),
        (dict(normalize={"a": 5}), r"normalize\['a'\]=5: expected a function"),
        (dict(normalize={"a": None}), r"normalize\['a'\]=None"),
        (dict(max_variants=0), r"max_variants=0: expected a whole number of at least 1"),
        (dict(max_body=-1), r"max_body=-1: expected a whole number of bytes, at least 0"),
        (dict(max_body="1 MiB"), r"max_body='1 MiB': expected a whole number of bytes"),
        (dict(max_body=True), r"max_body=True"),
        (dict(targeted=["a:b"]), r"targeted: 'a:b' is not the name of a field"),
        (dict(stream="hold"), r"stream='hold': expected one of 'tee', 'never'"),
        (dict(cache_status="all"), r"cache_status='all': expected True, False or 'debug'"),
        (dict(emit_groups="yes"), r"emit_groups='yes': expected True, False or a function of a tag"),
        (dict(emit_groups=asynchronous), r"emit_groups=.*this one is async"),
        (dict(tags=asynchronous), r"tags=.*this one is async"),
        # two that contradict each other
        (dict(public=True, per=nothing), r"everybody gets their own\. Leave one out"),
        (dict(public=True, vary_cookies=["a"]), r"vary_cookies= that some do"),
        (dict(per=nothing, stale=5), r"without anybody's credentials"),
        (dict(ranges=True), r"Add etag='strong'"),
        (dict(cdn_ttl=5), r"Add public=True"),
        (dict(immutable=True, client_max_age=0), r"to ask each time"),
        (dict(immutable=True, tags=["a"]), r"does not see an invalidation"),
    ],
)  # fmt: skip
def test_mistakes_name_the_value_and_the_next_step(options, message):
    """A wrong option fails where it is written, not when a request comes."""
    with pytest.raises(InvalidOption, match=message):
        HttpCache("1 minute", **options)


@pytest.mark.parametrize(
    "options",
    [
        dict(ttl=0),
        dict(ttl="10m5"),
        dict(stale=-1),
        dict(stale_if_error=True),
        dict(client_max_age=-1),
        dict(client_max_age=False),
        dict(cdn_ttl="x", public=True),
        dict(negative_ttl={404: 0}),
    ],
)
def test_lengths_of_time_are_checked(options):
    """Zero is told to clients only: there it makes them ask."""
    with pytest.raises(InvalidDuration):
        HttpCache(**options)


def test_whoever_passes_options_on_is_checked_by_the_same_types():
    """`http_cache` and `for_app` name the options that `HttpCache` has, with its types."""
    given = {
        name: parameter.annotation
        for name, parameter in inspect.signature(HttpCache).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert given == {
        name: getattr(kind, "__forward_arg__", kind)
        for name, kind in HttpOptions.__annotations__.items()
    }
