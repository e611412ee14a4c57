"""The model of the server against a real one: the same commands, the same replies."""

import random
import socket
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import hiredis
import pytest
from redis.crc import key_slot
from simulation.cluster import ClusterModel
from simulation.server import ServerModel, glob_fits

from stillfresh.providers.redis import scripts

NAMES = [b"sim:v:{n|a}", b"sim:v:{n|b}", b"sim:l:{n|a}", b"sim:t:{x}", b"sim:f:{0}"]
NUMBERS = [b"0", b"1", b"-7", b"12", b"9223372036854775807", b"x", b""]
LIVES = [b"60000", b"3600000", b"120000"]


def drawn(rng: random.Random) -> list[bytes]:
    """Draw one command."""
    key, other = rng.choice(NAMES), rng.choice(NAMES)
    number = rng.choice(NUMBERS[:4])
    life = rng.choice(LIVES)
    value = rng.choice([*NUMBERS, b"SF\x01F" + bytes(70), b"SF\x01F" + b"\x01" * 80])
    return rng.choice(
        [
            [b"GET", key],
            [b"MGET", key, other],
            [b"SET", key, value],
            [b"SET", key, value, b"PX", life],
            [b"SET", key, value, b"NX", b"PX", life],
            [b"SET", key, value, b"KEEPTTL"],
            [b"SET", key, value, b"PX", b"0"],
            [b"PTTL", key],
            [b"PEXPIRE", key, life],
            [b"PEXPIRE", key, b"-1"],
            [b"PERSIST", key],
            [b"UNLINK", key, other],
            [b"DEL", key],
            [b"EXISTS", key, other],
            [b"GETRANGE", key, number, b"59"],
            [b"GETRANGE", key, b"0", b"-1"],
            [b"SETRANGE", key, b"3", b"E"],
            [b"INCRBY", key, number],
            [b"EVAL", b"return {1, false, 'x', redis.call('GET', KEYS[1]), nil, 4}", b"1", key],
            [b"EVAL", b"return redis.call('INCRBY', KEYS[1], ARGV[1])", b"1", key, number],
            [b"EVAL", b"return redis.pcall('INCRBY', KEYS[1], 'x')", b"1", key],
            [
                b"EVAL",
                b"return redis.call('SET', KEYS[1], 7.0, 'PX', ARGV[1] * 2)",
                b"1",
                key,
                life,
            ],
        ]
    )


def script_call(rng: random.Random) -> list[bytes]:
    """Draw a call of one of the library's scripts, with arguments that make some sense."""
    head = rng.choice([b"c", b"p"]) + b"run00000" + b"t" * 24
    ours = rng.choice([scripts.RELEASE, scripts.RENEW, scripts.EXPIRE, scripts.CAPTURE])
    keys = {
        scripts.RELEASE: [NAMES[2]],
        scripts.RENEW: [NAMES[2]],
        scripts.EXPIRE: [NAMES[0], NAMES[2]],
        scripts.CAPTURE: [NAMES[3]],
    }[ours]
    rest = {
        scripts.RELEASE: [head],
        scripts.RENEW: [head, b"60000"],
        scripts.EXPIRE: [],
        scripts.CAPTURE: [
            b"run00000:fresh",
            rng.choice([b"1000", b"1800000", b"ever"]),
            b"3600000",
            rng.choice([b"0", b"1"]),
        ],
    }[ours]
    return [b"EVAL", ours.text, b"%d" % len(keys), *keys, *rest]


def same(command: list[bytes], ours: Any, theirs: Any) -> bool:
    """Compare; of an error only its code, of a life only that it is about as long."""
    if command[0] == b"PTTL" and isinstance(ours, int) and ours > 0:
        return isinstance(theirs, int) and ours - 20_000 <= theirs <= ours
    if isinstance(ours, hiredis.ReplyError):
        return isinstance(theirs, hiredis.ReplyError) and code(ours) == code(theirs)
    return ours == theirs


def code(error: Exception) -> str:
    """Return the first word of an error."""
    return str(error).split()[0]


