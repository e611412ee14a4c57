"""What an unsafe request invalidates: its target, same-origin locations, groups."""

import pytest

from stillfresh.http.rules import unsafe
from stillfresh.http.rules.key import target
from stillfresh.http.rules.message import Request, Response


def invalidated(method="POST", status=200, path=b"/dir/page", **fields):
    headers = tuple((name.replace("_", "-").encode(), value) for name, value in fields.items())
    request = Request(method, "http", "Host:80", path, b"q=1")
    return set(unsafe.invalidated(request, Response(status, headers)))


def urls(*paths):
    """For the host, and for routes that share among all hosts."""
    return {target("http", host, path) for path in paths for host in ("host", "")}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "get", "FOO"])
def test_unsafe_methods_invalidate_their_target(method):
    """RFC 9111 4.4: also unknown ones, which count as unsafe."""
    assert invalidated(method) == urls(b"/dir/page")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"])
def test_safe_methods_invalidate_nothing(method):
    """RFC 9110 9.2.1, RFC 9875 3: not even what a response to them claims."""
    assert invalidated(method, location=b"/x", cache_group_invalidation=b'"a"') == set()


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, True), (204, True), (201, True), (303, True), (399, True), (400, False), (404, False), (500, False)],
)  # fmt: skip
def test_failures_invalidate_nothing(status, expected):
    """RFC 9111 4.4: only 2xx and 3xx."""
    assert bool(invalidated(status=status, location=b"/x")) is expected


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        (b"/other", b"/other"),
        (b"other", b"/dir/other"),
        (b"", b"/dir/page"),
        (b"?x=1", b"/dir/page"),
        (b"../a/b?c#d", b"/a/b"),
        (b"http://host/x", b"/x"),
        (b"HTTP://HOST:80/x", b"/x"),
        (b"http://host", b"/"),
        (b"//host/x", b"/x"),
        (b" /x ", b"/x"),
        (b"/%7ex", b"/~x"),
        # RFC 9111 4.4: another origin is not this one's to invalidate
        (b"https://host/x", None),
        (b"http://host:81/x", None),
        (b"http://other/x", None),
        (b"http://user@host/x", None),
        (b"//other/x", None),
        (b"http://[bad/x", None),
        (b"mailto:a@b", None),
        (b"javascript:alert(1)", None),
    ],
)
@pytest.mark.parametrize("field", ["location", "content_location"])
def test_locations_of_the_same_origin_go_too(field, reference, path):
    """RFC 9111 4.4: Location and Content-Location, resolved against the target."""
    expected = urls(b"/dir/page") | (urls(path) if path else set())
    assert invalidated(**{field: reference}) == expected


def test_groups_are_dropped_by_an_unsafe_response():
    """RFC 9875 3: case-sensitive, same origin, parameters ignored, 32 groups of 32 characters."""
    names = [f"{number:032d}" for number in range(32)]
    value = ", ".join(f'"{name}";x=1' for name in names).encode()
    expected = {unsafe.group("http", "host", name) for name in names}
    assert invalidated(cache_group_invalidation=value) == expected | urls(b"/dir/page")
    assert invalidated(status=500, cache_group_invalidation=value) == expected


def test_groups_of_two_origins_are_two():
    """RFC 9875 2.1."""
    tags = {
        unsafe.group("http", "a", "g"),
        unsafe.group("https", "a", "g"),
        unsafe.group("http", "b", "g"),
        unsafe.group("http", "a", "G"),
        unsafe.group("http", "a:81", "g"),
        target("http", "a", b"g"),
    }
    assert len(tags) == 6
    assert unsafe.group("http", "A:80", "g") == unsafe.group("http", "a", "g")


def test_a_broken_list_of_groups_is_ignored():
    """RFC 9651 4.2: as a whole."""
    assert invalidated(cache_group_invalidation=b'"a", b') == urls(b"/dir/page")


def test_groups_of_a_response():
    """RFC 9875 2."""
    assert unsafe.groups(Response(200, ((b"cache-groups", b'"a", "b"'),))) == ("a", "b")
