"""Two GPUs and more: what gloo's ranks show on CPUs, over NCCL."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from figures import Figures
from suite import NEEDS_GPU, REHEARSAL
from test_runs import TORCHRUN, finish, start

from cirn_dist.checkpoint.store import Store

pytestmark = [
    NEEDS_GPU,
    pytest.mark.skipif(torch.cuda.device_count() < 2 and not REHEARSAL, reason="fewer than two GPUs here"),
]
TWO = (*TORCHRUN, "2")
CPU = {"ACCELERATE_USE_CPU": "true"} if REHEARSAL else {}
SETTINGS = ("engine.precision=fp32", "engine.deterministic=true", "controls=false", "evaluate.adabn=false")


def seg(run: Path, stage: str) -> list[float]:
    lines = (run / stage / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["losses"]["seg"] for line in lines]


def test_two_ranks_train_what_one_trains(mini: Path, tmp_path: Path, figures: Figures) -> None:
    """Frozen norm layers; four images a step, one at a time, on one rank or on two."""
    for name, head in (("one", ()), ("two", TWO)):
        finish(start("run", mini, "--out", tmp_path / name, *SETTINGS, head=head, **CPU))
    worst = 0.0
    for stage, component in (("source", "segmenter"), ("translate", "generator_s2t"), ("adapt", "discriminator")):
        one, two = (Store(tmp_path / name / stage / "checkpoints").latest() for name in ("one", "two"))
        assert one is not None
        assert two is not None
        expected, found = one.read(component), two.read(component)
        for key, tensor in expected.items():
            scale = tensor.double().abs().max().clamp_min(1e-6)
            worst = max(worst, ((found[key].double() - tensor.double()).abs().max() / scale).item())
    figures.put("two GPUs", weights_differ_by=worst)
    assert worst < 1e-4


def test_synced_batchnorm_is_that_of_all_images(mini: Path, tmp_path: Path, figures: Figures) -> None:
    """Two ranks with an image each normalise as one with both."""
    both = (*SETTINGS, "model.norm=auto", "engine.images_per_step=2", "--until", "source")
    finish(start("run", mini, "--out", tmp_path / "one", *both, "engine.micro_batch=2", **CPU))
    finish(start("run", mini, "--out", tmp_path / "two", *both, "engine.micro_batch=1", head=TWO, **CPU))
    one, two = seg(tmp_path / "one", "source"), seg(tmp_path / "two", "source")
    figures.put("two GPUs", synced_norm_one=one, synced_norm_two=two)
    assert two == pytest.approx(one, rel=1e-3)


def test_a_lost_rank_ends_the_others(mini: Path, tmp_path: Path) -> None:
    """With a line of its own and a code of failure, in less than a step's limit."""
    long = ("source.iterations=100000", "engine.step_timeout=30", "engine.log_every=4")
    process = start("run", mini, "--out", tmp_path / "run", *SETTINGS, *long, head=TWO, **CPU)
    metrics = tmp_path / "run/source/metrics.jsonl"
    while not (metrics.is_file() and metrics.stat().st_size):
        assert process.poll() is None, process.communicate()[1][-3000:]
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), 9)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "rank" in errors
