"""Entries on a Redis or Valkey server; see `provider`."""

from __future__ import annotations

try:
    from .provider import RedisCacheProvider
except ModuleNotFoundError as error:
    if error.name not in {"hiredis", "redis"}:
        raise
    raise ImportError(
        "RedisCacheProvider needs the client library. Install it: pip install 'stillfresh[redis]'"
    ) from error

__all__ = ["RedisCacheProvider"]
