"""The wrong changes of tests/mutants are to code that is there, and their tests are too: running them takes an hour."""

from __future__ import annotations

import importlib.util

import pytest
from conftest import ROOT

SPEC = importlib.util.spec_from_file_location("mutants", ROOT / "tests/mutants/run.py")
assert SPEC is not None
assert SPEC.loader is not None
mutants = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutants)


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda one: f"{one.file}:{one.was}")
def test_it_changes_what_is_there(mutant: mutants.Mutant) -> None:  # type: ignore[name-defined]
    assert mutant.was in (ROOT / "cirn_dist" / mutant.file).read_text(encoding="utf-8")
    assert mutant.was != mutant.now
    assert all((ROOT / file).is_file() for file in mutant.tests.split())
