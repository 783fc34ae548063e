"""Ranks' tensors reach rank 0 whole, and an object that hides one is refused on every rank."""

from __future__ import annotations

from pathlib import Path

import pytest
from launching import launch


@pytest.mark.slow
def test_every_ranks_tensors_reach_rank_0_to_the_bit() -> None:
    done = launch(3, script=Path(__file__).with_name("collect_ranks.py"), launcher="torchrun")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "".join(done.stdout.split()) == 3 * "ok"
