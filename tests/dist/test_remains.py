"""A stage that has ended has given its memory back: networks, gradients, optimizers, whoever sums over ranks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from launching import launch

SCRIPT = Path(__file__).with_name("remains.py")
STAGES = ["data", "source", "translate", "render", "cir", "adapt", "pseudo_label", "self_train"]
WITH_DEEPSPEED = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "backend"),
    [
        (1, "ddp"),
        (2, "ddp"),
        pytest.param(2, "exact", marks=pytest.mark.timeout(400)),
        pytest.param(2, "deepspeed", marks=[WITH_DEEPSPEED, pytest.mark.timeout(600)]),
    ],
)
def test_nothing_that_a_stage_has_built_outlives_it(ranks: int, backend: str, mini: Path, tmp_path: Path) -> None:
    arguments = ("run", mini, "controls=false", "evaluate.every=8", f"engine.backend={backend}", "--out", tmp_path / "run")
    done = launch(ranks, *arguments, script=SCRIPT, launcher="torchrun", timeout=580, REMAINS=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in range(ranks):
        lines = [json.loads(line) for line in (tmp_path / f"rank-{rank}.txt").read_text().splitlines()]
        assert [line["stage"] for line in lines] == STAGES
        for line in lines:
            assert line["alive"] == [], f"after {line['stage']}, rank {rank}"
            assert line["bytes"] < 2**16, f"after {line['stage']}, rank {rank}: a network has megabytes, constants have not"
