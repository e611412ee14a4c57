"""The search: hypothesis decides what happens to the nodes, and shrinks what breaks a promise."""

import logging
import os

import pytest
from hypothesis.stateful import run_state_machine_as_test
from simulation.machine import Real, Simulated, bounded

EXAMPLES = int(os.environ.get("STILLFRESH_EXAMPLES", "60"))


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Faults are the rule here; their log lines are read elsewhere."""
    caplog.set_level(logging.CRITICAL)


def test_no_search_breaks_a_promise() -> None:
    """Whatever is done to three nodes over the model, in whatever order: promises hold."""
    run_state_machine_as_test(Simulated, settings=bounded(EXAMPLES))


def test_no_search_breaks_a_promise_over_a_real_server(url: str, prefix: str) -> None:
    """The same over a real server, with real threads."""
    run_state_machine_as_test(lambda: Real(url, prefix), settings=bounded(EXAMPLES // 10))
