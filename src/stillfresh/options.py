"""The options of `@cache` and `Cache`: read, checked against each other, and frozen."""

from __future__ import annotations

import inspect
from contextvars import ContextVar
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypedDict

from msgspec import Struct

from .durations import Duration, seconds
from .entry import MISSING, Windows
from .errors import ComputeTimeout, InvalidOption, ProviderUnavailable, StillfreshError
from .names import meant
from .providers.base import checked_provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from .providers.base import ProviderOption

    Failing: TypeAlias = (
        type[BaseException] | Sequence[type[BaseException]] | Callable[[BaseException], bool]
    )
    Varying: TypeAlias = ContextVar[Any] | Callable[[], object]

FIVE_MINUTES: Final = 300.0


class MemoryTier:
    """
    A near tier: entries of a shared provider, kept in this process as well.

    *ttl* bounds how long one is served without asking; *max_entries* how many there are.

    Raises:
        InvalidDuration, InvalidOption: A *ttl* that cannot be read; *max_entries* below 1.
    """

    def __init__(self, ttl: Duration | None = None, max_entries: int = 10_000) -> None:
        self.ttl = None if ttl is None else seconds(ttl, "memory ttl")
        self.max_entries = a_number(max_entries, "max_entries")

    def __repr__(self) -> str:
        return f"MemoryTier(ttl={self.ttl!r}, max_entries={self.max_entries!r})"


class Serializer(Protocol):
    """What `serializer=` takes."""

    def encode(self, value: Any, /) -> bytes:
        """Return the bytes of a value."""
        ...

    def decode(self, data: bytes, /) -> Any:
        """Return the value of bytes."""
        ...


class Options(TypedDict, total=False):
    """What a `Cache` takes besides its name; functions take these, too."""

    ttl: Duration | None
    stale: Duration | None
    stale_if_error: Duration | None
    errors: Failing
    refresh_ahead: float | None
    jitter: float | None
    timeout: Duration | None
    soft_timeout: Duration | None
    when: Callable[[Any], object] | None
    vary: Varying | Sequence[Varying]
    memory: bool | Duration | MemoryTier | None
    returns: object
    provider: ProviderOption | None
    serializer: Serializer | None
    compress: bool
    copy: bool
    enabled: bool | Callable[[], object]


