"""Hooks: methods that the app calls when it starts, is ready, and stops."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from ..errors import InvalidOption
from ..names import attributes_of, meant

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F")

MOMENTS: Final = ("start", "ready", "stop")
_MARK: Final = "__stillfresh_hook__"


def hook(moment: str) -> Callable[[F], F]:
    """
    Mark a method of a service, sync or async and without arguments, for the app to call.

    `start` comes before caches work, `ready` after, `stop` when the app ends. Services on
    which others depend come first, at `stop` last.

    Raises:
        InvalidOption: There is no such moment.
    """
    if inspect.isroutine(moment):
        msg = f"@hook on {moment!r}: expected a moment. Write @hook('start'), 'ready' or 'stop'."
        raise InvalidOption(msg)
    if moment not in MOMENTS:
        hint = meant(moment, MOMENTS)
        msg = f"hook {moment!r} does not exist.{hint} There are: {', '.join(MOMENTS)}."
        raise InvalidOption(msg)

    def mark(function: F) -> F:
        if not callable(function):
            msg = f"@hook({moment!r}) on {function!r}: expected a method of a service."
            raise InvalidOption(msg)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            msg = (
                f"@hook({moment!r}) on {function!r}: nobody would run what a generator has after "
                "its yield. Write two hooks, 'start' and 'stop'."
            )
            raise InvalidOption(msg)
        _check_signature(moment, function)
        moments = (*getattr(function, _MARK, ()), moment)
        cast("Any", function).__stillfresh_hook__ = moments
        return function

    return mark


def _check_signature(moment: str, function: Callable[..., object]) -> None:
    static = isinstance(function, staticmethod)
    called: Callable[..., object] = getattr(function, "__func__", function) if static else function
    try:  # what a decorator has wrapped may get more from it than the app gives
        signature = inspect.signature(called, follow_wrapped=False)
    except (TypeError, ValueError):  # it does not say
        return
    given = () if static else (None,)  # self, or cls
    try:
        signature.bind(*given)
    except TypeError as error:
        msg = (
            f"@hook({moment!r}) on {function!r}: the app calls it without arguments, and it has "
            f"{signature}: {error}. Give each a default, or inject() what it needs."
        )
        raise InvalidOption(msg) from None


def hooks_of(service: object, moment: str) -> list[Callable[[], object]]:
    """Return the bound hooks of *service*, in the order in which they were written."""
    found = attributes_of(type(service)).items()
    return [getattr(service, name) for name, one in found if moment in _moments(one)]


def _moments(found: object) -> tuple[str, ...]:
    moments: tuple[str, ...] = getattr(found, _MARK, ())
    if not moments and isinstance(found, staticmethod | classmethod):  # the mark is below it
        moments = getattr(found.__func__, _MARK, ())
    return moments
