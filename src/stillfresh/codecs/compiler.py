"""
From an annotation to a tree of nodes.

A type that can name itself (a class with fields, an alias) enters the memo
before its parts are compiled, so that the tree closes into a graph. What can
never come back raises at once, with the place in the annotation as its path.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import typing
from collections import Counter, OrderedDict, abc, defaultdict, deque
from enum import Enum
from types import NoneType
from typing import Annotated, Any, Final, ForwardRef, Literal, cast

from msgspec import Struct

from ..errors import NotSerializable
from .annotations import (
    UNKNOWN,
    FieldAnnotations,
    alias_value,
    field_annotations,
    is_alias,
    is_union,
    own_annotations,
    resolve_ref,
    says_nothing,
    unwrapped,
    word_of,
)
from .containers import DefaultDictNode, DequeNode, DictNode, ItemsNode, TupleNode
from .models import ModelNode, aliases_of, is_model, model_fields
from .node import BadShape, Book, Later, Misfit, Node, Walk, derives, full_name, name_of
from .records import FieldsNode, NamedTupleNode, ObjectNode, StructNode, TypedDictNode
from .scalars import LEAVES, EnumNode, LiteralNode
from .unions import UnionNode
from .unknown import UnknownNode

LISTS: Final[dict[object, tuple[type, ...]]] = {
    list: (list,),
    set: (set,),
    frozenset: (frozenset,),
    abc.Sequence: (list, tuple),
    abc.MutableSequence: (list,),
    abc.Reversible: (list, tuple),
    abc.Collection: (list, tuple, set, frozenset),
    abc.Iterable: (list, tuple, set, frozenset),
    abc.Container: (list, tuple, set, frozenset),
    abc.Set: (set, frozenset),
    abc.MutableSet: (set,),
}
"""What may stand for a container of items; an abstract one is a union of the natural classes."""

DICTS: Final[dict[object, type[dict[Any, Any]]]] = {
    dict: dict,
    abc.Mapping: dict,
    abc.MutableMapping: dict,
    OrderedDict: OrderedDict,
}

OLD_TUPLE: Final[object] = typing.Tuple  # noqa: UP006 - the bare word of old code
ADVICE: Final = (
    "Return a dataclass, or another type with fields, or give a serializer; in memory it may stay."
)


class Compiler:
    """
    Makes nodes, and keeps one per type.

    *lenient*: the values are written by somebody else. The nodes only describe, and what could
    never be stored becomes one that only has a name.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self._lenient = lenient
        self._loose = self if lenient else Compiler(lenient=True)
        self._memo: dict[object, Node] = {}

    def node(self, annotation: object, path: str) -> Node:
        """
        The node for *annotation*, which stands at *path*.

        Raises:
            NotSerializable: No value of this type could come back.
        """
        try:
            return self._node(annotation, path)
        except NotSerializable:
            if self._lenient:
                return NamedNode(spelled(annotation))
            raise

    def _node(self, annotation: object, path: str) -> Node:
        if says_nothing(annotation):
            return UnknownNode()
        annotation = unwrapped(annotation)
        if annotation is None:
            annotation = NoneType
        if isinstance(annotation, str):
            annotation = ForwardRef(annotation)
        arguments = typing.get_args(annotation)
        origin: object = typing.get_origin(annotation)
        if isinstance(annotation, ForwardRef) or is_alias(origin or annotation):
            return self._named(annotation, origin, arguments, path)
        if is_union(origin):
            return self._union(arguments, path)
        if origin is Literal:
            return LiteralNode(arguments, valued=self._lenient)
        if annotation is tuple or annotation is OLD_TUPLE:
            return ItemsNode(tuple, UnknownNode())
        if word_of(annotation) == "LiteralString":
            return LEAVES[str]
        cls = origin or annotation
        if not isinstance(cls, type):
            raise refused(spelled(annotation), path)
        return self._generic(cls, arguments, path) or self._class(cls, arguments, path)

    def _named(
        self, annotation: object, origin: object, arguments: tuple[object, ...], path: str
    ) -> Node:
        """A name for another annotation: an alias, or a reference that is left."""
        known = self._memo.get(annotation)
        if known is not None:
            return known
        later = self._memo[annotation] = Later()
        if isinstance(annotation, ForwardRef):
            target = resolve_ref(annotation)
        else:
            target = alias_value(origin or annotation, arguments)
        later.target = self.node(target, path)
        return later

    def _union(self, arguments: tuple[object, ...], path: str) -> Node:
        # In one order, since typing takes int | str and str | int for the same and may hand
        # out either. What says nothing comes last: it is the last resort.
        ordered = sorted(
            arguments, key=lambda each: (says_nothing(each), each is NoneType, spelled(each))
        )
        nodes = tuple(self.node(each, path) for each in ordered)
        return UnionNode(nodes, " | ".join(map(spelled, ordered)))

    def _generic(self, cls: type, arguments: tuple[object, ...], path: str) -> Node | None:
        """The containers of the standard library."""
        if cls is tuple:
            return self._tuple(arguments, path)
        if cls in LISTS:
            item = self._argument(arguments, 0, path + "[]")
            nodes = tuple(ItemsNode(each, item) for each in LISTS[cls])
            return nodes[0] if len(nodes) == 1 else UnionNode(nodes, cls.__name__)
        if cls is deque:
            return DequeNode(self._argument(arguments, 0, path + "[]"))
        if cls is Counter:
            return DictNode(Counter, self._argument(arguments, 0, path + "[]"), LEAVES[int])
        if cls in DICTS or cls is defaultdict:
            key = self._argument(arguments, 0, path + "[key]")
            value = self._argument(arguments, 1, path + "[]")
            if cls is defaultdict:
                return DefaultDictNode(key, value)
            return DictNode(DICTS[cls], key, value)
        return None

    def _argument(self, arguments: tuple[object, ...], place: int, path: str) -> Node:
        return self.node(arguments[place], path) if place < len(arguments) else UnknownNode()

    def _tuple(self, arguments: tuple[object, ...], path: str) -> Node:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return ItemsNode(tuple, self.node(arguments[0], path + "[]"))
        if any(getattr(each, "__unpacked__", False) for each in arguments):
            raise refused("a tuple with * inside", path)
        places = enumerate(arguments)
        return TupleNode(tuple(self.node(each, f"{path}[{place}]") for place, each in places))

    def _class(self, cls: type, arguments: tuple[object, ...], path: str) -> Node:
        leaf = LEAVES.get(cls)
        if leaf is not None:
            return leaf
        if derives(cls, Enum):
            members: type[Enum] = cast("type[Enum]", cls)
            if not members.__members__:
                raise refused(name_of(cls), path)
            return EnumNode(members, valued=self._lenient)
        try:
            known = self._memo.get((cls, arguments))
        except TypeError as error:
            text = f"{name_of(cls)} with an argument that has no hash"
            raise refused(text, path) from error
        if known is not None:
            return known
        node, annotation_of = self._record(cls, arguments, path)
        self._memo[cls, arguments] = node
        # A model reads and writes itself; its fields need only names for the fingerprint.
        compiler = self._loose if isinstance(node, ModelNode) else self
        node.nodes = tuple(compiler.field(annotation_of, name, path) for name in node.names)
        return node

    def field(self, annotation_of: FieldAnnotations, name: str, path: str) -> Node:
        """The node for one field of a class at *path*."""
        path = f"{path}.{name}"
        try:
            annotation = annotation_of(name)
        except Exception as error:
            if self._lenient:
                return UnknownNode()
            raise NotSerializable(
                f"{path}: the annotation cannot be resolved: {error}. Define its names at "
                "module level and import them at run time.",
                path,
            ) from error
        return self.node(annotation, path)

    def _record(
        self, cls: type, arguments: tuple[object, ...], path: str
    ) -> tuple[FieldsNode, FieldAnnotations]:
        """A class with fields: its node, still without the nodes of the fields."""
        annotation_of = field_annotations(cls, arguments)
        if is_model(cls):
            return self._model(cls, path)
        # Any: each kind of class says in its own way which fields it has.
        marked: Any = cls
        if hasattr(cls, "__total__") and derives(cls, dict):
            names = tuple(own_annotations(cls))
            return TypedDictNode(cls, names, _required_keys(marked, annotation_of)), annotation_of
        if derives(cls, tuple) and hasattr(cls, "_fields"):
            return NamedTupleNode("namedtuple", cls, marked._fields), annotation_of
        if derives(cls, Struct):
            return StructNode("struct", cls, marked.__struct_fields__), annotation_of
        if hasattr(cls, "__dataclass_fields__"):
            fields = dataclasses.fields(marked)
            unheld = [
                each.name
                for each in fields
                if not each.init and each.default is not dataclasses.MISSING
            ]
            names = tuple(each.name for each in fields)
            node = ObjectNode("dataclass", cls, names, unheld)
        elif hasattr(cls, "__attrs_attrs__"):
            types = {each.name: each.type for each in marked.__attrs_attrs__}
            node = ObjectNode("attrs", cls, tuple(types))
            annotation_of = _attrs_annotations(annotation_of, types)
        else:
            raise refused(name_of(cls), path)
        try:
            object.__new__(cls)
        except TypeError as error:
            # Abstract, or an exception, or something else with a life outside its fields.
            raise refused(name_of(cls), path) from error
        return node, annotation_of

    def _model(self, cls: type, path: str) -> tuple[FieldsNode, FieldAnnotations]:
        try:
            fields = model_fields(cls)
        except Exception as error:
            raise refused(name_of(cls), path) from error
        # One below another is in the schema of that one.
        aliases = [] if self._lenient else aliases_of(cls)
        return ModelNode(cls, tuple(fields), aliases), fields.__getitem__


