"""DeepSpeed trains what DDP trains: the same weights, the same checkpoints, read by either."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launching import ROOT, launch

from cirn_dist.checkpoint.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"),
]
# A generator that begins as the identity reconstructs exactly: the sign of rounding noise would be its gradient.
SETTINGS = ("controls=false", "translate.residual_output=false")
ON_DEEPSPEED = (*SETTINGS, "engine.backend=deepspeed")
LAST = "checkpoints/step-00000003"
TRAINED = {
    "translate": ["generator_s2t", "generator_t2s", "discriminator_s", "discriminator_t"],
    "adapt": ["segmenter", "discriminator", "segmenter.optimizer", "discriminator.optimizer"],
}


def run_on_ddp(config: Path, out: Path) -> None:
    command = ("run", config, *SETTINGS, "--until", "adapt", "--out", out)
    done = subprocess.run(
        [sys.executable, ROOT / "tests/dist/contiguous.py", *command],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def on_ddp(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one process's run up to stage 2."""
    out = tmp_path_factory.mktemp("ddp") / "run"
    run_on_ddp(mini, out)
    return out


@pytest.fixture(scope="module")
def on_zero_1(mini: Path, on_ddp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same run with stage 2 on two ranks, two micro-batches of one image each a step, ZeRO 1."""
    out = tmp_path_factory.mktemp("zero") / "run"
    shutil.copytree(on_ddp, out)
    shutil.rmtree(out / "adapt")
    done = launch(2, "run", mini, *ON_DEEPSPEED, "engine.zero_stage=1", "--until", "adapt", "--out", out, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    noise = [line for line in (done.stdout + done.stderr).splitlines() if "deepspeed" in line.lower()]
    assert not noise, "its notes do not reach the user"
    return out


def assert_same_stage(expected_run: Path, found_run: Path, stage: str, *, world: int) -> None:
    one, other = (Store(run / stage / "checkpoints").latest() for run in (expected_run, found_run))
    assert one is not None
    assert other is not None
    assert (other.state["finished"], other.state["world"]) == (True, world)
    for component in TRAINED[stage]:
        expected, found = one.read(component), other.read(component)
        assert expected.keys() == found.keys(), component
        for key, tensor in expected.items():
            scale = tensor.double().abs().max().clamp_min(1e-6)
            worst = ((found[key].double() - tensor.double()).abs().max() / scale).item()
            assert worst < 1e-5, f"{stage}/{component}: {key} differs by {worst:.1e} of its largest value"


def test_zero_1_trains_what_ddp_trains(on_ddp: Path, on_zero_1: Path) -> None:
    assert_same_stage(on_ddp, on_zero_1, "adapt", world=2)


def test_ddp_goes_on_from_deepspeeds_checkpoint(on_ddp: Path, on_zero_1: Path, mini: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(on_zero_1, out)
    shutil.rmtree(out / "adapt" / LAST)
    run_on_ddp(mini, out)
    assert_same_stage(on_ddp, out, "adapt", world=1)


def test_zero_2_goes_on_from_ddps_checkpoint_with_two_networks_a_player(
    on_ddp: Path, mini: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(on_ddp, out)
    for later in ("render", "cir", "adapt"):
        shutil.rmtree(out / later)
    shutil.rmtree(out / "translate" / LAST)
    settings = (*ON_DEEPSPEED, "engine.zero_stage=2", "--until", "translate")
    done = launch(2, "run", mini, *settings, "--out", out, launcher="torchrun", timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_stage(on_ddp, out, "translate", world=2)


def test_every_backend_steps_skips_clips_scales_and_resumes_as_ddp() -> None:
    """On two ranks, in backend_ranks.py: shards that end inside a parameter, two groups, two optimizers, an overflow."""
    done = launch(2, script=ROOT / "tests/dist/backend_ranks.py", launcher="torchrun", timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["exact ok", "zero 0 ok", "zero 1 ok", "zero 2 ok"]
