"""Looking at runs from another shell: the list, one of them, and the configurations that ship."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from conftest import Command

from cirn_dist.display.runs import run_view
from cirn_dist.resources import folder
from cirn_dist.rundir.lock import RunLock
from cirn_dist.rundir.results import Results, Row, write_results

BEGUN = Path(__file__).with_name("begun_before") / "run.tar.xz"  # killed at step 2 of 3 of the source stage


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three runs: one killed, the same with a score, one whose configuration is damaged; and a folder that is none."""
    root = tmp_path / "runs"
    with tarfile.open(BEGUN) as tar:
        tar.extractall(root, filter="data")
    shutil.copytree(root / "run", root / "sweep/scored")
    row = Row(stage="source", title="Source only", miou=0.284)
    write_results(root / "sweep/scored", Results(name="r", seed=0, classes=(), palette=(), rows=(row,)))
    shutil.copytree(root / "run", root / "damaged")
    (root / "damaged/config.yaml").write_text("name: [")
    (root / "notes").mkdir()
    return root


def test_runs_are_listed_with_state_score_and_size(runs: Path, tmp_path: Path, cirn_dist: Command) -> None:
    told = tmp_path / "told.json"
    done = cirn_dist("runs", runs, "--json", told)
    assert done.returncode == 0, done.stderr
    found = {Path(one["folder"]).relative_to(runs).as_posix(): one for one in json.loads(told.read_text())}
    assert found.keys() == {"run", "sweep/scored", "damaged"}
    assert found["run"]["state"].startswith("stopped before its end, at: Source only, iteration 8 of 12")
    assert (found["run"]["miou"], found["sweep/scored"]["miou"]) == (None, 0.284)
    assert found["damaged"]["state"].startswith("cannot be read: ")
    files = [file for file in (runs / "run").rglob("*") if file.is_file()]
    assert found["run"]["bytes"] == sum(os.path.getsize(file) for file in files)
    assert "28.4" in done.stdout
    nothing = cirn_dist("runs", tmp_path / "absent")
    assert (nothing.returncode, nothing.stdout) == (0, f"no runs in {tmp_path}/absent\n")


def test_a_run_is_watched_without_being_touched(runs: Path, cirn_dist: Command) -> None:
    run = runs / "run"
    with RunLock(run) as lock:
        lock.acquire()
        before = sorted((str(file), file.stat().st_mtime_ns) for file in run.rglob("*"))
        done = cirn_dist("watch", run)
        assert done.returncode == 0, done.stderr
        assert sorted((str(file), file.stat().st_mtime_ns) for file in run.rglob("*")) == before
    last = json.loads((run / "source/metrics.jsonl").read_text().splitlines()[-1])
    assert "running (process" in done.stdout
    left = (12 - 8) / last["images_per_second"]
    assert f"{last['images_per_second']:.1f} images/s, {left:.1f} s left of this stage" in done.stdout
    assert f"{last['losses']['seg']:.4g}" in done.stdout


def test_the_view_of_a_run_that_is_over_has_its_scores_and_no_remaining_time(runs: Path, cirn_dist: Command) -> None:
    found, _ = run_view(runs / "sweep/scored")
    assert found.works is None
    done = cirn_dist("watch", runs / "sweep/scored")
    assert "28.4" in done.stdout
    assert "left of this stage" not in done.stdout
    refused = cirn_dist("watch", runs)
    assert (refused.returncode, "no run was begun here" in refused.stderr) == (1, True)


def test_every_configuration_says_in_a_line_what_it_is(cirn_dist: Command) -> None:
    parts = cirn_dist("show", "configs").stdout.split("\n\n")
    for part, under in zip(parts, ("", "methods", "presets"), strict=True):
        lines = part.splitlines()[1 if under else 0 :]
        names = sorted(file.stem for file in (folder("configs") / under).glob("*.yaml"))
        assert [line.split()[0] for line in lines] == names
        assert all(len(line.split()) > 3 for line in lines)
