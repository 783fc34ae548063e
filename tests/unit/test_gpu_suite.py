"""The suite for machines with GPUs is rehearsed on the CPU, so that its first run on one finds the product's faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_it_measures_each_stage_at_toy_sizes(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("it is run itself here")
    environment = os.environ | {"WITH": sys.executable, "CIRN_GPU_REHEARSAL": "1"}
    suite = ["bash", str(ROOT / "launch/test_gpu.sh"), str(tmp_path / "out"), "-k", "paper_stages and not more_images"]
    done = subprocess.run(suite, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    found = json.loads((tmp_path / "out/measured.json").read_text())
    for stage in ("source", "translate", "adapt", "self_train"):
        figures = found[f"paper, {stage}, bf16"]
        assert figures["step_ms"] > figures["between_steps_ms"] > 0
        assert figures["tflop"] > 0
        assert {"backward, discriminators" if stage == "translate" else "backward, segmenter"} <= figures[
            "phases_ms"
        ].keys()
        assert found[f"memory, {stage}"]["counted_gib"] > 0
    assert not (tmp_path / "out/failures.txt").exists()


def test_elsewhere_it_is_skipped_with_a_reason() -> None:
    if torch.cuda.is_available():
        pytest.skip("it is run here")
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/gpu/test_runs.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "no GPU here" in done.stdout
