"""Padding of images that are too small or of an awkward size for a network."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pad_to(images: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and column of (N, C, H, W) images until they have at least this size."""
    below, right = max(0, height - images.shape[-2]), max(0, width - images.shape[-1])
    return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images


def crop_to(images: Tensor, like: Tensor) -> Tensor:
    """Undo `pad_to`: return the part of `images` that has the size of `like`."""
    return images[..., : like.shape[-2], : like.shape[-1]]
