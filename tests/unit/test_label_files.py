"""Label files: every value as it is stored, or refused by name with what to do."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from rawdata import jpeg, labels, picture, save

from cirn_dist.data.label_files import open_colours, open_label
from cirn_dist.data.pack.pack import pack
from cirn_dist.errors import CorruptSample

IDS = labels(2, [0, 1, 2, 3, 7, 200, 255])


def coded(image: np.ndarray | Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, form, **options)
    return buffer.getvalue()


def indexed(ids: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids)
    image.putpalette([value for index in range(256) for value in (index * 7 % 256, index * 3 % 256, 90)])
    return image


def narrow_png(ids: np.ndarray, bits: int, colour_type: int = 0) -> bytes:
    """Write a PNG of 1, 2, 4 or 8 bits per pixel: of grey values, or (colour type 3) of a palette's indices."""
    height, width = ids.shape
    planes = np.unpackbits(ids[..., None], axis=2)[..., 8 - bits :].reshape(height, width * bits)
    raw = b"".join(b"\0" + np.packbits(row).tobytes() for row in planes)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    palette = chunk(b"PLTE", bytes(range(3 * (1 << bits)))) if colour_type == 3 else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour_type", [0, 3])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_png_of_few_bits_holds_the_ids_it_stores(bits, colour_type):
    ids = labels(4, list(range(1 << bits)), width=21, height=5)
    found = open_label(narrow_png(ids, bits, colour_type))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, ids)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("GIF", {"optimize": False}),
        ("TIFF", {}),
        *(("TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits")),
    ],
)
def test_every_value_of_an_exact_format_is_kept(form, options):
    for image in (Image.fromarray(IDS), indexed(IDS)):
        np.testing.assert_array_equal(open_label(coded(image, form, **options)), IDS)


def test_a_pgm_whose_values_are_ids_is_read():
    np.testing.assert_array_equal(open_label(coded(IDS, "PPM")), IDS)
    plain = b"P2\n# drawn by hand\n24 16 # and so on\n255\n" + " ".join(map(str, IDS.ravel())).encode()
    np.testing.assert_array_equal(open_label(plain), IDS)


def pgm(maxval: int, comment: bytes = b"") -> bytes:
    return b"P5\n" + comment + b"24 16\n%d\n" % maxval + labels(0, [0, 1, 2]).tobytes()


def turned(ids: np.ndarray, form: str, orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return coded(ids, form, exif=exif)


REFUSED = {
    "JPEG": (jpeg(IDS, "L"), "a label in JPEG, which does not keep every value"),
    "WebP": (coded(IDS, "WEBP", lossless=True), "a label in WEBP"),
    "JPEG 2000": (coded(IDS, "JPEG2000"), "a label in JPEG2000"),
    "TIFF of JPEG": (coded(IDS, "TIFF", compression="jpeg"), "TIFF with lossy compression"),
    "TIFF, 0 is white": (coded(IDS, "TIFF", tiffinfo={262: 0}), r"TIFF values of kind 0 \(0 is white\)"),
    "TIFF of 16 bits": (coded(IDS.astype(np.uint16), "TIFF"), "16 bits per pixel in TIFF"),
    "TIFF of 1 bit": (coded(Image.fromarray(IDS).convert("1"), "TIFF"), "1 bits per pixel in TIFF"),
    "BMP of 1 bit": (coded(Image.fromarray(IDS).convert("1"), "BMP"), "1 bits per pixel in BMP"),
    "PGM to 15": (pgm(15), "values up to 15 stand for 0 to 255"),
    "PGM to 254": (pgm(254, b"# width height 255\n"), "values up to 254"),
    "PGM to 65535": (b"P5 2 2 65535 " + bytes(8), "values up to 65535"),
    "PBM": (coded(Image.fromarray(IDS).convert("1"), "PPM"), "label mode 1"),
    "PNG of 16 bits": (coded(IDS.astype(np.uint16), "PNG"), "label mode I;16"),
    "two pages": (coded(IDS, "TIFF", save_all=True, append_images=[Image.fromarray(IDS)]), "2 pictures in one TIFF"),
    "animated": (coded(IDS, "GIF", save_all=True, append_images=[Image.fromarray(255 - IDS)]), "2 pictures in one GIF"),
    "a turned PNG": (turned(IDS, "PNG"), r"a label with an EXIF orientation \(6\)"),
    "a turned TIFF": (turned(IDS, "TIFF", 3), r"a label with an EXIF orientation \(3\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_not_keep_every_value_is_refused_with_what_to_do(name):
    data, reason = REFUSED[name]
    with pytest.raises(CorruptSample, match=reason) as caught:
        open_label(data)
    assert caught.value.fix


def test_a_label_whose_tag_says_upright_is_read():
    np.testing.assert_array_equal(open_label(turned(IDS, "PNG", 1)), IDS)


def test_labels_in_colours_are_held_to_the_same(tmp_path):
    for form, options in (("PNG", {}), ("BMP", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {})):
        np.testing.assert_array_equal(open_colours(coded(picture(1), form, **options)), picture(1))
    for data, reason in (
        (coded(picture(1), "JPEG"), "a label in JPEG"),
        (coded(picture(1), "TIFF", compression="jpeg"), "lossy compression"),
        (turned(picture(1), "PNG"), "orientation"),
        (b"P6 2 2 15 " + bytes(12), "values up to 15"),
        (coded(IDS.astype(np.uint16), "PNG"), "16 bits per channel"),
    ):
        with pytest.raises(CorruptSample, match=reason):
            open_colours(data)


def test_a_packing_stops_at_a_label_in_jpeg_and_names_it(tmp_path):
    save(tmp_path / "raw/images/00001.png", picture(1))
    (tmp_path / "raw/labels").mkdir()
    (tmp_path / "raw/labels/00001.png").write_bytes(jpeg(labels(1, [7, 11, 21]), "L"))
    with pytest.raises(CorruptSample, match=r"labels/00001\.png: a label in JPEG"):
        pack("gta5", tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out/index.json").exists()
