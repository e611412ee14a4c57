"""
Functions that lift plain data back into values: what `Node.lift` does, made for one type.

A node finds out at each place what it is to do, and it is the same each time. Here that is found
out once: what comes as it is, is only looked at, many at once where there are many, and a record
has a function of its own (see `unrolled`).

What is rare stays with `Node.lift`: types that name themselves, and nodes that have no way here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from . import unrolled
from .containers import DictNode, ItemsNode, TupleNode
from .node import BadShape, Later, exact, shaped_list
from .records import NamedTupleNode, ObjectNode
from .unions import UnionNode
from .unknown import UnknownNode
from .unrolled import kinds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .node import Node
    from .unrolled import Way

Lift: TypeAlias = "Callable[[Any], object]"


def lifter(node: Node) -> Lift:
    """Return a function that does for *node* what `node.lift` does."""
    return _Lifting().function(node)


class _Lifting:
    """One walk over the nodes of a type."""

    def __init__(self) -> None:
        self._above: set[int] = set()

    def function(self, node: Node) -> Lift:
        """Return what lifts one value."""
        if id(node) in self._above:  # it names itself
            return node.lift
        self._above.add(id(node))
        made: Lift | None = None
        if isinstance(node, Later):
            made = self.function(node.target)
        elif type(node) is ItemsNode:
            made = self._items(node)
        elif type(node) is DictNode and node.cls is dict:
            made = self._dict(node)
        elif isinstance(node, UnionNode):
            made = self._union(node)
        elif isinstance(node, TupleNode):
            made = unrolled.lifting(node, [self._way(item) for item in node.items])
        elif isinstance(node, ObjectNode | NamedTupleNode):
            made = unrolled.lifting(node, [self._way(field) for field in node.nodes])
        self._above.discard(id(node))
        return made or node.lift

    def _way(self, node: Node) -> Way:
        """Return what is to be done with one value among others."""
        if isinstance(node, UnknownNode):  # whatever plain data says is what it means
            return None
        return kinds_of(node) or self.function(node)

    def _items(self, node: ItemsNode) -> Lift:
        cls, way, branches = node.cls, self._way(node.item), _leaves(node.item)
        kinds = way if isinstance(way, frozenset) else None
        each = way if callable(way) else None

        def lift(plain: Any) -> object:
            if type(plain) is not list:
                raise BadShape("a list was expected")
            items: list[object] = plain
            if kinds is not None:
                if not kinds.issuperset(map(type, items)):
                    raise BadShape("an item of another type")
            elif branches is not None:
                items = [item for number, item in plain if type(item) in branches[number]]
                if len(items) != len(plain):
                    raise BadShape("an item of another branch")
            elif each is not None:
                items = [each(item) for item in items]
            if cls is list:
                return items
            value = cls(items)
            if len(value) != len(items):
                raise BadShape("two items of a set are equal")
            return value

        return lift

    def _dict(self, node: DictNode) -> Lift | None:
        keys, way = self._way(node.key), self._way(node.value)
        if callable(keys):
            return None
        kinds = way if isinstance(way, frozenset) else None
        each = way if callable(way) else None

        def lift(plain: Any) -> object:
            if type(plain) is not list:
                raise BadShape("a list was expected")
            turns = iter(plain)
            value: dict[object, object] = dict(zip(turns, turns))  # noqa: B905  # compared below
            if 2 * len(value) != len(plain):
                raise BadShape("two keys of a dict are equal, or one has no value")
            if keys is not None and not keys.issuperset(map(type, value)):
                raise BadShape("a key of another type")
            if kinds is not None and not kinds.issuperset(map(type, value.values())):
                raise BadShape("a value of another type")
            if each is not None:
                for key, item in value.items():
                    value[key] = each(item)
            return value

        return lift

    def _union(self, node: UnionNode) -> Lift:
        ways = {number: self._way(branch) for number, branch in enumerate(node.branches)}

        def lift(plain: object) -> object:
            number, item = shaped_list(plain, 2)
            way = ways[exact(int, number)]
            if isinstance(way, frozenset):
                if type(item) not in way:
                    raise BadShape("a value of another branch")
                return item
            return item if way is None else way(item)

        return lift


def _leaves(node: Node) -> dict[int, frozenset[type]] | None:
    """Return the types of each branch of a union; None where some values have to change."""
    if not isinstance(node, UnionNode):
        return None
    found = {number: kinds_of(branch) for number, branch in enumerate(node.branches)}
    leaves = {number: kinds for number, kinds in found.items() if kinds is not None}
    return leaves if len(leaves) == len(found) else None
