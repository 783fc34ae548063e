"""The watchdog: a process that makes no progress leaves its stacks and ends; one that was suspended does not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT

from cirn_dist.errors import TRY_AGAIN

HANGING = """
import pathlib, sys, time
from cirn_dist.engine import watchdog
watchdog._GRACE = 0.0
dog = watchdog.Watchdog(3, 1, pathlib.Path(sys.argv[1]))
dog.open()
dog.allow(float(sys.argv[2]))
until = time.monotonic() + float(sys.argv[3])  # before it is seen to work: a stop may come at once
print("working", flush=True)
def stuck_here():
    time.sleep(max(0.0, until - time.monotonic()))
stuck_here()
dog.close()
"""


def start(folder: Path, limit: float, sleep: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HANGING, str(folder), str(limit), str(sleep)],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_no_progress_leaves_the_stacks_and_ends_the_process(tmp_path: Path) -> None:
    _, errors = (process := start(tmp_path / "hang", 1, 100)).communicate(timeout=90)
    assert process.returncode == TRY_AGAIN
    assert errors == f"[rank 3] cirn-dist: no progress for 1 s; stacks are in {tmp_path}/hang/rank-3.txt\n"
    stacks = (tmp_path / "hang/rank-3.txt").read_text()
    assert stacks.startswith("rank 3 of 1: no progress for 1 s\n")
    assert "in stuck_here" in stacks


def test_progress_and_suspension_are_no_hang_and_nothing_is_left_behind(tmp_path: Path) -> None:
    process = start(tmp_path / "hang", 8, 12)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    time.sleep(9)  # leaves it three seconds of its twelve, and eight are allowed
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=90)
    assert (process.returncode, errors) == (0, "")
    assert not (tmp_path / "hang").exists()


def test_flight_recorder_traces_go_below_the_run(tmp_path: Path) -> None:
    code = "import os, pathlib, sys; from cirn_dist.engine.watchdog import record_collectives as r;"
    code += (
        "r(pathlib.Path(sys.argv[1])); print(os.environ['TORCH_FR_DUMP_TEMP_FILE'], os.environ['TORCH_FR_BUFFER_SIZE'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={"PYTHONPATH": str(ROOT), "TORCH_FR_BUFFER_SIZE": "7"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [f"{tmp_path}/nccl-rank-", "7"], "what the user set stays"
