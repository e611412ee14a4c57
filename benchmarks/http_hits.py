"""
What a hit over HTTP costs in a real server, against servers that do less, and against peers.

    .venv-bench/bin/python benchmarks/http_hits.py [--json] [--seconds 0.4] [--rounds 7] [--h11]

Each server is uvicorn with one worker, as it is installed for production (uvloop and httptools;
`--h11` is without both), and sends the same 8.5 kB of JSON. nginx with `proxy_cache` and varnish
are measured where they are installed. Server and client each have a processor core to themselves,
where there are two. `http_load.py` is the client.

Two figures: the processor time that the server takes per request, and the requests per second of
its core. Goals are of the first, which a busy machine disturbs less. The servers take turns, each
round is compared with the same round of the others, and the middle one of these ratios counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from http_load import ask, load

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = {
    "items": [{"id": n, "name": f"product {n}", "price": n * 1.5, "on": n % 2} for n in range(162)]
}
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
GOALS = {
    "hit, of a bare ASGI app": ("bare", "stillfresh", 0.8),
    "hit, times an uncached Starlette handler": ("starlette", "stillfresh", 6.0),
    "hit, times Litestar's cached hit": ("litestar", "stillfresh", 3.0),
    "hit, of nginx proxy_cache": ("nginx", "stillfresh", 0.45),
    "304, times an uncached Starlette handler": ("starlette", "stillfresh 304", 10.0),
}
FLOORS = {"stillfresh": "bare, same fields", "stillfresh 304": "bare 304, same fields"}
"""What sends constant bytes under the fields of a cache: no cache in this server takes less."""
FIELDS = [
    (b"etag", b'W/"17491459d7c9d9410fcbc6c2f2629b52"'),
    (b"cache-control", b"public, max-age=3600"),
    (b"age", b"0"),
    (b"cache-status", b"stillfresh; hit; ttl=3600"),
]
"""What a cache has to say of a hit and of a 304; the server looks at each line."""


# The servers, imported by uvicorn from this file


def make(name: str) -> Any:
    return globals()[f"make_{name}"]()


def make_bare() -> Any:
    body = json.dumps(BODY, separators=(",", ":")).encode()
    headers = [
        (b"content-length", b"%d" % len(body)),
        (b"content-type", b"application/json"),
    ]

    answers = {
        "/page": (200, headers, body),
        "/told": (200, headers + FIELDS, body),
        "/304": (304, [], b""),
        "/told/304": (304, FIELDS, b""),
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive
        if scope["type"] == "http":
            status, fields, content = answers[scope["path"]]
            await send({"type": "http.response.start", "status": status, "headers": fields})
            await send({"type": "http.response.body", "body": content})

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


def serve(name: str, port: int, *, h11: bool) -> None:
    """Be a server, as production has it."""
    import uvicorn

    uvicorn.run(
        make(name),
        host="127.0.0.1",
        port=port,
        log_level="critical",
        access_log=False,
        loop="asyncio" if h11 else "uvloop",
        http="h11" if h11 else "httptools",
    )


# Running them


class Server:
    """A process that answers on a port."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name, self.process, self.port = name, process, port

    def seconds(self) -> float:
        """Processor time so far, of all threads of the process and of its children."""
        pids = [self.process.pid]
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text()
            pids += [int(pid) for pid in children.split()]
        tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def pin(core: int) -> None:
    """Keep this process and its children on one core, where there is more than one."""
    if len(CORES) > 1:
        os.sched_setaffinity(0, {CORES[core]})


@contextlib.contextmanager
def started(name: str, port: int, *command: str) -> Iterator[Server]:
    pin(0)  # the child inherits it
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    pin(1)
    try:
        wait_for(process, name, port)
        yield Server(name, process, port)
    finally:
        process.terminate()
        process.wait()


