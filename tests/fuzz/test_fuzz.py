"""Hostile input of every kind ends in an error of one line or in what is right; run.py tries it at length."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from kinds import KINDS
from run import tried

COUNT = int(os.environ.get("CIRN_FUZZ_COUNT", "120"))
FIRST = int(os.environ.get("CIRN_FUZZ_SEED", "0"))


@pytest.mark.parametrize("kind", KINDS)
def test_no_input_is_a_fault(kind: str) -> None:
    found = tried(kind, range(FIRST, FIRST + COUNT))
    assert not found.faults, found.faults
    assert found.tried == COUNT
    assert found.outcomes["right"], "some of it is harmless: what is refused is not everything"
    if kind != "checkpoint":  # there an older one is whole
        assert found.outcomes["refused"], "some of it is not"


def test_a_fault_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(folder: Path, draw: object) -> str:
        raise KeyError("x")

    def dies(folder: Path, draw: object) -> str:
        os.kill(os.getpid(), 11)
        return ""

    def eats(folder: Path, draw: object) -> str:
        return str(len(bytearray(2**32)))

    for kind, word in ((fails, "KeyError"), (dies, "ended with -11"), (eats, "MemoryError")):
        monkeypatch.setitem(KINDS, "image", kind)
        found = tried("image", range(2))
        assert found.tried == 2
        assert all(word in fault for fault in found.faults.values()), found.faults
