"""
What entries are called on the server.

    P:v:{N|K}      the entry: a frame, or a counter's decimal digits
    P:l:{N|K}      its lease
    P:t:{TAG}      the version of a tag; P:t:{N|TAG} its version in one namespace
    P:f:{0} .. {f} fences: what tags that are known late are checked against

P is the prefix, N the namespace, K the key. The kind stands in front of the braces, so that a
scan finds one kind alone; the braces put an entry and its lease in one slot of a cluster.

Namespace, key and tag are percent-encoded byte by byte, so none of them can forge another
name, a glob, or a second pair of braces. What is too long keeps a readable head, and then `~`
and a hash; `~` itself is encoded, so nothing that a user writes looks like that.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from ...errors import InvalidOption
from ...known import Known

if TYPE_CHECKING:
    from ...tags import Scope
    from ..base import Address

FENCES: Final = 16
LONGEST: Final = 512
"""Bytes of an encoded text; longer ones are shortened."""
LONGEST_TAG: Final = 16_000
"""Characters of a tag in an entry, whose length has two bytes; longer ones are shortened."""
_MOST_HEADS: Final = 2_000
HEAD: Final = 64
"""Bytes that a shortened text keeps."""

_ODD = re.compile(rb"[^!-~]|[%{}*?\[\]\\~|]")
_PLAIN = re.compile(r"[!-$&-)+->@-Z^-z]*+").fullmatch
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]+")
_CUT_ESCAPE = re.compile(r"%[0-9A-F]?\Z")


class Names:
    """The names under one prefix."""

    def __init__(self, prefix: str) -> None:
        self.values = f"{prefix}:v:"
        self.leases = f"{prefix}:l:"
        self.tags = f"{prefix}:t:"
        self._fences = f"{prefix}:f:"
        self._heads: Known[str, Head] = Known(_MOST_HEADS)
        """What the names of values begin with, by namespace."""

    def value(self, address: Address) -> str:
        """Return where the entry is."""
        namespace, key = address
        head = self._heads.get(namespace) or self.head(namespace)
        return head.name(key)

    def head(self, namespace: str) -> Head:
        """Return what the names of values in *namespace* begin with."""
        return self._heads.note(namespace, Head(f"{self.values}{{{_short(namespace)}|"))

    def lease(self, address: Address) -> str:
        """Return where its lease is."""
        return f"{self.leases}{{{_short(address.namespace)}|{short(address.key)}}}"

    def marker(self, scope: Scope, tag: str) -> str:
        """Return where the version of a tag is."""
        if scope is None:
            return f"{self.tags}{{{_short(written(tag))}}}"
        return f"{self.tags}{{{_short(scope)}|{_short(written(tag))}}}"

    def fence(self, tag: str) -> str:
        """Return which fence stands for *tag*, in every namespace."""
        return f"{self._fences}{{{fence_number(tag):x}}}"

    def fences(self) -> list[str]:
        """Return all fences, in the order of their numbers."""
        return [f"{self._fences}{{{number:x}}}" for number in range(FENCES)]

    def glob(self, kind: str, namespace: str, start: str) -> str:
        """Return the glob for a *kind* of names whose keys start with *start*; not only those."""
        return f"{kind}{{{_short(namespace)}|{head(encode(start))}*"


class Head:
    """What the names of the values of one namespace begin with."""

    __slots__ = ("_around", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._around = len(text) + 1

    def name(self, key: str) -> str:
        """Return where the value of *key* is."""
        if len(key) > LONGEST or not ((key.isascii() and key.isalnum()) or _PLAIN(key)):
            key = short(key)
        return f"{self._text}{key}}}"

    def packed(self, key: str) -> str:
        """Return the same as a part of a command: with its length in front."""
        if len(key) > LONGEST or not ((key.isascii() and key.isalnum()) or _PLAIN(key)):
            key = short(key)
        return f"${len(key) + self._around}\r\n{self._text}{key}}}\r\n"


def packed(name: str) -> str:
    """Return *name* as a part of a command: with its length in front."""
    return f"${len(name)}\r\n{name}\r\n"  # it is ASCII: a character is a byte


def key_in(name: bytes) -> str | None:
    """Return the key in the *name* of a value or a lease; None where it does not say."""
    text = encoded_key(name)
    if b"~" in text:  # it was shortened
        return None
    try:
        return unquote_to_bytes(text).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # nothing of ours has such a name
        return None


def encoded_key(name: bytes) -> bytes:
    """Return the key in *name* as it is written there."""
    return name[name.index(b"|") + 1 : -1]


def encode(text: str) -> str:
    """Return *text* without any character that means something in a name."""
    if _PLAIN(text):  # as most are
        return text
    data = text.encode("utf-8", "surrogatepass")
    return _ODD.sub(lambda odd: b"%%%02X" % odd[0][0], data).decode("ascii")


def short(text: str) -> str:
    """Return *text* encoded, and shortened if it is too long."""
    encoded = encode(text)
    if len(encoded) <= LONGEST:
        return encoded
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{head(encoded)}~{digest}"


_short = lru_cache(maxsize=2_000)(short)
"""For namespaces and tags: the same ones again and again."""


def is_long(text: str) -> bool:
    """Tell whether *text* is shortened in names."""
    # No text is longer encoded than 3 times its bytes: mostly there is nothing to encode.
    return len(text) > LONGEST // 12 and len(encode(text)) > LONGEST


def written(tag: str) -> str:
    """Return *tag* as an entry can hold it: one that is very long as its beginning and a hash."""
    if len(tag) <= LONGEST_TAG:
        return tag
    digest = hashlib.sha256(tag.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{tag[:HEAD]}~{digest}"


def head(encoded: str) -> str:
    """Return the first bytes of an encoded text, and no half of an escape."""
    return encoded if len(encoded) <= HEAD else _CUT_ESCAPE.sub("", encoded[:HEAD])


def fence_number(tag: str) -> int:
    """Return which fence stands for *tag*, the same in every process."""
    return hashlib.sha256(tag.encode("utf-8", "surrogatepass")).digest()[0] % FENCES


def checked_prefix(prefix: object) -> str:
    """
    Return the prefix of all names.

    Raises:
        InvalidOption: It is empty, or has a character that means something in a name.
    """
    if isinstance(prefix, str) and _PREFIX.fullmatch(prefix):
        return prefix
    msg = f"prefix={prefix!r}: expected letters, digits and any of '_.:-', such as 'shop:prod'."
    raise InvalidOption(msg)
