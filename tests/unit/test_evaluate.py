"""Scores and pseudo-label thresholds against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cirn_dist.config.groups.self_train import PseudoLabel
from cirn_dist.inference.iou import confusion, scores
from cirn_dist.stages.self_train.confidence import BINS, EDGES, bins_of, confidence_histogram
from cirn_dist.stages.self_train.rules import select, thresholds


def test_iou_by_hand() -> None:
    label = np.array([[0, 0, 1, 1], [2, 2, 255, 255]], np.uint8)
    predicted = np.array([[0, 1, 1, 1], [2, 0, 2, 0]], np.uint8)
    counts = confusion(predicted, label, 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    found = scores(counts)
    assert found.iou == pytest.approx((1 / 3, 2 / 3, 1 / 2, None))
    assert found.miou == pytest.approx((1 / 3 + 2 / 3 + 1 / 2) / 3), "an absent class does not count"


@given(st.integers(0, 10_000), st.integers(2, 12))
@settings(max_examples=30, deadline=None)
def test_iou_equals_sets_of_pixels(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.choice([*range(classes), 255], (9, 7)).astype(np.uint8)
    predicted = rng.integers(0, classes, (9, 7)).astype(np.uint8)
    found = scores(confusion(predicted, label, classes))
    for c in range(classes):
        truth, guess = (label == c), (predicted == c) & (label != 255)
        union = (truth | guess).sum()
        assert found.iou[c] == (pytest.approx((truth & guess).sum() / union) if union else None)


@given(st.integers(0, 10_000), st.integers(1, 19), st.integers(1, 33), st.integers(1, 33), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_confusion_counts_every_labelled_pixel_of_any_size_once(
    seed: int, classes: int, height: int, width: int, ignored: float
) -> None:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, (height, width)).astype(np.uint8)
    label[rng.random(label.shape) < ignored] = 255
    predicted = rng.integers(0, classes, (height, width)).astype(np.uint8)
    expected = np.zeros((classes, classes), np.int64)
    np.add.at(expected, (label[label != 255], predicted[label != 255]), 1)
    found = confusion(predicted, label, classes)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_no_counted_pixel_gives_no_score() -> None:
    assert scores(np.zeros((3, 3), np.int64)).miou is None


@given(st.integers(0, 10_000), st.floats(0.05, 1.0), st.floats(0.5, 1.0))
@settings(max_examples=40, deadline=None)
def test_thresholds_are_bdls_to_within_a_bin(seed: int, portion: float, cap: float) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, 4000).astype(np.uint8)  # class 3 is never predicted
    confidence = rng.beta(5, 2, 4000).astype(np.float32)
    counts = confidence_histogram(classes, confidence, 4)
    found = thresholds(counts, PseudoLabel(portion=portion, cap=cap))
    assert counts.sum() == 4000
    assert found[3] == 0
    for c in range(3):
        values = np.sort(confidence[classes == c])[::-1]
        exact = values[int(np.ceil(portion * len(values))) - 1]
        assert found[c] == min(EDGES[bins_of(exact)], cap)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60))
@settings(max_examples=80, deadline=None)
def test_a_median_is_numpys_to_within_a_bin_whatever_the_confidences(values: list[float]) -> None:
    confidence = np.array(values, np.float32)
    counts = confidence_histogram(np.zeros(len(values), np.uint8), confidence, 1)
    (found,) = thresholds(counts, PseudoLabel(cap=1.0))
    ordered = np.sort(confidence.astype(np.float64))
    low, high = ordered[(len(values) - 1) // 2], ordered[len(values) // 2]  # np.median is between the two
    assert low <= np.median(ordered) <= high
    assert EDGES[bins_of(low)] <= found <= high
    if len(values) % 2:
        assert found == EDGES[bins_of(np.median(ordered))]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60), st.integers(0, 24))
@settings(max_examples=80, deadline=None)
def test_a_confidence_has_the_last_bin_whose_edge_is_not_above_it(values: list[float], halvings: int) -> None:
    confidence = np.array([*values, 0, 0.5, 1 - 2.0**-halvings, 1], np.float32)
    confidence = np.append(confidence, 1 - confidence[: len(values)] * np.float32(2.0**-halvings))
    found = bins_of(confidence)
    np.testing.assert_array_equal(found, np.searchsorted(EDGES, confidence.astype(np.float64), "right") - 1)
    assert (confidence - EDGES[found] <= (1 - EDGES[found]) / 256).all(), "as rules.py says"
    assert (EDGES.astype(np.float32) == EDGES).all(), "comparing in float32 is exact"
    assert len(EDGES) == BINS


@given(st.integers(0, 10_000), st.floats(2, 20))
@settings(max_examples=40, deadline=None)
def test_half_of_a_class_is_half_however_sure_the_network_is(seed: int, lacking: float) -> None:
    """A 4,096th was the last bin once: of a road of which the network was surer than that, all was kept."""
    rng = np.random.default_rng(seed)
    confidence = (1 - 2.0 ** -rng.uniform(lacking, lacking + 2, 4000)).astype(np.float32)
    (limit,) = thresholds(
        confidence_histogram(np.zeros(4000, np.uint8), confidence, 1), PseudoLabel(rule="crst", portion=0.5)
    )
    kept = select(torch.from_numpy(confidence.reshape(1, 40, 100)), np.array([limit]), "crst").numpy() == 0
    in_one_bin = 0.01  # of two halvings, of 256 bins each, a few times what one holds on the mean
    assert 0.5 <= kept.mean() < 0.5 + in_one_bin + 2.0 ** (lacking - 22)  # float32's steps near 1


@given(st.integers(0, 10_000), st.integers(1, 19), st.integers(1, 20), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_labels_are_kept_exactly_where_they_are_confident_enough(
    seed: int, classes: int, height: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), (height, width)).astype(np.float32).transpose(2, 0, 1)
    limits = rng.random(classes)
    best, confidence = probabilities.argmax(0), probabilities.max(0)
    expected = np.where(confidence >= limits.astype(np.float32)[best], best, 255)
    found = select(torch.from_numpy(np.ascontiguousarray(probabilities)), limits, "bdl")
    np.testing.assert_array_equal(found.numpy(), expected)


def test_halves_of_a_histogram_add_up() -> None:
    rng = np.random.default_rng(0)
    classes, confidence = rng.integers(0, 5, 600).astype(np.uint8), rng.random(600).astype(np.float32)
    halves = sum(confidence_histogram(classes[part], confidence[part], 5) for part in (slice(0, 250), slice(250, 600)))
    assert (halves == confidence_histogram(classes, confidence, 5)).all()
