"""
Plain data as msgpack: what the nodes lower values to.

Plain are None, bool, int, float, str, bytes, list and dict. Four things that
msgpack has no word for travel as extension types, so that they come back as
the same plain value wherever they stand:

    1   an int beyond 64 bits: two's complement, big-endian
    2   a str with lone surrogates: UTF-8 with the surrogates passed through
    3   a datetime in `timezone.utc`: microseconds since 1970, 8 bytes
    4   a dict with such a key: keys and values by turns, as a nested msgpack list
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, cast

from msgspec import msgpack

BIG_INT: Final = 1
ODD_TEXT: Final = 2
UTC_TIME: Final = 3
ODD_DICT: Final = 4

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

Ext = msgpack.Ext


def pack(plain: object) -> bytes:
    """Plain data to bytes."""
    return _encoder.encode(plain)


def plain_int(value: int) -> object:
    """*value* itself if msgpack can hold it."""
    if -(1 << 63) <= value < 1 << 64:
        return value
    return Ext(BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def plain_text(value: str) -> object:
    """*value* itself if UTF-8 can hold it."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return Ext(ODD_TEXT, value.encode("utf-8", "surrogatepass"))
    return value


def plain_utc(value: datetime) -> object:
    """An aware datetime in exactly `timezone.utc`, with fold 0."""
    return Ext(UTC_TIME, ((value - EPOCH) // MICROSECOND).to_bytes(8, "big", signed=True))


def plain_pairs(flat: list[object]) -> object:
    """A dict with keys that need an extension, given as keys and values by turns."""
    return Ext(ODD_DICT, pack(flat))


def extension(code: int, data: memoryview) -> object:
    """What an extension type stands for; it raises on others."""
    if code == BIG_INT:
        return int.from_bytes(data, "big", signed=True)
    if code == ODD_TEXT:
        return bytes(data).decode("utf-8", "surrogatepass")
    if code == UTC_TIME:
        return EPOCH + int.from_bytes(data, "big", signed=True) * MICROSECOND
    if code == ODD_DICT:
        flat = cast("list[object]", unpack(bytes(data)))
        return dict(zip(flat[::2], flat[1::2], strict=True))
    raise ValueError(f"extension {code} is unknown")


_encoder = msgpack.Encoder()
_decoder: msgpack.Decoder[object] = msgpack.Decoder(object, ext_hook=extension)

unpack: Final = _decoder.decode
"""Bytes to plain data; what it raises on garbage is the caller's to catch."""
