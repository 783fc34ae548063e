"""Strong augmentation on the device: what the student sees of an image whose label the teacher gave unchanged.

Colours and blur are DACS's, squares that are masked MIC's (Hoyer et al. 2023). The authors draw once for all images of
a step, and change colours by kornia's operations; here each image has its own draws, a function of (seed, k), and the
operations are torchvision's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as image_ops

from cirn_dist.config.groups.self_train import Online
from cirn_dist.seeds import permutation, uniforms


def strongly_augmented(images: Tensor, settings: Online, seed: int, name: str, ks: list[int]) -> Tensor:
    """Change the colours of some images and blur some, (N, 3, H, W) in [-1, 1].

    Args:
        name: of the draws, so that two versions of an image differ.
        ks: the images' counters.
    """
    with torch.autocast(images.device.type, enabled=False):
        return torch.stack([_changed(image, settings, seed, name, k) for image, k in zip(images, ks, strict=True)])


def _changed(image: Tensor, settings: Online, seed: int, name: str, k: int) -> Tensor:
    recolour, blur, sigma, *turns = uniforms(7, seed, name, k).tolist()
    if recolour < settings.jitter_share and settings.jitter > 0:
        changes = [settings.jitter * (2 * turn - 1) for turn in turns]
        image = _recoloured((image + 1) / 2, changes, permutation(4, seed, name, "order", k).tolist()) * 2 - 1
    if blur < settings.blur_share:
        low, high = settings.blur
        image = _blurred(image, low + (high - low) * sigma)
    return image


def _recoloured(image: Tensor, changes: list[float], order: list[int]) -> Tensor:
    """Change brightness, contrast, saturation and hue of an image in [0, 1], in the given order."""
    brightness, contrast, saturation, hue = changes
    operations = (
        lambda x: image_ops.adjust_brightness(x, 1 + brightness),
        lambda x: image_ops.adjust_contrast(x, 1 + contrast),
        lambda x: image_ops.adjust_saturation(x, 1 + saturation),
        lambda x: image_ops.adjust_hue(x, hue),
    )
    for place in order:
        image = operations[place](image)
    return image


def _blurred(image: Tensor, sigma: float) -> Tensor:
    # DACS's kernel is a tenth of the image; beyond four sigma it is zero to a digit of 8-bit pixels.
    radius = min(math.ceil(4 * sigma), min(image.shape[-2:]) - 1)
    return image_ops.gaussian_blur(image, [2 * radius + 1] * 2, [sigma] * 2) if radius else image


def mask_draws(size: tuple[int, int], block: int, seed: int, k: int) -> Tensor:
    """Return numbers in [0, 1), one for each of the squares of side `block` in an image of height and width `size`."""
    rows, columns = (max(1, round(side / block)) for side in size)
    return torch.from_numpy(uniforms(rows * columns, seed, "mask", k)).view(rows, columns)


def masked(images: Tensor, draws: Tensor, ratio: float, colour: Tensor) -> Tensor:
    """Replace a share of an image's squares by one colour.

    Args:
        images: (N, 3, H, W).
        draws: (N, rows, columns); squares of draws up to `ratio` are replaced.
        colour: (3, 1, 1), that which the network normalises to 0.
    """
    keep = functional.interpolate((draws > ratio)[:, None].to(images), images.shape[-2:], mode="nearest")
    return images * keep + colour * (1 - keep)
