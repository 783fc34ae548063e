"""Padding of images: by reflection, and of those that are too small or of an awkward size for a network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReflectionPad2d(nn.ReflectionPad2d):
    """ReflectionPad2d with a gradient that is the same each time, where deterministic algorithms are asked for.

    On GPUs torch adds up the gradient of a pixel and of its reflections in whatever order they come.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pad (N, C, H, W) by mirroring at the border pixels, which are not repeated."""
        if not torch.are_deterministic_algorithms_enabled():
            return super().forward(x)
        left, right, top, bottom = self.padding
        x = torch.cat([x[..., 1 : left + 1].flip(-1), x, x[..., -right - 1 : -1].flip(-1)], -1)
        return torch.cat([x[..., 1 : top + 1, :].flip(-2), x, x[..., -bottom - 1 : -1, :].flip(-2)], -2)


def pad_to(images: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and column of (N, C, H, W) images until they have at least this size."""
    below, right = max(0, height - images.shape[-2]), max(0, width - images.shape[-1])
    return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images


def crop_to(images: Tensor, like: Tensor) -> Tensor:
    """Undo `pad_to`: return the part of `images` that has the size of `like`."""
    return images[..., : like.shape[-2], : like.shape[-1]]
