"""Stages of other runs: taken where all that makes them is the same, made where anything differs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from runs import weights

from cirn_dist.checkpoint.store import Store
from cirn_dist.files import read_json, write_json
from cirn_dist.rundir.made import FILE_NAME, Circumstances, read_made
from cirn_dist.rundir.sharing import Wanted, find, find_set, take

SHORT = ("evaluate.panels=1", "self_train.iterations=4", "translate.iterations=4", "cir.iterations=4")
Run = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def runs(mini: Path, cirn_dist: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run, `first`, of a chain to stage 2."""
    folder = tmp_path_factory.mktemp("shared") / "runs"
    done = walk(folder, "first", mini, cirn_dist)
    assert done.returncode == 0, done.stderr
    return folder


def walk(folder: Path, name: str, mini: Path, cirn_dist: Command, *more: str) -> Run:
    shared = (f"share={folder}", f"data.packed={folder / 'packed'}", "with_self_train=false")
    return cirn_dist("run", mini, *SHORT, *shared, *more, "--out", folder / name)


def taken(run: Path) -> set[str]:
    return {file.parent.name for file in run.glob(f"*/{FILE_NAME}") if json.loads(file.read_text())["taken"]}


def test_a_run_of_the_same_takes_everything(runs: Path, mini: Path, cirn_dist: Command, tmp_path: Path) -> None:
    done = walk(runs, "second", mini, cirn_dist)
    assert done.returncode == 0, done.stderr
    assert taken(runs / "second") == {"source", "source_control", "translate", "render", "cir", "cir_control", "adapt"}
    stages = ("source", "cir", "adapt")
    assert weights(runs / "second", stages) == weights(runs / "first", stages)
    one, other = (json.loads((runs / run / "results.json").read_text()) for run in ("first", "second"))
    assert one == other
    made = read_made(runs / "second/adapt")
    assert made is not None
    assert made.taken == "../first"
    shown = cirn_dist("show", "run", runs / "second")
    assert "taken from ../first" in shown.stdout.replace("\n", " ")
    assert "every link fits" in shown.stdout
    assert "taken from ../first" in (runs / "second/report.html").read_text()
    pictures = {p.relative_to(runs / "first") for p in (runs / "first").glob("panels/**/adapt*.png")}
    assert pictures
    assert all((runs / "second" / picture).is_file() for picture in pictures)


def test_what_differs_and_what_follows_from_it_is_made(runs: Path, mini: Path, cirn_dist: Command) -> None:
    done = walk(runs, "third", mini, cirn_dist, "adapt.lambda_cos=20", "translate.lambda_sem=0.5")
    assert done.returncode == 0, done.stderr
    assert taken(runs / "third") == {"source", "source_control"}, "other CIR, so another everything after it"
    done = walk(runs, "fourth", mini, cirn_dist, "adapt.lambda_cos=20")
    assert done.returncode == 0, done.stderr
    assert taken(runs / "fourth") >= {"source", "translate", "render", "cir"}
    assert "adapt" not in taken(runs / "fourth")
    expected = Store(runs / "fourth/adapt/checkpoints").latest()
    alone = walk(runs.parent / "apart", "fourth", mini, cirn_dist, "adapt.lambda_cos=20", "share=null")
    assert alone.returncode == 0, alone.stderr
    assert expected is not None
    stages = ("source", "cir", "adapt")
    assert weights(runs / "fourth", stages) == weights(runs.parent / "apart/fourth", stages), "as if it had made all"


def wanted_of(run: Path, stage: str) -> Wanted:
    made, checkpoint = read_made(run / stage), Store(run / stage / "checkpoints").latest()
    assert made is not None
    assert made.settings is not None
    assert checkpoint is not None
    return Wanted(stage, made.settings, checkpoint.state["data"], made.starts[0].by)


Change = Callable[[Wanted], Wanted]


def with_(**changes: Any) -> Change:
    def changed(wanted: Wanted) -> Wanted:
        return Wanted(**{"stage": wanted.stage, "settings": wanted.settings, "data": wanted.data, "by": wanted.by}
                      | {name: change(getattr(wanted, name)) for name, change in changes.items()})  # fmt: skip

    return changed


def by(**changes: Any) -> Callable[[Circumstances], Circumstances]:
    return lambda was: was.model_copy(update=changes)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (with_(), True),
        (with_(by=by(command="cirn-dist run another", allow=("x",))), True),
        (with_(settings=lambda s: s | {"source.lr": 1.0}), False),
        (with_(settings=lambda s: {k: v for k, v in s.items() if k != "source.lr"}), False),
        (with_(data=lambda d: d | {"source": "0" * 64}), False),
        (with_(by=by(code="another")), False),
        (with_(by=by(code=None)), False),
        (with_(by=by(torch="1.0")), False),
        (with_(by=by(ranks=2)), False),
        (with_(by=by(precision="bf16")), False),
        (with_(by=by(micro_batch=2)), False),
    ],
)
def test_what_makes_a_stage_the_same(change: Change, same: bool, runs: Path, tmp_path: Path) -> None:
    wanted = change(wanted_of(runs / "first", "source"))
    assert (find(runs, tmp_path / "own", wanted) is not None) == same


