"""A real SLURM on this machine: one controller and two nodes, started by the tests and ended by them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, SHARED

START, STOP = SHARED / "slurm/start-test-cluster", SHARED / "slurm/stop-test-cluster"
SCRIPTS = ROOT / "launch/slurm"


class Cluster:
    """A running cluster; jobs are submitted from `folder` and leave their logs there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = Path(sys.executable).parent  # where cirn-dist and accelerate are
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }

    def call(self, *command: object, **variables: str) -> str:
        """Run a command of SLURM's, or a script that does; returns what it printed."""
        done = subprocess.run(
            list(map(str, command)), cwd=self.folder, env=self.environment | variables, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def submit(self, *words: object) -> int:
        """Submit a batch script and return the job's number."""
        return int(self.call("sbatch", "--parsable", *words))

    def show(self, job: int) -> dict[str, str]:
        """Return what SLURM knows of a job."""
        words = self.call("scontrol", "show", "job", "--oneliner", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, job: int) -> str:
        return self.show(job)["JobState"]

    def log(self, name: str) -> str:
        file = self.folder / name
        return file.read_text(errors="replace") if file.is_file() else ""

    def wait(self, happened: Callable[[], bool], what: Callable[[], str], seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline, what()
            time.sleep(0.2)

    def finished(self, job: int, log: str) -> str:
        """Wait for a job to end and return its state."""
        live = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED")
        self.wait(lambda: self.state(job) not in live, lambda: f"{self.show(job)}\n{self.log(log)}")
        return self.state(job)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Start a cluster and end it; skips where there is none to start. One at a time on a machine: ports are fixed."""
    for needed in ("slurmctld", "slurmd", "munged"):
        if shutil.which(needed) is None:
            pytest.skip(f"no {needed} here: apt-get install slurm-wlm munge")
    if not START.is_file():
        pytest.skip(f"{START} is not there")
    if os.geteuid() != 0:
        pytest.skip("only root can start the test cluster")
    with Path("/tmp/cirn-dist-slurm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits for another session's tests
        try:
            # Its daemons must not hold this process's pipes open.
            with (folder / "start.log").open("w") as log:
                subprocess.run([START, folder, "2"], stdout=log, stderr=log, timeout=120, check=True, close_fds=True)
            cluster = Cluster(folder)
            cluster.wait(
                lambda: cluster.call("sinfo", "-h", "-N", "-o", "%T").split() == ["idle", "idle"],
                lambda: (folder / "start.log").read_text(),
                seconds=60,
            )
            yield cluster
            cluster.call("scancel", "--state=PENDING", "--user=root")
            cluster.call("scancel", "--full", "--signal=KILL", "--user=root")
        finally:
            _stop(folder)


def _stop(folder: Path) -> None:
    files = [folder / "slurmctld.pid", *folder.glob("slurmd-*.pid")]
    pids = [int(file.read_text()) for file in files if file.is_file()]
    subprocess.run([STOP, folder], timeout=60, check=False)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
