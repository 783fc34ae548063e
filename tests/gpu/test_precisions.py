"""Half precisions follow float32, the GPU follows the CPU, and compiled networks those that are not."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from figures import Figures
from suite import NEEDS_GPU, REHEARSAL

pytestmark = NEEDS_GPU

ROOT = Path(__file__).parents[2]
STEPS, IMAGES = 50, 4
# How far a loss is from float32's, over its mean: at each of 50 steps, on the average, and the mean of the last ten.
MEAN, END = {"bf16": 0.03, "fp16": 0.01}, {"bf16": 0.05, "fp16": 0.02}
STAGES = {"source": "seg", "adapt": "seg", "translate": "gan_s2t"}


def losses(folder: Path, mini: Path, stage: str, *overrides: str, cpu: bool = False) -> np.ndarray:
    """Train a stage for 50 steps of four images; returns one of its losses at each."""
    few = ["source.iterations=4", f"{stage}.iterations={STEPS * IMAGES}", f"with_cir={stage == 'translate'}".lower(),
           "adapt.warmup=4", "controls=false", "evaluate.adabn=false", "engine.log_every=1"]  # fmt: skip
    command = [sys.executable, "-m", "cirn_dist", "run", str(mini), *few, *overrides, "--until", stage]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    if cpu:
        environment["ACCELERATE_USE_CPU"] = "true"
    done = subprocess.run([*command, "--out", str(folder)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (folder / stage / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == STEPS
    # fp16 passes over its first steps, whose losses nobody averages, while its scale is too large.
    return np.array([line["losses"].get(STAGES[stage], math.nan) for line in lines])


@pytest.mark.parametrize("stage", STAGES)
def test_half_precision_follows_float32(stage: str, mini: Path, tmp_path: Path, figures: Figures) -> None:
    full = losses(tmp_path / "fp32", mini, stage, "engine.precision=fp32")
    for precision in ("bf16",) if REHEARSAL else ("bf16", "fp16"):
        half = losses(tmp_path / precision, mini, stage, f"engine.precision={precision}")
        assert np.isnan(half).sum() <= 10
        mean = float(np.nanmean(np.abs(half - full)) / full.mean())
        end = float(abs(half[-10:].mean() - full[-10:].mean()) / full[-10:].mean())
        figures.put(
            "losses in half precision, relative to fp32", **{f"{stage}, {precision}": {"mean": mean, "end": end}}
        )
        assert mean < MEAN[precision]
        assert end < END[precision]


@pytest.mark.parametrize("stage", STAGES)
def test_the_gpu_computes_what_the_cpu_computes(stage: str, mini: Path, tmp_path: Path, figures: Figures) -> None:
    """In float32, to rounding, for as long as rounding does not decide: the first ten steps."""
    here = losses(tmp_path / "gpu", mini, stage, "engine.precision=fp32")[:10]
    there = losses(tmp_path / "cpu", mini, stage, "engine.precision=fp32", cpu=True)[:10]
    worst = float(np.max(np.abs(here - there)) / there.mean())
    figures.put("first ten losses, GPU over CPU", **{stage: worst})
    assert worst < 1e-3


@pytest.mark.parametrize("mode", ["default"] if REHEARSAL else ["default", "reduce-overhead"])
@pytest.mark.parametrize("stage", ["source"] if REHEARSAL else STAGES)
def test_compiled_networks_compute_the_same(
    stage: str, mode: str, mini: Path, tmp_path: Path, figures: Figures
) -> None:
    """In float32; and what a step of the paper's size takes, plain and compiled."""
    plain, compiled = (
        losses(tmp_path / name, mini, stage, "engine.precision=fp32", f"engine.compile={chosen}")[:10]
        for name, chosen in (("plain", "null"), ("compiled", mode))
    )
    worst = float(np.max(np.abs(compiled - plain)) / plain.mean())
    figures.put(f"first ten losses, compiled ({mode}) over plain", **{stage: worst})
    assert worst < 1e-3
    if not REHEARSAL:
        figures.put(f"seconds of a step, bf16, {mode}", **{stage: [seconds(stage, one) for one in ("null", mode)]})


def seconds(stage: str, mode: str) -> float:
    """Return what a step of a stage takes at the paper's size."""
    words = ["bench", "step", stage, "--precision", "bf16", "--json", "/dev/stdout", f"engine.compile={mode}"]
    done = subprocess.run([sys.executable, "-m", "cirn_dist", *words], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout[done.stdout.index("{") :])["ours"]["wall"])
