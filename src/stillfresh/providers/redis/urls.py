"""
What a URL names: one server, a cluster, or a primary that sentinels know.

    redis://user:password@host:6379/0        rediss:// with TLS, unix:///path of a socket
    redis+cluster://host:7000,host:7001      some of its servers, any of which tells the others
    redis+sentinel://host:26379,host:26380/mymaster/0?sentinel_password=...

User and password are those of the server; a server's options follow behind the `?`.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import redis
import redis.asyncio.connection as async_connection
import redis.connection as sync_connection

from ...errors import InvalidOption

SCHEMES: Final = (
    *("redis", "rediss", "unix"),
    *("redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"),
)
_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")
_OF_THE_SERVER: Final = ("db", "username", "password")
"""Options that sentinels are not told: they have neither a database nor the same users."""

Place = tuple[str, int]
"""Host and port."""


class Target(NamedTuple):
    """What a URL names."""

    url: str
    """The URL of one server there; only its host may be another one."""
    kind: str = "server"
    """Or "cluster", or "sentinel"."""
    places: tuple[Place, ...] = ()
    """Servers of the cluster, or the sentinels."""
    service: str = ""
    """What the sentinels call the primary."""
    sentinels: tuple[str, ...] = ()
    """The URL of each."""


def read_url(url: object) -> Target:
    """
    Return what *url* names.

    Raises:
        InvalidOption: It names nothing that is known, or cannot be read.
    """
    if not isinstance(url, str):
        raise InvalidOption(f"url={url!r}: expected a text such as 'redis://127.0.0.1:6379/0'.")
    unreadable = InvalidOption(
        "url: it cannot be read; is a password in it percent-encoded ('#' as %23, '/' as %2F)? "
        "Write it like redis://user:password@127.0.0.1:6379/0."
    )
    try:
        target = _read(url)
        async_connection.parse_url(target.url)
        made = sync_connection.ConnectionPool.from_url(target.url)
        made.connection_class(**made.connection_kwargs)
    except InvalidOption:
        raise
    except ValueError:  # its text may show a password
        raise unreadable from None
    except (TypeError, redis.RedisError):
        raise InvalidOption(
            "url: one of the options behind its '?' is none that a connection has, or has a value "
            "that cannot be. Write it like redis://127.0.0.1:6379/0?socket_keepalive=true."
        ) from None
    return target


def _read(url: str) -> Target:
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        # Not the whole URL: there may be a password in it.
        raise InvalidOption(
            f"url: the scheme {parts.scheme!r} is not supported; expected redis://, rediss:// "
            "(TLS), unix://, redis+cluster:// or redis+sentinel://."
        )
    scheme, _, kind = parts.scheme.partition("+")
    if kind:
        return _several(url, scheme, kind)
    if scheme == "unix":
        if not parts.path:
            raise InvalidOption(
                "url: unix:// without a path. Write it like unix:///run/redis.sock."
            )
        return Target(url)
    if "," in parts.netloc.rpartition("@")[2]:
        raise InvalidOption(
            "url: several servers. Write redis+cluster://... or redis+sentinel://... for them."
        )
    if parts.port == 0:
        raise InvalidOption("url: no server listens on port 0. Leave it out for 6379.")
    database = parts.path.removeprefix("/")
    _check_database(database)
    if database and dict(parse_qsl(parts.query)).get("db", database) != database:
        raise InvalidOption("url: it names two databases, behind the server and as `db=`.")
    return Target(url)


def _check_database(text: str) -> None:
    """The client would take whatever is no number for 0, and `1/2` for 12."""
    if "@" in text:  # a password with a slash in it: the server has not come yet
        raise ValueError
    if text and not (text.isascii() and text.isdigit()):
        raise InvalidOption(
            "url: what follows behind the server is no number of a database. "
            "Write it like redis://127.0.0.1:6379/0."
        )


def _several(url: str, scheme: str, kind: str) -> Target:
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    places = tuple(_place(host, 6379 if kind == "cluster" else 26379) for host in hosts.split(","))
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    service, _, database = parts.path.strip("/").partition("/")
    if kind == "cluster":
        if service not in {"", "0"} or database or options.get("db", "0") != "0":
            raise InvalidOption("url: a cluster has no databases. End it after the servers.")
    elif not service:
        raise InvalidOption(
            "url: it does not say what the sentinels call the primary. "
            "Write it like redis+sentinel://127.0.0.1:26379/mymaster."
        )
    of_sentinels = [
        options.pop(name, None) if kind == "sentinel" else None for name in _SENTINEL_OPTIONS
    ]
    query = f"?{urlencode(options)}" if options else ""
    one = f"{scheme}://{login}{at}{with_port(places[0])}/{database}{query}"
    if kind == "cluster":
        return Target(one, kind, places)
    _check_database(database)
    for name in _OF_THE_SERVER:
        options.pop(name, None)
    query = f"?{urlencode(options)}" if options else ""
    user, password = (quote(text or "", safe="") for text in of_sentinels)
    own = f"{user}:{password}@" if password else ""
    sentinels = tuple(f"{scheme}://{own}{host}{query}" for host in map(with_port, places))
    return Target(one, kind, places, unquote(service), sentinels)


def with_port(place: Place) -> str:
    """Return a place as it stands in a URL."""
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _place(text: str, port: int) -> Place:
    found = urlsplit(f"//{text}")
    if not found.hostname:
        raise ValueError("a server without a name")
    return found.hostname, found.port or port


def address_of(url: str) -> Place:
    """Return where the one server is that *url* names."""
    found = urlsplit(url)
    return found.hostname or "localhost", found.port or 6379


def shown(url: str) -> str:
    """Return where *url* leads, for people: without what is secret in it."""
    parts = urlsplit(url)
    return f"{parts.hostname or parts.path}:{parts.port or ''}".rstrip(":")
