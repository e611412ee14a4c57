"""
What a handler is given that was made of the request: it is in the key by its value.

Whatever has no stable text keeps the response from being stored, unless nothing of the request
can be in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import UnstableArgument
from ...keys.canonical import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .exchange import Exchange
    from .routes import Parameters


def given_parts(
    exchange: Exchange, parameters: Parameters, values: Mapping[str, object]
) -> list[bytes]:
    """
    Return parts of a key: what dependencies have given the handler among its *values*.

    Raises:
        UnstableArgument: One comes from the request, and has no stable text.
    """
    parts: list[bytes] = []
    for name, reads_request in parameters.results:
        if name in values and name not in exchange.watched:
            # Without the scope nobody knows of which URL it was made; see `rewritten`.
            parts += _parts(name, values[name], strict=reads_request or exchange.given is None)
    return parts


def _parts(name: str, value: object, *, strict: bool) -> list[bytes]:
    try:
        return [f"{name}={encode(value, name)}".encode("utf-8", "surrogatepass")]
    except UnstableArgument as error:
        if not strict:
            return []
        msg = (
            f"the argument {name!r} comes from the request, and has no stable place in a key "
            f"({error}). Say public=True if everybody gets the same, or per= whose response it is."
        )
        raise UnstableArgument(msg, value) from None
