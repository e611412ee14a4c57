"""
Results that can be read only once: generators, iterators, awaitables.

The first caller would use such a result up, and the cache would hand out its
empty shell. Each function here answers with the reason in words, or None.
"""

from __future__ import annotations

import ast
import inspect
import sys
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Coroutine,
    Generator,
    Iterator,
)
from typing import Final, ForwardRef

from ..errors import NotSerializable
from .annotations import (
    UNGIVEN,
    innermost,
    is_alias,
    is_union,
    raw_annotation,
    return_annotation,
    unwrapped,
)

ADVICE: Final = "which can be read only once. Return a list, or the awaited result, instead."

KINDS: Final = (
    (Generator, "a generator"),
    (AsyncGenerator, "an async generator"),
    (Iterator, "an iterator"),
    (AsyncIterator, "an async iterator"),
    (Coroutine, "a coroutine"),
    (Awaitable, "an awaitable"),
)
"""What can be read once, the narrower before the wider."""

PLAIN: Final = frozenset(
    {bool, bytes, dict, float, frozenset, int, list, set, str, tuple, type(None)}
)
"""What can be read again, without a look at it."""

WORDS: Final = {kind.__name__: word for kind, word in KINDS}


def one_shot_annotation(function: object, returns: object = UNGIVEN) -> str | None:
    """
    Why the result of *function* can be read only once, as its code, annotation or `returns=` says.

    Names that cannot be resolved yet, as when a decorator runs, are judged by
    how they are written.
    """
    inner = innermost(function)
    found = None
    if inspect.isasyncgenfunction(inner):
        found = "an async generator"
    elif inspect.isgeneratorfunction(inner):
        found = "a generator"
    if found is not None:
        return f"the function makes {found}, {ADVICE}"
    found = _said(function, UNGIVEN)
    if found is not None:
        return f"the function is annotated to return {found}, {ADVICE}"
    found = None if returns is UNGIVEN else _said(function, returns)
    return found and f"returns= is {found}, {ADVICE}"


def _said(function: object, returns: object) -> str | None:
    try:
        annotation = return_annotation(function, returns)
    except NotSerializable:
        annotation = raw_annotation(function) if returns is UNGIVEN else returns
    return _in_annotation(annotation, ())


def one_shot_value(value: object) -> str | None:
    """Why *value* can be read only once."""
    kind = type(value)
    # Looked at first, since every result comes by here and few have one of these.
    if kind in PLAIN:
        return None
    steps = hasattr(kind, "__next__") or hasattr(kind, "__anext__") or hasattr(kind, "__await__")
    found = _in_class(kind) if steps else None
    if found is None:
        # Iteration asks for no more than __next__; the classes above want __iter__, too.
        if hasattr(kind, "__next__"):
            found = "an iterator"
        elif hasattr(kind, "__anext__"):
            found = "an async iterator"
        elif _is_future(value):
            found = "a future"
    return found and f"the result is {found} ({kind.__qualname__}), {ADVICE}"


def _in_class(cls: type) -> str | None:
    return next((word for kind, word in KINDS if issubclass(cls, kind)), None)


def _is_future(value: object) -> bool:
    """Whether it is a future of a thread pool; nobody has one without that module."""
    futures = sys.modules.get("concurrent.futures")
    kind: object = getattr(futures, "Future", None)
    return isinstance(kind, type) and isinstance(value, kind)


def _in_annotation(annotation: object, seen: tuple[object, ...]) -> str | None:
    """The kind that an annotation names, or one branch of it."""
    annotation = unwrapped(annotation)
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        return _in_text(annotation)
    if is_alias(annotation):
        # An alias may name itself in its own union.
        value: object = getattr(annotation, "__value__", None)
        return None if annotation in seen else _in_annotation(value, (*seen, annotation))
    origin = typing.get_origin(annotation)
    if is_union(origin):
        found = (_in_annotation(each, seen) for each in typing.get_args(annotation))
        return next((word for word in found if word), None)
    if is_alias(origin):
        return _in_annotation(origin, seen)
    cls = origin or annotation
    return _in_class(cls) if isinstance(cls, type) else None


def _in_text(text: str) -> str | None:
    try:
        return _in_tree(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:
        return None


def _in_tree(tree: ast.expr) -> str | None:
    """The kind that an unresolved annotation names, by the last part of its name."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        return _in_text(tree.value)
    if isinstance(tree, ast.BinOp):
        return _in_tree(tree.left) or _in_tree(tree.right)
    head = tree.value if isinstance(tree, ast.Subscript) else tree
    name = head.attr if isinstance(head, ast.Attribute) else getattr(head, "id", "")
    if isinstance(tree, ast.Subscript):
        inside = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        if name in ("Optional", "Union"):
            return next((word for word in map(_in_tree, inside) if word), None)
        if name in ("Annotated", "Final"):
            return _in_tree(inside[0])
    return WORDS.get(name)
