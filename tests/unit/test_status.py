"""What is said of a run that is empty, stopped, running or finished, by every verb that looks at one."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from conftest import Command

from cirn_dist.errors import DataError
from cirn_dist.rundir.lock import RunLock
from cirn_dist.rundir.metrics import metrics
from cirn_dist.rundir.status import Status, status

BEGUN = Path(__file__).with_name("begun_before") / "run.tar.xz"  # killed at step 2 of 3 of the source stage
VERBS = (("show",), ("checkpoints", "list"), ("report",))


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    with tarfile.open(BEGUN) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path / "run"


def test_a_stopped_run(begun: Path, cirn_dist: Command) -> None:
    found = status(begun)
    assert (found.finished, found.stage, found.iteration, found.iterations) == (1, "Source only", 8, 12)
    assert found.works is None
    for verb in VERBS:
        done = cirn_dist(*verb, begun)
        assert done.returncode == 0, done.stderr
        assert "stopped before its end, at: Source only, iteration 8 of 12" in done.stdout
    assert "no scores yet" in done.stdout
    assert (begun / "report.html").is_file()


def test_a_running_run_is_looked_at_without_waiting(begun: Path, cirn_dist: Command) -> None:
    before = sorted(begun.rglob("*"))
    with RunLock(begun) as lock:
        lock.acquire()
        assert "running (process" in str(status(begun))
        for verb in VERBS:
            done = cirn_dist(*verb, begun)
            assert done.returncode == 0, done.stderr
            assert ": Source only, iteration 8 of 12; 1 of 11 stages finished" in done.stdout
            assert "running (process" in done.stdout
    (begun / "report.html").unlink()
    assert sorted(begun.rglob("*")) == before


def test_a_finished_run_says_so(mini: Path, tmp_path: Path, cirn_dist: Command) -> None:
    out, short = tmp_path / "run", ("controls=false", "with_cir=false", "data.target.score_split=null")
    assert cirn_dist("run", mini, *short, "--out", out).returncode == 0
    assert str(status(out)) == "finished: all 5 stages"
    done = cirn_dist("report", out)
    assert (done.returncode, "stopped" in done.stdout) == (0, False)


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path: Path, cirn_dist: Command) -> None:
    with pytest.raises(DataError, match="no run was begun here"):
        status(tmp_path)
    for verb in VERBS:
        done = cirn_dist(*verb, tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"cirn-dist: {tmp_path}: no run was begun here; give the folder of a run\n"
    assert not any(tmp_path.iterdir())


def test_the_words() -> None:
    assert str(Status(11, 11)) == "finished: all 11 stages"
    assert str(
        Status(3, 11, "translate", "CycleGAN", metrics(40_000, 40_000, 5.0, {}), 100_000, "process 7 on node1")
    ) == ("running (process 7 on node1): CycleGAN, iteration 40,000 of 100,000; 3 of 11 stages finished")


def test_a_run_of_settings_that_are_no_more_still_has_a_report(begun: Path, cirn_dist: Command) -> None:
    text = (begun / "config.yaml").read_text()
    (begun / "config.yaml").write_text(text + "of_an_older_version: 1\n")
    done = cirn_dist("report", begun)
    assert done.returncode == 0, done.stderr
    assert "how far it is cannot be told" in done.stdout
    assert "of_an_older_version" in done.stdout
    assert (begun / "report.html").is_file()
