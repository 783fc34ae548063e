"""A run that an older version began, and that was killed in its first stage, goes on as that version went on."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from conftest import Command

STORED = Path(__file__).with_name("begun_before")  # weights are multiples of 1/16, so that they are small on disk


def test_a_run_begun_by_an_older_version_goes_on(tmp_path: Path, cirn_dist: Command) -> None:
    """Stored at step 2 of 3 of the source stage; the losses from there are those the older version had."""
    with tarfile.open(STORED / "run.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    out = tmp_path / "run"
    checked = cirn_dist("checkpoints", "verify", out)
    assert checked.returncode == 0, checked.stdout
    done = cirn_dist("run", out / "config.yaml", "--out", out, "--until", "translate")
    assert done.returncode == 0, done.stderr
    assert "10 source, 7 target images" in done.stdout, "what it had packed is taken"
    for stage, expected in json.loads((STORED / "losses.json").read_text()).items():
        lines = [json.loads(line) for line in (out / stage / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [*range(1, len(expected) + 1)]
        for line, losses in zip(lines, expected, strict=True):
            # CycleGAN amplifies the order of sums, which another processor may choose differently.
            assert line["losses"] == pytest.approx(losses, rel=1e-3 if stage != "translate" else 0.3, abs=1e-4)