class NamedNode(Node):
    """A type that only has a name: what a model takes care of by itself."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def takes(self, value: object) -> bool:  # noqa: ARG002 - it takes nothing
        return False

    def lower(self, value: object, walk: Walk) -> object:  # noqa: ARG002 - whatever the value is
        raise Misfit(f"{self._name} cannot be stored. {ADVICE}")

    def lift(self, plain: object) -> object:  # noqa: ARG002 - whatever was stored
        raise BadShape(f"{self._name} cannot be stored")

    def describe(self, book: Book) -> str:  # noqa: ARG002 - it is its name
        return self._name


def spelled(annotation: object) -> str:
    """
    An annotation as text, the same for equal ones and in every process.

    Neither holds for its repr: typing may hand out Optional[int] for int | None.
    """
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if annotation is None or annotation is NoneType:
        return "None"
    if is_union(origin):
        return " | ".join(sorted(map(spelled, arguments), key=lambda name: (name == "None", name)))
    if origin is Annotated:
        return spelled(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(sorted(map(repr, arguments)))}]"
    if arguments:
        return f"{spelled(origin)}[{', '.join(map(spelled, arguments))}]"
    if isinstance(annotation, type):
        module = annotation.__module__
        return name_of(annotation) if module == "builtins" else full_name(annotation)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(annotation))


def refused(what: str, path: str) -> NotSerializable:
    """The error for a type that no bytes can stand for."""
    return NotSerializable(
        f"{path}: {what} can never be stored, since it cannot be rebuilt from bytes. {ADVICE}",
        path,
    )


def _required_keys(cls: Any, annotation_of: FieldAnnotations) -> frozenset[str]:
    """
    The keys that a TypedDict cannot do without.

    Its own list is wrong where the annotations were texts, so they are asked again.
    """
    required: set[str] = set(cls.__required_keys__)
    for name in own_annotations(cls):
        with contextlib.suppress(Exception):  # compiling the field says what is wrong
            annotation = annotation_of(name)
            while origin := typing.get_origin(annotation):
                if word_of(origin) == "NotRequired":
                    required.discard(name)
                elif word_of(origin) == "Required":
                    required.add(name)
                elif word_of(origin) != "ReadOnly" and origin is not Annotated:
                    break
                annotation = typing.get_args(annotation)[0]
    return frozenset(required)


def _attrs_annotations(
    annotation_of: FieldAnnotations, types: dict[str, object]
) -> FieldAnnotations:
    """The annotations of an attrs class, or what `attr.ib(type=...)` says instead."""

    def either(name: str) -> object:
        annotation = annotation_of(name)
        if annotation is UNKNOWN and types[name] is not None:
            return types[name]
        return annotation

    return either
