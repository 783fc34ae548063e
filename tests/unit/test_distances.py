"""Distances between sets of images against independent formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cirn_dist.stages.translate.distances import COLOUR_CELLS, FeatureMoments, colour_counts, frechet, total_variation

CPU = torch.device("cpu")


def covariance(seed: int, size: int = 6) -> np.ndarray:
    a = np.random.default_rng(seed).normal(size=(size, size + 2))
    return a @ a.T / size


def test_frechet_is_the_closed_form_by_the_products_eigenvalues() -> None:
    rng = np.random.default_rng(0)
    m1, m2, s1, s2 = rng.normal(size=6), rng.normal(size=6), covariance(1), covariance(2)
    # tr (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of the product, which is not symmetric.
    root = np.sqrt(np.linalg.eigvals(s1 @ s2).real.clip(0)).sum()
    expected = np.sum((m1 - m2) ** 2) + np.trace(s1) + np.trace(s2) - 2 * root
    assert frechet((m1, s1), (m2, s2)) == pytest.approx(expected, rel=1e-10)
    assert frechet((m2, s2), (m1, s1)) == pytest.approx(expected, rel=1e-10)


def test_frechet_of_known_cases() -> None:
    s = covariance(3)
    assert frechet((np.zeros(6), s), (np.zeros(6), s)) == pytest.approx(0, abs=1e-9)
    assert frechet((np.zeros(6), s), (np.full(6, 2.0), s)) == pytest.approx(24)
    variances = np.array([4.0, 9.0]), np.array([1.0, 16.0])  # uncorrelated: the sum of (sd - sd')^2
    one, other = ((np.zeros(2), np.diag(v)) for v in variances)
    assert frechet(one, other) == pytest.approx((2 - 1) ** 2 + (3 - 4) ** 2)
    assert frechet((np.zeros(2), np.zeros((2, 2))), other) == pytest.approx(17), "a singular covariance"


def test_features_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="8 channels, not 16"):
        FeatureMoments(16, CPU).add(torch.zeros(1, 8, 4, 4))


def test_moments_are_numpys_however_the_images_are_dealt() -> None:
    features = torch.randn(5, 4, 40, 24, generator=torch.Generator().manual_seed(0)) + 3
    whole = FeatureMoments(4, CPU)
    whole.add(features)
    parts = [FeatureMoments(4, CPU) for _ in range(2)]
    for i in range(5):
        parts[i % 2].add(features[i : i + 1])
    parts[0].sums += parts[1].sums  # what the sum over ranks does
    samples = F.adaptive_avg_pool2d(features, (16, 16)).numpy().astype(np.float64).transpose(0, 2, 3, 1).reshape(-1, 4)
    for moments in (whole, parts[0]):
        mean, cov = moments.mean_and_covariance()
        np.testing.assert_allclose(mean, samples.mean(0), rtol=1e-6)
        np.testing.assert_allclose(cov, np.cov(samples.T, bias=True), atol=1e-6)


def test_colours_are_counted_in_cells() -> None:
    images = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(1)) * 2 - 1
    images[0, :, 0, 0], images[0, :, 0, 1] = 1.0, -1.0
    pixels = ((images.numpy().astype(np.float64) + 1) / 2).transpose(0, 2, 3, 1).reshape(-1, 3)
    expected, _ = np.histogramdd(pixels, bins=8, range=[(0, 1)] * 3)
    found = colour_counts(images).numpy()
    assert found.shape == (COLOUR_CELLS,)
    np.testing.assert_array_equal(found, expected.ravel())


def test_total_variation_goes_from_0_to_1() -> None:
    one, other = np.array([3.0, 1.0, 0.0]), np.array([0.0, 0.0, 7.0])
    assert total_variation(one, one * 5) == 0
    assert total_variation(one, other) == 1
    assert total_variation(one, np.array([1.0, 1.0, 2.0])) == pytest.approx((0.5 + 0 + 0.5) / 2)
