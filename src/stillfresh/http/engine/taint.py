"""
What a handler looks at: a request that remembers which parts of it were read.

A response that depends on a field that is not in the key is one client's answer, and is not
stored. What the response names in Vary, and what the route declares, is in the key.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request

from .held import held_by
from .read_fields import NOTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...services.asgi import Scope

V = TypeVar("V")

_ROUTING: Final = frozenset(
    (
        *("type", "asgi", "http_version", "method", "scheme", "server", "root_path"),
        *("path", "raw_path", "query_string", "path_params", "extensions"),
        *("app", "router", "route", "endpoint", "app_root_path"),  # of Starlette and FastAPI
        *("litestar_app", "route_handler", "path_template"),
    )
)
"""
What a scope has about the application and the URL. The key has the URL, one that was
rewritten, too (see `rewritten`); anything else that stands there may say who asks: a server or a
middleware has put it there.
"""
_FRAMEWORKS: Final = ("starlette.", "_ls_")
"""How names begin under which frameworks keep notes for themselves."""
_OF_FASTAPI: Final = frozenset(
    ("fastapi", "fastapi_inner_astack", "fastapi_function_astack", "fastapi_middleware_astack")
)
_OF_SERVERS: Final = ("http.", "websocket.")
"""How the names of extensions begin that say what a server can do."""
_KNOWN: Final = frozenset({"client", "session", "user", "auth", "state"})


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

    def __len__(self) -> int:
        self._all()
        return super().__len__()

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

    def __contains__(self, key: object) -> bool:
        self._note(key)
        return super().__contains__(key)

    def pop(self, key: str, *default: Any) -> Any:
        self._note(key)
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().setdefault(key, default)

    def popitem(self) -> tuple[str, V]:
        self._all()
        return super().popitem()

    def __len__(self) -> int:
        self._all()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self._all()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        self._all()
        return super().__ne__(other)

    __hash__ = None  # as of every dictionary

    def __or__(self, other: Any) -> Any:
        self._all()
        return super().__or__(other)

    def __ror__(self, other: Any) -> Any:
        self._all()
        return super().__ror__(other)

    def __iter__(self) -> Iterator[str]:
        self._all()
        return super().__iter__()

    def __reversed__(self) -> Iterator[str]:
        self._all()
        return super().__reversed__()

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

    def _note(self, key: object) -> None:
        self._reads.add(f"cookie {key}")

    def _all(self) -> None:
        self._reads.add("cookie")


class WatchedScope(_Watched[Any]):
    """Notes when the parts that may tell clients apart are read past the request."""

    reads: set[str]

    def _note(self, key: object) -> None:
        name = str(key)
        if name == "headers":
            self.reads.add("all fields")
        elif name in _KNOWN:
            self.reads.add(name)
        elif name == "extensions":
            for extension in dict.get(self, name) or ():
                if not str(extension).startswith(_OF_SERVERS):  # of "tls": a client's certificate
                    self.reads.add("client" if extension == "tls" else f"{NOTED}{name}")
        elif name not in _ROUTING | _OF_FASTAPI and not name.startswith(_FRAMEWORKS):
            self.reads.add(NOTED + name)

    def _all(self) -> None:
        for key in dict.__iter__(self):
            self._note(key)


class WatchedRequest(Request):
    """A request that remembers what was read of it."""

    def __init__(self, request: Request, reads: set[str]) -> None:
        self.plain = request.scope
        scope = WatchedScope(request.scope)
        scope.reads = reads
        # Not super(): a class of the user's own may want other arguments.
        Request.__init__(self, scope, request.receive, request._send)  # noqa: SLF001  # it is one
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


_OURS: Final = frozenset(
    ("method", "headers", "cookies", "url", "base_url", "state", "plain", "reads", "_whole")
)
"""What a class of the user's own must not say otherwise, or nobody notes what is read by it."""
_OF_STARLETTE: Final = frozenset(
    (
        *("scope", "_receive", "_send", "_stream_consumed", "_is_disconnected"),
        *("_url", "_base_url", "_headers", "_query_params", "_cookies", "_state"),
        *("_body", "_json", "_form"),
    )
)
"""What Starlette keeps on a request."""


def watched_request(request: Request, reads: set[str]) -> Request:
    """
    Return *request* as one of the same class that remembers what is read.

    What somebody has put on it by hand counts as read. So does all of one whose class cannot be
    watched.
    """
    kind = _watching(type(request))
    kept = {name: value for name, value in vars(request).items() if name not in _OF_STARLETTE}
    reads.update(NOTED + name for name in kept)
    if kind is None:
        reads.add("all fields")
        return request
    seen = kind(request, reads)
    vars(seen).update(kept)
    return seen


@lru_cache(maxsize=100)
def _watching(kind: type[Request]) -> type[WatchedRequest] | None:
    """Return a class of watched requests that has all of *kind*, None where there is none."""
    if kind is Request:
        return WatchedRequest
    for base in kind.__mro__[: kind.__mro__.index(Request)]:
        if _OURS & vars(base).keys() or vars(base).get("__slots__"):
            return None
    make: Any = type(kind)
    try:
        return cast("type[WatchedRequest]", make(kind.__name__, (WatchedRequest, kind), {}))
    except TypeError:  # it wants no heirs
        return None


_OF_ENDPOINTS: Final = frozenset({"scope", "receive", "send"})


def kept_on_self(values: Mapping[str, object]) -> dict[str, object]:
    """Return what a class-based endpoint keeps beside the request, as `dispatch` may."""
    return {
        name: kept
        for value in values.values()
        if isinstance(value, HTTPEndpoint)
        for name, kept in held_by(value).items()
        if name not in _OF_ENDPOINTS
    }


def watched(reads: set[str], values: dict[str, Any]) -> Scope | None:
    """
    Let a handler that is given the request be given one that remembers what is read.

    Returns the scope of that request, None where it is given none.
    """
    given: Scope | None = None
    for name, value in values.items():
        if isinstance(value, Request):
            given = value.scope
            values[name] = watched_request(value, reads)
        elif isinstance(value, HTTPEndpoint):
            given = value.scope
            scope = WatchedScope(value.scope)
            scope.reads = reads
            value.scope = scope
    return given
