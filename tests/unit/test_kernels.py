"""What holds of every convolution of our own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cirn_dist.models.depthwise import DilatedDepthwise
from cirn_dist.models.on_cpu import Pointwise
from cirn_dist.models.winograd import CHANNELS, Winograd


@pytest.mark.parametrize(
    "conv",
    [
        DilatedDepthwise(4, 2, bias=False),
        Pointwise(32, 8, 1, bias=False),
        Winograd(CHANNELS, CHANNELS, 3, padding=1, bias=False),
    ],
    ids=lambda conv: type(conv).__name__,
)
def test_a_frozen_weight_or_input_gets_no_gradient(conv: nn.Conv2d) -> None:
    x = torch.randn(1, conv.in_channels, 32, 32, generator=torch.Generator().manual_seed(0))
    conv(x).sum().backward()
    assert x.grad is None
    assert conv.weight.grad is not None
    conv.requires_grad_(requires_grad=False)
    y = x.clone().requires_grad_()
    conv(y).sum().backward()
    assert y.grad is not None
