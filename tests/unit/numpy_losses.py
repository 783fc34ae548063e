"""The paper's equations once more, in float64 NumPy: loops and logarithms as printed, no code of the package."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]


def random(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def random_labels(*shape: int, classes: int = 5, seed: int = 0) -> Tensor:
    labels = torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(seed))
    labels[..., :2, :] = 255
    labels[0, :, 0] = 255  # images of one batch have different numbers of valid pixels
    return labels


def np64(x: Tensor) -> Array:
    return x.detach().numpy().astype(np.float64)


def softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def np_cross_entropy(logits: Array, labels: npt.NDArray[np.int64]) -> Array:
    """Each pixel's, 0 where it is ignored."""
    p = np.take_along_axis(softmax(logits), np.where(labels < 255, labels, 0)[:, None], 1)[:, 0]
    return np.where(labels < 255, -np.log(p), 0.0)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def np_segmentation(logits: Array, labels: npt.NDArray[np.int64], gamma: float = 0.0) -> float:
    p = softmax(logits)
    images = []
    for n in range(len(labels)):
        pixels = [
            (1 - q) ** gamma * -np.log(q)
            for q in (p[n, labels[n, y, x], y, x] for y, x in np.ndindex(*labels[n].shape) if labels[n, y, x] != 255)
        ]
        images.append(sum(pixels) / len(pixels) if pixels else 0.0)
    return float(np.mean(images))


def np_distance(l1: Array, l2: Array) -> Array:
    a, b = softmax(l1), softmax(l2)
    return 1 - (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def np_upsample(x: Array, height: int, width: int) -> Array:
    """Bilinear with aligned corners: a point's grid position is i * (in - 1) / (out - 1)."""

    def matrix(old: int, new: int) -> Array:
        m = np.zeros((new, old))
        for i in range(new):
            at = i * (old - 1) / (new - 1)
            low = min(int(at), old - 1)
            high = min(low + 1, old - 1)
            m[i, low] += 1 - (at - low)
            m[i, high] += at - low
        return m

    return np.einsum("yh,nchw,xw->ncyx", matrix(x.shape[2], height), x, matrix(x.shape[3], width))
