"""Shapes: values of calls, keys of the short cut, and the source of wrappers."""

from __future__ import annotations

import inspect
import linecache
import traceback
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from stillfresh.shape import Shape, dress


def shape(signature: str, *, method: bool = False, word: str = "def") -> Shape:
    scope: dict[str, Any] = {}
    text = f"{word} f({signature}): return locals()"
    exec(compile(text, "<test>", "exec", dont_inherit=True), scope)
    return Shape(scope["f"], skip_first=method)


def source(of: Shape, *, quick: bool = True, tagged: bool = False) -> str:
    """The source of the wrapper, as a traceback shows it."""
    scope: dict[str, object] = {"__builtins__": __builtins__}
    function = of.wrapper(scope, quick=quick, tagged=tagged)
    return "".join(linecache.getlines(function.__code__.co_filename))


SIGNATURES = [
    "",
    "a",
    "a, b=2",
    "a, /",
    "a, b=2, /, c=3",
    "a=1, /, b=2, *, c=3",
    "*, a, b=2",
    "*, a=1, b",
    "*a",
    "a, *b, c=3",
    "a, /, *b, c, **d",
    "**a",
    "a: int, b: 'str' = 'x'",
]
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((5,), {}),
    ((5, 6), {}),
    ((5, 6, 7), {}),
    ((), {"a": 5}),
    ((5,), {"b": 6}),
    ((5,), {"c": 6}),
    ((5, 6), {"c": 7, "z": 8}),
    ((), {"b": 1, "a": 2}),
    ((), {"self": 1}),
]


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_bind_and_call_are_the_call_itself(
    signature: str, call: tuple[tuple[Any, ...], dict[str, Any]]
) -> None:
    """What binds is what the function takes, and it gets what it would have got."""
    it, (args, kwargs) = shape(signature), call
    try:
        expected = it.function(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError, match=r"^f\(\)"):
            it.bind(args, kwargs)
        return
    values = it.bind(args, kwargs)
    assert it.call(values) == expected
    assert dict(zip(it.names, values, strict=True)) == expected


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("quick", [True, False])
def test_wrappers_have_the_same_parameters(
    signature: str, call: tuple[tuple[Any, ...], dict[str, Any]], *, quick: bool
) -> None:
    """A wrapper takes the same calls, and hands the same values to the path."""
    it, (args, kwargs) = shape(signature), call
    scope: dict[str, object] = {"__builtins__": __builtins__, it.name("index"): {}}
    scope[it.name("slow")] = lambda values: values
    wrapper = it.wrapper(scope, quick=quick, tagged=False)
    dress(wrapper, it, it.function)
    assert inspect.signature(wrapper) == inspect.signature(it.function)
    try:
        it.function(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError, match=r"^f\(\)"):
            wrapper(*args, **kwargs)
        return
    assert wrapper(*args, **kwargs) == it.bind(args, kwargs)


def test_a_method_leaves_out_its_first_parameter() -> None:
    """`self` is no value; it comes back in front of the call."""
    it = shape("self, a, /, b=2", method=True)
    assert it.first == "self"
    assert it.names == ["a", "b"]
    assert it.call(it.bind((1,), {}), ("me",)) == {"self": "me", "a": 1, "b": 2}
    assert str(it.signature) == "(a, /, b=2)"
    stars = shape("*args", method=True)
    assert stars.first == ""
    assert stars.names == ["args"]


def test_positional_and_extra_tell_callables_the_arguments() -> None:
    """Stars are flattened, names that the signature does not know are sorted."""
    it = shape("a, *b, c=3, **d")
    values = it.bind((1, 2, 3), {"z": 8, "y": 9})
    assert it.positional(values) == (1, 2, 3, 3)
    assert list(it.named(values).items()) == [("y", 9), ("z", 8)]
    assert shape("a").named((1,)) == {}


# Keys of the short cut


