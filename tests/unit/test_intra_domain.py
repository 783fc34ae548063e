"""IntraDA: the split of the target by certainty, and stage 2 once more from one part to the other."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from authors import Z
from runs import weights
from stagerun import logged, settings, stage_run, stop_in_the_first_step

from cirn_dist.chain import adapt_within
from cirn_dist.config.load import load
from cirn_dist.data.decode import open_image
from cirn_dist.data.label_files import open_label
from cirn_dist.data.shards.shardset import LABEL, ShardSet
from cirn_dist.errors import ConfigError, DataError, Stopped
from cirn_dist.measure.footprint import footprints
from cirn_dist.pipeline import run_pipeline
from cirn_dist.stages.segmenter import load_segmenter
from cirn_dist.stages.self_train.intra_domain import split
from cirn_dist.stages.self_train.rules import easy_and_hard, uncertainty

SETTINGS = (
    "adapt.augment.crop=[48, 40]", "self_train.augment.crop=[48, 40]", "adapt.iterations=8", "self_train.iterations=8",
    "adapt.init=pretrained", "controls=false", "evaluate.adabn=false", "evaluate.panels=0", "source.iterations=4",
    "adapt.lr=1e-3", "self_train.lr=1e-3", "pseudo_label.easy_rare=[building, car]",
    "model.acm.width=8", "model.acm.k=0", "engine.checkpoint_every=4",
)  # fmt: skip


def test_images_are_ranked_as_the_authors_rank_them() -> None:
    scores = []
    for n in range(9):
        logits = Z((1, 19, 6, 7), (0.5 * (1 + (3 * n) % 7), 0.37, 1.3, 0.11, 0.23)).detach()[0]
        scores.append(uncertainty(logits.softmax(0)))
    authors = [0.0515568264403, 0.0423459832031, 0.0356963503006, 0.0455090284865, 0.0374753921614, 0.0488393874406,
               0.0396623918845, 0.0515568264403, 0.0423459832031]  # fmt: skip
    np.testing.assert_allclose(np.array(scores) / 19, authors, rtol=1e-9)
    easy, hard = easy_and_hard(scores, 0.67)
    assert (easy, hard) == ([1, 2, 3, 4, 6, 8], [0, 5, 7]), "the authors' [2, 4, 6, 1, 8, 3] and [5, 0, 7]"


def test_of_equally_certain_images_the_first_are_easy() -> None:
    assert easy_and_hard([0.5] * 5, 0.67) == ([0, 1, 2], [3, 4])
    assert uncertainty(torch.full((4, 2, 2), 0.25)) == pytest.approx(1)
    assert uncertainty(torch.eye(4)[:, :1, None].expand(4, 2, 2)) == 0


def test_of_rare_classes_an_image_has_the_more_the_easier_it_is() -> None:
    """The authors' (11 - found) / 11 + 0.5, where 11 is how many rare classes they count."""
    probabilities = torch.full((5, 4, 6), 0.1)
    probabilities[0, :2], probabilities[3, 2:] = 0.6, 0.6
    p = np.array([0.6, 0.1, 0.1, 0.1, 0.1])
    entropy = -(p * np.log(p)).sum() / np.log(5)
    assert uncertainty(probabilities) == pytest.approx(entropy, rel=1e-6)
    for rare, factor in (([1, 2], 1.5), ([0, 1, 3, 4], 1.0), ([3], 0.5), ([0, 3], 0.5), ([1, 2, 3], 2 / 3 + 0.5)):
        assert uncertainty(probabilities, rare) == pytest.approx(entropy * factor, rel=1e-6)


def test_the_order_of_rare_classes_needs_a_split(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"easy_rare ranks images for pseudo_label.easy_share, which is null"):
        settings(tmp_path, "pseudo_label.easy_rare=[car]")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = stage_run(tmp_path_factory.mktemp("intra") / "run", *SETTINGS, method="intrada")
    run_pipeline(run)
    return run.folder


