"""
A response in further codings, made once, when it is stored (http-rules.md I).

An entry has the body as it came and those that are compressed. One look-up finds them all, one
change drops them all, and each client gets what it likes best of them. They have one entity tag, a
weak one: it names what is said, and not its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..codings import LEAST, compressor, is_compressible
from ..rules.fields import cache_control
from ..rules.message import first, has, replaced, values, without
from ..threads import in_thread

if TYPE_CHECKING:
    from ..policy import HttpCache
    from ..rules.message import Headers, Response
    from ..rules.response_verdict import ResponseVerdict

LONG: Final = 16_384
"""Bytes from which on a body is compressed beside the event loop."""
_OF_THE_BYTES: Final = frozenset(
    {b"content-digest", b"content-encoding", b"content-md5", b"content-range", b"repr-digest"}
)
"""Fields that say what the bytes of this body are: it stays as it is."""


def may_be_coded(policy: HttpCache, headers: Headers, verdict: ResponseVerdict) -> bool:
    """Tell from the head whether clients may get a response in different codings."""
    return (
        bool(policy.precompress)
        and verdict.store
        and not policy.no_transform
        and is_compressible(first(headers, b"content-type") or b"")
        and not any(has(headers, name) for name in _OF_THE_BYTES)
        and b"accept-encoding" not in verdict.vary  # something inside chooses already
        and not cache_control(values(headers, b"cache-control")).has(b"no-transform")
    )


async def coded(
    policy: HttpCache, response: Response, verdict: ResponseVerdict
) -> tuple[tuple[bytes, bytes], ...]:
    """Return the bodies of a response by coding, without those that are no shorter."""
    body = response.body
    if (
        len(body) < LEAST
        or response.status not in policy.statuses
        or not may_be_coded(policy, response.headers, verdict)
    ):
        return ()

    def compress() -> tuple[tuple[bytes, bytes], ...]:
        made = [(name, compressor(name.decode())) for name in policy.precompress]
        bodies = [(name, make(body)) for name, make in made if make is not None]
        return tuple(one for one in bodies if len(one[1]) < len(body))

    return await in_thread(compress) if len(body) >= LONG else compress()


def described(headers: Headers, coding: bytes, length: int) -> Headers:
    """Return the fields of a response whose body is in *coding*."""
    tag = first(headers, b"etag")
    if tag is not None and not tag.startswith(b"W/"):  # its bytes are others (9110 8.8.3.3)
        headers = replaced(headers, b"etag", b"W/" + tag)
    headers = replaced(without(headers, {b"accept-ranges"}), b"content-length", b"%d" % length)
    return (*headers, (b"content-encoding", coding))
