"""Convolutions by Winograd's algorithm: PyTorch's own sums, in float64 to rounding, in float32 to 2e-5."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cirn_dist.models import winograd
from cirn_dist.models.backbones import build_backbone
from cirn_dist.models.cyclegan import Generator
from cirn_dist.models.kernels import use_own_kernels
from cirn_dist.models.winograd import CHANNELS, Winograd, convolve


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, of the largest value."""
    assert found.shape == expected.shape
    found, expected = found.detach(), expected.detach()
    return float((found.double() - expected).abs().max() / expected.abs().max().clamp_min(1e-300))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_convolution_and_its_gradients_are_torchs(data: st.DataObject) -> None:
    n, c, k, d = (data.draw(st.integers(1, most), name) for name, most in (("n", 3), ("c", 4), ("k", 4), ("d", 5)))
    p = data.draw(st.integers(0, 2 * d), "padding")
    least = max(1, 2 * d - 2 * p + 1)  # for one pixel of output
    h, w = (data.draw(st.integers(least, least + 13), name) for name in "hw")
    x, weight = noise(n, c, h, w).requires_grad_(), noise(k, c, 3, 3, seed=1).requires_grad_()
    expected, found = F.conv2d(x, weight, padding=p, dilation=d), convolve(x, weight, d, p)
    assert apart(found, expected) < 1e-12
    gradient = noise(*expected.shape, seed=2)
    gradients = (torch.autograd.grad(y, (x, weight), gradient) for y in (found, expected))
    for mine, theirs in zip(*gradients, strict=True):
        assert apart(mine, theirs) < 1e-12


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_in_float32_it_is_as_close_as_the_algorithm_is(dilation: int) -> None:
    net = Winograd(CHANNELS, 2 * CHANNELS, 3, padding=dilation, dilation=dilation)
    x, gradient = (noise(1, channels, 33, 35, seed=channels) for channels in (CHANNELS, 2 * CHANNELS))
    found = net(x.float())
    mine = torch.autograd.grad(found, tuple(net.parameters()), gradient.float())
    exact = copy.deepcopy(net).double()
    theirs = nn.Conv2d.forward(exact, x)
    assert apart(found, theirs) < 2e-5
    for a, b in zip(mine, torch.autograd.grad(theirs, tuple(exact.parameters()), gradient), strict=True):
        assert a.dtype == torch.float32
        assert apart(a, b) < 2e-5


def test_gradients_add_up_over_micro_batches() -> None:
    net = Winograd(CHANNELS, CHANNELS, 3, padding=1)
    exact = copy.deepcopy(net).double()
    for seed in range(3):
        x = noise(1, CHANNELS, 32, 32, seed=seed)
        net(x.float()).square().mean().backward()
        nn.Conv2d.forward(exact, x).square().mean().backward()
    for a, b in zip(net.parameters(), exact.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert apart(a.grad, b.grad) < 2e-5


def used(net: nn.Module, x: Tensor) -> bool:
    with mock.patch.object(winograd, "convolve", wraps=convolve) as ours:
        net(x)
    return ours.called


def test_only_training_in_float32_on_many_pixels_goes_this_way() -> None:
    net = Winograd(CHANNELS, CHANNELS, 3, padding=1)
    x = noise(1, CHANNELS, 32, 32, dtype=torch.float32)
    assert used(net, x)
    assert used(net, x[:, :, :24])
    assert not used(net, x[:, :, :23])
    assert not used(net, x[:, :, :23].expand(2, -1, -1, -1)), "an image's kernel is its own, whatever it is beside"
    with torch.no_grad():
        assert not used(net, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not used(net, x)
    assert not used(net.double(), x.double())


@pytest.mark.parametrize(
    "other",
    [
        {"out_channels": CHANNELS - 1},
        {"kernel_size": 5},
        {"kernel_size": (3, 1)},
        {"stride": 2},
        {"groups": 2},
        {"padding": 3},
        {"padding": (1, 2)},
        {"padding": "same"},
        {"dilation": (1, 2)},
        {"padding_mode": "reflect"},
    ],
    ids=str,
)
def test_other_convolutions_stay(other: dict[str, object]) -> None:
    given = {"in_channels": CHANNELS, "out_channels": CHANNELS, "kernel_size": 3, "padding": 1}
    conv = nn.Conv2d(**given | other)  # type: ignore[arg-type]
    net = nn.Sequential(conv)
    use_own_kernels(net)
    assert net[0] is conv


def test_the_networks_have_them_where_most_of_their_work_is() -> None:
    """Two in each residual block of a generator; in ResNet-101 in all but the first stage and the two strided ones."""
    counts = [
        sum(type(module) is Winograd for module in net.modules())
        for net in (Generator(), Generator(checkpoint_blocks=True), build_backbone("resnet101"))
    ]
    assert counts[:2] == [18, 18]
    assert counts[2] == 3 + 23 + 3


def test_replaced_ones_are_the_same_convolution() -> None:
    conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=2, dilation=4)
    net = nn.Sequential(conv)
    use_own_kernels(net)
    found = net[0]
    assert isinstance(found, Winograd)
    assert found.weight is conv.weight
    assert found.bias is conv.bias
    x = noise(1, CHANNELS, 40, 41, dtype=torch.float32)
    assert used(net, x)
    assert apart(net(x), conv.double()(x.double())) < 2e-5
