"""
A client for benchmarks of HTTP servers: it keeps connections busy, and reads what comes.

It is a bare loop over sockets, since a client that is slower than the server would measure itself.
It looks at the head of each response: a server may change the length of what it sends (an Age that
grows), and may close a connection after so many requests, as nginx does. Whatever else it does
not expect ends the run, with what it got.
"""

from __future__ import annotations

import select
import socket
import time
from typing import NamedTuple

CONNECTIONS = 32
SILENCE = 5.0
"""Seconds without any answer after which the server counts as dead."""
_MOST_AT_ONCE = 1 << 16


class Response(NamedTuple):
    head: bytes
    """Up to and with the end of the last field."""
    body: bytes

    def field(self, name: bytes) -> bytes:
        """Return the value of a field, b"" where it is not there."""
        return field_in(self.head, name)


def field_in(head: bytes, name: bytes) -> bytes:
    place = head.lower().find(b"\r\n%s:" % name)
    return b"" if place < 0 else head[place + 3 + len(name) : head.find(b"\r\n", place + 2)].strip()


def length_of(head: bytes) -> int:
    """Return how many bytes of body follow a head."""
    if head[9:12] in {b"204", b"304"}:
        return 0
    length = field_in(head, b"content-length")
    if not length.isdigit():
        raise RuntimeError(f"a response without Content-Length: {head!r}")
    return int(length)


class Connection:
    """Has one request under way at a time."""

    def __init__(self, port: int, request: bytes, status: int) -> None:
        self._request = request
        self._begins = b"HTTP/1.1 %d " % status
        self._got = self._head = b""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SILENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> None:
        self._got = self._head = b""
        self.socket.sendall(self._request)

    def read(self) -> Response | None:
        """Take what has come; return the response if it is whole."""
        piece = self.socket.recv(_MOST_AT_ONCE)
        if not piece:
            raise RuntimeError(f"closed in the middle of a response: {self._got[:400]!r}")
        self._got += piece
        if not self._head:
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return None
            self._head = self._got[: end + 2]
            if not self._head.startswith(self._begins):
                raise RuntimeError(f"expected {self._begins!r}, got {self._head!r}")
            self._whole = end + 4 + length_of(self._head)
        if len(self._got) > self._whole:
            raise RuntimeError(f"more than a response came: {self._got[self._whole :][:400]!r}")
        if len(self._got) < self._whole:
            return None
        return Response(self._head, self._got[len(self._head) + 2 :])


def ask(port: int, request: bytes, status: int = 200) -> Response:
    """Ask once."""
    connection = Connection(port, request, status)
    with connection.socket:
        connection.ask()
        while (response := connection.read()) is None:
            pass
        return response


def load(port: int, request: bytes, status: int, seconds: float) -> int:
    """
    Ask for *seconds*, on several connections; return how many requests were answered.

    Raises:
        RuntimeError: Something else came than whole responses with *status*, or nothing.
    """
    opened: dict[int, Connection] = {}
    with select.epoll() as poll:

        def begin() -> None:
            one = Connection(port, request, status)
            opened[one.socket.fileno()] = one
            poll.register(one.socket, select.EPOLLIN)
            one.ask()

        try:
            for _ in range(CONNECTIONS):
                begin()
            count, until = 0, time.perf_counter() + seconds
            while opened:
                ready = poll.poll(SILENCE)
                if not ready:
                    raise RuntimeError(f"no answer on port {port} for {SILENCE:g} s")
                over = time.perf_counter() >= until
                for number, _ in ready:
                    response = opened[number].read()
                    if response is None:
                        continue
                    count += 1
                    closes = b"\r\nconnection: close\r\n" in response.head.lower()
                    if not (over or closes):
                        opened[number].ask()
                        continue
                    opened.pop(number).socket.close()
                    if not over:
                        begin()
            return count
        finally:
            for one in opened.values():
                one.socket.close()
