"""Products and 1x1 convolutions in float32 on a CPU: by oneDNN, and what they are in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from cirn_dist.models.backbones import build_backbone
from cirn_dist.models.classifier import Classifier
from cirn_dist.models.kernels import use_own_kernels
from cirn_dist.models.on_cpu import Pointwise, products

SIZES = st.integers(1, 40)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert (found.double() - expected).abs().max() <= 1e-5 * max(1.0, float(expected.detach().abs().max()))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3), m=SIZES, k=SIZES, p=SIZES, turned=st.booleans())
def test_products_are_those_of_float64(n: int, m: int, k: int, p: int, turned: bool) -> None:
    a, b = noise(n, m, k), noise(n, p, k, seed=1)
    if turned:  # as the gradient of a weight has them
        a, b = noise(n, k, m).transpose(1, 2), noise(n, k, p, seed=1).transpose(1, 2)
    expected = a.double() @ b.double().transpose(1, 2)
    close(products(a, b), expected)
    torch.testing.assert_close(products(a.double(), b.double()), expected)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 3), c=SIZES, k=SIZES, h=SIZES, w=SIZES, bias=st.booleans())
def test_a_convolution_and_its_gradients_are_those_of_float64(
    n: int, c: int, k: int, h: int, w: int, bias: bool
) -> None:
    net = Pointwise(c, k, 1, bias=bias)
    exact = copy.deepcopy(net).double()
    x, gradient = noise(n, c, h, w).requires_grad_(), noise(n, k, h, w, seed=1)
    wide = x.detach().double().requires_grad_()
    found, expected = net(x), nn.Conv2d.forward(exact, wide)
    close(found, expected)
    mine = torch.autograd.grad(found, (x, *net.parameters()), gradient)
    theirs = torch.autograd.grad(expected, (wide, *exact.parameters()), gradient.double())
    for a, b in zip(mine, theirs, strict=True):
        close(a, b)


def kernels(net: nn.Module, x: Tensor) -> set[str]:
    """Return which of PyTorch's own operations a training pass calls."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        net(x).sum().backward()
    return {event.key for event in seen.key_averages()}


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="a torch without oneDNN")
@pytest.mark.parametrize("net", [Pointwise(32, 8, 1), Classifier(32, 4)], ids=lambda net: type(net).__name__)
def test_one_thread_too_convolves_by_onednn(net: nn.Module) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = kernels(net, noise(1, 32, 32, 32))
        few = kernels(net, noise(1, 32, 8, 8))
        plain = kernels(nn.Conv2d(32, 8, 1), noise(1, 32, 32, 32))
    finally:
        torch.set_num_threads(threads)
    assert "aten::mkldnn_convolution" in found
    assert not {"aten::thnn_conv2d", "aten::addmm", "aten::slow_conv_dilated2d"} & found
    assert not {"aten::addmm", "aten::slow_conv_dilated2d"} & few
    assert "aten::mkldnn_convolution" not in plain, "no reason for a kernel of ours any more"


@pytest.mark.parametrize("other", [{"stride": 2}, {"groups": 2}, {"padding": 1}, {"kernel_size": 3}], ids=str)
def test_other_convolutions_stay(other: dict[str, int]) -> None:
    conv = nn.Conv2d(**{"in_channels": 4, "out_channels": 4, "kernel_size": 1} | other)
    net = nn.Sequential(conv)
    use_own_kernels(net)
    assert net[0] is conv


def test_the_networks_have_them() -> None:
    """Two in each residual block of ResNet-101 and one to a wider sum; MobileNetV2's expansions and projections."""
    counts = {
        name: sum(type(module) is Pointwise for module in build_backbone(name).modules())
        for name in ("resnet101", "mobilenet_v2")
    }
    assert counts["resnet101"] == 2 * 33 + 4 - 1, "but the shortcut that strides"
    assert counts["mobilenet_v2"] == 16 * 2 + 1
