"""Losses on labels and pseudo labels (eqs. 6 and 9), and on what self-training adds to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from cirn_dist.losses.pixels import IGNORE, cross_entropy, mean_where, pixel_entropy, sum_of
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.precision import wide

if TYPE_CHECKING:
    from cirn_dist.choices import SegOn


def segmentation(logits: Tensor, labels: Tensor, *, focal_gamma: float = 0.0) -> Tensor:
    """Return the pixel-wise cross-entropy with labels (eq. 6) or pseudo labels (eq. 9).

    Mean over each image's own valid pixels, then over images; an image without a valid pixel costs 0.

    Args:
        logits: (N, C, H, W).
        labels: (N, H, W) int64; 255 is ignored.
        focal_gamma: weight (1 - p)^gamma on each pixel; 0 is the paper, 2 is what CLAN's code does.
    """
    per_pixel = cross_entropy(wide(logits), labels)
    if focal_gamma:
        per_pixel = (1 - torch.exp(-per_pixel)).pow(focal_gamma) * per_pixel
    return mean_where(per_pixel, labels != IGNORE)


def supervision(
    output: SegOutput,
    labels: Tensor,
    *,
    on: SegOn = "separate",
    focal_gamma: float = 0.0,
) -> Tensor:
    """Return the segmentation loss of C and ACM (eqs. 6 and 9): the sum of each one's own, or that of their sum.

    `separate` is what CLAN trains: with the sum alone supervised, p1 and p2 are free and their distance means nothing.
    """
    if on == "sum":
        return segmentation(output.logits, labels, focal_gamma=focal_gamma)
    return sum_of(segmentation(p, labels, focal_gamma=focal_gamma) for p in output.heads)


def soft_supervision(output: SegOutput, labels: Tensor, shares: Tensor) -> Tensor:
    """Return the cross-entropy with soft pseudo labels (Zou et al. 2019, CRST's LRENT), summed over the heads.

    Mean over each image's own labelled pixels, then over images; an image without any costs 0.

    Args:
        labels: (N, H, W) int64; a pixel of 255 is ignored, whatever its shares.
        shares: (N, C, H, W), of each class; scaled to add up to 1, which 8 bits a class do not.
    """
    shares = wide(shares)
    scaled = shares / shares.sum(dim=1, keepdim=True).clamp_min(1e-6)
    costs = (-(scaled * wide(p).log_softmax(dim=1)).sum(dim=1) for p in output.heads)
    return sum_of(mean_where(cost, labels != IGNORE) for cost in costs)


def weighted_supervision(output: SegOutput, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the cross-entropy with a weight per pixel, averaged over all pixels and summed over the heads.

    A pixel that is ignored (255) costs nothing but is counted, as in DACS and MIC.

    Args:
        weights: (N, H, W), or (N, 1, 1) for one per image.
    """
    return sum_of((weights * cross_entropy(wide(p), labels)).mean() for p in output.heads)


def feature_distance(
    features: Tensor, initial: Tensor, labels: Tensor, classes: Sequence[int], *, min_share: float = 0.75
) -> Tensor:
    """Return how far features of things are from the initial network's (Hoyer et al. 2022, DAFormer).

    The Euclidean distance at those features whose cell of labels is of one of these classes by `min_share`, more than
    half; averaged over them in each image, then over images. An image without any costs 0, where the authors' is NaN.

    Args:
        features, initial: (N, D, h, w); the second gets no gradient.
        labels: (N, H, W) int64, H and W multiples of h and w; ignored pixels count in a cell's share.
    """
    chosen, cells = torch.as_tensor(list(classes), device=labels.device), (features.shape[-2], features.shape[-1])
    shares = [F.adaptive_avg_pool2d((labels == c).to(torch.float32), cells) for c in chosen]
    of_things = torch.stack(shares).amax(dim=0) >= min_share
    distance = (wide(features) - wide(initial.detach())).square().sum(dim=1)
    # The root has no slope at 0, where training begins: those cells are as they should be.
    moved = distance > 0
    distance = torch.where(moved, torch.where(moved, distance, torch.ones_like(distance)).sqrt(), distance)
    return mean_where(distance, of_things)


def confidence_penalty(output: SegOutput, labels: Tensor) -> Tensor:
    """Return the divergence of the uniform distribution from the prediction at pixels with a pseudo label.

    -1/C sum_c log p_c, less its constant: CRST's model regulariser MRKLD (Zou et al. 2019), also IAST's. It keeps
    wrong pseudo labels from being learned to the last digit. Averaged as `segmentation`, summed over the heads.
    """
    penalties = (-wide(p).log_softmax(dim=1).mean(dim=1) for p in output.heads)
    return sum_of(mean_where(penalty, labels != IGNORE) for penalty in penalties)


def unlabelled_entropy(output: SegOutput, labels: Tensor) -> Tensor:
    """Return the entropy of the prediction at pixels without a pseudo label.

    IAST's regulariser of ignored regions (Mei et al. 2020); averaged over those pixels of each image, then over
    images, summed over the heads.
    """
    return sum_of(mean_where(pixel_entropy(p), labels == IGNORE) for p in output.heads)
