"""The part of the suite about changes by hand: whom they reach, and what they end."""

# ruff: noqa: S101  # it ships, and its asserts are the claims

from __future__ import annotations

from typing import TYPE_CHECKING

from ..entry import Entry, Windows
from ..providers.base import Lease
from .contract_base import ContractBase, on_both_faces

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .bench import Bench

ODD = (
    "*",
    "**",
    "?",
    "[a-z]",
    "{x}",
    "a|b",
    "a:b",
    "a%2Ab",
    "%",
    "\\",
    "a\nb",
    '"quoted"',
    "'",
    " ",
    "",
    "~",
    "\x00",
    "é",
    "e\u0301",
    "鍵",
    "🔑",
    "@",
)
"""Texts that are ordinary keys and ordinary ends of a namespace."""

PATTERNS: dict[str, set[str]] = {
    "*": {"user:1", "user:12", "user:1:x", "user:\n:x", "use?:1", "[u]ser", "", "a*b", "aXb"},
    "user:*": {"user:1", "user:12", "user:1:x", "user:\n:x"},
    "user:1": {"user:1"},
    "user:1*": {"user:1", "user:12", "user:1:x"},
    "user:*:x": {"user:1:x", "user:\n:x"},
    "*:x": {"user:1:x", "user:\n:x"},
    "*s*r*1*": {"user:1", "user:12", "user:1:x"},
    "user:?": set(),
    "use?:1": {"use?:1"},
    "use?:*": {"use?:1"},
    "[u]ser": {"[u]ser"},
    "[u]*": {"[u]ser"},
    "a*b": {"a*b", "aXb"},
    "": {""},
}
"""What each pattern matches among the keys of the first one."""


