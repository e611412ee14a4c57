r"""
The canonical text of arguments: what makes two calls the same call.

Two rules carry everything here. Values that differ in type or content have
different texts, so that nobody is served another call's result; and a value has
the same text in every process, so that equal calls meet. What cannot keep both
is refused, never guessed from `repr`, `hash` or an address.

A text ends where its grammar says so, whatever follows it:

    "a\"b" 1 -0.0 nan true null       str, int, float, bool, None, as in JSON
    b"\x00" UUID(...) Decimal(1.00)   a builtin's name around its plain form
    (a,) [a,b] {k:v} {a,b} set()      containers; members of sets and dicts sorted by text
    app.models:Color.RED              an Enum member
    app.models:User(id=1,name="a")    an object by its fields
    app.models:UserId("u1")           a subclass of a builtin, around the builtin's text
    app.models:User<"u1">             what `__cache_key__()` answered

A class is written `module:qualname`. The colon keeps the nested class `b.C` of
module `a` apart from the class `C` of module `a.b`, and every class apart from
the builtin names.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from importlib import import_module
from struct import calcsize
from typing import Any, Final, TypeAlias, cast
from uuid import UUID
from weakref import WeakKeyDictionary

from ..errors import UnstableArgument
from .quoting import quoted as _str

KEY_SAFE_TYPES: frozenset[type] = frozenset({str, int, bool, type(None), bytes, UUID, date})
"""
Exact types whose instances may stand for their text: `(type(x), x)` are equal exactly
when the texts are. Not so float (nan, -0.0), Decimal (1.0 == 1.00) and datetime (fold).
"""

# Any: each encoder is only called with the type under which it is registered.
_Encoder: TypeAlias = Callable[[Any, int], str]

_DEEPEST = 64
_UNCLEAR = "has no stable place in a key"
SMALL: Final = 1 << 63  # no setting of the interpreter keeps it from printing those in decimals


def encode(value: object, name: str = "argument") -> str:
    """
    Return the canonical text of *value*: one line, and always encodable as UTF-8.

    *name* is what an error calls the value.

    Raises:
        UnstableArgument: Somewhere in the value is something that has no
            stable text; the message says where.
    """
    # The only fast path: most arguments are plain texts and numbers.
    if type(value) is str:
        return _str(value, 0)
    if type(value) is int:
        return repr(value) if -SMALL < value < SMALL else _int(value, 0)
    try:
        return _encode(value, 0)
    except _Refused as refused:
        raise refused.error(name) from refused.__cause__


def encode_all(values: Iterable[object], names: Sequence[str] = ()) -> str:
    """
    Return the texts of *values*, joined by commas.

    *names* are what errors call the values; those without one are counted.

    Raises:
        UnstableArgument: As from `encode`.
    """
    return ",".join(
        encode(value, names[index] if index < len(names) else f"arguments[{index}]")
        for index, value in enumerate(values)
    )


class _Refused(Exception):
    """A value without a stable text, with the way to it from the inside out."""

    def __init__(self, value: object, why: str = _UNCLEAR) -> None:
        super().__init__(why)
        self.value = value
        self.why = why
        self.way: list[str] = []

    def error(self, name: str) -> UnstableArgument:
        way = "".join(reversed(self.way))
        if len(way) > 100:
            way = f"{way[:60]}...{way[-20:]}"
        kind = type(self.value)
        text = kind.__qualname__ if kind.__module__ == "builtins" else _path(kind)
        return UnstableArgument(
            f"{name}{way}: a value of type {text} {self.why}. "
            "Give it __cache_key__(), pass a plain value, or use key=.",
            self.value,
        )


def _encode(value: object, depth: int) -> str:
    kind = type(value)
    encoder = _EXACT.get(kind) or _PLANS.get(kind)
    if encoder is None:
        encoder = _plan(kind)
        if encoder is None:
            raise _Refused(value)
        _PLANS[kind] = encoder
    if depth > _DEEPEST:
        raise _Refused(value, f"lies deeper than {_DEEPEST} levels, or contains itself")
    return encoder(value, depth)


def _inside(value: object, depth: int, step: str) -> str:
    """The text of *value*, which lies one *step* inside another value."""
    try:
        return _encode(value, depth + 1)
    except _Refused as refused:
        refused.way.append(step)
        raise


# --- Plain values. An encoder calls the builtin's own method, because subclasses come here
# --- too, and what they override must not change the text.

_READABLE_BYTES = {
    code: f"\\x{code:02x}" for code in range(256) if not 0x20 <= code < 0x7F or chr(code) in '"\\'
}


def _int(value: int, _: int) -> str:
    # Python may refuse to print more digits than 640; hexadecimal has no limit.
    return int.__repr__(value) if int.bit_length(value) < 2000 else f"{int(value):#x}"


def _bytes(value: bytes, _: int) -> str:
    return f'b"{bytes.decode(value, "latin-1").translate(_READABLE_BYTES)}"'


def _decimal(value: Decimal, _: int) -> str:
    # The sign of the exponent is a small letter where the decimal context says so.
    return f"Decimal({Decimal.__str__(value).replace('e', 'E')})"


def _moment(value: datetime | time, depth: int) -> str:
    # The offset is part of the ISO form, but two zones may share it today and not tomorrow.
    zone = value.tzinfo
    text = "" if zone is None else "," + _inside(zone, depth, ".tzinfo")
    if text.startswith(",timezone(") and '"' not in text:
        text = ""  # the offset is all there is
    fold = ",fold=1" if value.fold else ""
    if isinstance(value, datetime):
        return f"datetime({datetime.isoformat(value)}{text}{fold})"
    return f"time({time.isoformat(value)}{text}{fold})"


def _timedelta(value: timedelta, _: int) -> str:
    microseconds = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    sign = "-" if microseconds < 0 else ""
    whole, part = divmod(abs(microseconds), 1_000_000)
    return f"timedelta({sign}{whole}.{part:06d})"


def _fixed_zone(value: tzinfo, _: int) -> str:
    if getattr(value, "__dict__", None):
        raise _Refused(value)
    try:
        # Only a zone whose offset never changes has one without being told when.
        offset, name = value.utcoffset(None), value.tzname(None)
    except (AttributeError, NotImplementedError, TypeError) as error:
        raise _Refused(value) from error
    if offset is None:
        raise _Refused(value)
    # An offset and a name is all that such a zone is. Its class does not count: pydantic
    # reads "Z" into a class of its own, and that instant must meet `timezone.utc`.
    plain = timezone(offset).tzname(None)
    named = "" if name in {None, plain, plain[3:]} else f",{_str(str(name), 0)}"
    return f"timezone({plain}{named})"


def _zone(value: Any, _: int) -> str:
    if value.key is None:  # it was read from a file
        raise _Refused(value, "has no key")
    kind = type(value)
    return f"{'ZoneInfo' if kind in _EXACT else _path(kind)}({_str(value.key, 0)})"


def _filepath(value: Any, depth: int) -> str:
    kind: Any = next(base for base in type(value).__mro__ if _EXACT.get(base) is _filepath)
    return f"{kind.__name__}({_str(kind.__str__(value), depth)})"


# --- Containers. Dicts and sets are copied first: another thread may change them.

# The same classes, with the type arguments that a type checker wants to know.
_Tuple: type[tuple[object, ...]] = tuple
_List: type[list[object]] = list
_Set: type[set[object]] = set
_Frozenset: type[frozenset[object]] = frozenset
_Dict: type[dict[object, object]] = dict
_Ordered: type[OrderedDict[object, object]] = OrderedDict


def _items(values: Iterable[object], depth: int) -> str:
    return ",".join(_inside(value, depth, f"[{i}]") for i, value in enumerate(values))


def _tuple(value: tuple[object, ...], depth: int) -> str:
    comma = "," if _Tuple.__len__(value) == 1 else ""
    return f"({_items(_Tuple.__iter__(value), depth)}{comma})"


def _list(value: list[object], depth: int) -> str:
    return f"[{_items(_List.__iter__(value), depth)}]"


def _members(values: Iterable[object], depth: int) -> str:
    return ",".join(sorted(_inside(value, depth, ".<member>") for value in tuple(values)))


def _set(value: set[object], depth: int) -> str:
    # Like Python: "{}" is the empty dict.
    return f"{{{_members(_Set.__iter__(value), depth)}}}" if _Set.__len__(value) else "set()"


def _frozenset(value: frozenset[object], depth: int) -> str:
    return f"frozenset{{{_members(_Frozenset.__iter__(value), depth)}}}"


def _entries(items: Iterable[tuple[object, object]], depth: int) -> Iterator[str]:
    for key, value in tuple(items):
        text = _inside(key, depth, ".<key>")
        step = f"[{text}]" if len(text) < 40 else f"[{text[:40]}...]"
        yield f"{text}:{_inside(value, depth, step)}"


def _dict(value: dict[object, object], depth: int) -> str:
    return f"{{{','.join(sorted(_entries(_Dict.items(value), depth)))}}}"


def _ordered(value: OrderedDict[object, object], depth: int) -> str:
    _refuse_own_state(value, OrderedDict)
    return f"OrderedDict{{{','.join(_entries(_Ordered.items(value), depth))}}}"


def _counter(value: Counter[object], depth: int) -> str:
    _refuse_own_state(value, Counter)
    return f"Counter{_dict(cast('dict[object, object]', value), depth)}"


def _defaultdict(value: defaultdict[object, object], depth: int) -> str:
    # It decides what a key that is not there reads as.
    factory: object = value.default_factory
    if factory is not None and (not isinstance(factory, type) or factory not in _EXACT):
        raise _Refused(value, "has a default_factory that is no builtin class")
    made = "" if factory is None else f"({factory.__name__})"
    return f"defaultdict{made}{_dict(cast('dict[object, object]', value), depth)}"


_EXACT: dict[type, _Encoder] = {
    str: _str,
    int: _int,
    bool: lambda value, _: "true" if value else "false",
    type(None): lambda _value, _: "null",
    float: lambda value, _: float.__repr__(value),
    bytes: _bytes,
    UUID: lambda value, _: f"UUID({UUID.__str__(value)})",
    Decimal: _decimal,
    date: lambda value, _: f"date({date.isoformat(value)})",
    time: _moment,
    datetime: _moment,
    timedelta: _timedelta,
    timezone: _fixed_zone,
    tuple: _tuple,
    list: _list,
    set: _set,
    frozenset: _frozenset,
    dict: _dict,
    OrderedDict: _ordered,
    Counter: _counter,
    defaultdict: _defaultdict,
}
# Classes of modules that few need: as long as nobody has loaded one, no value has them.
_PATHS = "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"
_LATE = {"pathlib": (_filepath, _PATHS), "zoneinfo": (_zone, "ZoneInfo")}

# --- Classes: what is found out about one once, and kept as long as it lives.
_PLANS: WeakKeyDictionary[type, _Encoder] = WeakKeyDictionary()

_PLAIN_PATH = r"[^\W\d]\w*(?:\.(?:[^\W\d]\w*|<locals>|<lambda>))*"


def _plan(kind: type) -> _Encoder | None:
    """How to encode instances of *kind*, which is not a builtin; None if there is no way."""
    for module, (encoder, classes) in _LATE.items():
        if module in sys.modules:
            for name in classes.split():
                _EXACT[getattr(import_module(module), name)] = encoder
            if kind in _EXACT:
                return _EXACT[kind]
    path = _path(kind)
    if callable(getattr(kind, "__cache_key__", None)):
        return _by_own_answer(path)
    if issubclass(kind, Enum):
        return _by_member(path)
    if issubclass(kind, tzinfo):
        return _zone if _zone in map(_EXACT.get, kind.__mro__) else _fixed_zone
    # Before fields: a dataclass that is also a dict has more to it than its fields.
    base = next((base for base in kind.__mro__ if base in _EXACT), None)
    if base is not None:
        return _by_base(path, base)
    names = field_names(kind)
    return None if names is None else _by_fields(path, names, is_model=_is_model(kind))


def _path(kind: type) -> str:
    return f"{_word(str(kind.__module__))}:{_word(kind.__qualname__)}"


def _word(text: str) -> str:
    # Names made at run time hold anything: `Page[int, str]`.
    return text if re.fullmatch(_PLAIN_PATH, text) else _str(text, 0)


def _name(text: str) -> str:
    return text if text.isidentifier() else _str(text, 0)


def field_names(kind: type) -> tuple[str, ...] | None:
    """Return the fields of a dataclass, or of a pydantic, msgspec or attrs class; else None."""
    # Any: none of these libraries is imported to know its types.
    if _is_model(kind):
        return tuple(cast("Any", kind).model_fields)
    if hasattr(kind, "__struct_config__") and hasattr(kind, "__struct_fields__"):
        return cast("tuple[str, ...]", kind.__struct_fields__)
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    attributes = cast("tuple[Any, ...] | None", getattr(kind, "__attrs_attrs__", None))
    return None if attributes is None else tuple(str(each.name) for each in attributes)


def _is_model(kind: type) -> bool:
    return hasattr(kind, "__pydantic_core_schema__") and hasattr(kind, "model_fields")


def _by_own_answer(path: str) -> _Encoder:
    def encode_answer(value: Any, depth: int) -> str:  # Any: the class has the method
        return f"{path}<{_inside(value.__cache_key__(), depth, '.__cache_key__()')}>"

    return encode_answer


def _by_member(path: str) -> _Encoder:
    def encode_member(value: Enum, depth: int) -> str:
        # `_name_` and `_value_`, because a class may define its own `name` and `value`.
        name: str | None = value._name_
        if isinstance(value, Flag) and name not in type(value).__members__:
            return f"{path}({_int(value._value_, depth)})"
        return f"{path}.{_name(str(name))}"

    return encode_member


def _by_base(path: str, base: type) -> _Encoder:
    encode_base = _EXACT[base]

    def encode_subclass(value: object, depth: int) -> str:
        _refuse_own_state(value, base)
        return f"{path}({encode_base(value, depth)})"

    return encode_subclass


def _by_fields(path: str, names: tuple[str, ...], *, is_model: bool) -> _Encoder:
    def encode_fields(value: object, depth: int) -> str:
        texts: list[str] = []
        for name in names:
            try:
                field: object = getattr(value, name)
            except AttributeError as error:
                raise _Refused(value, f"has no value in its field {name!r}") from error
            texts.append(f"{_name(name)}={_inside(field, depth, f'.{name}')}")
        # What a model with extra="allow" took besides its fields; None without it.
        if is_model:
            extra: dict[str, object] | None = getattr(value, "__pydantic_extra__", None)
            for name, item in sorted((extra or {}).items()):
                texts.append(f"{_name(name)}={_inside(item, depth, f'.{name}')}")
        return f"{path}({','.join(texts)})"

    return encode_fields


def _refuse_own_state(value: object, base: type) -> None:
    """Refuse a *value* that holds more than its *base*: the text would not tell it all."""
    kind = type(value)
    above = kind.__mro__[: kind.__mro__.index(base)]
    slots = any(vars(each).get("__slots__") for each in above)
    # Room for a __dict__ and weak references is no state; fields of a C type are.
    hidden = kind.__basicsize__ - base.__basicsize__ > 2 * calcsize("P")
    if slots or hidden or getattr(value, "__dict__", None):
        raise _Refused(value, f"holds more than the {base.__name__} in it")
