"""What `key=` and `tags=` functions are given: the arguments, as the function itself takes them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

import pytest

from stillfresh import MISSING, Cache, InvalidOption, cache, sync
from stillfresh.testing import IsolatedApp, isolated


@pytest.fixture(autouse=True)
def app() -> Iterator[IsolatedApp]:
    with isolated() as app:
        yield app


def test_tags_get_by_name_what_the_function_takes_by_name_only() -> None:
    """The tags function may have its own order; what it tags is what `invalidate_tags` drops."""
    prices = {("ann", 7): "old"}

    @cache(tags=lambda value, product, user: [f"product:{product}", f"user:{user}"])
    def price(*, user: str, product: int) -> str:
        return prices[user, product]

    assert price(user="ann", product=7) == "old"
    prices["ann", 7] = "new"
    sync.invalidate_tags("product:7")
    assert price(user="ann", product=7) == "new"


def test_a_decorator_may_give_a_key_function_more() -> None:
    """What is called is what the decorator returns, whatever is inside."""

    def with_tenant(function: Callable[..., str]) -> Callable[..., str]:
        @functools.wraps(function)
        def call(*args: object) -> str:
            return function("acme", *args)

        return call

    @with_tenant
    def key_of(tenant: str, user: int) -> str:
        return f"{tenant}:{user}"

    @cache(key=key_of)
    def load(user: int) -> int:
        return user

    assert load.key(1) == "acme:1"


def test_a_key_function_gets_stars_by_position_and_the_rest_by_name() -> None:
    """A parameter behind *args is one of the key, and no further item of them."""

    @cache(key=lambda *ids, lang="en": (ids[:1], lang))
    def pick(*ids: int, lang: str = "en") -> str:
        return f"{ids[0]} in {lang}"

    assert pick(7, lang="de") == "7 in de"
    assert pick(7, lang="fr") == "7 in fr"
    assert pick.key(7, 8) == '(7,),"en"'


SAME: list[tuple[Callable[..., object], Callable[..., object]]] = [
    (lambda a, *, b=1: (a, b), lambda a, *, b=1: (a, b)),
    (lambda a, **kw: (a, kw), lambda a, *, b=1: (a, {"b": b})),
    (lambda *args, **kw: (args, kw), lambda a, *, b=1: ((a,), {"b": b})),
    (lambda *, b, a: (a, b), lambda *, a, b=1: (a, b)),
    (lambda a, b: (a, b), lambda *, a, b=1: (a, b)),
    (lambda a, b: (a, b), lambda *, b=1, a: (a, b)),
    (lambda x, a, b: (x, a, b), lambda x=0, *, b=1, a: (x, a, b)),
    (lambda *ids, b: (ids, b), lambda *ids, b=1: (ids, b)),
    (lambda a, *, b=1, **kw: (a, b, kw), lambda a, *, b=1, **kw: (a, b, kw)),
    # By position, one after the other, where the names say nothing.
    (lambda x, y: (x, y), lambda *, a, b=1: (a, b)),
    (lambda *all_: all_, lambda *, a, b=1: (a, b)),
    (lambda a, *rest: (a, rest), lambda *, a, b=1: (a, (b,))),
    (lambda a, y: (a, y), lambda *, a, b=1: (a, b)),
    (functools.partial(lambda z, x, y: (x, y), 0), lambda *, a, b=1: (a, b)),
]


@pytest.mark.parametrize(("option", "function"), SAME)
def test_a_function_of_the_same_parameters_gets_what_the_function_gets(
    option: Callable[..., object], function: Callable[..., object]
) -> None:
    """By position, with stars, by name: both see the same values under the same names."""
    seen: list[object] = []

    @functools.wraps(option)
    def key(*args: Any, **kwargs: Any) -> str:
        seen.append(option(*args, **kwargs))
        return "k"

    get: Any = cache(key=key)(function)
    code = function.__code__  # type: ignore[attr-defined]
    value = get(b=2, **({"a": 1} if "a" in code.co_varnames else {}))
    assert seen == [value]


@pytest.mark.parametrize(
    "tags",
    [
        lambda value, b, a: (value, a, b),
        lambda value, *, b, a: (value, a, b),
        lambda value, /, **named: (value, named["a"], named["b"]),
        lambda value, x, y: (value, x, y),
        lambda a, x, y: (a, x, y),
    ],
)
def test_the_value_stands_in_front_of_what_tags_are_made_of(tags: Callable[..., object]) -> None:
    """Whatever its parameter is called, it is not one of the arguments."""
    seen: list[object] = []

    @functools.wraps(tags)
    def record(*args: Any, **kwargs: Any) -> list[str]:
        seen.append(tags(*args, **kwargs))
        return []

    @cache(tags=record)
    def get(*, a: int, b: int = 2) -> str:
        return "value"

    get(a=1)
    assert seen == [("value", 1, 2)]


def test_what_is_written_in_c_gets_the_arguments_by_position() -> None:
    """It knows no names."""

    @cache(key=itemgetter(1))
    def get(*, row: tuple[str, ...]) -> str:
        return row[0]

    assert get.key(row=("x", "k")) == "k"


def test_extra_names_come_sorted_after_the_known_ones() -> None:
    """In whatever order the caller has written them."""

    @cache(key=lambda **names: "&".join(f"{name}={value}" for name, value in names.items()))
    def search(*, q: str, **more: str) -> str:
        return q

    assert search.key(z="1", a="2", q="x") == "q=x&a=2&z=1"


def test_store_and_methods_and_caches_give_the_same_arguments() -> None:
    """Write-through tags like a call does, and `self` is left out."""
    users = Cache[str](name="users")

    class Users:
        @users(key=lambda *, user_id, lang="en": f"{user_id}/{lang}")
        def name(self, *, user_id: int, lang: str = "en") -> str:
            return "ann"

        @cache(tags=lambda value, *ids, tenant: [f"tenant:{tenant}"])
        def of(self, *ids: int, tenant: str) -> str:
            return "ann"

    it = Users()
    assert it.name(user_id=1) == "ann"
    assert users.sync.get("1/en") == "ann"
    it.of.store("ada", 1, 2, tenant="t")
    sync.invalidate_tags("tenant:2")
    assert it.of.peek(1, 2, tenant="t") == "ada"
    sync.invalidate_tags("tenant:t")
    assert it.of.peek(1, 2, tenant="t") is MISSING


@pytest.mark.parametrize("word", ["key", "tags"])
def test_a_callable_that_knows_only_some_names_is_refused(word: str) -> None:
    """By position it would get another argument under a name that it knows."""

    def function(*, user: str, product: int) -> str:
        return user

    options: dict[str, Any] = {
        "key": {"key": lambda product, whom: str(product)},
        "tags": {"tags": lambda value, product, whom: [str(product)]},
    }
    with pytest.raises(InvalidOption, match=f"^{word}=.*'product'.*not 'user'.*user, product"):
        cache(**options[word])(function)


def plain(number: int, /, lang: str = "en", *, exact: bool = False) -> str:
    return f"{number} {lang} {exact}"


UNFIT: list[tuple[str, Callable[..., object], str]] = [
    ("tags", lambda number: [number], "lambda value, number, /, lang, *, exact: ..."),
    ("tags", lambda number, lang, exact: [number], "lambda value, number"),
    ("key", lambda: "k", "lambda number, /, lang, *, exact: ..."),
    ("key", lambda value, number, lang, exact: "k", "lambda number"),
    ("key", lambda number, *, exact: "k", "lambda number"),
    ("key", functools.partial(lambda a, b, c: "k", 0), "lambda number"),
]


@pytest.mark.parametrize(("word", "option", "advice"), UNFIT)
def test_a_callable_with_another_number_of_arguments_is_refused(
    word: str, option: Callable[..., object], advice: str
) -> None:
    """When the decorator runs, naming option and function, and not at each call after it."""
    options: dict[str, Any] = {word: option}
    with pytest.raises(InvalidOption) as caught:
        cache(**options)(plain)
    message = str(caught.value)
    assert message.startswith(f"{word}={option!r} of {__name__}.plain: it is called with the ")
    assert f"Write {word}={advice}" in message


def test_what_stars_take_is_left_open() -> None:
    """Who can call the function with more or less is given that."""
    cache(key=lambda first, second: "k")(lambda *ids: ids)
    cache(key=lambda *, number: "k")(lambda **names: names)
    cache(tags=lambda value, *_, **__: [])(plain)
    with pytest.raises(InvalidOption, match="is called with the value"):
        cache(tags=lambda ids: [])(lambda *ids: ids)


def of_any(self: object, number: int) -> str:
    return f"{self} {number}"


def test_a_method_is_judged_when_its_class_has_taken_it() -> None:
    """Until then nobody knows whether the first parameter is an argument."""

    class Users:
        taken = cache(key=lambda number: f"n{number}")(of_any)
        one = cache(key=lambda number: f"n{number}")(lambda me, number: f"{me} {number}")

        @classmethod
        @cache(tags=lambda value, number: [f"n{number}"])
        def made(cls, number: int) -> str:
            return f"{cls} {number}"

        @cache(tags=lambda value, number: [f"n{number}"])
        @classmethod
        def built(kind, number: int) -> str:
            return f"{kind} {number}"

        @staticmethod
        @cache(key=lambda self, number: f"n{number}")
        def of(self: int, number: int) -> str:  # noqa: PLW0211  # what is tried
            return f"{self} {number}"

    assert Users().taken.key(7) == "n7"
    assert Users().one.key(7) == "n7"
    assert Users.of(1, 2) == "1 2"
    assert Users.made(1) == f"{Users} 1"
    assert Users.built(1) == f"{Users} 1"


def test_a_method_whose_callable_takes_the_instance_is_refused() -> None:
    """
    It is called without `self`.

    By its name it may be of a static method that takes both, so the class says it; what fits
    neither is refused by the decorator itself.
    """
    with pytest.raises((InvalidOption, RuntimeError)) as caught:

        class Users:
            @cache(key=lambda self, number: f"n{number}")
            def get(self, number: int) -> str:
                return f"{self} {number}"

    error = caught.value  # before 3.12 one around it
    cause = error if isinstance(error, InvalidOption) else error.__cause__
    assert isinstance(cause, InvalidOption)
    assert "Write key=lambda number: ..." in str(cause)
    with pytest.raises(InvalidOption, match="Write tags=lambda value, number:"):

        class Others:
            @cache(tags=lambda number: [number])
            def get(self, number: int) -> str:
                return f"{self} {number}"
