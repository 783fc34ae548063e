"""Starting the command line on several gloo ranks with the real launchers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import warm

ROOT = Path(__file__).parents[2]
FAULTY = Path(__file__).with_name("faulty.py")
# What launch/slurm exports, so that a launcher passes signals on, gives its ranks time to save, and starts them again.
PATIENT = {
    "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGUSR1,SIGINT",
    "PET_SHUTDOWN_TIMEOUT": "300",
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(
    ranks: int,
    *arguments: object,
    launcher: str = "accelerate",
    script: Path | None = None,
    cold: bool = False,
    **variables: object,
) -> subprocess.Popen[str]:
    """Start `python -m cirn_dist ARGUMENTS`, or a script with them, on `ranks` CPU ranks; returns the launcher.

    Args:
        variables: of the environment.
    """
    port = str(free_port())
    if launcher == "accelerate":
        head = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", str(ranks), "--num_machines", "1",
                "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", port]  # fmt: skip
    else:
        head = ["torch.distributed.run", "--nproc-per-node", str(ranks), "--master-port", port]
    command = own_command(*arguments, script=script, cold=cold)
    return start_launcher(*head, *command, cold=cold, ACCELERATE_USE_CPU="true", **variables)


def own_command(*arguments: object, script: Path | None = None, cold: bool = False) -> list[object]:
    """Return what a launcher is given: this checkout's command line, or a script, with arguments.

    Args:
        cold: in interpreters of their own, not in forks of a warm one.
    """
    return [*([] if cold else [warm.__file__]), *(["-m", "cirn_dist"] if script is None else [script]), *arguments]


def start_launcher(*module_and_arguments: object, cold: bool = False, **variables: object) -> subprocess.Popen[str]:
    """Start `python -m MODULE ARGUMENTS` in this checkout."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | PATIENT
    if not cold:
        environment["WARM"] = warm.server()
    return subprocess.Popen(
        [sys.executable, *([] if cold else [warm.__file__]), "-m", *map(str, module_and_arguments)],
        cwd=ROOT, env=environment | {name: str(value) for name, value in variables.items()},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Wait for a launcher; one that takes too long is killed."""
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def launch(
    ranks: int,
    *arguments: object,
    launcher: str = "accelerate",
    script: Path | None = None,
    timeout: float = 280,
    **variables: object,
) -> subprocess.CompletedProcess[str]:
    """Do what `start` does, to its end."""
    return finish(start(ranks, *arguments, launcher=launcher, script=script, **variables), timeout)
