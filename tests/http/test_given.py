"""What a handler is given was made of the request: all that is in it is in the key."""

import dataclasses
from functools import cached_property
from typing import Annotated, Any

import attrs
import msgspec
import pytest
from fastapi import Depends, FastAPI, Header, Request
from pydantic import BaseModel, ConfigDict, PrivateAttr
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from stillfresh import App, HttpCacheMiddleware, http_cache

ANN, BOB = {"X-User": "ann"}, {"X-User": "bob"}


@dataclasses.dataclass
class Data:
    page: int = 1


@dataclasses.dataclass
class Named:
    name: dataclasses.InitVar[str]

    def __post_init__(self, name):
        self.user = name


@dataclasses.dataclass
class Nested:
    inner: dict[str, list[Data]]


@attrs.define(slots=False)
class Attrs:
    page: int = 1


class Slotted:
    __slots__ = ("user",)


@attrs.define(slots=True)
class BesideSlots(Slotted):
    page: int = 1


class Struct(msgspec.Struct, dict=True):
    page: int = 1


class Model(BaseModel):
    page: int = 1
    _user: str = PrivateAttr("")

    @cached_property
    def user(self) -> str:
        return self._user


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


def marked(made: Any, user: str) -> Any:
    made.user = user
    return made


def private(user: str) -> Model:
    made = Model()
    made._user = user  # as a factory of the class would
    return made


def remembered(user: str) -> Model:
    made = private(user)
    assert made.user == user  # in its `__dict__` by now
    made._user = ""
    return made


MADE = {
    "set by hand": lambda user: marked(Data(), user),
    "a variable of __init__": Named,
    "attrs": lambda user: marked(Attrs(), user),
    "a slot that is no field": lambda user: marked(BesideSlots(), user),
    "msgspec": lambda user: marked(Struct(), user),
    "private": private,
    "a cached property": remembered,
    "inside of others": lambda user: Nested({"all": [marked(Data(), user)]}),
    "in what a model allows": lambda user: Open.model_validate({"x": marked(Data(), user)}),
}


def user_of(value: Any) -> str:
    if isinstance(value, Nested):
        value = value.inner["all"][0]
    if isinstance(value, Open):
        value = (value.model_extra or {})["x"]
    return str(value.user)


def site_with(make: Any, read: Any) -> FastAPI:
    def dependency(x_user: Annotated[str, Header()]) -> Any:
        return make(x_user)

    site = FastAPI()

    @site.get("/")
    @http_cache("1 minute")
    async def page(made: Annotated[Any, Depends(dependency)]) -> Any:
        return read(made)

    return site


@pytest.mark.parametrize("made", MADE)
async def test_what_an_object_holds_beyond_its_fields_is_in_the_key(lab, made):
    """It is kept by its value, as the fields are."""
    async with App() as app:
        client = lab.Client(HttpCacheMiddleware(site_with(MADE[made], user_of), cache_app=app))
        got = [await client("/", who) for who in (ANN, BOB, ANN)]
        assert [one.text for one in got] == ['"ann"', '"bob"', '"ann"']
        assert got[2].hit


async def test_what_it_holds_without_a_stable_text_is_not_stored(lab):
    """Nobody knows whether another request has the same."""
    async with App() as app:
        site = site_with(lambda user: marked(Data(), lambda: user), lambda made: made.user())
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        got = [await client("/", who) for who in (ANN, BOB, ANN)]
        assert [one.text for one in got] == ['"ann"', '"bob"', '"ann"']
        assert not got[2].hit


async def test_a_field_that_was_given_is_no_default(lab):
    """`exclude_unset` leaves out the default, also where the one that was given is the same."""

    def make(user: str) -> Model:
        return Model(page=1) if user == "ann" else Model()

    async with App() as app:
        site = site_with(make, lambda made: made.model_dump(exclude_unset=True))
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        got = [await client("/", who) for who in (ANN, BOB, ANN)]
        assert [one.text for one in got] == ['{"page":1}', "{}", '{"page":1}']


def set_in_init() -> Any:
    @http_cache("1 minute")
    class Page(HTTPEndpoint):
        def __init__(self, scope, receive, send):
            super().__init__(scope, receive, send)
            self.user = dict(scope["headers"])[b"x-user"].decode()

        async def get(self, _: Request) -> PlainTextResponse:
            return PlainTextResponse(self.user)

    return Page


def set_in_dispatch() -> Any:
    class Page(HTTPEndpoint):
        async def dispatch(self):
            self.user = dict(self.scope["headers"])[b"x-user"].decode()
            await super().dispatch()

        @http_cache("1 minute")
        async def get(self, _: Request) -> PlainTextResponse:
            return PlainTextResponse(self.user)

    return Page


def set_without_a_text() -> Any:
    class Page(HTTPEndpoint):
        async def dispatch(self):
            user = dict(self.scope["headers"])[b"x-user"].decode()
            self.user = lambda: user
            await super().dispatch()

        @http_cache("1 minute")
        async def get(self, _: Request) -> PlainTextResponse:
            return PlainTextResponse(self.user())

    return Page


@pytest.mark.parametrize("make", [set_in_init, set_in_dispatch, set_without_a_text])
async def test_what_an_endpoint_keeps_on_itself_is_in_the_key(lab, make):
    """Nobody has watched what it was made of; without a stable text nothing is stored."""
    async with App() as app:
        site = Starlette(routes=[Route("/", make())])
        client = lab.Client(HttpCacheMiddleware(site, cache_app=app))
        got = [await client("/", who) for who in (ANN, BOB, ANN)]
        assert [one.text for one in got] == ["ann", "bob", "ann"]
        assert got[2].hit is (make is not set_without_a_text)
