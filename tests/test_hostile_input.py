"""Whatever comes in: an answer, a miss or an error that says why; in linear time and memory."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillfresh import App, CacheProvider, RedisCacheProvider, cache
from stillfresh.durations import seconds
from stillfresh.entry import Entry, Windows
from stillfresh.errors import InvalidDuration, InvalidOption, UnstableArgument
from stillfresh.http.rules.conditional import byte_range, is_entity_tag, names_tag
from stillfresh.http.rules.fields import cache_control, form_decoded, http_date, members, vary
from stillfresh.http.rules.key import normal_escapes, normal_query
from stillfresh.http.rules.request_verdict import cookies
from stillfresh.keys.patterns import compile_pattern, literal_prefix
from stillfresh.keys.templates import KeyTemplate
from stillfresh.providers.redis.frame import UnreadableEntry, read_entry, seal
from stillfresh.providers.redis.names import encode, key_in, short

SMALL, FACTOR = 4_000, 8
MOST = FACTOR * 4
"""Linear would be 8 times as long, quadratic 64 times."""
QUICK = 0.01


def taken(work: Callable[[], object]) -> float:
    """Return the least processor time of three tries."""
    best = float("inf")
    gc.disable()  # a collection in the middle of a try would count as its time
    try:
        for _ in range(3):
            begin = time.process_time()
            with suppress(InvalidDuration, InvalidOption, UnreadableEntry):
                work()
            best = min(best, time.process_time() - begin)
    finally:
        gc.enable()
    return best


def duration(text: str) -> None:
    seconds(text)


def many_tags(count: int) -> bytes:
    """An entry with many tags."""
    tags = frozenset(f"tag{number}" for number in range(count))
    entry = Entry(b"value", 0.0, Windows(60.0), tags)
    versions = dict.fromkeys(tags, (b"r" * 25, b"s" * 25))
    return seal(entry, b"r" * 8, b"m" * 24, versions, None)


CASES: dict[str, Callable[[int], Callable[[], object]]] = {
    "duration of digits": lambda n: lambda: duration("1" * n),
    "duration of hours": lambda n: lambda: duration("1h" * n),
    "duration of spaces": lambda n: lambda: duration(" " * n + "x"),
    "duration of points": lambda n: lambda: duration("1." * n),
    "pattern of stars": lambda n: lambda: compile_pattern("*" * n)("a" * n),
    "pattern that nearly fits": lambda n: (
        lambda: compile_pattern("*" + "a" * (n // 2) + "b")("a" * n)
    ),
    "pattern of pieces": lambda n: lambda: compile_pattern("*a" * (n // 2))("a" * n),
    "pattern of pieces that do not fit": lambda n: lambda: compile_pattern("*ab" * n)("a" * n),
    "prefix of a pattern": lambda n: lambda: literal_prefix("a" * n + "*"),
    "template of braces": lambda n: lambda: KeyTemplate("{" * n, ["a"]),
    "template of empty places": lambda n: lambda: KeyTemplate("{}" * n, ["a"]),
    "name of odd characters": lambda n: lambda: short("%é*" * n),
    "name of escapes": lambda n: lambda: key_in(b"p:v:{n|" + encode("%" * n).encode() + b"}"),
    "entry with many tags": lambda n: partial(read_entry, many_tags(n // 4), 1, 0.0),
    "cookies": lambda n: lambda: cookies(((b"cookie", b"a=b;" * n),)),
    "cookies of semicolons": lambda n: lambda: cookies(((b"cookie", b";" * n),)),
    "query of parameters": lambda n: lambda: normal_query(b"a=%41&" * n),
    "escapes": lambda n: lambda: normal_escapes(b"%2" * n),
    "form": lambda n: lambda: form_decoded(b"%+" * n),
    "list of commas": lambda n: lambda: members(b"," * n),
    "list of quotes": lambda n: lambda: members(b'"\\' * n),
    "cache-control": lambda n: lambda: cache_control([b'max-age="1,' * n]),
    "vary": lambda n: lambda: vary(((b"vary", b"a," * n),)),
    "if-none-match": lambda n: lambda: names_tag(b'W/"' * n, b'"a"'),
    "entity tag": lambda n: lambda: is_entity_tag(b'"' + b"a" * n),
    "date": lambda n: lambda: http_date(b"Sun, " * n, 0.0),
    "range": lambda n: lambda: byte_range(b"bytes=" + b"1" * n + b"-", 10),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_reading_takes_linear_time(case: Callable[[int], Callable[[], object]]) -> None:
    """Eight times the input takes about eight times as long, not its square."""
    large = taken(case(SMALL * FACTOR))
    assert large < QUICK or large < MOST * max(taken(case(SMALL)), QUICK / FACTOR)


@given(st.text("0123456789.eEhmsdw +-_inf,\n\x00٣", max_size=30))
def test_any_text_is_a_duration_or_an_error_that_says_so(text: str) -> None:
    """A number of seconds that is positive and finite, or `InvalidDuration`."""
    try:
        found = seconds(text)
    except InvalidDuration:
        return
    assert 0 < found < float("inf")


@given(st.text("{}ab.!:[]0%é", max_size=20))
def test_any_text_is_a_template_or_an_error_that_says_so(text: str) -> None:
    """What is accepted makes a key of every value that has the attributes it names."""
    try:
        template = KeyTemplate(text, ["a", "b"])
    except InvalidOption:
        return
    try:
        assert isinstance(template.render({"a": "x{}%", "b": 1}), str)
    except UnstableArgument as error:
        assert "has no attribute" in str(error)  # noqa: PT017  # other errors may come, too


@given(st.binary(max_size=2_000), st.integers(0, 65_535), st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_a_claim_takes_no_memory(data: bytes, tags: int, key: int) -> None:
    """An entry that says it has many tags, or a long key, is read in the memory that it has."""
    front = bytearray(many_tags(0)[:74])
    front[68:70], front[70:74] = tags.to_bytes(2, "big"), key.to_bytes(4, "big")
    tracemalloc.start()
    try:
        with suppress(UnreadableEntry):
            read_entry(bytes(front) + data, 1_000, 0.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000 + 20 * len(data)


GARBAGE = [
    b"",
    b"\x00",
    b"SF",
    b"SF\x01",
    b"SF\x01F" + b"\xff" * 70,
    b"SF\x01E" + bytes(70),
    b"SF\x02F" + bytes(100),
    b"-",
    b"9" * 40,
    b"\xff" * 300,
    many_tags(3)[:-4],
    many_tags(3),
]


@pytest.mark.parametrize("kind", ["v", "l", "t", "f"])
@pytest.mark.parametrize("memory", [False, True], ids=["far", "near"])
async def test_garbage_on_the_server_breaks_no_call(
    kind: str, memory: bool, url: str, prefix: str, raw
) -> None:
    """Whatever stands where an entry, a lease or a version is expected: the function's value."""
    calls = 0

    @cache(name="garbled", key="k", tags=["t"], memory=memory)
    async def f() -> str:
        nonlocal calls
        calls += 1
        return "right"

    provider = RedisCacheProvider(url, prefix=prefix, lease="200 ms")
    async with App().provide(CacheProvider, provider):
        for garbage in (*GARBAGE, None):
            await f()
            for name in raw.keys(f"{prefix}:{kind}:*"):
                raw.delete(name)
                if garbage is None:
                    raw.rpush(name, "a list")
                else:
                    raw.set(name, garbage, px=60_000)
            if kind == "l":
                raw.set(f"{prefix}:l:{{garbled|k}}", garbage or b"x", px=60_000)
                raw.delete(f"{prefix}:v:{{garbled|k}}")
            assert await f() == "right"
            assert await f() == "right"
    assert calls
