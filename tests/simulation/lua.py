"""The scripts of the server model are run by Lua itself, so that their texts are what is tested."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from lupa import lua51  # the version of Lua that the server has


class ServerError(Exception):
    """An error as the server would answer it."""


class Lua:
    """One interpreter for all worlds: a script has no memory of its own."""

    def __init__(self) -> None:
        self._lua = lua51.LuaRuntime(encoding=None, register_eval=False, register_builtins=False)
        self._made: dict[bytes, Any] = {}
        self._execute: Callable[[list[bytes]], Any] | None = None
        table = self._lua.table_from
        self._lua.globals()[b"redis"] = table(
            {b"call": self._call, b"pcall": self._pcall, b"sha1hex": _sha1hex}
        )

    def run(
        self,
        text: bytes,
        keys: list[bytes],
        arguments: list[bytes],
        execute: Callable[[list[bytes]], Any],
    ) -> Any:
        """Run a script over a server that *execute*s its commands; return its reply."""
        function = self._made.get(text)
        if function is None:
            function = self._lua.execute(b"return function(KEYS, ARGV) " + text + b"\nend")
            self._made[text] = function
        outer, self._execute = self._execute, execute
        try:
            table = self._lua.table_from
            return self._reply(function(table(keys), table(arguments)))
        finally:
            self._execute = outer

    def _call(self, *arguments: Any) -> Any:
        assert self._execute is not None
        return self._value(self._execute([_argument(one) for one in arguments]))

    def _pcall(self, *arguments: Any) -> Any:
        try:
            return self._call(*arguments)
        except ServerError as error:
            return self._lua.table_from({b"err": str(error).encode()})

    def _value(self, reply: Any) -> Any:
        """What a script sees of a reply."""
        if reply is None:
            return False
        if isinstance(reply, str):
            return self._lua.table_from({b"ok": reply.encode()})
        if isinstance(reply, list):
            return self._lua.table_from([self._value(one) for one in reply])
        return reply

    def _reply(self, value: Any) -> Any:
        """What the caller of a script gets."""
        if value is None or value is False:
            return None
        if value is True:
            return 1
        if isinstance(value, int | float):
            # What a cast in C makes of a number that is too large for it.
            return int(value) if -(2**63) <= value < 2**63 else -(2**63)
        if isinstance(value, bytes):
            return value
        if b"err" in value:
            raise ServerError(value[b"err"].decode())
        if b"ok" in value:
            return value[b"ok"].decode()
        items = []
        for at in range(1, len(value) + 1):
            if value[at] is None:  # a list ends at its first nil
                break
            items.append(self._reply(value[at]))
        return items


def _argument(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if value is None or isinstance(value, bool):
        raise ServerError("ERR Command arguments must be strings or integers")
    return b"%d" % value if value == int(value) else b"%.17g" % value


def _sha1hex(text: bytes) -> bytes:
    return hashlib.sha1(_argument(text), usedforsecurity=False).hexdigest().encode()
