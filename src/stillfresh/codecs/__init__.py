"""
Codecs: a value to bytes and back, the same in type and in value.

    annotations  what a function says about its result
    oneshot      results that can be read only once
    compiler     an annotation becomes a tree of nodes
    node         what a node is: `lower` a value to plain data, `lift` it back
    scalars, times, unknown, containers, unions, records, models     the nodes
    lowering, lifting     what the nodes of one type do, as functions made for it
    unrolled     the source text of such functions, for records
    native       payloads that need none: msgspec reads them by itself
    identical    whether two values are the same in type and in value
    plain        plain data as msgpack
    frame        the bytes around it: version, fingerprint, checksum
    unreadable   what reading a frame raises
    codec        all of it together

Where no faithful way back exists, a value is refused. It is never cut down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .annotations import UNGIVEN, UNKNOWN, return_annotation
from .oneshot import PLAIN, one_shot_annotation, one_shot_value
from .unreadable import UnreadableFrame

if TYPE_CHECKING:
    from .codec import Codec, checked_serializer, codec_for
else:

    def __getattr__(name):  # noqa: ANN001, ANN202  # what type checkers see stands above
        """Load the compiler and its nodes with the first codec: a third of the import."""
        if name not in {"Codec", "checked_serializer", "codec_for"}:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import codec

        return getattr(codec, name)


__all__ = [
    "PLAIN",
    "UNGIVEN",
    "UNKNOWN",
    "Codec",
    "UnreadableFrame",
    "checked_serializer",
    "codec_for",
    "one_shot_annotation",
    "one_shot_value",
    "return_annotation",
]
