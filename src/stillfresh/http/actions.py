"""
`@action`: a method of a service that answers HTTP requests, and may be called like any other.

    ProductApi.get_product      an Action, bound to nothing
    api.get_product             an Action of that instance: a plain call, and controls
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from ..app import registry
from ..errors import InvalidOption
from ..keys.templates import TagTemplate
from ..names import attributes_of
from ..services.asgi import HasRoute
from ..services.current import which_app
from .fitting import check_tags, of_a_route
from .parameters import LATER, is_generator
from .policy import HttpCache
from .route_options import check_route_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Never, Self

    from ..app import App
    from ..durations import Duration
    from ..services.listed import Stats
    from .engine.routes import CachedRoute

P = ParamSpec("P")
R = TypeVar("R")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")

if find_spec("fastapi") is None:
    raise ImportError("@action needs FastAPI. Install it: pip install 'stillfresh[http]'")


Named: TypeAlias = "TagTemplate | Action[Any, Any] | Target"
"""What a success drops: the responses with a tag, all those of an action, or those to one call."""


@dataclass(frozen=True)
class Declared:
    """What `@action` says."""

    path: str
    method: str
    cache: HttpCache | None
    kept: bool
    """Responses are stored; else only conditions are answered."""
    invalidates: tuple[Named, ...]
    options: Mapping[str, Any]
    """Whatever else FastAPI's routes take."""


