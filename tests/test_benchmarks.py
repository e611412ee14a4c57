"""The frame of the benchmarks: what a ratio is of, and what counts as met."""

import asyncio
import contextlib
import importlib.util
import itertools
import json
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def frame():
    spec = importlib.util.spec_from_file_location("benchmarks_frame", FOLDER / "frame.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for their module there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_contestants_take_turns_and_ratios_are_of_one_round(frame):
    """When the machine is slow for a round, it is slow for all, and the ratio stays."""
    order, speeds = [], iter([9, 1, 10, 1, 10])

    def play(name, factor):
        def turn():
            order.append(name)
            if name == "floor":
                play.speed = next(speeds)
            return play.speed * factor

        return turn

    case = frame.Case("case", "a case", "ns", measure="floor")
    plays = {"floor": play("floor", 1.0), "stillfresh": play("stillfresh", 2.0)}
    asyncio.run(frame.compete(case, plays, 4))
    assert order == ["floor", "stillfresh"] * 5
    row = case.row("stillfresh")
    assert row.ratios == [2.0] * 4
    assert row.values == [2.0, 20.0, 2.0, 20.0]  # the first round only warms up


def test_who_is_wrong_is_not_compared(frame):
    """A peer that computes a thousand times is no goal, however fast it is."""
    case = frame.Case("case", "a case", "ns")
    case.rows = [frame.Row("stillfresh", [2.0, 4.0]), frame.Row("peer", [200.0, 400.0])]
    case.times_ours("peer", 60)
    case.rows[1].wrong = "computed 1000 times"
    case.times_ours("peer", 60)
    case.times_ours("absent", 60)
    (goal,) = case.goals
    assert (goal["value"], goal["least"], goal["met"]) == (100.0, 60, True)
    assert case.report()["rows"][1]["wrong"] == "computed 1000 times"


def test_a_goal_is_met_missed_or_not_measured(frame):
    """At most, at least, and nothing known."""
    case = frame.Case("case", "a case", "ns")
    case.goal("a", 2.0, 2.0)
    case.goal("b", 2.0, 2.01)
    case.goal("c", 2.0, 2.0, least=True)
    case.goal("d", 2.0, 1.99, least=True)
    case.goal("e", 2.0, None)
    assert [goal["met"] for goal in case.goals] == [True, False, True, False, None]


def test_a_case_runs_in_a_process_of_its_own():
    """The runner does without any of the peers; what it prints last is JSON."""
    command = [sys.executable, str(FOLDER / "run.py"), "--one", "one-leaves", "--quick"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    case = json.loads(done.stdout.splitlines()[-1])["one-leaves"]
    assert case["rows"][0]["name"] == "stillfresh"
    assert case["goals"][0]["met"] is True


@pytest.fixture(scope="module")
def http_load():
    spec = importlib.util.spec_from_file_location("benchmarks_http_load", FOLDER / "http_load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def answering(*heads):
    """A server that sends these, one after the other, and then the first again; None is nothing."""
    answered = itertools.cycle(heads)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            while self.request.recv(65_536):
                head = next(answered)
                if head is not None:
                    self.request.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nbody")
                if head is None or b"close" in head:
                    return

    class Server(socketserver.ThreadingTCPServer):
        request_queue_size = 128  # all connect at once

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_the_client_of_http_reads_each_head_and_connects_again(http_load):
    """A length that changes, and a server that closes after some requests, made it hang once."""
    sized = b"Content-Length: 4"
    with answering(sized, sized + b"\r\nAge: 10", sized + b"\r\nConnection: close") as port:
        assert http_load.load(port, b"GET / HTTP/1.1\r\n\r\n", 200, 0.1) > http_load.CONNECTIONS


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"Age: 1", "without Content-Length"),
        (b"Content-Length: 3", "more than a response"),
        (None, "closed in the middle"),
    ],
)
def test_the_client_of_http_says_what_it_did_not_expect(http_load, head, message):
    """A benchmark that waits for what never comes says nothing at all."""
    with answering(head) as port, pytest.raises(RuntimeError, match=message):
        http_load.load(port, b"GET / HTTP/1.1\r\n\r\n", 200, 0.1)
