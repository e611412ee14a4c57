"""
The app: services, their lifecycle, and which app a cache belongs to.

It knows providers and what runs, not which functions are cached. What upper floors add to every
app they register as an `Extension`; the app calls them when something happens to it.
"""

from __future__ import annotations

import contextlib
import inspect
from contextvars import ContextVar
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from .clock import Clock
from .computing.background import Background
from .computing.drivers import drive
from .errors import AlreadyRunning, InvalidOption, NotRunning
from .events import Listeners, log
from .forks import free_in_child
from .providers.base import CacheProvider, a_provider
from .providers.guard import Guard
from .providers.memory import MemoryCacheProvider
from .services.asgi import Served
from .services.container import Container
from .services.hooks import hooks_of
from .services.injection import in_order
from .services.portal import Portal
from .services.registry import Registry
from .tags import checked_tags

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from types import TracebackType
    from typing import Self

    from .events import Event
    from .services.listed import Listed

T = TypeVar("T")

registry: Registry[App] = Registry()
"""Which apps run, and whom each instance belongs to."""

current_app: ContextVar[App | None] = ContextVar("stillfresh_app", default=None)
"""The app whose hook, action or computation runs here."""


class Extension:
    """What an upper floor does for every app; subclass it and append to `extensions`."""

    def adopt(self, app: App, instance: object) -> None:
        """An instance is about to be the app's: raise what speaks against it."""

    def check(self, app: App) -> None:
        """The app is about to start: raise what is wrong with it."""

    def opened(self, app: App) -> None:
        """The app runs now."""

    def closed(self, app: App) -> None:
        """The app does not run any more."""

    def changed(self, app: App, *, provider: bool) -> None:
        """Somebody listens now, or a service was replaced; *provider*: the provider was."""

    async def invalidate_tags(self, app: App, tags: frozenset[str], *, blocking: bool) -> None:
        """Drop what has one of *tags*."""

    def caches(self, app: App) -> list[Listed]:
        """Return the caches of the app."""
        del app
        return []


extensions: list[Extension] = []


