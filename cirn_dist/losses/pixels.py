"""What the losses of pixels share: the cross-entropy of each, and means over those that count."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from cirn_dist.precision import wide

IGNORE = 255


def sum_of(values: Iterable[Tensor]) -> Tensor:
    """Return the sum of one or more scalar tensors."""
    return torch.stack(list(values)).sum()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each pixel's cross-entropy, (N, H, W), 0 where the label is 255.

    torch's own has no deterministic form on GPUs.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    ignored = labels == IGNORE
    chosen = logits.log_softmax(dim=1).gather(1, labels.masked_fill(ignored, 0)[:, None])[:, 0]
    return chosen.neg().masked_fill(ignored, 0.0)


def pixel_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of each pixel's prediction, in nats: (N, C, H, W) -> (N, H, W).

    From the logarithm of the softmax: p log2(p + 1e-30), as the lineage has it, is not finite in half precision.
    """
    logits = wide(logits)
    return -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)


def mean_where(per_pixel: Tensor, counted: Tensor) -> Tensor:
    """Average (N, H, W) over each image's counted pixels, then over images; an image without any is 0."""
    pixels = counted.sum(dim=(1, 2)).clamp(min=1)
    return ((per_pixel * counted).sum(dim=(1, 2)) / pixels).mean()
