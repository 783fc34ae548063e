"""launch/slurm on a real SLURM: two nodes, a job array, preemption and requeue, a chain, and what goes wrong."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cluster import SCRIPTS, Cluster, running
from conftest import DOUBLE, Command
from runs import COMPONENTS, IN_DOUBLE, assert_close, weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("slurm")) as found:
        yield found


def test_a_run_on_two_nodes_is_the_run_of_one_process(cluster: Cluster, mini: Path, finished_in_double: Path) -> None:
    job = cluster.submit("--nodes=2", SCRIPTS / "pipeline.sbatch", mini, DOUBLE, "--out", "two")
    log = f"cirn-{job}.log"
    assert cluster.finished(job, log) == "COMPLETED", cluster.log(log)
    assert f"two on 2 x 1 ranks, start 1; {cluster.folder}/cirn-{job}-ranks\n" in cluster.log(log)
    ranks = [cluster.log(f"cirn-{job}-ranks/rank-{rank}.log").splitlines() for rank in range(2)]
    assert any("Source only: started" in line for line in ranks[0])
    assert all(line in cluster.log(log).splitlines() for line in ranks[0] + ranks[1])
    assert all(line.startswith(f"[rank {rank}] ") for rank in range(2) for line in ranks[rank])
    assert cluster.show(job)["NodeList"] == "n[1-2]"
    run = cluster.folder / "two"
    assert json.loads((run / "run.json").read_text())["ranks"] == 2
    for stage, components in COMPONENTS.items():
        for component in components:
            assert_close(finished_in_double, run, stage, component, within=IN_DOUBLE)


def test_srun_alone_starts_ranks(cluster: Cluster, mini: Path) -> None:
    arguments = ("-m", "cirn_dist", "run", mini, "--until", "source", "controls=false")
    cluster.call("srun", "--nodes=1", "--ntasks=2", "--overcommit", sys.executable, *arguments, "--out", "tasks")
    assert json.loads((cluster.folder / "tasks/run.json").read_text())["ranks"] == 2
    with pytest.raises(AssertionError, match="MASTER_ADDR does not say where ranks are to meet; use launch/slurm"):
        cluster.call("srun", "--nodes=2", "--ntasks=2", sys.executable, *arguments, "--out", "apart")
    assert not (cluster.folder / "apart").exists(), "the nodes' names lead nowhere here"
    cluster.call("srun", "--nodes=2", "--ntasks=2", sys.executable, *arguments, "--out", "met", MASTER_ADDR="127.0.0.1")
    assert json.loads((cluster.folder / "met/run.json").read_text())["ranks"] == 2


def test_preempted_and_requeued_it_is_the_undisturbed_run(cluster: Cluster, mini: Path, finished_run: Path) -> None:
    """SIGUSR1 to the batch shell, as --signal=B:USR1 sends it, twice in the course of one job."""
    job = cluster.submit(SCRIPTS / "pipeline.sbatch", mini, "--out", "one")
    log, run = f"cirn-{job}.log", cluster.folder / "one"
    for restarts, stage in enumerate(("source", "adapt"), start=1):
        _stop_and_requeue(cluster, job, log, run, stage, restarts)
    assert cluster.finished(job, log) == "COMPLETED", cluster.log(log)
    assert "start 3" in cluster.log(log), "one log for all starts"
    assert not (run / "PREEMPTED").exists()
    assert weights(run) == weights(finished_run)


def test_a_container_a_setup_file_and_no_environment(cluster: Cluster, mini: Path, finished_in_double: Path) -> None:
    """The host has no cirn-dist and a job gets no variable; the site's file alone says how it is started."""
    folder = cluster.folder / "site"
    folder.mkdir()
    image = "\n".join(f"export {name}='{cluster.environment[name]}'" for name in ("PATH", "PYTHONPATH"))
    apptainer = folder / "bin/apptainer"
    apptainer.parent.mkdir()
    apptainer.write_text(
        f'#!/bin/bash -e\necho "$LOADED: $*" >> {folder}/calls\n'
        f'[ "$1 $2 $3" = "exec --nv a.sif" ]\n{image}\nexec "${{@:4}}"\n'
    )
    apptainer.chmod(0o755)
    module = f'[ -n "$UNSET" ]; false\nexport LOADED=cuda PATH={apptainer.parent}:/usr/bin:/bin\n'
    (folder / "cirn-site.sh").write_text(f'{module}CIRN_PREFIX="apptainer exec --nv a.sif"\nCIRN_INTERFACE=lo\n')
    words = ("--nodes=2", f"--chdir={folder}", SCRIPTS / "pipeline.sbatch", mini, DOUBLE, "--out", "run")
    job = int(cluster.call("sbatch", "--parsable", *words, SBATCH_EXPORT="NONE"))
    log, run = f"site/cirn-{job}.log", folder / "run"
    _stop_and_requeue(cluster, job, log, run, "source", restarts=1)
    assert cluster.finished(job, log) == "COMPLETED", cluster.log(log)
    assert json.loads((run / "run.json").read_text())["ranks"] == 2
    assert_close(finished_in_double, run, "self_train", "segmenter", within=IN_DOUBLE)
    calls = (folder / "calls").read_text().splitlines()
    programs = [call.removeprefix("cuda: exec --nv a.sif ").split()[0] for call in calls]
    assert programs == ["cirn-dist", "accelerate", "accelerate"] * 2, calls


