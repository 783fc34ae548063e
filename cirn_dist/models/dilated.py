"""The classifier's dilated branches on a CPU as one matrix product: the same sums, in another order.

oneDNN's backward passes of its wide branches (dilations 18 and 24) take 5 times what those of a narrow one do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirn_dist.models import on_cpu
from cirn_dist.precision import wide


def summed(features: Tensor, branches: Sequence[nn.Conv2d]) -> Tensor:
    """Return the sum of 3x3 convolutions that are padded by their dilation: (N, C, h, w) -> (N, k, h, w).

    One matrix product gives what every pixel contributes through each of the 9 taps of each branch; the taps are then
    added up where they belong. It pays where k is far below C, as in a classifier.
    """
    n, _, h, w = features.shape
    turned = [branch.weight.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2) for branch in branches]  # (k 9, C) each
    taps = _mixed(features, torch.cat(turned))
    parts = wide(taps).view(n, h * w, len(branches), -1).permute(2, 0, 3, 1)  # (branches, N, k 9, h w)
    found = [
        F.fold(part, (h, w), kernel_size=3, dilation=branch.dilation, padding=branch.dilation)
        for part, branch in zip(parts, branches, strict=True)
    ]
    logits = torch.stack(found).sum(0)
    for branch in branches:  # each by itself: the gradients of a stack's parts are one memory, and add up in it
        if branch.bias is not None:
            logits = logits + branch.bias[:, None, None]
    return logits.to(taps.dtype)


def _mixed(features: Tensor, matrix: Tensor) -> Tensor:
    """Multiply every pixel's channels by a matrix: (N, C, h, w) by (K, C) -> (N h w, K)."""
    if on_cpu.in_float32(features, matrix):
        return on_cpu.pointwise(features, matrix[:, :, None, None]).permute(0, 2, 3, 1).flatten(0, 2)
    return F.linear(features.permute(0, 2, 3, 1).flatten(0, 2), matrix)
