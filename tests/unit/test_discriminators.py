from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cirn_dist.models.discriminators import PatchDiscriminator, PixelDiscriminator


def test_pixel_discriminator_is_clans_with_logits_at_the_maps_size() -> None:
    torch.manual_seed(0)
    d = PixelDiscriminator(19)
    assert sum(p.numel() for p in d.parameters()) == pytest.approx(2.78e6, abs=0.005e6)  # the lineage's count
    convs = [m for m in d.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [64, 128, 256, 512, 1]
    assert {(c.kernel_size, c.stride, c.padding) for c in convs} == {((4, 4), (2, 2), (1, 1))}
    maps = torch.rand(1, 19, 64, 96)
    x = maps
    for conv in convs[:-1]:
        x = F.leaky_relu(conv(x), 0.2)
    coarse = convs[-1](x)
    assert coarse.shape == (1, 1, 2, 3)
    torch.testing.assert_close(d(maps), F.interpolate(coarse, (64, 96), mode="bilinear", align_corners=True))


@pytest.mark.parametrize("size", [(1, 1), (31, 32), (33, 200), (8, 70)])
def test_any_map_size_gets_one_logit_per_pixel(size: tuple[int, int]) -> None:
    assert PixelDiscriminator(3, width=4)(torch.rand(2, 3, *size)).shape == (2, 1, *size)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_patch_logit_sees_exactly_its_patch(layers: int, field: int) -> None:
    d = PatchDiscriminator(width=2, layers=layers).eval()
    for name, module in list(d.layers.named_children()):
        if isinstance(module, nn.InstanceNorm2d):  # it looks at the whole image
            setattr(d.layers, name, nn.Identity())
    x = torch.randn(1, 3, 256, 256, requires_grad=True)
    y = d(x)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == field


def test_patch_discriminator_is_cyclegans() -> None:
    d = PatchDiscriminator()
    # 2.7649 M with the biases that its instance norms make idle (128 + 256 + 512).
    assert sum(p.numel() for p in d.parameters()) == 2_764_737 - 896
    assert d(torch.randn(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    weights = torch.cat([m.weight.flatten() for m in d.modules() if isinstance(m, nn.Conv2d)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize("size", [(1, 1), (24, 24), (23, 50)])
def test_small_images_get_a_patch_logit(size: tuple[int, int]) -> None:
    y = PatchDiscriminator(width=4)(torch.randn(2, 3, *size))
    assert y.shape[:2] == (2, 1)
    assert torch.isfinite(y).all()
