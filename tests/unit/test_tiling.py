"""Tiles: equal to the whole where nothing is global, different where instance normalisation is, never seamed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cirn_dist.models.cyclegan import Generator
from cirn_dist.models.tiling import tiled


def scene(height: int, width: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, height, width, generator=random) * 2 - 1


def generator(*, norm: bool) -> Generator:
    torch.manual_seed(0)
    g = Generator(ngf=2, blocks=1, upsampling="transposed").eval().requires_grad_(False)
    for layer in g.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.weight.mul_(8)  # large enough that an error of one pixel's neighbourhood shows
        for name, child in list(layer.named_children()):
            if isinstance(child, nn.InstanceNorm2d) and not norm:
                setattr(layer, name, nn.Identity())
    return g


@pytest.mark.parametrize("size", [(300, 410), (256, 600), (259, 257), (90, 700)])
def test_without_a_global_layer_tiles_are_the_whole_image_to_rounding(size: tuple[int, int]) -> None:
    g, x = generator(norm=False), scene(*size)
    whole = g(x)
    assert whole.std() > 0.05
    torch.testing.assert_close(tiled(g, x, 256), whole, atol=2e-6, rtol=0)


def test_with_instance_normalisation_they_are_not() -> None:
    g, x = generator(norm=True), scene(300, 410)
    x[..., :200] *= 0.1  # flat on the left, busy on the right: a tile's statistics are not the image's
    assert (tiled(g, x, 256) - g(x)).abs().max() > 0.01


def test_an_image_no_larger_than_a_tile_is_run_whole() -> None:
    g, x = generator(norm=True), scene(96, 128)
    assert torch.equal(tiled(g, x, 128), g(x))


def test_every_pixel_is_covered_and_no_tile_is_larger_than_asked() -> None:
    seen: list[tuple[int, ...]] = []

    def network(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape[-2:]))
        return images

    for size in ((64, 65), (200, 333), (65, 1000)):
        x = scene(*size)
        torch.testing.assert_close(tiled(network, x, 64), x, atol=1e-6, rtol=0)
    assert max(map(max, seen)) < 64 + 4
