"""Attention maps laid over the image they were computed from, on one colour scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cirn_dist.display.panels import opened

Values = npt.NDArray[np.float32]

# viridis at nine places: even steps of it look even, also without colour.
STOPS = np.array(
    [(68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142), (31, 158, 137), (53, 183, 121),
     (109, 205, 89), (253, 231, 37)], np.float32,
)  # fmt: skip
_PLACES = np.array([0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1], np.float32)
OPACITY = 0.72
_FULL = 65535  # of the 16 bits a map is stored in


def save_map(values: Values, path: Path) -> None:
    """Write a map of values in [0, 1], (H, W), as a 16-bit grey PNG."""
    levels = np.rint(np.clip(values, 0, 1) * _FULL).astype(np.uint16)
    Image.fromarray(levels).save(path)


def read_map(path: Path) -> Values:
    """Read what `save_map` wrote, (H, W) in [0, 1].

    Raises:
        DataError: it cannot be read.
    """
    return np.asarray(opened(path), np.float32) / np.float32(_FULL)


def overlay(photo: Image.Image, values: Values, span: tuple[float, float]) -> Image.Image:
    """Colour a photograph by a map of any size; colours are those of the report's scale, brightness hints at the scene.

    Args:
        span: the values at either end of the scale.
    """
    size = photo.size
    spread = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)
    grey = np.asarray(photo.convert("L"), np.float32)[..., None]
    mixed = OPACITY * _colours(np.asarray(spread), span) + (1 - OPACITY) * grey
    return Image.fromarray(mixed.round().astype(np.uint8))


def _colours(values: Values, span: tuple[float, float]) -> Values:
    low, high = span
    shares = np.clip((values - low) / (high - low), 0, 1)
    return np.stack([np.interp(shares, _PLACES, STOPS[:, i]) for i in range(3)], axis=-1).astype(np.float32)
