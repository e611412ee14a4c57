"""A default app of one's own, for tests of module-level caches."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ..services.current import DefaultApp, replaced_default
from .clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..durations import Duration


class IsolatedApp(DefaultApp):
    """A default app with a virtual clock, empty at first."""

    clock: VirtualClock

    def __init__(self) -> None:
        super().__init__(clock=VirtualClock())

    def advance(self, duration: Duration) -> None:
        """Move the time of this app forward."""
        self.clock.advance(duration)


@contextlib.contextmanager
def isolated() -> Generator[IsolatedApp, None, None]:
    """
    Give module-level caches a fresh default app with a virtual clock, for a `with` block.

        with isolated() as app:
            await popular()
            app.advance("10 minutes")
    """
    app = IsolatedApp()
    with replaced_default(app):
        try:
            yield app
        finally:
            app.background.cancel()