class ChangesContract(ContractBase):
    """Who changes by hand wins over who computes, and reaches exactly what was named."""

    @on_both_faces
    async def test_a_change_by_hand_refuses_what_was_being_computed(self, b: Bench) -> None:
        """After any change the lease is over, the key is free, and nothing old is written."""
        p = b.provider
        tag = frozenset([b.tag("static")])
        changes: dict[str, Coroutine[object, object, object]] = {
            "delete": p.delete([b.at("delete")]),
            "put": p.put([(b.at("put"), b.entry(7))]),
            "expire": p.expire(b.at("expire")),
            "incr": p.incr(b.at("incr"), 5, Windows(60.0)),
            "matching": p.invalidate_matching(b.space, "matc*"),
            "prefix": p.invalidate_matching(b.space, "*", "pref"),
            "tag": p.invalidate_tags(None, tag),
            "scoped tag": p.invalidate_tags(b.space + "scoped", tag),
            "clear": p.clear(b.space + "clear"),
        }
        spaces = {"scoped tag": "scoped", "clear": "clear"}
        for name, change in changes.items():
            address = b.at(name, spaces.get(name, ""))
            lease = await b.lease(address, *(tag if "tag" in name else ()))
            await change
            assert not await b.busy(address), name
            stale = b.entry(1, tags=tuple(lease.tags))
            assert not await p.store(lease, stale), name
            there = await b.seen(name, spaces.get(name, ""))
            if name == "put":
                assert there == b.value(7)
            elif name == "incr":
                assert there == (b"5" if p.serialized else 5)
            else:
                assert there is None, name

    @on_both_faces
    async def test_a_late_tag_refuses_the_store(self, b: Bench) -> None:
        """A tag that is known only with the value counts as well, in either scope."""
        for scope in (None, b.space):
            lease = await b.lease()
            await b.provider.invalidate_tags(scope, [b.tag("late")])
            assert not await b.provider.store(lease, b.entry(1, tags=(b.tag("late"),)))
            assert await b.seen() is None
            assert not await b.busy()

    @on_both_faces
    async def test_other_changes_leave_a_computation_alone(self, b: Bench) -> None:
        """What does not concern the key, its namespace or its tags does not end its lease."""
        await b.provider.invalidate_tags(None, [b.tag("mine")])
        lease = await b.lease(b.at(), b.tag("mine"))
        await b.provider.delete([b.at("other"), b.at(space="x")])
        await b.provider.invalidate_tags(None, [b.tag("other")])
        await b.provider.invalidate_tags(b.space + "x", [b.tag("mine")])
        await b.provider.invalidate_matching(b.space, "other*")
        await b.provider.invalidate_matching(b.space, "*", "other")
        await b.provider.clear(b.space + "x")
        assert await b.provider.store(lease, b.entry(1, tags=(b.tag("mine"),)))
        assert await b.seen() == b.value(1)

    # Tags

    @on_both_faces
    async def test_dropping_a_tag_drops_its_members(self, b: Bench) -> None:
        """Whoever holds one of the tags is gone; entries that are written later are not."""
        one, two = b.tag("one"), b.tag("two")
        await b.put("a", tags=(one,))
        await b.put("b", tags=(one, two))
        await b.put("c", tags=(two,))
        await b.put("d")
        await b.provider.invalidate_tags(None, [one, b.tag("nobody")])
        assert sorted(await b.provider.keys(b.space)) == ["c", "d"]
        assert await b.seen("a") is None
        assert await b.seen("b") is None
        await b.put("a", tags=(one,))
        assert await b.seen("a") == b.value(1)
        await b.provider.invalidate_tags(None, [one, two])
        assert await b.provider.keys(b.space) == ["d"]
        await b.provider.invalidate_tags(None, [])
        assert await b.seen("d") == b.value(1)

    @on_both_faces
    async def test_a_scoped_tag_stays_in_its_namespace(self, b: Bench) -> None:
        """The same tag of another namespace lives on, until it is dropped everywhere."""
        entries = [(b.at(space=space), b.entry(1, tags=(b.tag(),))) for space in ("", "x")]
        await b.provider.put(entries)
        await b.provider.invalidate_tags(b.space, [b.tag()])
        assert await b.seen() is None
        assert await b.seen(space="x") == b.value(1)
        await b.provider.invalidate_tags(None, [b.tag()])
        assert await b.seen(space="x") is None

    @on_both_faces
    async def test_a_late_tag_is_a_tag(self, b: Bench) -> None:
        """An entry is dropped by a tag that came with its value."""
        lease = await b.lease(b.at(), b.tag("early"))
        tags = (b.tag("early"), b.tag("late"))
        assert await b.provider.store(lease, b.entry(1, tags=tags))
        await b.provider.invalidate_tags(None, [b.tag("late")])
        assert await b.seen() is None

    @on_both_faces
    async def test_odd_tags_are_names(self, b: Bench) -> None:
        """Nothing in a tag means anything."""
        for text in ODD:
            await b.put(text, tags=(b.tag(text),))
        left = set(ODD)
        for text in ODD:
            await b.provider.invalidate_tags(None, [b.tag(text)])
            left.discard(text)
            assert set(await b.provider.keys(b.space)) == left, text

    # Names and patterns

    @on_both_faces
    async def test_odd_keys_are_keys(self, b: Bench) -> None:
        """Every text is a key of its own, and is listed and deleted as it was written."""
        addresses = [b.at(key) for key in ODD]
        await b.provider.put([(a, b.entry(n)) for n, a in enumerate(addresses)])
        entries = await b.provider.look_many(addresses)
        assert [e and e.value for e in entries] == [b.value(n) for n in range(len(ODD))]
        assert sorted(await b.provider.keys(b.space)) == sorted(ODD)
        left = set(ODD)
        for address in addresses:
            assert await b.provider.delete([address]) == 1
            left.discard(address.key)
            assert set(await b.provider.keys(b.space)) == left

    @on_both_faces
    async def test_long_keys_are_keys(self, b: Bench) -> None:
        """Keys of ten thousand characters that differ in the last one are two."""
        one, two = b.at("k" * 10_000 + "1"), b.at("k" * 10_000 + "2")
        await b.provider.put([(one, b.entry(1)), (two, b.entry(2))])
        assert await b.seen(one.key) == b.value(1)
        lease = await b.provider.acquire(one, take=True)
        assert await b.provider.delete([one]) == 1
        assert await b.busy(one) is False
        assert isinstance(lease, Lease)
        assert not await b.provider.store(lease, b.entry(3))
        assert await b.seen(one.key) is None
        assert await b.seen(two.key) == b.value(2)
        await b.provider.clear(b.space)
        assert await b.seen(two.key) is None

    @on_both_faces
    async def test_namespaces_never_meet(self, b: Bench) -> None:
        """Whatever a namespace is called, it is cleared and searched alone."""
        await b.provider.put([(b.at("key", space), b.entry(1)) for space in ODD])
        left = list(ODD)
        for space in ODD:
            assert await b.provider.keys(b.space + space) == ["key"]
            await b.provider.clear(b.space + space)
            left.remove(space)
            assert await b.provider.keys(b.space + space) == []
            for other in left:
                assert await b.seen("key", other) == b.value(1), (space, other)

    @on_both_faces
    async def test_a_key_cannot_leave_its_namespace(self, b: Bench) -> None:
        """Namespace and key are two things, wherever the separator of a provider is."""
        pairs = [
            ("a", "b:c"),
            ("a:b", "c"),
            ("a", "b|c"),
            ("a|b", "c"),
            ("a{b", "}c"),
            ("a", "{b}c"),
        ]
        await b.provider.put([(b.at(k, s), b.entry(n)) for n, (s, k) in enumerate(pairs)])
        for number, (space, key) in enumerate(pairs):
            assert await b.seen(key, space) == b.value(number), (space, key)

    @on_both_faces
    async def test_only_the_star_is_special(self, b: Bench) -> None:
        """`*` is any text, none and line ends included; everything else is itself."""
        everything = PATTERNS["*"]
        for pattern, matching in PATTERNS.items():
            await b.put(*everything)
            assert set(await b.provider.keys(b.space, pattern)) == matching, pattern
            await b.provider.invalidate_matching(b.space, pattern)
            assert set(await b.provider.keys(b.space)) == everything - matching, pattern

    @on_both_faces
    async def test_a_prefix_is_plain_text(self, b: Bench) -> None:
        """Only keys that start with the prefix are dropped, and nothing in it is special."""
        await b.put("f*:1", "f*:2", "fx:1", "1")
        await b.provider.invalidate_matching(b.space, "*1", "f*:")
        assert sorted(await b.provider.keys(b.space)) == ["1", "f*:2", "fx:1"]
        await b.provider.invalidate_matching(b.space, "*", "f")
        assert await b.provider.keys(b.space) == ["1"]

    @on_both_faces
    async def test_clear_drops_a_namespace(self, b: Bench) -> None:
        """Everything in it is gone, tagged or not, and it may be used again."""
        await b.put("a", "b", tags=(b.tag(),))
        await b.put("c")
        await b.provider.clear(b.space)
        assert await b.provider.keys(b.space) == []
        await b.put("a")
        assert await b.provider.keys(b.space) == ["a"]

    # Counters

    @on_both_faces
    async def test_a_counter_counts(self, b: Bench) -> None:
        """`incr` starts at nothing, answers the sum, and the entry holds it."""
        windows = Windows(60.0)
        assert await b.provider.incr(b.at(), 5, windows) == 5
        assert await b.provider.incr(b.at(), -7, windows) == -2
        assert await b.provider.incr(b.at("other"), 0, windows) == 0
        assert await b.seen() == (b"-2" if b.provider.serialized else -2)
        assert await b.provider.delete([b.at()]) == 1
        assert await b.provider.incr(b.at(), 1, windows) == 1

    @on_both_faces
    async def test_what_was_put_can_be_counted_on(self, b: Bench) -> None:
        """An entry that holds a whole number is a counter."""
        value: object = b"41" if b.provider.serialized else 41
        await b.provider.put([(b.at(), Entry(value, b.clock.now(), Windows(60.0)))])
        assert await b.provider.incr(b.at(), 1, Windows(60.0)) == 42

    @on_both_faces
    async def test_the_life_of_a_counter_is_set_once(self, b: Bench) -> None:
        """Later additions do not prolong it; when it is over, counting starts anew."""
        windows = Windows(1.2)
        assert await b.provider.incr(b.at(), 1, windows) == 1
        await b.pass_time(0.7)
        assert await b.provider.incr(b.at(), 1, Windows(60.0)) == 2
        await b.pass_time(0.7)
        assert await b.provider.incr(b.at(), 1, windows) == 1

    @on_both_faces
    async def test_what_is_no_counter_stays_as_it_is(self, b: Bench) -> None:
        """Adding to anything else raises TypeError, and changes nothing."""
        await b.put("key")
        try:
            await b.provider.incr(b.at(), 1, Windows(60.0))
        except TypeError:
            assert await b.seen() == b.value(1)
        else:
            msg = "incr added to something that is no whole number"
            raise AssertionError(msg)
