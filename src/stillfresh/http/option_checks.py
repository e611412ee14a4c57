"""The checks of `HttpCache`: each error names the value, what is expected, and the next step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar, cast

from ..durations import seconds
from ..errors import InvalidOption
from ..names import meant
from ..options import a_function
from ..tags import checked_tags
from .codings import CODINGS, compressor
from .rules.fields import TOKEN
from .rules.unsafe import is_unsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Choice = TypeVar("Choice", bound=str)
TagStrength: TypeAlias = Literal["weak", "strong", "off"]
_STRENGTHS: Final[tuple[TagStrength, ...]] = ("weak", "strong", "off")

_METHOD = re.compile(r"[A-Z][A-Z-]*")


def nothing_else(kind: type, unnamed: tuple[object, ...], unknown: Mapping[str, object]) -> None:
    """Refuse what is no option of *kind*: a value without a name, or a name that is not known."""
    if unnamed:
        msg = f"{kind.__name__}(..., {unnamed[0]!r}): options but for ttl are named. Write NAME="
        raise InvalidOption(f"{msg}{unnamed[0]!r}.")
    if not unknown:
        return
    import inspect

    option = min(unknown)
    otherwise = f" help({kind.__name__}) says what there is."
    hint = meant(option, inspect.signature(kind).parameters, otherwise)
    raise InvalidOption(f"{kind.__name__}({option}=...): unknown option {option!r}.{hint}")


def a_choice(value: object, option: str, choices: tuple[Choice, ...]) -> Choice:
    """Return *value* if it is one of *choices*."""
    for choice in choices:
        if value == choice and isinstance(value, str):
            return choice
    msg = f"{option}={value!r}: expected one of {', '.join(map(repr, choices))}."
    raise InvalidOption(msg)


def a_lifetime(value: object, option: str) -> float | None:
    """Return a lifetime that others are told; 0 is one of them: they ask each time."""
    if value is None:
        return None
    if value == 0 and not isinstance(value, bool):
        return 0.0
    return seconds(value, option)


def some_texts(value: object, option: str, example: str) -> tuple[str, ...]:
    """Return *value* as a tuple of texts that are not empty."""
    if isinstance(value, str):
        msg = f"{option}={value!r}: expected a list. Write {option}=({value!r},)."
        raise InvalidOption(msg)
    try:
        given = tuple(cast("Iterable[object]", value))
    except TypeError:
        msg = f"{option}={value!r}: expected a list of texts, such as {option}=({example!r},)."
        raise InvalidOption(msg) from None
    for text in given:
        if not isinstance(text, str) or not text:
            msg = f"{option}: {text!r} is no name. Write texts, such as {example!r}."
            raise InvalidOption(msg)
    return cast("tuple[str, ...]", given)


def some_fields(value: object, option: str, example: str) -> tuple[bytes, ...]:
    """Return names of fields as lower-case bytes."""
    return tuple(a_field(name, option) for name in some_texts(value, option, example))


def a_field(name: object, option: str) -> bytes:
    """Return the name of a field as lower-case bytes."""
    text = name.encode("utf-8", "replace") if isinstance(name, str) else b""
    if not TOKEN.fullmatch(text):
        msg = f"{option}: {name!r} is not the name of a field. One looks like 'Accept-Language'."
        raise InvalidOption(msg)
    return text.lower()


def some_codings(value: object) -> tuple[bytes, ...]:
    """Return codings in which responses are kept as well; what makes them has to be there."""
    given = some_texts(value, "precompress", "gzip")
    for name in given:
        if name not in CODINGS:
            known = ", ".join(map(repr, CODINGS))
            raise InvalidOption(
                f"precompress: {name!r} is no coding known here. There are {known}."
            )
        if compressor(name) is None:
            msg = (
                f"precompress: {name!r} needs a library that is not there. "
                "Install it: pip install 'stillfresh[compression]'"
            )
            raise InvalidOption(msg)
    return tuple(name.encode() for name in given)


def some_methods(value: object) -> frozenset[str]:
    """Return methods whose responses may be stored."""
    given = frozenset(some_texts(value, "methods", "QUERY"))
    for method in sorted(given):
        if not _METHOD.fullmatch(method):
            msg = f"methods: {method!r} is no method. They are written like 'POST'."
            raise InvalidOption(msg)
        if method in _NEVER:
            msg = (
                f"methods: responses to {method} cannot be stored. HEAD is answered from what GET "
                "stored; see head_fills."
            )
            raise InvalidOption(msg)
    return given | {"GET"}


def only_safe(methods: Iterable[str]) -> None:
    """See that none of *methods* may change something: for a whole application."""
    for method in methods:
        if is_unsafe(method):
            msg = (
                f"methods: a {method} may change something, so responses to it are kept on "
                "routes only that say otherwise. Write it there, with @http_cache."
            )
            raise InvalidOption(msg)


_NEVER = frozenset({"CONNECT", "DELETE", "HEAD", "OPTIONS", "PATCH", "PUT", "TRACE"})
_PARTIAL = frozenset({206, 304})


def some_statuses(value: object) -> frozenset[int]:
    """Return statuses that may be stored."""
    try:
        given = list(cast("Iterable[object]", value))
    except TypeError:
        others = "" if value == 200 else "200, "
        msg = (
            f"statuses={value!r}: expected a list of statuses. Write statuses=({others}{value!r},)."
        )
        raise InvalidOption(msg) from None
    return frozenset(a_status(status, "statuses") for status in given)


def a_status(status: object, option: str) -> int:
    """Return *status* if a response that has it may be stored."""
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        msg = f"{option}: {status!r} is no final status. Those are from 200 to 599."
        raise InvalidOption(msg)
    if status in _PARTIAL:
        msg = f"{option}: a {status} is never stored, it is not a whole response. Leave it out."
        raise InvalidOption(msg)
    return status


def some_tags(value: object) -> frozenset[str] | Callable[..., object]:
    """Return tags, or the function of the arguments that knows them."""
    function = a_function(value, "tags") if callable(value) else None
    return checked_tags(value, "tags") if function is None else function


def some_groups(value: object) -> bool | Callable[[str], str | None]:
    """Return whether tags are sent, or the function that says as what."""
    if isinstance(value, bool):
        return value
    if not callable(value):
        msg = f"emit_groups={value!r}: expected True, False or a function of a tag."
        raise InvalidOption(msg)
    return cast("Callable[[str], str | None]", a_function(value, "emit_groups"))


def a_status_option(value: object) -> bool | Literal["debug"]:
    """Return whether Cache-Status is sent, or `"debug"`."""
    if value == "debug":
        return "debug"
    if not isinstance(value, bool):
        msg = f"cache_status={value!r}: expected True, False or 'debug'."
        raise InvalidOption(msg)
    return value


def some_negatives(value: object) -> dict[int, float]:
    """Return seconds by status, of answers that there is nothing."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        msg = f"negative_ttl={value!r}: expected seconds by status. Write {{404: {value!r}}}."
        raise InvalidOption(msg)
    found: dict[int, float] = {}
    for status, length in cast("Mapping[object, object]", value).items():
        code = a_status(status, "negative_ttl")
        if not 400 <= code <= 499:
            msg = (
                f"negative_ttl: {code} is no answer that there is nothing, such as 404 or 410. "
                "Name other statuses in statuses."
            )
            raise InvalidOption(msg)
        found[code] = seconds(length, f"negative_ttl[{code}]")
    return found


