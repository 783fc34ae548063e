"""CycleGAN's generator, a residual encoder-decoder between two image domains."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cirn_dist.choices import Upsampling
from cirn_dist.models.discriminators import initialise
from cirn_dist.models.kernels import use_own_kernels
from cirn_dist.models.norm import InstanceNorm2d
from cirn_dist.models.padding import ReflectionPad2d, crop_to, pad_to
from cirn_dist.precision import wide


class Generator(nn.Module):
    """CycleGAN's ResNet generator: 7x7 stem, two halvings, residual blocks, two doublings, 7x7 output.

    Reflection padding, instance normalisation without running statistics or affine parameters, weights N(0, 0.02).

    Args:
        ngf: channels of the stem.
        blocks: residual blocks at a quarter of the size.
        residual_output: return x + n(x), clamped, with n zero at the start: content survives a short training.
        upsampling: `transposed` convolutions are CycleGAN's; `resize` (nearest, then a convolution) leaves no
            checkerboard after a short training (Odena et al. 2016).
        checkpoint_blocks: recompute each residual block in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        ngf: int = 64,
        blocks: int = 9,
        *,
        residual_output: bool = False,
        upsampling: Upsampling = "transposed",
        checkpoint_blocks: bool = False,
    ) -> None:
        super().__init__()
        self.residual_output, self.checkpoint_blocks = residual_output, checkpoint_blocks
        self.encoder = nn.Sequential(
            ReflectionPad2d(3),
            *_normed(nn.Conv2d(3, ngf, 7, bias=False)),
            *_normed(nn.Conv2d(ngf, 2 * ngf, 3, stride=2, padding=1, bias=False)),
            *_normed(nn.Conv2d(2 * ngf, 4 * ngf, 3, stride=2, padding=1, bias=False)),
        )
        self.blocks = nn.ModuleList(_Block(4 * ngf) for _ in range(blocks))
        self.decoder = nn.Sequential(
            *_doubled(4 * ngf, 2 * ngf, upsampling),
            *_doubled(2 * ngf, ngf, upsampling),
            ReflectionPad2d(3),
        )
        self.output = nn.Conv2d(ngf, 3, 7)
        initialise(self)
        if residual_output:
            nn.init.zeros_(self.output.weight)
        use_own_kernels(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the translated images: (N, 3, H, W) in [-1, 1] -> the same, float32, any size."""
        height, width = (max(8, -(-side // 4) * 4) for side in images.shape[-2:])  # two halvings, then a reflection
        x = self.encoder(pad_to(images, height, width))
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpoint_blocks and self.training else block(x)
        x = crop_to(wide(self.output(self.decoder(x))), images)
        return (images + x).clamp(-1, 1) if self.residual_output else torch.tanh(x)


class _Block(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), as in CycleGAN."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ReflectionPad2d(1),
            *_normed(nn.Conv2d(channels, channels, 3, bias=False)),
            ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        change: Tensor = self.layers(x)
        return x + change


def _normed(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return convolution, InstanceNorm2d(convolution.out_channels), nn.ReLU(inplace=True)


def _doubled(before: int, after: int, upsampling: Upsampling) -> tuple[nn.Module, ...]:
    if upsampling == "transposed":
        return _normed(nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1, bias=False))
    resize = nn.Upsample(scale_factor=2, mode="nearest"), ReflectionPad2d(1)
    return *resize, *_normed(nn.Conv2d(before, after, 3, bias=False))
