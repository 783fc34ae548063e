"""From encoded bytes to training tensors; what is drawn is a function of (seed, stream, k) alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter
from torchvision.io import ImageReadMode, decode_jpeg

from cirn_dist.data.decode import open_image, open_label
from cirn_dist.data.labels import IGNORE, UInt8Array
from cirn_dist.errors import CorruptSample

Draws = npt.NDArray[np.float64]
Tensors = dict[str, torch.Tensor]
Sample = dict[str, bytes]
_MIRROR, _SCALE, _LEFT, _TOP, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _BLUR, _RADIUS = range(10)
_GREY = np.array([0.299, 0.587, 0.114])


class Transform(Protocol):
    """What a stream does with a sample."""

    @property
    def draws(self) -> int:
        """How many numbers a sample needs."""
        ...

    def __call__(self, sample: Sample, draws: Draws) -> Tensors:
        """Decode and augment; `draws` are the sample's own numbers in [0, 1), shape (self.draws,)."""
        ...


def decode_image(data: bytes) -> UInt8Array:
    """Decode an 8-bit image to RGB (H, W, 3).

    JPEG goes through torchvision, whose decoder took two thirds of Pillow's time here; the rest through Pillow.

    Raises:
        CorruptSample: empty, truncated, CMYK, 16-bit, or no image at all.
    """
    if not data.startswith(b"\xff\xd8"):
        return np.array(open_image(data))
    try:
        pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.UNCHANGED)
    except RuntimeError as error:
        raise CorruptSample(f"cannot be decoded ({str(error).splitlines()[0]})") from error
    if pixels.shape[0] == 1:
        pixels = pixels.expand(3, -1, -1)
    if pixels.shape[0] != 3:
        raise CorruptSample(f"a JPEG of {pixels.shape[0]} channels (CMYK?); images must be 8-bit RGB")
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def decode_label(data: bytes) -> UInt8Array:
    """Decode a label map (H, W) of train ids.

    Raises:
        CorruptSample: empty, truncated, or not one 8-bit channel.
    """
    return np.array(open_label(data))


@dataclass(frozen=True)
class SegmentationTransform:
    """Mirror, scale, crop, colour jitter and blur.

    Args:
        crop: width and height cut out at a drawn place; what lies outside the image is black and ignored.
        mirror: flip left and right with probability one half.
        scales: one is drawn; without a crop only the image is scaled and the label keeps its size (CLAN), so
            that images of one micro-batch may differ in size; with a crop both are.
        jitter: largest relative change of brightness, contrast and saturation, and a quarter of it, in turns, of hue.
        blur: largest Gaussian radius in pixels, drawn for half of the images.
    """

    crop: tuple[int, int] | None = None
    mirror: bool = False
    scales: tuple[float, ...] = (1.0,)
    jitter: float = 0.0
    blur: float = 0.0
    draws: int = 10

    def __call__(self, sample: Sample, draws: Draws) -> Tensors:
        """Return {"image": uint8 (3, H, W)} and, where the sample has one, {"label": int64 (H, W)}.

        Raises:
            CorruptSample: an image or label that cannot be decoded; names the field.
        """
        image, label = _decode(sample)
        image, label = self._resize(image, label, draws)
        image, label = self._cut(image, label, draws)
        if self._recolours(draws):
            image = np.asarray(self._recolour(Image.fromarray(image), draws))
        if self.mirror and draws[_MIRROR] < 0.5:
            image, label = image[:, ::-1], label[:, ::-1] if label is not None else None
        tensors = {"image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))}
        if label is not None:
            tensors["label"] = torch.from_numpy(label.astype(np.int64))
        return tensors

    def _resize(
        self, image: UInt8Array, label: UInt8Array | None, draws: Draws
    ) -> tuple[UInt8Array, UInt8Array | None]:
        scale = self.scales[int(draws[_SCALE] * len(self.scales))]
        if scale == 1.0:
            return image, label
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        if label is not None and self.crop is not None:
            label = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
        return image, label

    def _cut(self, image: UInt8Array, label: UInt8Array | None, draws: Draws) -> tuple[UInt8Array, UInt8Array | None]:
        if self.crop is None:
            return image, label
        width, height = self.crop
        top, left = _place(image.shape[0], height, draws[_TOP]), _place(image.shape[1], width, draws[_LEFT])
        cut = _window(image, top, left, height, width, 0)
        return cut, _window(label, top, left, height, width, IGNORE) if label is not None else None

    def _recolours(self, draws: Draws) -> bool:
        return bool(self.jitter) or (bool(self.blur) and draws[_BLUR] < 0.5)

    def _recolour(self, image: Image.Image, draws: Draws) -> Image.Image:
        if self.jitter:
            brightness, contrast, saturation, hue = self.jitter * (2 * draws[_BRIGHTNESS : _HUE + 1] - 1)
            image = image.convert("RGB", colour_matrix(image, brightness, contrast, saturation, hue / 4))
        if self.blur and draws[_BLUR] < 0.5:
            image = image.filter(ImageFilter.GaussianBlur(self.blur * draws[_RADIUS]))
        return image


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


def _decode(sample: Sample) -> tuple[UInt8Array, UInt8Array | None]:
    field = next(name for name in sample if name.startswith("image."))
    try:
        image = decode_image(sample[field])
        field = "label.png"
        return image, decode_label(sample[field]) if field in sample else None
    except CorruptSample as error:
        raise CorruptSample(error.what, where=field) from error


def _place(length: int, window: int, draw: float) -> int:
    """Return where a window begins: anywhere inside a longer side, centred over a shorter one."""
    spare = length - window
    return int(draw * (spare + 1)) if spare >= 0 else spare // 2


def _window(array: UInt8Array, top: int, left: int, height: int, width: int, outside: int) -> UInt8Array:
    if top >= 0 and left >= 0 and top + height <= array.shape[0] and left + width <= array.shape[1]:
        return array[top : top + height, left : left + width]
    cut = np.full((height, width, *array.shape[2:]), outside, np.uint8)
    rows = slice(max(top, 0), min(top + height, array.shape[0]))
    columns = slice(max(left, 0), min(left + width, array.shape[1]))
    cut[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = array[rows, columns]
    return cut
