"""
Payloads that msgspec reads into their values by itself, types checked on the way.

That is what comes as it is: scalars that msgpack has words for, lists, tuples and sets of them,
and whatever an annotation says nothing about. Anything else has no way here (see `lifting`).

A dict is written as an array, keys and values by turns, since a key may be more than msgpack
lets a key be. Where its keys are texts or numbers the bytes behind the front of that array are
just those of a map. So such a payload is read as the map that it could have been:

    94 a1 61 01 a1 62 02      an array of four: "a", 1, "b", 2
    82 a1 61 01 a1 62 02      a map of two

What does not come out this way may be an odd form of a value (an int of more than 64 bits), or
garbage: the nodes decide.
"""

from __future__ import annotations

from types import GenericAlias
from typing import TYPE_CHECKING, Any, Final, Union

from msgspec import msgpack

from .containers import DictNode, ItemsNode, TupleNode
from .node import BadShape
from .plain import extension
from .unknown import UnknownNode
from .unrolled import kinds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .node import Node

_KEYS: Final = (frozenset({str}), frozenset({int}))
_FIX_ARRAY: Final = 0x90
_ARRAY_16: Final = 0xDC
_FRONTS: Final = {_FIX_ARRAY | 2 * pairs: bytes([0x80 | pairs]) for pairs in range(8)}
"""The first byte of a short array of pairs, and that of a map of as many."""


def reader(node: Node) -> Callable[[bytes], object] | None:
    """Return what reads a payload of *node*, or raises anything; None where nothing does."""
    if type(node) is DictNode and node.cls is dict and kinds_of(node.key) in _KEYS:
        key, value = _type_of(node.key), _type_of(node.value)
        return None if value is None else _dict_reader(GenericAlias(dict, (key, value)))
    kind = _type_of(node)
    return None if kind is None else msgpack.Decoder(kind, ext_hook=extension).decode


def _type_of(node: Node) -> Any:
    """Return the type by which msgspec reads *node* as it is; None where there is none."""
    if isinstance(node, UnknownNode):
        return Any
    kinds = kinds_of(node)
    if kinds is not None:
        return Union[tuple(kinds)]  # noqa: UP007  # there is no other way to write it
    if type(node) is ItemsNode:
        item = _type_of(node.item)
        more = (item, ...) if node.cls is tuple else (item,)
        return None if item is None else GenericAlias(node.cls, more)
    if isinstance(node, TupleNode):
        items = [_type_of(item) for item in node.items]
        return None if None in items else GenericAlias(tuple, tuple(items))
    return None


def _dict_reader(kind: Any) -> Callable[[bytes], object]:
    decode = msgpack.Decoder(kind, ext_hook=extension).decode

    def read(payload: bytes) -> object:
        first = payload[0]
        front = _FRONTS.get(first)
        if front is not None:
            value = decode(front + payload[1:])
            pairs = (first - _FIX_ARRAY) // 2
        elif first == _ARRAY_16:
            pairs, odd = divmod(int.from_bytes(payload[1:3], "big"), 2)
            if odd:
                raise BadShape("a key has no value")
            front = bytes([0x80 | pairs]) if pairs < 16 else b"\xde" + pairs.to_bytes(2, "big")
            value = decode(front + payload[3:])
        else:
            raise BadShape("a longer one, or no array")
        if len(value) != pairs:
            raise BadShape("two keys of a dict are equal")
        return value

    return read
