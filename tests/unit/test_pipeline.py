"""The whole pipeline, small: what it leaves behind; repeated and resumed exactly; blind to target labels."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import MINI, ROOT, Command
from PIL import Image
from runs import TRAINED, wait_for, weights

from cirn_dist.checkpoint.store import Store, verify
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.data.streets import render


def test_every_stage_leaves_a_valid_finished_checkpoint_and_a_log(finished_run: Path) -> None:
    for stage in TRAINED:
        newest = Store(finished_run / stage / "checkpoints").latest()
        assert newest is not None
        assert newest.state["finished"]
        assert verify(newest.path) is None
        lines = [json.loads(line) for line in (finished_run / stage / "metrics.jsonl").read_text().splitlines()]
        assert lines[-1]["iteration"] == newest.state["iteration"]
        assert all(value is not None for value in lines[-1]["losses"].values())


def test_results_have_the_papers_rows_each_with_its_baselines(finished_run: Path) -> None:
    results = json.loads((finished_run / "results.json").read_text())
    rows = results["rows"]
    assert [row["title"] for row in rows] == ["Source only", "CIR", "CIR + ASS", "CIR + ASS + ST"]
    assert all(0 < row["miou"] < 1 and row["adabn"]["miou"] is not None for row in rows)
    assert [row["control"] and row["control"]["title"] for row in rows] == [
        None, "source, trained as long", "CIR, trained as long", "CIR + ASS, trained as long",
    ]  # fmt: skip
    longer = json.loads((finished_run / "cir_control/scores.json").read_text())
    assert rows[2]["control"]["miou"] == longer["plain"]["miou"], (
        "stage 2's control goes on from the CIR row, as it does"
    )
    assert longer["iterations"] == rows[2]["iterations"]
    assert json.loads((finished_run.parent / "results.json").read_text()) == results, "--json writes the same"
    assert (finished_run / "report.html").stat().st_size > 10_000


def test_the_cir_has_the_sources_labels_byte_for_byte(finished_run: Path) -> None:
    source, cir = ShardSet.open(finished_run / "data/source"), ShardSet.open(finished_run / "render/shards")
    assert len(source) == len(cir)
    for i in range(len(source)):
        before, after = source.read(i), cir.read(i)
        assert source.key(i) == cir.key(i)
        assert before["label.png"] == after["label.png"]
        assert before[source.image_field] != after[cir.image_field]


def test_started_again_a_finished_run_trains_nothing(finished_run: Path, mini: Path, cirn_dist: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("MANIFEST.json")}
    again = cirn_dist("run", mini, "--out", finished_run)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("MANIFEST.json")} == before


def test_another_configuration_is_refused_with_what_changed(finished_run: Path, mini: Path, cirn_dist: Command) -> None:
    other = cirn_dist("run", mini, "--out", finished_run, "adapt.lambda_cos=3")
    assert other.returncode == 2
    assert "adapt.lambda_cos was 10.0, is 3.0" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.slow
def test_interrupted_and_killed_and_started_again_it_is_the_same_run(
    finished_run: Path, mini: Path, tmp_path: Path
) -> None:
    """Ctrl-C in one stage, kill -9 in another, and the weights are those of the undisturbed run, bit for bit."""
    command = [sys.executable, "-m", "cirn_dist", "run", str(mini), "--out", str(tmp_path / "run")]
    log = tmp_path / "run/translate/metrics.jsonl"
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_for(log, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert errors.count("\n") == 1, f"one line: {errors}"
    assert "start again to continue" in errors

    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_for(tmp_path / "run/adapt/metrics.jsonl", process)
    process.kill()
    process.communicate()

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert weights(tmp_path / "run") == weights(finished_run)


@pytest.mark.slow
def test_training_never_reads_a_target_label(tmp_path: Path, cirn_dist: Command) -> None:
    """With the training labels removed, and then scoring too, every weight is the same to the bit."""
    raw = tmp_path / "raw"
    for split, stem, count in (("train", "0001TP_00669", 7), ("val", "0016E5_0796", 3)):
        (raw / split).mkdir(parents=True)
        (raw / f"{split}annot").mkdir()
        for i in range(count):
            image, label = render(1, i, 48, 40, "photo")
            Image.fromarray(image).save(raw / split / f"{stem}{i}.png")
            Image.fromarray(np.where(label == 255, 11, label).astype(np.uint8)).save(
                raw / f"{split}annot/{stem}{i}.png"
            )
    config = tmp_path / "camvid.yaml"
    target = {"recipe": "camvid", "size": [48, 40], "score_split": "val"}
    settings = MINI | {"data": MINI["data"] | {"target": target}, "controls": False}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")

    with_labels = cirn_dist("run", config, f"data.target.raw={raw}", "--out", tmp_path / "a")
    assert with_labels.returncode == 0, with_labels.stderr
    shutil.rmtree(raw / "trainannot")
    shutil.rmtree(raw / "valannot")
    without = cirn_dist(
        "run", config, f"data.target.raw={raw}", "data.target.score_split=null", "--out", tmp_path / "b"
    )
    assert without.returncode == 0, without.stderr
    stages = [stage for stage in TRAINED if not stage.endswith("control")]
    for stage in stages:
        newest = [Store(tmp_path / run / stage / "checkpoints").latest() for run in "ab"]
        assert newest[0].read("segmenter" if stage != "translate" else "generator_s2t").keys()
        manifests = [json.loads((one.path / "MANIFEST.json").read_text()) for one in newest]
        for name in manifests[0].keys() - {"state.json"}:
            assert manifests[0][name] == manifests[1][name], f"{stage}/{name}"
    rows = json.loads((tmp_path / "b/results.json").read_text())["rows"]
    assert [row["miou"] for row in rows] == [None] * 4
    assert (tmp_path / "b/report.html").is_file()