class Target:
    """An action with arguments: what `invalidates=[action.args(...)]` names."""

    def __init__(self, action: Action[Any, Any], arguments: Mapping[str, object]) -> None:
        self.action = action
        self.arguments = arguments
        self._taken = {
            name: value[1:-1]
            for name, value in arguments.items()
            if isinstance(value, str) and value[:1] == "{" and value[-1:] == "}"
        }
        """Those that are another call's: its "{name}"."""

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.action.name}.args({given})"

    @property
    def known(self) -> dict[str, object]:
        """The arguments, `LATER` for those of another call."""
        return {**self.arguments, **dict.fromkeys(self._taken, LATER)}

    def of(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return the arguments for another call, which has *values*."""
        return {**self.arguments, **{name: values[one] for name, one in self._taken.items()}}

    def check(self, names: Sequence[str]) -> None:
        """
        See that another call, with the arguments *names*, has what is taken from it.

        Raises:
            InvalidOption: It has not.
        """
        for one in self._taken.values():
            if one not in names:
                known = ", ".join(names) or "none"
                msg = f"invalidates= has {self!r}: {one!r} is no argument here. There are: {known}."
                raise InvalidOption(msg)


class Action(HasRoute, Generic[P, R]):
    """
    A method behind a route. Calling it is a plain call: no HTTP, no cache.

    The controls are those of the cached responses of this route, whatever their host and variant.
    """

    __wrapped__: Any

    def __init__(
        self, function: Callable[P, R], declared: Declared, instance: object = None
    ) -> None:
        self.function = function
        self.declared = declared
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
        return f"<Action {self.declared.method} {self.declared.path}: {self.title}>"

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
        action: Action[Any, Any] = Action(bound, self.declared, instance)
        action.name = self.name
        return action

    # Controls

    async def invalidate(self, /, *unnamed: Never, **arguments: object) -> None:
        """
        Drop the responses to a call with these arguments: of every host, in every variant.

        Arguments are those that come from the request, by name; what is left out has its default.

        Raises:
            TypeError: The action has no such argument, or one is missing.
            InvalidOption: The action has no cache, or is none of the app's.
            NotRunning: The app does not run.
            ProviderUnavailable: Nobody knows whether it happened; it is done before this
                process reads them again.
        """
        self._must_be_named("invalidate", unnamed)
        await self._route("invalidate").invalidate(arguments)

    async def invalidate_matching(self, pattern: str) -> None:
        """
        Drop the responses whose `key()` matches *pattern*, where `*` is any text.

        Raises:
            InvalidOption: The pattern is no text, or the action has no cache.
            NotRunning, ProviderUnavailable: As `invalidate`.
        """
        await self._route("invalidate_matching").invalidate_matching(pattern)

    async def clear(self) -> None:
        """Drop all responses of this action. Raises as `invalidate`."""
        await self._route("clear").clear()

    def key(self, /, *unnamed: Never, **arguments: object) -> str:
        """
        Return the text of a call with these arguments, as `invalidate_matching` sees it.

        Raises:
            TypeError, InvalidOption: As `invalidate`.
        """
        self._must_be_named("key", unnamed)
        return self._route().key_of(arguments)

    @property
    def stats(self) -> Stats:
        """How requests were answered, and how many responses there are; live numbers."""
        return self._route().stats

    def args(self, /, *unnamed: Never, **arguments: object) -> Target:
        """Name the responses to one call, for `invalidates=[action.args(product_id=7)]`."""
        self._must_be_named("args", unnamed)
        return Target(self, arguments)

    def _must_be_named(self, control: str, unnamed: tuple[object, ...]) -> None:
        if unnamed:
            names = list(inspect.signature(self.function).parameters)
            names = names if self.instance is not None else names[1:]
            named = ", ".join(
                f"{name}={value!r}" for name, value in zip(names, unnamed, strict=False)
            )
            msg = (
                f"{self.title}.{control}({', '.join(map(repr, unnamed))}): name the arguments, "
                f"as the request does: {control}({named or 'name=value'})."
            )
            raise TypeError(msg)

    def _route(self, change: str = "") -> CachedRoute:
        app = self.app()
        if change:
            app.must_run(f"{self.title}.{change}()")
        return cast("CachedRoute", app.server.route_of(self))

    def app(self) -> App:
        """Return the app to which the instance belongs, or else the one that runs."""
        owner = None if self.instance is None else registry.owner_of(self.instance)
        return owner or which_app(self.title)


def action(
    path: str,
    method: str = "GET",
    *,
    cache: bool | Duration | HttpCache | None = None,
    etag: object = None,
    last_modified: Callable[..., object] | None = None,
    tags: Iterable[Any] = (),
    invalidates: Iterable[object] = (),
    **route: Any,
) -> Callable[[Callable[P, R]], Action[P, R]]:
    """
    Answer requests for *path* with a method of a service: `@action("/products/{product_id}")`.

    It is a FastAPI endpoint: parameters, validation and OpenAPI come from the signature, and
    *route* is whatever else `FastAPI.get` takes (`status_code`, `dependencies`...).

    *cache* keeps the responses: True for five minutes, a duration, or an `HttpCache`. *etag* and
    *last_modified* are functions of the method's arguments that say cheaply whether a response
    has changed; `etag=True` answers conditional requests without keeping anything.
    *tags* drop the responses, as those of `@cache` do, `"product:{product_id}"` included; those
    without a placeholder are the tags of the route in OpenAPI, too. Beside an `HttpCache`, which
    has tags of its own, they are nothing else. *invalidates* names what a successful call drops:
    actions, `action.args(...)`, or tags.

    Raises:
        InvalidOption: A path without `/`, an option that is the cache's, a cache on a method that
            is not GET, `tags=` or `invalidates=` that is no list or names an argument that there
            is not, or the latter on what changes nothing.
        InvalidDuration: A length of time that cannot be read.
    """
    verb = _checked_method(method)
    check_route_options(path, route)
    names, shown = _checked_tags(path, cache, tags)
    policy, kept = checked_cache(cache, etag, last_modified, names)
    if policy is not None and verb not in policy.methods:
        msg = (
            f"@action({path!r}, method={verb!r}) with a cache: only responses to GET are kept. "
            "Leave out cache, etag and last_modified; invalidates= says what it changes. If it "
            f"changes nothing, write HttpCache(methods=[{verb!r}]): the body joins the key."
        )
        raise InvalidOption(msg)
    drops = _checked_drops(invalidates)
    if drops and (policy is not None or verb in {"GET", "HEAD", "OPTIONS", "TRACE"}):
        why = f"a {verb}" if policy is None else "a response that is kept"
        msg = (
            f"@action({path!r}) with invalidates=: {why} changes nothing. Say which method "
            "does, such as method='POST', without a cache."
        )
        raise InvalidOption(msg)
    if shown:
        route["tags"] = shown
    where = _checked_path(path)

    def decorate(function: Callable[P, R]) -> Action[P, R]:
        names = _arguments_of(function)
        if policy is not None:
            if is_generator(function):
                msg = f"@action on {function!r}: a generator streams, and is not kept."
                raise InvalidOption(msg)
            check_tags(policy, names, f"@action on {function!r}")
        named = tuple([_checked_drop(one, names, function) for one in drops])
        return Action(function, Declared(where, verb, policy, kept, named, route))

    return decorate


def _arguments_of(function: object) -> list[str]:
    """Return the names of a method's arguments, those of a call."""
    if inspect.isclass(function) or isinstance(function, staticmethod) or not callable(function):
        raise InvalidOption(f"@action on {function!r}: expected a method of a service.")
    names = list(inspect.signature(function).parameters)
    if not names:
        raise InvalidOption(f"@action on {function!r}: a method has `self`, and this has nothing.")
    return names[1:]


def _checked_path(path: object) -> str:
    if isinstance(path, str) and path.startswith("/"):
        return path
    raise InvalidOption(f"@action({path!r}): expected a path that begins with '/'.")


def _checked_method(method: object) -> str:
    if isinstance(method, str) and method.isalpha():
        return method.upper()
    raise InvalidOption(f"@action(method={method!r}): expected a method, such as 'POST'.")


def _checked_drops(invalidates: object) -> tuple[object, ...]:
    if isinstance(invalidates, str | Action | Target):
        msg = f"invalidates={invalidates!r}: expected a list. Write [{invalidates!r}]."
        raise InvalidOption(msg)
    try:
        return tuple(cast("Iterable[object]", invalidates))
    except TypeError:
        msg = f"invalidates={invalidates!r}: expected a list of actions, action.args(...), or tags."
        raise InvalidOption(msg) from None


def _checked_drop(target: object, names: Sequence[str], function: object) -> Named:
    if isinstance(target, str):
        return TagTemplate(target, names, option="invalidates")
    if isinstance(target, Target):
        target.check(names)
        return target
    if isinstance(target, Action):
        return target
    msg = (
        f"@action on {function!r}: invalidates= has {target!r}. Name an action, "
        "action.args(...), or a tag."
    )
    raise InvalidOption(msg)


def _checked_tags(path: str, cache: object, tags: object) -> tuple[list[str], list[object]]:
    """Return the tags that drop the responses, and those that OpenAPI shows."""
    if callable(tags):
        msg = f"@action({path!r}, tags={tags!r}): write a function into cache=HttpCache(tags=...)."
        raise InvalidOption(msg)
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        msg = f"@action({path!r}, tags={tags!r}): expected a list of tags. Write [{tags!r}]."
        raise InvalidOption(msg)
    given = list(cast("Iterable[object]", tags))
    if cache is None or cache is False:
        return [], given
    filled = [tag for tag in given if isinstance(tag, str) and "{" in tag]
    if not isinstance(cache, HttpCache):
        return [tag for tag in given if isinstance(tag, str)], [
            tag for tag in given if tag not in filled
        ]
    if filled:
        msg = (
            f"@action({path!r}, tags={filled!r}) beside an HttpCache: write them into it, "
            f"HttpCache(..., tags={filled!r})."
        )
        raise InvalidOption(msg)
    return [], given


def checked_cache(
    cache: object, etag: object, last_modified: object, tags: Iterable[str]
) -> tuple[HttpCache | None, bool]:
    """
    Return the policy that the options ask for, and whether it stores.

    Raises:
        InvalidOption: An `HttpCache` has options of its own, and would be overridden.
        InvalidDuration: A length of time that cannot be read.
    """
    if isinstance(cache, HttpCache):
        if etag is not None or last_modified is not None:
            raise InvalidOption("etag= and last_modified= beside an HttpCache: write them into it.")
        return of_a_route(cache), True
    given: dict[str, Any] = {}
    if etag is not None:
        given["etag"] = etag
    if last_modified is not None:
        given["last_modified"] = last_modified
    if cache is None or cache is False:
        return (HttpCache(**given), False) if given else (None, False)
    if tags:
        given["tags"] = tags
    if cache is not True:
        given["ttl"] = cache
    return HttpCache(**given), True


def actions_of(kind: type) -> dict[str, Action[Any, Any]]:
    """Return the actions of a class by name, in the order in which they were written."""
    return {name: one for name, one in attributes_of(kind).items() if isinstance(one, Action)}
