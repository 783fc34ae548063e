"""The target's losses of the field's methods: the authors' own values, and the same again in NumPy and float64.

The values are those of the authors' functions on logits Z and labels Y given by formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from authors import ON_S, ON_T, SECOND, Y, Z
from torch import Tensor
from torch.nn import functional as F

from cirn_dist import losses
from cirn_dist.models.discriminators import PixelDiscriminator

Array = npt.NDArray[np.float64]
SHAPES = {"i": (1, 5, 6, 7), "ii": (2, 19, 5, 8)}


def checked(loss: Tensor, logits: Tensor, value: float, grad_abs: float, grad_cos: float, rel: float = 1e-9) -> None:
    """Compare a loss, and the absolute and a weighted sum of its gradient."""
    loss.backward()
    assert logits.grad is not None
    gradient = logits.grad.flatten()
    assert loss.item() == pytest.approx(value, rel=rel)
    assert gradient.abs().sum().item() == pytest.approx(grad_abs, rel=rel)
    assert (gradient * torch.arange(len(gradient)).double().mul(0.1).cos()).sum().item() == pytest.approx(
        grad_cos, rel=10 * rel
    )


@pytest.mark.parametrize(
    ("of", "loss", "value", "grad_abs", "grad_cos", "rel"),
    [
        ("i", losses.entropy, 0.48338493023, 0.342809427903, 0.0448713963345, 1e-9),
        ("ii", losses.entropy, 0.71164163934, 0.186615087684, 0.0264524673054, 1e-9),
        ("i", losses.max_square, -0.0557293029364, 0.0358100349067, 0.00592634086962, 1e-9),
        ("ii", losses.max_square, -0.00391863947944, 0.00274526129038, 0.000484270542369, 1e-9),
        ("i", lambda z: losses.max_square(z, ratio=0.2), -0.14760896548, 0.0950210832811, 0.0137274935022, 1e-6),
    ],
)
def test_the_authors_values(
    of: str, loss: Callable[[Tensor], Tensor], value: float, grad_abs: float, grad_cos: float, rel: float
) -> None:
    logits = Z(SHAPES[of])
    checked(loss(logits), logits, value, grad_abs, grad_cos, rel)


def test_image_wise_weights_are_each_images_own() -> None:
    """The authors' code holds for one image; a batch is the mean of its images, the first of which is theirs."""
    logits = Z(SHAPES["ii"])
    both = losses.max_square(logits, ratio=0.2)
    first, second = (losses.max_square(logits[i : i + 1], ratio=0.2) for i in (0, 1))
    assert first.item() == pytest.approx(-0.0125004700978, rel=1e-6)
    assert both.item() == pytest.approx((first.item() + second.item()) / 2, rel=1e-12)


def test_the_robust_entropy_is_fdas() -> None:
    # The code divides by 2.9444, log 19 rounded; the entropy's square, and so the loss, differs by that.
    for eta, value in ((2.0, 0.256859171529), (1.5, 0.360673432981)):
        found = losses.robust_entropy(Z(SHAPES["ii"]), eta=eta).item()
        assert found == pytest.approx(value * (2.9444 / math.log(19)) ** (2 * eta), rel=1e-7)


@pytest.mark.parametrize(
    ("of", "threshold", "value", "grad_abs", "grad_cos"),
    [
        ("i", 0.8, 0.530300312704, 0.721142746243, 0.224548913141),
        ("ii", 0.2, 1.95925237684, 1.70147334604, 0.224426333661),
    ],
)
def test_the_guidance_is_max_squares(of: str, threshold: float, value: float, grad_abs: float, grad_cos: float) -> None:
    # The authors average over the pixels of all images of a batch, here over each image's first: equal for one image.
    z1, z2 = Z(SHAPES[of]), Z(SHAPES[of], SECOND)
    if of == "i":
        checked(losses.guidance(z1, z2, threshold=threshold), z2, value, grad_abs, grad_cos)
        assert z1.grad is None
        return
    images, chosen = [], []
    for one, other in zip(z1.detach(), z2.detach(), strict=True):
        images.append(losses.guidance(one[None], other[None], threshold=threshold).item())
        p1, p2 = one.softmax(0), other.softmax(0)
        chosen.append(((p1.amax(0) > threshold) | (p2.amax(0) > threshold)).sum().item())
    assert np.average(images, weights=chosen) == pytest.approx(value, rel=1e-9)
    assert losses.guidance(z1, z2, threshold=threshold).item() == pytest.approx(np.mean(images), rel=1e-12)


def test_an_image_of_which_nothing_is_certain_costs_nothing() -> None:
    z1, z2 = Z(SHAPES["i"]), Z(SHAPES["i"], SECOND)
    loss = losses.guidance(z1, z2, threshold=1.0)
    loss.backward()
    assert loss.item() == 0
    assert z2.grad is not None
    assert not z2.grad.abs().sum()


