"""
The node for pydantic models, which know best how to read themselves.

A model is dumped to JSON, with the sets of fields that were given explicitly
beside it. Every value is read back at once and compared with the original,
because much in a model may not survive: secrets, excluded fields, private
attributes, aliases, a subclass in a field. What differs is refused.

Nothing here imports pydantic. A type can only be a model if somebody has.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, cast

from .identical import held_by
from .node import BadShape, Book, Misfit, Walk, exact, full_name, mismatch, name_of, shaped_list
from .records import FieldsNode, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS_SET = "__pydantic_fields_set__"

BY_NAME: Final = 1
"""Behind JSON that has the names of the fields, and not their aliases."""

ALIASES: Final = ("validation_alias", "serialization_alias")
READ_BY: Final = ("populate_by_name", "validate_by_name", "validate_by_alias")
ASIDE: Final = frozenset({"metadata", "config", "default", "expected", "members"})
"""Parts of a schema that hold no schema, and maybe values of the user's."""


def is_model(cls: type) -> bool:
    """Whether a class is a pydantic model."""
    base: object = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return isinstance(base, type) and issubclass(cls, base) and cls is not base


def model_fields(cls: type[Any]) -> dict[str, object]:
    """The annotations of a model's fields; it is completed if it still waits for a name."""
    if not cls.__pydantic_complete__:
        cls.model_rebuild()
    return {name: field.annotation for name, field in cls.model_fields.items()}


def aliases_of(cls: type[Any]) -> list[str]:
    """
    The names in the JSON of a model and of all that it holds, where they are not those of fields.

    A frame that was written with other names would be read without what stands under them, and
    defaults would take its place. Everything that has aliases is looked for where pydantic keeps
    them for itself: models, dataclasses and typed dicts, whoever made the aliases.
    """
    found: set[str] = set()
    settings: set[str] = set()
    # From outside to inside: a schema, its class, its name there. Without end it never is:
    # what repeats is a reference.
    waiting: list[tuple[object, str, str]] = [(cls.__pydantic_core_schema__, "", "")]
    while waiting:
        schema, where, name = waiting.pop()
        if isinstance(schema, list | tuple):
            waiting += [(each, where, name) for each in cast("list[object]", schema)]
        if not isinstance(schema, dict):
            continue
        parts = cast("dict[str, object]", schema)
        if not isinstance(parts.get("type"), str):  # schemas by names of the user's
            waiting += [(part, where, key) for key, part in parts.items()]
            continue
        kind, named = parts.get("cls"), parts.get("name")
        where = full_name(kind) if isinstance(kind, type) else where
        place = f"{where}.{named if isinstance(named, str) else name}"
        found |= {f"{place} {word}={parts[word]!r}" for word in ALIASES if word in parts}
        says = parts | cast("dict[str, object]", parts.get("config") or {})
        settings |= {f"{place} {word}={says[word]!r}" for word in READ_BY if word in says}
        waiting += [(part, where, "") for key, part in parts.items() if key not in ASIDE]
    return sorted(found | settings) if found else []


class ModelNode(FieldsNode):
    """
    A pydantic model; its field nodes only describe it, and *aliases* are part of that.

    The names in the JSON are the aliases, which the validators of a model may look for. Where they
    cannot be read as they are written, they are those of the fields, which pydantic 2.11 can read.
    """

    __slots__ = ("_aliases", "_by_name")

    def __init__(self, cls: type[Any], names: tuple[str, ...], aliases: list[str]) -> None:
        super().__init__("model", cls, names)
        self._aliases = aliases
        self._by_name = False  # the way that did last

    def lower(self, value: object, walk: Walk) -> object:
        if type(value) is not self.cls:
            raise mismatch(self.cls, value)
        walk.enter()
        try:
            plain = self._lowered(value, by_name=self._by_name)
        except Misfit as misfit:
            if not self._aliases:
                raise
            try:
                plain = self._lowered(value, by_name=not self._by_name)
            except Misfit:
                raise misfit from misfit.__cause__
            self._by_name = not self._by_name
        walk.depth -= 1
        return plain

    def _lowered(self, value: object, *, by_name: bool) -> object:
        # Any: a model, whose methods we know without its types.
        model: Any = value
        try:
            text = model.model_dump_json(by_alias=not by_name, round_trip=True, warnings=False)
            given = [sorted(getattr(each, FIELDS_SET)) for each in _models(value, set())]
        except Exception as error:
            misfit = Misfit(
                f"{name_of(self.cls)} cannot be dumped: {error}. Return something that "
                "model_dump_json() accepts, or give a serializer."
            )
            raise misfit from error
        plain = [text, given, BY_NAME] if by_name else [text, given]
        verify(self, value, plain)
        return plain

    def lift(self, plain: object) -> object:
        text, given, *by_name = shaped_list(plain)
        if by_name not in ([], [BY_NAME]):
            raise BadShape("JSON by names that nobody knows")
        how = {"by_name": True, "by_alias": False} if by_name else {}
        value = cast("object", self.cls.model_validate_json(exact(str, text), **how))
        # One alone has no others inside, as whoever wrote it has seen.
        alone = len(shaped_list(given)) == 1
        models: list[Any] = [value] if alone else list(_models(value, set()))
        for model, names in zip(models, shaped_list(given), strict=True):
            fields = {exact(str, name) for name in shaped_list(names)}
            if not fields <= model.__dict__.keys() and not (
                fields <= held_by(model).keys() | _extra(model)
            ):
                raise BadShape("a field that does not exist")
            object.__setattr__(model, FIELDS_SET, fields)
        return value

    def describe(self, book: Book) -> str:
        spelled = super().describe(book)
        return f"{spelled} aliases({','.join(self._aliases)})" if self._aliases else spelled


def _extra(model: object) -> set[str]:
    extra: object = getattr(model, "__pydantic_extra__", None)
    return set(cast("dict[str, object]", extra)) if isinstance(extra, dict) else set()


def _models(value: object, seen: set[int]) -> Iterator[object]:
    """The models in a value, always in the same order; those in sets have none and are left out."""
    if id(value) in seen:
        return
    parts: list[object] = []
    if is_model(type(value)):
        seen = seen | {id(value)}
        yield value
        held = held_by(value)
        parts = [held[name] for name in sorted(held) if name != FIELDS_SET]
    elif isinstance(value, dict):
        parts = list(cast("dict[object, object]", value).values())
    elif isinstance(value, list | tuple):
        parts = list(cast("list[object]", value))
    for part in parts:
        yield from _models(part, seen)
