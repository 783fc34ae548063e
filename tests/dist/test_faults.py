"""One rank fails, in every way a rank can: the run ends in time, not with 0, and says why."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from launching import FAULTY, launch

# the first stage alone, long enough to fail in
SOURCE = ("--until", "source", "source.iterations=40", "engine.log_every=4", "engine.checkpoint_every=4", "controls=false")
LINE = "cirn-dist: "


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return our own lines of standard error."""
    return [line for line in done.stderr.splitlines() if LINE in line]


@pytest.mark.slow
def test_a_nan_on_one_rank_skips_the_step_on_all_and_a_lasting_one_ends_the_run(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    faults = "nan:1:1 nan:1:4-9"
    done = launch(2, "run", mini, *SOURCE, "engine.max_nonfinite=3", "--out", out, script=FAULTY, FAULT=faults)
    assert done.returncode != 0
    (line,) = said(done)
    assert "source, iteration 28: loss or gradients of segmenter were not finite in 3 steps in a row" in line
    assert "lower the learning rate" in line
    log = [json.loads(line) for line in (out / "source/metrics.jsonl").read_text().splitlines()]
    assert [entry["skipped"] for entry in log] == [0, 1, 0, 0, 1, 1]
    assert all(entry["losses"]["seg"] is not None for entry in log if not entry["skipped"])


@pytest.mark.slow
def test_replicas_that_differ_end_the_run_before_they_are_saved(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = launch(2, "run", mini, *SOURCE, "--out", out, script=FAULTY, FAULT="drift:1:2")
    assert done.returncode != 0
    (line,) = said(done)
    assert "source, iteration 12: segmenter is not the same on all ranks: rank 1 differs from rank 0" in line
    assert max(path.name for path in (out / "source/checkpoints").iterdir()) == "step-00000002"


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_others_at_once(mini: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    done = launch(2, "run", mini, *SOURCE, "--out", tmp_path / "run", script=FAULTY, FAULT="kill:1:3")
    assert done.returncode != 0
    assert any(line.startswith("cirn-dist: ") and "another rank has left" in line for line in said(done)), done.stderr[-2000:]
    assert "exitcode  : -9" in done.stderr, "the launcher names the rank"
    assert time.monotonic() - began < 200, "long before the 600 s a step may take"


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_run_and_every_rank_leaves_its_stacks(mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("run", mini, *SOURCE, "engine.step_timeout=6", "--out", out)
    done = launch(2, *arguments, script=FAULTY, FAULT="sleep:1:3")
    assert done.returncode != 0
    lines = said(done)
    waited = ("cirn-dist: another rank did not answer in time", "cirn-dist: another rank has left")  # who gives up first
    assert any(line.startswith(waited) for line in lines), done.stderr[-2000:]
    assert any(line.startswith("[rank 1] cirn-dist: no progress for 6 s") for line in lines)
    waiting, asleep = ((out / f"hang/rank-{rank}.txt").read_text() for rank in (0, 1))
    assert "train_step" in waiting
    assert "step_with_faults" in asleep, "the line it sleeps in"
    assert "nccl" not in waiting.lower()
