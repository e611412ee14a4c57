"""Vary names every field by which a stored response was chosen, whatever its status."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from stillfresh import App, HttpCache, HttpCacheMiddleware, action, http_cache

Language = Annotated[str, Header(alias="Accept-Language")]


class Missing:
    @action("/shared", cache=HttpCache("1 minute", negative_ttl={404: 60}))
    async def shared(self, language: Language = "-") -> str:
        raise HTTPException(404, language)

    @action("/public", cache=HttpCache("1 minute", negative_ttl={404: 60}, public=True))
    async def public(self, language: Language = "-") -> str:
        raise HTTPException(404, language)

    @action(
        "/chosen",
        cache=HttpCache(
            "1 minute",
            negative_ttl={404: 60},
            public=True,
            key=lambda request: request.headers.get("x-user"),
        ),
    )
    async def chosen(self) -> str:
        raise HTTPException(404)


@pytest.mark.parametrize(
    ("path", "names"),
    [("/shared", "Accept-Language"), ("/public", "Accept-Language"), ("/chosen", "X-User")],
)
async def test_a_negative_response_names_what_it_was_chosen_by(lab, path, names):
    """Else a cache in front would give its one 404 to everybody: it is told that it is public."""
    async with App(Missing) as app:
        client = lab.Client(app)
        for _ in range(2):
            got = await client(path, {"Accept-Language": "de", "X-User": "ann"})
            assert (got.status, got.get("vary")) == (404, names)
            assert (got.get("cache-control") or "").startswith("public")


def inner(x_user: Annotated[str, Header()] = "-") -> str:
    return x_user


def outer(name: Annotated[str, Depends(inner)], x_team: Annotated[str, Header()] = "-") -> str:
    return f"{x_team} {name}"


def keyed(
    key: Annotated[str | None, Security(APIKeyHeader(name="X-Key", auto_error=False))],
) -> str:
    return f"{key}"


def signed(sent: Annotated[object, Security(HTTPBearer(auto_error=False))]) -> str:
    return f"{sent}"


@pytest.mark.parametrize(
    ("dependency", "names"),
    [(inner, "X-User"), (outer, "X-Team, X-User"), (keyed, "X-Key"), (signed, "Authorization")],
)
@pytest.mark.parametrize("public", [False, True])
async def test_a_field_that_a_dependency_declares_is_in_vary(lab, dependency, names, public):
    """A browser whose next request says another one asks anew. A public page depends on none."""
    site = FastAPI()

    @site.get("/")
    @http_cache("1 minute", public=public)
    async def page(found: Annotated[str, Depends(dependency)]) -> str:
        return found

    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        for hit in (False, True):
            got = await client("/")
            assert got.hit is hit
            assert got.get("vary") == (None if public else names)


async def test_a_field_of_a_dependency_may_not_be_read_past_it(lab):
    """In the key is what the dependency gives, and not what the field says."""
    site = FastAPI()

    def whose(x_user: Annotated[str, Header()]) -> str:
        return x_user[:1]

    @site.get("/")
    @http_cache("1 minute")
    async def page(_: Annotated[str, Depends(whose)]) -> str:
        return "all"

    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        got = [await client("/", {"X-User": who}) for who in ("ann", "ada", "bob")]
        assert [one.hit for one in got] == [False, True, False]