class Policy(Struct, frozen=True):
    """The options, checked. Lengths of time are seconds."""

    fresh: float = FIVE_MINUTES
    stale: float = 0.0
    keep: float = 0.0
    ahead: float = 1.0
    jitter: float = 0.0
    timeout: float = inf
    soft_timeout: float = inf
    patience: float = inf
    """How long to stand behind the computation of another process, before one's own."""
    errors: Callable[[BaseException], bool] = lambda error: isinstance(error, Exception)
    when: Callable[[object], object] | None = None
    vary: tuple[Callable[[], object], ...] = ()
    memory: MemoryTier | Literal[False] | None = None
    """None leaves it to the provider."""
    returns: object = MISSING
    provider: ProviderOption | None = None
    serializer: object = None
    compress: bool = False
    copy: bool = False
    enabled: bool | Callable[[], object] = True

    @classmethod
    def read(cls, **given: object) -> Policy:
        """
        Check the options that were written, and what they say together.

        Raises:
            InvalidDuration: A length of time that cannot be read.
            InvalidOption: An impossible value, or two options that contradict each other.
        """
        unknown = set(given) - set(Options.__annotations__)
        if unknown:
            raise _unknown(min(unknown))
        fresh = lifetime(given.get("ttl", FIVE_MINUTES))
        keep = a_window(given.get("stale_if_error"), "stale_if_error")
        timeout = a_window(given.get("timeout"), "timeout") or inf
        soft_timeout = a_window(given.get("soft_timeout"), "soft_timeout") or inf
        ahead = a_fraction(given.get("refresh_ahead"), "refresh_ahead")
        jitter = a_fraction(given.get("jitter"), "jitter")
        serializer = given.get("serializer")
        if given.get("provider") == "memory":
            _check_memory_alone(given)
        if soft_timeout < inf and not keep:
            msg = (
                f"soft_timeout={given['soft_timeout']!r} needs stale_if_error: when the wait "
                "is over, the old value is served. Say how long it may be, or use timeout."
            )
            raise InvalidOption(msg)
        if timeout <= soft_timeout < inf:
            msg = (
                f"soft_timeout={given['soft_timeout']!r} is not shorter than "
                f"timeout={given['timeout']!r}: it would never be reached."
            )
            raise InvalidOption(msg)
        if fresh == inf and (ahead or jitter):
            name = "refresh_ahead" if ahead else "jitter"
            msg = f"{name}={given[name]!r} is a part of the ttl, and ttl=None never ends."
            raise InvalidOption(msg)
        return cls(
            fresh=fresh,
            stale=a_window(given.get("stale"), "stale"),
            keep=keep,
            ahead=ahead or 1.0,
            jitter=jitter,
            timeout=timeout,
            soft_timeout=soft_timeout,
            errors=_predicate(given.get("errors", Exception)),
            when=a_function(given.get("when"), "when"),
            vary=_varying(given.get("vary", ())),
            memory=memory_option(given.get("memory")),
            returns=given.get("returns", MISSING),
            provider=checked_provider(given.get("provider")),
            serializer=None if serializer is None else _serializer(serializer),
            compress=a_bool(given.get("compress", False), "compress"),
            copy=a_bool(given.get("copy", False), "copy"),
            enabled=_switch(given.get("enabled", True)),
        )

    @property
    def in_worker(self) -> bool:
        """A sync function under this policy runs in a worker thread."""
        return bool(self.stale) or self.ahead < 1 or min(self.timeout, self.soft_timeout) < inf

    def windows(self, fresh: float | None = None) -> Windows:
        """Return the lifetimes of an entry that is made now, shortened by the jitter."""
        length = self.fresh if fresh is None else fresh
        if not self.jitter:
            ahead = length * self.ahead if self.ahead < 1 else inf
            return _shared_windows(length, self.stale, self.keep, ahead)
        import random  # few want it, and it loads a good deal

        factor = 1.0 - self.jitter * random.random()  # no secret
        length *= factor
        ahead = length * self.ahead if self.ahead < 1 else inf
        return Windows(length, self.stale * factor, self.keep * factor, ahead)

    def fails(self, error: BaseException) -> bool:
        """Tell whether *error* means that the source failed, so that the old value is better."""
        if isinstance(error, ComputeTimeout):
            return True
        if isinstance(error, StillfreshError) and not isinstance(error, ProviderUnavailable):
            return False  # a mistake in the code, not a failing source
        return bool(self.errors(error))

    def is_enabled(self) -> bool:
        """Ask whether calls are cached right now."""
        return self.enabled if isinstance(self.enabled, bool) else bool(self.enabled())


_shared_windows: Final = lru_cache(maxsize=1_000)(Windows)
"""Windows that many entries have: kept once, they cost an entry no memory."""

_NAMES = tuple(Options.__annotations__)
_OF_FUNCTIONS = ("key", "tags")
_BOUNDS = ("max_bytes", "max_entries", "max_size", "maxsize")
"""What other caches bound a function with."""


def _check_memory_alone(given: dict[str, object]) -> None:
    """Refuse what is for entries on a server, where they are to stay in this process."""
    for option, off, why in (
        ("memory", "None", "a near tier stands in front of a server"),
        ("compress", "False", "in memory nothing is compressed"),
    ):
        if given.get(option):
            msg = (
                f"{option}={given[option]!r} beside provider='memory': {why}. "
                f"Leave one of them out, or write {option}={off}."
            )
            raise InvalidOption(msg)


def _serializer(given: object) -> object:
    from .codecs import checked_serializer

    return checked_serializer(given)


def _unknown(option: str) -> InvalidOption:
    if option in _OF_FUNCTIONS:
        msg = f"{option}= is an option of functions. Write it where the Cache decorates one."
        return InvalidOption(msg)
    if option in _BOUNDS:
        msg = (
            f"{option}=: what is bounded is the memory of the app, not a function's. Write "
            "app.provide(CacheProvider, MemoryCacheProvider(max_entries=10_000)), or for a near "
            "tier memory=MemoryTier(max_entries=10_000)."
        )
        return InvalidOption(msg)
    hint = meant(option, (*_NAMES, "name", *_OF_FUNCTIONS))
    msg = (
        f"unknown option {option!r}.{hint} There are: {', '.join(_NAMES)}, name, "
        "and for functions key and tags."
    )
    return InvalidOption(msg)


