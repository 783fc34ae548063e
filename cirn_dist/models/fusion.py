"""Heads that join the feature maps of four strides before a classifier: DAFormer's and SegFormer's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cirn_dist.models.resizing import resize

if TYPE_CHECKING:
    from cirn_dist.choices import Joining


class Fusion(nn.Module):
    """Feature maps at strides 4, 8, 16 and 32 joined at stride 4: [(N, c_i, h_i, w_i)] -> (N, width, h_1, w_1).

    Each map is brought to `width` channels by a 1x1 convolution and to the first one's size, and all are concatenated.
    SegFormer (Xie et al. 2021) mixes them by a 1x1 convolution; DAFormer (Hoyer et al. 2022) by an ASPP of depthwise
    separable convolutions with rates 6, 12 and 18, without an image pool, and a 3x3 convolution.

    Args:
        channels: of the four maps.
        kind: `daformer` or `segformer`.
        dropout: share of channels left out before the classifier, in training.
    """

    def __init__(self, channels: Sequence[int], kind: Joining, *, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        self.out_channels = width
        self.embed = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        joined = width * len(channels)
        mixed = _Pyramid(joined, width) if kind == "daformer" else _conv(joined, width, 1)
        self.mix = nn.Sequential(mixed, nn.Dropout2d(dropout))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Join the maps, the finest first."""
        size = maps[0].shape[-2:]
        embedded = [resize(embed(x), size, corners=False) for embed, x in zip(self.embed, maps, strict=True)]
        joined: Tensor = self.mix(torch.cat(embedded, dim=1))
        return joined


class _Pyramid(nn.Module):
    """DAFormer's context: a 1x1 and three dilated depthwise separable convolutions, joined by a 3x3 one."""

    def __init__(self, channels: int, width: int, rates: Sequence[int] = (6, 12, 18)) -> None:
        super().__init__()
        separable = (nn.Sequential(_conv(channels, channels, 3, rate, groups=channels), _conv(channels, width, 1))
                     for rate in rates)  # fmt: skip
        self.branches = nn.ModuleList([_conv(channels, width, 1), *separable])
        self.join = _conv(width * (len(rates) + 1), width, 3)

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.join(torch.cat([branch(x) for branch in self.branches], dim=1))
        return joined


def _conv(before: int, after: int, kernel: int, rate: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(
        before, after, kernel, padding=rate * (kernel // 2), dilation=rate, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))
