"""
The node for a value that may be of several types: the number of the branch, then the value.

The number is what keeps `list[int] | tuple[int, ...]`, `bool | int` or two dataclasses
with the same fields apart. A branch that failed for a value is remembered during
the walk; without that, recursive unions could be tried exponentially often.
"""

from __future__ import annotations

from .node import BadShape, Book, Misfit, Node, Walk, exact, name_of, shaped_list


class UnionNode(Node):
    """A value of the first branch that it fits."""

    __slots__ = ("_title", "branches")

    def __init__(self, branches: tuple[Node, ...], title: str) -> None:
        self.branches = branches
        self._title = title

    def takes(self, value: object) -> bool:
        return any(branch.takes(value) for branch in self.branches)

    def lower(self, value: object, walk: Walk) -> object:
        depth = walk.depth
        tried: list[Misfit] = []
        for number, branch in enumerate(self.branches):
            mark = (id(branch), id(value))
            if mark in walk.refused or not branch.takes(value):
                continue
            try:
                return [number, branch.lower(value, walk)]
            except Misfit as misfit:
                if misfit.deep:
                    raise
                walk.depth = depth
                walk.refused.add(mark)
                tried.append(misfit)
        if len(tried) == 1:
            raise tried[0]
        raise Misfit(
            f"expected {self._title}, found {name_of(type(value))}, which fits no branch of it. "
            "Return one of these types exactly, or add its type to the union."
        )

    def lift(self, plain: object) -> object:
        number, item = shaped_list(plain, 2)
        place = exact(int, number)
        if not 0 <= place < len(self.branches):
            raise BadShape("a branch that does not exist")
        return self.branches[place].lift(item)

    def describe(self, book: Book) -> str:
        return f"union({'|'.join(branch.describe(book) for branch in self.branches)})"
