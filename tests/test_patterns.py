"""Patterns over keys: only the star is special."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillfresh.errors import InvalidOption
from stillfresh.keys.patterns import compile_pattern, literal_prefix


def matches(pattern: str, text: str) -> bool:
    """All of *text* matches *pattern*."""
    return compile_pattern(pattern)(text)


def slowly(pattern: str, text: str) -> bool:
    """What a pattern means, said as short as possible."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return slowly(pattern[1:], text) or (bool(text) and slowly(pattern, text[1:]))
    return bool(text) and pattern[0] == text[0] and slowly(pattern[1:], text[1:])


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("", ""),
        ("*", ""),
        ("*", "anything\nat all"),
        ("**", "x"),
        ("user:1", "user:1"),
        ("user:*", "user:"),
        ("user:*:sessions", "user:a:b:sessions"),
        ("*:sessions", "user:1:sessions"),
        ("a*b*c", "a-b-b-c"),
        ("*ab*ab*", "xabab"),
        ("*a*b*", "aba"),
        ("a?[b]\\", "a?[b]\\"),
        ("*é*", "café au lait"),
    ],
)
def test_match(pattern, text):
    """A star is any run of characters, empty ones and newlines included."""
    assert matches(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("", "x"),
        ("user:1", "user:12"),
        ("user:1", "my user:1"),
        ("user:*", "USER:1"),
        ("user:*:sessions", "user:sessions"),
        ("ab*ba", "aba"),
        ("*ab*b", "ab"),
        ("a*b*c", "acb"),
        ("*ab*ab*", "xab"),
        ("a?c", "abc"),
        ("[ab]", "a"),
        ("\\*", "*"),
    ],
)
def test_no_match(pattern, text):
    """Everything but the star stands for itself, and the whole text counts."""
    assert not matches(pattern, text)


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_agrees_with_the_definition(pattern, text):
    """Going from piece to piece without a way back finds what trying everything finds."""
    assert matches(pattern, text) is slowly(pattern, text)


@given(st.text("ab*\n", max_size=12))
def test_a_pattern_matches_itself(pattern):
    """A star in a text is an ordinary character, which a star matches."""
    assert matches(pattern, pattern)


@given(st.text("ab*", max_size=6), st.lists(st.text("ab*", max_size=6)))
def test_a_compiled_pattern_is_used_for_many_texts(pattern, texts):
    """A compiled pattern keeps nothing from one text to the next."""
    test = compile_pattern(pattern)
    assert [test(text) for text in texts] == [matches(pattern, text) for text in texts]


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_every_match_begins_with_the_literal_prefix(pattern, text):
    """What a store skips because of the prefix could not have matched."""
    if matches(pattern, text):
        assert text.startswith(literal_prefix(pattern))


@pytest.mark.parametrize(
    ("pattern", "prefix"), [("user:*:x", "user:"), ("user:1", "user:1"), ("*", ""), ("", "")]
)
def test_literal_prefix(pattern, prefix):
    """The literal prefix ends before the first star."""
    assert literal_prefix(pattern) == prefix


def test_hostile_pattern_finishes():
    """Many stars over a text that almost matches take no exponential time."""
    assert not matches("*a" * 50_000 + "b", "a" * 1_000_000)
    assert not matches("*" * 100_000 + "ab*", "a" * 1_000_000)
    assert not matches("*" + "a" * 5_000 + "b*", "a" * 1_000_000)


def test_what_is_no_text_is_refused():
    """The message says what a pattern is."""
    with pytest.raises(InvalidOption, match=r"pattern 3: expected a text, .* such as 'user:\*'"):
        compile_pattern(3)
