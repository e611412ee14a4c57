"""
Sentinels: they know which server is the primary now.

They are asked at each new connection, and what they name must say itself that it is a primary: in
the middle of a failover they may still name the one that is none any more.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...errors import ProviderUnavailable
from .client import FAULTS, Server

if TYPE_CHECKING:
    from .urls import Place, Target


class Sentinels:
    """Those of one primary."""

    def __init__(self, target: Target, seconds: float) -> None:
        share = seconds / (len(target.sentinels) + 1)  # and the primary itself takes its time
        self._service = target.service
        self._servers = [Server(url, share, share) for url in target.sentinels]

    async def find(self) -> Place:
        """
        Return where the primary is.

        Raises:
            ProviderUnavailable: None of them answers, or knows.
        """
        for server in list(self._servers):
            connection = server.waiting()
            try:
                await connection.connect()
                await connection.send_command(*self._question())
                found = await connection.read_response(disable_decoding=True)
            except FAULTS:
                continue
            finally:
                with suppress(*FAULTS):
                    await connection.disconnect(nowait=True)
            if found:
                return self._answered(server, found)
        raise self._nobody()

    def find_blocking(self) -> Place:
        """Return where the primary is; never suspends. Raises as `find`."""
        for server in list(self._servers):
            connection = server.blocking()
            try:
                connection.connect()
                connection.send_command(*self._question())
                found = connection.read_response(disable_decoding=True)
            except FAULTS:
                continue
            finally:
                with suppress(*FAULTS):
                    connection.disconnect()
            if found:
                return self._answered(server, found)
        raise self._nobody()

    def _question(self) -> tuple[str, ...]:
        return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)

    def _answered(self, server: Server, found: Any) -> Place:
        # The one that has answered is asked first the next time.
        self._servers = [server, *(other for other in self._servers if other is not server)]
        host, port = found
        return host.decode(), int(port)

    def _nobody(self) -> ProviderUnavailable:
        return ProviderUnavailable(
            f"none of {len(self._servers)} sentinels answers where {self._service!r} is"
        )


def checked_role(reply: Any) -> None:
    """
    Let a reply to ROLE pass that is a primary's.

    Raises:
        ProviderUnavailable: It is a replica, or does not say.
    """
    if not isinstance(reply, list) or reply[:1] != [b"master"]:
        raise ProviderUnavailable("the server that the sentinels name is no primary (yet)")
