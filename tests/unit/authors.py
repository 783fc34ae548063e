"""The inputs of the authors' values in these tests: logits, labels and images by formulas, in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

How = tuple[float, float, float, float, float]  # s, a, p, q, r
FIRST: How = (3.0, 0.37, 1.3, 0.11, 0.23)
SECOND: How = (2.5, 0.61, 0.9, 0.07, 0.31)
ON_T: How = (2.0, 0.37, 1.3, 0.011, 0.023)
ON_S: How = (2.4, 0.51, 1.1, 0.013, 0.031)
TEACHER: How = (5.0, 0.45, 1.2, 0.09, 0.27)
ONE, OTHER = (0.5, 0.3, 0.2, 0.01), (0.8, 0.25, 0.35, 0.02)  # images


def Z(shape: tuple[int, ...], how: How = FIRST) -> Tensor:
    """Logits (N, C, H, W), which take gradients."""
    s, a, p, q, r = how
    b, c, h, w = np.ogrid[tuple(slice(n) for n in shape)]
    return torch.from_numpy(s * np.sin(a * (1 + b) + p * c + q * h * w + r * h)).requires_grad_()


def Y(shape: tuple[int, ...]) -> Tensor:
    """Labels (N, H, W) for logits of a shape (N, C, H, W), some of them 255."""
    batch, classes, height, width = shape
    b, h, w = np.ogrid[:batch, :height, :width]
    values = (3 * h + 5 * w + b) % (classes + 2)
    return torch.from_numpy(np.where(values >= classes, 255, values))


def IMG(height: int, width: int, k: tuple[float, float, float, float]) -> Tensor:
    """An image (3, H, W) of values between 27.5 and 227.5."""
    c, h, w = np.ogrid[:3, :height, :width]
    return torch.from_numpy(127.5 + 100 * np.sin(k[0] * c + k[1] * h + k[2] * w + k[3] * h * w))
