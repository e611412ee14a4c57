"""What a function says about its result, and what it must not return."""

from __future__ import annotations

import asyncio
import collections.abc
import functools
import io
import sys
import types
import typing as t
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NewType, Optional, Required, Self, TypedDict, TypeVar

import pytest

from stillfresh import Cache, cache
from stillfresh.codecs import (
    UNKNOWN,
    codec_for,
    one_shot_annotation,
    one_shot_value,
    return_annotation,
)
from stillfresh.errors import NotSerializable

if t.TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")
Id = NewType("Id", int)
Json = dict[str, "Json"] | list["Json"] | int | None


@dataclass
class Item:
    price: int


class Service:
    @dataclass
    class Nested:
        x: int
        inner: Service.Nested | None = None

    def list(self) -> int:
        return 1

    def after_list(self) -> list[Item]:
        return []

    def nested(self) -> Nested:
        return self.Nested(1)

    def itself(self) -> Self:
        return self

    @classmethod
    def of_class(cls) -> Item:
        return Item(1)

    @staticmethod
    def static() -> Item:
        return Item(1)

    def __call__(self) -> Later:
        return Later(1)


async def coroutine() -> Item:
    return Item(1)


def later() -> list[Later]:
    return []


def nothing() -> None:
    return None


def silent():  # type: ignore[no-untyped-def]
    return None


def anything() -> Any: ...


def thing() -> object: ...


def variable(value: T) -> T:
    return value


def annotated() -> Annotated[Item, "fresh"]: ...  # type: ignore[empty-body] # only its annotation counts


def wrong_parameter(_: Nowhere) -> Item: ...  # type: ignore[name-defined,empty-body] # noqa: F821 - the point


def type_checking_only() -> Decimal: ...  # type: ignore[empty-body] # only its annotation counts


def recursive() -> Json: ...  # type: ignore[empty-body] # only its annotation counts


@functools.wraps(coroutine)
def wrapped(*args: Any) -> Any:
    return args


@dataclass
class Later:
    x: int


RESOLVED: list[tuple[object, object]] = [
    (coroutine, Item),
    (later, list[Later]),
    (nothing, type(None)),
    (silent, UNKNOWN),
    (anything, UNKNOWN),
    (thing, UNKNOWN),
    (variable, UNKNOWN),
    (lambda: 1, UNKNOWN),
    (annotated, Annotated[Item, "fresh"]),
    (wrong_parameter, Item),
    (wrapped, Item),
    (functools.partial(variable, 1), UNKNOWN),
    (functools.partial(coroutine), Item),
    (Service.after_list, list[Item]),
    (Service().after_list, list[Item]),
    (Service.nested, Service.Nested),
    (Service.itself, Service),
    (Service.of_class, Item),
    (vars(Service)["of_class"], Item),
    (vars(Service)["static"], Item),
    (Service(), Later),
    (len, UNKNOWN),
]


@pytest.mark.parametrize(("function", "expected"), RESOLVED)
def test_an_annotation_is_resolved(function: object, expected: object) -> None:
    """Texts, later names, class bodies, wrappers and methods all lead to the type itself."""
    assert return_annotation(function) == expected


def test_a_local_class_is_found_in_the_closure() -> None:
    """A type that the function itself uses is found where the function found it."""

    @dataclass
    class Local:
        x: int

    def make() -> Local:
        return Local(1)

    assert return_annotation(make) is Local


@pytest.mark.parametrize(
    ("returns", "expected"),
    [(int, int), (None, type(None)), ("list[Item]", list[Item]), (Any, UNKNOWN), (Id, Id)],
)
def test_returns_wins_over_the_annotation(returns: object, expected: object) -> None:
    """`returns=` says what the annotation does not, or cannot; None is a type, too."""
    assert return_annotation(type_checking_only, returns) == expected


def test_an_unresolvable_annotation_asks_for_returns() -> None:
    """A name that exists for type checkers only is an error that says what to do."""
    with pytest.raises(NotSerializable, match=r"type_checking_only, 'Decimal', cannot.*returns="):
        return_annotation(type_checking_only)


