"""From encoded bytes to training tensors; what is drawn is a function of (seed, stream, k) alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from cirn_dist.data.decode import may_be_turned, open_image
from cirn_dist.data.label_files import open_label
from cirn_dist.data.labels import IGNORE, UInt8Array
from cirn_dist.data.loading.recolour import recoloured
from cirn_dist.data.shards.shardset import LABEL, SOFT, Sample
from cirn_dist.data.shards.sizes import assert_fits, misfit, original_size
from cirn_dist.errors import CorruptSample

try:
    from torchvision.io import decode_jpeg
except (ImportError, RuntimeError):  # announced for removal since 0.29; RuntimeError: built for another torch
    decode_jpeg = None

_JPEG = b"\xff\xd8"
Draws = npt.NDArray[np.float64]
Tensors = dict[str, Any]
_MIRROR, _SCALE, _LEFT, _TOP, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _BLUR, _RADIUS = range(10)
_TRIES = 10  # of a crop that is drawn anew
_OUTSIDE = {"label": IGNORE, "soft": 0}  # what each map of an image holds beyond its border


class Transform(Protocol):
    """What a stream does with a sample."""

    @property
    def draws(self) -> int:
        """How many numbers a sample needs."""
        ...

    def __call__(self, sample: Sample, draws: Draws, wanted: int | None = None) -> Tensors:
        """Decode and augment; `draws` are the sample's own numbers in [0, 1), shape (self.draws,).

        Args:
            wanted: the class the sample was drawn for, where it was.
        """
        ...


def decode_image(data: bytes) -> UInt8Array:
    """Decode an 8-bit image to RGB (H, W, 3), upright.

    JPEG goes to torchvision where it can: the same library below, so the same pixels, in two thirds of Pillow's time.

    Raises:
        CorruptSample: as `open_image`.
    """
    if decode_jpeg is None or not data.startswith(_JPEG) or may_be_turned(data):
        return np.array(open_image(data))
    try:
        pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    except RuntimeError as error:
        raise CorruptSample(f"cannot be decoded ({str(error).splitlines()[0]})") from error
    if pixels.shape[0] not in (1, 3):
        raise CorruptSample(f"image of {pixels.shape[0]} channels (CMYK?); images must be 8-bit RGB")
    array: UInt8Array = np.ascontiguousarray(pixels.expand(3, -1, -1).permute(1, 2, 0).numpy())
    return array


decode_label = open_label


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
        width: every image is scaled to it first, its height in proportion; None keeps its size.
        relabel: 256 bytes, the train id each label becomes; None keeps them.
        outside: give an image without a label one that is 0 within it and 255 in what a crop has outside.
        max_share: a crop is drawn anew, up to ten times, until no class fills this share of it.
        enough: and until it has more than so many pixels of the class the sample was drawn for.
    """

    crop: tuple[int, int] | None = None
    mirror: bool = False
    scales: tuple[float, ...] = (1.0,)
    jitter: float = 0.0
    blur: float = 0.0
    width: int | None = None
    relabel: bytes | None = None
    outside: bool = False
    max_share: float = 1.0
    enough: int = 0

    @property
    def draws(self) -> int:
        """How many numbers a sample needs: two more for every crop that may be drawn anew."""
        return _RADIUS + 1 + (2 * (_TRIES - 1) if self._choosy else 0)

    @property
    def _choosy(self) -> bool:
        return self.crop is not None and (self.max_share < 1 or self.enough > 0)

    def __call__(self, sample: Sample, draws: Draws, wanted: int | None = None) -> Tensors:
        """Return {"image": uint8 (3, H, W)} and, where the sample has them, {"label": uint8 (H, W)} and soft labels.

        {"soft": uint8 (C, H, W)} holds a share of each class, of 255, at each pixel.
        Where the image alone may be scaled, {"size": (H, W)} is the label's, or the image's before: what predictions
        are brought to.
        The image lies in memory as it was decoded, pixel by pixel (channels last): networks take it so.
        Labels are widened to int64 on the device: eight times less to move.

        Args:
            wanted: the class the sample was drawn for.

        Raises:
            CorruptSample: an image or label that cannot be decoded, or a label of another size; names the field.
        """
        pixels, maps = self._decode(sample)
        if "label" not in maps and self.outside:
            maps["label"] = np.zeros(pixels.shape[:2], np.uint8)
        elif "label" in maps and self.relabel is not None:
            maps["label"] = np.frombuffer(self.relabel, np.uint8)[maps["label"]]
        if self.jitter or self.blur:
            changes = self.jitter * (2 * draws[_BRIGHTNESS : _HUE + 1] - 1) if self.jitter else None
            pixels = recoloured(pixels, changes, self.blur * draws[_RADIUS] if draws[_BLUR] < 0.5 else 0.0)
        size = maps.get("label", pixels).shape[:2]
        fit = self.width / pixels.shape[1] if self.width is not None else 1.0
        pixels = _scaled(pixels, fit * self.scales[int(draws[_SCALE] * len(self.scales))])
        if self.crop is not None:
            size_now = (pixels.shape[1], pixels.shape[0])
            maps = {name: _nearest(one, size_now) for name, one in maps.items()}
            box = self._crop_box(size_now, maps.get("label"), draws, wanted)
            pixels = _window(pixels, box, 0)
            maps = {name: _window(one, box, _OUTSIDE[name]) for name, one in maps.items()}
        tensors: Tensors = {
            name: torch.from_numpy(one.transpose(2, 0, 1) if one.ndim == 3 else one)
            for name, one in ({"image": pixels} | maps).items()
        }
        if self.mirror and draws[_MIRROR] < 0.5:
            tensors = {field: tensor.flip(-1) for field, tensor in tensors.items()}
        if self.crop is None and (self.scales != (1.0,) or self.width is not None):
            tensors["size"] = size
        return tensors

    def _decode(self, sample: Sample) -> tuple[UInt8Array, dict[str, UInt8Array]]:
        """Decode the image and its maps: label (H, W), soft labels (H, W, C)."""
        field = next(name for name in sample if name.startswith("image."))
        try:
            pixels = decode_image(sample[field])
            field = LABEL
            if field not in sample:
                return pixels, {}
            label = decode_label(sample[field])
            if label.shape != pixels.shape[:2]:
                self._assert_takes(pixels, label, sample)
            maps = {"label": label}
            field = SOFT
            if field in sample:
                maps["soft"] = _decode_soft(sample[field], label)
            return pixels, maps
        except CorruptSample as error:
            raise CorruptSample(error.what, where=field) from error

    def _assert_takes(self, pixels: UInt8Array, label: UInt8Array, sample: Sample) -> None:
        """Refuse a label of another size; one that kept the size before packing only where a crop is cut out."""
        kept = original_size(sample)
        if self.crop is not None and label.shape == kept:
            told = misfit(pixels.shape, label.shape)
            raise CorruptSample(
                f"{told}: packed at their own size, labels are for scoring, or for training without a crop"
            )
        assert_fits(pixels.shape, label.shape, kept)

    def _crop_box(
        self, size: tuple[int, int], label: UInt8Array | None, draws: Draws, wanted: int | None
    ) -> tuple[int, int, int, int]:
        """Place the crop: where it was drawn, or the first of ten places whose label will do, or the last."""
        assert self.crop is not None
        box = _box(size, self.crop, draws[_LEFT : _TOP + 1])
        if label is None or not self._choosy:
            return box
        for attempt in range(_TRIES):
            if attempt:
                first = _RADIUS + 1 + 2 * (attempt - 1)
                box = _box(size, self.crop, draws[first : first + 2])
            pixels = np.bincount(_window(label, box, IGNORE).ravel(), minlength=256)
            labelled = int(pixels[:IGNORE].sum())
            alone = pixels[:IGNORE].max() >= self.max_share * max(1, labelled) if self.max_share < 1 else False
            if not alone and (wanted is None or pixels[wanted] > self.enough):
                break
        return box


