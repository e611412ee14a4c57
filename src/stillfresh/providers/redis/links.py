"""The connections of the event loops of this process to one server, and how coroutines wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ...errors import ProviderUnavailable
from ...forks import free_in_child
from .bells import Bell
from .client import OneServer, made
from .link import Link
from .listening import Listener
from .names import packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..ears import Ear
    from ..tier import Tier
    from .client import Command, OnRun, Server
    from .frame import Markers


class Links(OneServer):
    """The connections of the event loops of this process, and how coroutines wait."""

    def __init__(self, server: Server, tier: Tier | None = None) -> None:
        self._server = server
        self._tier = tier
        self.open: dict[asyncio.AbstractEventLoop, Link] = {}
        """By the loop to which each belongs."""
        self._closed = False
        self._reason = ProviderUnavailable
        self._lock = free_in_child()

    async def talk(self, commands: Sequence[Command]) -> list[Any]:
        """
        Send *commands* in one round trip, and return the replies.

        Raises:
            ProviderUnavailable: The server is away, or too slow.
        """
        link = self.here()
        await link.ready()
        return await link.send(commands)

    async def talk_as(self, commands: Sequence[Command | OnRun]) -> list[Any]:
        """Send *commands* as they are for the run of the server; else like `talk`."""
        link = self.here()
        await link.ready()
        return await link.send(made(commands, link.run))

    async def read(self, value: str, markers: Markers | None) -> Sequence[Any]:
        """
        Read the life that is left of *value*, and its bytes; with *markers*, a list with theirs.

        Raises:
            ProviderUnavailable: The server is away, or too slow.
        """
        link = self.here()
        await link.ready()
        found: tuple[Any, Any] = await link.fetch(packed(value), markers, life=True)
        return found

    def post(self, command: Command) -> asyncio.Future[list[Any]] | None:
        """Send *command* behind what was sent before; None where that connection is lost."""
        link = self.here()
        return link.send([command]) if link.connected else None

    async def pause(self, seconds: float) -> None:
        """Let others run for so long."""
        await asyncio.sleep(seconds)

    def bell(self) -> Bell:
        """Return something that a push can ring, for a coroutine that waits."""
        return Bell()

    def ear(self) -> Ear | None:
        """Return who listens on the connection of this loop; from now on it does."""
        listener = self.here().listener
        return None if listener is None else listener.want()

    def any_ear(self) -> Ear | None:
        """Return who listens on whatever loop; None: they will soon. From any thread."""
        found = None if self._tier is None else self._tier.near.live_ear()
        if found is None:
            for link in list(self.open.values()):
                if link.listener is not None:
                    link.listener.nudge()
        return found

    def close(self, reason: type[ProviderUnavailable] = ProviderUnavailable) -> None:
        """
        Cut all connections, each on the thread of its loop.

        *reason* is what those are told who wait for one, and have sent nothing.
        """
        with self._lock:
            self._closed, self._reason = True, reason
            links, self.open = self.open, {}
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        for loop, link in links.items():
            link.reason = reason
            if loop is here:
                link.close()
            else:
                link.close_soon()

    def here(self) -> Link:
        """
        Return the connection of this loop; it may have to be made yet.

        Raises:
            ProviderUnavailable: All were cut for good: nobody would cut this one.
        """
        loop = asyncio.get_running_loop()
        link = self.open.get(loop)
        if link is None:
            link = Link(self._server, loop)
            if self._tier is not None:
                link.listener = Listener(link, loop, self._tier, self._tier.near.ear())
            with self._lock:
                if self._closed:
                    raise self._reason("the provider was stopped")
                for other in [other for other in self.open if other.is_closed()]:
                    del self.open[other]
                self.open[loop] = link
        return link
