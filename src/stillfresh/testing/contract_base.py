"""How the suite starts providers, and runs a test on both of their faces."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from ..clock import Clock
from ..computing.drivers import drive
from .bench import Bench, on_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

    from ..providers.base import CacheProvider


class ContractBase:
    """What a subclass says about its provider."""

    virtual: ClassVar[bool] = False
    """The provider lives by the clock that it is started with, so a virtual one will do."""

    clock: Clock
    """The clock of the test that runs."""
    provider: CacheProvider
    """The provider of the test that runs; made anew for each."""

    def make_provider(self) -> CacheProvider:
        """Return a new provider, not started."""
        msg = f"{type(self).__qualname__} does not implement 'make_provider'"
        raise NotImplementedError(msg)

    def make_clock(self) -> Clock:
        """Return the clock to start the provider with."""
        if not self.virtual:
            return Clock()
        from .clock import VirtualClock

        return VirtualClock()

    def pass_time(self, seconds: float) -> None:
        """Let *seconds* go by, for real unless the clock is virtual."""
        advance = getattr(self.clock, "advance", None)
        if advance is None:
            time.sleep(seconds)
        else:
            advance(seconds)

    @asynccontextmanager
    async def started(self) -> AsyncGenerator[Bench]:
        """Make and start a provider, on the running loop."""
        bench = self._bench(blocking=False)
        await bench.provider.start(self.clock)
        try:
            yield bench
        finally:
            await bench.provider.stop()

    @contextmanager
    def started_blocking(self) -> Generator[Bench]:
        """Make and start a provider, for its blocking face."""
        bench = self._bench(blocking=True)
        drive(bench.provider.start(self.clock))
        try:
            yield bench
        finally:
            drive(bench.provider.stop())

    def _bench(self, *, blocking: bool) -> Bench:
        self.clock = self.make_clock()
        self.provider = self.make_provider()
        face = self.provider.blocking if blocking else self.provider
        return Bench(face, self.clock, self.pass_time)


def on_both_faces(
    test: Callable[[Any, Bench], Coroutine[Any, Any, None]],
) -> Callable[[Any], None]:
    """Turn a coroutine test into a plain one: on a loop, then on the blocking face without."""

    def run(self: ContractBase) -> None:
        async def on_a_loop() -> None:
            async with self.started() as bench:
                await test(self, bench)

        on_loop(on_a_loop())
        try:
            with self.started_blocking() as bench:
                drive(test(self, bench))
        except BaseException as failure:
            failure.add_note("on the blocking face")
            raise

    # Not functools.wraps: a runner would take the signature of what is wrapped.
    run.__name__ = test.__name__
    run.__qualname__ = test.__qualname__
    run.__module__ = test.__module__
    run.__doc__ = test.__doc__
    return run
