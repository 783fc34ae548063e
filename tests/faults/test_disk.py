"""A disk that fills or fails: one line, nothing half-written under a final name, and more space continues the run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults_run import Undisturbed, assert_nothing_left_over, assert_nothing_lost, essence
from forks import Fault, Outcome, Starts

from cirn_dist.checkpoint.store import verify

pytestmark = pytest.mark.timeout(900)  # the undisturbed run counts to the first of them


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system with room for two checkpoints of the source stage, but not for three."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=15m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user cannot mount a small file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def assert_one_line(ended: Outcome, *parts: str) -> None:
    assert ended.code == 1, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("WARNING")]
    assert len(lines) == 1, ended.stderr
    for part in parts:
        assert part in lines[0]


def test_a_full_disk_ends_the_run_and_more_space_continues_it(
    disk: Path, starts: Starts, undisturbed: Undisturbed
) -> None:
    run = disk / "run"
    full = starts("run", undisturbed.config, "--out", run, run=run)
    assert_one_line(full, "No space left", "free")
    assert_nothing_lost(run, full)
    checkpoints = list(run.glob("*/checkpoints/step-*"))
    assert checkpoints
    assert all(verify(checkpoint) is None for checkpoint in checkpoints)
    assert not list(disk.rglob(".tmp-*"))

    subprocess.run(["mount", "-o", "remount,size=300m", disk], check=True)
    done = starts("run", undisturbed.config, "--out", run, run=run)
    assert done.code == 0, done.stderr
    assert essence(run) == undisturbed.essence


# In the order of the pipeline: each start goes on from where the one before was stopped.
FAULTS = [
    ("EDQUOT", r"write render/shards/\.train-000001\.tar"),
    ("ENOSPC", r"write adapt/checkpoints/\.tmp-step-\d+/state\.json"),
    ("EIO", r"read adapt/checkpoints/\.tmp-step-\d+$"),  # the folder's fsync
    ("ENOSPC", r"rename adapt/checkpoints/\.tmp-step"),
    ("ENOSPC", r"write pseudo_label/shards/\.index\.json"),
]


def test_an_error_of_the_disk_ends_the_run_with_one_line(
    starts: Starts, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for kind, where in FAULTS:
        ended = starts("run", undisturbed.config, "--out", run, run=run, fault=Fault(where, kind=kind))
        assert_one_line(ended)
        assert_nothing_lost(run, ended)
    done = starts("run", undisturbed.config, "--out", run, run=run)
    assert done.code == 0, done.stderr
    assert essence(run) == undisturbed.essence
    assert_nothing_left_over(run)
