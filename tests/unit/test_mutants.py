"""The wrong changes of tests/mutants are to code that is there, and their tests are too: running them takes an hour."""

from __future__ import annotations

import pytest
from conftest import ROOT
from mutants.run import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: f"{one.file}:{one.was}")
def test_it_changes_what_is_there(mutant: Mutant) -> None:
    assert mutant.was in (ROOT / "cirn_dist" / mutant.file).read_text(encoding="utf-8")
    assert mutant.was != mutant.now
    assert all((ROOT / file).is_file() for file in mutant.tests.split())
