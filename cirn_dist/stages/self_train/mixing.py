"""ClassMix: half of a labelled image's classes, pasted into a target image (Olsson et al. 2021, DACS).

Everything stays on the device; what is drawn is a function of (seed, k).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cirn_dist.data.labels import IGNORE
from cirn_dist.seeds import uniforms
from cirn_dist.stages.self_train.teacher import Labelled


class Mixed(NamedTuple):
    """Images (N, 3, H, W), labels (N, H, W) int64, and the weight of each pixel (N, H, W)."""

    images: Tensor
    labels: Tensor
    weights: Tensor


def class_draws(classes: int, seed: int, ks: list[int]) -> Tensor:
    """Return numbers in [0, 1) that order each image's classes, (N, classes + 1); the last is of what has none."""
    return torch.from_numpy(np.stack([uniforms(classes + 1, seed, "classmix", k) for k in ks]))


def pasted(labels: Tensor, draws: Tensor) -> Tensor:
    """Return which pixels are of the half of an image's classes that is pasted, rounded up: (N, H, W) bool.

    Args:
        labels: (N, H, W) int64; 255 counts as a class of its own, as in DACS.
        draws: (N, classes + 1); those of an image's classes that come first are pasted.
    """
    last = draws.shape[1] - 1
    of = labels.masked_fill(labels == IGNORE, last).flatten(1)
    present = torch.zeros_like(draws, dtype=torch.bool).scatter_(1, of, True)
    place = draws.masked_fill(~present, 2.0).argsort(dim=1).argsort(dim=1)
    half = (present.sum(dim=1, keepdim=True) + 1) // 2
    return (present & (place < half)).gather(1, of).view_as(labels)


def mix(source: Tensor, source_labels: Tensor, target: Tensor, labelled: Labelled, paste: Tensor) -> Mixed:
    """Paste pixels of source images into target images; pasted ones have weight 1, the others their image's.

    Args:
        source, target: (N, 3, H, W); source_labels: (N, H, W).
        labelled: of the target images.
        paste: (N, H, W) bool.
    """
    weights = labelled.weights[:, None, None].to(target.dtype)
    return Mixed(
        torch.where(paste[:, None], source, target),
        torch.where(paste, source_labels, labelled.labels),
        torch.where(paste, torch.ones_like(weights), weights),
    )
