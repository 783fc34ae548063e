"""Images as a caller has them, brought to what a network takes: 8-bit RGB, upright; nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from cirn_dist.data.loading.transforms import decode_image
from cirn_dist.errors import CorruptSample, DataError

Pixels = npt.NDArray[np.uint8]
Picture = str | Path | Image.Image | npt.NDArray[Any] | Tensor


def as_pixels(image: Picture) -> Pixels:
    """Return an image as RGB (H, W, 3) uint8.

    Args:
        image: a path; a PIL image; an array (H, W, 3) or (H, W), or a tensor (3, H, W), of uint8 in 0 to 255 or of
            floats in [0, 1]. Files are turned upright as the packer turns them.

    Raises:
        DataError: another shape, kind of number or range, or a file that cannot be read or decoded; says what.
    """
    if isinstance(image, str | Path):
        return read_pixels(Path(image))
    if isinstance(image, Image.Image):
        if image.mode not in ("RGB", "L", "P", "RGBA"):
            raise DataError(f"an image of mode {image.mode}", fix='8-bit RGB is wanted: image.convert("RGB")')
        return np.asarray(image.convert("RGB"))
    if isinstance(image, Tensor):
        if image.dim() != 3 or image.shape[0] != 3:
            raise DataError(f"a tensor of shape {tuple(image.shape)}", fix="one image is (3, H, W)")
        array: npt.NDArray[Any] = image.detach().cpu().permute(1, 2, 0).numpy()
    else:
        array = np.asarray(image)
        if array.ndim == 2:
            array = np.repeat(array[..., None], 3, axis=2)
        if array.ndim != 3 or array.shape[2] != 3:
            raise DataError(f"an array of shape {array.shape}", fix="one image is (H, W, 3), in RGB")
    if 0 in array.shape:
        raise DataError(f"an image of shape {array.shape} has no pixels")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"an image of {array.dtype}", fix="give uint8 in 0 to 255, or floats in [0, 1]")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # not a number fails as well
        raise DataError(f"an image of floats from {low:.4g} to {high:.4g}", fix="give them in [0, 1], not normalised")
    levels: Pixels = np.rint(array * 255).astype(np.uint8)
    return levels


def read_pixels(file: Path) -> Pixels:
    """Read an image file as RGB (H, W, 3), upright.

    Raises:
        DataError: it cannot be read or decoded; names the file.
    """
    try:
        return decode_image(file.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=file) from error
    except CorruptSample as error:
        raise DataError(error.what, where=file, fix=error.fix) from error


def input_size(size: tuple[int, int], trained: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height at which a network is shown an image.

    An image of the shape that the training images had is brought to their size, as the packer does; one of another
    shape keeps its own, at as many pixels.

    Args:
        size, trained: width and height of the image, and of the packed target images.
    """
    (width, height), (w, h) = size, trained
    if abs(width * h / (height * w) - 1) < 0.02:
        return trained
    scale = (w * h / (width * height)) ** 0.5
    return max(1, round(width * scale)), max(1, round(height * scale))


def scaled(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return an image at another width and height, by Pillow's bicubic filter, as the packer scales."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