def some_normalizers(value: object) -> dict[bytes, Callable[[bytes], bytes]]:
    """Return functions of a field's value, by name of the field."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        msg = (
            f"normalize={value!r}: expected functions by field, such as "
            "{'Accept-Language': lambda value: value[:2]}."
        )
        raise InvalidOption(msg)
    found: dict[bytes, Callable[[bytes], bytes]] = {}
    for name, function in cast("Mapping[object, object]", value).items():
        checked = a_function(function, f"normalize[{name!r}]", "lambda value: value[:2]")
        if checked is None:
            msg = f"normalize[{name!r}]=None: expected a function of the value, which is bytes."
            raise InvalidOption(msg)
        found[a_field(name, "normalize")] = cast("Callable[[bytes], bytes]", checked)
    return found


def an_entity_tag(value: object) -> TagStrength | Callable[..., object]:
    """Return how entity tags are made: a word, or the function that knows them."""
    if value is True:
        return "weak"
    if value is False or value is None:
        return "off"
    if callable(value):
        return value
    for strength in _STRENGTHS:
        if value == strength:
            return strength
    msg = f"etag={value!r}: expected 'weak', 'strong', 'off', or a function that knows the version."
    raise InvalidOption(msg)


def a_date_function(value: object) -> Callable[..., object] | None:
    """Return a function, plain or async, that is asked before anything is computed."""
    if value is None or callable(value):
        return value
    msg = f"last_modified={value!r}: expected a function of the arguments, plain or async."
    raise InvalidOption(msg)
