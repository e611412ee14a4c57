"""Caching that stays boring: one decorator caches a function, and an invalidation always wins."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from . import sync
from .app import App
from .caching import cache
from .computing.computation import Computation, computation
from .entry import MISSING
from .errors import (
    AlreadyResolved,
    AlreadyRunning,
    AmbiguousApp,
    CannotBuild,
    ComputeCancelled,
    ComputeTimeout,
    InvalidDuration,
    InvalidOption,
    NotRunning,
    NotSerializable,
    ProviderUnavailable,
    RecursiveComputation,
    StillfreshError,
    UnstableArgument,
)
from .events import Event
from .http import extension as _extension  # noqa: F401  # pyright: ignore[reportUnusedImport]  # apps become servers
from .options import MemoryTier
from .providers.base import CacheProvider
from .providers.memory import MemoryCacheProvider
from .services.current import invalidate_tags, lifespan, provide
from .services.hooks import hook
from .services.injection import inject
from .services.listed import Stats
from .sources import binding as _binding  # noqa: F401  # pyright: ignore[reportUnusedImport]  # apps learn of caches
from .sources.cached import Cache, Cached, SyncCached
from .sources.report import Explanation

if TYPE_CHECKING:
    from .http.actions import action as action
    from .http.middleware import HttpCacheMiddleware as HttpCacheMiddleware
    from .http.middleware import http_cache as http_cache
    from .http.policy import HttpCache as HttpCache
    from .providers.redis import RedisCacheProvider as RedisCacheProvider

__all__ = [
    "MISSING",
    "AlreadyResolved",
    "AlreadyRunning",
    "AmbiguousApp",
    "App",
    "Cache",
    "CacheProvider",
    "Cached",
    "CannotBuild",
    "Computation",
    "ComputeCancelled",
    "ComputeTimeout",
    "Event",
    "Explanation",
    "InvalidDuration",
    "InvalidOption",
    "MemoryCacheProvider",
    "MemoryTier",
    "NotRunning",
    "NotSerializable",
    "ProviderUnavailable",
    "RecursiveComputation",
    "Stats",
    "StillfreshError",
    "SyncCached",
    "UnstableArgument",
    "cache",
    "computation",
    "hook",
    "inject",
    "invalidate_tags",
    "lifespan",
    "provide",
    "sync",
]


_LAZY = {
    "HttpCache": ".http.policy",
    "HttpCacheMiddleware": ".http.middleware",
    "RedisCacheProvider": ".providers.redis",
    "action": ".http.actions",
    "http_cache": ".http.middleware",
}


def __getattr__(name: str) -> object:
    """Load what needs an extra when somebody asks for it; a star import does not."""
    if name in _LAZY:
        found: object = getattr(import_module(_LAZY[name], __name__), name)
        globals()[name] = found
        return found
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """Name what is public, also what is loaded when somebody asks for it."""
    return sorted({*__all__, *_LAZY})