def test_a_stage_of_another_parent_is_another(runs: Path, tmp_path: Path) -> None:
    own, wanted = tmp_path / "own", wanted_of(runs / "first", "cir_control")
    assert find(runs, own, wanted) is None, "its parent is not here"
    own.mkdir()
    take(runs / "first", own, "cir")
    assert find(runs, own, wanted) is not None
    checkpoint = Store(own / "cir/checkpoints").latest()
    assert checkpoint is not None
    shutil.rmtree(checkpoint.path)
    assert find(runs, own, wanted) is None


def test_what_is_not_whole_is_not_taken(runs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "runs"
    shutil.copytree(runs / "first", copy / "first")
    wanted, own = wanted_of(runs / "first", "source"), tmp_path / "own"
    assert find(copy, own, wanted) is not None
    changed = json.loads((copy / "first/source/made.json").read_text())
    changed["changes"] = [{"at": 4, "key": "source.lr", "was": 1, "now": 2}]
    write_json(copy / "first/source/made.json", changed)
    assert find(copy, own, wanted) is None, "a setting changed in the course of it"
    (copy / "first/source/made.json").write_text("{")
    assert find(copy, own, wanted) is None
    assert find(tmp_path / "nowhere", own, wanted) is None
    index = copy / "first/render/shards/index.json"
    of, how = read_json(index)["made"], wanted.by
    assert find_set(copy, own, "render", of, how) == copy / "first"
    assert find_set(copy, own, "render", of | {"batch": "another"}, how) is None
    assert find_set(copy, own, "render", of, how.model_copy(update={"code": "another"})) is None
    index.write_text("{")
    assert find_set(copy, own, "render", of, how) is None


def test_a_run_stays_whole_when_the_other_goes_on_or_is_removed(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(runs / "first", folder / "one")
    (folder / "two").mkdir()
    take(folder / "one", folder / "two", "source")
    before = {file: file.read_bytes() for file in (folder / "two/source").rglob("*") if file.is_file()}
    weights_file = next((folder / "two/source").rglob("segmenter.safetensors"))
    assert os.stat(weights_file).st_nlink > 1, "weights take no room twice"
    with (folder / "one/source/metrics.jsonl").open("a") as log:
        log.write("more\n")
    shutil.rmtree(folder / "one")
    assert {file: file.read_bytes() for file in before} == before


def test_of_two_that_start_at_once_one_makes_it(mini: Path, cirn_dist: Command, tmp_path: Path) -> None:
    done: dict[str, Run] = {}

    def start(name: str) -> None:
        done[name] = walk(tmp_path / "runs", name, mini, cirn_dist, "--until", "source")

    threads = [threading.Thread(target=start, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.returncode for run in done.values()] == [0, 0], [run.stderr for run in done.values()]
    assert sum(bool(taken(tmp_path / "runs" / name)) for name in done) == 1
    first, second = (weights(tmp_path / "runs" / name, ("source",)) for name in done)
    assert first == second


def test_a_sweep_shares_by_itself(mini: Path, cirn_dist: Command, tmp_path: Path) -> None:
    sweep = tmp_path / "epsilons.yaml"
    sweep.write_text(f"bases: [{mini}]\nsettings: {{with_cir: false, with_self_train: false, controls: false}}\n"
                     "over: {adapt.epsilon: [0.2, 0.4]}\n")  # fmt: skip
    for index in (0, 1):
        done = cirn_dist("sweep", "run", sweep, index, "--out", tmp_path / "out")
        assert done.returncode == 0, done.stderr
    assert taken(tmp_path / "out/mini-epsilon0.4-seed0") == {"source"}
    assert not (tmp_path / "out/mini-epsilon0.4-seed0/data/source").exists(), "packed once"
    done = cirn_dist("sweep", "collect", sweep, "--out", tmp_path / "out", "--json", tmp_path / "work.json")
    assert done.returncode == 0, done.stderr
    work = json.loads((tmp_path / "work.json").read_text())["work"]
    assert (work["stages"], work["taken"]) == (4, 1), "the source of two points, and stage 2 of each"
    assert 0 < work["spared"] < work["hours"]
    done = cirn_dist("sweep", "run", sweep, 1, "share=null", "--out", tmp_path / "apart")
    assert done.returncode == 0, done.stderr
    assert not taken(tmp_path / "apart/mini-epsilon0.4-seed0")
    one, other = (weights(tmp_path / out / "mini-epsilon0.4-seed0", ("source", "adapt")) for out in ("out", "apart"))
    assert one == other
