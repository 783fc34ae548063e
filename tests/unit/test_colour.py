"""Colour transfer: CIE Lab against published values, moments against what was asked."""

from __future__ import annotations

import pytest
import torch

from cirn_dist.data.colour import lab_to_rgb, moments, rgb_to_lab, transfer


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # Lindbloom's calculator, sRGB, D65
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.2408, 80.0925, 67.2032)),
        ((0, 0, 255), (32.2970, 79.1875, -107.8602)),
        ((0, 255, 0), (87.7347, -86.1827, 83.1793)),
        ((119, 119, 119), (50.0344, 0.0, 0.0)),
    ],
)
def test_lab_is_cielab(rgb: tuple[int, ...], lab: tuple[float, ...]) -> None:
    pixel = torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1) / 127.5 - 1
    assert rgb_to_lab(pixel).flatten().tolist() == pytest.approx(lab, abs=0.03)


def test_lab_and_back() -> None:
    images = torch.rand(2, 3, 8, 9, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(images)), images, atol=1e-5, rtol=0)


def test_an_image_takes_the_moments_it_is_given() -> None:
    torch.manual_seed(0)
    images = (torch.rand(2, 3, 16, 16) - 0.5) * 0.4  # far from clipping
    wanted = torch.tensor([[[55.0, 3.0, -4.0], [6.0, 2.0, 3.0]], [[45.0, 0.0, 5.0], [4.0, 3.0, 1.0]]])
    torch.testing.assert_close(moments(transfer(images, wanted)), wanted, atol=0.05, rtol=0.01)
