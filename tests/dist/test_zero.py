"""DeepSpeed trains what DDP trains: the same weights, the same checkpoints, read by either."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command
from launching import ROOT, free_port, launch

from cirn_dist.checkpoint.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"),
]
ON_DEEPSPEED = ("engine.backend=deepspeed", "controls=false", "--until", "adapt")
TRAINED = {
    "translate": ["generator_s2t", "generator_t2s", "discriminator_s", "discriminator_t", "generators.optimizer"],
    "adapt": ["segmenter", "discriminator", "segmenter.optimizer", "discriminator.optimizer"],
}


@pytest.fixture(scope="module")
def on_zero_1(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ranks, two micro-batches of one image each a step, ZeRO 1, up to stage 2."""
    out = tmp_path_factory.mktemp("zero") / "run"
    done = launch(2, "run", mini, *ON_DEEPSPEED, "engine.zero_stage=1", "--out", out, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    noise = [line for line in done.stderr.splitlines() if "eepspeed" in line.lower()]
    assert not noise, "its notes do not reach the user"
    return out


def assert_same_stage(expected_run: Path, found_run: Path, stage: str) -> None:
    one, other = (Store(run / stage / "checkpoints").latest() for run in (expected_run, found_run))
    assert one is not None
    assert other is not None
    assert other.state["finished"]
    for component in TRAINED[stage]:
        expected, found = one.read(component), other.read(component)
        assert expected.keys() == found.keys(), component
        for key, tensor in expected.items():
            scale = tensor.double().abs().max().clamp_min(1e-6)
            worst = ((found[key].double() - tensor.double()).abs().max() / scale).item()
            # The state holds gradients, which sum in another order; weights move by a rate times those.
            limit = 1e-3 if component.endswith("optimizer") else 1e-5
            assert worst < limit, f"{stage}/{component}: {key} differs by {worst:.1e} of its largest value"


def without_last_checkpoint(run: Path, stage: str, copy: Path) -> Path:
    shutil.copytree(run, copy)
    shutil.rmtree(copy / stage / "checkpoints/step-00000003")
    halfway = Store(copy / stage / "checkpoints").latest()
    assert halfway is not None
    assert halfway.state["step"] == 2
    return copy


# In single precision the demo's CycleGAN, whose generator starts from a zero output under Adam, turns another order of
# summing into 1e-2 of a weight; the stages after it inherit that.
FRAGILE = pytest.mark.xfail(strict=False, reason="float32: a zero output under Adam amplifies the order of summing")


@FRAGILE
@pytest.mark.parametrize("stage", TRAINED)
def test_zero_1_trains_what_ddp_trains(stage: str, finished_run: Path, on_zero_1: Path) -> None:
    assert_same_stage(finished_run, on_zero_1, stage)


@FRAGILE
def test_ddp_goes_on_from_deepspeeds_checkpoint(
    finished_run: Path, on_zero_1: Path, mini: Path, tmp_path: Path, cirn_dist: Command
) -> None:
    out = without_last_checkpoint(on_zero_1, "adapt", tmp_path / "run")
    done = cirn_dist("run", mini, "controls=false", "--until", "adapt", "--out", out)
    assert done.returncode == 0, done.stderr
    assert_same_stage(finished_run, out, "adapt")


@FRAGILE
def test_zero_2_goes_on_from_ddps_checkpoint(finished_run: Path, on_zero_1: Path, mini: Path, tmp_path: Path) -> None:
    out = without_last_checkpoint(on_zero_1, "adapt", tmp_path / "run")
    shutil.rmtree(out / "adapt/checkpoints")
    shutil.copytree(finished_run / "adapt/checkpoints/step-00000002", out / "adapt/checkpoints/step-00000002")
    done = launch(2, "run", mini, *ON_DEEPSPEED, "engine.zero_stage=2", "--out", out, launcher="torchrun", timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_stage(finished_run, out, "adapt")


def test_every_stage_steps_skips_clips_scales_and_resumes_as_ddp(tmp_path: Path) -> None:
    """On two ranks, in zero_ranks.py: shards that end inside a parameter, two groups, two optimizers, an overflow."""
    head = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    done = subprocess.run(
        [sys.executable, *head, str(ROOT / "tests/dist/zero_ranks.py")],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["stage 0 ok", "stage 1 ok", "stage 2 ok"]
