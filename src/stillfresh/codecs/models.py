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
from typing import TYPE_CHECKING, Any, cast

from .identical import held_by
from .node import BadShape, Misfit, Walk, exact, mismatch, name_of, shaped_list
from .records import FieldsNode, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS_SET = "__pydantic_fields_set__"


def is_model(cls: type) -> bool:
    """Whether a class is a pydantic model."""
    base: object = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return isinstance(base, type) and issubclass(cls, base) and cls is not base


def model_fields(cls: type[Any]) -> dict[str, object]:
    """The annotations of a model's fields; it is completed if it still waits for a name."""
    if not cls.__pydantic_complete__:
        cls.model_rebuild()
    return {name: field.annotation for name, field in cls.model_fields.items()}


class ModelNode(FieldsNode):
    """A pydantic model; its field nodes only describe it."""

    __slots__ = ()

    def lower(self, value: object, walk: Walk) -> object:
        if type(value) is not self.cls:
            raise mismatch(self.cls, value)
        walk.enter()
        # Any: a model, whose methods we know without its types.
        model: Any = value
        try:
            text = model.model_dump_json(by_alias=True, round_trip=True, warnings=False)
            given = [sorted(getattr(each, FIELDS_SET)) for each in _models(value, set())]
        except Exception as error:
            misfit = Misfit(
                f"{name_of(self.cls)} cannot be dumped: {error}. Return something that "
                "model_dump_json() accepts, or give a serializer."
            )
            raise misfit from error
        plain = [text, given]
        verify(self, value, plain)
        walk.depth -= 1
        return plain

    def lift(self, plain: object) -> object:
        text, given = shaped_list(plain, 2)
        value = cast("object", self.cls.model_validate_json(exact(str, text)))
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
