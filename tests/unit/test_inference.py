"""A trained network outside its run: loaded, predicting, scored; what it says is what its run has scored."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHARED, Command
from PIL import Image

import cirn_dist as package
from cirn_dist.data.label_files import open_label
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.errors import CheckpointError, ConfigError, DataError
from cirn_dist.inference.load import TrainedSegmenter, load
from cirn_dist.inference.logits import decided
from cirn_dist.inference.pictures import as_pixels, input_size
from cirn_dist.inference.score import labelled_at, open_labelled, score
from cirn_dist.rundir.results import read_results

CAMVID = SHARED / "data/camvid"


@pytest.fixture(scope="module")
def run(mini: Path, tmp_path_factory: pytest.TempPathFactory, cirn_dist: Command) -> Path:
    """Return a finished run: source and adaptation without the CIR, scored images at their own size."""
    out = tmp_path_factory.mktemp("inference") / "run"
    done = cirn_dist("run", mini, "with_cir=false", "controls=false", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def net(run: Path) -> TrainedSegmenter:
    return load(run)


@pytest.fixture(scope="module")
def photo(run: Path) -> np.ndarray:
    """A scored image, as it was packed (losslessly)."""
    shards = ShardSet.open(run / "data/scored")
    return as_pixels(_written(run.parent / "photo.png", shards.read(0)[shards.image_field]))


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_the_package_is_light_and_load_is_found() -> None:
    words = "import sys, cirn_dist; print(cirn_dist.__version__, 'torch' in sys.modules, cirn_dist.load.__name__)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == [package.__version__, "False", "load"]
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = package.lod  # type: ignore[attr-defined]


def test_a_path_is_a_run_a_stage_or_a_checkpoint(run: Path, net: TrainedSegmenter) -> None:
    assert (net.stage, net.size) == ("self_train", (48, 40))
    assert net.classes[:2] == ("sky", "building")
    assert load(run, "source").network.acm is None
    assert load(run / "adapt").stage == "adapt"
    one = max((run / "adapt/checkpoints").iterdir())
    assert load(one).checkpoint == one
    moved = run.with_name("moved")
    shutil.copytree(run, moved)
    assert load(moved).checkpoint == moved / net.checkpoint.relative_to(run)


@pytest.mark.parametrize(
    ("path", "stage", "message"),
    [
        ("absent", None, "there is nothing of that name"),
        ("run/data", None, "is neither a run's folder"),
        ("run", "adpt", r"stage adpt has no valid checkpoint; did you mean adapt\?"),
        ("run/adapt", "source", "is no run's folder"),
    ],
)
def test_what_is_no_network_is_refused(run: Path, path: str, stage: str | None, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(run.parent / path, stage)


def test_a_damaged_checkpoint_is_not_loaded(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (folder,) = (tmp_path / "run/source/checkpoints").glob("*3")
    weights = bytearray((folder / "segmenter.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "segmenter.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match=r"segmenter\.safetensors"):
        load(folder)


def test_predictions_are_those_the_run_has_scored(run: Path, net: TrainedSegmenter) -> None:
    """The mIoU computed by hand from predicted ids is the one in results.json; so is what `evaluate` says."""
    shards = ShardSet.open(run / "data/scored")
    counts = np.zeros((11, 11), np.int64)
    for index in range(len(shards)):
        sample = shards.read(index)
        found = net.predict(_written(run.parent / "one.png", sample[shards.image_field]))
        label = open_label(sample["label.png"])
        assert found.ids.shape == label.shape == (40, 48)
        seen = label != 255
        np.add.at(counts, (label[seen], found.ids[seen]), 1)
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    iou = [hit / every if every else None for hit, every in zip(np.diag(counts), union, strict=True)]
    row = read_results(run).rows[-1]
    assert row.iou == pytest.approx(iou)
    told = score(net, shards)
    assert told.scores.miou == row.miou
    assert told.confusion == counts.tolist()
    assert told.pixel_accuracy == pytest.approx(np.trace(counts) / counts.sum())


def test_one_image_in_every_form_is_the_same_image(photo: np.ndarray, net: TrainedSegmenter, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    Image.fromarray(photo).save(file)
    forms: list[Any] = [
        str(file), file, Image.fromarray(photo), photo, photo / 255.0, photo.astype(np.float32) / 255,
        torch.from_numpy(photo).permute(2, 0, 1), torch.from_numpy(photo).permute(2, 0, 1) / 255,
    ]  # fmt: skip
    first = net.predict(photo)
    assert first.ids.dtype == np.uint8
    assert first.confidence.dtype == np.float32
    assert first.confidence.min() >= 1 / 11
    assert first.confidence.max() <= 1
    for form in forms:
        found = net.predict(form)
        np.testing.assert_array_equal(found.ids, first.ids)
        np.testing.assert_array_equal(found.confidence, first.confidence)
    assert first.coloured().getpixel((3, 4)) == net.palette[first.ids[4, 3]]
    grey = np.asarray(Image.fromarray(photo).convert("L"))
    np.testing.assert_array_equal(as_pixels(grey), np.stack([grey] * 3, -1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32) - 0.5, r"floats from -0\.5 to -0\.5; give them in \[0, 1\]"),
        (np.full((4, 4, 3), 128.0), "floats from 128 to 128"),
        (np.full((4, 4, 3), np.nan), "floats from nan"),
        (np.zeros((4, 4, 3), np.int64), "an image of int64"),
        (np.zeros((4, 4, 3), np.uint16), "an image of uint16"),
        (np.zeros((3, 4, 4), np.uint8), r"shape \(3, 4, 4\); one image is \(H, W, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), "has no pixels"),
        (torch.zeros(1, 3, 4, 4), r"tensor of shape \(1, 3, 4, 4\)"),
        (torch.zeros(4, 4, 3), r"tensor of shape \(4, 4, 3\)"),
        (Image.new("CMYK", (4, 4)), "mode CMYK"),
        ("absent.png", r"absent\.png: cannot be read"),
    ],
)
def test_an_image_in_a_wrong_form_is_refused_not_guessed(image: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_pixels(image)


@pytest.mark.parametrize("classes", [1, 2, 19, 255])
def test_decisions_are_the_first_of_the_highest(classes: int) -> None:
    draw = np.random.default_rng(classes)
    logits = draw.integers(-3, 3, (classes, 9, 11)).astype(np.float32)  # few values: many ties
    logits[:, 0, 0], logits[0, 0, 1], logits[:, 0, 2] = -np.inf, np.inf, np.nan
    highest, ids = decided(torch.from_numpy(logits))
    assert ids.dtype == torch.uint8
    expected = logits.argmax(0)
    expected[0, 2] = 0
    np.testing.assert_array_equal(ids.numpy(), expected)
    np.testing.assert_array_equal(highest.numpy(), logits.max(0))


def test_images_of_any_size_and_of_one_pixel(net: TrainedSegmenter) -> None:
    draw = np.random.default_rng(0)
    for height, width in ((1, 1), (7, 200), (200, 7), (333, 500)):
        found = net.predict(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
        assert found.ids.shape == found.confidence.shape == (height, width)
    assert input_size((480, 400), (48, 40)) == (48, 40), "of the training images' shape: their size"
    assert input_size((2048, 1024), (1024, 512)) == (1024, 512)
    width, height = input_size((400, 480), (48, 40))
    assert width / height == pytest.approx(400 / 480, rel=0.03)
    assert width * height == pytest.approx(48 * 40, rel=0.05)


def test_evaluate_on_a_raw_folder_packs_it_as_the_run_would(run: Path, net: TrainedSegmenter, tmp_path: Path) -> None:
    raw, shards = tmp_path / "raw", ShardSet.open(run / "data/scored")
    for kind in ("images", "labels"):
        (raw / "val" / kind).mkdir(parents=True)
    for index in range(len(shards)):
        sample = shards.read(index)
        (raw / f"val/images/{index}.png").write_bytes(sample[shards.image_field])
        (raw / f"val/labels/{index}.png").write_bytes(sample["label.png"])
    packed = open_labelled(labelled_at(net, raw, tmp_path / "packed", recipe="folder", split="val"))
    assert score(net, packed).scores.iou == score(net, shards).scores.iou
    with pytest.raises(DataError, match="holds no labels"):
        open_labelled(labelled_at(net, run / "data/target", tmp_path / "none"))


def test_adabn_and_averaging_change_the_scores_and_other_classes_must_be_mapped(
    run: Path, net: TrainedSegmenter
) -> None:
    shards = ShardSet.open(run / "data/scored")
    plain = score(net, shards)
    assert score(net, shards, adabn=True).confusion != plain.confusion
    assert score(net, shards, scales=(0.5, 1.0), flip=True).confusion != plain.confusion
    assert score(net, shards).confusion == plain.confusion, "the network is as it was"
    with pytest.raises(ConfigError, match="no class"):
        score(net, shards, map_labels={"lawn": "road"})


def test_the_verb_says_the_same_in_json(run: Path, net: TrainedSegmenter, tmp_path: Path, cirn_dist: Command) -> None:
    told = tmp_path / "told.json"
    done = cirn_dist("evaluate", run, run / "data/scored", "--adabn", "--json", told)
    assert done.returncode == 0, done.stderr
    plain, renormalised = json.loads(told.read_text())
    assert plain["scores"]["miou"] == read_results(run).rows[-1].miou
    assert (renormalised["adabn"], plain["images"]) == (True, 4)
    assert "self_train, AdaBN" in done.stdout
    wrong = cirn_dist("evaluate", run, run / "data/scored", "--scales", "1,zwei")
    assert (wrong.returncode, "no scale" in wrong.stderr) == (2, True)


@pytest.mark.skipif(not CAMVID.is_dir(), reason="real CamVid is not beside this checkout")
def test_a_real_photograph(net: TrainedSegmenter) -> None:
    file = min((CAMVID / "val").glob("*.png"))
    found = net.predict(file)
    assert found.ids.shape == (360, 480)
    laid = np.asarray(found.overlay(file)).astype(int)
    apart = 0.55 * np.asarray(found.coloured()) + 0.45 * np.asarray(Image.open(file).convert("RGB"))
    assert np.abs(laid - apart).max() <= 0.5


def test_labels_of_other_classes_are_translated_only_where_that_is_asked_for(
    run: Path, net: TrainedSegmenter, tmp_path: Path
) -> None:
    """Cityscapes' ids 0 and 1 are road and sidewalk, CamVid's sky and building: read as such, nobody would know."""
    for kind, pixels in (("images", np.zeros((40, 48, 3), np.uint8)), ("labels", np.zeros((40, 48), np.uint8))):
        (tmp_path / "raw/val" / kind).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / f"raw/val/{kind}/a.png")
    of_cityscapes = {"label_space": "cityscapes19"}
    found = open_labelled(
        labelled_at(net, tmp_path / "raw", tmp_path / "set", recipe="folder", split="val", options=of_cityscapes)
    )
    with pytest.raises(ConfigError, match="its labels are cityscapes19's, the network's camvid11's; translate them"):
        score(net, found)
    counts = np.array(score(net, found, map_labels={}).confusion)
    assert counts[net.classes.index("road")].sum() == counts.sum() == 40 * 48
