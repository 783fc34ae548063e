"""A start that is refused leaves nothing and keeps what was there; what is not trained yet takes other settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from forks import Fault, Starts
from runs import content

# What is found before anything was written, in the middle of looking at the data, and after the domains were packed.
WRONG = {
    "engine": ("engine.ranks=2",),
    "space": ("data.label_space=cityscapes91",),
    "folder": ("data.source.recipe=camvid", "data.source.raw=nowhere", "data.source.options={}"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_refused_start_leaves_nothing(wrong: str, short: Path, starts: Starts, tmp_path: Path) -> None:
    done = starts("run", short, "--out", tmp_path / "run", *WRONG[wrong])
    assert done.code in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_start_refused_after_packing_keeps_that_alone(short: Path, starts: Starts, tmp_path: Path) -> None:
    run, weights = tmp_path / "run", tmp_path / "other.safetensors"
    weights.write_bytes(b"no weights")
    done = starts("run", short, "--out", run, f"model.segmenter={weights}")
    assert done.code in (1, 2), done.stderr
    assert not run.exists() or {path.name for path in run.iterdir()} == {"data"}
    assert starts("run", short, "--out", run, "--until", "source").code == 0, "another configuration, nothing to allow"


def test_a_refused_start_leaves_a_folder_as_it_found_it(short: Path, starts: Starts, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    raw, options = "data.target.raw=nowhere", ("data.target.score_split=null", "data.target.options={}")
    done = starts("run", short, "--out", run, "data.target.recipe=camvid", *options, raw)
    assert done.code == 1, done.stderr
    left = {str(path.relative_to(run)).split("/")[0] for path in run.rglob("*") if path.is_file()}
    assert left <= {"notes.txt", "data"}
    assert "notes.txt" in left


def test_until_something_is_trained_a_folder_takes_another_configuration(
    short: Path, starts: Starts, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    fault = Fault(r"mkdir source/checkpoints")
    assert starts("run", short, "--out", run, run=run, fault=fault).code == -9
    assert not list(run.glob("*/checkpoints/step-*"))
    packed = content(run / "data")
    done = starts("run", short, "--out", run, "source.lr=0.0005", "seed=4", "--until", "source")
    assert done.code == 0, done.stderr
    assert content(run / "data") == packed, "what was packed still fits"
    made = json.loads((run / "source/made.json").read_text("utf-8"))
    assert (made["settings"]["source.lr"], made["settings"]["seed"]) == (0.0005, 4)
    assert [start["first"] for start in made["starts"]] == [0], "the start with other settings made nothing of it"
    assert not (run / "changes.jsonl").exists()
    assert yaml.safe_load((run / "config.yaml").read_text("utf-8"))["seed"] == 4
    assert json.loads((run / "results.json").read_text("utf-8"))["seed"] == 4


def test_what_was_packed_otherwise_is_not_used(short: Path, starts: Starts, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert starts("run", short, "--out", run, "--until", "data").code == 0
    other = ("data.source.size=[56,40]", "data.source.options.count=6")
    done = starts("run", short, "--out", run, "--until", "data", *other)
    assert done.code == 1
    assert "packed with other options" in done.stderr
    assert str(run / "data/source") in done.stderr
    shutil.rmtree(run / "data/source")
    assert starts("run", short, "--out", run, "--until", "data", *other).code == 0
