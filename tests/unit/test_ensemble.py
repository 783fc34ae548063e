"""Several networks' probabilities averaged: in memory, by the verbs, and for pseudo labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import MINI, Command
from PIL import Image
from stagerun import stage_run
from torch.nn import functional as F

from cirn_dist.data.decode import open_image
from cirn_dist.data.label_files import open_label
from cirn_dist.data.labels import label_space
from cirn_dist.data.shards.shardset import LABEL, ShardSet
from cirn_dist.errors import ConfigError
from cirn_dist.inference.load import assert_same_classes, load
from cirn_dist.inputs import check_inputs
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.ensemble import Ensemble
from cirn_dist.stages.self_train.pseudo_label import pseudo_label


def mean_probabilities(nets: list[Segmenter], pixels: torch.Tensor) -> np.ndarray:
    """Average softmax at the features' size, then upsample, corner pixels on corner pixels; (C, H, W) float64."""
    with torch.inference_mode():
        small = [net(pixels).small[0].double().numpy() for net in nets]
    shares = [np.exp(z - z.max(0)) / np.exp(z - z.max(0)).sum(0) for z in small]
    mean = torch.from_numpy(sum(shares) / len(shares))[None]
    return F.interpolate(mean, pixels.shape[-2:], mode="bilinear", align_corners=True)[0].numpy()


@pytest.fixture(scope="module")
def two(finished_run: Path) -> list[Path]:
    return [finished_run / "source", finished_run / "adapt"]


def test_probabilities_are_averaged_not_logits(two: list[Path], finished_run: Path) -> None:
    nets = [load(path).network for path in two]
    target = ShardSet.open(finished_run / "data/target")
    image = np.asarray(open_image(target.read(0)[target.image_field]))
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = mean_probabilities(nets, pixels)
    with torch.inference_mode():
        found = Ensemble(nets)(pixels).logits[0].exp().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with torch.inference_mode():
        of_logits = torch.stack([net(pixels).logits[0] for net in nets]).sum(0).softmax(0).numpy()
    assert np.abs(found - of_logits).max() > 1e-3, "another mean"

    together = load(two[0], also=[two[1]]).predict(image)
    np.testing.assert_array_equal(together.ids, expected.argmax(0))
    np.testing.assert_allclose(together.confidence, expected.max(0), atol=1e-5)


def test_the_verbs_average(two: list[Path], finished_run: Path, tmp_path: Path, cirn_dist: Command) -> None:
    scored = finished_run / "data/scored"
    means = {}
    for name, also in (("alone", []), ("itself", [two[0]]), ("both", [two[1]])):
        more = [part for path in also for part in ("--also", path)]
        done = cirn_dist("evaluate", two[0], scored, *more, "--adabn", "--json", tmp_path / f"{name}.json")
        assert done.returncode == 0, done.stderr
        plain, renormalised = json.loads((tmp_path / f"{name}.json").read_text())
        means[name] = (plain["scores"]["miou"], renormalised["scores"]["miou"])
        assert [len(one["also"]) for one in (plain, renormalised)] == [len(also)] * 2
    assert means["itself"] == pytest.approx(means["alone"], abs=0.02), "upsampled probabilities, not logits"
    assert means["both"] != means["alone"]

    Image.fromarray(np.full((40, 48, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    done = cirn_dist("predict", two[0], tmp_path / "grey.png", "--also", two[1], "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    expected = load(two[0], also=[two[1]]).predict(tmp_path / "grey.png").ids
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/ids/grey.png")), expected)


def test_pseudo_labels_of_several_networks(two: list[Path], finished_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    shutil.rmtree(folder / "pseudo_label")
    target = ShardSet.open(folder / "data/target")
    nets = [load(folder / "adapt").network, load(two[0]).network]
    expected = []
    for i in range(len(target)):
        image = np.asarray(open_image(target.read(i)[target.image_field])).copy()
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        expected.append(mean_probabilities(nets, pixels))
    least = float(np.median([one.max(0) for one in expected]))
    settings = (f"pseudo_label.also=[{two[0]}]", "pseudo_label.rule=fixed", f"pseudo_label.threshold={least}")
    labels = pseudo_label(stage_run(folder, *settings), target)
    for i, probabilities in enumerate(expected):
        confidence = probabilities.max(0)
        sure = np.abs(confidence - least) > 1e-4
        wanted = np.where(confidence >= least, probabilities.argmax(0), 255)
        np.testing.assert_array_equal(open_label(labels.read(i)[LABEL])[sure], wanted[sure])
    assert labels.meta["made"]["also"] == load(two[0]).fingerprint
    alone = pseudo_label(stage_run(folder, *settings[1:]), target)
    assert alone.fingerprint != labels.fingerprint, "a set of other networks is made anew"


def test_a_run_looks_at_the_others_first_and_keeps_paths_whole(two: list[Path], tmp_path: Path) -> None:
    from cirn_dist.config.load import load as load_config

    file = tmp_path / "mine.yaml"
    (tmp_path / "other").symlink_to(two[0].parent)
    file.write_text(yaml.safe_dump(MINI | {"pseudo_label": {"also": ["other/source"]}}), encoding="utf-8")
    config = load_config(str(file))
    assert config.pseudo_label.also == (str(tmp_path / "other/source"),)
    check_inputs(config, tmp_path / "run")
    gone = load_config(str(file), ["pseudo_label.also=[nowhere]"])
    with pytest.raises(Exception, match="nowhere: there is nothing of that name"):
        check_inputs(gone, tmp_path / "run")


def test_other_classes_are_refused(two: list[Path]) -> None:
    with pytest.raises(ConfigError, match=r"classes are camvid11's, not cityscapes19's.*average networks"):
        assert_same_classes(load(two[0]), label_space("cityscapes19"))