def wait_for(process: subprocess.Popen[bytes], name: str, port: int) -> None:
    for _ in range(400):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.terminate()
    said = process.stderr.read().decode() if process.stderr else ""
    raise SystemExit(f"{name} does not start:\n{said}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(name: str, *, h11: bool) -> Iterator[Server]:
    port = free_port()
    plain = ["--h11"] if h11 else []
    with started(
        name, port, sys.executable, __file__, "--serve", name, str(port), *plain
    ) as server:
        yield server


@contextlib.contextmanager
def nginx(upstream: int) -> Iterator[Server]:
    """An nginx with proxy_cache in front of *upstream*, with what its packages set."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(f"""
            daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
            events {{}}
            http {{
                access_log off; sendfile on; tcp_nopush on;
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
        Path(folder).chmod(0o711)  # its worker may be another user
        with started("nginx", port, "nginx", "-c", str(config)) as server:
            yield server


@contextlib.contextmanager
def varnish(upstream: int) -> Iterator[Server]:
    """A varnish in front of *upstream*; what says nothing of its life is kept for an hour."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # its worker may be another user
        listen, behind = f"127.0.0.1:{port}", f"127.0.0.1:{upstream}"
        options = ["-F", "-n", f"{folder}/work", "-s", "malloc,32m", "-t", "3600"]
        with started("varnish", port, "varnishd", *options, "-a", listen, "-b", behind) as server:
            yield server


# Measuring


class Measured(NamedTuple):
    """What one server took in one round, per request."""

    cpu: float
    wall: float


def request_for(tag: str = "", path: str = "/page") -> bytes:
    condition = f"If-None-Match: {tag}\r\n" if tag else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n"
        f"Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n{condition}\r\n"
    ).encode()


def measure(servers: list[Server], seconds: float, rounds: int) -> dict[str, list[Measured]]:
    """Let the servers take turns; the first round only warms them up."""
    plain = request_for()
    ours = next(server for server in servers if server.name == "stillfresh")
    tags = [ask(ours.port, plain).field(b"etag") for _ in range(3)]
    tag = tags[-1].decode()
    jobs = [(server.name, server, plain, 200) for server in servers]
    jobs.append(("stillfresh 304", ours, request_for(tag), 304))
    jobs.append(("bare 304", servers[0], request_for(tag, "/304"), 304))
    jobs.append((FLOORS["stillfresh"], servers[0], request_for(path="/told"), 200))
    jobs.append((FLOORS["stillfresh 304"], servers[0], request_for(tag, "/told/304"), 304))
    found: dict[str, list[Measured]] = {name: [] for name, *_ in jobs}
    for number in range(rounds + 1):
        for name, server, request, status in jobs:
            before, began = server.seconds(), time.perf_counter()
            count = load(server.port, request, status, 0.1 if number == 0 else seconds)
            wall, cpu = time.perf_counter() - began, server.seconds() - before
            if number:
                found[name].append(Measured(cpu / count, wall / count))
    return found


def ratio(theirs: list[Measured], ours: list[Measured]) -> float:
    pairs = zip(theirs, ours, strict=True)
    return statistics.median(their.cpu / our.cpu for their, our in pairs)


def report(found: dict[str, list[Measured]]) -> dict[str, Any]:
    ratios: dict[str, Any] = {}
    for title, (other, ours, goal) in GOALS.items():
        if other in found:
            ratios[title] = {
                "ratio": ratio(found[other], found[ours]),
                "floor": ratio(found[other], found[FLOORS[ours]]),
                "least": goal,
            }
    servers = {
        name: {
            "cpu_us": statistics.median(one.cpu for one in times) * 1e6,
            "per_second": 1 / statistics.median(one.wall for one in times),
        }
        for name, times in found.items()
    }
    return {"servers": servers, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--h11", action="store_true", help="without uvloop and httptools")
    parser.add_argument("--serve", nargs=2)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], int(options.serve[1]), h11=options.h11)
        return
    with contextlib.ExitStack() as stack:
        names = ["bare", "stillfresh", "starlette", "litestar"]
        servers = [stack.enter_context(serving(name, h11=options.h11)) for name in names]
        if shutil.which("nginx"):
            servers.append(stack.enter_context(nginx(servers[2].port)))
        if shutil.which("varnishd"):
            servers.append(stack.enter_context(varnish(servers[2].port)))
        found = report(measure(servers, options.seconds, options.rounds))
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, one in found["servers"].items():
        print(f"{name:21} {one['cpu_us']:7.1f} µs of processor, {one['per_second']:7.0f} a second")
    for name, one in found["ratios"].items():
        verdict = "met" if one["ratio"] >= one["least"] else "missed"
        print(
            f"{name:42} {one['ratio']:6.2f}  {verdict}, at least {one['least']:g}"
            f"  (a bare app with these fields {one['floor']:.2f})"
        )


if __name__ == "__main__":
    main()
