"""What cannot be meant is refused where it is written, not obeyed, and not ignored."""

import inspect
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
from fastapi import APIRouter, Request
from starlette.endpoints import HTTPEndpoint

from stillfresh import (
    App,
    HttpCache,
    HttpCacheMiddleware,
    InvalidOption,
    action,
    cache,
    http_cache,
)
from stillfresh.http.route_options import _USUAL


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


class Pages:
    @action("/pages/{name}", cache=True)
    async def page(self, name: str, number: int = 1) -> str:
        return f"{name} {number}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"invalidates": "names"}, r"invalidates='names': expected a list. Write \['names'\]"),
        ({"invalidates": Pages.page}, r"invalidates=<Action GET /pages.*: expected a list"),
        ({"invalidates": Pages.page.args(name="a")}, r"Write \[page.args\(name='a'\)\]"),
        ({"invalidates": 3}, r"invalidates=3: expected a list of actions"),
        (
            {"invalidates": ["x"], "cache": HttpCache(methods=["POST"])},
            r"a response that is kept changes nothing",
        ),
        (
            {"tags": ["page:{name}"], "cache": HttpCache(methods=["POST"])},
            r"beside an HttpCache: write them into it, HttpCache\(..., tags=\['page:{name}'",
        ),
        (
            {"tags": "pages"},
            r"tags='pages'\): expected a list of tags. Write \['pages'\]",
        ),
        ({"tags": lambda name: [name]}, r"write a function into cache=HttpCache\(tags=...\)"),
    ],
)
def test_an_action_names_what_it_drops(options, message):
    """An invalidation that would silently do nothing is an error at its line."""
    with pytest.raises(InvalidOption, match=message):
        action("/pages", method="POST", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ttl": "1 minute"}, r"ttl=...\): this is an option of the cache. Write cache='1 minute'"),
        ({"stale": 5}, r"stale=.*Write cache=HttpCache\(..., stale=...\)"),
        ({"methods": ["POST"]}, r"an action has one method. Write method='POST'"),
    ],
)
def test_options_of_the_cache_are_written_into_it(options, message):
    """They are those of `@http_cache`, and an action takes FastAPI's beside its own."""
    with pytest.raises(InvalidOption, match=message):
        action("/pages", **options)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("colour", r"@action\('/pages', colour=...\): unknown option 'colour'. There are path, method"),
        ("sumary", r"unknown option 'sumary'. Did you mean 'summary'"),
        ("tgas", r"unknown option 'tgas'. Did you mean 'tags'"),
        ("endpoint", r"unknown option 'endpoint'"),
    ],
)  # fmt: skip
def test_an_option_that_nobody_knows_is_refused_at_its_line(option, message):
    """FastAPI would name a function of its own, when the app starts."""
    with pytest.raises(InvalidOption, match=message):
        action("/pages", **{option: "x"})


def test_every_option_of_fastapi_is_known():
    """Those that are known without it are its own, and it is asked about the rest."""
    known = {*inspect.signature(APIRouter.add_api_route).parameters}
    ours = {"self", "path", "endpoint", "methods", "tags"}
    action("/pages", **dict.fromkeys(known - ours))
    assert known - ours >= _USUAL


def test_a_decorator_does_not_load_fastapi():
    """Only a name that is not known here is worth it: a mistake, or an option to come."""
    program = (
        "import sys; from stillfresh import HttpCache, action\n"
        "class Api:\n"
        "    @action('/{name}', cache='1 minute', tags=['x:{name}'], summary='A page')\n"
        "    async def page(self, name: str) -> str: ...\n"
        "print('fastapi' in sys.modules)\n"
        "try:\n"
        "    action('/', sumary='A page')\n"
        "except ValueError:\n"
        "    print('fastapi' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HttpCache(vary_cookie=["a"]), r"HttpCache\(vary_cookie=...\): unknown .* 'vary_cookies'"),
        (lambda: HttpCache(colour=1), r"unknown option 'colour'. help\(HttpCache\) says"),
        (lambda: HttpCache.for_app("safe", vary_cookie=["a"]), r"Did you mean 'vary_cookies'"),
        (lambda: http_cache(vary_cookie=["a"]), r"Did you mean 'vary_cookies'"),
        (lambda: HttpCache("1 minute", True), r"True\): options but for ttl are named"),
        (lambda: cache(action("/")(lambda self: 1)), r"Write @action above @cache"),
    ],
    ids=range(6),
)  # fmt: skip
def test_what_cannot_be_meant_says_what_can(make, message):
    """An error of Python's own would name `__init__`, and no next step."""
    with pytest.raises(InvalidOption, match=message):
        make()


