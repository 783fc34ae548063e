"""Sets that runs share: packed once in a folder of theirs, by one run while the others wait, and never mixed up."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from conftest import Command
from owndata import folder, tiny

from cirn_dist.rundir.lock import RunLock


def fingerprints(run: Path) -> object:
    return json.loads((run / "data.json").read_text())


def test_the_second_run_packs_nothing_and_needs_no_raw_data(tmp_path: Path, cirn_dist: Command) -> None:
    words = ("run", tiny(tmp_path), "--until", "data")
    assert cirn_dist(*words, "--out", tmp_path / "own").returncode == 0
    shared = (*words, f"data.packed={tmp_path / 'sets'}")
    assert cirn_dist(*shared, "--out", tmp_path / "first").returncode == 0
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("sets/*/*")}
    assert len(list(tmp_path.glob("sets/mine-*/index.json"))) == 3
    for name in ("source", "target"):
        shutil.rmtree(tmp_path / name)
    done = cirn_dist(*shared, "--out", tmp_path / "second")
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("sets/*/*")} == made
    assert fingerprints(tmp_path / "own") == fingerprints(tmp_path / "first") == fingerprints(tmp_path / "second")
    assert not (tmp_path / "second/data").exists()


def test_sets_of_another_content_lie_beside_each_other(tmp_path: Path, cirn_dist: Command) -> None:
    """Of another size, or of another folder with the same recipe, split and size."""
    config, other = tiny(tmp_path), folder(tmp_path / "other", 6)
    words = ("run", config, "--until", "data", f"data.packed={tmp_path / 'sets'}")
    for name, setting in (("a", "seed=0"), ("b", "data.source.size=[32,24]"), ("c", f"data.source.raw={other}")):
        done = cirn_dist(*words, "--out", tmp_path / name, setting)
        assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("sets/mine-*/index.json"))) == 5
    assert len({fingerprints(tmp_path / name)["data.source"] for name in "abc"}) == 3  # type: ignore[index]


def test_a_run_waits_while_another_packs_and_goes_on_alone(tmp_path: Path, cirn_dist: Command) -> None:
    words = ("run", tiny(tmp_path), "--until", "source", f"data.packed={tmp_path / 'sets'}")
    assert cirn_dist(*words, "--out", tmp_path / "first", "--until", "data").returncode == 0
    (source,) = [path for path in tmp_path.glob("sets/mine-train-64x48-*") if "label_space" in _index(path)]
    shutil.rmtree(source)
    command = [sys.executable, "-m", "cirn_dist", *map(str, words), "--out", str(tmp_path / "run")]
    with RunLock(tmp_path / "sets/.locks" / source.name) as lock:
        lock.acquire()
        log = tmp_path / "log"
        with log.open("w") as file:
            started = subprocess.Popen(command, stdout=file, stderr=file)
        _until(lambda: "waiting for it" in log.read_text(), log)
        time.sleep(1)
        assert started.poll() is None
        assert not source.exists()
    assert started.wait(120) == 0, log.read_text()
    assert log.read_text().count("waiting for it") == 1
    done = cirn_dist("show", "run", tmp_path / "run")
    assert "every link fits" in done.stdout, done.stdout
    assert f"{source}" in done.stdout


def test_a_run_that_waits_can_be_stopped(tmp_path: Path, cirn_dist: Command) -> None:
    words = ("run", tiny(tmp_path), "--until", "data", f"data.packed={tmp_path / 'sets'}")
    assert cirn_dist(*words, "--out", tmp_path / "first").returncode == 0
    (target,) = [path for path in tmp_path.glob("sets/mine-train-64x48-*") if "label_space" not in _index(path)]
    shutil.rmtree(target)
    with RunLock(tmp_path / "sets/.locks" / target.name) as lock:
        lock.acquire()
        done = cirn_dist(*words, "--out", tmp_path / "run", "--max-minutes", "0.05")
    assert done.returncode == 0
    assert "nothing was begun" in done.stderr
    assert not target.exists()


def _index(path: Path) -> dict[str, object]:
    content = json.loads((path / "index.json").read_text())
    return {key: value for key, value in content.items() if value is not None}


def _until(happened: object, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