def test_a_recursive_alias_is_followed() -> None:
    """An alias that names itself in quotes is a type like any other."""
    codec = codec_for(return_annotation(recursive))
    value = {"a": [1, {"b": None}]}
    assert codec.decode(codec.encode(value)) == value
    with pytest.raises(NotSerializable):
        codec.encode({"a": [1.5]})


def test_fields_are_resolved_where_they_are_defined() -> None:
    """Nested classes, Final fields and texts under this module's future import are found."""

    @dataclass
    class Holder:
        nested: Service.Nested
        fixed: Final[int] = 1
        ids: dict[Id, Optional[Item]] = field(default_factory=dict)  # noqa: UP045 - the old spelling

    codec = codec_for(Holder)
    value = Holder(Service.Nested(1, Service.Nested(2)), 1, {Id(1): Item(2), Id(2): None})
    assert codec.decode(codec.encode(value)) == value


class Movie(TypedDict):
    title: str
    year: t.NotRequired[int]


class Part(TypedDict, total=False):
    number: Required[int]
    name: str


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(Movie, {"title": "t"}), (Movie, {"title": "t", "year": 1}), (Part, {"number": 1})],
)
def test_optional_keys_are_known_though_written_as_text(annotation: object, value: object) -> None:
    """Required and NotRequired count under the future import, where typing misses them."""
    codec = codec_for(annotation)
    assert codec.decode(codec.encode(value)) == value
    with pytest.raises(NotSerializable, match="needs the key"):
        codec.encode({})


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is new in Python 3.12")
def test_type_statements_and_type_parameters_are_resolved() -> None:
    """Aliases and classes in the syntax of Python 3.12 are types like any other."""
    module = types.ModuleType("new_syntax")
    sys.modules["new_syntax"] = module
    code = """
from __future__ import annotations
from dataclasses import dataclass
type Pairs[T] = list[tuple[T, T]]
type Json = dict[str, Json] | list[Json] | int
@dataclass
class Box[T]:
    item: T
    pairs: Pairs[T]
class Made[T]:
    def boxes(self) -> list[Box[int]]: ...
    def unknown(self) -> T: ...
def json() -> Json: ...
def variable[T](value: T) -> T: ...
"""
    try:
        exec(code, vars(module))
        codec = codec_for(return_annotation(module.Made.boxes))
        value = [module.Box(1, [(1, 2)])]
        assert codec.decode(codec.encode(value)) == value
        with pytest.raises(NotSerializable, match=r"return\[0\]\.pairs\[0\]\[1\]: expected int"):
            codec.encode([module.Box(1, [(1, "a")])])
        json = codec_for(return_annotation(module.json))
        assert json.decode(json.encode({"a": [{"b": 1}]})) == {"a": [{"b": 1}]}
        assert return_annotation(module.Made.unknown) is UNKNOWN
        assert return_annotation(module.variable) is UNKNOWN
    finally:
        del sys.modules["new_syntax"]


def generator() -> Iterator[int]:
    yield 1


def silent_generator():  # type: ignore[no-untyped-def]
    yield 1


async def async_generator():  # type: ignore[no-untyped-def]
    yield 1


@contextmanager
def manager() -> Iterator[int]:
    yield 1


class Cursor:
    def __next__(self) -> int:
        raise StopIteration

    def __iter__(self) -> Self:
        return self


Lazy = Annotated[t.Optional["Generator[int, None, None]"], "lazy"]


def returning(annotation: object) -> Callable[[], None]:
    """A function with this annotation, which may be a text."""

    def function() -> None: ...

    function.__annotations__["return"] = annotation
    return function


