"""Nodes for values with parts: lists, sets, tuples, dicts."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any, Final, cast

from .node import FIT, BadShape, Book, Misfit, Node, Walk, exact, key_step, mismatch, shaped_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FACTORIES: Final[tuple[type, ...]] = (bool, bytes, dict, float, int, list, set, str, tuple)
"""The default factories of a defaultdict that can be named in a frame."""


class ItemsNode(Node):
    """Any number of items of one type, in a container of exactly one class."""

    __slots__ = ("cls", "item")

    # Any: the class is called with a list, and its items are the node's concern.
    def __init__(self, cls: Callable[[Any], Any], item: Node) -> None:
        self.cls = cast("type[Any]", cls)
        self.item = item

    def takes(self, value: object) -> bool:
        return type(value) is self.cls

    def lower(self, value: object, walk: Walk) -> object:
        if type(value) is not self.cls:
            raise mismatch(self.cls, value)
        return self._lower_items(cast("Iterable[object]", value), walk)

    def _lower_items(self, value: Iterable[object], walk: Walk) -> list[object]:
        walk.enter()
        out: list[object] = []
        lower = self.item.lower
        try:
            for item in value:
                out.append(lower(item, walk))  # noqa: PERF401 - a misfit needs its place
        except Misfit as misfit:
            ordered = self.cls not in (set, frozenset)
            misfit.inside(f"[{len(out)}]" if ordered else "{...}", value)
            raise
        walk.depth -= 1
        return out

    def lift(self, plain: object) -> object:
        items = shaped_list(plain)
        value = self.cls(self.item.lift_all(items))
        if len(value) != len(items):
            raise BadShape("two items of a set are equal")
        return value

    def describe(self, book: Book) -> str:
        return f"{self.cls.__name__}[{self.item.describe(book)},...]"


class DequeNode(ItemsNode):
    """A deque; its `maxlen` is kept."""

    __slots__ = ()

    def __init__(self, item: Node) -> None:
        super().__init__(deque, item)

    def lower(self, value: object, walk: Walk) -> object:
        if type(value) is not deque:
            raise mismatch(deque, value)
        items = cast("deque[object]", value)
        return [items.maxlen, self._lower_items(items, walk)]

    def lift(self, plain: object) -> object:
        maxlen, items = shaped_list(plain, 2)
        if maxlen is not None:
            maxlen = exact(int, maxlen)
        return deque(self.item.lift_all(shaped_list(items)), maxlen)


class TupleNode(Node):
    """A tuple with a type for each place."""

    __slots__ = ("items",)

    def __init__(self, items: tuple[Node, ...]) -> None:
        self.items = items

    def takes(self, value: object) -> bool:
        return type(value) is tuple and len(cast("tuple[object, ...]", value)) == len(self.items)

    def lower(self, value: object, walk: Walk) -> object:
        kind: object = type(value)
        if kind is not tuple:
            raise mismatch(tuple, value)
        items = cast("tuple[object, ...]", value)
        if len(items) != len(self.items):
            raise Misfit(
                f"expected a tuple of {len(self.items)}, found a tuple of {len(items)}. {FIT}"
            )
        return lower_each(self.items, items, walk, value)

    def lift(self, plain: object) -> object:
        return tuple(lift_each(self.items, plain))

    def describe(self, book: Book) -> str:
        return f"tuple[{','.join(item.describe(book) for item in self.items)}]"


class DictNode(Node):
    """A dict, an OrderedDict or a Counter; keys and values by turns, in order."""

    __slots__ = ("_bare", "cls", "key", "value")

    def __init__(self, cls: type[dict[Any, Any]], key: Node, value: Node) -> None:
        self._bare = key.bare and value.bare
        self.cls = cls
        self.key = key
        self.value = value

    def takes(self, value: object) -> bool:
        return type(value) is self.cls

    def lower(self, value: object, walk: Walk) -> object:
        if type(value) is not self.cls:
            raise mismatch(self.cls, value)
        walk.enter()
        flat: list[object] = []
        for key, item in list(cast("dict[object, object]", value).items()):
            try:
                flat += (self.key.lower(key, walk), self.value.lower(item, walk))
            except Misfit as misfit:
                misfit.inside(key_step(key), value)
                raise
        walk.depth -= 1
        return flat

    def lift(self, plain: object) -> object:
        value: dict[object, object]
        if self.cls is dict:
            flat = cast("list[object]", plain) if type(plain) is list else shaped_list(plain)
            if self._bare:  # as most: nothing is to be done for each item
                turns = iter(flat)
                value = dict(zip(turns, turns))  # noqa: B905  # the lengths are compared below
                if (
                    2 * len(value) == len(flat)
                    and self.key.all_bare(value)
                    and self.value.all_bare(value.values())
                ):
                    return value
            keys, items = self.key.lift_all(flat[::2]), self.value.lift_all(flat[1::2])
            value = dict(zip(keys, items))  # noqa: B905  # the lengths are compared below
            if 2 * len(value) != len(flat):
                raise BadShape("two keys of a dict are equal, or one has no value")
        else:
            value = self.cls()
            self._fill(value, plain)
        return value

    def _fill(self, value: dict[object, object], plain: object) -> None:
        flat = shaped_list(plain)
        keys, items = self.key.lift_all(flat[::2]), self.value.lift_all(flat[1::2])
        for key, item in zip(keys, items, strict=True):
            value[key] = item  # noqa: PERF403  # it may be a Counter, which would count them
        if 2 * len(value) != len(flat):
            raise BadShape("two keys of a dict are equal")

    def describe(self, book: Book) -> str:
        return f"{self.cls.__name__}[{self.key.describe(book)},{self.value.describe(book)}]"


class DefaultDictNode(DictNode):
    """A defaultdict; its factory is kept if it is a well-known class."""

    __slots__ = ()

    def __init__(self, key: Node, value: Node) -> None:
        super().__init__(defaultdict, key, value)

    def lower(self, value: object, walk: Walk) -> object:
        flat = super().lower(value, walk)
        factory = cast("defaultdict[object, object]", value).default_factory
        if factory is None:
            return [None, flat]
        if factory not in FACTORIES:
            known = ", ".join(cls.__name__ for cls in FACTORIES)
            raise Misfit(
                f"a defaultdict comes back only with one of {known} as its default_factory. "
                "Use one of them, or return dict(value)."
            )
        return [factory.__name__, flat]

    def lift(self, plain: object) -> object:
        name, flat = shaped_list(plain, 2)
        factory = None
        if name is not None:
            factory = {cls.__name__: cls for cls in FACTORIES}[exact(str, name)]
        value: defaultdict[object, object] = defaultdict(factory)
        self._fill(value, flat)
        return value


def lower_each(
    nodes: tuple[Node, ...],
    items: Iterable[object],
    walk: Walk,
    container: object,
    names: tuple[str, ...] = (),
) -> list[object]:
    """Lower items one by one, each with its own node; *names* are for the path."""
    walk.enter()
    out: list[object] = []
    try:
        for node, item in zip(nodes, items, strict=True):
            out.append(node.lower(item, walk))
    except Misfit as misfit:
        place = len(out)
        misfit.inside(f".{names[place]}" if names else f"[{place}]", container)
        raise
    walk.depth -= 1
    return out


def lift_each(nodes: tuple[Node, ...], plain: object) -> list[object]:
    """Lift as many items as there are nodes."""
    items = shaped_list(plain, len(nodes))
    out: list[object] = []
    # A loop: a comprehension is one more frame per level on Python 3.11.
    for node, item in zip(nodes, items, strict=True):
        out.append(node.lift(item))
    return out


DICTS: Final[tuple[type[dict[Any, Any]], ...]] = (dict, OrderedDict, Counter)
"""The dicts that need nothing but their items."""