def test_tags_of_what_is_not_kept_are_those_of_fastapi():
    """Where there is nothing to drop, a brace is a letter like any other."""
    action("/pages", method="POST", tags=["{pages}"])
    action("/pages", cache=HttpCache("1 minute"), tags=["pages"])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Pages.page.args(nam="{name}"), r"page has no argument 'nam'. There are: name, number"),
        (Pages.page.args(number=3), r"page: expected the argument 'name', which has no default"),
        (Pages.page.args(name="a", number="x"), r"number='x' is no such argument"),
    ],
)
async def test_arguments_of_what_is_dropped_are_checked_at_the_start(target, message):
    """In a request the handler has committed already, and the old page would stay."""

    class Changes:
        @action("/pages/{name}", method="POST", invalidates=[target])
        async def rename(self, name: str, to: str) -> None: ...

    with pytest.raises(InvalidOption, match=message):
        async with App(Pages, Changes):
            raise AssertionError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"etag": lambda nam: "v1"}, r"Pages.page: etag= is called .*Write lambda name:"),
        ({"last_modified": lambda: 0}, r"Pages.page: last_modified= is called with"),
    ],
    ids=range(2),
)
def test_functions_of_the_arguments_are_tried_at_the_start(options, message):
    """One that takes others would fail in each request, instead of the handler."""

    class Pages:
        @action("/pages/{name}", **{"cache": True, **options})
        async def page(self, name: str, request: Request) -> str:
            return name

    with pytest.raises(InvalidOption, match=message):
        _ = App(Pages).http


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tags": ["x:{nam}"], "cache": True}, r"tags='x:{nam}': .* Did you mean 'name'"),
        ({"cache": HttpCache(tags=["x:{self}"])}, r"tags='x:{self}': 'self' is not a parameter"),
        (
            {"cache": HttpCache(tags=lambda nam: [])},
            r"tags= is called .*Write lambda name, to: ...",
        ),
        ({"method": "POST", "invalidates": ["x:{nam}"]}, r"invalidates='x:{nam}': .* mean 'name'"),
        ({"method": "POST", "invalidates": ["x:{name"]}, r"invalidates='x:{name': a '{' without"),
        (
            {"method": "POST", "invalidates": [Pages.page.args(name="{nam}")]},
            r"page.args\(name='{nam}'\): 'nam' is no argument here. There are: name, to",
        ),
        ({"method": "POST", "invalidates": [42]}, r"invalidates= has 42. Name an action"),
    ],
)
def test_what_an_action_names_is_there(options, message):
    """Its arguments are known when it is decorated, so a wrong name is an error at its line."""
    with pytest.raises(InvalidOption, match=message):

        class Changes:
            @action("/pages/{name}", **options)
            async def rename(self, name: str, to: str) -> None: ...


def test_functions_of_the_arguments_may_take_whatever_comes():
    """And one of which Python does not know what it takes is asked when it is needed."""

    class Pages:
        @action("/{name}", cache=HttpCache(etag=max, tags=lambda **arguments: arguments["name"]))
        async def page(self, name: str, request: Request) -> None: ...

    _ = App(Pages).http


async def page(name: str) -> str:
    return name


class Endpoint(HTTPEndpoint):
    async def get(self, request): ...


@pytest.mark.parametrize(
    ("endpoint", "options", "message"),
    [
        (page, {"invalidates": "names"}, r"invalidates='names': expected a list"),
        (page, {"invalidates": [3]}, r"invalidates: 3 is not a tag"),
        (page, {"invalidates": ["x:{nam}"]}, r"invalidates='x:{nam}': .* Did you mean 'name'"),
        (page, {"tags": ["x:{nam}"]}, r"tags='x:{nam}': .* Did you mean 'name'"),
        (page, {"invalidates": ["x"], "methods": ["POST"]}, r"that is kept changes nothing"),
        (Endpoint, {"invalidates": ["x"]}, r"about get\(\), which changes nothing"),
        (Pages.page, {}, r"Write @action\(..., cache='30 seconds'\)"),
        (partial(page, name="a"), {}, r"expected a function that returns. Wrap it in a def"),
        (classmethod(page), {}, r"expected a function that returns"),
        (page, {"tags": lambda nam: []}, r"tags= is called .*Write lambda name: ..."),
        (page, {"etag": lambda: "v1"}, r"etag= is called .* unexpected keyword argument 'name'"),
    ],
)
def test_an_endpoint_is_what_its_options_speak_of(endpoint, options, message):
    """And its decorator is an error where it would take something away in silence."""
    with pytest.raises(InvalidOption, match=message):
        http_cache(**options)(endpoint)
