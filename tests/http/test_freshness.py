"""How long a response is fresh, and how old it was when it came."""

import pytest

from stillfresh.http.rules.fields import format_date
from stillfresh.http.rules.freshness import (
    CDN_TARGET,
    OWN_TARGET,
    control,
    explicit_lifetime,
    heuristic_lifetime,
    initial_age,
)

NOW = 1_800_000_000.0


def head(*lines):
    """Make fields of `name: value` texts; a number as value is a date, seconds from now."""
    made = []
    for line in lines:
        name, _, value = line.partition(": ")
        if name in {"date", "expires", "last-modified"} and value.lstrip("-").isdigit():
            value = format_date(NOW + int(value)).decode()
        made.append((name.encode(), value.encode()))
    return tuple(made)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        (["cache-control: max-age=60"], 60),
        (["cache-control: s-maxage=60"], 60),
        # RFC 9111 5.2.2.10: s-maxage goes first in a shared cache
        (["cache-control: max-age=60, s-maxage=1"], 1),
        (["cache-control: s-maxage=60, max-age=1"], 60),
        (["cache-control: max-age=60", "cache-control: s-maxage=1"], 1),
        (["cache-control: s-maxage=x, max-age=60"], 0),
        (["cache-control: max-age=0, s-maxage=60", "expires: -10"], 60),
        # RFC 9111 5.3: max-age goes before Expires
        (["cache-control: max-age=60", "expires: -7200", "date: 0"], 60),
        (["cache-control: max-age=60", "expires: 0"], 60),
        (["cache-control: max-age=0", "expires: 3600", "date: 0"], 0),
        (["cache-control: public", "expires: 3600", "date: 0"], 3600),
        (["expires: 3600", "date: 0"], 3600),
        (["expires: 3600"], 3600),
        (["expires: 3600", "date: foo"], 3600),
        (["expires: 300", "date: 400"], 0),
        (["expires: 20", "date: 10"], 10),
        (["expires: -3600", "date: 0"], 0),
        (["expires: 0", "date: 0"], 0),
        (["expires: nonsense", "date: 0"], 0),
        (["expires: -1x", "date: 0"], 0),
        (["expires: 3600", "expires: 3600", "date: 0"], 0),
    ],
)
def test_the_lifetime_that_a_response_states(lines, expected):
    """RFC 9111 4.2.1: s-maxage, else max-age, else Expires less Date; wrong is stale."""
    headers = head(*lines)
    assert explicit_lifetime(headers, control(headers), NOW) == expected


@pytest.mark.parametrize(
    ("lines", "targets", "lifetime", "names"),
    [
        # RFC 9213 2.2: it replaces Cache-Control and Expires
        (["stillfresh-cache-control: max-age=5", "cache-control: max-age=60"], None, 5, "max-age"),
        (["stillfresh-cache-control: max-age=5", "cache-control: no-store"], None, 5, "max-age"),
        (["stillfresh-cache-control: foo", "expires: 60", "cache-control: max-age=60"], None, None, "foo"),
        (["stillfresh-cache-control: max-age=x", "cache-control: max-age=60"], None, 60, "max-age"),
        # CDN-Cache-Control is not for this cache, unless it is told so
        (["cdn-cache-control: max-age=5", "cache-control: max-age=60"], None, 60, "max-age"),
        (["cdn-cache-control: max-age=5", "cache-control: max-age=60"], (CDN_TARGET,), 5, "max-age"),
        (["cdn-cache-control: max-age=5", "cache-control: no-store"], None, None, "no-store"),
        # ... but what it forbids binds
        (["cdn-cache-control: no-store", "cache-control: max-age=60"], None, 60, "max-age no-store"),
        (["cdn-cache-control: private", "cache-control: max-age=60"], None, 60, "max-age private"),
        (["cdn-cache-control: no-cache", "stillfresh-cache-control: max-age=60"], None, 60, "max-age no-cache"),
        (["cdn-cache-control: no-store, &&", "cache-control: max-age=60"], None, 60, "max-age"),
    ],
)  # fmt: skip
def test_targeted_fields(lines, targets, lifetime, names):
    """RFC 9213: who is addressed obeys; what a CDN must not keep is not kept here either."""
    headers = head(*lines)
    said = control(headers, targets or (OWN_TARGET,))
    assert explicit_lifetime(headers, said, NOW) == lifetime
    assert sorted(said.directives.arguments) == sorted(map(str.encode, names.split()))


@pytest.mark.parametrize(
    ("status", "lines", "expected"),
    [
        (200, ["last-modified: -1000", "date: 0"], 100),
        (200, ["last-modified: -1000"], 100),
        (404, ["last-modified: -1000", "date: 0"], 100),
        (410, ["last-modified: -1000", "date: 0"], 100),
        (200, ["last-modified: 1000", "date: 0"], 0),
        (200, ["last-modified: nonsense"], None),
        (200, ["date: 0"], None),
        (201, ["last-modified: -1000"], None),
        (503, ["last-modified: -1000"], None),
        (599, ["last-modified: -1000"], None),
        (599, ["last-modified: -1000", "cache-control: public"], 100),
    ],
)
def test_the_lifetime_that_is_guessed(status, lines, expected):
    """RFC 9111 4.2.2: a tenth of the time since the last change, for some statuses."""
    headers = head(*lines)
    assert heuristic_lifetime(status, headers, control(headers), NOW) == expected


@pytest.mark.parametrize(
    ("lines", "delay", "expected"),
    [
        (["date: 0"], 0, 0),
        ([], 0, 0),
        (["date: nonsense"], 0, 0),
        (["date: -30"], 0, 30),
        (["date: 30"], 0, 0),
        (["age: 40", "date: 0"], 0, 40),
        (["age: 40", "date: -30"], 0, 40),
        (["age: 20", "date: -30"], 0, 30),
        (["age: nonsense", "date: -30"], 0, 30),
        # the delay is in the age of the entry already: max(30, 0 + 10) - 10, max(0, 40 + 10) - 10
        (["date: -30"], 10, 20),
        (["age: 40", "date: 0"], 10, 40),
        (["date: -5"], 10, 0),
    ],
)
def test_the_age_at_the_call_inward(lines, delay, expected):
    """RFC 9111 4.2.3: the larger of apparent age and Age, never negative."""
    assert initial_age(head(*lines), NOW, delay) == expected
