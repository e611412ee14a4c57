"""
The testing kit: time that tests move, a default app of one's own, faults, and the contract.

    VirtualClock        App(..., clock=clock); clock.advance("2 seconds")
    isolated            a fresh default app for module-level caches
    stillfresh_isolated the same as a pytest fixture: import it into a conftest.py
    ChaosProvider       another provider, and faults in front of it
    ProviderContract    the suite that every provider passes
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from .chaos import ChaosProvider
from .clock import VirtualClock
from .contract import ProviderContract
from .isolation import IsolatedApp, isolated

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ChaosProvider",
    "IsolatedApp",
    "ProviderContract",
    "VirtualClock",
    "isolated",
]

with contextlib.suppress(ImportError):  # pytest is the user's, and not always there
    import pytest

    @pytest.fixture
    def stillfresh_isolated() -> Iterator[IsolatedApp]:
        """Run one test with a default app of its own; yields the app."""
        with isolated() as app:
            yield app

    __all__ += ["stillfresh_isolated"]