def lifetime(value: object, option: str = "ttl") -> float:
    """Return seconds, `inf` for None."""
    return inf if value is None else seconds(value, option)


def a_bool(value: object, option: str) -> bool:
    """Return *value* if it is True or False."""
    if not isinstance(value, bool):
        msg = f"{option}={value!r}: expected True or False."
        raise InvalidOption(msg)
    return value


def a_number(value: object, option: str, least: int = 1, unit: str = "") -> int:
    """Return *value* if it is a whole number of at least *least*; messages name the *unit*."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        of = f"of {unit}, at least" if unit else "of at least"
        msg = f"{option}={value!r}: expected a whole number {of} {least}."
        raise InvalidOption(msg)
    return value


def a_window(value: object, option: str) -> float:
    """Return a length of time in seconds, 0 for None."""
    return 0.0 if value is None else seconds(value, option)


def a_fraction(value: object, option: str) -> float:
    """Return *value* if it is a part of one, 0 for None; no jitter may be said as 0, too."""
    if value is None:
        return 0.0
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value < 1
        or (value == 0 and option != "jitter")
    ):
        example = 0.1 if option == "jitter" else 0.8
        msg = (
            f"{option}={value!r}: expected a fraction of the ttl between 0 and 1, "
            f"such as {example}."
        )
        raise InvalidOption(msg)
    return float(value)


def checked_name(name: object) -> str | None:
    """
    Return the explicit name of a cache.

    Raises:
        InvalidOption: Not a string, or an empty one.
    """
    if name is None:
        return None
    if not isinstance(name, str) or not name.strip():
        msg = f"name={name!r}: expected a text that is not empty, such as 'sessions'."
        raise InvalidOption(msg)
    return name


def a_function(value: object, option: str, example: str = "") -> Callable[..., object] | None:
    """Return *value* if it is a plain function or None."""
    if value is None:
        return None
    if not callable(value):
        such_as = f", such as {option}={example}" if example else ""
        msg = f"{option}={value!r}: expected a function{such_as}."
        raise InvalidOption(msg)
    if inspect.iscoroutinefunction(value):
        msg = f"{option}={value!r}: expected a plain function, this one is async."
        raise InvalidOption(msg)
    return value


def _predicate(value: object) -> Callable[[BaseException], bool]:
    if isinstance(value, type):
        value = (value,)
    if isinstance(value, tuple | list):
        kinds = tuple(value)
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                msg = f"errors: {kind!r} is no exception type. Give types, or a predicate."
                raise InvalidOption(msg)
        return lambda error: isinstance(error, kinds)
    function = a_function(value, "errors") if callable(value) else None
    if function is None:
        msg = f"errors={value!r}: expected exception types or a predicate; () for none."
        raise InvalidOption(msg)
    return lambda error: bool(function(error))


def _varying(value: object) -> tuple[Callable[[], object], ...]:
    sources: Iterable[object]
    if callable(value) or hasattr(value, "get"):
        sources = (value,)
    elif isinstance(value, list | tuple):
        sources = value
    else:
        msg = f"vary={value!r}: expected ContextVars or functions without arguments."
        raise InvalidOption(msg)
    return tuple(_source(source) for source in sources)


def _source(source: object) -> Callable[[], object]:
    if isinstance(source, ContextVar):
        variable: ContextVar[object] = source
        return lambda: _value_of(variable)
    function = a_function(source, "vary")
    if function is None:
        msg = "vary=None: expected ContextVars or functions without arguments."
        raise InvalidOption(msg)
    return function


def _value_of(variable: ContextVar[object]) -> object:
    try:
        return variable.get()  # a default is a value like one that was set
    except LookupError:
        return MISSING


def memory_option(value: object) -> MemoryTier | Literal[False] | None:
    """
    Return what `memory=` says; None where it says nothing.

    Raises:
        InvalidDuration: It is no length of time either.
    """
    if value is None or value is False:
        return value
    if value is True:
        return MemoryTier()
    if isinstance(value, MemoryTier):
        return value
    return MemoryTier(seconds(value, "memory"))


def _switch(value: object) -> bool | Callable[[], object]:
    if isinstance(value, bool):
        return value
    function = a_function(value, "enabled") if callable(value) else None
    if function is None:
        msg = f"enabled={value!r}: expected True, False or a function without arguments."
        raise InvalidOption(msg)
    return function
