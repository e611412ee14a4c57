"""
Templates of keys and tags: literal text around `{parameter}` and `{parameter.attribute}`.

What a placeholder stands for goes in as text, so `1` and `"1"` are one there.
A key must not be forged by a value: in `{a}:{b}` the calls `("x:y", "z")` and
`("x", "y:z")` are two keys. So with several placeholders, `%` and every character
of the literal text between them is percent-encoded in the values. Read from the
left, a value then ends at the first of these characters that begins no escape,
which is why the text between two placeholders is not empty and does not begin
with `%`.

With one placeholder there is nothing to forge, and a tag is named in full by
whoever invalidates it; there values go in as they are.
"""

from __future__ import annotations

import re
import sys
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import UUID

from ..errors import InvalidOption, UnstableArgument
from ..names import meant

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# What an f-string makes of these says all of the value, in every process.
_TEXTUAL = (str, int, float, type(None), Enum, UUID, Decimal, date, datetime, time)

_PIECE = r"\{\{|\}\}|\{([^{}]*+)\}|[{}]"
_NEXT_STEP = "Name one of its attributes as {user.id}, or use a callable."


def _is_path(value: object) -> bool:
    """Tell whether it is a path; as long as nobody loaded pathlib, nothing is."""
    pathlib = sys.modules.get("pathlib")
    return pathlib is not None and isinstance(value, pathlib.PurePath)


class _Template:
    """Literal texts and the placeholders between them, one literal more than placeholders."""

    def __init__(self, text: str, parameters: Collection[str], *, option: str) -> None:
        self.text = text
        self._option = option
        self._literals: list[str] = []
        self._places: list[str] = []
        if not _is_encodable(text):
            raise self._invalid("holds half a character. Write whole ones.")
        self._parse()
        for place in self._places:
            self._check(place, parameters)
        self.names = frozenset(place.partition(".")[0] for place in self._places)
        """The parameters that the placeholders begin with."""
        self.places = tuple(self._places)
        """What stands in the placeholders: names, or names with attributes."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"

    def _parse(self) -> None:
        at = 0
        literal: list[str] = []
        for token in re.finditer(_PIECE, self.text):
            literal.append(self.text[at : token.start()])
            at = token.end()
            if token[0] in {"{{", "}}"}:
                literal.append(token[0][0])
            elif token[1] is not None:
                self._literals.append("".join(literal))
                self._places.append(token[1])
                literal = []
            else:
                why = f"a {token[0]!r} without its partner at {self.text[token.start() :]!r}"
                raise self._invalid(f"{why}. Write {{{{ and }}}} for plain braces.")
        self._literals.append("".join(literal) + self.text[at:])

    def _check(self, place: str, parameters: Collection[str]) -> None:
        if not all(part.isidentifier() for part in place.split(".")):
            why = f"{{{place}}} is more than a name" if place else "{} names nothing"
            raise self._invalid(
                f"{why}. Write a parameter and perhaps attributes, as in {{user.id}}; "
                "for anything else use a callable."
            )
        name = place.partition(".")[0]
        if name in parameters:
            return
        if not parameters:
            raise self._invalid(
                f"{name!r} is not a parameter, there are none. "
                "Write {{ and }} for plain braces."
            )
        known = ", ".join(map(repr, parameters))
        step = meant(name, parameters, " Use one of these.")
        raise self._invalid(f"{name!r} is not a parameter, only {known}.{step}")

    def _invalid(self, why: str) -> InvalidOption:
        return InvalidOption(f"{self._option}={self.text!r}: {why}")

    def _value(self, place: str, arguments: Mapping[str, object]) -> str:
        """Return the text of the value at *place*."""
        name, *attributes = place.split(".")
        if name not in arguments:
            raise self._unstable(place, f"the call has no {name!r}", None)
        value = arguments[name]
        for attribute in attributes:
            try:
                value = getattr(value, attribute)
            except AttributeError as error:
                why = f"{type(value).__qualname__} has no attribute {attribute!r}"
                raise self._unstable(place, why, value) from error
        if not isinstance(value, _TEXTUAL) and not _is_path(value):
            why = f"a value of type {type(value).__qualname__} has no stable text"
            raise self._unstable(place, why, value)
        try:
            text = format(value)
        except ValueError as error:
            raise self._unstable(place, str(error), value) from error
        if not _is_encodable(text):
            raise self._unstable(place, "the text holds half a character", value)
        return text

    def _unstable(self, place: str, why: str, value: object) -> UnstableArgument:
        where = f"{self._option}={self.text!r}: {{{place}}}"
        return UnstableArgument(f"{where}: {why}. {_NEXT_STEP}", value)


class KeyTemplate(_Template):
    """
    The template of a key: different texts of the values never make the same key.

    *parameters* are the names that a placeholder may begin with; *option* is
    what the user calls the template, and errors begin with it.

    Raises:
        InvalidOption: A placeholder is not a known name with attributes, a
            brace has no partner, or two placeholders could run into each other.
    """

    def __init__(self, text: str, parameters: Collection[str], *, option: str = "key") -> None:
        super().__init__(text, parameters, option=option)
        between = self._literals[1:-1]
        for (before, after), literal in zip(pairwise(self._places), between, strict=True):
            if not literal:
                raise self._invalid(
                    f"{{{before}}} and {{{after}}} run into each other. "
                    "Write a separator between them."
                )
            if literal.startswith("%"):
                raise self._invalid(
                    f"the '%' after {{{before}}} looks like the escape of a character. "
                    "Write another separator before it."
                )
        # Escapes are made of "%" and hexadecimal digits. A digit between placeholders
        # does no harm: two of them are always read as part of the escape.
        self._escapes = str.maketrans(
            {
                character: "".join(f"%{byte:02X}" for byte in character.encode())
                for character in ("%" + "".join(between) if between else "")
            }
        )

    def render(self, arguments: Mapping[str, object]) -> str:
        """
        Return the key of a call.

        Raises:
            UnstableArgument: A value is missing, or has no stable text.
        """
        text = self._literals[0]
        for place, literal in zip(self._places, self._literals[1:], strict=True):
            text += self._value(place, arguments).translate(self._escapes) + literal
        return text

    def pattern(self) -> str:
        """Return a pattern that matches every key of the template."""
        return "*".join(self._literals)


class TagTemplate(_Template):
    """
    The template of a tag: the values go in as they are.

    *parameters* and *option* are those of `KeyTemplate`.

    Raises:
        InvalidOption: A placeholder is not a known name with attributes, or a
            brace has no partner.
    """

    def __init__(self, text: str, parameters: Collection[str], *, option: str = "tags") -> None:
        super().__init__(text, parameters, option=option)

    def render(self, arguments: Mapping[str, object]) -> str:
        """
        Return the tag of a call.

        Raises:
            UnstableArgument: A value is missing, or has no stable text.
        """
        text = self._literals[0]
        for place, literal in zip(self._places, self._literals[1:], strict=True):
            text += self._value(place, arguments) + literal
        return text


def _is_encodable(text: str) -> bool:
    """Whether *text* has a UTF-8 form: half of a surrogate pair has none."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
