"""Tasks that srun or mpirun started are ranks; where they cannot find each other they are refused, with the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT

from cirn_dist.engine.tasks import assert_ranks, first_host, ranks_of_tasks
from cirn_dist.errors import ConfigError

# What srun told the last of five tasks on two nodes (SLURM 22.05).
SRUN = {
    "SLURM_JOB_ID": "3001", "SLURM_STEP_ID": "4", "SLURM_NTASKS": "5", "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_STEP_TASKS_PER_NODE": "3,2",
    "SLURM_PROCID": "4", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
}  # fmt: skip
OMPI = {
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}  # fmt: skip


def test_sruns_tasks_are_ranks() -> None:
    found = ranks_of_tasks(SRUN, resolves=lambda host: host == "gpu03")
    port = found.pop("MASTER_PORT")
    assert found == {
        "RANK": "4", "WORLD_SIZE": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "gpu03",
    }  # fmt: skip
    others = [ranks_of_tasks(SRUN | {"SLURM_PROCID": str(rank)}, lambda _: True)["MASTER_PORT"] for rank in range(5)]
    assert set(others) == {port}, "all meet at one port"
    assert ranks_of_tasks(SRUN | {"SLURM_STEP_ID": "5"}, lambda _: True)["MASTER_PORT"] != port
    assert 1024 < int(port) < 65536


def test_on_one_machine_no_name_is_looked_up() -> None:
    one = SRUN | {"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "5", "SLURM_NODEID": "0"}
    found = ranks_of_tasks(one, resolves=lambda _: False)
    assert (found["MASTER_ADDR"], found["LOCAL_WORLD_SIZE"]) == ("127.0.0.1", "5")


@pytest.mark.parametrize("own", [{"SLURM_GPUS_PER_TASK": "1"}, {"SLURM_TRES_PER_TASK": "cpu=4,gres/gpu=1"}])
def test_a_task_that_is_shown_its_own_gpu_counts_it_as_the_first(own: dict[str, str]) -> None:
    found = ranks_of_tasks(SRUN | own, lambda _: True)
    assert (found["LOCAL_RANK"], found["LOCAL_WORLD_SIZE"]) == ("0", "1")


def test_what_has_its_ranks_keeps_them() -> None:
    assert ranks_of_tasks(SRUN | {"WORLD_SIZE": "8", "RANK": "0"}) == {}, "torchrun and accelerate, one a node"
    assert ranks_of_tasks(SRUN | {"SLURM_STEP_NUM_TASKS": "1"}) == {}
    batch = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}
    assert ranks_of_tasks(batch) == {}, "a batch script is one process, whatever its job has asked for"
    assert ranks_of_tasks({}) == {}


def test_mpiruns_tasks_are_ranks() -> None:
    found = ranks_of_tasks(OMPI)
    assert found == {
        "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
    }  # fmt: skip
    mpich = {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"}
    assert ranks_of_tasks(mpich)["RANK"] == "0"


def test_tasks_that_do_not_know_where_to_meet_are_refused_with_the_way() -> None:
    with pytest.raises(ConfigError, match=r"MASTER_ADDR.*launch/slurm/pipeline\.sbatch"):
        ranks_of_tasks(SRUN, resolves=lambda _: False)
    assert ranks_of_tasks(SRUN | {"MASTER_ADDR": "10.0.0.3"}, lambda _: False)["MASTER_ADDR"] == "10.0.0.3"
    apart = OMPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    with pytest.raises(ConfigError, match=r"mpirun -x MASTER_ADDR"):
        ranks_of_tasks(apart)
    assert ranks_of_tasks(apart | {"MASTER_ADDR": "a", "MASTER_PORT": "5"})["MASTER_PORT"] == "5"


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n[1-2]", "n1"), ("gpu[03-05,9],login", "gpu03"), ("a,b[1-2]", "a"), ("r[1-2]n[04,7]", "r1n04")],
)
def test_the_first_of_a_list_of_nodes(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_the_way_that_is_told_exists() -> None:
    (told,) = set(re.findall(r"launch/slurm/[\w.]+", Path(ROOT, "cirn_dist/engine/tasks.py").read_text()))
    assert (ROOT / told).is_file()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: is 'two', no number"),
        ({"RANK": "²", "WORLD_SIZE": "4"}, "RANK: is '²', no number"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK: is 4, of 4 ranks"),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK: is 1, of 1 ranks"),
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "4"}, "LOCAL_WORLD_SIZE: is 4, of 2 ranks"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT: is 70000, no port"),
    ],
)
def test_what_no_launcher_should_say_is_refused(said: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        assert_ranks(said)
    assert_ranks({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "29500"})
    assert_ranks({})
