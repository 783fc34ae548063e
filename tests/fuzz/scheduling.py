"""Hostile environments: what launchers and schedulers say of the ranks, and what they never should."""

from __future__ import annotations

import random
from pathlib import Path

from outcome import Fault, refusing

from cirn_dist.engine.tasks import assert_ranks, ranks_of_tasks

_COUNTS = ("0", "1", "2", "4", "3")
_NODES = ("gpu01", "gpu[01-04]", "gpu[03-05,9],login", "a,b", "n[1")
_TASKS = ("2(x2)", "1,3", "4", "2(x3),1", "(x")
_TOLD = {
    "SLURM_STEP_NUM_TASKS": _COUNTS, "SLURM_PROCID": _COUNTS, "SLURM_LOCALID": _COUNTS, "SLURM_NODEID": _COUNTS,
    "SLURM_STEP_NUM_NODES": _COUNTS, "SLURM_STEP_NODELIST": _NODES, "SLURM_STEP_TASKS_PER_NODE": _TASKS,
    "SLURM_JOB_ID": ("17", "99999999"), "SLURM_STEP_ID": _COUNTS, "SLURM_GPUS_PER_TASK": ("1", "gpu:1"),
    "OMPI_COMM_WORLD_RANK": _COUNTS, "OMPI_COMM_WORLD_SIZE": _COUNTS, "OMPI_COMM_WORLD_LOCAL_RANK": _COUNTS,
    "OMPI_COMM_WORLD_LOCAL_SIZE": _COUNTS, "PMI_RANK": _COUNTS, "PMI_SIZE": _COUNTS, "MPI_LOCALRANKID": _COUNTS,
    "MPI_LOCALNRANKS": _COUNTS, "MASTER_ADDR": ("127.0.0.1", "node7"), "MASTER_PORT": ("29500", "1"),
    "RANK": _COUNTS, "WORLD_SIZE": _COUNTS, "LOCAL_RANK": _COUNTS, "LOCAL_WORLD_SIZE": _COUNTS,
}  # fmt: skip
_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_NO_NUMBERS = ("", " 2", "-1", "1.0", "0x2", "²", "٣", "two", "1e3", "9" * 40, "2\n", "\x1b[31m", "nan", "70000")


def scheduler(folder: Path, draw: random.Random) -> str:
    """What a launcher or a scheduler says of the ranks, in variables of the environment."""
    groups = (("SLURM_",), ("OMPI_", "MASTER_"), ("PMI_", "MPI_"), ("RANK", "WORLD_", "LOCAL_", "MASTER_"), ("",))
    names = [name for name in _TOLD if name.startswith(draw.choice(groups))]
    said = {name: draw.choice(_TOLD[name]) for name in names if draw.random() < 0.9}
    for name in list(said):
        if draw.random() < 0.06:
            said[name] = draw.choice(_NO_NUMBERS)
    with refusing() as outcome:
        said.update(ranks_of_tasks(said, resolves=lambda host: draw.random() < 0.9))
        assert_ranks(said)
        read = [int(said.get(name, default)) for name, default in zip(_RANKS, ("0", "1", "0", "1"), strict=True)]
        rank, world, here, there = read
        paired = set(_RANKS) <= set(said)
        if paired and not (0 <= rank < world and 0 <= here < there <= world):
            raise Fault(f"{said} makes rank {rank} of {world}, {here} of {there} here")
    return outcome[0]