def test_an_array_of_three_is_collected_into_table_3(cluster: Cluster, mini: Path, cirn_dist: Command) -> None:
    """Their data is packed once, by a job before them."""
    packed = f"data.packed={cluster.folder}/sets"
    before = cluster.submit(SCRIPTS / "pipeline.sbatch", mini, packed, "--until", "data", "--out", "packing")
    settings = {"with_cir": False, "controls": False, "source.iterations": 4, "adapt.iterations": 4}
    sweep = {"bases": [str(mini)], "settings": settings, "over": {"model.acm.k": [0, 1, 2]}}
    (cluster.folder / "ks.yaml").write_text(yaml.safe_dump(sweep))
    words = ("ks.yaml", packed, "--out", "ks", "--until", "adapt")
    job = cluster.submit("--array=0-2", f"--dependency=afterok:{before}", SCRIPTS / "sweep.sbatch", *words)
    logs = [f"cirn-sweep-{job}-{index}.log" for index in range(3)]
    for index, log in enumerate(logs):
        shown = f"{job}_{index}"
        cluster.wait(lambda s=shown: not cluster.call("squeue", "-h", "-j", s), lambda log=log: cluster.log(log))
        assert "adapt is done" in cluster.log(log), cluster.log(log)
        tree = yaml.safe_load((cluster.folder / f"ks/mini-k{index}-seed0/config.yaml").read_text())
        assert tree["model"]["acm"]["k"] == index
        assert not (cluster.folder / f"ks/mini-k{index}-seed0/data").exists()
    assert len(list(cluster.folder.glob("sets/*/index.json"))) == 3
    made = cluster.folder / "collected.json"
    where = (cluster.folder / "ks.yaml", "--out", cluster.folder / "ks")
    done = cirn_dist("sweep", "collect", *where, "--json", made)
    assert done.returncode == 0, done.stderr
    assert "Table 3: mIoU of stage 2 by K, %" in done.stdout
    cells = json.loads(made.read_text())["by_setting"]
    scored = [json.loads((cluster.folder / f"ks/mini-k{k}-seed0/results.json").read_text())["rows"] for k in range(3)]
    assert [(cell["row"], cell["ours"]["mean"]) for cell in cells] == [("ASS", rows[1]["miou"]) for rows in scored]


def test_a_chain_has_a_job_for_every_stage_after_the_one_before(cluster: Cluster, mini: Path) -> None:
    words = ("bash", SCRIPTS / "chain.sh", "--hold", "--nodes=2", "--", mini, "with_cir=false", "controls=false")
    lines = [line.split() for line in cluster.call(*words, "--out", "chain").splitlines()]
    assert [stage for _, stage in lines] == ["data", "source", "adapt", "pseudo_label", "self_train"]
    before = None
    for number, stage in lines:
        job = cluster.show(int(number))
        assert job["Dependency"] == ("(null)" if before is None else f"afterok:{before}(unfulfilled)")
        assert job["JobName"] == f"cirn-{stage}"
        assert job["NumNodes"].startswith("2"), "the options before -- are sbatch's"
        before = number
    cluster.call("scancel", *(number for number, _ in lines))


def test_what_is_wrong_is_said_in_one_line(cluster: Cluster, mini: Path) -> None:
    without = f"--export=PATH=/usr/bin:/bin,SLURM_CONF={cluster.environment['SLURM_CONF']}"
    logged_alike = ("--job-name=cirn", "--output=cirn-%j.log")
    wrong = {
        "no cirn-dist on PATH": cluster.submit(without, SCRIPTS / "pipeline.sbatch", mini),
        "demmo: no such file": cluster.submit(SCRIPTS / "pipeline.sbatch", "demmo"),
        "no job array: submit it with --array": cluster.submit(*logged_alike, SCRIPTS / "sweep.sbatch", "x"),
        "has no address on CIRN_INTERFACE=ib7": cluster.submit(
            "--nodes=2", "--export=ALL,CIRN_INTERFACE=ib7", SCRIPTS / "pipeline.sbatch", mini
        ),
    }
    for message, job in wrong.items():
        log = f"cirn-{job}.log"
        assert cluster.finished(job, log) == "FAILED"
        assert message in cluster.log(log)
        assert cluster.log(log).count("\n") == 1, cluster.log(log)


def _stop_and_requeue(cluster: Cluster, job: int, log: str, run: Path, stage: str, restarts: int) -> None:
    """Stop a job in a stage as SLURM does near its end, see it requeued, and let it start at once."""
    cluster.wait(
        lambda: (run / stage / "metrics.jsonl").is_file() or cluster.state(job) == "FAILED", lambda: cluster.log(log)
    )
    cluster.call("scancel", "--signal=USR1", "--batch", job)
    cluster.wait(lambda: cluster.show(job)["Restarts"] == str(restarts), lambda: cluster.log(log))
    cluster.wait(lambda: cluster.state(job) == "PENDING", lambda: cluster.log(log))
    assert (run / "PREEMPTED").read_text().startswith("STOP\n")
    assert not (run / "STOP").exists()
    time.sleep(2)  # a start in the second of the requeue is refused: the old start's credential is revoked in it
    cluster.call("scontrol", "update", f"JobId={job}", "StartTime=now")  # SLURM would wait two minutes
