"""Saving on two ranks: rank 0 writes and locks, and a write of its that fails is an error of both."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import launch

from cirn_dist.rundir.lock import RunLock
from cirn_dist.checkpoint.store import Store, verify


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system with room for two checkpoints of the source stage, but not for three."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=15m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount a small file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_both_ranks_with_one_line(mini: Path, disk: Path) -> None:
    every_step = ("engine.checkpoint_every=4", "--out", disk / "run")
    with RunLock(disk / "run") as lock:
        lock.acquire()
        refused = launch(2, "run", mini, *every_step)
    assert refused.returncode != 0
    said = [line for line in refused.stderr.splitlines() if "cirn-dist: " in line]
    assert len(said) == 1, refused.stderr[-3000:]
    assert "is working in it" in said[0]

    full = launch(2, "run", mini, *every_step)
    assert full.returncode != 0
    said = [line for line in full.stderr.splitlines() if "cirn-dist: " in line]
    assert len(said) == 1, full.stderr[-3000:]
    assert "cannot save" in said[0]
    assert "No space left" in said[0]
    store = Store(disk / "run/source/checkpoints")
    assert store.paths()
    assert all(verify(path) is None for path in store.paths())
    assert not list((disk / "run").glob(".lock-*")), "given back"
