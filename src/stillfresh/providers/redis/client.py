"""
What is asked of the client library: where the server is, connections that are made and
authorised, and one kind of error.

Nothing is retried below the provider: a command whose reply is lost may have been carried out,
and one that hands out a lease must not be sent twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

import hiredis
import redis
import redis.asyncio.connection as async_connection
import redis.connection as sync_connection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from ...errors import ProviderUnavailable
from .names import packed
from .urls import shown, with_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .frame import Markers
    from .urls import Place

Command = tuple[str | bytes | int, ...]


class OnRun(NamedTuple):
    """A command that is made when it is known on which run of which server it is carried out."""

    key: str
    """One of its keys: it says which server that is."""
    make: Callable[[bytes], Command]
    plain: Command | None = None
    """The same command on every run, where only the run is to be known."""


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
    bulk = packed(value)
    if markers is None:
        text = f"*2\r\n$4\r\nPTTL\r\n{bulk}*2\r\n$3\r\nGET\r\n{bulk}"
    else:
        versions = "".join(markers.packed)
        text = f"*2\r\n$4\r\nPTTL\r\n{bulk}{markers.front}{bulk}{versions}"
    return text.encode("ascii")


def made(commands: Sequence[Command | OnRun], run: bytes) -> list[Command]:
    """Return *commands* as they are for one run of the server."""
    return [one.make(run) if isinstance(one, OnRun) else one for one in commands]


def key_of(command: Command | OnRun) -> str:
    """Return the key that says where *command* belongs."""
    if isinstance(command, OnRun):
        return command.key
    return text_of(command[3 if command[0] in {"EVALSHA", "EVAL"} else 1])


def text_of(key: str | bytes | int) -> str:
    """Return a key as text."""
    return key.decode() if isinstance(key, bytes) else str(key)


class Finder(Protocol):
    """Who knows where a server is."""

    async def find(self) -> Place:
        """Return where it is now."""
        ...

    def find_blocking(self) -> Place:
        """Return where it is now; never suspends."""
        ...


class Server(NamedTuple):
    """Where the server is, and how long to wait for it."""

    url: str
    connect_timeout: float
    timeout: float
    place: Place | None = None
    """Where it is, if not where the URL says."""
    in_cluster: bool = False
    """It is known to be one of several."""
    finder: Finder | None = None
    """Who knows where it is, at each new connection."""

    def lost(self) -> ProviderUnavailable:
        """Return the error of who asked on a connection that has ended."""
        return ProviderUnavailable(f"{self.shown()}: the connection was lost")

    def silent(self) -> ProviderUnavailable:
        """Return the error of who has waited too long."""
        return ProviderUnavailable(
            f"{self.shown()}: no reply within timeout={self.timeout:g} s. Is the server up? "
            "A slow one needs RedisCacheProvider(timeout=...)."
        )

    def shown(self) -> str:
        """Return where it is, for people."""
        return shown(self.url) if self.place is None else with_port(self.place)

    async def reach(self) -> Any:
        """Return a connection for an event loop, not connected, to where it is now."""
        return (self if self.finder is None else self.at(await self.finder.find())).waiting()

    def reach_blocking(self) -> Any:
        """Return a connection for threads, not connected, to where it is now."""
        return (self if self.finder is None else self.at(self.finder.find_blocking())).blocking()

    def at(self, place: Place) -> Server:
        """Return the same at another place."""
        return self._replace(place=place)

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
        place = {} if self.place is None else {"host": self.place[0], "port": self.place[1]}
        return {
            **place,
            "socket_connect_timeout": self.connect_timeout,
            "socket_timeout": self.timeout,
            "health_check_interval": 0,
            "decode_responses": False,
            "protocol": 2,
        }


class Layout(NamedTuple):
    """Where names may be: on which servers, and which slots each has."""

    places: tuple[Place | None, ...]
    slots: tuple[object, ...] = ()
    sweeps: int = 1
    """How often to go through all of them, so that nothing on its way is missed."""


class OneServer:
    """Where all names are on one server: what those who walk over several ask."""

    async def talk(self, commands: Sequence[Command]) -> list[Any]:
        """Send *commands*, and return their replies."""
        raise NotImplementedError

    async def layout(self) -> Layout:
        """Return where names may be."""
        return Layout((None,))

    async def talk_to(self, place: Place | None, commands: Sequence[Command]) -> list[Any]:
        """Talk to the server at *place*."""
        del place
        return await self.talk(commands)


class ClusterNode(ProviderUnavailable):
    """The server is one of several, and nothing was asked yet."""


def read_run(info: object, server: Server) -> bytes:
    """
    Return the first eight characters of the run id in a reply to INFO.

    Raises:
        ClusterNode: The server is a node of a cluster, which was not known.
    """
    lines = info.splitlines() if isinstance(info, bytes) else []
    fields = dict(line.split(b":", 1) for line in lines if b":" in line)
    mode = fields.get(b"redis_mode", fields.get(b"server_mode", b"standalone"))
    if mode == b"cluster" and not server.in_cluster:
        raise ClusterNode("the server is a node of a cluster")
    return fields.get(b"run_id", b"")[:8].ljust(8, b"0")


def refused(reply: object) -> ProviderUnavailable:
    """Return the error of this library for a command that the server refused."""
    text = f"the server refused a command: {reply}"
    if "NOPERM" in text:  # it names the command
        text += "; what a user of the server has to be allowed is in docs/redis.md, 'Rights'"
    return ProviderUnavailable(text)


def unavailable(error: BaseException, server: Server) -> ProviderUnavailable:
    """Return the error of this library for a fault of the client."""
    if isinstance(error, NoPermissionError):
        return refused(f"NOPERM {error}")
    text, where = str(error) or "it took too long", server.shown()
    if where not in text:
        text = f"{where}: {text}"
    return ProviderUnavailable(f"{type(error).__name__}: {text}")
