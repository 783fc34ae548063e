"""A disk that fills up: one line, nothing half-written under a final name, and the run goes on once there is space."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command

from cirn_dist.checkpoint.store import verify


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 6 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user cannot mount a small file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_more_space_continues_it(disk: Path, mini: Path, cirn_dist: Command) -> None:
    full = cirn_dist("run", mini, "--out", disk / "run")
    assert full.returncode == 1, full.stderr
    lines = [line for line in full.stderr.splitlines() if not line.startswith("WARNING")]
    assert len(lines) == 1, full.stderr
    assert "No space left" in lines[0]
    for checkpoint in disk.rglob("step-*"):
        assert verify(checkpoint) is None
    assert not list(disk.rglob(".tmp-*"))

    subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
    done = cirn_dist("run", mini, "--out", disk / "run")
    assert done.returncode == 0, done.stderr
    assert (disk / "run/report.html").is_file()
