"""Scores and pseudo-label thresholds against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirn_dist.config import PseudoLabel
from cirn_dist.stages.evaluate import confusion, scores
from cirn_dist.stages.selection import BINS, confidence_histogram, thresholds


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
        exact = min(values[int(np.ceil(portion * len(values))) - 1], cap)
        assert found[c] == pytest.approx(exact, abs=1.01 / BINS)


def test_halves_of_a_histogram_add_up() -> None:
    rng = np.random.default_rng(0)
    classes, confidence = rng.integers(0, 5, 600).astype(np.uint8), rng.random(600).astype(np.float32)
    halves = sum(confidence_histogram(classes[part], confidence[part], 5) for part in (slice(0, 250), slice(250, 600)))
    assert (halves == confidence_histogram(classes, confidence, 5)).all()
