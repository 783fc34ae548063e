"""Starting the command line on several gloo ranks with the real launchers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(
    ranks: int, *arguments: object, launcher: str = "accelerate", timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run `python -m cirn_dist ARGUMENTS` on `ranks` CPU ranks."""
    own = ["-m", "cirn_dist", *map(str, arguments)]
    port = str(free_port())
    if launcher == "accelerate":
        head = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", str(ranks), "--num_machines", "1",
                "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", port]  # fmt: skip
    else:
        head = ["torch.distributed.run", "--nproc-per-node", str(ranks), "--master-port", port]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *head, *own],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