class App(Served):
    """
    Services that live together, and the caches in them: `app = App(ProductApi)`.

    *services* are classes, built without arguments when they are needed, or instances. Caches
    work inside `async with app:` or `with app:`; under an ASGI server the app starts by itself.
    *clock* is for tests, see `stillfresh.testing.VirtualClock`.
    """

    is_default: ClassVar[bool] = False
    _too_late = "Provide before the first use, or take app.override(...) in a test."

    def __init__(self, *services: object, clock: Clock | None = None) -> None:
        if clock is not None and not isinstance(clock, Clock):
            raise InvalidOption(f"clock={clock!r}: expected a Clock, such as VirtualClock().")
        self.clock = clock or Clock()
        self.listeners = Listeners()
        self.background = Background()
        self.extras: dict[str, object] = {}
        """What extensions keep about this app."""
        self._container = Container(self._adopt)
        self._container.adopt(self)
        self._container.provide_default(App, self)
        self._container.provide_default(CacheProvider, MemoryCacheProvider)
        self._owned: dict[int, object] = {}
        self._started: list[object] = []
        self._guards: dict[int, Guard] = {}
        self._guarding = free_in_child()
        self._phase = "stopped"
        self._portal = Portal()
        self.kinds: list[type] = []
        for service in services:
            kind = service if isinstance(service, type) else type(service)
            if kind.__module__ == "builtins":
                raise InvalidOption(f"App({service!r}): expected a class of yours, or an instance.")
            self.kinds.append(kind)
            if kind is not service:
                self._container.adopt(service)

    def __repr__(self) -> str:
        names = ", ".join(kind.__qualname__ for kind in self.kinds)
        return f"<App({names}), {self._phase}>"

    # Services

    def get(self, kind: type[T], *, by: str = "app.get()") -> T:
        """
        Return the service of class *kind*, built if nobody needed it before.

        Raises:
            CannotBuild, InvalidOption: It needs arguments, its constructors go in a circle, or
                *kind* is no class.
        """
        token = current_app.set(self)
        try:
            return self._container.get(kind, by)
        finally:
            current_app.reset(token)

    def provide(self, kind: type[T], use: T | type[T] | Callable[[], T]) -> Self:
        """
        Say what *kind* is in this app: a class, an instance, or a factory. Returns the app.

        Raises:
            AlreadyResolved, InvalidOption: Somebody has got it already; or it cannot be used.
        """
        self._container.provide(kind, use, self._too_late)
        return self

    @contextlib.contextmanager
    def override(
        self, kind: type[T], use: T | type[T] | Callable[[], T]
    ) -> Generator[T, None, None]:
        """Replace a service for the time of a `with` block, also while the app runs."""
        instance = cast("T", self._container.push(kind, use))
        provider = issubclass(kind, CacheProvider)
        try:
            self._changed(provider=provider)
            yield instance
        finally:
            self._container.pop(kind, instance)
            self._changed(provider=provider)

    def services(self) -> list[object]:
        """Return the instances in use that the app has built or was given."""
        return [one for one in self._container.instances() if one is not self]

    def guard(self, provider: CacheProvider) -> Guard:
        """Return the guard in front of *provider*, which is started at its first use."""
        with self._guarding:
            found = self._guards.get(id(provider))
            if found is None:
                found = Guard(a_provider(provider), self.clock, self.listeners)
                drive(provider.start(self.clock))
                if self.listeners.wants("evict"):
                    found.hear_evictions()
                found.join(lambda: self._changed(provider=False))
                self._guards[id(provider)] = found
            return found

    @property
    def guards(self) -> list[Guard]:
        """The providers in use."""
        with self._guarding:
            return list(self._guards.values())

    def _adopt(self, instance: object) -> None:
        if instance is self:
            return
        for extension in extensions:
            extension.adopt(self, instance)
        if registry.owner_of(instance) is not self:
            self._owned[id(instance)] = instance  # an override, too, is its own for good
            registry.own(self, instance)

    def _changed(self, *, provider: bool) -> None:
        for extension in extensions:
            extension.changed(self, provider=provider)

    # Lifecycle

    @property
    def running(self) -> bool:
        """Caches work: from before `ready` until after `stop`."""
        return self._phase == "running"

    def must_run(self, what: str) -> None:
        """
        Let a change pass.

        Raises:
            NotRunning: The app does not run; the change would be lost in silence.
        """
        if not self.running:
            msg = (
                f"{what}: {self!r} does not run, and the change would be lost. "
                "Make it inside `async with app:` or `with app:`."
            )
            raise NotRunning(msg)

    async def __aenter__(self) -> Self:
        await self._start(_await, blocking=False)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop(_await, blocking=False)

    def __enter__(self) -> Self:
        drive(self._start(self._block_on, blocking=True))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        drive(self._stop(self._block_on, blocking=True))

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncGenerator[None, None]:
        """Run the app for the life of another one: `FastAPI(lifespan=app.lifespan)`."""
        async with self:
            yield

    async def _start(self, wait: Callable[[object], Awaitable[None]], *, blocking: bool) -> None:
        with self._guarding:
            if self._phase != "stopped":
                raise AlreadyRunning(f"{self!r} was started before. Stop it, or make another App.")
            self._phase = "starting"
        self._started = []
        try:
            services = self._in_order()
            for extension in extensions:
                extension.check(self)
            self.guard(self.get(CacheProvider, by=f"the start of {self!r}"))
            for service in services:
                self._started.append(service)
                await self._call(hooks_of(service, "start"), wait)
            self._open()
            for service in services:
                await self._call(hooks_of(service, "ready"), wait)
        except BaseException:
            try:
                await self._stop(wait, blocking=blocking)
            except Exception:  # noqa: BLE001  # the first one is raised
                log.exception("%r: its start failed, and so did its stop", self)
            raise

    def _open(self) -> None:
        self._phase = "running"
        if not self.is_default:  # it never counts as running beside another
            registry.note_running(self)
        for extension in extensions:
            extension.opened(self)

    async def _stop(self, wait: Callable[[object], Awaitable[None]], *, blocking: bool) -> None:
        errors: list[BaseException] = []  # one that fails keeps none of the others from its end

        async def end(step: Awaitable[None]) -> None:
            try:
                await step
            except BaseException as error:  # noqa: BLE001  # raised below, also a cancellation
                errors.append(error)

        for hook in [hook for one in reversed(self._started) for hook in hooks_of(one, "stop")]:
            await end(self._call([hook], wait))
        try:
            self._phase = "stopping"
            for extension in extensions:
                extension.closed(self)
            registry.forget_running(self)  # after it: until here nobody goes to the default app
            if blocking:
                self.background.stop_blocking()
            else:
                await end(self.background.stop(self.clock))
            while guards := self.guards:  # again, where a call in a thread still made one
                for guard in guards:
                    await end(guard.stop(blocking=blocking))
                    self._guards.pop(id(guard.provider), None)
        finally:
            self._started = []
            self._portal.close()
            self._phase = "stopped"
        errors.sort(key=lambda error: isinstance(error, Exception))  # a cancellation first
        for error in errors[1:]:
            log.error("%r: this failed, too, as it stopped", self, exc_info=error)
        if errors:
            raise errors[0]

    async def _call(
        self, hooks: list[Callable[[], object]], wait: Callable[[object], Awaitable[None]]
    ) -> None:
        for function in hooks:
            token = current_app.set(self)
            try:
                result = function()
                if inspect.isawaitable(result):
                    await wait(result)
            finally:
                current_app.reset(token)

    async def _block_on(self, result: object) -> None:
        self._portal.run(_await(result))

    def _in_order(self) -> list[object]:
        """Return the services, those on which others depend first; providers only if needed."""

        def get(kind: type) -> object:
            return self.get(kind, by=f"the start of {self!r}")

        def instances() -> Generator[object]:
            yield from map(get, self.kinds)
            for one in self.services():  # also what constructors have asked for
                if not isinstance(one, CacheProvider):
                    yield one

        return in_order(instances(), get, past=self)

    # What is the same for all caches

    @property
    def caches(self) -> list[Listed]:
        """The caches of this app's services and of unbound functions that it served."""
        token = current_app.set(self)
        try:
            return [cache for extension in extensions for cache in extension.caches(self)]
        finally:
            current_app.reset(token)

    def on(self, event: str, listener: Callable[[Event], object]) -> Callable[[], None]:
        """
        Call *listener* with each event of that kind, before the call that caused it returns.

        The kinds: hit, stale, miss, coalesced, fallback, bypass, store, refused, invalidate, evict,
        expire, provider_down, provider_up. Returns a function that ends it.

        Raises:
            InvalidOption: There is no such event, or the listener is no plain function.
        """
        remove = self.listeners.add(event, listener)
        if event == "evict":
            with self._guarding:
                for guard in self._guards.values():
                    guard.hear_evictions()
        self._changed(provider=False)  # a short cut tells nobody, so none may answer
        return remove

    async def invalidate_tags(self, *tags: str) -> None:
        """
        Drop every entry that has one of *tags*, in all caches of this app.

        Raises:
            NotRunning: The app does not run.
            ProviderUnavailable: The outcome is unknown; it holds before this process reads again.
        """
        await self.drop_tagged(tags, blocking=False)

    async def settled(self) -> None:
        """Return when all background work is done: refreshes, and computations without callers."""
        await self.background.settled(self.clock)

    @property
    def sync(self) -> SyncApp:
        """The same controls for sync programs."""
        return SyncApp(self)

    async def drop_tagged(self, tags: tuple[str, ...], *, blocking: bool) -> None:
        """Do what `invalidate_tags` says, on a loop or, where *blocking*, without suspending."""
        names = checked_tags(tags, "invalidate_tags")
        self.must_run("invalidate_tags()")
        for extension in extensions:
            await extension.invalidate_tags(self, names, blocking=blocking)


class SyncApp:
    """The controls of an app without await."""

    def __init__(self, app: App) -> None:
        self._app = app

    def invalidate_tags(self, *tags: str) -> None:
        """Drop every entry that has one of *tags*; see `App.invalidate_tags`."""
        drive(self._app.drop_tagged(tags, blocking=True))

    def settled(self) -> None:
        """Block until all background work is done."""
        self._app.background.settle(self._app.clock)


async def _await(result: object) -> None:
    await cast("Awaitable[object]", result)
