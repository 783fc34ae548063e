"""Where a CPU's own kernels are used, and float32's matrix products there by oneDNN.

PyTorch's own products in float32 are MKL's, which uses half of the vector width of an AMD processor with AVX-512;
oneDNN, which convolves, uses all of it: 230 beside 100 GFLOP/s of one Zen 5 thread. With the same width they are about
as fast.
"""

from __future__ import annotations

from typing import Self, cast

import torch
from torch import Tensor, nn

from cirn_dist.precision import HALF

BY_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # a b' + bias; none in a torch built without oneDNN
_FEW = 20480  # numbers of one image up to which PyTorch never asks oneDNN


def worth_it(x: Tensor) -> bool:
    """Whether these features are on a CPU, and gradients flow."""
    return x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def in_float32(x: Tensor, weight: Tensor) -> bool:
    """Whether `worth_it` and all is computed in float32."""
    return worth_it(x) and x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def in_half(x: Tensor) -> bool:
    """Whether `worth_it` and the computation is in half precision."""
    return worth_it(x) and (torch.is_autocast_enabled("cpu") or x.dtype in HALF.values())


class OwnConv(nn.Conv2d):
    """A convolution whose training on a CPU has a kernel of ours; parameters and result are nn.Conv2d's."""

    @classmethod
    def like(cls, conv: nn.Conv2d) -> Self:
        """Return one with the parameters of a convolution that it fits."""
        # On meta nothing is drawn: what is drawn after it, a head's weights say, stays what it was.
        found = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            stride=conv.stride,  # type: ignore[arg-type]
            groups=conv.groups,
            padding=conv.padding,  # type: ignore[arg-type]
            dilation=conv.dilation,  # type: ignore[arg-type]
            bias=conv.bias is not None,
            device="meta",
        )
        found.weight, found.bias = conv.weight, conv.bias
        return found


class Pointwise(OwnConv):
    """A 1x1 convolution of stride 1 by oneDNN, where PyTorch has MKL's matrix product on one thread."""

    @staticmethod
    def fits(conv: nn.Conv2d) -> bool:
        """Whether this can stand for a convolution."""
        return (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((1, 1), (1, 1), (0, 0), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        return pointwise(x, self.weight, self.bias) if in_float32(x, self.weight) else super().forward(x)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve (N, C, H, W) by (K, C, 1, 1) by oneDNN's kernels; gradients flow to all."""
    # To a kernel of one pixel a dilation is nothing; with one PyTorch asks oneDNN on one thread too.
    dilate = torch.get_num_threads() == 1 and (len(x) > 1 or x.numel() > _FEW)
    return nn.functional.conv2d(x, weight, bias, dilation=2 if dilate else 1)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply (M, K) by the transpose of (N, K); no gradient flows."""
    if BY_ONEDNN is None or a.dtype != torch.float32:
        return a @ b.T
    return cast(Tensor, BY_ONEDNN(a, b, None, "none", [], ""))


def products(a: Tensor, b: Tensor) -> Tensor:
    """Multiply one by one: (n, M, K) and (n, N, K) -> (n, M, N)."""
    return torch.stack([product(one, other) for one, other in zip(a, b, strict=True)])
