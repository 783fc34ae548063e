"""Sensor noise: how much of it an image has, and adding what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cirn_dist.transfer import sent

# Immerkaer 1996: the difference of two Laplacians, blind to edges of constant slope; its response to white noise of
# deviation 1 has deviation 6.
_MASK = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
_GAIN = 6 * 0.6745  # the median of |x| is 0.6745 deviations of a normal x (Donoho and Johnstone 1994)


def noise_level(lightness: Tensor) -> Tensor:
    """Return the standard deviation of each image's noise, (N, H, W) -> (N,), in the units of `lightness`.

    The median keeps edges and textures out as long as they cover less than half of the image.
    """
    response = F.conv2d(lightness[:, None], sent(_MASK.to(lightness.dtype), lightness.device)[None, None])
    # One image at a time: over a dimension torch also looks for the median's place, in whatever order on a GPU.
    return torch.stack([values.median() for values in response.abs().flatten(1)]) / _GAIN


def add_noise(lightness: Tensor, wanted: Tensor, seeds: Sequence[int]) -> Tensor:
    """Add white noise to lightness (N, H, W) where its level is below `wanted` (N,), one seed per image."""
    missing = (wanted.square() - noise_level(lightness).square()).clamp_min(0).sqrt()
    drawn = torch.stack(
        [torch.randn(lightness.shape[1:], generator=torch.Generator().manual_seed(seed % 2**63)) for seed in seeds]
    )
    return lightness + sent(drawn.to(lightness.dtype), lightness.device) * missing[:, None, None]
