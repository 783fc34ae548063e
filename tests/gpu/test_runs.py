"""Whole runs on a GPU: the smoke configuration in both half precisions, and resuming with the same bits."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from figures import Figures
from runs import TRAINED, weights
from suite import NEEDS_GPU, REHEARSAL

pytestmark = NEEDS_GPU

ROOT = Path(__file__).parents[2]
# Small steps, but enough of them that a kill finds a stage at work.
LONG = ("translate.iterations=240", "adapt.iterations=400", "engine.checkpoint_every=16", "data.workers=2")
WAYS = {
    "fp32": ("engine.precision=fp32",),
    "bf16, ResNet": ("engine.precision=bf16", "model.backbone=resnet18", "model.norm=batch"),
    "fp16, MobileNet": ("engine.precision=fp16", "model.backbone=mobilenet_v2"),
    "exact sums": ("engine.precision=fp32", "engine.backend=exact"),
}
if REHEARSAL:
    WAYS = {"fp32": ("engine.precision=fp32",)}


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def start(*arguments: object, head: tuple[str, ...] = (), **variables: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, *head, "-m", "cirn_dist", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": path} | variables
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], timeout: float = 240) -> str:
    """Wait for a run that must succeed; returns what it wrote to standard error."""
    try:
        _, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, errors[-4000:]
    return errors


@pytest.mark.parametrize("precision", ["bf16"] if REHEARSAL else ["bf16", "fp16"])
def test_the_whole_chain(precision: str, mini: Path, tmp_path: Path, figures: Figures) -> None:
    config = mini if REHEARSAL else "smoke"
    began = time.perf_counter()
    finish(start("run", config, "--out", tmp_path / "run", f"engine.precision={precision}"))
    rows = json.loads((tmp_path / "run/results.json").read_text())["rows"]
    scores = {row["stage"]: row["miou"] for row in rows}
    figures.put(f"smoke, {precision}", seconds=time.perf_counter() - began, miou=scores)
    assert all(math.isfinite(score) for score in scores.values())
    assert (tmp_path / "run/report.html").stat().st_size > 10_000


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_run_goes_on_with_the_same_bits(way: str, mini: Path, tmp_path: Path, figures: Figures) -> None:
    """Killed in stage 1 and in stage 2, where a checkpoint is behind and some steps are lost."""
    settings = (*WAYS[way], *LONG, "engine.deterministic=true", "evaluate.adabn=false")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    undisturbed = start("run", mini, "--out", whole, *settings)
    for stage in ("translate", "adapt"):
        process = start("run", mini, "--out", broken, *settings)
        _wait_for(broken / stage / "checkpoints/step-00000008", process)
        process.kill()
        process.communicate()
        assert not (broken / stage / "checkpoints" / f"step-{60 if stage == 'translate' else 100:08d}").exists()
    finish(start("run", mini, "--out", broken, *settings))
    finish(undisturbed)
    stages = tuple(stage for stage in TRAINED if (whole / stage).is_dir())
    assert len(stages) >= 5
    one, other = weights(whole, stages), weights(broken, stages)
    figures.put("resumed with the same bits", **{way: sum(one[key] == other[key] for key in one) / len(one)})
    assert one == other


def _wait_for(checkpoint: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    later = list(checkpoint.parent.glob("step-*"))
    while not (later and max(path.name for path in later) >= checkpoint.name):
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)
        later = list(checkpoint.parent.glob("step-*"))


def test_deepspeed_trains_what_ddp_trains(mini: Path, tmp_path: Path, figures: Figures) -> None:
    pytest.importorskip("deepspeed")
    few = ("--until", "adapt", "engine.precision=fp32", "engine.log_every=4", "controls=false", "with_cir=false")
    found = []
    for backend in ("ddp", "deepspeed"):
        head = (*TORCHRUN, "1")  # DeepSpeed wants a process group
        finish(start("run", mini, "--out", tmp_path / backend, f"engine.backend={backend}", *few, head=head))
        lines = (tmp_path / backend / "adapt/metrics.jsonl").read_text().splitlines()
        found.append([json.loads(line)["losses"]["seg"] for line in lines])
    figures.put("adapt, seg loss", ddp=found[0], deepspeed=found[1])
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_more_ranks_than_gpus_are_refused_by_name(mini: Path, tmp_path: Path) -> None:
    if REHEARSAL:
        pytest.skip("needs a GPU to have too few of")
    gpus = torch.cuda.device_count()
    process = start("run", mini, "--out", tmp_path / "run", head=(*TORCHRUN, str(gpus + 1)))
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert f"{gpus + 1} ranks" in errors, errors[-3000:]
    assert not (tmp_path / "run").exists()
