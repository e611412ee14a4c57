"""Which app a cache or a service belongs to, and the app that is always there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, ClassVar, TypeVar

from ..app import App, current_app, extensions, registry
from ..errors import AmbiguousApp, StillfreshError
from ..forks import free_in_child
from .injection import Injected

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

T = TypeVar("T")

_registering = free_in_child()


class DefaultApp(App):
    """The app of caches that belong to no other: always there, entries in memory."""

    is_default: ClassVar[bool] = True
    _too_late = (
        "Call stillfresh.provide() before the first call: a module that you import may call at "
        "its import. In a test take `with isolated():` from stillfresh.testing."
    )

    def __repr__(self) -> str:
        return "<the default app>"

    @property
    def running(self) -> bool:
        """It needs no start."""
        return True


_default: list[App] = []


def default_app() -> App:
    """Return the process-wide default app."""
    if not _default:
        with _registering:
            app = DefaultApp()
            if not _default:  # nobody else was faster, no destructor of garbage either
                _default.append(app)
    return _default[-1]


@contextlib.contextmanager
def replaced_default(app: App) -> Generator[App, None, None]:
    """Let *app* be the default for the time of a `with` block."""
    default_app()
    _default.append(app)
    for extension in extensions:
        extension.opened(app)
    try:
        yield app
    finally:
        _default.remove(app)
        for extension in extensions:
            extension.closed(app)


def which_app(what: str) -> App:
    """
    Return the app of a cache that no instance binds to one.

    Raises:
        AmbiguousApp: Several run, and none of them is running this code.
    """
    running = registry.running
    if not running:
        return default_app()
    if len(running) == 1:
        return running[0]
    app = current_app.get()
    if app is not None and (app in running or app.is_default):
        return app
    msg = (
        f"{what} belongs to no instance, and {len(running)} apps run: "
        f"{', '.join(map(repr, running))}. Call it in a hook or a cached function of one of "
        "them, or make it a method of a service."
    )
    raise AmbiguousApp(msg)


def only_one_app() -> bool:
    """Tell whether `which_app` has one answer for everybody."""
    return len(registry.running) <= 1


def _look_up(declared: Injected, instance: object) -> object:
    # A service in its constructor has no owner yet; the app that builds it is the current one.
    app = registry.owner_of(instance) or current_app.get() or which_app(declared.name)
    return app if declared.kind is App else app.get(declared.kind, by=declared.name)


Injected.look_up = staticmethod(_look_up)


# The module-level controls of the default app


def provide(kind: type[T], use: T | type[T] | Callable[[], T]) -> None:
    """
    Say what *kind* is in the default app, the one of functions outside of any `App`.

    Raises:
        AlreadyResolved, InvalidOption: As `App.provide`.
    """
    default_app().provide(kind, use)


async def invalidate_tags(*tags: str) -> None:
    """
    Drop every entry that has one of *tags*, in the default app and in each that runs.

    Raises:
        ProviderUnavailable: Nobody knows whether it happened; it is done before this process
            reads any of it again.
    """
    await drop_tagged(tags, blocking=False)


async def drop_tagged(tags: tuple[str, ...], *, blocking: bool) -> None:
    """Do what `invalidate_tags` says, on a loop or, where *blocking*, without suspending."""
    problem: StillfreshError | None = None
    for app in (default_app(), *registry.running):
        try:
            await app.drop_tagged(tags, blocking=blocking)
        except StillfreshError as error:  # the others' entries are dropped all the same
            problem = error
    if problem is not None:
        raise problem


@contextlib.asynccontextmanager
async def lifespan(_: object = None) -> AsyncGenerator[None, None]:
    """Run the default app for the life of another one: `FastAPI(lifespan=lifespan)`."""
    async with default_app():
        yield
