"""Ranks that a scheduler's own launcher started: srun and mpirun name them in variables of their own."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping

from cirn_dist.errors import ConfigError

_MPI_PORT = "29500"
# What a task is told of the job: its number, their number; of the machine: its number, their number.
_MPI = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),  # MPICH, Intel MPI
)
_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # torchrun's names
_OWN_GPUS = ("SLURM_GPUS_PER_TASK", "SLURM_TRES_PER_TASK")  # each task is shown its own alone


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def ranks_of_tasks(environment: Mapping[str, str], resolves: Callable[[str], bool] = _resolves) -> dict[str, str]:
    """Return torchrun's variables for a task that srun or mpirun started beside others; {} where there is no need.

    There is none where a launcher has set them, or where there is one task.

    Args:
        resolves: whether a node's name leads to an address.

    Raises:
        ConfigError: the tasks are on several machines, and where they are to meet is not known.
    """
    if "WORLD_SIZE" in environment:
        return {}
    if _number(environment, "SLURM_STEP_NUM_TASKS") > 1 and "SLURM_PROCID" in environment:
        return _of_srun(environment, resolves)
    for rank, size, local_rank, local_size in _MPI:
        if _number(environment, size) > 1 and rank in environment:
            if local_rank not in environment or environment.get(local_size) != environment[size]:
                address = _told(environment, f"mpirun -x MASTER_ADDR=$(hostname) -x MASTER_PORT={_MPI_PORT} ...")
            else:
                address = environment.get("MASTER_ADDR", "127.0.0.1")
            here, there = environment.get(local_rank, "0"), environment.get(local_size, "1")
            port = environment.get("MASTER_PORT", _MPI_PORT)
            return _variables(environment[rank], environment[size], here, there, address, port)
    return {}


def _of_srun(environment: Mapping[str, str], resolves: Callable[[str], bool]) -> dict[str, str]:
    address = environment.get("MASTER_ADDR", "127.0.0.1")
    if _number(environment, "SLURM_STEP_NUM_NODES") > 1 and "MASTER_ADDR" not in environment:
        address = first_host(environment.get("SLURM_STEP_NODELIST", ""))
        if not address or not resolves(address):
            address = _told(environment, "use launch/slurm/pipeline.sbatch, or export MASTER_ADDR before srun")
    # The same for all tasks of a step, and another than that of a step beside it.
    free = 20000 + (7 * _number(environment, "SLURM_JOB_ID") + _number(environment, "SLURM_STEP_ID")) % 20000
    here, there = environment.get("SLURM_LOCALID", "0"), _on_this_node(environment)
    if any("gpu" in environment.get(name, "") or environment.get(name, "").isdigit() for name in _OWN_GPUS):
        here, there = "0", "1"
    port = environment.get("MASTER_PORT", str(free))
    return _variables(environment["SLURM_PROCID"], environment["SLURM_STEP_NUM_TASKS"], here, there, address, port)


def _told(environment: Mapping[str, str], how: str) -> str:
    """Return where the ranks are to meet as the environment has it."""
    if "MASTER_ADDR" not in environment:
        raise ConfigError("tasks on several machines, and MASTER_ADDR does not say where ranks are to meet", fix=how)
    return environment["MASTER_ADDR"]


def _variables(rank: str, world: str, here: str, there: str, address: str, port: str) -> dict[str, str]:
    return {
        "RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": here, "LOCAL_WORLD_SIZE": there,
        "MASTER_ADDR": address, "MASTER_PORT": port,
    }  # fmt: skip


def first_host(nodes: str) -> str:
    """Return the first of a list of nodes as SLURM writes it: of `gpu[03-05,9],login`, gpu03."""
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", re.split(r",(?![^\[]*\])", nodes)[0])


def _on_this_node(environment: Mapping[str, str]) -> str:
    """Return how many tasks of the step this node has; `2(x3),1` are two on each of three nodes, one on a fourth."""
    counts: list[str] = []
    for tasks, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")):
        counts += [tasks] * int(times or 1)
    node = _number(environment, "SLURM_NODEID")
    return counts[node] if node < len(counts) else "1"


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    return int(value) if _is_number(value) else 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def assert_ranks(environment: Mapping[str, str]) -> None:
    """Check what a launcher, or a scheduler's own, has said of the ranks, before libraries read it.

    Raises:
        ConfigError: a variable is no number, or a rank is not below the number of ranks.
    """
    told = {name: environment[name] for name in (*_RANKS, "MASTER_PORT") if name in environment}
    for name, value in told.items():
        if not _is_number(value):
            raise ConfigError(
                f"is {value!r}, no number", where=name, fix="the launcher sets it: see how it was started"
            )
    for rank, size in (_RANKS[:2], _RANKS[2:]):
        if rank in told and size in told and not int(told[rank]) < int(told[size]):
            raise ConfigError(f"is {told[rank]}, of {told[size]} ranks", where=rank, fix="start it by one launcher")
    here, world = told.get("LOCAL_WORLD_SIZE", "0"), told.get("WORLD_SIZE", "")
    if world and int(here) > int(world):
        raise ConfigError(f"is {here}, of {world} ranks", where="LOCAL_WORLD_SIZE", fix="start it by one launcher")
    if not 0 < int(told.get("MASTER_PORT", "1")) < 2**16:
        raise ConfigError(f"is {told['MASTER_PORT']}, no port", where="MASTER_PORT", fix="take one below 65536")
