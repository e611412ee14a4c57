"""A TCP proxy that behaves as networks do."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress


class Proxy:
    """Between the workers and the server; its faults are attributes that may be set at any time."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self.port = port
        self.rng = rng
        self.latency = 0.0
        """Seconds that a piece takes at most."""
        self.slow = False
        """A few bytes at a time."""
        self.refusing = False
        self.half_open = False
        """What comes goes nowhere, and nobody says so."""
        self.writers: set[asyncio.StreamWriter] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.here = 0

    async def start(self) -> None:
        """Listen on a free port."""
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.here = self.server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        if self.refusing:
            self._reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            self._reset(writer)
            return
        self.writers.add(up_writer)
        for source, sink in ((reader, up_writer), (up_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                if self.latency:
                    await asyncio.sleep(self.rng.uniform(0.0, self.latency))
                while self.half_open:  # noqa: ASYNC110  # set from outside, and looked at seldom
                    await asyncio.sleep(0.1)
                while data and self.slow and not sink.is_closing():
                    sink.write(data[:16])
                    data = data[16:]
                    await asyncio.sleep(0.002)
                if sink.is_closing():
                    break
                sink.write(data)
                await sink.drain()
        self._reset(sink)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        self.writers.discard(writer)
        with suppress(OSError, RuntimeError):
            writer.transport.abort()

    def cut(self, share: float = 1.0) -> None:
        """Reset some of the connections."""
        for writer in list(self.writers):
            if self.rng.random() < share:
                self._reset(writer)

    def mend(self) -> None:
        """Let all faults end."""
        self.latency, self.slow, self.refusing, self.half_open = 0.0, False, False, False

    async def stop(self) -> None:
        """Close everything."""
        self.mend()
        self.server.close()
        self.cut()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