@pytest.mark.parametrize(
    ("of", "value", "grad_abs", "grad_cos"),
    [("i", 0.451886298709, 6.00136475026, -1.48658631256), ("ii", -0.20762835925, 19.2501455622, -0.0105759929334)],
)
def test_the_self_information_is_advents(of: str, value: float, grad_abs: float, grad_cos: float) -> None:
    logits = Z(SHAPES[of])
    shown = losses.self_information(logits).flatten()
    checked((shown * torch.arange(len(shown)).double().cos()).sum(), logits, value, grad_abs, grad_cos)
    assert losses.self_information(logits).sum(dim=1).mean().item() == pytest.approx(losses.entropy(logits).item())


@pytest.fixture
def discriminator() -> PixelDiscriminator:
    """The authors' network of five classes, its weights given by formulas."""
    net = PixelDiscriminator(5, 2, coarse=True).double()
    for number, layer in enumerate(layer for layer in net.layers if isinstance(layer, torch.nn.Conv2d)):
        o, i, k, n = np.ogrid[tuple(slice(side) for side in layer.weight.shape)]
        weights = 0.12 * np.sin(0.7 * (number + 1) + 0.9 * o + 0.5 * i + 0.31 * k + 0.17 * n)
        biases = 0.05 * np.cos(np.arange(len(layer.weight)) + number)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weights))
            assert layer.bias is not None
            layer.bias.copy_(torch.from_numpy(biases))
    return net


ADVERSARIES = {
    "vanilla": ("vanilla", "softmax", 0.015361780289, 0.0397986861052, 2.10095081617, 37.4525),
    "lsgan": ("lsgan", "softmax", 17.4156649849, 21.8154020406, 22.4107190402, 710.493067284),
    "advent": ("vanilla", "selfinfo", 0.0656001195312, 0.105558823608, 1.41917145252, 21.1049456674),
}


@pytest.mark.parametrize("name", ADVERSARIES)
def test_the_adversarial_losses_of_adaptsegnet_and_advent(name: str, discriminator: PixelDiscriminator) -> None:
    kind, shown, adversarial, grad_abs, of_d, d_grad_abs = ADVERSARIES[name]
    see = losses.self_information if shown == "selfinfo" else lambda z: z.softmax(dim=1)
    on_t, on_s = Z((2, 5, 32, 64), ON_T), Z((2, 5, 32, 64), ON_S)
    # Their D calls the source 0 and the target 1, this one the other way: the sign of its logit, or 1 minus it.
    d_t, d_s = (_turned(discriminator(see(z)), kind) for z in (on_t, on_s))
    loss = losses.adversarial_segmenter(d_t, kind=kind)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(loss, on_t, retain_graph=True)
    assert loss.item() == pytest.approx(adversarial, rel=1e-6)
    assert gradient.abs().sum().item() == pytest.approx(grad_abs, rel=1e-6)
    d_loss = 0.5 * losses.adversarial_discriminator(d_s, d_t, kind=kind)  # type: ignore[arg-type]
    first = next(layer for layer in discriminator.layers if isinstance(layer, torch.nn.Conv2d))
    (gradient,) = torch.autograd.grad(d_loss, first.weight)
    assert d_loss.item() == pytest.approx(of_d, rel=1e-6)
    assert gradient.abs().sum().item() == pytest.approx(d_grad_abs, rel=1e-5)


def _turned(logits: Tensor, kind: str) -> Tensor:
    return 1 - logits if kind == "lsgan" else -logits


def test_coarse_logits_are_those_that_are_upsampled() -> None:
    torch.manual_seed(0)
    fine = PixelDiscriminator(5, 4)
    coarse = PixelDiscriminator(5, 4, coarse=True)
    coarse.load_state_dict(fine.state_dict())
    maps = torch.rand(2, 5, 64, 96)
    assert coarse(maps).shape == (2, 1, 2, 3)
    torch.testing.assert_close(
        F.interpolate(coarse(maps), (64, 96), mode="bilinear", align_corners=True), fine(maps), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_in_half_precision_they_are_finite(half: torch.dtype) -> None:
    logits = (60 * torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(0))).to(half).requires_grad_()
    found = [
        losses.entropy(logits),
        losses.robust_entropy(logits),
        losses.max_square(logits),
        losses.max_square(logits, ratio=0.2),
        losses.guidance(logits, logits),
        losses.self_information(logits).sum(),
    ]
    total = torch.stack(found).sum()
    total.backward()
    assert total.dtype == torch.float32
    assert total.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_supervision_is_adaptsegnets() -> None:
    for of, value in (("i", 3.17594347218), ("ii", 4.58240179349)):
        logits, labels = Z(SHAPES[of]), Y(SHAPES[of])
        images = [losses.segmentation(z[None], y[None]).item() for z, y in zip(logits, labels, strict=True)]
        valid = [(y != 255).sum().item() for y in labels]  # the authors' mean is over the pixels of the whole batch
        assert np.average(images, weights=valid) == pytest.approx(value, rel=1e-9)
    assert losses.segmentation(Z(SHAPES["i"]), torch.full((1, 6, 7), 255)).item() == 0, "theirs is not a number"