def _decode_soft(data: bytes, label: UInt8Array) -> UInt8Array:
    """Decode soft labels: (H, W, C), of the label's size."""
    planes = decode_label(data)
    if planes.shape[1] != label.shape[1] or planes.shape[0] % label.shape[0]:
        raise CorruptSample(f"{planes.shape[1]}x{planes.shape[0]} is no pile of maps of the label's size")
    return planes.reshape(-1, *label.shape).transpose(1, 2, 0)


def _scaled(pixels: UInt8Array, scale: float) -> UInt8Array:
    """Resize by torch's bicubic, within two grey levels of Pillow's and three times as fast on AVX2."""
    if scale == 1.0:
        return pixels
    height, width = (max(1, round(length * scale)) for length in pixels.shape[:2])
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    scaled = functional.interpolate(batch, (height, width), mode="bicubic", antialias=True)
    resized: UInt8Array = scaled[0].permute(1, 2, 0).numpy()
    return resized


def _nearest(label: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resize labels, (H, W) or (H, W, C), to a width and height; each pixel keeps a value that there is."""
    if label.shape[1::-1] == size:
        return label
    if label.ndim == 3:
        return np.stack([_nearest(label[..., c], size) for c in range(label.shape[-1])], axis=-1)
    return np.array(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))


def _box(size: tuple[int, int], crop: tuple[int, int], drawn: Draws) -> tuple[int, int, int, int]:
    """Place a crop anywhere inside a longer side, centred over a shorter one: left, top, right, bottom."""
    places = []
    for length, window, draw in zip(size, crop, drawn, strict=True):
        spare = length - window
        places.append(int(draw * (spare + 1)) if spare >= 0 else spare // 2)
    return places[0], places[1], places[0] + crop[0], places[1] + crop[1]


def _window(array: UInt8Array, box: tuple[int, int, int, int], outside: int) -> UInt8Array:
    """Cut a box out of (H, W, ...), filling what lies outside."""
    left, top, right, bottom = box
    cut = np.full((bottom - top, right - left, *array.shape[2:]), outside, np.uint8)
    rows = slice(max(top, 0), min(bottom, array.shape[0]))
    columns = slice(max(left, 0), min(right, array.shape[1]))
    cut[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = array[rows, columns]
    return cut
