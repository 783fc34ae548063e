from __future__ import annotations

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image
from rawdata import jpeg, labels, picture, png16

from cirn_dist.data.decode import encode_image, encode_label, open_image
from cirn_dist.data.label_files import first_channel16
from cirn_dist.data.loading import transforms
from cirn_dist.data.loading.recolour import colour_matrix
from cirn_dist.data.loading.transforms import SegmentationTransform, decode_image, decode_label
from cirn_dist.errors import CorruptSample

IMAGE, LABEL = picture(1), labels(1, [*range(11), 255])
SAMPLE = {"image.png": encode_image(Image.fromarray(IMAGE), "png"), "label.png": encode_label(LABEL)}


def draws(**values: float) -> np.ndarray:
    names = ["mirror", "scale", "left", "top", "brightness", "contrast", "saturation", "hue", "blur", "radius"]
    return np.array([values.get(name, 0.5) for name in names])


def test_without_augmentation_it_is_the_sample():
    out = SegmentationTransform()(SAMPLE, draws())
    assert out["image"].dtype == out["label"].dtype == torch.uint8
    assert out["image"][None].is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(out["image"], IMAGE.transpose(2, 0, 1))
    np.testing.assert_array_equal(out["label"], LABEL)
    assert "label" not in SegmentationTransform()({"image.png": SAMPLE["image.png"]}, draws())


def test_mirror_turns_image_and_label_in_half_of_the_draws():
    transform = SegmentationTransform(mirror=True)
    turned, straight = transform(SAMPLE, draws(mirror=0.49)), transform(SAMPLE, draws(mirror=0.51))
    np.testing.assert_array_equal(turned["image"], IMAGE[:, ::-1].transpose(2, 0, 1))
    np.testing.assert_array_equal(turned["label"], LABEL[:, ::-1])
    np.testing.assert_array_equal(straight["label"], LABEL)


def test_a_crop_cuts_image_and_label_at_the_same_place():
    transform = SegmentationTransform(crop=(10, 6))
    corners = set()
    for left in (0.0, 0.3, 0.999999):
        for top in (0.0, 0.999999):
            out = transform(SAMPLE, draws(left=left, top=top))
            x, y = int(left * 15), int(top * 11)
            np.testing.assert_array_equal(out["image"], IMAGE[y : y + 6, x : x + 10].transpose(2, 0, 1))
            np.testing.assert_array_equal(out["label"], LABEL[y : y + 6, x : x + 10])
            corners.add((x, y))
    assert {(0, 0), (14, 10)} <= corners


def test_a_crop_larger_than_the_image_pads_with_black_and_ignore():
    out = SegmentationTransform(crop=(30, 10))(SAMPLE, draws(top=0.0))
    assert out["image"].shape == (3, 10, 30)
    np.testing.assert_array_equal(out["image"][:, :, 3:27], IMAGE[:10].transpose(2, 0, 1))
    np.testing.assert_array_equal(out["label"][:, 3:27], LABEL[:10])
    assert not out["image"][:, :, :3].any()
    assert not out["image"][:, :, 27:].any()
    assert (out["label"][:, :3] == 255).all()
    assert (out["label"][:, 27:] == 255).all()


def test_scale_without_crop_leaves_the_label_at_its_size():
    transform = SegmentationTransform(scales=(0.5, 1.0, 1.5))
    for draw, size in ((0.1, (8, 12)), (0.5, (16, 24)), (0.99, (24, 36))):
        out = transform(SAMPLE, draws(scale=draw))
        assert out["image"].shape == (3, *size)
        np.testing.assert_array_equal(out["label"], LABEL)


def test_scaling_is_pillows_bicubic_to_two_grey_levels():
    image = picture(4, 64, 48)
    sample = {"image.png": encode_image(Image.fromarray(image), "png")}
    for scale, size in ((0.8, (51, 38)), (1.1, (70, 53))):
        ours = SegmentationTransform(scales=(scale,))(sample, draws())["image"].numpy().transpose(1, 2, 0)
        pillow = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        assert np.abs(ours.astype(int) - pillow).max() <= 2


