"""Decoding and encoding images and label maps with Pillow and NumPy; strict: what it does not know, it refuses."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from cirn_dist.data.labels import UInt8Array
from cirn_dist.errors import CorruptSample

UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
CODECS = {"jpeg95": "image.jpg", "png": "image.png", "webp": "image.webp"}
_PNG = b"\x89PNG\r\n\x1a\n"


def open_image(data: bytes) -> Image.Image:
    """Decode an 8-bit grey, palette, RGB or RGBA image to RGB.

    Raises:
        CorruptSample: empty, truncated, CMYK, 16-bit, or no image at all.
    """
    if not data:
        raise CorruptSample("empty file: no bytes")
    if png_bits(data) == 16:
        raise CorruptSample("16 bits per channel; images must be 8-bit RGB")
    try:
        image = Image.open(io.BytesIO(data))
        if image.mode not in ("RGB", "L", "P", "RGBA"):
            raise CorruptSample(f"image mode {image.mode}; images must be 8-bit RGB")
        return image.convert("RGB")
    except UNREADABLE as error:
        raise CorruptSample(f"cannot be decoded ({error})") from error


def open_label(data: bytes) -> Image.Image:
    """Decode a single-channel 8-bit PNG; a palette's colours are ignored, its indices are the labels.

    Raises:
        CorruptSample: empty, truncated, more channels, more bits, or no image at all.
    """
    if not data:
        raise CorruptSample("empty file: no bytes")
    try:
        image = Image.open(io.BytesIO(data))
        if image.mode not in ("L", "P"):
            raise CorruptSample(f"label mode {image.mode}; labels must have one 8-bit channel")
        image.load()
    except UNREADABLE as error:
        raise CorruptSample(f"cannot be decoded ({error})") from error
    return image


def first_channel16(data: bytes) -> UInt8Array:
    """Decode the first channel of a 16-bit RGB PNG, whose values must fit 8 bits; shape (H, W).

    Pillow keeps the high byte of 16-bit colour, which is 0 in SYNTHIA's labels. Told that the
    file's big-endian samples are little-endian, it keeps the low byte, which is the class.

    Raises:
        CorruptSample: not a 16-bit RGB PNG, truncated, or a value above 255.
    """
    if png_bits(data) != 16:
        raise CorruptSample("not a 16-bit PNG: was it converted to 8 bits, which destroys the labels?")
    planes = []
    try:
        for raw_mode in ("RGB;16B", "RGB;16L"):
            image = Image.open(io.BytesIO(data))
            if image.mode != "RGB":
                raise CorruptSample(f"16-bit label of mode {image.mode}; it must be RGB")
            image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
            planes.append(np.asarray(image)[:, :, 0])
    except UNREADABLE as error:
        raise CorruptSample(f"cannot be decoded ({error})") from error
    high, low = planes
    if high.any():
        raise CorruptSample(f"class {int(high.max()) << 8} or above in a label map")
    return low


def png_bits(data: bytes) -> int | None:
    """Return a PNG's bits per channel, from its header; None for other formats."""
    return data[24] if data.startswith(_PNG) and len(data) > 24 else None


def encode_image(image: Image.Image, codec: str) -> bytes:
    """Encode RGB as jpeg95 (quality 95), png or webp (both lossless)."""
    buffer = io.BytesIO()
    if codec == "jpeg95":
        image.save(buffer, "JPEG", quality=95)
    elif codec == "png":
        image.save(buffer, "PNG", compress_level=6)
    else:
        image.save(buffer, "WEBP", lossless=True, quality=50, method=2)
    return buffer.getvalue()


def encode_label(label: UInt8Array) -> bytes:
    """Encode train ids (H, W) as a single-channel PNG."""
    buffer = io.BytesIO()
    Image.fromarray(label).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
