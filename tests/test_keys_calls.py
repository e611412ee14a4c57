"""Keys as the decorator sees them, and the options that are refused when it runs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest

from stillfresh import (
    App,
    InvalidDuration,
    InvalidOption,
    MemoryTier,
    StillfreshError,
    UnstableArgument,
    cache,
)
from stillfresh.testing import IsolatedApp, isolated


@pytest.fixture(autouse=True)
def app() -> Iterator[IsolatedApp]:
    with isolated() as app:
        yield app


class Text(str):
    __slots__ = ()


# One call or several


def test_positional_keyword_and_default_are_one_call() -> None:
    """However the arguments are passed, equal values meet."""

    @cache
    def get(a: int, b: str = "x", *, c: int = 3) -> object:
        return object()

    first = get(1)
    assert get(a=1) is first
    assert get(1, "x") is first
    assert get(c=3, b="x", a=1) is first
    assert get(1, c=4) is not first
    assert get.key(1) == '1,"x",3'


ALIKE: list[Any] = [1, "1", True, 1.0, b"1", None, "True", "None", (1,), [1], Text("1")]


@pytest.mark.parametrize("annotation", ["", ": int", ": str", ": float", ": bool", ": bytes"])
@pytest.mark.parametrize("reverse", [False, True])
def test_equal_values_of_other_types_are_other_calls(annotation: str, *, reverse: bool) -> None:
    """1, "1", True and 1.0 are four calls, also when they are warm, and whatever comes first."""
    scope: dict[str, Any] = {"cache": cache, "__name__": __name__}
    exec(f"@cache\ndef get(x{annotation}): return (type(x), x)", scope)
    get = scope["get"]
    values = ALIKE[::-1] if reverse else ALIKE
    for _ in range(3):
        for value in values:
            assert get(value) == (type(value), value)
            assert type(get(value)[1]) is type(value)
    assert len({get.key(value) for value in values}) == len(values)
    assert get.stats.misses == len(values)


@pytest.mark.parametrize("annotation", ["", ": float"])
def test_floats_count_by_representation(annotation: str) -> None:
    """0.0, -0.0 and 0 are three calls; every nan is the same one."""
    scope: dict[str, Any] = {"cache": cache, "__name__": __name__}
    exec(f"@cache\ndef get(x{annotation}, y=1): return repr(x)", scope)
    get = scope["get"]
    for _ in range(3):
        for value in (0.0, -0.0, 0, False, float("nan"), float("nan")):
            assert get(value) == repr(value)
    assert get.stats.misses == 5


def test_values_do_not_run_into_each_other() -> None:
    """f("a:b") is not f("a", "b"), nor is any other way to write a separator."""

    @cache
    def get(*args: str, **kwargs: str) -> list[object]:
        return [args, kwargs]

    calls: list[tuple[tuple[str, ...], dict[str, str]]] = [
        (("a:b",), {}),
        (("a", "b"), {}),
        (("a,b",), {}),
        (('a","b',), {}),
        (("a",), {"b": "b"}),
        (("a", "b=b"), {}),
        ((), {"a": "1", "b": "2"}),
        ((), {'a="1",b': "2"}),
        (("",), {}),
        ((), {}),
    ]
    for _ in range(2):
        for args, kwargs in calls:
            assert get(*args, **kwargs) == [args, kwargs]
    assert get.stats.misses == len(calls)
    assert get(b="2", a="1") is get(a="1", b="2")


def test_stars_are_told_from_what_follows() -> None:
    """A keyword-only parameter after *args never takes the place of an argument."""

    @cache
    def get(*args: int, last: int = 9) -> list[object]:
        return [args, last]

    for _ in range(2):
        assert get(1, 2, last=3) == [(1, 2), 3]
        assert get(1, 2, 3) == [(1, 2, 3), 9]
        assert get(1, last=2) == [(1,), 2]


def test_what_has_no_stable_place_is_refused() -> None:
    """Such an argument raises by its name, before the function runs; refused are not counted."""
    ran = []

    @cache
    def get(x: object, *more: object, **named: object) -> None:
        ran.append(x)

    for call in (
        lambda: get(object()),
        lambda: get(lambda: 1),
        lambda: get([{"a": object()}]),
        lambda: get.key(object()),
        lambda: get.invalidate(object()),
    ):
        with pytest.raises(UnstableArgument, match=r"^x.*__cache_key__"):
            call()
    with pytest.raises(UnstableArgument, match=r"^named"):
        get(1, named=object())
    assert ran == []


def test_an_unstable_default_is_refused_too() -> None:
    """A default counts as an argument, so the message names its parameter."""

    @cache
    def get(x: int, session: object = object()) -> int:
        return x

    with pytest.raises(UnstableArgument, match=r"^session"):
        get(1)


def test_an_argument_may_raise_in_its_hash() -> None:
    """The short cut asks no argument for more than it can give: any failure is a miss."""

    class Query:
        def __hash__(self) -> int:
            raise ValueError("no hash today")

        def __cache_key__(self) -> str:
            return "q"

    @cache
    def get(x: Query) -> object:
        return object()

    assert get(Query()) is get(Query())


def test_an_argument_that_lies_about_its_class_is_not_believed() -> None:
    """`__class__` may say str; only what is a str is keyed like one."""

    class Forger:
        __class__ = str  # type: ignore[assignment]

        def __hash__(self) -> int:
            return hash("victim")

        def __eq__(self, other: object) -> bool:
            return True

    @cache
    def get(user: str) -> str:
        return f"secret of {user}"

    @cache
    def bare(user) -> str:
        return f"secret of {user}"

    for function in (get, bare):
        function("victim")
        assert function("victim") == "secret of victim"
        with pytest.raises(UnstableArgument):
            function(Forger())


# key=


def test_a_template_with_one_placeholder_takes_it_as_it_is() -> None:
    """Values are text in it, so 1 and "1" are one there."""

    @cache(key="user:{user_id}")
    def get(user_id: object) -> object:
        return object()

    assert get.key("a:b,c%") == "user:a:b,c%"
    assert get(1) is get("1")
    assert get.stats.misses == 1


def test_a_template_with_several_lets_no_value_forge_a_key() -> None:
    """What stands between the placeholders is escaped in the values."""

    @cache(key="{a}:{b}")
    def get(a: str, b: str) -> list[str]:
        return [a, b]

    calls = [("x:y", "z"), ("x", "y:z"), ("x%3Ay", "z"), ("x", "y%3Az")]
    for _ in range(2):
        for call in calls:
            assert get(*call) == list(call)
    assert get.key("x", "y") == "x:y"


def test_a_template_reads_self_and_attributes() -> None:
    """`{self.tenant}` and `{user.id}` are looked up at each call."""

    @dataclass
    class User:
        id: int

    class Service:
        tenant = "acme"

        @cache(key="{self.tenant}/{user.id}")
        def get(self, user: User) -> list[object]:
            return [self.tenant, user.id]

    service = App(Service).get(Service)
    assert service.get.key(User(1)) == "acme/1"
    free = Service()
    user = User(1)
    assert free.get(user) == ["acme", 1]
    user.id = 2
    assert free.get(user) == ["acme", 2]
    Service.tenant = "umbrella"
    assert free.get(user) == ["umbrella", 2]


def test_a_template_may_leave_out_arguments() -> None:
    """What it does not name makes no difference."""

    @cache(key="user:{user_id}")
    def get(user_id: int, trace: str) -> object:
        return object()

    assert get(1, "a") is get(1, "b") is get(1, "a")


def test_a_callable_makes_a_text_or_a_tuple() -> None:
    """It gets the arguments without self; a text is taken as it is, a tuple is encoded."""

    class Service:
        @cache(key=lambda a, b=2: f"{a}/{b}")
        def text(self, a: int, b: int = 2) -> object:
            return object()

        @cache(key=lambda a, b: (a, str(b)))
        def pair(self, a: int, b: int = 2) -> object:
            return object()

        @cache(key=lambda a, *rest, **named: (a, rest, named))
        def stars(self, a: int, *rest: int, **named: int) -> object:
            return object()

    service = Service()
    assert service.text.key(1) == "1/2"
    assert service.pair.key(1) == '1,"2"'
    assert service.stars.key(1, 2, 3, z=4) == '1,(2,3),{"z":4}'
    assert service.text(1) is service.text(1, b=2)


@pytest.mark.parametrize("answer", [1, None, ["a"], b"a"])
def test_a_callable_that_makes_something_else_is_refused(answer: object) -> None:
    """Anything but a str or a tuple is a mistake in the code, and raises at the call."""

    @cache(key=lambda x: answer)
    def get(x: int) -> int:
        return x

    with pytest.raises(InvalidOption, match="Expected a str"):
        get(1)


# vary=


def test_vary_joins_the_key() -> None:
    """Each value of a ContextVar, and of a function, has entries of its own."""
    tenant: ContextVar[str] = ContextVar("tenant")
    locale = "en"

    @cache(vary=[tenant, lambda: locale])
    def get(x: int) -> list[object]:
        return [tenant.get(None), locale, x]

    assert get(1) == [None, "en", 1]
    token = tenant.set("acme")
    assert get(1) == ["acme", "en", 1]
    assert get.key(1) == '1|"acme","en"'
    locale = "de"
    assert get(1) == ["acme", "de", 1]
    tenant.reset(token)
    assert get(1) == [None, "de", 1]
    assert get.stats.misses == 4


def test_a_default_of_a_context_variable_is_a_value() -> None:
    """Not set and set to the default are the same to the function, so they are one key."""
    tenant: ContextVar[str] = ContextVar("tenant", default="none")

    @cache(vary=tenant)
    def get() -> object:
        return object()

    first = get()
    assert get.key() == '|"none"'
    tenant.set("none")
    assert get() is first


def test_varying_calls_can_be_cleared_by_their_key() -> None:
    """invalidate() is for the variant in force, a pattern is for all of them."""
    tenant: ContextVar[str] = ContextVar("tenant", default="a")

    @cache(key="user:{x}", vary=[tenant])
    def get(x: int) -> object:
        return object()

    of_a = get(1)
    tenant.set("b")
    of_b = get(1)
    get.invalidate(1)
    assert get(1) is not of_b
    tenant.set("a")
    assert get(1) is of_a
    get.invalidate_matching("user:1|*")
    assert get(1) is not of_a


# What is refused when the decorator runs


async def async_function(*_: object) -> Any: ...


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"key": "user:{user}"}, "'user' is not a parameter.*Did you mean 'user_id'"),
    ({"tags": ["user:{nobody}"]}, "'nobody' is not a parameter"),
    ({"key": "{user_id}{lang}"}, "run into each other"),
    ({"key": "user:{user_id"}, "without its partner"),
    ({"key": "{}"}, "names nothing"),
    ({"key": "{user_id!r}"}, "more than a name"),
    ({"key": 5}, "key=5: expected a template"),
    ({"key": async_function}, "key=.*"),
    ({"tags": async_function}, "tags=.*async"),
    ({"tags": 5}, "tags"),
    ({"tags": "products"}, "tags"),
    ({"when": async_function}, "when=.*async"),
    ({"errors": async_function}, "errors=.*async"),
    ({"errors": None}, "errors=None"),
    ({"errors": (ValueError, int)}, "no exception type"),
    ({"vary": async_function}, "vary=.*async"),
    ({"vary": 5}, "vary=5"),
    ({"vary": [5]}, "vary=5"),
    ({"enabled": async_function}, "enabled=.*async"),
    ({"enabled": "yes"}, "enabled='yes': expected True, False or a function"),
    ({"enabled": None}, "enabled=None"),
    ({"copy": 1}, "copy=1"),
    ({"compress": "zlib"}, "compress='zlib'"),
    ({"memory": "soon"}, "memory='soon'"),
    ({"memory": 0}, "memory=0"),
    ({"name": ""}, "name=''"),
    ({"name": 5}, "name=5"),
    ({"provider": "memory", "memory": True}, "memory=True beside provider='memory'"),
    ({"provider": "memory", "memory": "1 minute"}, "or write memory=None"),
    ({"provider": "memory", "compress": True}, "compress=True beside .* or write compress=False"),
    ({"soft_timeout": 1}, "soft_timeout=1 needs stale_if_error"),
    ({"soft_timeout": 5, "timeout": 5, "stale_if_error": 9}, "not shorter than timeout=5"),
    ({"refresh_ahead": 0}, "refresh_ahead=0: expected a fraction"),
    ({"refresh_ahead": 1}, "refresh_ahead=1"),
    ({"refresh_ahead": -0.5}, "refresh_ahead=-0.5"),
    ({"refresh_ahead": True}, "refresh_ahead=True"),
    ({"refresh_ahead": "0.5"}, "refresh_ahead='0.5'"),
    ({"refresh_ahead": 0.5, "ttl": None}, "refresh_ahead=0.5 is a part of the ttl"),
    ({"jitter": 1.0}, "jitter=1.0: expected a fraction"),
    ({"jitter": -0.1}, "jitter=-0.1"),
    ({"jitter": float("nan")}, "jitter=nan"),
    ({"jitter": 0.1, "ttl": None}, "jitter=0.1 is a part of the ttl"),
    ({"unknown": 1}, "unknown option 'unknown'. There are: ttl"),
    ({"tag": ["a"]}, "unknown option 'tag'. Did you mean 'tags'"),
    ({"nam": "a"}, "unknown option 'nam'. Did you mean 'name'"),
    ({"maxsize": 128}, r"maxsize=: .* MemoryCacheProvider\(max_entries=10_000\)"),
    ({"max_entries": 128}, r"max_entries=: what is bounded is the memory of the app"),
    ({"errors": "ValueError"}, "errors='ValueError': expected exception types"),
    ({"serializer": "json"}, r"serializer='json' has no decode\(\)"),
    ({"provider": 5}, "provider=5"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_an_impossible_option_raises_when_the_decorator_runs(
    options: dict[str, Any], message: str
) -> None:
    """The message names option and value; nothing is put off until the first call."""
    with pytest.raises(StillfreshError, match=message) as caught:

        @cache(**options)
        def get(user_id: int, lang: str = "en") -> int:
            return user_id

    assert isinstance(caught.value, InvalidOption | InvalidDuration)


OPTIONS = ["ttl", "stale", "stale_if_error", "timeout", "soft_timeout", "memory"]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("value", [0, -1, "10m5", "", float("nan"), float("inf"), True, "soon"])
def test_bad_durations_raise_when_the_decorator_runs(option: str, value: Any) -> None:
    """Every option that is a length of time names itself and the value."""
    if option == "memory" and value is True:
        value = False
        MemoryTier()
        with pytest.raises(InvalidDuration):
            cache(memory=MemoryTier(ttl=value))
        return
    with pytest.raises(InvalidDuration, match=f"{option}="):
        cache(**{option: value, "name": "x"})


def test_options_are_named() -> None:
    """`@cache(60)` says how it is written."""
    for value in (60, "10 minutes", (10, "minutes")):
        with pytest.raises(InvalidOption, match=r"options are named. Write @cache\(ttl="):
            cache(value)


def test_options_that_are_fine() -> None:
    """The limits of what is allowed are allowed."""
    cache(jitter=0, refresh_ahead=0.999, ttl="1s")
    cache(errors=())
    cache(errors=[ValueError, KeyError])
    cache(soft_timeout=1, timeout=2, stale_if_error=1)
    cache(ttl=None, stale=None, timeout=None, memory=None, key=None, tags=None)
    cache(memory=True, vary=())
    cache(when=functools.partial(bool))
