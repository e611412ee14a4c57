"""
Source text for records: one function per class, with a line for each of its fields.

For a dataclass with the fields `id: int` and `tags: list[str]` the two functions read

    def lower(value):                            def lift(plain):
        if type(value) is not cls:                   if type(plain) is not list:
            raise Slow                                   raise BadShape('a list was expected')
        held = value.__dict__                        a0, a1 = plain
        if len(held) != 2:                           if type(a0) is not int:
            raise Slow                                   raise BadShape('...')
        a0 = held['id']                              a1 = f1(a1)
        a1 = held['tags']                            value = new(cls)
        if type(a0) is not int:                      value.id = a0
            raise Slow                               value.tags = a1
        a1 = f1(a1)                                  return value
        return a0, a1

What is not as plain as that has no such functions: a class that watches its attributes, or has
slots and a `__dict__`. See docs/decisions/0101.
"""

from __future__ import annotations

from keyword import iskeyword
from types import GetSetDescriptorType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from .containers import TupleNode
from .identical import slots_of
from .node import BadShape
from .records import FieldsNode, NamedTupleNode, ObjectNode, StructNode
from .scalars import Number, Scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .node import Node

Way: TypeAlias = "frozenset[type] | Callable[[Any], object] | None"
"""What is done at a place: look whether the type is one of these, call this, or nothing."""


class Slow(Exception):
    """A value for which the general way decides what it is to become."""


def kinds_of(node: Node) -> frozenset[type] | None:
    """Return the types of the values that travel as they are; None where some have to change."""
    if isinstance(node, Scalar):
        return frozenset({node.cls}) if node.bare else None
    return frozenset(node.kinds) if isinstance(node, Number) and complex not in node.kinds else None


def lowering(node: TupleNode | FieldsNode, ways: list[Way]) -> Callable[[Any], object] | None:
    """Return a function from a value to its plain data, or None; it raises where it is not sure."""
    if not ways:
        return None
    if isinstance(node, TupleNode):
        cls: type[Any] = tuple
        body = [f"{_names(ways)} = value"]
    else:
        found = _taken_apart(node)
        if found is None:
            return None
        cls, body = node.cls, found
    body = [
        "if type(value) is not cls:",
        "    raise Slow",
        *body,
        *_checks(ways, "Slow"),
        f"return ({_names(ways)})",
    ]
    return _made("lower(value)", body, ways, {"cls": cls, "Slow": Slow})


def lifting(node: TupleNode | FieldsNode, ways: list[Way]) -> Callable[[Any], object] | None:
    """Return a function from plain data to a value, or None."""
    if not ways:
        return None
    new: Any = object.__new__
    if isinstance(node, TupleNode):
        cls: type[Any] = tuple
        body = [f"return ({_names(ways)})"]
    else:
        found = _put_together(node)
        if found is None:
            return None
        cls, body = node.cls, found
        if isinstance(node, NamedTupleNode):
            new = tuple.__new__  # past a __new__ of its own
    body = [
        "if type(plain) is not list:",
        "    raise BadShape('a list was expected')",
        f"{_names(ways)} = plain",
        *_checks(ways, "BadShape('a field of another type')"),
        *body,
    ]
    scope: dict[str, object] = {"cls": cls, "new": new, "BadShape": BadShape}
    scope["put"] = object.__setattr__
    return _made("lift(plain)", body, ways, scope)


def _names(ways: list[Way]) -> str:
    return "".join(f"a{number}, " for number in range(len(ways)))


def _checks(ways: list[Way], error: str) -> list[str]:
    lines: list[str] = []
    for number, way in enumerate(ways):
        if isinstance(way, frozenset):
            test = f"is not k{number}" if len(way) == 1 else f"not in k{number}"
            lines += [f"if type(a{number}) {test}:", f"    raise {error}"]
        elif way is not None:
            lines.append(f"a{number} = f{number}(a{number})")
    return lines


def _made(
    head: str, body: list[str], ways: list[Way], scope: dict[str, object]
) -> Callable[[Any], object]:
    for number, way in enumerate(ways):
        if isinstance(way, frozenset):
            scope[f"k{number}"] = next(iter(way)) if len(way) == 1 else way
        else:
            scope[f"f{number}"] = way
    source = "\n".join([f"def {head}:", *(f"    {line}" for line in body)])
    exec(compile(source, f"<stillfresh: {head}>", "exec"), scope)  # noqa: S102  # our own text
    return cast("Callable[[Any], object]", scope[head.partition("(")[0]])


def _plain_names(node: FieldsNode) -> bool:
    return all(name.isidentifier() and not iskeyword(name) for name in node.names)


def _taken_apart(node: FieldsNode) -> list[str] | None:
    """Return the lines that take the fields out of `value`; None where that is not so simple."""
    cls, names = node.cls, node.names
    if not _plain_names(node):
        return None
    watched = _own(cls, "__getattribute__") or hasattr(cls, "__getattr__")
    slots = {name for name, _ in slots_of(cast("Hashable", cls))}
    if isinstance(node, NamedTupleNode):
        own = watched or slots or cls.__dictoffset__ or cls.__iter__ is not tuple.__iter__
        return None if own else [f"{_names(list[Way]([None] * len(names)))} = value"]
    if watched or (isinstance(node, StructNode) and hasattr(cls, "__post_init__")):
        return None
    if cls.__dictoffset__:
        if slots or not _dict_is_plain(cls):
            return None
        lines = ["held = value.__dict__", f"if len(held) != {len(names)}:", "    raise Slow"]
        return lines + [f"a{number} = held[{name!r}]" for number, name in enumerate(names)]
    if slots != set(names) or any(_found(cls, name) not in _members(cls) for name in names):
        return None
    return [f"a{number} = value.{name}" for number, name in enumerate(names)]


def _members(cls: type) -> list[object]:
    return [member for _, member in slots_of(cast("Hashable", cls))]


def _put_together(node: FieldsNode) -> list[str] | None:
    """Return the lines that make a value of the fields; None where that is not so simple."""
    cls, names = node.cls, node.names
    if not _plain_names(node):
        return None
    if isinstance(node, NamedTupleNode):
        return [f"return new(cls, ({_names(list[Way]([None] * len(names)))}))"]
    if isinstance(node, StructNode):
        given = ", ".join(f"{name}=a{number}" for number, name in enumerate(names))
        return [f"return cls({given})"]
    if not isinstance(node, ObjectNode):
        return None
    lines = ["value = new(cls)"]
    for number, name in enumerate(names):
        if _own(cls, "__setattr__"):  # such as a frozen one's
            lines.append(f"put(value, {name!r}, a{number})")
        else:
            lines.append(f"value.{name} = a{number}")
    return [*lines, "return value"]


def _own(cls: type, name: str) -> bool:
    """Tell whether *cls* does something in another way than every object."""
    return getattr(cls, name) is not getattr(object, name)


def _found(cls: type, name: str) -> object:
    return next(vars(base)[name] for base in cls.__mro__ if name in vars(base))


def _dict_is_plain(cls: type) -> bool:
    """Tell whether `__dict__` is what it is for every class."""
    own = [vars(base)["__dict__"] for base in cls.__mro__ if "__dict__" in vars(base)]
    return all(isinstance(one, GetSetDescriptorType) for one in own)
