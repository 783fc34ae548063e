"""Starting the command line on several gloo ranks with the real launchers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What launch/slurm exports, so that a launcher passes signals on and gives its ranks time to save.
PATIENT = {"PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGUSR1,SIGINT", "PET_SHUTDOWN_TIMEOUT": "300"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(ranks: int, *arguments: object, launcher: str = "accelerate") -> subprocess.Popen[str]:
    """Start `python -m cirn_dist ARGUMENTS` on `ranks` CPU ranks; returns the launcher's process."""
    own = ["-m", "cirn_dist", *map(str, arguments)]
    port = str(free_port())
    if launcher == "accelerate":
        head = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", str(ranks), "--num_machines", "1",
                "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", port]  # fmt: skip
    else:
        head = ["torch.distributed.run", "--nproc-per-node", str(ranks), "--master-port", port]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"} | PATIENT
    return subprocess.Popen(
        [sys.executable, "-m", *head, *own],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def launch(
    ranks: int, *arguments: object, launcher: str = "accelerate", timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run `python -m cirn_dist ARGUMENTS` on `ranks` CPU ranks to its end."""
    process = start(ranks, *arguments, launcher=launcher)
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
