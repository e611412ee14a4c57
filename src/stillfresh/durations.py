"""Lengths of time: what users may write, and the seconds that it means."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import TypeAlias, cast

from .errors import InvalidDuration

Duration: TypeAlias = float | timedelta | str | tuple[float, str] | list[float | str]
"""Seconds, a timedelta, `"1h 30m"`, or `(10, "minutes")`."""

_WORDS = {
    1: "ms millisecond milliseconds",
    1_000: "s sec secs second seconds",
    60_000: "m min mins minute minutes",
    3_600_000: "h hr hrs hour hours",
    86_400_000: "d day days",
    604_800_000: "w week weeks",
}
"""By their length in milliseconds."""
_UNITS = {word: unit for unit, words in _WORDS.items() for word in words.split()}

# Possessive quantifiers: a part that does not match fails without a second try.
_PART = r"\s*+([0-9]++(?:\.[0-9]++)?+)\s*+([A-Za-z]++)\s*+"
_BARE_NUMBER = r"\s*+[0-9]++(?:\.[0-9]++)?+\s*+"

_LONGEST_TEXT = 100
_LONGEST = timedelta.max.total_seconds()
_SHOWN = 40

_HINT = "Write '10m 5s', a timedelta, or seconds."
_UNIT_HINT = "Write one of ms, s, m, h, d, w, or its English word."


def seconds(value: object, option: str = "ttl") -> float:
    """
    Return the length of time *value* in seconds, finite and more than zero.

    *option* is the name under which the user gave it; errors begin with it.

    Raises:
        InvalidDuration: The value is not a `Duration`, or not a positive and
            finite one. None is refused too: what it means is the caller's to say.
    """
    if isinstance(value, str):
        # The user's own text, whatever a subclass makes of it.
        length = _of_text(str.__str__(value), option)
    elif isinstance(value, timedelta):
        length = value.total_seconds()
    elif isinstance(value, tuple | list):
        length = _of_pair(cast("tuple[object, ...] | list[object]", value), option)
    else:
        length = _of_number(value, option)
    if not length > 0:
        raise _invalid(option, value, "must be a number more than zero")
    if length > _LONGEST:
        raise _invalid(option, value, "must be finite, and at most 999999999 days")
    return length


def describe(seconds: float) -> str:
    """
    Return *seconds* as short text for people: `1h 30m`, `1.5s`, `250ms`, `never`.

    Text of a second or more is exact to the millisecond.
    """
    if math.isnan(seconds):
        return "unknown"
    if seconds < 0:
        return "-" + describe(-seconds)
    if math.isinf(seconds):
        return "never"
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        text = _trimmed(f"{seconds * 1000:.3f}")
        return "0s" if text == "0" else f"{text}ms"
    rest, milliseconds = divmod(milliseconds, 1000)
    days, rest = divmod(rest, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    last = _trimmed(f"{rest}.{milliseconds:03d}")
    parts = ((str(days), "d"), (str(hours), "h"), (str(minutes), "m"), (last, "s"))
    return " ".join(number + unit for number, unit in parts if number != "0")


def _of_text(text: str, option: str) -> float:
    if len(text) > _LONGEST_TEXT:
        raise _invalid(option, text, f"{len(text)} characters are too many")
    if not text.strip():
        raise _invalid(option, text, "is empty")
    if re.fullmatch(_BARE_NUMBER, text, re.ASCII):
        number = text.strip()
        raise _invalid(option, text, "a number without a unit", f"Write {number} or '{number}s'.")
    from fractions import Fraction  # few programs load it otherwise

    pattern = re.compile(_PART, re.ASCII)
    total = Fraction(0)
    smallest: int | None = None
    at = 0
    while at < len(text):
        part = pattern.match(text, at)
        if part is None:
            raise _invalid(option, text, f"stopped at {text[at:].strip()!r}")
        unit = _unit(part[2])
        if unit is None:
            raise _invalid(option, text, f"{part[2]!r} is not a unit", _UNIT_HINT)
        if smallest is not None and unit >= smallest:
            why = f"stopped at {part[0].strip()!r}: units go from long to short, each once"
            raise _invalid(option, text, why)
        # Fractions, because 0.1 + 0.2 and 3 * 0.001 are not what was written.
        total += Fraction(part[1]) * unit
        smallest = unit
        at = part.end()
    return float(total / 1000)


def _of_pair(pair: tuple[object, ...] | list[object], option: str) -> float:
    hint = 'Write a number and a unit: (10, "minutes").'
    if len(pair) != 2:
        raise _invalid(option, pair, f"has length {len(pair)}, not 2", hint)
    number, word = pair
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _invalid(option, pair, f"{_shown(number)} is not a number", hint)
    unit = _unit(str.__str__(word)) if isinstance(word, str) else None
    if unit is None:
        raise _invalid(option, pair, f"{_shown(word)} is not a unit", _UNIT_HINT)
    if not math.isfinite(_of_number(number, option)):
        raise _invalid(option, pair, "must be finite")
    try:
        from fractions import Fraction

        return float(Fraction(number) * unit / 1000)
    except OverflowError:
        return math.inf


def _of_number(value: object, option: str) -> float:
    if value is None:
        raise _invalid(option, value, "a duration is needed here")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(option, value, f"{type(value).__name__} is not a duration")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _unit(word: str) -> int | None:
    # Words may be capitalised; "M" and "S" may not, they mean something else elsewhere.
    return _UNITS.get(word.lower() if len(word) > 2 else word)


def _trimmed(number: str) -> str:
    return number.rstrip("0").rstrip(".")


def _invalid(option: str, value: object, why: str, hint: str = _HINT) -> InvalidDuration:
    return InvalidDuration(f"{option}={_shown(value)}: {why}. {hint}", value)


def _shown(value: object) -> str:
    """Text of *value* for a message: short, and never the object's own repr."""
    if isinstance(value, str):
        text = str.__str__(value)
        return repr(text) if len(text) <= _LONGEST_TEXT else repr(text[:_SHOWN]) + "..."
    if isinstance(value, tuple | list):
        items = cast("tuple[object, ...] | list[object]", value)
        shown = [
            f"<{type(item).__name__}>" if isinstance(item, tuple | list) else _shown(item)
            for item in items[:3]
        ]
        inside = f"{', '.join(shown)}{', ...' if len(items) > 3 else ''}"
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside},)" if len(items) == 1 else f"({inside})"
    if value is None or isinstance(value, bool | float | timedelta):
        return repr(value)
    if isinstance(value, int):
        # The digits of a huge int may be more than Python agrees to print.
        return repr(value) if value.bit_length() < 128 else f"<int of {value.bit_length()} bits>"
    return f"<{type(value).__name__}>"
