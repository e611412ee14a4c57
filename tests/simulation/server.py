"""
A server as this library needs it: the few commands that it sends, one after the other.

What it answers is compared with a real server, command by command (`test_model.py`): that makes
it a model and not a wish. Scripts are run by Lua. What it does not know it refuses, and says so
in `unknown`, which fails the schedule: a new command must be taught, here and there.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import hiredis

from .lua import Lua, ServerError

if TYPE_CHECKING:
    from .network import Wire
    from .virtual import World

LUA = Lua()
NOTHING = object()
Saved = tuple[dict[bytes, bytes], dict[bytes, int]]
NEEDS_MEMORY = {b"SET", b"SETRANGE", b"INCRBY"}


class Client:
    """What the server knows of one connection."""

    def __init__(self, wire: Wire, number: int) -> None:
        self.wire = wire
        self.number = number
        self.reader = hiredis.Reader(notEnoughData=NOTHING)
        self.resp3 = False
        self.prefixes: list[bytes] | None = None
        """What it wants to hear of, once it tracks."""
        self.noloop = False
        self.asking = False
        """What it asks next may be answered from a slot that is on its way here."""


class Keys:
    """Names, what they hold, and when they go."""

    def __init__(self, milliseconds: Callable[[], int]) -> None:
        self.milliseconds = milliseconds
        self.data: dict[bytes, bytes] = {}
        self.ends: dict[bytes, int] = {}
        self.touched: dict[bytes, None] = {}
        """What was changed since the trackers were told."""

    def get(self, key: bytes) -> bytes | None:
        end = self.ends.get(key)
        if end is not None and end <= self.milliseconds():
            self.drop(key)
        return self.data.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.data[key] = value
        self.touched[key] = None

    def drop(self, key: bytes) -> bool:
        self.ends.pop(key, None)
        if self.data.pop(key, None) is None:
            return False
        self.touched[key] = None
        return True

    def expire_due(self) -> None:
        """Drop what is over, as the server does by itself now and then."""
        now = self.milliseconds()
        for key in [key for key, end in self.ends.items() if end <= now]:
            self.drop(key)


class ServerModel:
    """One server."""

    mode = b"standalone"
    place = ("far", 6379)
    role = b"master"

    def __init__(self, world: World | None = None, milliseconds: Callable[[], int] | None = None):
        self.world = world
        self.run = b"%016x" % (world.rng.getrandbits(64) if world else 1)
        self.paused = False
        self.full = False
        self.scan_page = 3
        self.unknown: list[bytes] = []
        self.clients: list[Client] = []
        self.scripts: dict[bytes, bytes] = {}
        self.keys = Keys(milliseconds or (lambda: int(world.now * 1000)))
        self._waiting: list[tuple[Client, bytes]] = []
        self._numbers = 0

    # Connections

    def accept(self, wire: Wire) -> Client:
        self._numbers += 1
        client = Client(wire, self._numbers)
        self.clients.append(client)
        return client

    def gone(self, client: Client) -> None:
        if client in self.clients:
            self.clients.remove(client)

    def receive(self, client: Client, data: bytes) -> None:
        """Carry out what came, unless it stands still at the moment."""
        if self.paused:
            self._waiting.append((client, data))
            return
        client.reader.feed(data)
        replies: list[bytes] = []
        while (command := client.reader.gets()) is not NOTHING:
            replies.append(self.answer(client, command))
        client.wire.answer(b"".join(replies))
        self.tell_trackers(client)

    def resume(self) -> None:
        """Go on after a pause: what has come meanwhile is carried out now."""
        self.paused = False
        waiting, self._waiting = self._waiting, []
        for client, data in waiting:
            if client in self.clients:
                self.receive(client, data)

    def save(self) -> Saved:
        """Return what it would find on its disk if it were restarted some time later."""
        return dict(self.keys.data), dict(self.keys.ends)

    def restart(self, saved: Saved = ({}, {})) -> None:
        """Come back with another run, and what was *saved*; all connections are cut."""
        self.run = b"%016x" % (self.world.rng.getrandbits(64))
        self.keys.data, self.keys.ends = dict(saved[0]), dict(saved[1])
        self.keys.touched.clear()
        self.scripts.clear()
        self._waiting.clear()
        for client in list(self.clients):
            client.wire.cut()

    def die(self) -> None:
        """End for good: all connections are cut."""
        self.paused = True
        for client in list(self.clients):
            client.wire.cut()

    def lose(self, key: bytes) -> None:
        """Evict a key."""
        self.keys.drop(key)
        self.tell_trackers(None)

    def tell_trackers(self, author: Client | None) -> None:
        """Push what was changed to whoever wants to hear of it; after the reply, as BCAST does."""
        touched, self.keys.touched = list(self.keys.touched), {}
        for client in self.clients if touched else ():
            if client.prefixes is None or (client.noloop and client is author):
                continue
            names = [
                key for key in touched if any(key.startswith(prefix) for prefix in client.prefixes)
            ]
            if names:
                client.wire.answer(b">2\r\n" + encode(b"invalidate") + encode(names))

    # Commands

    def answer(self, client: Client, command: list[bytes]) -> bytes:
        try:
            reply = self.execute(command, client)
        except ServerError as error:
            return b"-%s\r\n" % str(error).encode()
        return encode(reply, resp3=client.resp3)

    def execute(self, command: list[bytes], client: Client | None = None) -> Any:
        """
        Carry out one command.

        Raises:
            ServerError: The server would answer so.
        """
        name, arguments = command[0].upper(), command[1:]
        found = getattr(self, "do_" + name.decode().lower(), None)
        if found is None:
            self.unknown.append(b" ".join(command)[:100])
            raise ServerError(f"ERR unknown command '{name.decode()}'")
        if self.full and name in NEEDS_MEMORY:
            raise ServerError("OOM command not allowed when used memory > 'maxmemory'.")
        if name in {b"HELLO", b"CLIENT"}:
            return found(client, *arguments)
        return found(*arguments)

    def do_get(self, key: bytes) -> bytes | None:
        return self.keys.get(key)

    def do_mget(self, *keys: bytes) -> list[bytes | None]:
        return [self.keys.get(key) for key in keys]

    def do_set(self, key: bytes, value: bytes, *options: bytes) -> str | None:
        words = [option.upper() for option in options]
        life = int(options[words.index(b"PX") + 1]) if b"PX" in words else None
        if life is not None and life <= 0:
            raise ServerError("ERR invalid expire time in 'set' command")
        if b"NX" in words and self.keys.get(key) is not None:
            return None
        self.keys.get(key)  # what is over is not kept alive
        if b"KEEPTTL" not in words:
            self.keys.ends.pop(key, None)
        self.keys.put(key, value)
        if life is not None:
            self.keys.ends[key] = self.keys.milliseconds() + life
        return "OK"

    def do_pttl(self, key: bytes) -> int:
        if self.keys.get(key) is None:
            return -2
        end = self.keys.ends.get(key)
        return -1 if end is None else end - self.keys.milliseconds()

    def do_pexpire(self, key: bytes, life: bytes) -> int:
        if self.keys.get(key) is None:
            return 0
        self.keys.touched[key] = None
        if int(life) <= 0:
            self.keys.drop(key)
        else:
            self.keys.ends[key] = self.keys.milliseconds() + int(life)
        return 1

    def do_persist(self, key: bytes) -> int:
        return int(self.keys.get(key) is not None and self.keys.ends.pop(key, None) is not None)

    def do_unlink(self, *keys: bytes) -> int:
        return sum(self.keys.get(key) is not None and self.keys.drop(key) for key in keys)

    do_del = do_unlink

    def do_exists(self, *keys: bytes) -> int:
        return sum(self.keys.get(key) is not None for key in keys)

    def do_getrange(self, key: bytes, start: bytes, end: bytes) -> bytes:
        value, first, last = self.keys.get(key) or b"", int(start), int(end)
        return value[first : len(value) + last + 1 if last < 0 else last + 1]

    def do_setrange(self, key: bytes, offset: bytes, part: bytes) -> int:
        value, at = self.keys.get(key) or b"", int(offset)
        value = value.ljust(at, b"\0")
        self.keys.put(key, value[:at] + part + value[at + len(part) :])
        return len(self.keys.data[key])

    def do_incrby(self, key: bytes, amount: bytes) -> int:
        value = self.keys.get(key)
        try:
            total = int(value or b"0") + int(amount)
            if value is not None and b"%d" % int(value) != value:
                raise ValueError
        except ValueError:
            raise ServerError("ERR value is not an integer or out of range") from None
        if not -(2**63) <= total < 2**63:
            raise ServerError("ERR increment or decrement would overflow")
        self.keys.put(key, b"%d" % total)
        return total

    def do_scan(self, cursor: bytes, *options: bytes) -> list[Any]:
        """A few names at a time, in an order of their own: what comes meanwhile may be missed."""
        self.keys.expire_due()
        words = [option.upper() for option in options[::2]]
        glob = options[1 + 2 * words.index(b"MATCH")] if b"MATCH" in words else b"*"
        order = sorted((zlib.crc32(key) + 1, key) for key in self.keys.data)
        page = [pair for pair in order if pair[0] > int(cursor)]
        left = page[self.scan_page :]
        page = page[: self.scan_page]
        end = b"%d" % page[-1][0] if left else b"0"
        return [end, [key for _, key in page if glob_fits(glob, key)]]

    def do_evalsha(self, sha: bytes, count: bytes, *arguments: bytes) -> Any:
        text = self.scripts.get(sha)
        if text is None:
            raise ServerError("NOSCRIPT No matching script. Please use EVAL.")
        return self._run(text, int(count), list(arguments))

    def do_eval(self, text: bytes, count: bytes, *arguments: bytes) -> Any:
        self.scripts[hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()] = text
        return self._run(text, int(count), list(arguments))

    def _run(self, text: bytes, count: int, arguments: list[bytes]) -> Any:
        return LUA.run(text, arguments[:count], arguments[count:], self.execute)

    def do_script(self, what: bytes, *_: bytes) -> str:
        assert what.upper() == b"FLUSH"
        self.scripts.clear()
        return "OK"

    def do_flushall(self, *_: bytes) -> str:
        self.keys.data.clear()
        self.keys.ends.clear()
        self.keys.touched.clear()
        for client in self.clients:
            if client.prefixes is not None:
                client.wire.answer(b">2\r\n" + encode(b"invalidate") + b"_\r\n")
        return "OK"

    def do_info(self, *_: bytes) -> bytes:
        return (
            b"# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.0\r\n"
            b"redis_mode:"
            + self.mode
            + b"\r\nrun_id:"
            + self.run
            + b"\r\n# Replication\r\nrole:"
            + self.role
            + b"\r\n"
        )

    def do_role(self) -> list[Any]:
        return [self.role, 0, []]

    def do_ping(self) -> str:
        return "PONG"

    def do_select(self, _: bytes) -> str:
        return "OK"

    def do_hello(self, client: Client, version: bytes = b"2", *_: bytes) -> dict[bytes, Any]:
        client.resp3 = version == b"3"
        return {
            b"server": b"valkey",
            b"version": b"9.1.0",
            b"proto": int(version),
            b"id": client.number,
            b"mode": self.mode,
            b"role": self.role,
            b"modules": [],
        }

    def do_client(self, client: Client, what: bytes, *options: bytes) -> Any:
        match what.upper():
            case b"TRACKING":
                words = [option.upper() for option in options]
                if words[0] == b"OFF":
                    client.prefixes = None
                    return "OK"
                prefixes = [
                    options[at + 1] for at, word in enumerate(words[:-1]) if word == b"PREFIX"
                ]
                client.prefixes = prefixes or [b""]
                client.noloop = b"NOLOOP" in words
                return "OK"
            case b"ID":
                return client.number
            case _:
                return "OK"


def glob_fits(glob: bytes, name: bytes) -> bool:
    """Match like the server does, as far as this library goes: `*` anywhere."""
    parts = glob.split(b"*")
    if len(parts) == 1:
        return glob == name
    if not name.startswith(parts[0]) or not name.endswith(parts[-1]):
        return False
    at, end = len(parts[0]), len(name) - len(parts[-1])
    for part in parts[1:-1]:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return at <= end


def encode(reply: Any, *, resp3: bool = False) -> bytes:
    """Return *reply* as it goes over the wire."""
    match reply:
        case None:
            return b"_\r\n" if resp3 else b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case str():
            return b"+%s\r\n" % reply.encode()
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
        case dict():
            head = b"%%%d\r\n" % len(reply) if resp3 else b"*%d\r\n" % (2 * len(reply))
            items = [one for pair in reply.items() for one in pair]
        case _:
            head, items = b"*%d\r\n" % len(reply), reply
    return head + b"".join(encode(one, resp3=resp3) for one in items)
