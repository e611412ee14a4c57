"""
What is asked of the client library: where the server is, connections that are made and
authorised, and one kind of error.

Nothing is retried below the provider: a command whose reply is lost may have been carried out,
and one that hands out a lease must not be sent twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import hiredis
import redis
import redis.asyncio.connection as async_connection
import redis.connection as sync_connection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...errors import InvalidOption, ProviderUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .names import Markers

Command = tuple[str | bytes | int, ...]


class OnRun(NamedTuple):
    """A command that is made when it is known on which run of which server it is carried out."""

    key: str
    """One of its keys: it says which server that is."""
    make: Callable[[bytes], Command]


SCHEMES: Final = ("redis", "rediss", "unix")


class Refusal(Exception):
    """An error that the server answered; `.code` is its first word."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.partition(" ")[0]
        if "OOM command not allowed" in message:  # within a script, on older servers
            self.code = "OOM"


_pack: Final = cast("Callable[[Command], bytes]", hiredis.pack_command)  # typed too narrowly

FAULTS: Final = (redis.RedisError, OSError, EOFError, hiredis.HiredisError)
"""What the client raises when the server is away, slow, or talks garbage."""


def pack(commands: Sequence[Command]) -> bytes:
    """Return *commands* as they go over the wire."""
    return b"".join([_pack(command) for command in commands])


def pack_read(value: str, markers: Markers | None) -> bytes:
    """Return the read of *value*, and of its tags' versions, as it goes over the wire."""
    name = value.encode("ascii")
    bulk = b"$%d\r\n%b\r\n" % (len(name), name)
    if markers is None:
        return b"*2\r\n$4\r\nPTTL\r\n%b*2\r\n$3\r\nGET\r\n%b" % (bulk, bulk)
    return b"*2\r\n$4\r\nPTTL\r\n%b%b%b%b" % (bulk, markers.front, bulk, markers.packed)


def made(commands: Sequence[Command | OnRun], run: bytes) -> list[Command]:
    """Return *commands* as they are for one run of the server."""
    return [one.make(run) if isinstance(one, OnRun) else one for one in commands]


def key_of(command: Command | OnRun) -> str:
    """Return the key that says where *command* belongs."""
    if isinstance(command, OnRun):
        return command.key
    return _text(command[3 if command[0] in {"EVALSHA", "EVAL"} else 1])


def _text(key: str | bytes | int) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)


class Server(NamedTuple):
    """Where the server is, and how long to wait for it."""

    url: str
    connect_timeout: float
    timeout: float

    # The connections are of the library's own classes, half of whose methods have no types.

    def waiting(self) -> Any:
        """Return a connection for an event loop, not connected."""
        made = async_connection.ConnectionPool.from_url(self.url)
        options: dict[str, Any] = {**made.connection_kwargs, **self._ours()}
        options["retry"] = AsyncRetry(NoBackoff(), 0)
        return made.connection_class(**options)

    def blocking(self) -> Any:
        """Return a connection for threads, not connected."""
        made = sync_connection.ConnectionPool.from_url(self.url)
        options: dict[str, Any] = {**made.connection_kwargs, **self._ours()}
        options["retry"] = Retry(NoBackoff(), 0)
        return made.connection_class(**options)

    def _ours(self) -> dict[str, Any]:
        return {
            "socket_connect_timeout": self.connect_timeout,
            "socket_timeout": self.timeout,
            "health_check_interval": 0,
            "decode_responses": False,
            "protocol": 2,
        }


def checked_url(url: object) -> str:
    """
    Return *url*, which says where one server is.

    Raises:
        InvalidOption: It is no URL of a single server, or cannot be read.
    """
    if not isinstance(url, str):
        raise InvalidOption(f"url={url!r}: expected a text such as 'redis://127.0.0.1:6379/0'.")
    unreadable = InvalidOption(
        "url: it cannot be read; is a password in it percent-encoded ('#' as %23, '/' as %2F)? "
        "Write it like redis://user:password@127.0.0.1:6379/0."
    )
    try:
        scheme = urlsplit(url).scheme
    except ValueError:  # its text may show a password, as what is raised below
        raise unreadable from None
    if scheme not in SCHEMES:
        # Not the whole URL: there may be a password in it.
        raise InvalidOption(
            f"url: the scheme {scheme!r} is not supported; expected redis://, rediss:// (TLS) or "
            "unix://. Sentinel and Cluster are not supported yet: name one primary."
        )
    try:
        async_connection.parse_url(url)
        Server(url, 1.0, 1.0).blocking()
    except ValueError:
        raise unreadable from None
    except (TypeError, redis.RedisError):
        raise InvalidOption(
            "url: one of the options behind its '?' is none that a connection has, or has a value "
            "that cannot be. Write it like redis://127.0.0.1:6379/0?socket_keepalive=true."
        ) from None
    return url


def read_run(info: object) -> bytes:
    """
    Return the first eight characters of the run id in a reply to INFO.

    Raises:
        ProviderUnavailable: The server is a node of a cluster.
    """
    lines = info.splitlines() if isinstance(info, bytes) else []
    fields = dict(line.split(b":", 1) for line in lines if b":" in line)
    mode = fields.get(b"redis_mode", fields.get(b"server_mode", b"standalone"))
    if mode == b"cluster":
        raise ProviderUnavailable(
            "the server is a node of a cluster, and clusters are not supported yet. "
            "Use a server that is not."
        )
    return fields.get(b"run_id", b"")[:8].ljust(8, b"0")


def unavailable(error: BaseException) -> ProviderUnavailable:
    """Return the error of this library for a fault of the client."""
    return ProviderUnavailable(f"{type(error).__name__}: {error}")
