"""Awkward data and wrong checkpoints in stages 2 and 3: finite numbers, or one line that names what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rawdata import save
from stagerun import logged, stage_run

from cirn_dist.engine.loop import fit
from cirn_dist.engine.run import Run
from cirn_dist.errors import CheckpointError
from cirn_dist.stages import segmenter as parts
from cirn_dist.stages.adapt.train import adaptation
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.evaluate.miou import evaluate
from cirn_dist.stages.segmenter import build_segmenter, initial_segmenter, load_segmenter
from cirn_dist.stages.self_train.pseudo_label import pseudo_label
from cirn_dist.stages.self_train.train import self_training

SHORT = ("adapt.init=pretrained", "adapt.iterations=4", "self_train.iterations=4", "adapt.warmup=0",
         "adapt.augment.crop=null", "self_train.augment.crop=null")  # fmt: skip


def all_finite(run: Run, stage: str) -> bool:
    values = [v for line in logged(run, stage) for part in ("losses", "observed") for v in line[part].values()]
    weights = run.finished(stage).read("segmenter").values()
    return None not in values and all(bool(torch.isfinite(tensor).all()) for tensor in weights)


def target_of(size: tuple[int, int], raw: Path) -> str:
    """Write a target of images of one size, three to train and one to score on; returns its setting."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1)):
        for i in range(count):
            save(raw / f"{split}/images/{i}.png", rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
            save(raw / f"{split}/labels/{i}.png", rng.integers(0, 11, (size[1], size[0])).astype(np.uint8))
    return f"data.target={{recipe: folder, raw: {raw}, size: {list(size)}, score_split: val}}"


@pytest.mark.parametrize("size", [(3, 2), (37, 23)], ids=["smaller than the stride", "odd"])
def test_targets_of_any_size_go_through_stages_2_and_3(size: tuple[int, int], tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", *SHORT, target_of(size, tmp_path / "raw"))
    domains = open_domains(run)
    fit(adaptation(run, "adapt", domains.source, domains.target, run.config.adapt), run)
    labels = pseudo_label(run, domains.target)
    fit(self_training(run, domains.source, labels), run)
    assert all_finite(run, "adapt")
    assert all_finite(run, "self_train")
    assert len(labels) == len(domains.target)
    assert 0 <= (evaluate(run, load_segmenter(run, "self_train"), domains.scored).miou or 0) <= 1


def test_images_whose_labels_are_all_ignored_train_nothing_and_break_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stage_run(tmp_path, *SHORT)
    domains = open_domains(run)
    monkeypatch.setattr(parts, "relabelling", lambda *_: np.full(256, 255, np.uint8))
    fit(adaptation(run, "adapt", domains.source, domains.target, run.config.adapt), run)
    assert logged(run, "adapt")[-1]["losses"]["seg"] == 0
    fit(self_training(run, domains.source, pseudo_label(run, domains.target)), run)
    assert logged(run, "self_train")[-1]["losses"]["pseudo"] == 0
    assert all_finite(run, "adapt")
    assert all_finite(run, "self_train")


def saved(run: Run, stage: str, *, label_space: str = "camvid11", with_acm: bool = True) -> None:
    segmenter = build_segmenter(run, with_acm=with_acm)
    state = {"finished": True, "label_space": label_space, "iteration": 0}
    run.store(stage).save(1, {"segmenter": segmenter.state_dict()}, state)


def test_a_checkpoint_of_another_label_space_or_architecture_is_refused_by_name(tmp_path: Path) -> None:
    run = stage_run(tmp_path)
    saved(run, "source", label_space="cityscapes19")
    with pytest.raises(CheckpointError, match="was trained on cityscapes19, this run is on camvid11"):
        initial_segmenter(run, "source", with_acm=True)
    saved(run, "source", with_acm=False)
    other = stage_run(tmp_path, "model.backbone=resnet18")
    with pytest.raises(CheckpointError, match=r"segmenter lacks backbone\..*another architecture"):
        initial_segmenter(other, "source", with_acm=True)
    saved(run, "adapt", with_acm=False)
    with pytest.raises(CheckpointError, match=r"segmenter lacks acm\."):
        initial_segmenter(run, "adapt", with_acm=True)
    with pytest.raises(CheckpointError, match=r"self_train: has no finished checkpoint; run that stage first"):
        load_segmenter(run, "self_train")


@pytest.mark.parametrize("rule", ["bdl", "crst"])
def test_a_class_nobody_predicts_gets_no_label_and_no_nan(rule: str, tmp_path: Path) -> None:
    run = stage_run(tmp_path, f"pseudo_label.rule={rule}")
    segmenter = build_segmenter(run, with_acm=True)
    for branch in segmenter.classifier.branches:
        branch.bias.data[3] = -100.0
    state = {"finished": True, "label_space": "camvid11", "iteration": 0}
    run.store("adapt").save(1, {"segmenter": segmenter.state_dict()}, state)
    labels = pseudo_label(run, open_domains(run).target)
    assert labels.meta["class_pixels"][3] == 0
    assert sum(labels.meta["class_pixels"]) > 0
    summary = (run.folder / "pseudo_label/summary.json").read_text()
    assert "NaN" not in summary