class Real:
    """A plain connection to a real server."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self.socket = socket.create_connection((place.hostname, place.port))
        self.reader = hiredis.Reader()

    def ask(self, *command: bytes) -> Any:
        """Send a command and return its reply."""
        self.socket.sendall(hiredis.pack_command(command))
        while (reply := self.reader.gets()) is False:
            self.reader.feed(self.socket.recv(65_536))
        return reply


def modelled(model: ServerModel, command: list[bytes]) -> Any:
    """Ask the model, through its own bytes."""
    reader = hiredis.Reader()
    reader.feed(model.answer(SimpleNamespace(resp3=False), command))
    return reader.gets()


@pytest.mark.parametrize("seed", range(20))
def test_the_model_answers_like_the_server(seed: int, url: str) -> None:
    """Whatever is sent, the model and a real server say the same, and keep the same."""
    rng = random.Random(seed)
    model = ServerModel(milliseconds=lambda: 1_000_000)
    real = Real(url)
    with real.socket:
        real.ask(b"SELECT", b"9")
        real.ask(b"FLUSHDB")
        for _ in range(150):
            command = drawn(rng) if rng.random() < 0.8 else script_call(rng)
            ours, theirs = modelled(model, command), real.ask(*command)
            assert same(command, ours, theirs), (command, ours, theirs)
            kept = {key: real.ask(b"GET", key) for key in real.ask(b"KEYS", b"*")}
            assert kept == model.keys.data, command
        real.ask(b"FLUSHDB")


SLOT_NAMES = [b"sim:v:{n|a}", b"sim:l:{n|a}", b"sim:x:{n|a}"]
ABOUT_ONE_SLOT = [
    [b"GET", SLOT_NAMES[0]],
    [b"PTTL", SLOT_NAMES[1]],
    [b"MGET", *SLOT_NAMES[:2]],
    [b"EXISTS", *SLOT_NAMES],
    [b"UNLINK", b"sim:none:{n|a}"],
    [b"EVAL", b"return redis.call('GET', KEYS[2])", b"2", *SLOT_NAMES[:2]],
    [b"EVAL", b"return redis.call('EXISTS', KEYS[1])", b"1", SLOT_NAMES[2]],
    [b"MGET", SLOT_NAMES[0], b"sim:v:{n|b}"],
]


def test_the_model_of_a_cluster_answers_like_one(quiet_cluster) -> None:
    """
    A slot that rests, is on its way with none, some or all of its names, and has arrived: whichever
    server is asked, with ASKING or without, the model says what the real ones say.
    """
    model = ClusterModel(None, milliseconds=lambda: 1_000_000)
    slot = key_slot(SLOT_NAMES[0])
    quiet_cluster.flush()
    source = quiet_cluster.owner(slot)
    target = (source + 1) % 3
    ports = [node.port for node in quiet_cluster.nodes]
    reals = [Real(node.url) for node in quiet_cluster.nodes]

    def named(reply: Any) -> Any:
        """Say of a redirection to which server it goes."""
        if not isinstance(reply, hiredis.ReplyError):
            return reply
        word, *rest = str(reply).split()
        if word not in {"MOVED", "ASK"}:
            return word
        port = int(rest[1].rpartition(":")[2])
        return word, int(rest[0]), port - 6379 if port < 7_000 else ports.index(port)

    def compare(state: str) -> None:
        for number in range(3):
            client: Any = SimpleNamespace(resp3=False, asking=False)
            for asking in (False, True):
                for command in ABOUT_ONE_SLOT:
                    reader = hiredis.Reader()
                    if asking:
                        reals[number].ask(b"ASKING")
                        model.shards[number].answer(client, [b"ASKING"])
                    reader.feed(model.shards[number].answer(client, command))
                    ours, theirs = named(reader.gets()), named(reals[number].ask(*command))
                    assert ours == theirs, (state, number, asking, command)

    try:
        for name in SLOT_NAMES[:2]:
            reals[source].ask(b"SET", name, b"x")
            model.shards[source].keys.put(name, b"x")
        compare("at rest")
        quiet_cluster.begin(slot, source, target)
        model.begin(slot, model.shards[target])
        compare("on its way, nothing has moved")
        address = (b"127.0.0.1", b"%d" % ports[target])
        for name in SLOT_NAMES[:2]:
            reals[source].ask(b"MIGRATE", *address, name, b"0", b"5000")
            model.move(slot, name)
            compare(f"on its way, {name!r} has moved")
        quiet_cluster.end(slot, target)
        model.end(slot)
        for shard in model.shards:
            shard.knows[slot] = target
        compare("arrived")
    finally:
        for real in reals:
            real.socket.close()
        quiet_cluster.flush()


@pytest.mark.parametrize(
    ("glob", "name"),
    [(b"a*", b"abc"), (b"*b*", b"abc"), (b"a*c", b"ac"), (b"a*bc", b"abc"), (b"abc", b"abc")],
)
def test_globs_that_match(glob: bytes, name: bytes) -> None:
    """A star is any text, also none."""
    assert glob_fits(glob, name)


@pytest.mark.parametrize(("glob", "name"), [(b"a*", b"ba"), (b"ab*bc", b"abc"), (b"a", b"ab")])
def test_globs_that_do_not(glob: bytes, name: bytes) -> None:
    """The texts around the stars do not overlap."""
    assert not glob_fits(glob, name)
