"""
What a function says about its result.

Annotations may be texts, name things that are defined later, or live in a class
body. They are resolved one at a time: a broken annotation of a parameter says
nothing about the result. Names are looked up where Python would look them up:
type parameters, the enclosing classes, the closure, the module.

`UNKNOWN` stands for annotations that say nothing: none, Any, object, a TypeVar.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, ForwardRef, Literal, TypeVar, Union, cast

from ..errors import NotSerializable
from .node import derives

if sys.version_info >= (3, 14):
    import annotationlib


class Unknown:
    """The type of `UNKNOWN`."""

    def __repr__(self) -> str:
        return "UNKNOWN"


class Ungiven:
    """The type of `UNGIVEN`."""

    def __repr__(self) -> str:
        return "UNGIVEN"


UNKNOWN: Final = Unknown()
"""The annotation that says nothing about the value."""

UNGIVEN: Final = Ungiven()
"""No `returns=` was given; None would mean that the function returns None."""

Namespace = Mapping[str, object]
FieldAnnotations = Callable[[str], object]

WRAPPERS: Final = frozenset({"Final", "Required", "NotRequired", "ReadOnly"})
"""Words around a type that say nothing about its values."""

TYPE_LIKE: Final = (
    type,
    types.GenericAlias,
    types.UnionType,
    TypeVar,
    typing.NewType,
    ForwardRef,
)


def return_annotation(function: object, returns: object = UNGIVEN) -> object:
    """
    What *function* returns, or what *returns* says instead; `UNKNOWN` if neither says it.

    Raises:
        NotSerializable: The annotation names something that cannot be found.
    """
    inner = innermost(function)
    raw = raw_annotation(function) if returns is UNGIVEN else returns
    if raw is UNGIVEN:
        return UNKNOWN
    module = str(getattr(inner, "__module__", ""))
    # Explicitly from the code where it can be: a wrapper copies everything but its globals.
    names: Namespace = getattr(inner, "__globals__", None) or _module(module)
    near = _near(inner, names)
    try:
        annotation = resolve(raw, names, near, module)
    except Exception as error:
        where = getattr(inner, "__qualname__", repr(inner))
        raise NotSerializable(
            f"the return type of {where}, {raw!r}, cannot be resolved: {error}. "
            "Import its names at run time, or say returns=.",
            "return",
        ) from error
    owner = near.get("__owner__")
    if owner is not None:
        annotation = replace(annotation, {typing.Self: owner})
    return UNKNOWN if says_nothing(annotation) else annotation


def raw_annotation(function: object) -> object:
    """The return annotation as it was written; `UNGIVEN` if there is none."""
    function = _unwrapped_object(function)
    while True:
        found = own_annotations(function).get("return", UNGIVEN)
        wrapped: object = getattr(function, "__wrapped__", None)
        if found is not UNGIVEN or wrapped is None:
            return found
        function = _unwrapped_object(wrapped)


def innermost(function: object) -> object:
    """The function in the middle of partials, methods, classmethods and wrappers."""
    function = _unwrapped_object(function)
    while (wrapped := getattr(function, "__wrapped__", None)) is not None:
        function = _unwrapped_object(wrapped)
    return function


def own_annotations(holder: object) -> Mapping[str, object]:
    """The annotations of one class or function, without those of its bases."""
    if not (isinstance(holder, type) or callable(holder)):
        return {}
    if sys.version_info >= (3, 14):
        return annotationlib.get_annotations(holder, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(holder)


def resolve(raw: object, names: Namespace, near: Namespace, module: str) -> object:
    """Evaluate the texts in an annotation; where a name refers to itself, it stays a ForwardRef."""
    # A class takes every form that may stand in a class body or a signature.
    holder = type("Holder", (), {"__annotations__": {"it": raw}, "__module__": module})
    hints = typing.get_type_hints(holder, dict(names), dict(near), include_extras=True)
    return _located(hints["it"], module)


def resolve_ref(reference: ForwardRef) -> object:
    """
    What a reference that `resolve` left over stands for.

    Raises:
        NotSerializable: Its module does not know the name, or nobody said which module.
    """
    module: object = getattr(reference, "__forward_module__", None)
    text = reference.__forward_arg__
    try:
        return resolve(text, _module(str(module)), {}, str(module))
    except Exception as error:
        raise NotSerializable(
            f"the name {text!r} cannot be resolved: {error}. Give the type itself, or import "
            "its name at run time."
        ) from error


def alias_value(alias: object, arguments: tuple[object, ...]) -> object:
    """
    What a `type X = ...` alias stands for, with its parameters filled in.

    Raises:
        NotSerializable: It names something that cannot be found.
    """
    # Any: TypeAliasType is not in typing before Python 3.12.
    known: Any = alias
    try:
        value = resolve(known.__value__, _module(known.__module__), {}, known.__module__)
    except Exception as error:
        raise NotSerializable(
            f"the alias {alias!r} cannot be resolved: {error}. Import its names at run time."
        ) from error
    return replace(value, dict(zip(known.__type_params__, arguments, strict=False)))


def field_annotations(cls: type, arguments: tuple[object, ...]) -> FieldAnnotations:
    """
    A function from a field of *cls* to its annotation, with type parameters filled in.

    The annotation is resolved in the class that defines the field. A field
    without one is `UNKNOWN`.
    """
    mappings: dict[type, dict[object, object]] = {}
    _bind(cls, arguments, mappings)
    merged = {key: value for mapping in mappings.values() for key, value in mapping.items()}

    def annotation_of(name: str) -> object:
        for base in cls.__mro__:
            found = own_annotations(base).get(name, UNGIVEN)
            if found is not UNGIVEN:
                break
        else:
            return UNKNOWN
        near = {**vars_of_types(base), base.__name__: base, **_type_parameters(base)}
        annotation = resolve(found, _module(base.__module__), near, base.__module__)
        # A TypedDict merges the fields of its bases into its own.
        mapping = merged if derives(base, dict) else mappings.get(base, {})
        own = cast("Any", cls)[arguments] if arguments else cls
        return replace(annotation, {typing.Self: own, **mapping})

    return annotation_of


def replace(annotation: object, mapping: Mapping[object, object]) -> object:
    """The annotation with the keys of *mapping* (type variables, Self) replaced inside."""
    if _hashable(annotation) and annotation in mapping:
        return mapping[annotation]
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if not arguments or origin is Literal:
        return annotation
    new = tuple(replace(argument, mapping) for argument in arguments)
    if all(left is right for left, right in zip(new, arguments, strict=True)):
        return annotation
    return rebuilt(annotation, origin, new)


def rebuilt(annotation: object, origin: object, arguments: tuple[object, ...]) -> object:
    """The annotation with other arguments."""
    # Any: typing's special forms are called in ways that have no types.
    if origin is Annotated:
        metadata = cast("Any", annotation).__metadata__
        return cast("Any", Annotated)[(arguments[0], *metadata)]
    if is_union(origin):
        return cast("Any", Union)[arguments]
    copy_with = getattr(annotation, "copy_with", None)
    if copy_with is not None:
        return cast("object", copy_with(arguments))
    return types.GenericAlias(cast("type", origin), arguments)


def unwrapped(annotation: object) -> object:
    """The type inside Annotated, Final, NewType and the like."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is Annotated or word_of(origin) in WRAPPERS:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def says_nothing(annotation: object) -> bool:
    """Whether an annotation leaves the type of the value open."""
    annotation = unwrapped(annotation)
    return (
        annotation is UNKNOWN
        or annotation is Any
        or annotation is object
        or word_of(annotation) == "Final"
        or isinstance(annotation, TypeVar)
        or type(annotation).__name__ == "TypeVar"
    )


