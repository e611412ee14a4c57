"""
Entries on a Redis or Valkey server, for all processes that name the same one.

A hit is one round trip of plain commands; a miss is one script that answers with the value,
the lease, or the news that somebody else computes; a store is one script that looks at the
lease and at the versions of the tags. The lease is short, and renewed while its holder lives.

    1. process A   acquire(k)  -> lease 1, versions of the tags; calls the function
    2. process B   invalidates: drops entry and lease, or the version of a tag
    3. process A   store: the lease is gone, or a version is another one -> refused
    4. process C   acquire(k)  -> lease 2, calls the function again

Versions are random and compared for equality. One that was lost, evicted or flushed, is
replaced by another one: what holds the old one reads as invalidated.

Whatever the client raises becomes `ProviderUnavailable`. Nothing is sent twice, except what the
server says it did not carry out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...durations import Duration, seconds
from ...errors import InvalidOption, ProviderUnavailable
from ...options import memory_option
from ..tier import Tier
from .changing import Changing
from .hits import Hits
from .reading import Reading

if TYPE_CHECKING:
    from ...options import MemoryTier
    from ..ears import Ear
    from .cluster import ClusterLines
    from .lines import Lines


class RedisCacheProvider(Changing):
    """
    Keeps entries on the server that *url* names, or the environment's `REDIS_URL`.

    `redis://`, `rediss://` (TLS) and `unix://` name a server. All names on it begin with
    *prefix*. A server that does not accept a connection within *connect_timeout*, or leaves a
    command unanswered for *timeout*, counts as down. *lease* is how long a process that died
    keeps a key from being computed by others; living ones renew it, at most for *max_hold*.
    *memory* is the near tier of whatever says nothing of its own: True, how long at most an
    entry is served without asking, or a `MemoryTier`.

    A server that restarts from its disk, or whose place a replica takes, may bring back values
    whose invalidation it lost. *after_restart* says whether to "trust" them, or to "discard" what
    another life of the server wrote; entries of a `Cache` without functions are kept.

    Raises:
        InvalidOption: An option that cannot be; at start: nothing says where the server is.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str = "stillfresh",
        connect_timeout: Duration = 1.0,
        timeout: Duration = 1.0,
        lease: Duration = 10.0,
        max_hold: Duration = 300.0,
        after_restart: Literal["trust", "discard"] = "trust",
        memory: bool | Duration | MemoryTier | None = None,
    ) -> None:
        if after_restart not in {"trust", "discard"}:
            raise InvalidOption(f"after_restart={after_restart!r}: expected 'trust' or 'discard'.")
        super().__init__(
            url,
            prefix,
            connect_timeout=seconds(connect_timeout, "connect_timeout"),
            timeout=seconds(timeout, "timeout"),
            lease=seconds(lease, "lease"),
            max_hold=seconds(max_hold, "max_hold"),
            discards=after_restart == "discard",
        )
        prefixes = (self.names.values, self.names.tags)
        self._tier = Tier(self.names, prefixes, memory_option(memory) or None)
        self.tier = self._tier
        self.book = self._tier.book

    def hits(self, namespace: str, *, lone: bool) -> Hits | None:
        own = type(self).glance is not Reading.glance or type(self).look is not Reading.look
        return None if own or self.discards else Hits(self, namespace, lone=lone)

    def ear(self) -> Ear | None:
        """Return who listens on the connection of this loop."""
        try:
            return self.wires.links.ear()
        except ProviderUnavailable:
            return None

    def count(self, namespace: str, prefix: str = "") -> int:
        """Return how many entries under *prefix* in *namespace* the near tier may serve."""
        return self._tier.near.count(namespace, prefix)

    @property
    def blocking(self) -> RedisCacheProvider:
        """The same provider over connections that block."""
        return _BlockingRedis(self)


class _BlockingRedis(RedisCacheProvider):
    """All of another provider, attribute by attribute; only the wire is another one."""

    __slots__ = ("_origin",)

    def __init__(self, origin: RedisCacheProvider) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.__dict__ = origin.__dict__
        self._origin = origin
        """Kept alive: it is what a fork renews."""

    wires_block = True

    @property
    def wire(self) -> Lines | ClusterLines:
        return self.wires.lines

    def ear(self) -> Ear | None:
        """Return who listens on the connection of any loop of this process."""
        try:
            return self.wires.links.any_ear()
        except ProviderUnavailable:
            return None
