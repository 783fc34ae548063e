"""A trained network used by two processes: the scores and the files of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from launching import launch
from PIL import Image


@pytest.fixture(scope="module")
def run(mini: Path, tmp_path_factory: pytest.TempPathFactory, cirn_dist: Command) -> Path:
    out = tmp_path_factory.mktemp("used") / "run"
    unfrozen = ("with_cir=false", "controls=false", "model.norm=batch", "--until", "source")
    assert cirn_dist("run", mini, *unfrozen, "--out", out).returncode == 0
    return out


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five labelled images: three batches of two, which two ranks cannot share evenly."""
    folder, draw = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / "val" / kind).mkdir(parents=True)
    for name in "abcde":
        Image.fromarray(draw.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / f"val/images/{name}.png")
        Image.fromarray(draw.integers(0, 11, (40, 48), dtype=np.uint8)).save(folder / f"val/labels/{name}.png")
    return folder


@pytest.mark.parametrize("launcher", ["accelerate", "torchrun"])
def test_two_ranks_score_what_one_scores(
    launcher: str, run: Path, raw: Path, tmp_path: Path, cirn_dist: Command
) -> None:
    words = ("evaluate", run, raw, "--recipe", "folder", "--adabn", "--flip", "--json")
    done = cirn_dist(*words, tmp_path / "one.json")
    assert done.returncode == 0, done.stderr
    both = launch(2, *words, tmp_path / "two.json", launcher=launcher)
    assert both.returncode == 0, both.stderr
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one == two
    assert [found["images"] for found in two] == [5, 5]
    assert sum(map(sum, two[0]["confusion"])) == 5 * 40 * 48
    assert two[0]["scores"] != two[1]["scores"], "AdaBN changes something here"
    assert both.stdout.count("mIoU") == done.stdout.count("mIoU"), "one rank prints"


def test_two_ranks_predict_what_one_predicts(run: Path, raw: Path, tmp_path: Path, cirn_dist: Command) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for file in (raw / "val/images").iterdir():
        (images / file.name).write_bytes(file.read_bytes())
    (images / "broken.png").write_bytes(b"no image")
    done = cirn_dist("predict", run, images, "--out", tmp_path / "one")
    both = launch(2, "predict", run, images, "--out", tmp_path / "two", "--json", tmp_path / "told.json")
    assert done.returncode == both.returncode == 1, both.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["predicted"] == 5
    assert [Path(one["file"]).name for one in told["damaged"]] == ["broken.png"]
    assert both.stderr.count("broken.png: ") == 1
    for kind in ("ids", "colour"):
        files = sorted((tmp_path / "one" / kind).iterdir())
        assert [file.name for file in files] == [f"{name}.png" for name in "abcde"]
        for file in files:
            assert file.read_bytes() == (tmp_path / "two" / kind / file.name).read_bytes()
    again = launch(2, "predict", run, images, "--out", tmp_path / "two")
    assert again.returncode != 0
    assert again.stderr.count("insist with --overwrite") == 1