ONE_SHOT: list[tuple[object, str]] = [
    (generator, "makes a generator"),
    (silent_generator, "makes a generator"),
    (async_generator, "makes an async generator"),
    (functools.partial(generator), "makes a generator"),
    (manager, "a generator"),
    (returning(Iterator[int]), "an iterator"),
    (returning("Iterator[int]"), "an iterator"),
    (returning("collections.abc.Iterator"), "an iterator"),
    (returning(t.AsyncIterator[int]), "an async iterator"),
    (returning(t.AsyncGenerator[int, None]), "an async generator"),
    (returning(Awaitable[int]), "an awaitable"),
    (returning("Coroutine[Any, Any, int]"), "a coroutine"),
    (returning(asyncio.Future), "an awaitable"),
    (returning("Iterator[int] | None"), "an iterator"),
    (returning(io.TextIOWrapper), "an iterator"),
    (returning(Cursor), "an iterator"),
    (returning(Lazy), "a generator"),
    (returning("Generator[Nowhere]"), "a generator"),
    (returning("t.Generator[Nowhere, None, None]"), "a generator"),
    (returning("abc.AsyncIterator[Nowhere]"), "an async iterator"),
    (returning("Nowhere | Iterator[int]"), "an iterator"),
    (returning("Optional[abc.Iterator[Nowhere]]"), "an iterator"),
    (returning("Annotated[Awaitable[Nowhere], 1]"), "an awaitable"),
    (returning("'Iterator[Nowhere]'"), "an iterator"),
]


@pytest.mark.parametrize(("function", "words"), ONE_SHOT)
def test_a_function_whose_result_is_read_once_is_seen(function: object, words: str) -> None:
    """The code or the annotation shows it, resolved or not."""
    reason = one_shot_annotation(function)
    assert reason is not None
    assert words in reason
    assert "read only once" in reason


@pytest.mark.parametrize(
    ("returns", "word"),
    [
        (Iterator[int], "an iterator"),
        ("t.AsyncIterator[int]", "an async iterator"),
        ("Awaitable[Nowhere]", "an awaitable"),
        (t.Generator[int, None, None] | None, "a generator"),
    ],
)
def test_returns_is_looked_at_like_an_annotation(returns: object, word: str) -> None:
    """It is refused when the decorator runs, on a function and under a `Cache`."""
    for decorator in (cache(returns=returns), Cache[t.Any](name="x", returns=returns)):
        with pytest.raises(NotSerializable, match=f"silent cannot be cached: returns= is {word}"):
            decorator(silent)


REUSABLE: list[object] = [
    coroutine,
    later,
    silent,
    nothing,
    type_checking_only,
    len,
    Service(),
    returning("list[Iterator[Nowhere]]"),
    returning("Nowhere[int]"),
    returning("not an annotation"),
    returning(collections.abc.Iterable[int]),
    returning(collections.abc.Sequence[int]),
]


@pytest.mark.parametrize("function", REUSABLE)
def test_a_function_whose_result_stays_is_let_through(function: object) -> None:
    """Coroutine functions and everything that returns a value are no one-shots."""
    assert one_shot_annotation(function) is None


def test_a_value_that_is_read_once_is_seen() -> None:
    """Generators, iterators, awaitables and open files are named for what they are."""

    async def main() -> None:
        waiting = asyncio.get_running_loop().create_future()
        unawaited = coroutine()
        found = [
            (generator(), "a generator"),
            (async_generator(), "an async generator"),
            (unawaited, "a coroutine"),
            (waiting, "an awaitable"),
            (iter([1]), "an iterator"),
            (map(str, [1]), "an iterator"),
            (Cursor(), "an iterator"),
            (io.StringIO("a"), "an iterator"),
            (Future(), "a future"),
        ]
        for value, words in found:
            reason = one_shot_value(value)
            assert reason is not None
            assert f"is {words} (" in reason
        unawaited.close()

    asyncio.run(main())


@pytest.mark.parametrize("value", [None, 1, "a", [1], (1,), {1: 2}, {1}, range(3), Item(1), Cursor])
def test_a_value_that_stays_is_let_through(value: object) -> None:
    """What can be read again and again is no one-shot."""
    assert one_shot_value(value) is None
