"""CRST's soft labels (LRENT): the authors' values, what augmentation does to them, and what stage 3 pays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from authors import Z
from numpy_losses import np64, softmax
from PIL import Image
from stagerun import logged, settings, stage_run

from cirn_dist.data.decode import CODECS, encode_image, encode_label
from cirn_dist.data.label_files import open_label
from cirn_dist.data.labels import IGNORE
from cirn_dist.data.loading.stream import stack
from cirn_dist.data.loading.transforms import SegmentationTransform
from cirn_dist.data.shards.shardset import LABEL, SOFT, ShardSet
from cirn_dist.engine.loop import fit
from cirn_dist.engine.run import Run
from cirn_dist.engine.upload import prepared
from cirn_dist.errors import ConfigError, CorruptSample
from cirn_dist.losses import soft_supervision
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.stages.domains import Domains, open_domains
from cirn_dist.stages.self_train.pseudo_label import pseudo_label
from cirn_dist.stages.self_train.rules import soft_labels
from cirn_dist.stages.self_train.train import self_training
from cirn_dist.stages.source import supervised

CRST = (4.0, 0.37, 1.3, 0.11, 0.23)
THRESHOLDS = np.array([0.853256344795, 0.894294440746, 0.892911672592, 0.889151811600, 0.852472960949])
LRENT = ("pseudo_label.rule=crst", "pseudo_label.label_entropy=0.02", "pseudo_label.portion=0.4", "with_cir=false",
         "with_adapt=false", "model.with_acm=false", "self_train.init=source", "controls=false",
         "self_train.source_weight=0", "evaluate.adabn=false", "evaluate.panels=0")  # fmt: skip


def predictions() -> torch.Tensor:
    return Z((3, 5, 12, 14), CRST).detach().softmax(1).float()


def exact(probabilities: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return shares (N, C, H, W) and which pixels are labelled, by the authors' formula in float64."""
    powers = (probabilities.double().numpy() / THRESHOLDS[:, None, None]) ** 4
    return powers / powers.sum(1, keepdims=True), powers.sum(1) > 1


def test_labels_are_the_authors() -> None:
    found = [soft_labels(image, THRESHOLDS, 0.25) for image in predictions()]
    labels = np.stack([label.numpy() for label, _ in found])
    shares = np.stack([share.numpy() for _, share in found])
    counts = [int((labels == value).sum()) for value in (*range(5), IGNORE)]
    assert counts == [17, 23, 12, 18, 20, 414]
    weighted = (labels.ravel() * np.cos(np.arange(labels.size))).sum()
    assert weighted == pytest.approx(575.182352988, rel=1e-9)
    expected, kept = exact(predictions())
    assert (expected**2).sum() == pytest.approx(466.098555881, rel=1e-6), "the formula is the authors'"
    np.testing.assert_array_equal(labels != IGNORE, kept)
    np.testing.assert_allclose(shares / 255, expected, atol=0.5 / 255 + 1e-6)


def test_a_pixel_of_two_likely_classes_is_labelled_where_one_class_is_not_enough() -> None:
    """0.92^4 and 0.88^4 are more than 1 together; by the larger ratio alone it would be left out."""
    pair = torch.tensor([0.46, 0.44, 0.1])[:, None, None]
    label, shares = soft_labels(pair, np.array([0.5, 0.5, 1.0]), 0.25)
    assert label.item() == 0
    first = 0.92**4 / (0.92**4 + 0.88**4 + 0.1**4)
    assert shares.flatten().tolist() == [round(255 * first), round(255 * (1 - first)), 0]


def test_a_class_that_nobody_predicted_is_no_error() -> None:
    label, shares = soft_labels(torch.tensor([1.0, 0.0])[:, None, None], np.array([0.9, 0.0]), 1e-3)
    assert (label.item(), shares.flatten().tolist()) == (0, [255, 0])


