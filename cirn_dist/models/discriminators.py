"""The discriminators: CLAN's on segmentation maps (stage 2) and CycleGAN's on images (stage 1)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from cirn_dist.models.norm import InstanceNorm2d
from cirn_dist.models.padding import crop_to, pad_to
from cirn_dist.models.resizing import resize
from cirn_dist.precision import wide


class PixelDiscriminator(nn.Module):
    """CLAN's domain discriminator: five 4x4 stride-2 convolutions on softmax maps, one logit per pixel.

    Channels are 1, 2, 4 and 8 times `width`, then 1; LeakyReLU 0.2 between them, no normalisation. The coarse logits
    are upsampled to the map's size, as CLAN does before its loss, so that every pixel can have its own weight.

    Args:
        coarse: leave them as they are, as AdaptSegNet and ADVENT do.
    """

    minimum = 32  # pixels a side; a smaller map is padded

    def __init__(self, num_classes: int, width: int = 64, *, coarse: bool = False) -> None:
        super().__init__()
        self.coarse = coarse
        channels = [num_classes, width, 2 * width, 4 * width, 8 * width, 1]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, maps: Tensor) -> Tensor:
        """Return domain logits of softmax maps: (N, num_classes, H, W) -> (N, 1, H, W) float32, any size.

        Coarse ones are of a 32nd of the size.
        """
        padded = pad_to(maps, self.minimum, self.minimum)
        logits = wide(self.layers(padded))
        return logits if self.coarse else crop_to(resize(logits, padded.shape[-2:]), maps)


class PatchDiscriminator(nn.Module):
    """CycleGAN's PatchGAN: one logit per overlapping patch, 70x70 pixels with three layers.

    Instance normalisation except in the first and last convolution, weights N(0, 0.02). An image smaller than
    `3 * 2**layers` pixels is padded.
    """

    def __init__(self, width: int = 64, layers: int = 3, in_channels: int = 3) -> None:
        super().__init__()
        self.minimum = 3 * 2**layers
        channels = [width * min(2**i, 8) for i in range(layers + 1)]
        stack: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for i, (before, after) in enumerate(pairwise(channels), start=1):
            stride = 2 if i < layers else 1
            stack += [
                nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=False),  # the norm would remove a bias
                InstanceNorm2d(after),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.layers = nn.Sequential(*stack, nn.Conv2d(channels[-1], 1, 4, stride=1, padding=1))
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return patch logits of images in [-1, 1]: (N, 3, H, W) -> (N, 1, h, w), any size."""
        logits: Tensor = self.layers(pad_to(images, self.minimum, self.minimum))
        return logits


def initialise(module: nn.Module) -> None:
    """Draw every convolution's weights from N(0, 0.02), biases 0: CycleGAN's initialisation."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
