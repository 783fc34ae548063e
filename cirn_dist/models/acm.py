"""The ancillary classifier module: K attention gates in front of a copy of the segmenter's classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cirn_dist.models.classifier import Classifier


class ACM(nn.Module):
    """Sum over K attention modules of the classifier on gated features: sum_k Cls(A_k(f) * f).

    Source: the paper's ACM, which leaves the gates' shape open. A gate is a small convolutional net with one sigmoid
    output per pixel. At the start each gate is near 1/2, so K = 2 starts as two plain classifiers.

    Args:
        in_channels: channels of the features.
        num_classes: channels of the logits.
        k: attention modules; 0 is exactly a plain classifier.
        width: channels of a gate's hidden layers.
        depth: hidden layers of a gate; 0 is one 1x1 convolution.
        residual: classify f * (1 + sum_k A_k(f)) instead.
        per_head: give each attention module a classifier of its own.
        dilations: of the classifiers.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        k: int = 2,
        *,
        width: int = 256,
        depth: int = 1,
        residual: bool = False,
        per_head: bool = False,
        dilations: Sequence[int] = (6, 12, 18, 24),
    ) -> None:
        super().__init__()
        self.residual, self.per_head = residual, per_head
        heads = max(1, k) if per_head else 1
        self.attention = nn.ModuleList(_gate(in_channels, width, depth) for _ in range(k))
        self.classifiers = nn.ModuleList(Classifier(in_channels, num_classes, dilations) for _ in range(heads))

    def gates(self, features: Tensor) -> Tensor:
        """Return the K attention maps in [0, 1]: (N, C, h, w) -> (N, K, h, w)."""
        if not self.attention:
            return features.new_zeros(len(features), 0, *features.shape[-2:])
        return torch.cat([gate(features) for gate in self.attention], dim=1).sigmoid()

    def forward(self, features: Tensor, gates: Tensor | None = None) -> Tensor:
        """Return logits: (N, C, h, w) -> (N, num_classes, h, w).

        Args:
            gates: what `gates(features)` gave, where it is known.
        """
        gates = self.gates(features) if gates is None else gates
        k, gain = gates.shape[1], gates.sum(dim=1, keepdim=True)
        shared = self.classifiers[0]
        assert isinstance(shared, Classifier)
        logits: Tensor
        if k == 0:
            logits = shared(features)
        elif self.per_head:
            heads = [head(features * (gates[:, i : i + 1] + self.residual)) for i, head in enumerate(self.classifiers)]
            logits = torch.stack(heads).sum(dim=0)
        elif self.residual:
            logits = shared(features * (1 + gain))
        else:
            # The classifier is affine: its K passes equal one pass on the summed gates, plus K - 1 times its bias.
            logits = shared(features * gain) + (k - 1) * shared.bias()[:, None, None]
        return logits


def _gate(in_channels: int, width: int, depth: int) -> nn.Sequential:
    """Build one attention module up to its sigmoid: `depth` hidden layers, the first 1x1, the others 3x3."""
    layers: list[nn.Module] = []
    for level in range(depth):
        kernel = 1 if level == 0 else 3
        layers += [nn.Conv2d(in_channels, width, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
        in_channels = width
    last = nn.Conv2d(in_channels, 1, kernel_size=3 if depth else 1, padding=1 if depth else 0)
    nn.init.normal_(last.weight, std=0.001)  # near 1/2, but no two gates alike
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers, last)
