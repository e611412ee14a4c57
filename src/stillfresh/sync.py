"""The module-level controls for sync programs: `from stillfresh import sync`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from .computing.drivers import drive
from .services.current import default_app, drop_tagged

if TYPE_CHECKING:
    from collections.abc import Generator


def invalidate_tags(*tags: str) -> None:
    """
    Drop every entry that has one of *tags*, in the default app and in each that runs.

    Raises:
        ProviderUnavailable: Nobody knows whether it happened; it is done before this process
            reads any of it again.
    """
    drive(drop_tagged(tags, blocking=True))


@contextlib.contextmanager
def lifespan() -> Generator[None, None, None]:
    """Run the default app's services for the time of a `with` block."""
    with default_app():
        yield


def settled() -> None:
    """Block until all background work of the default app is done."""
    default_app().sync.settled()
