"""Dilated convolutions by other kernels: PyTorch's own sums, in float64 to rounding, in bf16 finite and close."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cirn_dist.models.backbones import build_backbone
from cirn_dist.models.classifier import Classifier
from cirn_dist.models.depthwise import DilatedDepthwise, StridedDepthwise, _Depthwise
from cirn_dist.models.kernels import use_own_kernels
from cirn_dist.models.weights import load_strictly

SIZES = st.integers(1, 11)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], most: float = 1e-12) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= most * max(1.0, float(b.detach().abs().max()))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3), c=st.integers(1, 5), h=SIZES, w=SIZES, d=st.integers(2, 5), bias=st.booleans())
def test_a_depthwise_convolution_and_its_gradients_are_torchs(
    n: int, c: int, h: int, w: int, d: int, bias: bool
) -> None:
    conv = DilatedDepthwise(c, d, bias=bias).double()
    x, gradient = noise(n, c, h, w).requires_grad_(), noise(n, c, h, w, seed=1)
    inputs = (x, *conv.parameters())
    expected = F.conv2d(x, conv.weight, conv.bias, padding=d, dilation=d, groups=c)
    found = conv(x)
    same((found,), (expected,))
    same(torch.autograd.grad(found, inputs, gradient), torch.autograd.grad(expected, inputs, gradient))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3), c=st.integers(1, 5), h=SIZES, w=SIZES, stride=st.integers(2, 3))
def test_a_strided_one_too(n: int, c: int, h: int, w: int, stride: int) -> None:
    x, weight = noise(n, c, h, w).requires_grad_(), noise(c, 1, 3, 3, seed=1).requires_grad_()
    expected = F.conv2d(x, weight, stride=stride, padding=1, groups=c)
    found = _Depthwise.apply(x, weight, stride, 1)
    same((found,), (expected,))  # type: ignore[arg-type]
    gradient = noise(*expected.shape, seed=2)
    both = (torch.autograd.grad(y, (x, weight), gradient) for y in (found, expected))
    same(*both)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 3), h=SIZES, w=SIZES, dilations=st.lists(st.integers(1, 24), min_size=1, max_size=4))
def test_a_classifiers_branches_in_one_product_are_their_sum(n: int, h: int, w: int, dilations: list[int]) -> None:
    classifier = Classifier(6, 4, dilations).double()
    x, gradient = noise(n, 6, h, w).requires_grad_(), noise(n, 4, h, w, seed=1)
    inputs = (x, *classifier.parameters())
    branches = zip(classifier.branches, dilations, strict=True)
    each = [F.conv2d(x, b.weight, b.bias, padding=d, dilation=d) for b, d in branches]  # type: ignore[arg-type]
    expected = torch.stack(each).sum(0)
    found = classifier(x)
    same((found,), (expected,))
    same(torch.autograd.grad(found, inputs, gradient), torch.autograd.grad(expected, inputs, gradient))


def test_gradients_add_up_over_micro_batches_each_in_its_own_memory() -> None:
    """Gradients that autograd hands out as views of one memory are added up in it once for each of them."""
    ours = nn.Sequential(DilatedDepthwise(6, 2), Classifier(6, 4)).double()
    theirs = [(copy.deepcopy(net), net) for net in ours]
    inputs = [noise(2, 6, 9, 7, seed=seed) for seed in range(3)]
    for x in inputs:
        ours(x).square().sum().backward()
    (depthwise, _), (classifier, _) = theirs
    for x in inputs:
        y = F.conv2d(x, depthwise.weight, depthwise.bias, padding=2, dilation=2, groups=6)  # type: ignore[arg-type]
        branches = [F.conv2d(y, b.weight, b.bias, padding=b.dilation, dilation=b.dilation) for b in classifier.branches]  # type: ignore[union-attr]
        torch.stack(branches).sum(0).square().sum().backward()  # type: ignore[no-untyped-call]
    for net, own in theirs:
        found, expected = ([p.grad for p in one.parameters()] for one in (own, net))
        same(tuple(g for g in found if g is not None), tuple(g for g in expected if g is not None))
    pointers = [p.grad.untyped_storage().data_ptr() for p in ours.parameters() if p.grad is not None]
    assert len(set(pointers)) == len(pointers) == 10


def test_the_gradients_of_a_classifiers_bias_add_up_too() -> None:
    classifier = Classifier(3, 4)
    for _ in range(3):
        classifier.bias().square().sum().backward()
    for branch in classifier.branches:
        assert branch.bias.grad is not None  # type: ignore[union-attr]
        torch.testing.assert_close(branch.bias.grad, 6 * classifier.bias().detach())  # type: ignore[union-attr, arg-type]


def test_without_gradients_the_bits_are_torchs() -> None:
    """What predicts, scores and exports goes PyTorch's way."""
    x = noise(2, 8, 9, 13).float()
    conv = DilatedDepthwise(8, 4)
    classifier = Classifier(8, 3)
    with torch.no_grad():
        assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=4, dilation=4, groups=8))
        one, *others = (branch(x) for branch in classifier.branches)
        for other in others:
            one = one + other
        assert torch.equal(classifier(x), one)