def test_scale_with_crop_scales_both():
    flat = {"image.png": encode_image(Image.fromarray(np.repeat(LABEL[:, :, None], 3, 2)), "png"), **{}}
    flat["label.png"] = SAMPLE["label.png"]
    transform = SegmentationTransform(scales=(2.0,), crop=(48, 32))
    out = transform(flat, draws())
    np.testing.assert_array_equal(out["label"], LABEL.repeat(2, 0).repeat(2, 1))
    assert out["image"].shape == (3, 32, 48)


def test_a_load_width_scales_image_and_label_before_the_crop():
    pixels, label = picture(5, 160, 90), labels(1, [*range(11), 255], 160, 90)
    sample = {"image.png": encode_image(Image.fromarray(pixels), "png"), "label.png": encode_label(label)}
    whole = SegmentationTransform(width=80, crop=(80, 45))(sample, draws())
    expected = np.asarray(Image.fromarray(pixels).resize((80, 45), Image.Resampling.BICUBIC), np.int64)
    assert np.abs(whole["image"].numpy().transpose(1, 2, 0) - expected).max() <= 2
    wanted = np.asarray(Image.fromarray(label).resize((80, 45), Image.Resampling.NEAREST))
    assert np.array_equal(whole["label"].numpy(), wanted)
    cut = SegmentationTransform(width=80, crop=(30, 20))(sample, draws(left=0.999, top=0.0))
    assert np.array_equal(cut["image"].numpy(), whole["image"].numpy()[:, :20, 50:])
    assert np.array_equal(cut["label"].numpy(), wanted[:20, 50:])
    outside = SegmentationTransform(width=80, crop=(80, 64))(sample, draws())
    assert (outside["label"].numpy()[[*range(10), *range(55, 64)]] == 255).all(), "what lies outside is ignored"
    alone = SegmentationTransform(width=80)(sample, draws())
    assert alone["image"].shape == (3, 45, 80)
    assert alone["size"] == alone["label"].shape == (90, 160)


def test_colour_changes_touch_the_image_only_and_nothing_at_the_middle_of_the_draws():
    transform = SegmentationTransform(jitter=0.4)
    unchanged = transform(SAMPLE, draws())
    assert (unchanged["image"].int() - torch.tensor(IMAGE.transpose(2, 0, 1).copy()).int()).abs().max() <= 1
    changed = transform(SAMPLE, draws(brightness=0.9, hue=0.1))
    assert not torch.equal(changed["image"], unchanged["image"])
    np.testing.assert_array_equal(changed["label"], LABEL)


def apply(matrix: tuple[float, ...], pixels: np.ndarray) -> np.ndarray:
    rows = np.array(matrix).reshape(3, 4)
    return pixels @ rows[:, :3].T + rows[:, 3]


def test_the_colour_matrix_is_brightness_contrast_and_saturation():
    image, pixels = Image.fromarray(IMAGE), IMAGE.reshape(-1, 3).astype(float)
    grey = pixels @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(apply(colour_matrix(image, 0.2, 0, 0, 0), pixels), pixels * 1.2, rtol=1e-9)
    mean = np.asarray(image.resize((16, 16), Image.Resampling.BOX)).reshape(-1, 3).mean(0) @ [0.299, 0.587, 0.114]
    expected = mean + 1.3 * (pixels - mean)
    np.testing.assert_allclose(apply(colour_matrix(image, 0, 0.3, 0, 0), pixels), expected, rtol=1e-9, atol=1e-9)
    expected = grey[:, None] + 0.5 * (pixels - grey[:, None])
    np.testing.assert_allclose(apply(colour_matrix(image, 0, 0, -0.5, 0), pixels), expected, rtol=1e-9, atol=1e-9)


def test_the_colour_matrix_turns_hue():
    image = Image.fromarray(IMAGE)
    third = colour_matrix(image, 0, 0, 0, 1 / 3)
    np.testing.assert_allclose(apply(third, np.array([[200.0, 10, 30]])), [[30, 200, 10]], atol=1e-9)
    turned = apply(colour_matrix(image, 0, 0, 0, 0.05), np.array([[180.0, 120, 120]]))[0] / 255
    assert 0.03 < colorsys.rgb_to_hsv(*turned)[0] < 0.07
    np.testing.assert_allclose(apply(colour_matrix(image, 0, 0, 0, 0.2), np.full((1, 3), 90.0)), 90)


