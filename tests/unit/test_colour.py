"""Colour transfer: CIE Lab against published values, moments against what was asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cirn_dist.stages.translate.lab import lab_to_rgb, moments, rescale, rgb_to_lab
from cirn_dist.stages.translate.noise import add_noise, noise_level
from cirn_dist.stages.translate.tone_curve import SHARES, STEEPEST, give_tones, tones


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
    given = lab_to_rgb(rescale(rgb_to_lab(images), wanted))
    torch.testing.assert_close(moments(rgb_to_lab(given)), wanted, atol=0.05, rtol=0.01)


def test_tone_curve_gives_the_quantiles_asked_for_and_keeps_the_order() -> None:
    rng = np.random.default_rng(0)
    own = rng.beta(2, 5, (2, 40, 50)) * 100
    other = 20 + rng.beta(4, 3, (2, 40, 50)) * 60
    wanted = tones(torch.from_numpy(other))
    np.testing.assert_allclose(wanted, np.quantile(other.reshape(2, -1), SHARES, axis=1).T, atol=0.2)
    given = give_tones(torch.from_numpy(own), wanted).numpy()
    np.testing.assert_allclose(np.quantile(given.reshape(2, -1), SHARES, axis=1).T, wanted, atol=0.2)
    for before, after in zip(own, given, strict=True):
        assert (np.diff(after.ravel()[before.ravel().argsort()]) >= 0).all()


def test_tone_curve_does_not_blow_up_a_flat_image() -> None:
    own = torch.linspace(49, 51, 400, dtype=torch.float64).view(1, 20, 20)
    wanted = tones(torch.linspace(0, 100, 400, dtype=torch.float64).view(1, 20, 20))
    given = give_tones(own, wanted)
    assert float(given.max() - given.min()) <= STEEPEST * 2 + 1e-6
    assert float(given.median()) == pytest.approx(50, abs=0.5)


def test_tone_curve_crushes_no_shadows_where_reinhard_does() -> None:
    """A dark half under a bright band, as houses under a sky: mean and spread push the houses below black."""
    rng = np.random.default_rng(1)
    source = np.concatenate([rng.normal(75, 2, (10, 60)), rng.normal(40, 8, (40, 60))])
    target = np.concatenate([rng.normal(97, 1, (10, 60)), rng.normal(25, 6, (40, 60))])
    lab = [
        torch.stack([torch.from_numpy(x), *torch.zeros(2, 50, 60, dtype=torch.float64)])[None] for x in (source, target)
    ]
    reinhard = rescale(lab[0], moments(lab[1]))[:, 0]
    curve = give_tones(lab[0][:, 0], tones(lab[1][:, 0]))
    assert float((reinhard < 5).double().mean()) > 2 * float((curve < 5).double().mean())


@pytest.mark.parametrize("deviation", [1.0, 4.0])
def test_noise_level_sees_noise_and_not_edges(deviation: float) -> None:
    rng = np.random.default_rng(2)
    scene = np.where(np.arange(160) < 70, 30.0, 80.0) + np.linspace(0, 10, 120)[:, None]  # an edge on a ramp
    noisy = torch.from_numpy(scene + rng.normal(0, deviation, (3, 120, 160)))
    np.testing.assert_allclose(noise_level(noisy), deviation, rtol=0.06)
    assert float(noise_level(torch.from_numpy(scene)[None])) < 0.01


def test_noise_is_added_up_to_the_level_wanted_and_never_removed() -> None:
    quiet = torch.full((2, 120, 160), 50.0) + torch.randn(2, 120, 160, generator=torch.Generator().manual_seed(0))
    given = add_noise(quiet, torch.tensor([3.0, 0.2]), [7, 8])
    assert float(noise_level(given)[0]) == pytest.approx(3.0, rel=0.05)
    torch.testing.assert_close(given[1], quiet[1])
    torch.testing.assert_close(add_noise(quiet[:1], torch.tensor([3.0]), [7]), given[:1])  # its own seed's alone
