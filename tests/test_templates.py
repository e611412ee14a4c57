"""Templates: keys and tags from the values of a call."""

import enum
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import PurePosixPath
from types import SimpleNamespace
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stillfresh.errors import InvalidOption, UnstableArgument
from stillfresh.keys.templates import KeyTemplate, TagTemplate


class Color(enum.Enum):
    RED = 1


class Word(enum.StrEnum):
    ONE = "one"


class Broken:
    @property
    def id(self) -> int:
        raise AttributeError("no database")


BOTH = pytest.mark.parametrize("template", [KeyTemplate, TagTemplate])


@BOTH
@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("", {}, ""),
        ("all", {}, "all"),
        ("user:{user_id}", {"user_id": 7}, "user:7"),
        ("{user_id}", {"user_id": "a:b"}, "a:b"),
        ("{user.id}:profile", {"user": SimpleNamespace(id="u1")}, "u1:profile"),
        ("{self.tenant.name}", {"self": SimpleNamespace(tenant=SimpleNamespace(name="x"))}, "x"),
        ("{a}/{b}", {"a": 1, "b": "x"}, "1/x"),
        ("{a}/{a}", {"a": 1}, "1/1"),
        ("{{{a}}}", {"a": 1}, "{1}"),
        ("{{a}}", {}, "{a}"),
        ("100%:{a}", {"a": "%41"}, "100%:%41"),
        ("*:{a}\n", {"a": "*"}, "*:*\n"),
        ("{größe}", {"größe": 1}, "1"),
    ],
)
def test_render(template, text, arguments, expected):
    """Names and attributes in braces stand for values; doubled braces are plain ones."""
    known = {*arguments, "another"}
    assert template(text, known).render({**arguments, "another": object()}) == expected


@BOTH
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", "1"),
        (1, "1"),
        (True, "True"),
        (None, "None"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (Decimal("1.00"), "1.00"),
        (Color.RED, "Color.RED"),
        (Word.ONE, "one"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(1, 2), "01:02:00"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (PurePosixPath("/a/b"), "/a/b"),
        ("é😀\n", "é😀\n"),
    ],
)
def test_values_are_text(template, value, expected):
    """A plain value goes in with the text that an f-string gives it."""
    assert template("{x}", ["x"]).render({"x": value}) == expected == f"{value}"


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("{a}:{b}", {"a": "x:y", "b": "z"}, "x%3Ay:z"),
        ("{a}:{b}", {"a": "x", "b": "y:z"}, "x:y%3Az"),
        ("{a}:{b}", {"a": "x%3Ay", "b": "z"}, "x%253Ay:z"),
        ("p:{a}/{b}:s", {"a": "p:", "b": "/:s"}, "p:p:/%2F:s:s"),
        ("{a}-{b}::{c}", {"a": "-", "b": ":", "c": "/"}, "%2D-%3A::/"),
        ("{a}é{b}", {"a": "é", "b": "e"}, "%C3%A9ée"),
        ("{a} and {b}", {"a": "band", "b": "x"}, "b%61%6E%64 and x"),
    ],
)
def test_a_key_with_several_values_is_not_forged(text, arguments, expected):
    """The characters between two placeholders, and %, are escaped in the values."""
    assert KeyTemplate(text, arguments).render(arguments) == expected


def test_a_tag_is_what_one_writes():
    """In tags values stay as they are, so that `invalidate_tags("product:a:b")` hits."""
    tag = TagTemplate("{a}:{b}{c}", "abc")
    assert tag.render({"a": "product", "b": "a:b", "c": "%"}) == "product:a:b%"


# Few characters, and those of escapes among them, make collisions likely.
letters = st.text("%:2534A", max_size=4)


@given(
    st.lists(st.text("%:2534Aé", min_size=1, max_size=3), min_size=1, max_size=2),
    st.tuples(letters, letters),
    st.lists(letters, min_size=3, max_size=3),
    st.lists(letters, min_size=3, max_size=3),
)
def test_different_values_make_different_keys(between, around, one, other):
    """With any separators, two calls have one key only if all their values are the same."""
    assume(not any(literal.startswith("%") for literal in between))
    names = "abc"[: len(between) + 1]
    middle = "{a}" + "".join(
        f"{sep}{{{name}}}" for sep, name in zip(between, names[1:], strict=True)
    )
    template = KeyTemplate(around[0] + middle + around[1], names)
    one, other = one[: len(names)], other[: len(names)]
    keys = [template.render(dict(zip(names, values, strict=True))) for values in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)


any_text = st.text(max_size=8)


@given(any_text, any_text, any_text, any_text)
def test_any_texts_make_different_keys(a, b, c, d):
    """The same with all of Unicode, around a common separator."""
    template = KeyTemplate("{a}:{b}", "ab")
    same = template.render({"a": a, "b": b}) == template.render({"a": c, "b": d})
    assert same is ((a, b) == (c, d))


def test_names():
    """A template knows the parameters that it needs, attributes left out."""
    assert KeyTemplate("{user.id}:{page}:{user.name}", ["user", "page", "x"]).names == {
        "user",
        "page",
    }
    assert TagTemplate("all", []).names == frozenset()


