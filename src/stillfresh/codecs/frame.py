"""
The frame around a stored value.

    byte 0        version (high four bits), flags (low four; bit 0: compressed)
    bytes 1..8    fingerprint of the type that wrote it
    bytes 9..12   crc32 of everything else, big-endian
    bytes 13..    the payload; compressed: its length in 4 bytes, then zlib data

Whatever cannot be read, for any reason, is a miss: `UnreadableFrame`. Reading
takes memory in proportion to the frame: the length of what is inflated is
known, bounded, and checked before anything is inflated.
"""

from __future__ import annotations

import zlib
from typing import Final

from .unreadable import UnreadableFrame

VERSION: Final = 0x10
COMPRESSED: Final = 0x01
HEAD: Final = 13
MAX_INFLATED: Final = 1 << 28
"""The most bytes that a compressed payload may unfold to; larger ones are not compressed."""

# Deflate cannot do better than 1032:1, so a larger claim is a lie.
BEST_RATIO: Final = 1032


def fingerprint_of(description: str) -> bytes:
    """Eight bytes that stand for a type, the same in every process."""
    import hashlib  # it loads OpenSSL: not before the first codec

    return hashlib.blake2b(description.encode("utf-8", "backslashreplace"), digest_size=8).digest()


def seal(fingerprint: bytes, payload: bytes, *, compress: bool) -> bytes:
    """Put *payload* into a frame."""
    flags = 0
    if compress and len(payload) <= MAX_INFLATED:
        smaller = len(payload).to_bytes(4, "big") + zlib.compress(payload, 1)
        if len(smaller) < len(payload):
            payload, flags = smaller, COMPRESSED
    front = bytes([VERSION | flags]) + fingerprint
    return b"".join((front, _checksum(front, payload), payload))


def unseal(fingerprint: bytes, frame: bytes) -> bytes:
    """
    Take the payload out of *frame*.

    Raises:
        UnreadableFrame: The frame is damaged, or another type wrote it.
    """
    if len(frame) < HEAD:
        raise UnreadableFrame(f"{len(frame)} bytes are too few for a frame")
    front, payload = frame[:9], frame[HEAD:]
    if front[0] not in (VERSION, VERSION | COMPRESSED):
        raise UnreadableFrame(f"version and flags {front[0]:#04x} are unknown")
    if front[1:] != fingerprint:
        raise UnreadableFrame("the frame was written for another type")
    if frame[9:HEAD] != _checksum(front, payload):
        raise UnreadableFrame("the checksum does not match")
    return _inflate(payload) if front[0] & COMPRESSED else payload


def plain_front(fingerprint: bytes) -> tuple[bytes, int]:
    """Return how a frame that is not compressed begins, and the checksum of that."""
    front = bytes([VERSION]) + fingerprint
    return front, zlib.crc32(front)


def _checksum(front: bytes, payload: bytes) -> bytes:
    return zlib.crc32(payload, zlib.crc32(front)).to_bytes(4, "big")


def _inflate(data: bytes) -> bytes:
    """Unfold *data*, never to more than it says and never past the bound."""
    length = int.from_bytes(data[:4], "big")
    if length > min(MAX_INFLATED, len(data) * BEST_RATIO):
        raise UnreadableFrame(f"{len(data)} bytes cannot unfold to {length}")
    machine = zlib.decompressobj()
    try:
        # One byte of room beyond the claim, so that zlib reaches its end marker,
        # and because 0 would mean no bound at all.
        payload = machine.decompress(data[4:], length + 1)
    except zlib.error as error:
        raise UnreadableFrame("the compressed payload is damaged") from error
    if len(payload) != length or not machine.eof or machine.unused_data:
        raise UnreadableFrame("the compressed payload has the wrong length")
    return payload
