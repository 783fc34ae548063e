"""Depthwise convolutions on a CPU whose gradients oneDNN is slow at, by kernels that are fast there.

The same sums, in another order. oneDNN's backward passes of a dilated depthwise convolution take 5 to 8 times in
float32 what the same one without dilation takes, 24 to 40 times in bf16, where the weight's gradient is even wrong at
times (not finite, with MobileNetV2); in bf16 the input's gradient of a strided one takes 40 times the forward pass.
Only training on a CPU goes this way: what needs no gradient, a GPU, and an export keep PyTorch's own.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from cirn_dist.models import on_cpu


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
        return _convolved(self, x)


class StridedDepthwise(on_cpu.OwnConv):
    """A depthwise 3x3 convolution of stride 2 and padding 1; in half precision its kernel is ours."""

    @staticmethod
    def fits(conv: nn.Conv2d) -> bool:
        """Whether this can stand for a convolution."""
        return (
            conv.groups == conv.in_channels == conv.out_channels
            and (conv.kernel_size, conv.stride, conv.dilation, conv.padding) == ((3, 3), (2, 2), (1, 1), (1, 1))
            and conv.padding_mode == "zeros"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        return _convolved(self, x) if on_cpu.in_half(x) else super().forward(x)


def _convolved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    weight = conv.weight
    if torch.is_autocast_enabled("cpu"):
        half = torch.get_autocast_dtype("cpu")
        x, weight = x.to(half), weight.to(half)
    found = cast(Tensor, _Depthwise.apply(x, weight, conv.stride[0], conv.dilation[0]))
    return found if conv.bias is None else found + conv.bias.to(found.dtype)[:, None, None]


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose gradients are the forward kernel, and the backward one without dilation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, d: int) -> Tensor:
        assert stride == 1 or d == 1
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.d = stride, d
        return F.conv2d(x, weight, stride=stride, padding=d, dilation=d, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        stride, d, channels = ctx.stride, ctx.d, len(weight)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:  # its transpose: an odd kernel, turned around
            spread = gradient if stride == 1 else _spread(gradient, stride, x)
            of_x = F.conv2d(spread, weight.flip(2, 3), padding=d, dilation=d, groups=channels)
        if ctx.needs_input_grad[1]:
            apart, flat = (x, gradient) if d == 1 else (_phases(x, d), _phases(gradient, d))
            shape = (d * channels, 1, 3, 3)
            each = conv2d_weight(apart, shape, flat, stride, 1, groups=d * channels)  # type: ignore[no-untyped-call]
            of_weight = each.view(d, channels, 1, 3, 3).sum(0)
        return of_x, of_weight, None, None


def _spread(gradient: Tensor, stride: int, like: Tensor) -> Tensor:
    """Put the gradient of each output pixel where its window's middle is in the input, and zeros between."""
    spread = torch.zeros_like(like, memory_format=torch.channels_last)
    spread[:, :, ::stride, ::stride] = gradient
    return spread


def _phases(x: Tensor, d: int) -> Tensor:
    """Put pixels d apart beside each other: (N, C, H, W) -> (d N, d C, H/d, W/d), channels last.

    Rows of one remainder by d become an image, columns of one a group of channels: a dilation of d is then none.
    """
    n, c, h, w = x.shape
    height, width = -(-h // d), -(-w // d)
    rows = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    if h % d == w % d == 0:
        apart = rows.reshape(n, height, d, width, d * c).permute(2, 0, 1, 3, 4)
    else:  # zeros below and to the right, and every pixel copied once
        apart = x.new_empty(d, n, height, width * d, c)
        apart[:, :, :, w:].zero_()
        apart[h % d or d :, :, -1].zero_()
        for row in range(d):
            taken = rows[:, row::d]
            apart[row, :, : taken.shape[1], :w] = taken
    return apart.reshape(d * n, height, width, d * c).permute(0, 3, 1, 2)
