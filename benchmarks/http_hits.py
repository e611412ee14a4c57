"""
What a hit over HTTP costs, against servers that do less, and against peers.

    .venv/bin/python benchmarks/http_hits.py [--json] [--requests 4000] [--rounds 5]

Each server is uvicorn with one worker and an 8.5 kB JSON body; nginx, where it is installed, with
one worker and `proxy_cache`. What is compared is the processor time that a server takes per
request: the client on the same machine costs as much as the server, and would hide it. The rounds
of all servers are interleaved, and the best round of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = {"items": [{"id": n, "name": f"product {n}", "price": n * 1.5} for n in range(180)]}
TICKS = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 8


# The servers, imported by uvicorn from this file


def make(name: str) -> Any:
    return globals()[f"make_{name}"]()


def make_bare() -> Any:
    body = json.dumps(BODY).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return app


def make_starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def page(request: object) -> JSONResponse:
        del request
        return JSONResponse(BODY)

    return Starlette(routes=[Route("/page", page)])


def make_stillfresh() -> Any:
    from stillfresh import App, action

    class Api:
        @action("/page", cache="1 hour")
        async def page(self) -> dict[str, Any]:
            return BODY

    return App(Api)


def make_litestar() -> Any:
    from litestar import Litestar, get

    @get("/page", cache=3600)
    async def page() -> dict[str, Any]:
        return BODY

    return Litestar([page])


# Measuring


class Server:
    """A process that answers on a port."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name, self.process, self.port = name, process, port

    def seconds(self) -> float:
        """Processor time so far, of the process and of the children that it has."""
        pids = [self.process.pid]
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text()
            pids += [int(pid) for pid in children.split()]
        total = 0
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(name: str) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, __file__, "--serve", name, str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield wait_for(Server(name, process, port))
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def nginx(upstream: int) -> Iterator[Server]:
    """An nginx with proxy_cache in front of *upstream*."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(f"""
            daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
                fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
                proxy_cache_path {folder}/cache keys_zone=all:10m;
                server {{
                    listen 127.0.0.1:{port};
                    location / {{
                        proxy_pass http://127.0.0.1:{upstream};
                        proxy_cache all; proxy_cache_valid 200 1h;
                    }}
                }}
            }}
        """)
        process = subprocess.Popen(["nginx", "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            yield wait_for(Server("nginx", process, port))
        finally:
            process.terminate()
            process.wait()


def wait_for(server: Server) -> Server:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port)):
            return server
        time.sleep(0.05)
    raise SystemExit(f"{server.name} does not start")


class Load(asyncio.Protocol):
    """Sends one request after the other on one connection, as long as there are some."""

    def __init__(self, request: bytes, size: int, left: list[int], done: Any) -> None:
        self.request, self.size, self.left, self.done = request, size, left, done
        self.got = 0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.next()

    def next(self) -> None:
        if self.left[0] <= 0:
            self.transport.close()
            self.done.set_result(None)
            return
        self.left[0] -= 1
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.got += len(data)
        while self.got >= self.size:
            self.got -= self.size
            self.next()


async def answer(port: int, request: bytes) -> bytes:
    """Ask once, and return the whole response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:") and b" 304 " not in head:
            length = int(line.partition(b":")[2])
    body = await reader.readexactly(length)
    writer.close()
    return head + body


async def load(server: Server, request: bytes, count: int) -> tuple[float, float]:
    """Return processor seconds and wall seconds per request."""
    for _ in range(3):
        size = len(await answer(server.port, request))
    loop = asyncio.get_running_loop()
    left = [count]
    done = [loop.create_future() for _ in range(CONNECTIONS)]
    before, began = server.seconds(), time.perf_counter()
    for one in done:
        await loop.create_connection(
            lambda one=one: Load(request, size, left, one), "127.0.0.1", server.port
        )
    await asyncio.gather(*done)
    wall = time.perf_counter() - began
    return (server.seconds() - before) / count, wall / count


def request_for(tag: str = "") -> bytes:
    condition = f"If-None-Match: {tag}\r\n" if tag else ""
    return (
        "GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n"
        f"Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n{condition}\r\n"
    ).encode()


async def measure(servers: list[Server], count: int, rounds: int) -> dict[str, Any]:
    plain = request_for()
    ours = next(server for server in servers if server.name == "stillfresh")
    for _ in range(3):
        head = await answer(ours.port, plain)
    tag = next(
        line.partition(b":")[2].strip().decode()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"etag:")
    )
    jobs = [(server.name, server, plain) for server in servers]
    jobs.append(("stillfresh 304", ours, request_for(tag)))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in jobs}
    for _ in range(rounds):
        for name, server, request in jobs:
            found[name].append(await load(server, request, count))
    return {
        name: {
            "cpu_us": min(cpu for cpu, _ in times) * 1e6,
            "per_second": 1 / min(wall for _, wall in times),
        }
        for name, times in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", nargs=2)
    options = parser.parse_args()
    if options.serve:
        import uvicorn

        name, port = options.serve
        uvicorn.run(
            make(name), host="127.0.0.1", port=int(port), log_level="critical", access_log=False
        )
        return
    with contextlib.ExitStack() as stack:
        names = ["bare", "stillfresh", "starlette", "litestar"]
        servers = [stack.enter_context(serving(name)) for name in names]
        if shutil.which("nginx"):
            servers.append(stack.enter_context(nginx(servers[2].port)))
        found = asyncio.run(measure(servers, options.requests, options.rounds))
    ours, cpu = found["stillfresh"]["cpu_us"], {name: one["cpu_us"] for name, one in found.items()}
    ratios = {
        "hit, of a bare ASGI app": cpu["bare"] / ours,
        "hit, times an uncached Starlette handler": cpu["starlette"] / ours,
        "hit, times Litestar's cached hit": cpu["litestar"] / ours,
        "304, times an uncached Starlette handler": cpu["starlette"] / cpu["stillfresh 304"],
    }
    if "nginx" in cpu:
        ratios["hit, of nginx proxy_cache"] = cpu["nginx"] / ours
    if options.json:
        print(json.dumps({"servers": found, "ratios": ratios}, indent=2))
        return
    for name, one in found.items():
        print(
            f"{name:16} {one['cpu_us']:7.1f} µs of processor, {one['per_second']:7.0f} per second"
        )
    for name, ratio in ratios.items():
        print(f"{name:42} {ratio:6.2f}")


if __name__ == "__main__":
    main()
