"""Pictures as cameras and other programs write them: turned by a tag, several in one file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps
from rawdata import jpeg, labels, picture, save
from shardsets import by_key, image_of, label_of

from cirn_dist.data.decode import may_be_turned, open_image
from cirn_dist.data.loading import transforms
from cirn_dist.data.loading.transforms import decode_image
from cirn_dist.data.pack.pack import pack
from cirn_dist.errors import CorruptSample

SHOWN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
DECODERS = [decode_image, lambda data: np.asarray(open_image(data))]


def coded(array: np.ndarray, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


def tag(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def xmp(orientation: int) -> bytes:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("orientation", SHOWN)
def test_a_picture_is_turned_as_its_tag_says(orientation, decode):
    shown, stored = SHOWN[orientation], picture(3)
    for form, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        found = decode(coded(stored, form, exif=tag(orientation), **options))
        np.testing.assert_array_equal(found, shown(stored), err_msg=form)
    plain = np.asarray(Image.open(io.BytesIO(jpeg(stored))))
    for options in ({"exif": tag(orientation)}, {"xmp": xmp(orientation)}):
        np.testing.assert_array_equal(decode(coded(stored, "JPEG", quality=95, **options)), shown(plain))


def test_only_a_jpeg_that_has_no_such_tag_goes_to_torchvision(monkeypatch):
    went = []
    real = transforms.decode_jpeg
    if real is None:
        pytest.skip("torchvision has no JPEG decoder")
    monkeypatch.setattr(transforms, "decode_jpeg", lambda data: went.append(data) or real(data))
    decode_image(coded(picture(1), "JPEG", comment=b"made of FF E1"))
    assert len(went) == 1
    decode_image(coded(picture(1), "JPEG", exif=tag(1)))
    assert len(went) == 1


def test_a_jpeg_whose_segments_are_odd_is_left_to_pillow():
    whole = jpeg(picture(1))
    assert not may_be_turned(whole)
    assert may_be_turned(whole[:2] + b"\xff" + whole[2:])  # a fill byte, as the standard allows
    assert may_be_turned(whole[:30])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF|Truncated File")
def test_a_tag_block_that_cannot_be_read_turns_nothing():
    for block in (
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01",
    ):
        data = coded(picture(1), "JPEG", quality=95, exif=block)
        np.testing.assert_array_equal(decode_image(data), np.asarray(Image.open(io.BytesIO(data))), err_msg=str(block))


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("size", [(24, 16), (16, 16)])
def test_labels_drawn_on_the_picture_as_shown_stay_on_it(size, orientation, tmp_path):
    save(tmp_path / "raw/train/images/a.png", picture(0))
    path = tmp_path / "raw/train/images/b.png"
    Image.fromarray(picture(1, *size)).save(path, exif=tag(orientation))
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    truth = (shown[..., 0] > np.median(shown[..., 0])).astype(np.uint8)
    save(tmp_path / "raw/train/labels/a.png", labels(0, [0, 1]))
    save(tmp_path / "raw/train/labels/b.png", truth)
    shards = pack("folder", tmp_path / "raw", tmp_path / "out", options={"label_space": "camvid11"}, codec="png")
    np.testing.assert_array_equal(image_of(shards, "b"), shown)
    np.testing.assert_array_equal(label_of(shards, "b"), truth)
    stored = shards.read(by_key(shards)["b"])[shards.image_field]
    assert 0x0112 not in Image.open(io.BytesIO(stored)).getexif()


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WEBP", {}), ("TIFF", {}), ("GIF", {})])
def test_several_pictures_in_one_file_are_refused(form, options, decode):
    others = [Image.fromarray(picture(seed)) for seed in (2, 3)]
    data = coded(picture(1), form, save_all=True, append_images=others, **options)
    with pytest.raises(CorruptSample, match=rf"3 pictures in one {form} file"):
        decode(data)
    alone = coded(picture(1), form, save_all=True, **options)
    assert decode(alone).shape == (16, 24, 3)


@pytest.mark.parametrize("decode", DECODERS)
def test_of_a_cameras_two_pictures_the_first_is_taken(decode):
    data = coded(picture(1), "MPO", save_all=True, append_images=[Image.fromarray(picture(2))], quality=95)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
