"""Bilinear resizing whose gradient is the same each time, where deterministic algorithms are asked for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cirn_dist.precision import wide


def resize(maps: Tensor, size: tuple[int, ...], *, corners: bool = True) -> Tensor:
    """Resize (N, C, h, w) to (N, C, *size) bilinearly, corner pixels on corner pixels; or corners on corners.

    On GPUs torch adds up the gradient of a pixel in whatever order its neighbours' come. Deterministically it is two
    matrix products, along the rows and along the columns; equal to it up to rounding.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return F.interpolate(maps, size, mode="bilinear", align_corners=corners)
    values = wide(maps)
    with torch.autocast(maps.device.type, enabled=False):
        down, across = (_weights(of, to, values, corners) for of, to in zip(maps.shape[-2:], size, strict=True))
        resized = down @ (values @ across.T)
    return resized.to(maps.dtype)


def _weights(of: int, to: int, like: Tensor, corners: bool) -> Tensor:
    """Return how much of each old pixel is in each new one along a side, (to, of)."""
    old, new = (torch.arange(n, dtype=torch.float64, device=like.device) for n in (of, to))
    places = new * ((of - 1) / max(1, to - 1)) if corners else ((new + 0.5) * (of / to) - 0.5).clamp(0, of - 1)
    return (1 - (places[:, None] - old).abs()).clamp_(min=0).to(like.dtype)
