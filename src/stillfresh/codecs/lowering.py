"""
Functions that lower values to plain data: what `Node.lower` does, made for one type.

They are for values of which nothing has to be said: each of exactly its type, and of no more
than plain data can say. Where one is not, they raise anything, and `Node.lower` decides: it says
what is wrong and where, or finds the odd form that such a value has. So both ways write the same
bytes, or one of them none.

What is plain already is not copied: the packing looks at the value itself.
"""

from __future__ import annotations

from itertools import chain
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from . import unrolled
from .containers import DictNode, ItemsNode, TupleNode
from .node import MAX_DEPTH, Later, Walk
from .records import NamedTupleNode, ObjectNode
from .scalars import Scalar
from .unions import UnionNode
from .unknown import UnknownNode
from .unrolled import Slow, kinds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .node import Node
    from .unrolled import Way

Lower: TypeAlias = "Callable[[Any], object]"
_ATOMS: Final = frozenset({NoneType, bool, int, float, str, bytes})


def lowerer(node: Node) -> Lower:
    """Return a function that does for *node* what `node.lower` does, or raises."""
    return _Lowering().function(node)


class _Lowering:
    """One walk over the nodes of a type. It counts how deep it is, as `Walk` does with values."""

    def __init__(self) -> None:
        self._above: set[int] = set()
        self._depth = 0

    def function(self, node: Node) -> Lower:
        """Return what lowers one value."""
        kinds = kinds_of(node)
        if kinds is not None:
            return _looked_at(kinds)
        if isinstance(node, UnknownNode):
            return _plain(MAX_DEPTH - self._depth)
        if id(node) in self._above:  # it names itself
            return self._general(node)
        self._above.add(id(node))
        made: Lower | None = None
        if isinstance(node, Later):
            made = self.function(node.target)
        elif isinstance(node, UnionNode):
            made = self._union(node)
        else:
            self._depth += 1
            if type(node) is ItemsNode:
                made = self._items(node)
            elif type(node) is DictNode:
                made = self._dict(node)
            elif isinstance(node, TupleNode):
                made = unrolled.lowering(node, [self._way(item) for item in node.items])
            elif isinstance(node, ObjectNode | NamedTupleNode):
                made = unrolled.lowering(node, [self._way(field) for field in node.nodes])
            self._depth -= 1
        self._above.discard(id(node))
        return made or self._general(node)

    def _way(self, node: Node) -> Way:
        return kinds_of(node) or self.function(node)

    def _general(self, node: Node) -> Lower:
        depth = self._depth

        def lower(value: object) -> object:
            walk = Walk()
            walk.depth = depth
            return node.lower(value, walk)

        return lower

    def _items(self, node: ItemsNode) -> Lower:
        cls, way = node.cls, self._way(node.item)
        leaves = _leaves(node.item)
        if leaves is not None:

            def number(value: Any) -> object:
                if type(value) is not cls:
                    raise Slow
                return [(leaves[type(item)], item) for item in value]

            return number
        if isinstance(way, frozenset):

            def look(value: Any) -> object:
                if type(value) is not cls or not way.issuperset(map(type, value)):
                    raise Slow
                return value

            return look

        def lower(value: Any) -> object:
            if type(value) is not cls or way is None:
                raise Slow
            return [way(item) for item in value]

        return lower

    def _dict(self, node: DictNode) -> Lower:
        cls, keys, way = node.cls, self._way(node.key), self._way(node.value)

        def lower(value: Any) -> object:
            if type(value) is not cls:
                raise Slow
            flat = list(chain.from_iterable(value.items()))
            if isinstance(keys, frozenset):
                if not keys.issuperset(map(type, value)):
                    raise Slow
            elif keys is not None:
                flat[::2] = map(keys, flat[::2])
            if isinstance(way, frozenset):
                if not way.issuperset(map(type, flat[1::2])):
                    raise Slow
            elif way is not None:
                flat[1::2] = map(way, flat[1::2])
            return flat

        return lower

    def _union(self, node: UnionNode) -> Lower | None:
        """By the type of the value, where that says which is the first branch that takes it."""
        numbers: dict[type, int] = {}
        ways: list[Lower | None] = []
        for number, branch in enumerate(node.branches):
            kinds = kinds_of(branch)
            taken = kinds or _class_of(branch)
            if taken is None:
                return None
            ways.append(None if kinds is not None else self.function(branch))
            for cls in taken:
                if cls not in numbers:
                    numbers[cls] = number
                elif ways[numbers[cls]] is not None:  # the first of them may refuse it
                    return None

        def lower(value: object) -> object:
            number = numbers[type(value)]
            way = ways[number]
            return (number, value if way is None else way(value))

        return lower


def _leaves(node: Node) -> dict[type, int] | None:
    """Return the first branch of a union for each type; None where some values have to change."""
    if not isinstance(node, UnionNode):
        return None
    found: dict[type, int] = {}
    for number, branch in enumerate(node.branches):
        kinds = kinds_of(branch)
        if kinds is None:
            return None
        for kind in kinds:
            found.setdefault(kind, number)
    return found


def _class_of(node: Node) -> frozenset[type] | None:
    """Return the class of all values that *node* takes; None where that is not so simple."""
    if isinstance(node, Scalar | ItemsNode | DictNode | ObjectNode | NamedTupleNode):
        return frozenset({node.cls})
    return frozenset({tuple}) if isinstance(node, TupleNode) else None


def _looked_at(kinds: frozenset[type]) -> Lower:
    def look(value: object) -> object:
        if type(value) not in kinds:
            raise Slow
        return value

    return look


def _plain(depth: int) -> Lower:
    def look(value: object) -> object:
        _look_inside(value, depth)
        return value

    return look


def _look_inside(value: Any, depth: int) -> None:
    """
    Make sure that a value says by itself what it is.

    Raises:
        Slow: It does not, or has more than *depth* containers in each other.
    """
    kind = type(value)
    if kind in _ATOMS:
        return
    if depth <= 0 or (kind is not list and kind is not dict):
        raise Slow
    if kind is dict:
        if not _ATOMS.issuperset(map(type, value)):
            raise Slow
        value = value.values()
    if not _ATOMS.issuperset(map(type, value)):
        for item in list(value):
            _look_inside(item, depth - 1)
