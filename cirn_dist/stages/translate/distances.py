"""How far two sets of images are apart: their colours, and the statistics of a network's features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

Array = npt.NDArray[np.float64]
COLOUR_BINS = 8  # per channel
COLOUR_CELLS = COLOUR_BINS**3
FEATURE_GRID = 16


def colour_counts(images: Tensor) -> Tensor:
    """Count the pixels of (N, 3, H, W) images in [-1, 1] by colour, in 8 x 8 x 8 cells of RGB; float64 (512,)."""
    levels = ((images + 1) / 2 * COLOUR_BINS).long().clamp(0, COLOUR_BINS - 1)
    red, green, blue = levels.unbind(1)
    cells = (red * COLOUR_BINS + green) * COLOUR_BINS + blue
    return torch.bincount(cells.flatten(), minlength=COLOUR_CELLS).double()


def total_variation(one: Array, other: Array) -> float:
    """Return half the L1 distance of two histograms once they are scaled to 1: 0 the same, 1 no colour in common."""
    return float(np.abs(one / one.sum() - other / other.sum()).sum() / 2)


class FeatureMoments:
    """Mean and covariance of a network's features, from sums that may be added over batches and ranks.

    Every image gives the means of a 16 x 16 grid of its feature map, each a sample of its own: with one sample per
    image, a few hundred images would not determine a covariance of hundreds of channels.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        # One tensor: count, sum, sum of outer products; what is reduced over ranks.
        self.channels = channels
        self.sums = torch.zeros(1 + channels + channels**2, dtype=torch.float64, device=device)

    def add(self, features: Tensor) -> None:
        """Take the features of some images, (N, C, h, w).

        Raises:
            ValueError: of another number of channels.
        """
        if features.shape[1] != self.channels:
            raise ValueError(f"features of {features.shape[1]} channels, not {self.channels}")
        grid = min(FEATURE_GRID, features.shape[-2]), min(FEATURE_GRID, features.shape[-1])
        x = F.adaptive_avg_pool2d(features.float(), grid).permute(0, 2, 3, 1).reshape(-1, self.channels).double()
        count = torch.tensor([float(len(x))], dtype=torch.float64, device=x.device)
        self.sums += torch.cat([count, x.sum(0), (x.T @ x).flatten()])

    def mean_and_covariance(self) -> tuple[Array, Array]:
        """Return both in float64: (C,), (C, C)."""
        sums = self.sums.cpu().numpy()
        count, total = sums[0], sums[1 : 1 + self.channels]
        mean = total / count
        products = sums[1 + self.channels :].reshape(self.channels, self.channels)
        return mean, products / count - np.outer(mean, mean)


def frechet(one: tuple[Array, Array], other: tuple[Array, Array]) -> float:
    """Return the Fréchet distance of two normal distributions given by mean and covariance (Heusel et al. 2017).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), the root's trace by the symmetric S1^(1/2) S2 S1^(1/2), which has
    the same eigenvalues.
    """
    (m1, s1), (m2, s2) = one, other
    values, vectors = np.linalg.eigh(s1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    crossed = np.linalg.eigvalsh(root @ s2 @ root)
    distance = ((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * np.sqrt(crossed.clip(min=0)).sum()
    return max(0.0, float(distance))
