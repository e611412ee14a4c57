"""
A stored response, and its bytes on a provider that keeps bytes.

The frame is that of all values (version, fingerprint, checksum); inside is msgpack of plain data,
never pickle. What is read back is looked at before it is sent: a name or a value that would split
a response is no response.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from ...codecs.frame import fingerprint_of, seal, unseal
from ...codecs.unreadable import UnreadableFrame
from ..rules.conditional import fields_of_304
from ..rules.fields import TOKEN
from ..rules.message import Headers, first, replaced, without
from .coding import described

FINGERPRINT: Final = fingerprint_of("stillfresh http response 1")
_UNSENDABLE: Final = re.compile(rb"[\x00\r\n]")


class Stored(msgspec.Struct, array_like=True, frozen=True, dict=True, eq=False):
    """A response that may be sent again."""

    status: int
    headers: Headers
    """As they came, without those that are made for each answer."""
    body: bytes
    added: Headers = ()
    """What clients get besides; it says nothing to this cache."""
    age: float = 0.0
    """How old it was when it was asked for: its age is this and its entry's."""
    lifetime: float = 0.0
    """Until which age it is fresh."""
    after_error: float = 0.0
    """How long after that it may be served where the handler fails."""
    open: bool = False
    """It says itself that it is for everybody, those with credentials included."""
    vary: tuple[bytes, ...] = ()
    """The fields of requests by which it differs."""
    variant: str = ""
    """The fingerprint of what the request said in those."""
    own_tag: bool = False
    """The entity tag was made here: nobody inward knows it."""
    after_raise: float = 0.0
    """How long after its end it may be served where the handler raises."""
    codings: tuple[tuple[bytes, bytes], ...] = ()
    """The body in further codings, by their names."""

    @property
    def tag(self) -> bytes | None:
        """The entity tag."""
        return first(self.headers, b"etag")

    @property
    def known_inside(self) -> Headers:
        """The fields without an entity tag that was made here."""
        return without(self.headers, {b"etag"}) if self.own_tag else self.headers

    @property
    def coding_names(self) -> tuple[bytes, ...]:
        """The codings in which it is kept, besides the one in which it came."""
        return tuple([name for name, _ in self.codings])

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        coded = sum(len(body) for _, body in self.codings)
        fields = sum(len(name) + len(value) for name, value in self.sent)
        return 64 + len(self.body) + coded + fields

    @property
    def sent(self) -> Headers:
        """The fields that clients get."""
        found: Headers | None = self.__dict__.get("_sent")
        if found is None:
            found = vars(self)["_sent"] = merged(self.headers, self.added)
        return found

    @property
    def sent_in_304(self) -> Headers:
        """The fields of a 304 in its place."""
        found: Headers | None = self.__dict__.get("_304")
        if found is None:
            found = vars(self)["_304"] = fields_of_304(self.sent)
        return found

    def sent_as(self, coding: bytes) -> tuple[Headers, Headers, bytes]:
        """Return fields, those of a 304, and body in *coding*; in b"" they are as they came."""
        if not coding:
            return self.sent, self.sent_in_304, self.body
        found: tuple[Headers, Headers, bytes] | None = self.__dict__.get(f"_in {coding!r}")
        if found is None:
            body = dict(self.codings)[coding]
            fields = described(self.sent, coding, len(body))
            found = vars(self)[f"_in {coding!r}"] = (fields, fields_of_304(fields), body)
        return found


def merged(headers: Headers, added: Headers) -> Headers:
    """Return *headers* with *added*; a Vary is joined to the one that is there."""
    for name, value in added:
        present = first(headers, name) if name == b"vary" else None
        if present is not None:
            headers = replaced(headers, name, b"%s, %s" % (present, value))
        else:
            headers = (*headers, (name, value))
    return headers


class FrameCodec:
    """Stored responses to bytes and back; stands where functions have the codec of their type."""

    def encode(self, value: Stored) -> bytes:
        """Return the frame of a response."""
        return seal(FINGERPRINT, msgspec.msgpack.encode(value), compress=False)

    def decode(self, data: bytes) -> Stored:
        """
        Return the response in a frame.

        Raises:
            UnreadableFrame: There is none; count it as a miss.
        """
        try:
            stored = _decoder.decode(unseal(FINGERPRINT, bytes(data)))
        except msgspec.MsgspecError as error:
            raise UnreadableFrame(str(error)) from error
        if not 200 <= stored.status <= 599:
            raise UnreadableFrame(f"{stored.status} is no status of a whole response")
        for name, value in (*stored.headers, *stored.added):
            if TOKEN.fullmatch(name) is None or _UNSENDABLE.search(value):
                raise UnreadableFrame(f"{name!r} is a field that cannot be sent")
        return stored

    def try_value(self, value: object) -> None:
        """Every response fits."""


_decoder: Final = msgspec.msgpack.Decoder(Stored)
FRAMES: Final = FrameCodec()
