"""
Codecs: a value to bytes and back, the same in type and in value.

    annotations  what a function says about its result
    oneshot      results that can be read only once
    compiler     an annotation becomes a tree of nodes
    node         what a node is: `lower` a value to plain data, `lift` it back
    scalars, unknown, containers, unions, records, models     the nodes
    identical    whether two values are the same in type and in value
    plain        plain data as msgpack
    frame        the bytes around it: version, fingerprint, checksum
    codec        all of it together

Where no faithful way back exists, a value is refused. It is never cut down.
"""

from __future__ import annotations

from .annotations import UNGIVEN, UNKNOWN, return_annotation
from .codec import Codec, checked_serializer, codec_for
from .frame import UnreadableFrame
from .identical import difference, identical
from .oneshot import one_shot_annotation, one_shot_value

__all__ = [
    "UNGIVEN",
    "UNKNOWN",
    "Codec",
    "UnreadableFrame",
    "checked_serializer",
    "codec_for",
    "difference",
    "identical",
    "one_shot_annotation",
    "one_shot_value",
    "return_annotation",
]
