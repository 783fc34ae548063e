"""Reinhard's colour transfer: give an image the colour mean and spread of another (Reinhard et al. 2001).

In CIE Lab, whose axes are nearly independent in natural images, so that the three channels may be matched one by one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cirn_dist.transfer import sent

# sRGB (linear) to XYZ under D65, divided by the white point (IEC 61966-2-1; CIE 15).
_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = torch.tensor([0.95047, 1.0, 1.08883])
_TO_XYZ = _XYZ / _WHITE[:, None]
_FROM_XYZ = torch.linalg.inv(_TO_XYZ)
_CUBE = (6 / 29) ** 3


def rgb_to_lab(images: Tensor) -> Tensor:
    """Convert sRGB images (N, 3, H, W) in [-1, 1] to CIE Lab, L in [0, 100]."""
    rgb = ((images + 1) / 2).clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("ij,njhw->nihw", sent(_TO_XYZ.to(images.dtype), images.device), linear)
    f = torch.where(xyz > _CUBE, xyz.clamp_min(_CUBE) ** (1 / 3), xyz * (841 / 108) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert CIE Lab images (N, 3, H, W) to sRGB in [-1, 1]; colours outside sRGB are clipped."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], 1)
    xyz = torch.where(f > 6 / 29, f**3, (f - 4 / 29) * (108 / 841))
    linear = torch.einsum("ij,njhw->nihw", sent(_FROM_XYZ.to(lab.dtype), lab.device), xyz).clamp(0, 1)
    rgb = torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp_min(1e-8) ** (1 / 2.4) - 0.055)
    return rgb * 2 - 1


def moments(lab: Tensor) -> Tensor:
    """Return the mean and standard deviation of each image's channels: (N, 3, H, W) -> (N, 2, 3)."""
    values = lab.flatten(2)
    return torch.stack([values.mean(2), values.std(2, correction=0)], 1)


def rescale(lab: Tensor, wanted: Tensor) -> Tensor:
    """Give Lab images (N, 3, H, W) the channel moments `wanted` (N, 2, 3): Reinhard's transfer."""
    own = moments(lab)
    scale = (wanted[:, 1] / own[:, 1].clamp_min(1e-3))[:, :, None, None]
    return (lab - own[:, 0, :, None, None]) * scale + wanted[:, 0, :, None, None]
