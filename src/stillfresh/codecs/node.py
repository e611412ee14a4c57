"""
A node: one place in an annotation, and how values at that place travel.

`lower` turns a value into plain data (see `plain`) and refuses what would not
come back the same: the type must be exactly the annotated one. `lift` turns
plain data back and refuses any other shape. `describe` spells the type for
the fingerprint, the same in every process.

A refusal is a `Misfit`. Nobody carries a path on the way down; a misfit
collects it while it climbs, so that values that fit pay nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Collection

T = TypeVar("T")

MAX_DEPTH: Final = 150
"""How many containers may be nested; three Python frames each stay below the usual limit."""

FIT: Final = "Return what the annotation says, or change the annotation."
OWN_CLASS: Final = "A subclass would come back as its base: name that class in the annotation."
TOO_DEEP: Final = f"more than {MAX_DEPTH} containers are nested here. Store something flatter."
ITSELF: Final = "the value contains itself. Store something without the circle, such as ids."


class Misfit(Exception):
    """A value that would not come back; `deep` if it is nested too deeply, or in a circle."""

    def __init__(self, text: str, *, deep: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.deep = deep
        self._steps: list[tuple[str, int]] = []

    def inside(self, step: str, container: object) -> None:
        """Note on the way up that it happened at *step* of *container*."""
        self._steps.append((step, id(container)))

    def located(self) -> tuple[str, str]:
        """Its path and its text; a circle is cut where it closes."""
        path = "return"
        seen: set[int] = set()
        for step, container in reversed(self._steps):
            if self.deep and container in seen:
                return path, ITSELF
            seen.add(container)
            path += step
        if self.deep and len(path) > 100:
            path = path[:100] + "..."
        return path, self.text


class BadShape(ValueError):
    """Plain data that no value of this type lowers to."""


class Walk:
    """One way down a value: how deep it is, and which union branches have failed."""

    __slots__ = ("depth", "refused")

    def __init__(self) -> None:
        self.depth = 0
        self.refused: set[tuple[int, int]] = set()

    def enter(self) -> None:
        """Go one container deeper. Leaving is `depth -= 1`, and needless after a misfit."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Misfit(TOO_DEEP, deep=True)


class Book:
    """The nodes that a description has named, so that a recursive type has an end."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def seen(self, node: Node) -> str:
        """The reference to *node* if it has been described; else "", and it counts as such."""
        number = self._numbers.get(id(node))
        if number is not None:
            return f"#{number}"
        self._numbers[id(node)] = len(self._numbers)
        return ""


class Node(ABC):
    """One place in an annotation."""

    __slots__ = ()

    bare: bool = False
    """Its values may travel as they are; `all_bare` says whether some did."""

    @abstractmethod
    def takes(self, value: object) -> bool:
        """Whether the value looks right from outside; cheap, for choosing a union branch."""

    @abstractmethod
    def lower(self, value: object, walk: Walk) -> object:
        """
        Turn a value into plain data.

        Raises:
            Misfit: It would not come back the same.
        """

    @abstractmethod
    def lift(self, plain: object) -> object:
        """
        Turn plain data back into the value.

        Raises:
            BadShape: No value of this type lowers to it. Types that the user
                wrote may raise anything.
        """

    def lift_all(self, plain: list[object]) -> list[object]:
        """Lift each of many; what lifts to itself may come back as the same list."""
        out: list[object] = []
        # A loop: a comprehension is one more frame per level on Python 3.11.
        for one in plain:
            out.append(self.lift(one))  # noqa: PERF401  # see above
        return out

    def all_bare(self, plain: Collection[object]) -> bool:
        """Tell whether each of many would be lifted to itself."""
        del plain
        return False

    @abstractmethod
    def describe(self, book: Book) -> str:
        """Spell the type."""


class Later(Node):
    """A node that is not known yet: where a type refers to itself by name."""

    __slots__ = ("target",)

    target: Node

    def takes(self, value: object) -> bool:
        return self.target.takes(value)

    def lower(self, value: object, walk: Walk) -> object:
        return self.target.lower(value, walk)

    def lift(self, plain: object) -> object:
        return self.target.lift(plain)

    def describe(self, book: Book) -> str:
        return book.seen(self) or self.target.describe(book)


def derives(cls: type, base: type) -> bool:
    """Whether *cls* is a subclass; the checkers learn nothing from it, and need not."""
    return issubclass(cls, base)


def name_of(cls: type) -> str:
    """How a class is called in messages."""
    return cls.__qualname__


def full_name(cls: type) -> str:
    """How a class is called in fingerprints."""
    return f"{cls.__module__}.{cls.__qualname__}"


def key_step(key: object) -> str:
    """A key of a dict as a step of a path, whatever its repr does."""
    try:
        return f"[{key!r:.40}]"
    except Exception:  # noqa: BLE001 - the user's repr, or an int with too many digits
        return f"[{name_of(type(key))}]"


def mismatch(cls: type, value: object) -> Misfit:
    """Refuse a value whose type is not exactly *cls*."""
    found = type(value)
    step = OWN_CLASS if isinstance(value, cls) else FIT
    return Misfit(f"expected {name_of(cls)}, found {name_of(found)}. {step}")


def shaped_list(plain: object, length: int | None = None) -> list[object]:
    """*plain*, if it is a list (of that length)."""
    kind: object = type(plain)
    if kind is not list:
        raise BadShape("a list was expected")
    items = cast("list[object]", plain)
    if length is not None and len(items) != length:
        raise BadShape(f"a list of {length} was expected")
    return items


def exact(cls: type[T], plain: object) -> T:
    """*plain*, if it is exactly a *cls*."""
    if type(plain) is not cls:
        raise BadShape(f"expected {name_of(cls)}")
    return plain
