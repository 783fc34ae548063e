"""FDA's appearance transfer: an image with the low-frequency amplitudes of another (Yang and Soatto 2020)."""

from __future__ import annotations

import torch
from torch import Tensor


def swap_amplitude(images: Tensor, references: Tensor, beta: float = 0.01) -> Tensor:
    """Give images the amplitudes of the references' lowest frequencies; their phases, and so their content, stay.

    Frequencies up to floor(beta * min(H, W)) cycles in either direction are swapped, the mean colour among them.
    Colours outside the range are clipped. Around large flat regions a large beta leaves halos.

    Args:
        images: (N, 3, H, W) in [-1, 1].
        references: of the same shape.
    """
    height, width = images.shape[-2:]
    reach = int(min(height, width) * beta)
    # Amplitudes have no sign: only on non-negative images is the one of frequency 0 the mean.
    own, other = (torch.fft.rfft2((x.float() + 1) / 2) for x in (images, references))
    low = slice(0, reach + 1)
    for rows in (low, slice(height - reach, height)):  # frequencies 0 to b, and -b to -1
        own[..., rows, low] = torch.polar(other[..., rows, low].abs(), own[..., rows, low].angle())
    swapped: Tensor = torch.fft.irfft2(own, s=(height, width))
    return (swapped * 2 - 1).clamp(-1, 1)
