"""
What a handler looks at: a request that remembers which parts of it were read.

A response that depends on a field that is not in the key is one client's answer, and is not
stored. What the response names in Vary, and what the route declares, is in the key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .exchange import Exchange

V = TypeVar("V")

_SECRET: Final = ("client", "session", "user", "auth")
"""What middleware puts into a scope about whoever asks."""


class WatchedHeaders(Headers):
    """Notes which fields are read."""

    reads: set[str]

    def __getitem__(self, key: str) -> str:
        self.reads.add(key.lower())
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.reads.add(key.lower())
        return super().get(key, default)

    def getlist(self, key: str) -> list[str]:
        self.reads.add(key.lower())
        return super().getlist(key)

    def __contains__(self, key: object) -> bool:
        self.reads.add(str(key).lower())
        return super().__contains__(key)

    def _all(self) -> None:
        self.reads.update(name.decode("latin-1").lower() for name, _ in self._list)
        self.reads.add("all fields")

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        self._all()
        return super().raw

    def keys(self) -> Any:
        self._all()
        return super().keys()

    def values(self) -> Any:
        self._all()
        return super().values()

    def items(self) -> Any:
        self._all()
        return super().items()

    def __iter__(self) -> Iterator[Any]:
        self._all()
        return super().__iter__()

    def mutablecopy(self) -> MutableHeaders:
        self._all()
        return super().mutablecopy()


class _Watched(dict[str, V]):
    """Tells `_note` which key is read, and `_all` when every one may be."""

    def _note(self, key: object) -> None:
        raise NotImplementedError

    def _all(self) -> None:
        raise NotImplementedError

    def __getitem__(self, key: str) -> V:
        self._note(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)

    def __iter__(self) -> Iterator[str]:
        self._all()
        return super().__iter__()

    def keys(self) -> Any:
        self._all()
        return super().keys()

    def values(self) -> Any:
        self._all()
        return super().values()

    def items(self) -> Any:
        self._all()
        return super().items()

    def copy(self) -> dict[str, V]:
        self._all()
        return super().copy()

    def __repr__(self) -> str:
        self._all()
        return super().__repr__()


class WatchedCookies(_Watched[str]):
    """Notes that cookies are read, and which."""

    def __init__(self, cookies: Mapping[str, str], reads: set[str]) -> None:
        super().__init__(cookies)
        self._reads = reads

    def __contains__(self, key: object) -> bool:
        self._note(key)
        return super().__contains__(key)

    def _note(self, key: object) -> None:
        self._reads.add(f"cookie {key}")

    def _all(self) -> None:
        self._reads.add("cookie")


class WatchedScope(_Watched[Any]):
    """Notes when the parts that tell clients apart are read past the request."""

    reads: set[str]
    secret: tuple[str, ...] = _SECRET

    def _note(self, key: object) -> None:
        if key == "headers":
            self.reads.add("all fields")
        elif isinstance(key, str) and key in self.secret:
            self.reads.add(key)

    def _all(self) -> None:
        for key in dict.__iter__(self):
            self._note(key)


class WatchedRequest(Request):
    """A request that remembers what was read of it."""

    def __init__(self, request: Request, reads: set[str]) -> None:
        self.plain = request.scope
        scope = WatchedScope(request.scope)
        scope.reads = reads
        super().__init__(scope, request.receive, request._send)  # noqa: SLF001  # it is one
        self.reads = reads
        self._whole: WatchedHeaders | None = None

    @property
    def method(self) -> str:
        """The method: GET also for a HEAD that fills."""
        return str(self.plain["method"])

    @property
    def headers(self) -> Headers:
        """The fields."""
        if self._whole is None:
            self._whole = WatchedHeaders(raw=self.plain["headers"])
            self._whole.reads = self.reads
        return self._whole

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies."""
        return WatchedCookies(Request(self.plain).cookies, self.reads)

    @property
    def url(self) -> URL:
        """The URL; its host is in the key."""
        return URL(scope=self.plain)

    @property
    def base_url(self) -> URL:
        """The URL of the application."""
        return Request(self.plain).base_url

    @property
    def state(self) -> Any:
        """What middleware has noted about the request."""
        self.reads.add("state")
        return super().state


def watched(exchange: Exchange, values: dict[str, Any]) -> None:
    """Let a handler that is given the request be given one that remembers what is read."""
    for name, value in values.items():
        if isinstance(value, Request):
            values[name] = WatchedRequest(value, exchange.reads)
        elif isinstance(value, HTTPEndpoint):
            scope = WatchedScope(value.scope)
            scope.reads = exchange.reads
            value.scope = scope