@BOTH
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "user:{usr_id}",
            "'usr_id' is not a parameter, only 'user_id', 'page'. Did you mean 'user_id'?",
        ),
        ("{zzz}", "'zzz' is not a parameter, only 'user_id', 'page'. Use one of these."),
        ("{usr_id.name}", "'usr_id' is not a parameter"),
        ("{}", "{} names nothing. Write a parameter and perhaps attributes, as in {user.id};"),
        ("{ page }", "{ page } is more than a name."),
        ("{0}", "{0} is more than a name."),
        ("{page[0]}", "{page[0]} is more than a name. Write a parameter and perhaps attributes"),
        ("{page:02d}", "{page:02d} is more than a name."),
        ("{page:}", "{page:} is more than a name."),
        ("{page!r}", "{page!r} is more than a name."),
        ("{page=}", "{page=} is more than a name."),
        ("{page()}", "{page()} is more than a name."),
        ("{page.}", "{page.} is more than a name."),
        ("{.page}", "{.page} is more than a name."),
        ("{page..x}", "{page..x} is more than a name."),
        ("a{page", "a '{' without its partner at '{page'. Write {{ and }} for plain braces."),
        ("{page}}", "a '}' without its partner at '}'."),
        ("}", "a '}' without its partner at '}'."),
        ("{page:{user_id}}", "a '{' without its partner at '{page:{user_id}}'."),
        ("\ud800{page}", "holds half a character."),
    ],
)
def test_invalid_templates(template, text, complaint):
    """A template that cannot work is refused when it is made, and the message says what to write."""
    with pytest.raises(InvalidOption) as caught:
        template(text, ["user_id", "page"], option="key")
    assert str(caught.value).startswith(f"key={text!r}: {complaint}")
    assert str(caught.value)[-1] in ".?e"


@BOTH
def test_a_function_without_parameters_has_no_placeholders(template):
    """Where there is nothing to name, the message says so instead of listing nothing."""
    with pytest.raises(InvalidOption, match=r"'x' is not a parameter, there are none\."):
        template("{x}", [])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{a}{b}", "{a} and {b} run into each other. Write a separator between them."),
        ("{a}:{b}{b.c}", "{b} and {b.c} run into each other."),
        ("{a}%{b}", "the '%' after {a} looks like the escape of a character."),
    ],
)
def test_key_templates_that_could_be_forged(text, complaint):
    """Two values must not run into each other, nor an escape into what follows it."""
    with pytest.raises(InvalidOption) as caught:
        KeyTemplate(text, ["a", "b"])
    assert str(caught.value).startswith(f"key={text!r}: {complaint}")
    TagTemplate(text, ["a", "b"])


@BOTH
@pytest.mark.parametrize(
    ("text", "value", "complaint"),
    [
        ("{x}", [1], "a value of type list has no stable text."),
        ("{x}", {}, "a value of type dict has no stable text."),
        ("{x}", b"1", "a value of type bytes has no stable text."),
        ("{x}", object(), "a value of type object has no stable text."),
        ("{x}", int, "a value of type type has no stable text."),
        ("{x.y}", 1, "int has no attribute 'y'."),
        ("{x.y}", None, "NoneType has no attribute 'y'."),
        ("{x.id}", Broken(), "Broken has no attribute 'id'."),
        ("{x.real.y}", 1, "int has no attribute 'y'."),
        ("{x}", "a\ud800", "the text holds half a character."),
        pytest.param("{x}", 10**5000, "Exceeds the limit", id="huge int"),
    ],
)
def test_values_without_text(template, text, value, complaint):
    """A value whose text would not be stable is refused, with the placeholder and a way out."""
    with pytest.raises(UnstableArgument) as caught:
        template(text, ["x"], option="key").render({"x": value})
    assert str(caught.value).startswith(f"key={text!r}: {text}: {complaint}")
    assert str(caught.value).endswith("Name one of its attributes as {user.id}, or use a callable.")


def test_the_error_keeps_the_value():
    """The error holds the value that had no text, and why its attribute failed."""
    culprit = Broken()
    with pytest.raises(UnstableArgument) as caught:
        KeyTemplate("{x.id}", ["x"]).render({"x": culprit})
    assert caught.value.value is culprit
    assert str(caught.value.__cause__) == "no database"


def test_a_missing_argument():
    """A call that lacks a parameter of the template is an error that names it."""
    with pytest.raises(UnstableArgument, match="the call has no 'x'"):
        KeyTemplate("{x}", ["x"]).render({})


@BOTH
def test_options_are_named_by_default(template):
    """Without another word, the message says `key` or `tags`."""
    option = {KeyTemplate: "key", TagTemplate: "tags"}[template]
    with pytest.raises(InvalidOption, match=f"^{option}='"):
        template("{", [])
    assert repr(template("a{b}", ["b"])) == f"{template.__name__}('a{{b}}')"


@BOTH
def test_hostile_texts_finish(template):
    """A million braces or a value of a million separators take time in proportion."""
    assert template("{{" * 500_000, []).render({}) == "{" * 500_000
    with pytest.raises(InvalidOption):
        template("{" * 1_000_001, [])
    assert len(template("{a}:{b}", "ab").render({"a": ":" * 1_000_000, "b": ""})) > 1_000_000
