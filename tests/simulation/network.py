"""
The wire between nodes and the server: TCP as it is, with its faults.

A connection keeps the order of its bytes, and nothing of it comes twice. What may happen: a piece
takes long, is cut into pieces, or never arrives; a connection is cut, while what was sent on it
before still arrives and is still carried out; none can be made. What overtakes what, between two
connections of one node as between two nodes, is chance.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import ServerModel
    from .virtual import NodeLoop, World

CLOSED = object()
Place = tuple[str, int]


class Wire(asyncio.Transport):
    """One connection of a node, from both ends."""

    def __init__(
        self, network: Network, server: ServerModel, loop: NodeLoop, protocol: Any
    ) -> None:
        super().__init__()
        self.network = network
        self.server = server
        self.loop = loop
        self.protocol = protocol
        self.closing = False
        self.server_end: Any = server.accept(self)
        self.stalled = False
        """Half open: what is sent from now on goes nowhere, and nobody says so."""
        self._to_server = self._to_client = network.world.now
        self._inbox: deque[Any] = deque()

    # The node's end

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("far", 6379) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is kept back here."""

    def write(self, data: bytes) -> None:
        if self.closing or self.stalled or self.server_end is None or not data:
            return
        data = bytes(data)
        self._to_server = self.network.arrival(self._to_server)
        self.network.world.call_at(self._to_server, lambda: self._at_server(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Close it: what was written before still arrives."""
        if not self.closing:
            self.closing = True
            self._inbox.append(CLOSED)
            self.loop.call_soon(self._from_inbox)
            self._to_server = self.network.arrival(self._to_server)
            self.network.world.call_at(self._to_server, self._server_hears_the_end)

    def abort(self) -> None:
        self.close()

    # The server's end

    def _at_server(self, data: bytes) -> None:
        if self.server_end is not None:
            self.server.receive(self.server_end, data)

    def _server_hears_the_end(self) -> None:
        if self.server_end is not None:
            self.server.gone(self.server_end)
            self.server_end = None

    def answer(self, data: bytes) -> None:
        """Send what the server says, maybe in pieces."""
        if self.stalled or not data:
            return
        rng = self.network.world.rng
        while data:
            size = len(data)
            if rng.random() < self.network.cutting:
                size = rng.randint(1, size)
            piece, data = data[:size], data[size:]
            self._to_client = self.network.arrival(self._to_client)
            self.network.world.call_at(self._to_client, lambda piece=piece: self._arrive(piece))

    def cut(self) -> None:
        """The server's end, or something between, ends the connection; the node hears of it."""
        if self.server_end is not None:
            self.server.gone(self.server_end)
            self.server_end = None
        self._to_client = self.network.arrival(self._to_client)
        self.network.world.call_at(self._to_client, lambda: self._arrive(CLOSED))

    def _arrive(self, piece: Any) -> None:
        if not self.loop.is_closed():
            self._inbox.append(piece)
            self.loop.call_soon(self._from_inbox)

    def _from_inbox(self) -> None:
        """Hand over the next piece: their order is kept, whatever that of the handles is."""
        piece = self._inbox.popleft()
        if self.protocol is None:
            return
        if piece is CLOSED:
            protocol, self.protocol = self.protocol, None
            reset = None if self.closing else ConnectionResetError("the simulation cut it")
            self.closing = True
            protocol.connection_lost(reset)
        elif not self.closing:
            self.protocol.data_received(piece)


class Network:
    """All wires of a world to its servers, and the faults that hold at the moment."""

    def __init__(self, world: World, servers: dict[Place, ServerModel]) -> None:
        self.world = world
        self.servers = servers
        self.wires: list[Wire] = []
        self.slow = 0.0
        """Seconds that a piece takes at most, on top of what is usual."""
        self.cutting = 0.05
        """The share of pieces that are cut into smaller ones."""
        self.refused: set[Any] = set()
        """Nodes that get no connection, and whose commands go nowhere."""
        world.network = self

    def arrival(self, earliest: float) -> float:
        """Draw when a piece arrives that is sent now, behind what arrives at *earliest*."""
        rng = self.world.rng
        takes = rng.uniform(0.0001, 0.002)
        if self.slow and rng.random() < 0.3:
            takes += rng.uniform(0.0, self.slow)
        return max(earliest, self.world.now + takes)

    def reached(self, node: Any, place: Place) -> ServerModel | None:
        """Return the server at *place*, if this node gets a connection to it at the moment."""
        if not node.alive or node in self.refused:
            return None
        return self.servers.get(place)

    def connected(self, server: ServerModel, loop: NodeLoop, protocol: Any) -> Wire:
        """Make a connection."""
        wire = Wire(self, server, loop, protocol)
        self.wires = [one for one in self.wires if one.protocol is not None]
        self.wires.append(wire)
        protocol.connection_made(wire)
        return wire

    async def connect(self, loop: NodeLoop, factory: Any, host: Any, port: Any) -> Any:
        """Make a connection for *loop*, or fail."""
        await asyncio.sleep(self.arrival(self.world.now) - self.world.now)
        server = self.reached(loop.node, (host, port))
        if server is None:
            raise ConnectionRefusedError(f"{host}:{port} refused: the simulation wants it so")
        protocol = factory()
        return self.connected(server, loop, protocol), protocol

    def wires_of(self, node: Any) -> list[Wire]:
        """Return the open connections of a node."""
        return [one for one in self.wires if one.loop.node is node and one.protocol is not None]
