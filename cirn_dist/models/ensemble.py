"""Several segmenters as one: the mean of what they hold probable."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cirn_dist.models.deeplab import Segmenter, SegOutput


class Ensemble(nn.Module):
    """Segmenters of the same classes, whose probabilities are averaged, as FDA's multi-band transfer does.

    Each member's are taken at its features' size and upsampled bilinearly (Yang and Soatto 2020, evaluation_multi.py).

    Args:
        members: networks of any kind, one or more.
    """

    def __init__(self, members: Sequence[Segmenter]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor, size: tuple[int, int] | None = None) -> SegOutput:
        """Return logarithms of the mean probabilities of (N, 3, H, W) images; `size` as of a segmenter's."""
        total: Tensor | None = None
        for member in self.members:
            assert isinstance(member, Segmenter)
            shares = member(images, size).small.float().softmax(1)
            upsampled = member.upsample(shares, images, size)
            total = upsampled if total is None else total + upsampled
        assert total is not None, "an ensemble of none"
        return SegOutput((total / len(self.members)).clamp_min(torch.finfo(total.dtype).tiny).log(), None)
