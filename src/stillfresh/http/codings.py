"""Codings of bodies (RFC 9110 section 8.4.1): who compresses, and what is worth it."""

from __future__ import annotations

import sys
import zlib
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CODINGS: Final = ("br", "gzip", "zstd")
LEAST: Final = 500
"""Bytes from which on a body is compressed; a shorter one takes one packet anyway."""


@lru_cache
def compressor(coding: str) -> Callable[[bytes], bytes] | None:
    """Return what compresses a body, None where its library is not there."""
    if coding == "gzip":
        return _gzip
    if coding == "br":
        brotli = _library("brotli")
        return None if brotli is None else lambda body: brotli.compress(body, quality=5)
    zstd = _library("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    return None if zstd is None else lambda body: zstd.compress(body, 6)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return None


def _gzip(body: bytes) -> bytes:
    # Without a time and a name in it, so that the same body has the same bytes.
    deflate = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return deflate.compress(body) + deflate.flush()


def is_compressible(content_type: bytes) -> bool:
    """Tell whether a body of that type gets shorter: pictures and archives are coded already."""
    kind = content_type.partition(b";")[0].strip().lower()
    return kind.startswith(b"text/") or kind.endswith((b"+json", b"+xml")) or kind in _TEXTS


_TEXTS: Final = frozenset(
    {
        b"application/javascript",
        b"application/json",
        b"application/wasm",
        b"application/x-ndjson",
        b"application/xml",
        b"font/otf",
        b"font/ttf",
        b"image/svg+xml",
    }
)
