"""
What a handler is given that was made of the request: it is in the key by its value.

Whatever has no stable text keeps the response from being stored, unless nothing of the request
can be in it. Where an object holds more than its fields, that counts as well: an attribute that
was set by hand, a cached property, the private attributes of a model.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from ...errors import UnstableArgument
from ...keys.canonical import encode, field_names
from .held import held_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .exchange import Exchange
    from .routes import Parameters


def given_parts(
    exchange: Exchange, parameters: Parameters, values: Mapping[str, object]
) -> list[bytes]:
    """
    Return parts of a key: what dependencies have given the handler among its *values*, and what
    the class of an endpoint keeps for this request.

    Raises:
        UnstableArgument: One comes from the request, and has no stable text.
    """
    parts: list[bytes] = []
    for name, reads_request in parameters.results:
        if name in values and name not in exchange.watched:
            # Without the scope nobody knows of which URL it was made; see `rewritten`.
            parts += _parts(name, values[name], strict=reads_request or exchange.given is None)
    if exchange.is_shown and exchange.given is not None:
        # Those of a path are in the URL; others that a middleware has put there are not.
        params = exchange.given.get("path_params")
        if params and "route_handler" not in exchange.given:
            parts += _parts("path_params", params, strict=True)
    for name, value in exchange.own.items():
        parts += _parts(f"self.{name}", value, strict=True)
    return parts


def _parts(name: str, value: object, *, strict: bool) -> list[bytes]:
    try:
        parts = [f"{name}={encode(value, name)}".encode("utf-8", "surrogatepass")]
        for way, unnamed in _beyond(value, name):
            parts += _parts(way, unnamed, strict=strict)
        return parts  # noqa: TRY300  # an argument that is refused inside says so by itself
    except UnstableArgument as error:
        if not strict:
            return []
        msg = (
            f"the argument {name!r} comes from the request, and has no stable place in a key "
            f"({error}). Say public=True if everybody gets the same, or per= whose response it is."
        )
        raise UnstableArgument(msg, value) from None


_OF_LIBRARIES: Final = frozenset({"_sa_instance_state", "__weakref__"})
"""What libraries note in objects for themselves; it speaks of the object, and not of a client."""


def _beyond(value: Any, name: str) -> Iterator[tuple[str, object]]:
    """Yield what the objects in *value* hold beyond their fields, with the way there."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _beyond(key, f"{name}'s key")
            yield from _beyond(item, f"{name}[{key!r}]")
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _beyond(item, f"{name}[]")
    elif not isinstance(value, Enum):
        yield from _beyond_fields(value, name)


def _beyond_fields(value: Any, name: str) -> Iterator[tuple[str, object]]:
    fields = field_names(type(value))
    if fields is None or hasattr(type(value), "__cache_key__"):
        return
    for field in fields:
        yield from _beyond(getattr(value, field), f"{name}.{field}")
    held = held_by(value)
    held |= getattr(value, "__pydantic_private__", None) or {}
    for attribute in sorted(held.keys() - set(fields) - _OF_LIBRARIES):
        yield f"{name}.{attribute}", held[attribute]
    more: dict[str, object] = getattr(value, "__pydantic_extra__", None) or {}
    for attribute, item in more.items():
        yield from _beyond(item, f"{name}.{attribute}")
    given: set[str] | None = getattr(value, "__pydantic_fields_set__", None)
    if given is not None:  # exclude_unset leaves the others out
        yield f"{name} was given", sorted(given)
