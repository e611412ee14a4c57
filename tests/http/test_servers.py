"""Real HTTP: two server processes on one store."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

WORKER = Path(__file__).parent / "worker.py"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def servers(url, prefix):
    """The addresses of two processes that share a store."""
    environment = {**os.environ, "REDIS_URL": url, "PREFIX": prefix}
    ports = [free_port(), free_port()]
    processes = [
        subprocess.Popen([sys.executable, WORKER, str(port)], env=environment) for port in ports
    ]
    try:
        for port in ports:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", port)),
                ):
                    break
                time.sleep(0.05)
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)


async def test_two_processes_are_one_cache(servers, raw, prefix):
    """One runs the handler for a crowd at both; the tag is the same; a change in one counts in both."""
    one, two = servers
    name = prefix.rpartition(":")[2]  # of this test alone
    host = {"Host": "shop.example"}
    async with httpx.AsyncClient(headers=host, timeout=20) as client:
        processes = {(await client.get(f"{server}/process")).text for server in servers}
        assert len(processes) == 2

        page = f"/page/{name}"
        crowd = [client.get(server + page) for _ in range(100) for server in servers]
        answers = await asyncio.gather(*crowd)
        assert {answer.text for answer in answers} == {'"first"'}
        assert len({answer.headers["etag"] for answer in answers}) == 1
        assert raw.get(f"runs:{name}") == b"1"

        tag = {"If-None-Match": answers[0].headers["etag"]}
        for server in servers:
            unchanged = await client.get(server + page, headers=tag)
            assert (unchanged.status_code, unchanged.content) == (304, b"")

        assert (await client.put(f"{one}{page}?text=second")).status_code == 200
        for server in (two, one):
            changed = await client.get(server + page, headers=tag)
            assert (changed.status_code, changed.text) == (200, '"second"')
        assert raw.get(f"runs:{name}") == b"2"
        assert (await client.head(one + page)).headers["etag"] == changed.headers["etag"]
