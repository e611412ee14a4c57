"""What a mutant is: a small patch that breaks one promise, and the test that must notice."""

from __future__ import annotations

import ast
from typing import NamedTuple

SCHEDULES = "schedules"
"""Killed by the simulation: some hundred schedules, ended at the first that breaks a promise."""


class Mutant(NamedTuple):
    """One way to be wrong."""

    name: str
    promise: str
    """What it breaks."""
    file: str
    """Under src/stillfresh."""
    where: str
    """The function, `Class.method` or constant in which *old* stands exactly once."""
    old: str
    new: str
    killer: str = SCHEDULES
    """A test, as pytest names it, that passes without the patch and fails with it."""


class DoesNotFit(LookupError):
    """The code is another one now: the mutant must be written anew, or its promise is untested."""


def patched(source: str, mutant: Mutant) -> str:
    """
    Return *source* with the patch.

    Raises:
        DoesNotFit: There is no such place, or what is to be replaced is not there exactly once.
    """
    start, end = _span(ast.parse(source), mutant)
    lines = source.splitlines(keepends=True)
    before, inside, after = lines[: start - 1], "".join(lines[start - 1 : end]), lines[end:]
    if inside.count(mutant.old) != 1:
        raise DoesNotFit(
            f"{mutant.name}: expected {mutant.old!r} once in {mutant.where} of {mutant.file}, "
            f"found it {inside.count(mutant.old)} times"
        )
    return "".join([*before, inside.replace(mutant.old, mutant.new), *after])


def _span(tree: ast.Module, mutant: Mutant) -> tuple[int, int]:
    nodes: list[ast.stmt] = tree.body
    found: ast.stmt | None = None
    for part in mutant.where.split("."):
        found = next((node for node in nodes if part in _names(node)), None)
        if found is None:
            raise DoesNotFit(f"{mutant.name}: there is no {mutant.where} in {mutant.file}")
        nodes = getattr(found, "body", [])
    assert found is not None
    assert found.end_lineno is not None
    return found.lineno, found.end_lineno


def _names(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case _:
            return []