def test_the_loss_is_the_authors_but_for_the_mean_of_images() -> None:
    logits = Z((2, 5, 12, 14))
    expected, kept = exact(predictions()[:2])
    labels = torch.from_numpy(np.where(kept, expected.argmax(1), IGNORE))
    costs = [
        soft_supervision(SegOutput(logits[i : i + 1], None), labels[i : i + 1], torch.from_numpy(expected[i : i + 1]))
        for i in range(2)
    ]
    counts = kept.sum((1, 2))
    over_pixels = (costs[0] * counts[0] + costs[1] * counts[1]) / counts.sum()
    over_pixels.backward()
    assert over_pixels.item() == pytest.approx(0.236585408835, rel=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().sum().item() == pytest.approx(0.42037334806, rel=1e-6)
    both = soft_supervision(SegOutput(logits, None), labels, torch.from_numpy(expected))
    assert both.item() == pytest.approx(sum(cost.item() for cost in costs) / 2, rel=1e-12)


def test_shares_of_eight_bits_are_scaled_and_nothing_labelled_costs_nothing() -> None:
    logits, shares = Z((1, 3, 2, 2)), torch.full((1, 3, 2, 2), 85 / 255, dtype=torch.float64)
    shares[:, 2] = 84 / 255
    labels = torch.zeros(1, 2, 2, dtype=torch.int64)
    logs = logits.detach().log_softmax(1).numpy()
    expected = -(np.array([85, 85, 84])[:, None, None] / 254 * logs[0]).sum(0).mean()
    assert soft_supervision(SegOutput(logits, None), labels, shares).item() == pytest.approx(expected, rel=1e-12)
    nothing = soft_supervision(SegOutput(logits, None), labels + IGNORE, torch.zeros_like(shares))
    nothing.backward()
    assert (nothing.item(), logits.grad.abs().sum().item()) == (0, 0)


def sample(height: int = 20, width: int = 28) -> dict[str, bytes]:
    """An image whose soft labels are its label's classes with a share of 255."""
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 256, (height, width, 3), np.uint8), rng.integers(0, 3, (height, width), np.uint8)
    planes = np.stack([np.where(label == c, 255, 0) for c in range(3)]).astype(np.uint8)
    return {
        CODECS["png"]: encode_image(Image.fromarray(image), "png"),
        LABEL: encode_label(label),
        SOFT: encode_label(planes.reshape(-1, width)),
    }


@pytest.mark.parametrize("crop", [None, (24, 18), (40, 44)])
@pytest.mark.parametrize("drawn", [0.01, 0.4, 0.99])
def test_augmentation_moves_soft_labels_with_the_classes(crop: tuple[int, int] | None, drawn: float) -> None:
    transform = SegmentationTransform(crop=crop, mirror=True, scales=(0.8, 1.0, 1.5), jitter=0.2)
    found = transform(sample(), np.full(transform.draws, drawn))
    label, soft = found["label"].numpy(), found["soft"].numpy()
    assert soft.shape == (3, *label.shape)
    np.testing.assert_array_equal(soft.sum(0), np.where(label == IGNORE, 0, 255))
    np.testing.assert_array_equal(soft.argmax(0)[label != IGNORE], label[label != IGNORE])


def test_soft_labels_of_another_size_are_refused_by_name() -> None:
    for planes in (np.zeros((61, 28), np.uint8), np.zeros((60, 27), np.uint8)):
        with pytest.raises(CorruptSample, match=r"soft\.png.*no pile of maps of the label's size"):
            SegmentationTransform()(sample() | {SOFT: encode_label(planes)}, np.zeros(SegmentationTransform().draws))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Domains, ShardSet]:
    run = stage_run(tmp_path_factory.mktemp("soft"), *LRENT)
    domains = open_domains(run)
    fit(supervised(run, "source", domains.source, run.config.source), run)
    return run, domains, pseudo_label(run, domains.target)


def test_the_set_holds_what_the_network_says(labelled: tuple[Run, Domains, ShardSet]) -> None:
    run, _, shards = labelled
    assert SOFT in shards.fields
    assert SOFT not in shards.without_labels().fields
    one = shards.read(0)
    label, planes = open_label(one[LABEL]), open_label(one[SOFT])
    shares = planes.reshape(-1, *label.shape)
    assert len(shares) == run.labels.num_classes
    assert abs(shares.sum(0, dtype=int) - 255).max() <= len(shares) / 2
    kept = label != IGNORE
    assert 0.2 < kept.mean() < 1
    of_label = np.take_along_axis(shares, np.where(kept, label, 0)[None], 0)[0]
    np.testing.assert_array_equal(of_label[kept], shares.max(0)[kept])
    assert (shares.max(0) < 255).any(), "they are soft"


def test_stage_3_pays_the_cross_entropy_with_what_is_stored(labelled: tuple[Run, Domains, ShardSet]) -> None:
    run, domains, shards = labelled
    training = self_training(run, domains.source, shards)
    segmenter = training.players["segmenter"].networks["segmenter"]
    found = training.streams["target"][0]
    batch = {"target": {name: stack([{name: found[name]}])[name] for name in ("image", "label", "soft")}}
    ready = prepared(batch, torch.float32)
    (one,) = training.passes(ready, 0)
    with torch.no_grad():
        p = softmax(np64(segmenter(ready["target"]["image"]).p1))
    shares, kept = found["soft"].numpy().astype(float), found["label"].numpy() != IGNORE
    expected = -(shares / shares.sum(0).clip(1) * np.log(p[0])).sum(0)[kept].mean()
    assert one.losses["pseudo"].item() == pytest.approx(expected, rel=1e-4)
    fit(training, run)
    assert set(logged(run, "self_train")[-1]["losses"]) == {"pseudo"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("pseudo_label.rule=bdl", "label_entropy softens the labels of rule crst; rule bdl has classes alone"),
        ("self_train.focal_gamma=2", "self_train.focal_gamma is for labels that are classes"),
        ("self_train.method=online", "label_entropy is of self_train.method offline"),
    ],
)
def test_where_there_are_no_soft_labels_it_says_so(change: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(tmp_path, *LRENT, change)
