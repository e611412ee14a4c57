"""The mutants fit the code as it is now; `scripts/mutants` runs them."""

from pathlib import Path

import pytest
from simulation.mutants import cache, fleet, http
from simulation.mutants.mutant import SCHEDULES, Mutant, patched

import stillfresh

PACKAGE = Path(stillfresh.__file__).parent
TESTS = Path(__file__).parents[1]
MUTANTS = [*cache.MUTANTS, *fleet.MUTANTS, *http.MUTANTS]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_be_made(mutant: Mutant) -> None:
    """What it replaces stands there once, what comes out is Python, and its killer exists."""
    source = (PACKAGE / mutant.file).read_text("utf-8")
    mutated = patched(source, mutant)
    assert mutated != source
    compile(mutated, mutant.file, "exec")
    if mutant.killer != SCHEDULES:
        path, _, test = mutant.killer.partition("::")
        assert f"def {test.partition('[')[0]}" in (TESTS.parent / path).read_text("utf-8")


def test_names_tell_mutants_apart() -> None:
    """One name, one mutant."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
