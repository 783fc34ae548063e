from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cirn_dist.models.cyclegan import Generator


def images(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def small(**options: Any) -> Generator:
    torch.manual_seed(0)
    return Generator(ngf=4, blocks=2, **options)


def test_the_full_generator_is_cyclegans() -> None:
    g = Generator()
    # 11.378 M, less the biases that its instance norms make idle: 64 + 128 + 256, 18 x 256, 128 + 64.
    assert sum(p.numel() for p in g.parameters()) == 11_378_179 - 5248
    assert not any(m.affine or m.track_running_stats for m in g.modules() if isinstance(m, nn.InstanceNorm2d))
    weights = torch.cat([m.weight.flatten() for m in g.modules() if isinstance(m, nn.Conv2d)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (16, 20), (33, 47), (30, 64)])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_any_size_comes_back_at_its_size_and_in_range(size: tuple[int, int], residual: bool, upsampling: str) -> None:
    y = small(residual_output=residual, upsampling=upsampling)(images(*size))
    assert y.shape == (2, 3, *size)
    assert y.abs().max() <= 1
    assert torch.isfinite(y).all()


def test_residual_output_starts_as_the_identity_and_learns() -> None:
    g, x = small(residual_output=True), images(16, 20)
    assert torch.equal(g(x), x)
    (g(x) - 0.5).square().mean().backward()
    assert g.output.weight.grad.abs().max() > 0
    with torch.no_grad():
        g.output.bias.fill_(5.0)
    assert torch.equal(g(x), torch.ones_like(x))


def test_train_and_eval_translate_alike() -> None:
    g, x = small(), images(16, 20)
    assert torch.equal(g.train()(x), g.eval()(x))
    torch.testing.assert_close(g(x)[:1], g(x[:1]))  # one image's translation does not depend on its batch


def test_checkpointed_blocks_give_the_same_gradients() -> None:
    plain, saving = small(), small(checkpoint_blocks=True)
    for g in (plain, saving):
        g(images(16, 20)).square().mean().backward()
    for p, q in zip(plain.parameters(), saving.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


def test_output_is_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert small()(images(16, 20)).dtype == torch.float32
        assert small(residual_output=True)(images(16, 20)).dtype == torch.float32


def test_resizing_leaves_no_checkerboard() -> None:
    """Random weights on a flat image: transposed convolutions answer differently on even and odd pixels."""

    def unevenness(upsampling: str) -> float:
        torch.manual_seed(0)
        generator = Generator(ngf=8, blocks=1, upsampling=upsampling)  # type: ignore[arg-type]
        flat = nn.Sequential(*(layer for layer in generator.decoder if not isinstance(layer, nn.InstanceNorm2d)))
        inside = flat(torch.rand(1, 32, 1, 1).expand(1, 32, 12, 12))[..., 12:-12, 12:-12]
        return float(inside.detach().std(dim=(2, 3)).mean())

    assert unevenness("resize") < 1e-6
    assert unevenness("transposed") > 1e-3