def test_the_run_splits_its_target_and_trains_between_the_parts(finished: Path) -> None:
    labels = ShardSet.open(finished / "pseudo_label/shards")
    summary = json.loads((finished / "pseudo_label/summary.json").read_text())
    assert summary["ignored"] == 0, "all that the network says is a label"
    run = stage_run(finished, *SETTINGS, method="intrada")
    network = load_segmenter(run, "adapt").eval()
    by_hand = []
    for i in range(len(labels)):
        image = np.asarray(open_image(labels.read(i)[labels.image_field])).copy()
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.inference_mode():
            z = network(pixels).logits[0].double().numpy()
        p = np.exp(z - z.max(0)) / np.exp(z - z.max(0)).sum(0)
        absent = sum(name not in {run.labels.classes[c] for c in z.argmax(0).flat} for name in ("building", "car"))
        by_hand.append(-(p * np.log(p)).sum(0).mean() / math.log(11) * (absent / 2 + 0.5))
        np.testing.assert_array_equal(open_label(labels.read(i)[LABEL]), z.argmax(0))
    np.testing.assert_allclose(summary["uncertainty"], by_hand, rtol=1e-5)

    easy, hard = split(run, labels, 0.67)
    ranked = np.argsort(by_hand, kind="stable")
    assert [easy.key(i) for i in range(len(easy))] == [labels.key(int(i)) for i in sorted(ranked[: len(easy)])]
    assert [hard.key(i) for i in range(len(hard))] == [labels.key(int(i)) for i in sorted(ranked[len(easy) :])]
    assert len(easy) == int(len(labels) * 0.67)
    assert easy.read(0)[LABEL] == labels.read(int(min(ranked[: len(easy)])))[LABEL]
    assert not hard.has_labels
    assert set(hard.read(0)) == set(labels.fields) - {LABEL}
    assert sum(easy.shard_sizes) == len(easy)

    losses = logged(run, "self_train")[-1]["losses"]
    assert set(losses) == {"seg", "adv", "d"}, "AdvEnt's"
    terms = adapt_within(run.config)
    assert (terms.shown, terms.lambda_adv, terms.init, terms.iterations) == ("selfinfo", 0.001, "pretrained", 8)


def test_a_stop_within_it_loses_nothing(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "self_train")
    run = stage_run(folder, *SETTINGS, method="intrada")
    with monkeypatch.context() as patched:
        stop_in_the_first_step(run, patched)
        with pytest.raises(Stopped):
            run_pipeline(run)
    run_pipeline(stage_run(folder, *SETTINGS, method="intrada"))
    assert weights(folder, ("self_train",)) == weights(finished, ("self_train",))


def test_a_subset_reads_the_samples_it_was_asked_for(finished: Path) -> None:
    whole = ShardSet.open(finished / "pseudo_label/shards")
    assert len(whole.shards) > 1, "of several tars"
    part = whole.subset([5, 0, 3, 3])
    assert [part.key(i) for i in range(len(part))] == [whole.key(i) for i in (0, 3, 5)]
    assert [part.read(i) for i in range(3)] == [whole.read(i) for i in (0, 3, 5)]
    assert len(part.shard_sizes) == len(whole.shards)
    assert part.subset([2]).key(0) == whole.key(5)
    assert whole.subset([]).shard_sizes == [0] * len(whole.shards)
    with pytest.raises(IndexError):
        part.read(3)
    with pytest.raises(IndexError, match=r"samples 1 to 99 of"):
        whole.subset([1, 99])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("self_train.method=online", "needs with_adapt, and method offline"),
        ("pseudo_label.rounds=2", "one round"),
        ("self_train.lambda_kld=0.1", "no term of pseudo_label.easy_share"),
    ],
)
def test_what_does_not_go_together_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load("gta5_cityscapes+intrada", [setting])


def test_what_is_not_known_of_the_images_is_asked_for(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    labels, summary = ShardSet.open(folder / "pseudo_label/shards"), folder / "pseudo_label/summary.json"
    run = stage_run(folder, *SETTINGS, method="intrada")
    with pytest.raises(ConfigError, match="0 would be easy"):
        split(run, labels, 0.01)
    content = json.loads(summary.read_text())
    del content["uncertainty"]
    summary.write_text(json.dumps(content))
    with pytest.raises(DataError, match="how certain each image is"):
        split(run, labels, 0.67)


def test_the_doctor_counts_it() -> None:
    config = load("gta5_cityscapes+intrada", ["model.weights=null", "model.backbone=resnet18",
                                             "data.source.size=[64, 48]", "data.target.size=[64, 48]",
                                             "source.augment.crop=null"])  # fmt: skip
    found = {one.stage: one.total for one in footprints(config, "fp32", "cpu", ["adapt", "self_train"])}
    assert found["self_train"] == pytest.approx(found["adapt"], rel=0.05), "the same step"
