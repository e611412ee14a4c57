"""Text in JSON quotes, as it stands in keys."""

from __future__ import annotations

import re

from msgspec import json

# What JSON leaves as it is although a terminal, a log line or UTF-8 does not bear it.
_AWKWARD = "[\x7f-\x9f\u2028\u2029\ud800-\udfff]"

_encode = json.encode  # character by character what the standard library writes; see the tests


def quoted(value: str, _depth: int = 0) -> str:
    """Return *value* in quotes, all on one line, with what is no ASCII as it is if it can be."""
    plain = str.__str__(value)  # whatever a subclass makes of it
    try:
        text = _encode(plain).decode()
    except UnicodeEncodeError:  # half a pair: UTF-8 does not bear it
        from json import dumps

        text = dumps(plain, ensure_ascii=False)
    return text if text.isascii() and "\x7f" not in text else re.sub(_AWKWARD, _escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
