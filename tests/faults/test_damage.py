"""Damaged and missing files: reported, passed over, made again; and a clock that goes backwards."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest
from faults_run import STAGES, Undisturbed, assert_nothing_left_over, essence
from forks import Fault, Starts

from cirn_dist.checkpoint.store import Store

pytestmark = pytest.mark.timeout(900)  # the undisturbed run counts to the first of them


@pytest.fixture
def copy(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    """Return a copy of the finished run, to be damaged."""
    shutil.copytree(undisturbed.folder, tmp_path / "run")
    return tmp_path / "run"


def newest(run: Path, stage: str) -> Path:
    return Store(run / stage / "checkpoints").paths()[0]


def flip_a_bit(file: Path, seed: int) -> None:
    draw, data = random.Random(seed), bytearray(file.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)


def continued(starts: Starts, undisturbed: Undisturbed, run: Path) -> str:
    """Start the run again, to its end; returns what it said. All must be as if nothing had happened."""
    done = starts("run", undisturbed.config, "--out", run, run=run)
    assert done.code == 0, done.stderr
    assert essence(run) == undisturbed.essence
    assert_nothing_left_over(run)
    return done.stderr


def test_a_flipped_bit_in_each_file_of_a_checkpoint_in_turn(
    starts: Starts, undisturbed: Undisturbed, copy: Path
) -> None:
    names = sorted(file.name for file in newest(copy, "translate").iterdir())
    assert len(names) == 10, "eight components, the state, the manifest"
    for seed, name in enumerate(names):
        flip_a_bit(newest(copy, "translate") / name, seed)
        said = continued(starts, undisturbed, copy)
        assert f"translate/checkpoints/{newest(copy, 'translate').name} is passed over" in said, f"{name}, seed {seed}"


def test_a_file_missing_from_each_stages_newest_checkpoint(
    starts: Starts, undisturbed: Undisturbed, copy: Path
) -> None:
    for number, stage in enumerate(STAGES):
        files = sorted(newest(copy, stage).iterdir())
        files[number % len(files)].unlink()
    said = continued(starts, undisturbed, copy)
    assert said.count("is passed over") >= len(STAGES)


def test_every_checkpoint_of_a_stage_removed(starts: Starts, undisturbed: Undisturbed, copy: Path) -> None:
    shutil.rmtree(copy / "adapt/checkpoints")
    (copy / "adapt/validation.json").unlink()
    shutil.rmtree(newest(copy, "self_train"))
    continued(starts, undisturbed, copy)


def test_files_of_derived_sets_removed(starts: Starts, undisturbed: Undisturbed, copy: Path) -> None:
    """A derived set that lacks a file is made again, and is the same."""
    (copy / "render/shards/train-000001.tar").unlink()
    (copy / "pseudo_label/shards/train-000000.idx.npy").unlink()
    (copy / "pseudo_label/summary.json").unlink()
    said = continued(starts, undisturbed, copy)
    assert said.count("the set is made again") == 2
    assert (copy / "pseudo_label/summary.json").is_file()


def test_a_clock_that_goes_backwards_is_harmless(starts: Starts, undisturbed: Undisturbed, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for where in (r"rename source/checkpoints/\.tmp-step-00000003", r"rename adapt/checkpoints/\.tmp-step-00000002"):
        killed = starts("run", undisturbed.config, "--out", run, run=run, fault=Fault(where, clock=True))
        assert killed.code == -signal.SIGKILL, killed.stderr
    done = starts("run", undisturbed.config, "--out", run, run=run, fault=Fault(clock=True))
    assert done.code == 0, done.stderr
    assert essence(run) == undisturbed.essence
