"""Decoding label files: a value says what a pixel is, so what does not keep every value is refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFile

from cirn_dist.data.decode import UNREADABLE, opened, orientation, png_bits
from cirn_dist.data.labels import UInt8Array
from cirn_dist.errors import CorruptSample

_EXACT = ("PNG", "BMP", "TIFF", "GIF", "PPM")
_BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _KIND = 258, 259, 262, 274, 339  # tags of TIFF
_LOSSLESS = (1, 2, 5, 8, 32773, 32946, 34925, 50000)  # none, CCITT, LZW, deflate, PackBits, deflate, LZMA, Zstandard
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM = re.compile(rb"P[2356]" + _GAP + rb"\d+" + _GAP + rb"\d+" + _GAP + rb"(\d+)")
_STEPS = {2: 85, 4: 17}  # Pillow spreads a PNG's grey values of so many bits over 0 to 255
_FIX = "write the labels anew as 8-bit PNG, from what they were made of"


def open_label(data: bytes) -> UInt8Array:
    """Decode a label map (H, W): a file's grey values, or its palette's indices, as they are stored.

    PNG of 1, 2, 4 or 8 bits; BMP, TIFF, GIF and PGM of 8 bits.

    Raises:
        CorruptSample: empty, truncated, more channels, more bits, an orientation tag, several pictures, no image at
            all, or a format that does not keep every value.
    """

    def ids(image: Image.Image) -> UInt8Array:
        if image.mode not in ("L", "P") and (image.format, image.mode) != ("PNG", "1"):
            raise CorruptSample(f"label mode {image.mode}; labels must have one 8-bit channel", fix=_FIX)
        values = np.array(image, np.uint8)
        step = _STEPS.get(png_bits(data) or 8, 1) if image.mode == "L" else 1
        return values if step == 1 else values // step

    return _decoded(data, ids)


def open_colours(data: bytes) -> UInt8Array:
    """Decode a label in colours, (H, W, 3); of a palette, its colours.

    Raises:
        CorruptSample: as `open_label`, but of three channels; a pixel that is not opaque, whose colour is what the
            file says or what lies behind.
    """
    if png_bits(data) == 16:
        raise CorruptSample("16 bits per channel; a label in colours has 8", fix=_FIX)

    def colours(image: Image.Image) -> UInt8Array:
        if image.mode not in ("RGB", "RGBA", "P", "L"):
            raise CorruptSample(f"label mode {image.mode}; a label in colours must be 8-bit RGB", fix=_FIX)
        if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
            raise CorruptSample("a label with transparent pixels", fix="write it without an alpha channel")
        return np.asarray(image.convert("RGB"))

    return _decoded(data, colours)


def first_channel16(data: bytes) -> UInt8Array:
    """Decode the first channel of a 16-bit RGB PNG, whose values must fit 8 bits; shape (H, W).

    Pillow keeps the high byte of 16-bit colour, which is 0 in SYNTHIA's labels. Told that the
    file's big-endian samples are little-endian, it keeps the low byte, which is the class.

    Raises:
        CorruptSample: not a 16-bit RGB PNG, truncated, turned, or a value above 255.
    """
    if png_bits(data) != 16:
        raise CorruptSample("not a 16-bit PNG: was it converted to 8 bits, which destroys the labels?")

    def plane(raw_mode: str) -> Callable[[ImageFile.ImageFile], UInt8Array]:
        def read(image: ImageFile.ImageFile) -> UInt8Array:
            if image.mode != "RGB":
                raise CorruptSample(f"16-bit label of mode {image.mode}; it must be RGB")
            image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
            return np.asarray(image)[:, :, 0]

        return read

    high, low = (_decoded(data, plane(raw_mode)) for raw_mode in ("RGB;16B", "RGB;16L"))
    if high.any():
        raise CorruptSample(f"class {int(high.max()) << 8} or above in a label map")
    return low


def _decoded(data: bytes, read: Callable[[ImageFile.ImageFile], UInt8Array]) -> UInt8Array:
    image = opened(data)
    if image.format not in _EXACT:
        raise CorruptSample(f"a label in {image.format}, which does not keep every value", fix=_FIX)
    if image.format == "TIFF":
        _assert_plain(image)
    if image.format == "BMP" and image.mode in ("1", "L", "P") and _bmp_bits(data) != 8:
        raise CorruptSample(f"{_bmp_bits(data)} bits per pixel in BMP", fix=_FIX)
    maxval = _PNM.match(data)
    if maxval is not None and int(maxval[1]) != 255:
        raise CorruptSample(f"values up to {int(maxval[1])} stand for 0 to 255 there", fix=_FIX)
    try:
        values = read(image)
    except UNREADABLE as error:
        raise CorruptSample(f"cannot be decoded ({error})") from error
    _assert_upright(orientation(image))
    return values


def _assert_plain(image: Image.Image) -> None:
    """Refuse a TIFF whose values are not 8-bit ids or colours as they are stored; before it is loaded and turned."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    if tags.get(_COMPRESSION, 1) not in _LOSSLESS:
        raise CorruptSample("a label in TIFF with lossy compression", fix=_FIX)
    if set(tags.get(_BITS, (1,))) != {8} or set(tags.get(_KIND, (1,))) != {1}:
        raise CorruptSample(f"{tags.get(_BITS, (1,))[0]} bits per pixel in TIFF, not 8 without a sign", fix=_FIX)
    if tags.get(_PHOTOMETRIC) not in (1, 2, 3):  # 0 turns dark and light round
        raise CorruptSample(f"TIFF values of kind {tags.get(_PHOTOMETRIC)} (0 is white)", fix=_FIX)
    _assert_upright(tags.get(_ORIENTATION, 1))


def _assert_upright(turn: int) -> None:
    """Refuse an orientation tag: what drew the labels may have turned the picture or not."""
    if turn != 1:
        raise CorruptSample(f"a label with an EXIF orientation ({turn})", fix="turn its pixels and drop the tag")


def _bmp_bits(data: bytes) -> int:
    return data[24 if data[14] == 12 else 28]  # a header of 12 bytes is OS/2's
