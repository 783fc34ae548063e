"""A tone curve: give an image the lightness quantiles of another, by a monotone curve of limited steepness.

Mean and spread alone (Reinhard et al. 2001) crush a scene's shadows to black where its lightness is skewed otherwise
than the other's, as a bright sky over dark houses is; matching whole histograms breaks flat surfaces into steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHARES = (0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99)
STEEPEST = 2.5  # an almost uniform source image must not have its texture blown up


def tones(lightness: Tensor) -> Tensor:
    """Return the quantiles of each image's lightness at `SHARES`: (N, H, W) -> (N, len(SHARES))."""
    ordered = lightness.flatten(1).sort(1).values
    places = [round(share * (ordered.shape[1] - 1)) for share in SHARES]
    return torch.stack([ordered[:, place] for place in places], 1)


def give_tones(lightness: Tensor, wanted: Tensor) -> Tensor:
    """Map lightness (N, H, W) so that its quantiles become `wanted` (N, len(SHARES)), the median exactly.

    Between quantiles the curve is straight; where it would be steeper than `STEEPEST` it is held to that. Beyond the
    outermost quantiles it goes on with slope 1.
    """
    own = tones(lightness)
    steps = torch.minimum(wanted.diff(dim=1), STEEPEST * own.diff(dim=1))
    reached = torch.cat([torch.zeros_like(wanted[:, :1]), steps.cumsum(1)], 1)
    middle = len(SHARES) // 2
    reached = reached + (wanted - reached)[:, middle : middle + 1]
    values = lightness.flatten(1).contiguous()
    right = torch.searchsorted(own, values).clamp(1, len(SHARES) - 1)
    x0, x1 = own.gather(1, right - 1), own.gather(1, right)
    y0, y1 = reached.gather(1, right - 1), reached.gather(1, right)
    inside = ((values - x0) / (x1 - x0).clamp_min(1e-6)).clamp(0, 1)
    beyond = (values - x1).clamp_min(0) + (values - x0).clamp_max(0)
    return (y0 + inside * (y1 - y0) + beyond).view_as(lightness)
