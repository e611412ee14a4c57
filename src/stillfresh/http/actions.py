"""
`@action`: a method of a service that answers HTTP requests, and may be called like any other.

    ProductApi.get_product      an Action, bound to nothing
    api.get_product             an Action of that instance: a plain call, and controls
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from ..errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

P = ParamSpec("P")
R = TypeVar("R")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")

if find_spec("fastapi") is None:
    raise ImportError("@action needs FastAPI. Install it: pip install 'stillfresh[http]'")


@dataclass(frozen=True)
class Plan:
    """What `@action` says."""

    path: str
    method: str
    options: Mapping[str, Any]
    """Whatever else FastAPI's routes take."""


class Action(Generic[P, R]):
    """A method behind a route. Calling it is a plain call: no HTTP, no cache."""

    __wrapped__: Any

    def __init__(self, function: Callable[P, R], plan: Plan, instance: object = None) -> None:
        self.function = function
        self.plan = plan
        self.instance = instance
        self.name = getattr(function, "__name__", "")
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(self, name, getattr(function, name, None))
        self.__wrapped__ = function

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        forward = getattr(type(self.function), "__set_name__", None)
        if forward is not None:  # another decorator's, such as @cache
            forward(self.function, owner, name)

    def __repr__(self) -> str:
        return f"<Action {self.plan.method} {self.plan.path}: {self.title}>"

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"{self.__module__}.{getattr(self, '__qualname__', self.name)}"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the method."""
        return self.function(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self: Action[Concatenate[S, Q], T], instance: S, owner: type[S] | None = None
    ) -> Action[Q, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        bound = cast("Any", self.function).__get__(instance, owner or type(instance))
        action: Action[Any, Any] = Action(bound, self.plan, instance)
        action.name = self.name
        return action


def action(
    path: str,
    method: str = "GET",
    **route: Any,
) -> Callable[[Callable[P, R]], Action[P, R]]:
    """
    Answer requests for *path* with a method of a service: `@action("/products/{product_id}")`.

    It is a FastAPI endpoint: parameters, validation and OpenAPI come from the signature, and
    *route* is whatever else `FastAPI.get` takes (`status_code`, `dependencies`, `tags`...).

    Raises:
        InvalidOption: A path without `/`, or a method that is no word.
    """
    plan = Plan(_checked_path(path), _checked_method(method), route)

    def decorate(function: Callable[P, R]) -> Action[P, R]:
        if inspect.isclass(function) or not callable(function):
            raise InvalidOption(f"@action on {function!r}: expected a method of a service.")
        return Action(function, plan)

    return decorate


def _checked_path(path: object) -> str:
    if isinstance(path, str) and path.startswith("/"):
        return path
    raise InvalidOption(f"@action({path!r}): expected a path that begins with '/'.")


def _checked_method(method: object) -> str:
    if isinstance(method, str) and method.isalpha():
        return method.upper()
    raise InvalidOption(f"@action(method={method!r}): expected a method, such as 'POST'.")


def actions_of(kind: type) -> dict[str, Action[Any, Any]]:
    """Return the actions of a class by name, in the order in which they were written."""
    names: dict[str, None] = {}
    for owner in reversed(kind.__mro__):
        names.update(dict.fromkeys(vars(owner)))
    found = {name: inspect.getattr_static(kind, name, None) for name in names}
    return {name: one for name, one in found.items() if isinstance(one, Action)}
