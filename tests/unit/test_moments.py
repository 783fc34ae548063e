"""Moments of channels: against NumPy in double precision, and their gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cirn_dist.models import moments
from cirn_dist.models.moments import channel_moments, statistics, unbiased

FORMATS = [torch.channels_last, torch.contiguous_format]


def values(*shape: int, mean: float = 5.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + mean


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("shape", [(3, 4, 9, 7), (1, 2, 1, 1), (5, 3, 1, 40), (2, 3, 260, 270)])
def test_they_are_numpys_however_the_images_are_cut(
    shape: tuple[int, ...], layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = values(*shape)
    given = x.float().contiguous(memory_format=layout)
    wanted = given.double().numpy()
    for pixels in (1, 50, 2**14):  # rows, some images, all at once
        monkeypatch.setattr(moments, "_PIXELS", pixels if x.numel() < 1000 else 2**14)
        mean, variance = statistics(channel_moments(given))
        np.testing.assert_allclose(mean, wanted.mean((0, 2, 3)), rtol=3e-6)
        np.testing.assert_allclose(variance, wanted.var((0, 2, 3)), rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("layout", FORMATS)
def test_a_long_sum_in_single_precision_stays_right(layout: torch.memory_format) -> None:
    """One number after the other, the variance of two million was wrong by a thousandth."""
    x = values(4, 2, 512, 1024, mean=0.5).float().contiguous(memory_format=layout)
    _, variance = statistics(channel_moments(x))
    np.testing.assert_allclose(variance, x.double().numpy().var((0, 2, 3)), rtol=1e-5)


def test_gradients_are_those_of_mean_and_variance() -> None:
    x = values(3, 2, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: statistics(channel_moments(x)), (x,))


def test_half_precision_is_added_up_in_single() -> None:
    x = values(2, 3, 30, 40).to(torch.bfloat16)
    mean, variance = statistics(channel_moments(x))
    np.testing.assert_allclose(mean, x.double().mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(variance, x.double().var((0, 2, 3), correction=0), rtol=1e-5)


def test_the_unbiased_variance_of_one_value_is_no_division_by_zero() -> None:
    assert unbiased(torch.tensor(1.0)).item() == 1.0
    assert unbiased(torch.tensor(5.0)).item() == 1.25
