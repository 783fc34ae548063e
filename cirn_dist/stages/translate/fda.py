"""FDA's appearance transfer: an image with the low-frequency amplitudes of another (Yang and Soatto 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from cirn_dist.choices import FdaWindow


def swap_amplitude(
    images: Tensor, references: Tensor, beta: float = 0.01, window: FdaWindow = "symmetric", *, clip: bool = True
) -> Tensor:
    """Give images the amplitudes of the references' lowest frequencies; their phases, and so their content, stay.

    Frequencies up to floor(beta * min(H, W)) cycles in either direction are swapped, the mean colour among them.
    Around large flat regions a large beta leaves halos.

    Args:
        images: (N, 3, H, W) in [-1, 1].
        references: of the same shape.
        window: `symmetric` is the authors' description and their demonstration; `authors` what their training swaps:
            frequencies below b, and of one row -b.
        clip: colours outside the range, as an image file does; its authors train on what comes out.
    """
    height, width = images.shape[-2:]
    reach = int(min(height, width) * beta)
    # Amplitudes have no sign: only on non-negative images is the one of frequency 0 the mean.
    exact = torch.promote_types(images.dtype, torch.float32)
    own, other = (torch.fft.rfft2((x.to(exact) + 1) / 2) for x in (images, references))
    low = slice(0, reach + 1)
    parts = [(low, low), (slice(height - reach, height), low)]  # rows of frequencies 0 to b, and -b to -1
    if window == "authors":
        below = slice(0, reach)
        # Row -b of column 0 has its mirror image in row b, which is not swapped, and stays.
        parts = [
            (below, below),
            (slice(height - reach + 1, height), below),
            (slice(height - reach, height), slice(1, reach)),
        ]
    for rows, columns in parts:
        swapped_part = torch.polar(other[..., rows, columns].abs(), own[..., rows, columns].angle())
        own[..., rows, columns] = swapped_part
    swapped: Tensor = torch.fft.irfft2(own, s=(height, width)) * 2 - 1
    return swapped.clamp(-1, 1) if clip else swapped