def test_mobilenets_gradients_are_those_of_torchs_own_convolutions() -> None:
    torch.manual_seed(0)
    ours = build_backbone("mobilenet_v2").double().eval()
    kinds = [type(module) for module in ours.modules()]
    assert kinds.count(DilatedDepthwise) == 10
    assert kinds.count(StridedDepthwise) == 2
    theirs = nn.Sequential(*torchvision.models.mobilenet_v2().features[:-1]).double().eval()
    load_strictly(theirs, {name.removeprefix("features."): t for name, t in ours.state_dict().items()}, where="ours")
    for conv, dilated in zip(
        (m for m in theirs.modules() if isinstance(m, nn.Conv2d)),
        (m for m in ours.modules() if isinstance(m, nn.Conv2d)),
        strict=True,
    ):
        conv.stride, conv.padding, conv.dilation = dilated.stride, dilated.padding, dilated.dilation
    x = noise(1, 3, 40, 56)
    gradients = []
    for net in (ours, theirs):
        found = net(x)
        gradients.append(torch.autograd.grad(found, tuple(net.parameters()), noise(*found.shape, seed=2)))
    same(*gradients, most=1e-10)


def test_a_strided_ones_own_kernel_is_for_half_precision() -> None:
    """oneDNN's gradient of its input takes forty times the forward pass there, and no longer than it in float32."""
    conv = StridedDepthwise(8, 8, 3, stride=2, padding=1, groups=8, bias=False)
    x = noise(2, 8, 9, 13).float().requires_grad_()
    assert "_Depthwise" not in type(conv(x).grad_fn).__name__
    with torch.autocast("cpu", torch.bfloat16):
        assert "_Depthwise" in type(conv(x).grad_fn).__name__
        with torch.no_grad():
            assert conv(x).grad_fn is None


def test_bf16_is_as_close_as_bf16_can_be_and_finite() -> None:
    """oneDNN's own weight gradient here is not finite at times."""
    x, gradient = noise(4, 64, 18, 24), noise(4, 64, 18, 24, seed=1)
    conv = DilatedDepthwise(64, 4, bias=False).double()
    classifier = Classifier(64, 8).double()
    strided = StridedDepthwise(64, 64, 3, stride=2, padding=1, groups=64).double()
    for net, seen in ((conv, gradient), (classifier, gradient[:, :8]), (strided, gradient[..., :9, :12])):
        exact = torch.autograd.grad(net(x), tuple(net.parameters()), seen)
        net.float()
        with torch.autocast("cpu", torch.bfloat16):
            found = net(x.float())
        assert found.dtype == torch.bfloat16
        half = torch.autograd.grad(found, tuple(net.parameters()), seen.to(torch.bfloat16))
        for a, b in zip(half, exact, strict=True):
            assert a.dtype == torch.float32
            assert (a.double() - b).abs().max() <= 0.02 * b.abs().max()


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, padding=4, dilation=2, groups=4),
        nn.Conv2d(4, 4, 5, padding=4, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, padding_mode="circular"),
    ],
)
def test_other_convolutions_stay(conv: nn.Conv2d) -> None:
    net = nn.Sequential(conv)
    use_own_kernels(net)
    assert net[0] is conv


def test_replaced_ones_keep_their_parameters() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4)
    net = nn.Sequential(conv)
    use_own_kernels(net)
    assert isinstance(net[0], DilatedDepthwise)
    assert net[0].weight is conv.weight
    assert net[0].bias is conv.bias
