"""
Services by type: what an app builds, is given, or is told to replace.

A service is built at most once per app, without arguments. Attributes that are declared with
`inject` are looked up when they are read, so two services may know each other.
"""

from __future__ import annotations

import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import AlreadyResolved, CannotBuild, InvalidOption
from ..forks import free_in_child
from ..providers.base import CacheProvider, a_provider
from .injection import let_classes_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Container:
    """The services of one app."""

    def __init__(self, tell: Callable[[object], None]) -> None:
        self._tell = tell
        """Told about each instance, before anybody gets it."""
        self._lock = free_in_child()
        self._provided: dict[type, object] = {}
        self._instances: dict[type, object] = {}
        self._resolved_by: dict[type, str] = {}
        self._overrides: dict[type, tuple[object, ...]] = {}
        self._building: list[type] = []
        self._builder: threading.Thread | None = None
        """The thread that builds, or did."""

    def get(self, kind: type[T], by: str) -> T:
        """Return the service, and remember who asked for it."""
        if not isinstance(kind, type):
            msg = f"get({kind!r}): expected a class."
            raise InvalidOption(msg)
        # Without the lock: a constructor runs under it, and may call what waits for us.
        if layers := self._overrides.get(kind):
            return cast("T", layers[-1])
        if kind not in self._instances:
            with self._lock:
                return cast("T", self._resolved(kind, by))
        return cast("T", self._instances[kind])

    def provide(self, kind: type[T], use: object, instead: str) -> None:
        """
        Say what `get(kind)` returns: an instance, a class, or a factory.

        *instead* is what to do where it is too late.

        Raises:
            AlreadyResolved: Somebody has got it already, and would keep the old one.
        """
        with self._lock:
            if kind in self._instances:
                by = self._resolved_by.get(kind, "App(...)")
                msg = (
                    f"provide({kind.__qualname__}): too late, {by} has already resolved it. "
                    f"{instead}"
                )
                raise AlreadyResolved(msg)
            self._provided[kind] = checked_use(kind, use)

    def provide_default(self, kind: type, use: object) -> None:
        """Say what *kind* is where nobody says it."""
        with self._lock:
            self._provided.setdefault(kind, use)

    def adopt(self, instance: object) -> None:
        """Take *instance* as the service of its class."""
        with self._lock:
            kind = type(instance)
            if kind in self._instances and self._instances[kind] is not instance:
                msg = (
                    f"two instances of {kind.__qualname__}: an app has one service per class. "
                    "Give the second one a class of its own."
                )
                raise InvalidOption(msg)
            self._instances[kind] = instance
            self._built(instance)

    def push(self, kind: type, use: object) -> object:
        """Replace *kind* until `pop`, and return the replacement."""
        with self._lock:
            use = checked_use(kind, use)
            found = self._instances.get(use) if isinstance(use, type) else None
            instance = self._made(kind, use) if found is None else found
            self._overrides[kind] = (*self._overrides.get(kind, ()), instance)
            return instance

    def pop(self, kind: type, instance: object) -> None:
        """Take the replacement away again."""
        with self._lock:
            layers = list(self._overrides[kind])
            last = max(index for index, layer in enumerate(layers) if layer is instance)
            del layers[last]
            self._overrides[kind] = tuple(layers)

    def instances(self) -> list[object]:
        """Return every instance that is in use."""
        with self._lock:
            found = dict(self._instances)
            found.update({kind: layers[-1] for kind, layers in self._overrides.items() if layers})
        return list({id(one): one for one in found.values()}.values())

    def _built(self, instance: object) -> None:
        let_classes_answer(instance)
        self._tell(instance)

    def _resolved(self, kind: type, by: str) -> object:
        if kind not in self._instances:
            self._instances[kind] = self._make(kind, by)
            self._resolved_by[kind] = by
        return self._instances[kind]

    def _make(self, kind: type, by: str) -> object:
        here = threading.current_thread()  # not its number, which another one gets after it
        if self._builder is not here:  # the lock is ours: another one's is left by a fork
            self._builder, self._building = here, []
        if kind in self._building:
            circle = " -> ".join(k.__qualname__ for k in (*self._building, kind))
            msg = (
                f"{circle}: the constructors need each other. Use inject() on one side, "
                "and read it after the constructor."
            )
            raise CannotBuild(msg)
        self._building.append(kind)
        try:
            use = self._provided.get(kind, kind)
            if isinstance(use, type) and use is not kind:
                return self._resolved(use, by)  # one service under both names
            return self._made(kind, use)
        finally:
            self._building.pop()

    def _made(self, kind: type, use: object) -> object:
        if isinstance(use, type):
            instance = _construct(kind, use)
        elif is_factory(use):
            instance = cast("Callable[[], object]", use)()
        else:
            instance = use
        self._built(instance)
        return instance


def is_factory(use: object) -> bool:
    """Tell a factory from an instance that happens to be callable."""
    return inspect.isroutine(use) or isinstance(use, functools.partial)


def checked_use(kind: type, use: object) -> object:
    """
    Return *use* if it can stand for *kind*.

    Raises:
        InvalidOption: An async factory, no class to replace, or no provider where one has to be.
    """
    if not isinstance(kind, type):
        msg = f"provide({kind!r}, ...): expected a class to provide for."
        raise InvalidOption(msg)
    if inspect.iscoroutinefunction(use):
        msg = f"provide({kind.__qualname__}, {use!r}): a factory must not be async."
        raise InvalidOption(msg)
    if issubclass(kind, CacheProvider):
        is_class = isinstance(use, type) and issubclass(use, CacheProvider)
        if not is_class and not is_factory(use):
            a_provider(use)
    return use


def _construct(kind: type, use: type) -> object:
    if inspect.isabstract(use) or getattr(use, "_is_protocol", False):
        msg = (
            f"{use.__qualname__} is abstract. Say what stands for it: "
            f"app.provide({kind.__qualname__}, ...), with a class, an instance or a factory."
        )
        raise CannotBuild(msg)
    for parameter in _required(use):
        msg = (
            f"{use.__qualname__} needs {parameter!r}, and an app builds services without "
            f"arguments. Provide an instance: app.provide({kind.__qualname__}, "
            f"{use.__qualname__}({parameter}=...)), or inject() what it needs."
        )
        raise CannotBuild(msg)
    return cast("type[Any]", use)()


def _required(use: type) -> Iterator[str]:
    try:
        signature = inspect.signature(use)
    except (ValueError, TypeError):
        return
    for parameter in signature.parameters.values():
        if parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            yield parameter.name