def is_union(origin: object) -> bool:
    """Whether it is the origin of `X | Y`, however that was written."""
    return origin is Union or origin is types.UnionType


def is_alias(annotation: object) -> bool:
    """Whether it is a `type X = ...` alias, of typing or of its backport."""
    return type(annotation).__name__ == "TypeAliasType"


def word_of(form: object) -> str:
    """The name of a special form, whichever module it comes from."""
    return "" if isinstance(form, type) else str(getattr(form, "_name", None) or "")


def vars_of_types(cls: type) -> dict[str, object]:
    """
    The types among the names of a class body.

    Only types: a method called `list` must not answer for `list[int]`.
    """
    return {
        name: value
        for name, value in vars(cls).items()
        if isinstance(value, TYPE_LIKE) or type(value).__module__.startswith("typing")
    }


def _unwrapped_object(function: object) -> object:
    while True:
        if isinstance(function, functools.partial):
            function = cast("functools.partial[object]", function).func
        elif isinstance(function, classmethod | staticmethod | types.MethodType):
            function = cast("types.MethodType", function).__func__
        elif not isinstance(function, type | types.FunctionType) and not hasattr(
            function, "__wrapped__"
        ):
            call = vars(type(function)).get("__call__")
            if not isinstance(call, types.FunctionType):
                return function
            function = call
        else:
            return function


def _module(name: str) -> Namespace:
    return vars(sys.modules[name]) if name in sys.modules else {}


def _near(function: object, names: Namespace) -> dict[str, object]:
    """The names between a function and its module: closure, classes, type parameters."""
    near: dict[str, object] = {}
    code: object = getattr(function, "__code__", None)
    cells: object = getattr(function, "__closure__", None)
    if isinstance(code, types.CodeType) and isinstance(cells, tuple):
        for name, cell in zip(
            code.co_freevars, cast("tuple[types.CellType, ...]", cells), strict=True
        ):
            with contextlib.suppress(ValueError):  # an empty cell
                near[name] = cell.cell_contents
    *outer, _ = str(getattr(function, "__qualname__", "")).split(".")
    owner: object = None
    for name in outer:
        owner = names.get(name) if owner is None else getattr(owner, name, None)
        if not isinstance(owner, type):
            break
        near.update(vars_of_types(owner))
        near.update(_type_parameters(owner))
        near["__owner__"] = owner
    near.update(_type_parameters(function))
    return near


def _type_parameters(holder: object) -> dict[str, object]:
    parameters: tuple[object, ...] = getattr(holder, "__type_params__", ())
    return {str(parameter): parameter for parameter in parameters}


def _located(annotation: object, module: str) -> object:
    """Tell the references that are left which module they belong to."""
    if isinstance(annotation, ForwardRef):
        return ForwardRef(annotation.__forward_arg__, module=module)
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if not arguments or origin is Literal:
        return annotation
    new = tuple(_located(argument, module) for argument in arguments)
    if all(left is right for left, right in zip(new, arguments, strict=True)):
        return annotation
    return rebuilt(annotation, origin, new)


def _bind(
    cls: type, arguments: tuple[object, ...], mappings: dict[type, dict[object, object]]
) -> None:
    """Work out what the type parameters of a class and of its bases stand for."""
    parameters: tuple[object, ...] = getattr(cls, "__parameters__", ())
    mappings[cls] = dict(zip(parameters, arguments, strict=False))
    bases = cast("tuple[object, ...]", vars(cls).get("__orig_bases__") or cls.__bases__)
    for base in bases:
        origin = typing.get_origin(base) or base
        if isinstance(origin, type) and origin not in mappings and origin is not typing.Generic:
            inner = (replace(each, mappings[cls]) for each in typing.get_args(base))
            _bind(origin, tuple(inner), mappings)


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
