"""DeepLab-v2's classifier: C of the paper, and the classifier inside ACM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from cirn_dist.models import dilated, on_cpu


class Classifier(nn.Module):
    """Atrous spatial pyramid of DeepLab-v2: parallel dilated 3x3 convolutions, summed to logits.

    All branches are summed; part of the lineage's code returns after two (6 and 12) by a slip. Weights N(0, 0.01),
    biases PyTorch's default, as the peers have them. A dilation of 0 is a 1x1 convolution: behind a head that has
    joined several levels (`fusion.py`) the classifier is one.
    """

    def __init__(self, in_channels: int, num_classes: int, dilations: Sequence[int] = (6, 12, 18, 24)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(in_channels, num_classes, kernel_size=3, padding=d, dilation=d)
            if d
            else nn.Conv2d(in_channels, num_classes, kernel_size=1)
            for d in dilations
        )
        for branch in self.branches:
            nn.init.normal_(branch.weight, std=0.01)  # type: ignore[arg-type]

    def bias(self) -> Tensor:
        """Return the classifier's output on zero features, (num_classes,)."""
        first, *rest = (cast(Tensor, branch.bias) for branch in self.branches)
        return sum(rest, first)  # no stack: the gradients of its parts are one memory

    def forward(self, features: Tensor) -> Tensor:
        """Return logits: (N, C, h, w) -> (N, num_classes, h, w)."""
        if on_cpu.worth_it(features) and all(branch.kernel_size == (3, 3) for branch in self.branches):
            return dilated.summed(features, list(self.branches))  # type: ignore[arg-type]
        first, *rest = self.branches
        logits: Tensor = first(features)
        for branch in rest:
            logits = logits + branch(features)
        return logits
