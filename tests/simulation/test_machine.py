"""The search: hypothesis decides what happens to the nodes, and shrinks what breaks a promise."""

import logging
import os

import pytest
from hypothesis.stateful import run_state_machine_as_test
from simulation.machine import Real, Simulated, Then, bounded
from simulation.server import ServerModel

EXAMPLES = int(os.environ.get("STILLFRESH_EXAMPLES", "40"))
CHOSEN = "STILLFRESH_EXAMPLES" not in os.environ
"""The same examples each time, unless somebody asks for more."""


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Faults are the rule here; their log lines are read elsewhere."""
    caplog.set_level(logging.CRITICAL)


@pytest.mark.timeout(120)  # many schedules, whatever else the machine has to do
def test_no_search_breaks_a_promise() -> None:
    """Whatever is done to three nodes over the model, in whatever order: promises hold."""
    run_state_machine_as_test(Simulated, settings=bounded(EXAMPLES, derandomize=CHOSEN))


@pytest.mark.timeout(120)
def test_no_search_breaks_a_promise_over_a_real_server(url: str, prefix: str) -> None:
    """The same over a real server, with real threads."""
    # What depends on threads and on a server does not come again in the same way: no shrinking.
    settings = bounded(EXAMPLES // 8, shrink=False, derandomize=CHOSEN)
    run_state_machine_as_test(lambda: Real(url, prefix), settings=settings)


def test_what_is_broken_is_found(monkeypatch) -> None:
    """
    The oracle notices a server that drops entries and leaves their leases.

    This is what a search of that server ended with, after it had shrunk forty deeds:

    1. a call      computes
    2. invalidate  returns; the lease of step 1 is still there
    3. the store   of step 1 is accepted
    4. a call      hits what is older than the invalidation
    """

    def leaky(self: ServerModel, *names: bytes) -> int:
        left = [name for name in names if not name.startswith(b"sim:l:")]
        return sum(self.keys.get(name) is not None and self.keys.drop(name) for name in left)

    monkeypatch.setattr(ServerModel, "do_unlink", leaky)
    state = Simulated()
    state.begin(
        luck=1, way=0, faults=False, strict=True, cluster=False, failing=0.0, lateness=0.0, longest=2.0,
        hanging=0.0, preempting=0.0, keys=("a1",),
    )  # fmt: skip
    state.call(key="a1", nodes=[0], then=Then(0.0, 0), threaded=False)
    state.time_passes(seconds=0.5)
    state.change(
        key="a1", name="invalidate", node=0, pattern="a*", then=Then(0.0, 0), threaded=False
    )
    state.time_passes(seconds=2.0)
    state.call(key="a1", nodes=[0], then=Then(0.01, 0), threaded=False)
    with pytest.raises(AssertionError, match=r"\(a\) a call of a1 .* got, as a hit"):
        state.teardown()
