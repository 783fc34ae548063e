"""Shared by all tests: a run small enough for seconds, in this process or under a launcher."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import yaml
from forks import Starts

if TYPE_CHECKING:  # found in tests/faults, whose tests alone use the fixture
    from faults_run import Undisturbed

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["CIRN_TEST_API_KEY"] = "b7e1c0ffee"  # which no run may write anywhere

MINI = {
    "extends": "demo.yaml",
    "name": "mini",
    "data": {
        "workers": 0,
        "shard_mb": 0.02,
        "codec": "png",
        "source": {"size": [48, 40], "options": {"appearance": "synthetic", "count": 10}},
        "target": {
            "size": [48, 40],
            "options": {"appearance": "photo", "count": 7},
            "score_options": {"appearance": "photo", "count": 4},
        },
    },
    "model": {"norm": "frozen", "acm": {"width": 8}},
    # demo.yaml leaves it to the processor; sums that tests compare are to be the same on any.
    "engine": {"images_per_step": 4, "micro_batch": 1, "precision": "fp32", "checkpoint_every": 8, "log_every": 4},
    "source": {"iterations": 12, "augment": {"crop": [48, 40]}, "lr": 1e-3, "optimizer": "sgd", "warmup": 0},
    "translate": {
        "iterations": 12,
        "upsampling": "transposed",
        "ngf": 4,
        "blocks": 1,
        "ndf": 4,
        "pool": 6,
        "augment": {"crop": [32, 32]},
    },
    "cir": {"iterations": 8, "augment": {"crop": [48, 40]}, "lr": 1e-3, "optimizer": "sgd", "warmup": 0},
    "adapt": {"iterations": 12, "augment": {"crop": [48, 40]}, "lr": 1e-3, "optimizer": "sgd", "warmup": 4, "ndf": 4},
    "self_train": {"iterations": 8, "augment": {"crop": [48, 40]}, "lr": 1e-3, "optimizer": "sgd", "warmup": 0},
    "evaluate": {"batch": 2, "panels": 2, "adabn_images": 4},
}


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the configuration file of a run of seconds: all stages, a few steps each."""
    path = tmp_path_factory.mktemp("config") / "mini.yaml"
    path.write_text(yaml.safe_dump(MINI), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the mini run's configuration without controls."""
    path = tmp_path_factory.mktemp("short") / "short.yaml"
    path.write_text(yaml.safe_dump(MINI | {"controls": False}), encoding="utf-8")
    return path


Command = Callable[..., subprocess.CompletedProcess[str]]
DOUBLE = "engine.precision=fp64"
needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


@pytest.fixture(scope="session")
def cirn_dist(starts: Starts) -> Command:
    """Return a function that runs the command line in a process of its own, a fork of a warm one."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = starts(*arguments)
        return subprocess.CompletedProcess(list(map(str, arguments)), done.code, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def finished_run(mini: Path, cirn_dist: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the mini run, walked to its end by one process without a break."""
    out = tmp_path_factory.mktemp("runs") / "mini"
    done = cirn_dist("run", mini, "--out", out, "--json", out.parent / "results.json")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def finished_in_double(mini: Path, cirn_dist: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the mini run in double precision: what ranks agree with to its rounding."""
    out = tmp_path_factory.mktemp("double") / "mini"
    done = cirn_dist("run", mini, DOUBLE, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Starts:
    """Return the function that starts the command line in a fork of a warm process."""
    return Starts(tmp_path_factory.mktemp("starts"))


@pytest.fixture(scope="session")
def undisturbed(starts: Starts, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Return the run that nothing disturbed, with the file operations it made."""
    from faults_run import run_undisturbed

    return run_undisturbed(starts, tmp_path_factory.mktemp("undisturbed"))
