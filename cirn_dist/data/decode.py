"""Decoding images, encoding images and label maps with Pillow; strict: what it does not know, it refuses."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import ExifTags, Image, ImageFile, ImageOps

from cirn_dist.data.labels import UInt8Array
from cirn_dist.errors import CorruptSample

# What Pillow raises on files that are damaged; its TIFF reader also TypeError and KeyError on missing tags.
UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
CODECS = {"jpeg95": "image.jpg", "png": "image.png", "webp": "image.webp"}
LOSSY = ("jpeg95",)
_PNG = b"\x89PNG\r\n\x1a\n"
_APP1, _SCAN = 0xE1, 0xDA  # markers of JPEG segments: of EXIF and XMP, and of the first pixels


def open_image(data: bytes) -> Image.Image:
    """Decode an 8-bit grey, palette, RGB or RGBA image to RGB, turned upright as its orientation tag says.

    Raises:
        CorruptSample: empty, truncated, CMYK, 16-bit, several pictures, or no image at all.
    """
    if png_bits(data) == 16:
        raise CorruptSample("16 bits per channel; images must be 8-bit RGB")
    image = opened(data)
    if image.mode not in ("RGB", "L", "P", "RGBA"):
        raise CorruptSample(f"image mode {image.mode}; images must be 8-bit RGB")
    try:
        image.load()
        if orientation(image) != 1:
            ImageOps.exif_transpose(image, in_place=True)
        return image.convert("RGB")
    except UNREADABLE as error:
        raise CorruptSample(f"cannot be decoded ({error})") from error


def opened(data: bytes) -> ImageFile.ImageFile:
    """Open one picture, not yet loaded; of the two a camera puts into an MPO file, the first.

    Raises:
        CorruptSample: empty, no image at all, or several pictures: animated, or of several pages.
    """
    if not data:
        raise CorruptSample("empty file: no bytes")
    try:
        image = Image.open(io.BytesIO(data))
        pictures = getattr(image, "n_frames", 1)
    except UNREADABLE as error:
        raise CorruptSample(f"cannot be decoded ({error})") from error
    if pictures > 1 and image.format != "MPO":
        what = f"{pictures} pictures in one {image.format} file (animated, or of several pages)"
        raise CorruptSample(what, fix="keep one of them, in a file of its own")
    return image


def orientation(image: Image.Image) -> int:
    """Return how a picture's EXIF or XMP says it is to be turned, 1 to 8; 1 is upright, and where it says none.

    A tag block that cannot be read turns nothing, as in viewers.
    """
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    except UNREADABLE:
        return 1
    return int(turn) if turn in range(1, 9) else 1


def upright_size(data: bytes) -> tuple[int, int]:
    """Return a picture's height and width as it is shown; of JPEG and WebP the header is enough.

    Raises:
        CorruptSample: as `opened`.
    """
    image = opened(data)
    width, height = image.size
    return (width, height) if orientation(image) > 4 else (height, width)


def may_be_turned(jpeg: bytes) -> bool:
    """Whether a JPEG has a segment that may hold an orientation (APP1), or none can be told."""
    at = 2
    while jpeg[at : at + 1] == b"\xff" and at + 4 <= len(jpeg):
        marker = jpeg[at + 1]
        if marker == _SCAN:
            return False
        if marker == _APP1 or not 0xC0 <= marker < 0xFF:
            break
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return True


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
