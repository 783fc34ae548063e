"""Raw folders, recipes and disks that cannot be packed from or to."""

from __future__ import annotations

import errno
import io
import logging
import os

import numpy as np
import pytest
from PIL import Image
from rawdata import camvid, labels, picture, save

from cirn_dist import files
from cirn_dist.data.pack.pack import pack
from cirn_dist.errors import CorruptSample, DataError


@pytest.mark.parametrize("make", [False, True])
def test_a_missing_or_empty_folder_is_named(tmp_path, make):
    raw = tmp_path / "raw"
    if make:
        raw.mkdir()
    with pytest.raises(DataError, match=f"{raw}: (no such folder|no images of camvid's split 'train')"):
        pack("camvid", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_id_names_the_file_and_the_id(tmp_path):
    raw = camvid(tmp_path / "raw", 1)
    save(raw / "trainannot/0001TP_006690.png", labels(0, [1, 77]))
    with pytest.raises(DataError, match=r"trainannot/0001TP_006690\.png: unknown label id 77"):
        pack("camvid", raw, tmp_path / "out")
    colours = np.full((16, 24, 3), (1, 2, 3), np.uint8)
    save(tmp_path / "other/701_StillsRaw_full/0001TP_006690.png", picture(1))
    save(tmp_path / "other/LabeledApproved_full/0001TP_006690_L.png", colours)
    with pytest.raises(DataError, match=r"0001TP_006690_L\.png: unknown label colour \(1, 2, 3\)"):
        pack("camvid", tmp_path / "other", tmp_path / "out")


def bytes_of(array: np.ndarray, mode: str, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).convert(mode).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"GIF89a?", "cannot be decoded"),
        (bytes_of(picture(0), "RGB", "PNG")[:90], "cannot be decoded"),
        (bytes_of(picture(0), "CMYK", "JPEG"), "CMYK"),
        (bytes_of(picture(0), "I;16", "PNG"), "16 bits"),
    ],
)
def test_an_unreadable_image_is_named(tmp_path, data, reason):
    raw = camvid(tmp_path / "raw", 1)
    (raw / "train/0001TP_006690.png").write_bytes(data)
    with pytest.raises(CorruptSample, match=rf"train/0001TP_006690\.png: .*{reason}"):
        pack("camvid", raw, tmp_path / "out")


def test_a_missing_label_is_named(tmp_path):
    raw = camvid(tmp_path / "raw")
    (raw / "trainannot/0001TP_006750.png").unlink()
    with pytest.raises(DataError, match=r"trainannot/0001TP_006750\.png: 1 labels are missing"):
        pack("camvid", raw, tmp_path / "out")


def test_two_images_with_one_key_are_named(tmp_path):
    save(tmp_path / "raw/images/train/a.png", picture(1))
    save(tmp_path / "raw/images/train/a.jpg", picture(1))
    with pytest.raises(DataError, match=r"two images have the key 'a': images/train/a\.jpg and images/train/a\.png"):
        pack("folder", tmp_path / "raw", tmp_path / "out")


def test_a_folder_with_other_things_in_it_is_not_packed_into(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        pack("camvid", camvid(tmp_path / "raw"), tmp_path / "out")


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only"), (errno.EACCES, "denied")]
)
def test_a_disk_that_refuses_is_one_line_and_leaves_no_half_file(tmp_path, monkeypatch, number, reason):
    raw, out = camvid(tmp_path / "raw", 8), tmp_path / "out"
    real, calls = files.os.replace, []

    def replace(source, target):
        calls.append(target)
        if str(target).endswith("train-000001.tar"):
            raise OSError(number, os.strerror(number))
        real(source, target)

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(DataError, match=rf"train-000001\.tar: .*{reason}"):
        pack("camvid", raw, out, shard_mb=0.002)
    names = sorted(path.name for path in out.iterdir())
    first = ["classes.npy", "idx.npy", "record.json", "tar"]
    assert names == ["pack.json", *(f"train-000000.{ending}" for ending in first)]
    monkeypatch.undo()
    assert len(pack("camvid", raw, out, shard_mb=0.002)) == 8


def test_a_really_full_device(tmp_path):
    with (
        pytest.raises(DataError, match="No space left on device"),
        files.writing_into(tmp_path),
        open("/dev/full", "wb") as full,
    ):
        full.write(b"x" * 100_000)


def test_an_incomplete_download_is_mentioned(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        pack("camvid", camvid(tmp_path / "raw"), tmp_path / "out")
    assert "3 images found, 367 were published" in caplog.text
