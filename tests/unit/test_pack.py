"""What packing puts into a set, with any codec, size and number of workers."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rawdata import camvid, picture, save
from shardsets import by_key, image_of, label_of

from cirn_dist.data.labels import IGNORE
from cirn_dist.data.pack.pack import pack


def test_without_labels_no_label_file_is_looked_at(tmp_path, monkeypatch):
    raw = camvid(tmp_path / "raw")
    whole = pack("camvid", raw, tmp_path / "with", labels=False)
    for path in (raw / "trainannot").iterdir():
        path.unlink()
    opened = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (opened.append(path), real(path))[1])
    monkeypatch.setattr(Path, "is_file", lambda path, real=Path.is_file: (opened.append(path), real(path))[1])
    without = pack("camvid", raw, tmp_path / "without", labels=False)
    assert opened
    assert not [path for path in opened if "annot" in str(path)]
    assert without.fingerprint == whole.fingerprint


def test_training_sets_resize_image_and_label_and_scoring_sets_leave_the_label_whole(tmp_path):
    raw = camvid(camvid(tmp_path / "raw", 1), 1, "val")
    train = pack("camvid", raw, tmp_path / "train", size=(12, 8))
    truth = np.asarray(Image.open(raw / "trainannot/0001TP_006690.png"))
    expected = np.asarray(Image.fromarray(truth).resize((12, 8), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(label_of(train, "0001TP_006690"), np.where(expected == 11, IGNORE, expected))
    expected = np.asarray(Image.fromarray(picture(0)).resize((12, 8), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(image_of(train, "0001TP_006690"), expected)
    val = pack("camvid", raw, tmp_path / "val", size=(12, 8), label_size="original")
    assert image_of(val, "0001TP_006690").shape == (8, 12, 3)
    np.testing.assert_array_equal(label_of(val, "0001TP_006690"), np.where(truth == 11, IGNORE, truth))


@pytest.mark.parametrize(("codec", "field"), [("jpeg95", "image.jpg"), ("png", "image.png"), ("webp", "image.webp")])
def test_codecs(tmp_path, codec, field):
    shards = pack("camvid", camvid(tmp_path / "raw", 1), tmp_path / "out", codec=codec, size="original")
    assert shards.image_field == field
    difference = np.abs(image_of(shards, "0001TP_006690").astype(int) - picture(0)).max()
    assert difference <= (12 if codec == "jpeg95" else 0)


def test_samples_are_mixed_over_the_shards(tmp_path):
    shards = pack("camvid", camvid(tmp_path / "raw", 40), tmp_path / "out", shard_mb=0.02)
    keys = [shards.key(i) for i in range(40)]
    assert len(shards.shards) > 1
    assert keys != sorted(keys)
    gaps = [abs(int(a[-6:]) - int(b[-6:])) // 30 for a, b in itertools.pairwise(keys)]
    assert np.mean(gaps) > 8  # 13.3 expected of a random order, 1 of a sorted one


images = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))


@settings(max_examples=12, deadline=None)
@given(st.lists(images, min_size=1, max_size=6), st.sampled_from(["png", "webp"]), st.sampled_from([0.0001, 1]))
def test_any_images_and_labels_come_back(drawn, codec, shard_mb):
    with tempfile.TemporaryDirectory() as folder:
        raw, truth = Path(folder, "raw"), {}
        for number, (width, height, seed) in enumerate(drawn):
            draw = np.random.default_rng(seed)
            image = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
            label = draw.choice(np.array([*range(11), 255], np.uint8), (height, width))
            save(raw / f"train/images/{number}.png", image)
            save(raw / f"train/labels/{number}.png", label)
            truth[str(number)] = image, label
        shards = pack(
            "folder", raw, Path(folder, "out"), codec=codec, shard_mb=shard_mb, options={"label_space": "camvid11"}
        )
        assert sorted(by_key(shards)) == sorted(truth)
        for key, (image, label) in truth.items():
            np.testing.assert_array_equal(image_of(shards, key), image)
            np.testing.assert_array_equal(label_of(shards, key), label)
