"""The frame of the benchmarks: what a ratio is of, and what counts as met."""

import asyncio
import importlib.util
import json
import subprocess
import sys
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
