"""Losses on predictions of unlabelled target images, without a discriminator or pseudo labels from before.

Means over images are means of single-image losses, as everywhere; an image that gives nothing to learn costs 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cirn_dist.losses.pixels import IGNORE, pixel_entropy
from cirn_dist.losses.supervision import segmentation
from cirn_dist.precision import wide


def entropy(logits: Tensor) -> Tensor:
    """Return the mean entropy of the prediction, in [0, 1]: MinEnt (Vu et al. 2019, ADVENT, eq. 5).

    ADVENT's code sums over classes and divides by the pixels and by log C, as here; the paper prints a sum over pixels.

    Args:
        logits: (N, C, H, W).
    """
    return _entropies(logits).mean()


def robust_entropy(logits: Tensor, *, eta: float = 2.0) -> Tensor:
    """Return the mean of (e^2 + 1e-8)^eta, e the entropy in [0, 1] (Yang and Soatto 2020, FDA, eq. 4).

    The paper's constant is 0.001^2 and its eta of 2 is e^4 in effect; this is the code's.

    Args:
        logits: (N, C, h, w), before they are upsampled.
    """
    squares: Tensor = _entropies(logits).square() + 1e-8
    return squares.pow(eta).mean()


def max_square(logits: Tensor, *, ratio: float | None = None) -> Tensor:
    """Return the maximum squares loss (Chen et al. 2019): it is lowered by certainty, without entropy's steep slope.

    -1/2 mean p^2 over pixels and classes. With a ratio r each pixel is weighted by what is predicted there, class k of
    n_k pixels of an image of n by 1 / max(n_k^r n^(1-r), 1), in place of the mean over pixels and the 1/2: classes of
    few pixels count more. Both as the authors' code has them; the paper's plain form is C times the code's.

    Args:
        logits: (N, C, H, W).
    """
    squares = wide(logits).softmax(dim=1).square()
    if ratio is None:
        return -squares.mean() / 2
    predicted = logits.detach().max(dim=1).indices.flatten(1)  # (N, H*W)
    classes, pixels = logits.shape[1], predicted.shape[1]
    counts = (predicted[:, None] == torch.arange(classes, device=logits.device)[:, None]).sum(dim=2)  # (N, C)
    weights = (counts.to(squares.dtype).pow(ratio) * pixels ** (1 - ratio)).clamp(min=1).reciprocal()
    weighted: Tensor = squares.flatten(2) * weights.gather(1, predicted)[:, None]
    return -weighted.sum(dim=(1, 2)).mean() / classes


def guidance(p1: Tensor, p2: Tensor, *, threshold: float = 0.95) -> Tensor:
    """Return the cross-entropy of the second classifier with what both say where one is certain (Chen et al. 2019).

    The label is the argmax of the sum of both probabilities, where either's highest is above the threshold.

    Args:
        p1, p2: logits of two classifiers, (N, C, H, W); the first, and the label, get no gradient.
    """
    first, second = (wide(p).detach().softmax(dim=1) for p in (p1, p2))
    certain = (first.amax(dim=1) > threshold) | (second.amax(dim=1) > threshold)
    labels = (first + second).max(dim=1).indices.masked_fill(~certain, IGNORE)
    return segmentation(p2, labels)


def _entropies(logits: Tensor) -> Tensor:
    """Return each pixel's entropy as a share of the highest there can be: (N, C, H, W) -> (N, H, W)."""
    return pixel_entropy(logits) / math.log(logits.shape[1])
