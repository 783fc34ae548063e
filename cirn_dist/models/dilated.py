"""Dilated convolutions on a CPU, by kernels that are fast there: the same sums, in another order.

oneDNN's backward passes of dilated convolutions are slow: of a depthwise one 5 to 8 times in float32 what the same
convolution without dilation takes, 24 to 40 times in bf16, where the weight's gradient is even wrong at times (not
finite, with MobileNetV2); of the classifier's wide branches (18 and 24) 5 times. Only training on a CPU goes this way:
what needs no gradient, a GPU, and an export keep PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from cirn_dist.models import on_cpu
from cirn_dist.precision import wide


class DilatedDepthwise(nn.Conv2d):
    """A depthwise 3x3 convolution of stride 1 whose padding is its dilation, d; parameters as nn.Conv2d's."""

    def __init__(self, channels: int, dilation: int, *, bias: bool = True) -> None:
        super().__init__(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=bias)

    @staticmethod
    def fits(conv: nn.Conv2d) -> bool:
        """Whether this can stand for a convolution."""
        d = conv.dilation[0]
        return (
            d > 1
            and conv.groups == conv.in_channels == conv.out_channels
            and (conv.kernel_size, conv.stride, conv.dilation, conv.padding) == ((3, 3), (1, 1), (d, d), (d, d))
            and conv.padding_mode == "zeros"
        )

    @classmethod
    def like(cls, conv: nn.Conv2d) -> DilatedDepthwise:
        """Return one with the parameters of a convolution that it fits."""
        found = cls(len(conv.weight), conv.dilation[0], bias=conv.bias is not None)
        found.weight, found.bias = conv.weight, conv.bias
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        if not on_cpu.worth_it(x):
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            half = torch.get_autocast_dtype("cpu")
            x, weight = x.to(half), weight.to(half)
        found = cast(Tensor, _Depthwise.apply(x, weight, self.dilation[0]))
        return found if self.bias is None else found + self.bias.to(found.dtype)[:, None, None]


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose gradients are the forward kernel, and the backward one without dilation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, d: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.d = d
        return F.conv2d(x, weight, padding=d, dilation=d, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        d, channels = ctx.d, len(weight)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:  # its transpose: an odd kernel, turned around
            of_x = F.conv2d(gradient, weight.flip(2, 3), padding=d, dilation=d, groups=channels)
        if ctx.needs_input_grad[1]:
            apart, flat = _phases(x, d), _phases(gradient, d)
            shape = (d * channels, 1, 3, 3)
            each = conv2d_weight(apart, shape, flat, padding=1, groups=d * channels)  # type: ignore[no-untyped-call]
            of_weight = each.view(d, channels, 1, 3, 3).sum(0)
        return of_x, of_weight, None


def _phases(x: Tensor, d: int) -> Tensor:
    """Put pixels d apart beside each other: (N, C, H, W) -> (d N, d C, H/d, W/d), channels last.

    Rows of one remainder by d become an image, columns of one a group of channels: a dilation of d is then none.
    """
    n, c, h, w = x.shape
    rows = F.pad(x, (0, -w % d, 0, -h % d)).contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    height, width = rows.shape[1] // d, rows.shape[2] // d
    apart = rows.reshape(n, height, d, width, d * c).permute(2, 0, 1, 3, 4).reshape(d * n, height, width, d * c)
    return apart.permute(0, 3, 1, 2)


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
