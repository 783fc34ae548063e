"""Colour changes and blur of an image that is trained on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from cirn_dist.data.labels import UInt8Array

_GREY = np.array([0.299, 0.587, 0.114])


def recoloured(pixels: UInt8Array, changes: npt.NDArray[np.float64] | None, radius: float) -> UInt8Array:
    """Return an image (H, W, 3) in other colours, and then blurred.

    Args:
        changes: of brightness, contrast and saturation, relative, and four times that of hue, in turns; None for none.
        radius: of the Gaussian, in pixels; 0 for none.
    """
    image = Image.fromarray(pixels)
    if changes is not None:
        brightness, contrast, saturation, hue = changes
        image = image.convert("RGB", colour_matrix(image, brightness, contrast, saturation, hue / 4))
    if radius:
        image = image.filter(ImageFilter.GaussianBlur(float(radius)))
    return np.array(image)


def colour_matrix(
    image: Image.Image, brightness: float, contrast: float, saturation: float, turn: float
) -> tuple[float, ...]:
    """Return one affine colour map, 3 rows of 4, that does all four changes in a single pass over the pixels.

    Hue turns about the grey axis by `turn` of a full circle, saturation scales the distance to grey,
    contrast the distance to the image's mean grey, brightness everything.
    """
    mean = float(np.asarray(image.resize((16, 16), Image.Resampling.BOX)).reshape(-1, 3).mean(0) @ _GREY)
    cos, sin = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    linear = cos * np.eye(3) + (1 - cos) * axis + sin * cross
    linear = ((1 + saturation) * np.eye(3) - saturation * np.outer(np.ones(3), _GREY)) @ linear
    offset = -contrast * mean
    linear, offset = (1 + brightness) * (1 + contrast) * linear, (1 + brightness) * offset
    return tuple(float(value) for row in np.column_stack([linear, np.full(3, offset)]) for value in row)