@pytest.mark.parametrize(
    ("signature", "values", "key"),
    [
        ("", (), ()),
        ("a: int", (1,), 1),
        ("a: 'int'", (1,), 1),
        ("a", (1,), (int, 1)),
        ("a: str, b", ("x", None), (type(None), "x", None)),
        ("a: str, b: int", ("x", 1), ("x", 1)),
        ("a, b", (1, True), (int, bool, 1, True)),
        ("a: float", (1.5,), 1.5),
        ("a", (UUID(int=1),), (UUID, UUID(int=1))),
        ("a", (date(2024, 1, 1),), (date, date(2024, 1, 1))),
    ],
)
def test_quick_keys(signature: str, values: tuple[Any, ...], key: object) -> None:
    """A class stands beside each value whose parameter does not vouch for it."""
    assert shape(signature).quick_key(values) == key


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("a: int", (True,)),
        ("a: int", (1.0,)),
        ("a: float", (1,)),
        ("a: float", (0.0,)),
        ("a: float", (-0.0,)),
        ("a", (0.0,)),
        ("a", (Decimal(1),)),
        ("a", (datetime(2024, 1, 1, tzinfo=UTC),)),
        ("a", ((1,),)),
        ("a", ([1],)),
        ("a", (object(),)),
        ("a, *b", (1, ())),
        ("**a", ({},)),
    ],
)
def test_what_has_no_quick_key(signature: str, values: tuple[Any, ...]) -> None:
    """Where equal does not mean the same key, or nobody can know, there is none."""
    assert shape(signature).quick_key(values) is None


def test_a_wrapper_and_quick_key_agree() -> None:
    """What is remembered under a quick key is what the wrapper finds."""

    class Book:
        epoch = 0

    class Kind:
        epoch = 0

    class Warm:
        quick_until, visits, value, kind = 10.0, 0, "warm", Kind

    for signature, args in [
        ("", ()),
        ("a: int", (1,)),
        ("a", (1,)),
        ("a: str, b", ("x", None)),
        ("a, b: float, *, c: bytes = b''", (1, 2.5)),
        ("_e, __now, Exception", (1, 2, 3)),
    ]:
        it = shape(signature)
        scope: dict[str, object] = {"__builtins__": __builtins__, it.name("book"): Book}
        scope[it.name("now")] = lambda: 9.0
        scope[it.name("index")] = {it.quick_key(it.bind(args, {})): Warm()}
        scope[it.name("slow")] = lambda values: "slow"
        wrapper = it.wrapper(scope, quick=True, tagged=True)
        assert wrapper(*args) == "warm"
        Book.epoch = 1
        assert wrapper(*args) == "slow"
        Book.epoch = 0
        scope[it.name("now")] = lambda: 10.0
        assert wrapper(*args) == "slow"


# The source


def test_the_source_is_as_the_essay_says() -> None:
    """A guarded parameter is looked up as it is, the other one beside its class."""
    text = source(shape("product_id: int, lang='en'", word="async def"), tagged=True)
    assert text == (
        "async def wrapper(product_id, lang=None):\n"
        "    try:\n"
        "        if _type(product_id) is _int:\n"
        "            _e = _index[(_type(lang), product_id, lang)]\n"
        "            if _now() < _e.quick_until and _e.kind.epoch == _book.epoch:\n"
        "                _e.visits += 1\n"
        "                return _e.value\n"
        "    except _Exception:\n"
        "        pass\n"
        "    _v, _a = await _slow((product_id, lang,))\n"
        "    return _v if _a is None else _a.unwrap()\n"
    )


def test_no_short_cut_no_try() -> None:
    """With stars, or where the key is not the arguments', there is the path only."""
    for it, quick in ((shape("*a"), True), (shape("a"), False)):
        assert source(it, quick=quick).splitlines()[1:] == [f"    return _slow(({it.names[0]},))"]


def test_names_of_the_source_are_free_in_the_signature() -> None:
    """The prefix grows until no parameter begins with it."""
    assert shape("a").name("e") == "_e"
    assert shape("_e, a").name("e") == "__e"
    assert shape("_, ___x").name("e") == "____e"
    assert shape("_self, a", method=True).name("e") == "__e"


def test_defaults_are_not_part_of_the_source() -> None:
    """A default may be anything: the wrapper has the object, the text has None."""

    class Awkward:
        def __repr__(self) -> str:
            return "'; raise SystemExit #"

    awkward = Awkward()

    def f(a: object = awkward, *, b: object = awkward) -> object:
        return (a, b)

    it = Shape(f, skip_first=False)
    assert "SystemExit" not in source(it)
    assert it.bind((), {}) == (awkward, awkward)


def test_a_traceback_shows_the_wrapper() -> None:
    """Whoever debugs sees the generated line, under the name of the function."""
    it = shape("a: int")

    def slow(values: object) -> object:
        raise RuntimeError

    scope: dict[str, object] = {"__builtins__": __builtins__, "_slow": slow, "_index": {}}
    wrapper = it.wrapper(scope, quick=True, tagged=False)
    it.bind((1,), {})
    with pytest.raises(RuntimeError) as caught:
        wrapper(1)
    text = "".join(traceback.format_exception(caught.value))
    assert "in f\n    return _slow((a,))" in text
