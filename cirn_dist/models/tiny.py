"""A small residual network, for training street scenes from scratch on a CPU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cirn_dist.models.resizing import resize


class Tiny(nn.Module):
    """Residual encoder to an eighth of the size, joined with a quarter's details: (N, 3, H, W) -> (N, 96, H/4, W/4).

    About 0.8 million parameters. Most of the depth is at an eighth, where a pixel is cheap; thin poles and signs need
    the quarter.
    """

    out_channels = 96

    def __init__(self) -> None:
        super().__init__()
        self.stem = _normed(nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False))
        self.quarter = nn.Sequential(_Block(32, 64, stride=2), _Block(64, 64))
        self.eighth = nn.Sequential(_Block(64, 128, stride=2), _Block(128, 128, dilation=2))
        self.lateral = nn.Conv2d(64, 96, 1, bias=False)
        self.deep = nn.Conv2d(128, 96, 1, bias=False)
        self.join = _normed(nn.Conv2d(96, 96, 3, padding=1, bias=False))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return features at a quarter of the images' size, rounded up."""
        quarter = self.quarter(self.stem(images))
        deep = self.deep(self.eighth(quarter))
        deep = resize(deep, quarter.shape[-2:])
        features: Tensor = self.join(self.lateral(quarter) + deep)
        return features


class _Block(nn.Module):
    """ResNet's basic block: two 3x3 convolutions and a shortcut."""

    def __init__(self, before: int, after: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.first = _normed(nn.Conv2d(before, after, 3, stride, padding=dilation, dilation=dilation, bias=False))
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, after, H/stride, W/stride)."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x), inplace=True)


def _normed(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True))