def test_blur_lowers_contrast_of_half_of_the_images():
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    sample = {"image.png": encode_image(Image.fromarray(noise), "png")}
    transform = SegmentationTransform(blur=2.0)
    blurred, sharp = (
        transform(sample, draws(blur=0.4, radius=0.9))["image"],
        transform(sample, draws(blur=0.6))["image"],
    )
    np.testing.assert_array_equal(sharp, noise.transpose(2, 0, 1))
    assert blurred.float().std() < 0.6 * sharp.float().std()


def test_jpeg_decodes_to_the_same_pixels_with_and_without_torchvision(monkeypatch):
    data, grey = jpeg(picture(3, 64, 48)), jpeg(picture(3), "L")
    both = decode_image(data), decode_image(grey)
    assert both[0].shape == (48, 64, 3)
    monkeypatch.setattr(transforms, "decode_jpeg", None)
    np.testing.assert_array_equal(both[0], decode_image(data))
    np.testing.assert_array_equal(both[1], decode_image(grey))


@pytest.mark.parametrize("codec", ["png", "webp"])
def test_lossless_codecs_are_lossless(codec):
    np.testing.assert_array_equal(decode_image(encode_image(Image.fromarray(IMAGE), codec)), IMAGE)


def sixteen_bits(tmp_path) -> bytes:
    png16(tmp_path / "x.png", np.zeros((4, 4, 3), np.uint16))
    return (tmp_path / "x.png").read_bytes()


def grey16() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("decode", [decode_image, open_image])
def test_what_is_no_8_bit_rgb_image_is_refused_by_name(tmp_path, decode):
    whole, wide = SAMPLE["image.png"], jpeg(picture(5, 64, 48))
    for data, reason in (
        (b"", "no bytes"),
        (jpeg(IMAGE, "CMYK"), "CMYK"),
        (sixteen_bits(tmp_path), "16 bits"),
        (grey16(), "16 bits"),
        (b"not an image", "cannot be decoded"),
        (whole[: len(whole) // 2], "cannot be decoded"),
        (wide[: len(wide) // 2], "cannot be decoded"),
        (wide[:20], "cannot be decoded"),
    ):
        with pytest.raises(CorruptSample, match=reason):
            decode(data)


def test_what_is_no_single_channel_label_is_refused(tmp_path):
    for data, reason in (
        (b"", "no bytes"),
        (SAMPLE["image.png"], "mode RGB"),
        (grey16(), "label mode"),
        (SAMPLE["label.png"][:60], "cannot be decoded"),
    ):
        with pytest.raises(CorruptSample, match=reason):
            decode_label(data)
    with pytest.raises(CorruptSample, match=r"label\.png: no bytes|label\.png: empty"):
        SegmentationTransform()({**SAMPLE, "label.png": b""}, draws())


def test_sixteen_bit_labels_keep_the_byte_that_eight_bit_decoders_drop(tmp_path):
    path = tmp_path / "label.png"
    classes = np.random.default_rng(0).integers(0, 23, (7, 9))
    instances = np.random.default_rng(1).integers(0, 60000, (7, 9))
    png16(path, np.stack([classes, instances, np.zeros_like(classes)], -1).astype(np.uint16))
    assert not np.asarray(Image.open(path))[..., 0].any()  # what an 8-bit decoder makes of it
    np.testing.assert_array_equal(first_channel16(path.read_bytes()), classes)
    png16(path, np.full((7, 9, 3), 300, np.uint16))
    with pytest.raises(CorruptSample, match="class 256 or above"):
        first_channel16(path.read_bytes())
    with pytest.raises(CorruptSample, match="not a 16-bit PNG"):
        first_channel16(SAMPLE["image.png"])
    with pytest.raises(CorruptSample, match="must be RGB"):
        first_channel16(grey16())
    with pytest.raises(CorruptSample, match="cannot be decoded"):
        first_channel16(sixteen_bits(tmp_path)[:50])
