"""Tags: one object dies, and all who hold it are gone."""

import gc

import pytest

from stillfresh import App
from stillfresh.errors import InvalidOption
from stillfresh.tags import _MOST_REMEMBERED, TagBook, checked_tags


def dead(markers):
    return any(marker.dead for marker in markers)


def test_members_share_their_markers():
    """Entries with the same tag in the same namespace hold the same versions."""
    book = TagBook()
    one, two = book.markers("a", ["x"]), book.markers("a", ["x"])
    assert len(one) == 2
    assert all(mine is theirs for mine, theirs in zip(one, two, strict=True))
    elsewhere = book.markers("b", ["x"])
    assert elsewhere[0] is not one[0]
    assert elsewhere[1] is one[1]
    assert book.markers("a", []) == ()


@pytest.mark.parametrize(
    ("scope", "tag", "a_dies", "b_dies"),
    [
        (None, "x", True, True),
        ("a", "x", True, False),
        ("b", "x", False, True),
        ("c", "x", False, False),
        (None, "z", False, False),
    ],
)
def test_scope(scope, tag, a_dies, b_dies):
    """A tag is dropped in one namespace, or (None) in all of them, and no other tag is."""
    book = TagBook()
    a, b = book.markers("a", ["x", "y"]), book.markers("b", ["x"])
    epoch = book.epoch
    book.drop(scope, [tag])
    assert (dead(a), dead(b)) == (a_dies, b_dies)
    assert book.dropped_since(epoch, "a", {"x"}) is a_dies
    assert book.dropped_since(epoch, "b", {"x"}) is b_dies
    assert not book.dropped_since(epoch, "a", {"y"})


def test_after_a_drop_there_is_a_new_version():
    """Who is stored later holds a living marker, and dies with the next drop."""
    book = TagBook()
    old = book.markers("a", ["x"])
    book.drop("a", ["x"])
    new = book.markers("a", ["x"])
    assert dead(old)
    assert not dead(new)
    book.drop(None, ["x"])
    assert dead(new)


def test_a_drop_counts_for_those_who_began_before():
    """A computation that began earlier is refused, one that begins later is not."""
    book = TagBook()
    before = book.epoch
    book.drop(None, ["x"])
    after = book.epoch
    assert after > before
    assert book.dropped_since(before, "a", {"x", "other"})
    assert not book.dropped_since(after, "a", {"x"})
    assert not book.dropped_since(before, "a", set())


def test_a_tag_that_nobody_holds_is_forgotten():
    """Versions live as long as somebody holds them."""
    book = TagBook()
    held = book.markers("a", ["x"])
    assert len(book._alive) == 2
    del held
    gc.collect()
    assert len(book._alive) == 0


def test_forget_lets_go_of_the_drops():
    """When nobody computes, what was dropped is of no interest any more."""
    book = TagBook()
    book.drop(None, ["x", "y"])
    book.forget()
    assert not book._dropped
    assert not book.dropped_since(book.epoch, "a", {"x"})


def test_too_many_drops_refuse_too_much_rather_than_too_little():
    """When the memory of drops is full, whoever began before counts as invalidated."""
    book = TagBook()
    before = book.epoch
    for n in range(_MOST_REMEMBERED + 1):
        book.drop(None, [f"tag{n}"])
    assert len(book._dropped) <= _MOST_REMEMBERED
    assert book.dropped_since(before, "a", {"tag0"})
    assert book.dropped_since(before, "a", {"never dropped"})
    assert book.dropped_since(before, "a", {f"tag{_MOST_REMEMBERED}"})
    assert not book.dropped_since(book.epoch, "a", {"tag0"})


def test_checked_tags_are_a_set_of_names():
    """Any collection of non-empty strings will do."""
    assert checked_tags(["a", "b", "a"], "tags") == frozenset({"a", "b"})
    assert checked_tags((), "tags") == frozenset()
    assert checked_tags((name for name in "ab"), "tags") == frozenset("ab")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("users", r"tags='users': expected a list of tags. Write \['users'\]."),
        (5, "tags=5: expected a list of tags, each a string."),
        (None, "tags=None: expected a list of tags"),
        (["a", ""], "tags: '' is not a tag"),
        (["a", 1], "tags: 1 is not a tag"),
        ([["a"]], "tags"),
    ],
)
def test_what_are_no_tags_is_named(tags, message):
    """The error says what it got, what it expected, and what to write."""
    with pytest.raises(InvalidOption, match=message):
        checked_tags(tags, "tags")


async def test_tags_to_drop_are_written_one_beside_the_other():
    """A list of them is the mistake of whoever has just written `tags=[...]`."""
    async with App() as app:
        with pytest.raises(InvalidOption, match=r"Write invalidate_tags\('a', 'b'\)"):
            await app.invalidate_tags(["a", "b"])
