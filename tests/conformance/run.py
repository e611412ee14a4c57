"""
Run the public suite of HTTP cache tests against `HttpCacheMiddleware`, in both profiles.

    suite (node) ──► uvicorn: HttpCacheMiddleware ──► Proxy ──► the suite's origin (node)

`run.py CHECKOUT` takes a checkout of http-tests/cache-tests. Without one the npm package
http-cache-tests, an older state of it, is installed into build/conformance and run. Options:
`--profile safe` or `rfc` for one of them, `--tests ID...` for some of the tests, without the gate.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import uvicorn
from gate import counts, faults, gate, needless, unexpected
from proxy import Proxy
from uvicorn.protocols.http import h11_impl

from stillfresh import HttpCacheMiddleware
from stillfresh.http.policy import HttpCache

HERE = Path(__file__).parent
INSTALLED = HERE.parent.parent / "build" / "conformance"
PACKAGE, VERSION = "http-cache-tests", "0.4.5"
PROFILES: tuple[Literal["rfc", "safe"], ...] = ("rfc", "safe")
PATIENCE = 20.0
MOST_AGAIN = 20


def main() -> int:
    """Read the command line, run, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkout", nargs="?", type=Path)
    parser.add_argument("--profile", choices=PROFILES)
    parser.add_argument("--tests", nargs="+", default=[], metavar="ID")
    given = parser.parse_args()
    if shutil.which("node") is None:
        print("The suite runs on Node.js. Install node, or put it in PATH.", file=sys.stderr)
        return 2
    checkout = (given.checkout or install()).resolve()
    if not (checkout / "tests" / "index.mjs").is_file():
        print(f"{checkout} is no checkout of http-tests/cache-tests: it has no tests/index.mjs.")
        return 2
    chosen = (given.profile,) if given.profile else PROFILES
    verdicts = [asyncio.run(run(checkout, profile, given.tests)) for profile in chosen]
    return 0 if all(verdicts) else 1


def install() -> Path:
    """Install the npm package, and return where it is."""
    folder = INSTALLED / "node_modules" / PACKAGE
    if not (folder / "package.json").is_file():
        npm = shutil.which("npm")
        if npm is None:
            sys.exit("npm installs the suite. Install it, or name a checkout of the suite.")
        INSTALLED.mkdir(parents=True, exist_ok=True)
        (INSTALLED / "package.json").write_text("{}")
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        subprocess.run([*command, f"{PACKAGE}@{VERSION}"], cwd=INSTALLED, check=True)
    return folder


async def run(checkout: Path, profile: Literal["rfc", "safe"], tests: Sequence[str]) -> bool:
    """Run the suite against one profile, print what it shows, and say whether that is enough."""
    report = await ask(checkout, profile, tests)
    if tests:
        for test in tests:
            print(f"{profile} {test}: {report[test]['failed'] or 'passes'}")
        return True
    state = "newest" if (checkout / "test-engine").is_dir() else VERSION
    expected = gate(profile, state)
    again = unexpected(report, expected)
    if 0 < len(again) <= MOST_AGAIN:
        # Many tests live on seconds: on a busy machine, 100 at once may be late. A fault of the
        # cache fails alone, too.
        second = await ask(checkout, profile, sorted(again))
        for test in again:
            if second[test]["failed"] is None:
                print(f"  {test} passes alone, not among others: {report[test]['failed']}")
                report[test] = second[test]
    wrong = faults(report, expected)
    figures = ", ".join(f"{n} of {of} {kind}" for kind, (n, of) in counts(report).items())
    for line in wrong:
        print(f"  {line}")
    for test in needless(report, expected):
        print(f"  {test} passes: take it from the list of those that may fail")
    print(f"{'FAILED' if wrong else 'ok'}: profile {profile}, suite {state}: {figures}", flush=True)
    return not wrong


async def ask(
    checkout: Path, profile: Literal["rfc", "safe"], tests: Sequence[str]
) -> dict[str, Any]:
    """Run the suite, or some of its *tests*, and return its report."""
    async with origin(checkout) as port, cache(profile, port) as url:
        suite = await asyncio.create_subprocess_exec(
            *("node", "--no-warnings", HERE / "suite.mjs", checkout, url, *tests),
            stdout=subprocess.PIPE,
        )
        output, _ = await suite.communicate()
    if suite.returncode:
        sys.exit(f"the suite ended with status {suite.returncode}")
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return report


@asynccontextmanager
async def origin(checkout: Path) -> AsyncIterator[int]:
    """Run the suite's origin, on a loopback address."""
    port = free_port()
    folder = checkout / "test-engine" if (checkout / "test-engine").is_dir() else checkout
    settings = {"protocol": "http", "port": str(port), "pidfile": os.devnull}
    process = await asyncio.create_subprocess_exec(
        *("node", "--import", HERE / "loopback.mjs", folder / "server" / "server.mjs"),
        cwd=checkout,
        env={**os.environ, **{f"npm_config_{name}": text for name, text in settings.items()}},
        stdout=subprocess.DEVNULL,
    )
    try:
        await listening(port)
        yield port
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def cache(profile: Literal["rfc", "safe"], behind: int) -> AsyncIterator[str]:
    """Serve the cache in front of a proxy to the origin."""
    # The suite has tests for CDNs: the cache stands where one does, and is told so.
    policy = HttpCache.for_app(profile, targeted=("Stillfresh-Cache-Control", "CDN-Cache-Control"))
    app = HttpCacheMiddleware(Proxy("127.0.0.1", behind), policy=policy)
    know_all_statuses()
    port = free_port()
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        http="h11",
        lifespan="off",
        access_log=False,
        log_level="warning",
        date_header=False,  # the origin's Date is tested
        server_header=False,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


def know_all_statuses() -> None:
    """Teach uvicorn the statuses that the suite makes up; it has a table of reasons."""
    reasons: dict[int, bytes] = h11_impl.STATUS_PHRASES
    for status in range(200, 1000):
        reasons.setdefault(status, b"")


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def listening(port: int) -> None:
    """Wait until somebody listens on *port*."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)  # another process starts: there is no event to wait for
            else:
                writer.close()
                return


if __name__ == "__main__":
    sys.exit(main())
