"""The example in front of a real client: a browser, and `--serve`."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from airports.database import Airport, Database
from airports.serve import application
from airports.services import AirportService
from airports.web import serving

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
AIRPORTS = [
    Airport("BIRK", "RKV", "Reykjavik", "Reykjavik", "IS", 64.13, -21.94),
    Airport("BIKF", "KEF", "Keflavik", "Reykjavik", "IS", 63.98, -22.61),
]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
@pytest.mark.timeout(90)
async def test_a_browser_asks_and_is_told_that_nothing_has_changed(tmp_path):
    """First the page, then a 304 or the browser's own copy; after a change the new page."""
    app = application(Database(tmp_path / "airports.sqlite", AIRPORTS))
    statuses = []

    async def noting(scope, receive, send):
        async def note(message):
            if message["type"] == "http.response.start" and scope["path"].startswith("/countries"):
                statuses.append(message["status"])
            await send(message)

        await app(scope, receive, note)

    async def load(address):
        process = await asyncio.create_subprocess_exec(
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            f"{address}/countries/IS",
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        output, _ = await process.communicate()
        return output.decode()

    async with app, serving(noting) as address:
        assert "Reykjavik (BIRK)" in await load(address)
        assert statuses == [200]
        assert "Reykjavik (BIRK)" in await load(address)
        assert statuses in ([200], [200, 304])
        await app.get(AirportService).rename("BIRK", "Reykjavík")
        assert "Reykjavík (BIRK)" in await load(address)
        assert statuses[-1] == 200


def test_serving_for_people():
    """`--serve` answers on the loopback address until Ctrl-C, and ends quietly."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "airports", "--serve", str(port)],
        cwd=EXAMPLES,
        env={**os.environ, "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as server:
        url = f"http://127.0.0.1:{port}/airports/LFPB"
        deadline = time.monotonic() + 25
        answer = None
        while answer is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                answer = urllib.request.urlopen(url, timeout=5)
            time.sleep(0.1)
        assert answer is not None
        with answer:
            assert answer.headers["etag"]
            assert b"Le Bourget" in answer.read()
        server.send_signal(signal.SIGINT)
        output, errors = server.communicate(timeout=10)
        assert f"http://127.0.0.1:{port}/countries/IS".encode() in output
        assert errors == b""
