"""The gate of the conformance run: what it lets through, and what it does not."""

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("gate", Path(__file__).with_name("gate.py"))
gate = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(gate)

REPORT = {
    "a": {"kind": "required", "needs": [], "failed": None},
    "b": {"kind": "required", "needs": ["a"], "failed": None},
    "c": {"kind": "required", "needs": [], "failed": "Assertion: no"},
    "d": {"kind": "optimal", "needs": ["b", "c"], "failed": None},
    "e": {"kind": "check", "needs": [], "failed": "Assertion: no"},
    "f": {"kind": "optimal", "needs": ["unknown"], "failed": None},
}
ALL = {"c": "broken", "d": "needs c", "f": "needs more"}


def expected(required=2, optimal=0, **allowed):
    return gate.Gate({"required": required, "optimal": optimal}, allowed)


def test_a_test_passes_with_all_that_it_depends_on():
    """As the suite's own tables count: a test whose ground is missing says nothing."""
    assert gate.counts(REPORT) == {"required": (2, 3), "optimal": (0, 2)}


def test_a_run_as_good_as_expected_has_no_fault():
    """Failures that are allowed, and enough that pass. Checks only inform."""
    assert gate.faults(REPORT, expected(**ALL)) == []


def test_an_unexpected_failure_is_a_fault():
    """It names the test and what made it fail."""
    (fault,) = gate.faults(REPORT, expected(c="broken", f="needs more"))
    assert fault == "d (optimal) fails: it depends on c, which failed"
    (fault,) = gate.faults(REPORT, expected(d="x", f="x"))
    assert fault == "c (required) fails: Assertion: no"


def test_too_few_that_pass_are_a_fault():
    """A test that vanished from the suite does not pass in silence."""
    faults = gate.faults(REPORT, expected(required=3, optimal=1, **ALL))
    assert faults == ["2 of 3 required pass, expected 3", "0 of 2 optimal pass, expected 1"]


def test_what_failed_by_itself_is_tried_again():
    """Not what only depends on it, and not what may fail."""
    assert gate.unexpected(REPORT, expected(c="broken", f="x")) == {"c"}
    assert gate.unexpected(REPORT, expected(d="x", f="x")) == {"c"}
    assert gate.unexpected(REPORT, expected(**ALL)) == set()


def test_what_passes_can_leave_the_list():
    """Each name on the list is one that fails; gone ones are no fault."""
    assert gate.needless(REPORT, expected(a="?", c="broken", gone="?")) == ["a"]


@pytest.mark.parametrize("profile", ["rfc", "safe"])
@pytest.mark.parametrize("suite", ["newest", "0.4.5"])
def test_the_list_of_this_project(profile, suite):
    """Each failure that is allowed has its reason."""
    found = gate.gate(profile, suite)
    assert set(found.least) == {"required", "optimal"}
    assert all(len(reason) > 20 for reason in found.allowed.values())
